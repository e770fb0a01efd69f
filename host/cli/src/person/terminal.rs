//! Questions at the controlling terminal. Each is a future: dropping it leaves the terminal as it was.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use prokura_plugin::Pin;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use zeroize::Zeroizing;

use crate::limits::TERMINAL_LINE_BYTES_MAX;

const TERMINAL: &str = "/dev/tty";
const ORIGIN: &str = "typed at the terminal";

/// The terminal, if this process has one and is in its foreground: in the background reading would stop it.
pub(super) fn open() -> Option<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(flags).open(TERMINAL).ok()?;
    (tcgetpgrp(&terminal).ok()? == rustix::process::getpgrp()).then_some(terminal)
}

/// Asks for a PIN without echo. `None` at the end of input, and for what is no PIN.
pub(super) async fn pin(question: &str) -> Option<Pin> {
    let mut terminal = open()?;
    let silent = Silent::new(&terminal).ok()?;
    write!(terminal, "{question}: ").ok()?;
    let line = line(terminal).await.ok()?;
    drop(silent);
    Pin::new(&line, ORIGIN).ok()
}

/// Asks a question that `y` and `yes` answer with yes. `None` at the end of input.
pub(super) async fn confirm(question: &str) -> Option<bool> {
    let mut terminal = open()?;
    write!(terminal, "{question}").ok()?;
    let line = line(terminal).await.ok().filter(|line| !line.is_empty())?;
    let answer = String::from_utf8_lossy(&line).trim().to_ascii_lowercase();
    Some(answer == "y" || answer == "yes")
}

/// One line as the terminal hands it over, without its end. What does not fit is too long for a PIN.
async fn line(terminal: File) -> io::Result<Zeroizing<Vec<u8>>> {
    // A terminal is awaited like a pipe; that it is none is all that is not checked.
    let mut terminal = Receiver::from_file_unchecked(terminal)?;
    let mut line = Zeroizing::new(vec![0; TERMINAL_LINE_BYTES_MAX]);
    let length = terminal.read(&mut line).await?;
    line.truncate(length);
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

/// The terminal shows nothing of what is typed but the end of the line, until this is dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes &= !LocalModes::ECHO;
        silent.local_modes |= LocalModes::ECHONL | LocalModes::ICANON;
        // What was typed before the question was asked is no answer to it.
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
