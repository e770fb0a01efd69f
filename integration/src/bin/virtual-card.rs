//! Two virtual YubiKeys behind a pcscd of their own, for whoever works on what uses them.
//!
//! `virtual-card -- COMMAND` runs a command that sees the cards, and ends with it. Without a command it prints the
//! environment that leads to the cards and stays until its standard input ends. Both take orders at the socket
//! `control` in `--directory`: `virtual-card --directory D --send 'unplug 0'`.

#![expect(clippy::disallowed_methods, reason = "runs the command it is given")]
#![expect(clippy::print_stdout, reason = "says where the cards are")]

use std::io::BufRead as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Parser;
use prokura_integration::backend::card::control::{Control, USAGE, send};
use prokura_integration::backend::card::{Filled, SOCKET_VARIABLE};

/// Two virtual YubiKeys behind a pcscd of their own.
///
/// Both have PIN 123456 and PUK 12345678. Serial 12345678 (firmware 5.7.1) has RSA-2048 in 9a, P-256 in 9c (PIN
/// always), P-384 in 9d, RSA-3072 in 82, RSA-4096 in 83; serial 87654321 (firmware 5.4.3) is empty.
#[derive(Parser)]
#[command(after_help = USAGE)]
struct Arguments {
    /// Where their files go: root.pem, pin, control, pcscd.log [default: a temporary directory].
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Send a line to the cards that run in `--directory`, print the answer and end.
    #[arg(long, requires = "directory")]
    send: Option<String>,
    /// What to run.
    #[arg(last = true)]
    command: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let temporary = tempfile::Builder::new().prefix("virtual-card-").tempdir()?;
    let directory = arguments.directory.unwrap_or_else(|| temporary.path().to_owned());
    match arguments.send {
        Some(line) => {
            println!("{}", send(&directory.join("control"), &line)?);
            Ok(ExitCode::SUCCESS)
        }
        None => serve(&directory, &arguments.command),
    }
}

fn serve(directory: &Path, command: &[String]) -> Result<ExitCode> {
    std::fs::create_dir_all(directory)?;
    let filled = Filled::start(directory)?;
    let (_, socket) = filled.reader.daemon.environment();
    let control = directory.join("control");
    let _ = std::fs::remove_file(&control);
    println!("{SOCKET_VARIABLE}={}", socket.display());
    println!("root={} pin={}", filled.root.display(), filled.pin_file.display());
    let listener = UnixListener::bind(&control)?;
    let serving = std::thread::spawn(move || Control::new(filled.reader).serve(&listener));
    let status = match command {
        [] => {
            std::io::stdin().lock().lines().for_each(drop);
            ExitCode::SUCCESS
        }
        [program, arguments @ ..] => {
            let status = Command::new(program).args(arguments).env(SOCKET_VARIABLE, socket).status()?;
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    };
    let _ = send(&control, "end");
    let _ = serving.join();
    Ok(status)
}
