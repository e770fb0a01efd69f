//! What the broker remembers: one set of tests on SQLite and on PostgreSQL, then what breaks in each.

#![expect(
    clippy::print_stdout,
    reason = "each trial says what it measured; the sequencer speaks to its parent"
)]
#![expect(clippy::indexing_slicing, reason = "of two stores")]
#![expect(clippy::needless_pass_by_value, clippy::type_complexity, reason = "tables of trials")]
#![expect(clippy::disallowed_methods, reason = "tests start real programs and this one's own sequencers")]

#[path = "broker_state/answers.rs"]
mod answers;
#[path = "broker_state/file.rs"]
mod file;
#[path = "broker_state/ground.rs"]
mod ground;
#[path = "broker_state/sequencer.rs"]
mod sequencer;
#[path = "broker_state/server.rs"]
mod server;
#[path = "broker_state/shared.rs"]
mod shared;

use anyhow::Result;
use ground::{BACKENDS, Ground};
use libtest_mimic::{Arguments, Trial};
use prokura_integration::suite::trial;

/// A test of both back ends.
type Test = (&'static str, fn(&Ground) -> Result<()>);

fn main() {
    if let Some(place) = std::env::var_os(sequencer::PLACE) {
        return sequencer::be(place);
    }
    let arguments = Arguments::from_args();
    let mut trials = on_both(answers::TESTS);
    trials.extend(on_both(shared::TESTS));
    trials.extend(on_both(sequencer::TESTS));
    trials.extend(file::trials());
    trials.extend(server::trials());
    libtest_mimic::run(&arguments, trials).exit()
}

fn on_both(tests: &'static [Test]) -> Vec<Trial> {
    let all = BACKENDS.iter().flat_map(|backend| tests.iter().map(move |test| (backend, test)));
    all.map(|(backend, (name, test))| {
        trial(format!("{}/{name}", backend.name()), move || test(&Ground::new(*backend)?))
    })
    .collect()
}
