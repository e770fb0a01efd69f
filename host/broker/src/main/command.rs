//! The command line of `prokurad`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const CONFIG: &str = "/etc/prokura/prokurad.toml";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused: the audit log does not verify
  2  wrong usage or configuration
  3  infrastructure: a socket, the disk, a plugin that did not start";

/// The key broker: build machines sign through it with keys that stay in their vaults.
#[derive(Debug, Parser)]
#[command(name = "prokurad", version, after_help = EXIT_CODES)]
pub(crate) struct Prokurad {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM; SIGHUP reloads policies, keys, TLS files and token issuers.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
        /// Log more.
        #[arg(long)]
        debug: bool,
    },
    /// Check the configuration and every file it names, without starting anything.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
        /// How the findings are written.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Read the audit log; the broker may run meanwhile.
    #[command(subcommand)]
    Audit(Audit),
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Verify every entry, tile, signature and record.
    Verify {
        #[command(flatten)]
        log: LogPlace,
        /// How the report is written.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show one entry.
    Show {
        #[command(flatten)]
        log: LogPlace,
        /// Its place, counted from 0.
        index: u64,
    },
    /// Write entries as JSON lines.
    Export {
        #[command(flatten)]
        log: LogPlace,
        /// The first one.
        #[arg(long, value_name = "INDEX", default_value_t)]
        from: u64,
    },
    /// Write the receipt of one entry as JSON, to be checked without the broker.
    Prove {
        #[command(flatten)]
        log: LogPlace,
        /// Its place, counted from 0.
        index: u64,
    },
    /// Print the verifier key: what others need to check receipts and the log.
    Key {
        #[command(flatten)]
        log: LogPlace,
    },
}

/// Where the log is: by the broker's configuration, or by its directory and verifier key.
#[derive(Args, Debug)]
pub(crate) struct LogPlace {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
    /// The directory of the log, instead of the configuration.
    #[arg(long, value_name = "DIRECTORY", requires = "verifier")]
    pub(crate) log: Option<PathBuf>,
    /// The verifier key (name+id+base64), as `prokurad audit key` prints it.
    #[arg(long, value_name = "KEY", requires = "log")]
    pub(crate) verifier: Option<String>,
}
