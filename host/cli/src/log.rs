//! Diagnostics on standard error for `--debug` and `--verbose`. The libraries never log secrets.

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use crate::cli::GlobalOptions;

/// Starts logging as asked. Only this house's own events are shown: an HTTP library's would hold headers.
pub(crate) fn start(options: &GlobalOptions, colour: bool) {
    let level = match (options.debug, options.verbose) {
        (true, _) => LevelFilter::DEBUG,
        (false, true) => LevelFilter::INFO,
        (false, false) => return,
    };
    let Ok(own) = format!("prokura={level}").parse() else { return };
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into()).parse_lossy("");
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.add_directive(own))
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}
