//! `prokurad`, the key broker: reads argv, environment and clock, and hands them to the library.

#[path = "main/audit.rs"]
mod audit;
#[path = "main/command.rs"]
mod command;
#[path = "main/output.rs"]
mod output;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use prokura_broker::config::{Config, LogFormat};
use prokura_broker::daemon::{self, Notifier, Surroundings};
use prokura_broker::service::Clock;
use tracing_subscriber::EnvFilter;

use command::{Command, Prokurad};
use output::Exit;

fn main() -> ExitCode {
    let prokurad = match Prokurad::try_parse() {
        Ok(prokurad) => prokurad,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    match prokurad.command {
        Command::Run { config, debug } => run(&config, debug),
        Command::Check { config, output } => output::checked(&daemon::check(&config), &config, output),
        Command::Audit(command) => audit::run(&command),
    }
}

fn run(path: &std::path::Path, debug: bool) -> ExitCode {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => return output::failed(Exit::Usage, &error),
    };
    log(config.log_format, debug);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(Exit::Infrastructure, &error),
    };
    let ended = runtime.block_on(daemon::run(path, config, surroundings()));
    // What hangs in a thread, such as a name lookup, does not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_configuration() => output::failed(Exit::Usage, &error),
        Err(error) => output::failed(Exit::Infrastructure, &error),
    }
}

#[expect(clippy::disallowed_methods, reason = "the binary reads environment and clock for the library")]
fn surroundings() -> Surroundings {
    let clock: Clock = Arc::new(jiff::Timestamp::now);
    let notifier =
        std::env::var_os("NOTIFY_SOCKET").map_or_else(Notifier::silent, |address| Notifier::at(&address));
    // sd_listen_fds(3): they are for this process only if it is the one that systemd started.
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let ours = number("LISTEN_PID") == Some(std::process::id());
    let inherited_sockets = number("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
    Surroundings { environment: std::env::vars_os().collect(), clock, notifier, inherited_sockets }
}

/// Only this house's own events: an HTTP library's would hold headers.
fn log(format: LogFormat, debug: bool) {
    let level = if debug { "debug" } else { "info" };
    let plugins = if debug { "debug" } else { "warn" };
    let filter = EnvFilter::new(format!("prokura_broker={level},prokura_signer={plugins}"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(false).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
