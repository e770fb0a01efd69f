//! The virtual card as the unmodified `yubikey` crate and Yubico's and OpenSC's own programs see it.
//!
//! libpcsclite reads the path of pcscd's socket from the environment, once. So each test starts its cards and runs
//! itself again as a child in their environment; the child gives its orders at the cards' control socket.

#![expect(clippy::disallowed_methods, reason = "runs itself in the cards' environment")]

#[path = "card/faults.rs"]
mod faults;
#[path = "card/nitrokey.rs"]
mod nitrokey;
#[path = "card/pin.rs"]
mod pin;
#[path = "card/programs.rs"]
mod programs;
#[path = "card/provisioning.rs"]
mod provisioning;
#[path = "card/signing.rs"]
mod signing;
#[path = "card/touch.rs"]
mod touch;

use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use libtest_mimic::Arguments;
use prokura_integration::backend::card::control::{Control, send};
use prokura_integration::backend::card::nitrokey::Nitrokey;
use prokura_integration::backend::card::{FIRST, Filled, OLD, Reader, SECOND};
use prokura_integration::program::output;
use prokura_integration::suite::trial;
use yubikey::YubiKey;

/// The variable that says where the child's cards are.
const CARDS: &str = "PROKURA_TEST_CARDS";

type Body = fn(&Cards) -> Result<()>;

const TESTS: &[(&str, Body)] = &[
    ("opens::by_serial_and_only_so_when_there_are_two", signing::opens),
    ("signs::every_key_spec", signing::signs_with_every_key),
    ("signs::the_certificates_are_those_of_the_keys", signing::certificates_match),
    ("signs::what_is_not_a_padded_block_is_refused", signing::refuses_unpadded),
    ("pin::a_wrong_one_counts_until_blocked_and_the_puk_unblocks", pin::counts),
    ("pin::always_means_right_before_every_signature", pin::always),
    ("pin::is_changed", pin::changes),
    ("touch::on_demand", touch::on_demand),
    ("touch::that_never_comes", touch::never_comes),
    ("touch::is_cached", touch::cached),
    ("provisioning::keys_are_made_in_the_card_and_attested", provisioning::generates),
    ("provisioning::keys_are_imported_and_not_attested", provisioning::imports),
    ("provisioning::needs_the_management_key", provisioning::needs_management_key),
    ("provisioning::certificates_are_stored", provisioning::stores_certificates),
    ("faults::pulled_and_put_back", faults::pulled),
    ("faults::pulled_in_the_middle_of_a_command", faults::pulled_in_a_command),
    ("faults::hanging_and_going_on", faults::hangs),
    ("faults::garbage_and_statuses", faults::garbage),
    ("faults::pcscd_killed_and_started_again", faults::pcscd_killed),
    ("faults::no_reader_at_all", faults::no_reader),
    ("faults::pulled_while_it_asks_for_a_touch", faults::pulled_while_asking),
    ("faults::held_by_another_program", faults::held),
    ("firmware::of_4_3_lacks_what_it_lacks", provisioning::old_firmware),
    ("nitrokey::signs_with_every_key", nitrokey::signs_with_every_key),
    ("nitrokey::counts_a_wrong_pin", nitrokey::counts),
    ("nitrokey::makes_keys_and_stores_certificates", nitrokey::provisions),
    ("programs::yubico_piv_tool", programs::yubico_piv_tool),
    ("programs::opensc", programs::opensc),
];

fn main() -> Result<ExitCode> {
    if let Some(directory) = std::env::var_os(CARDS) {
        let name = std::env::args().nth(1).context("the name of a test")?;
        let (_, body) = TESTS.iter().find(|(test, _)| *test == name).context("no such test")?;
        body(&Cards { directory: directory.into() })?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::from_args();
    let trials = TESTS.iter().map(|(name, _)| trial(*name, || in_their_environment(name))).collect();
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn in_their_environment(name: &str) -> Result<()> {
    programs::needed(name)?;
    let directory = tempfile::tempdir()?;
    if name.starts_with("nitrokey::") {
        let nitrokey = Nitrokey::start(directory.path())?;
        return run_again(name, directory.path(), nitrokey.daemon.environment());
    }
    let second = if name.starts_with("firmware::") { OLD } else { SECOND };
    let reader = Reader::start_with(directory.path(), [FIRST, second])?;
    let filled = Filled::fill(reader, directory.path())?;
    let control = directory.path().join("control");
    let listener = UnixListener::bind(&control)?;
    let environment = filled.reader.daemon.environment();
    let serving = std::thread::spawn(move || Control::new(filled.reader).serve(&listener));
    let run = run_again(name, directory.path(), environment);
    send(&control, "end")?;
    let _ = serving.join();
    run
}

fn run_again(name: &str, directory: &Path, (variable, socket): (&str, OsString)) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg(name).env(variable, socket).env(CARDS, directory).env("RUST_LIB_BACKTRACE", "0");
    output(&mut child)?.ok().map(drop)
}

/// The cards of this test.
struct Cards {
    directory: PathBuf,
}

impl Cards {
    /// Gives the cards an order; see [`prokura_integration::backend::card::control::USAGE`].
    fn order(&self, line: &str) -> Result<String> {
        send(&self.directory.join("control"), line).with_context(|| line.to_owned())
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    /// The filled card.
    fn first(&self) -> Result<YubiKey> {
        Ok(YubiKey::open_by_serial(FIRST.serial.into())?)
    }

    /// The empty card with older firmware.
    fn second(&self) -> Result<YubiKey> {
        Ok(YubiKey::open_by_serial(SECOND.serial.into())?)
    }
}

/// Repeats what fails for as long as pcscd may take to notice something.
fn eventually<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt() {
            Err(error) if Instant::now() > until => bail!("for 10 s: {error:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
            ok => return ok,
        }
    }
}
