//! A PIN typed at the controlling terminal, without echo.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use zeroize::Zeroizing;

use super::{Pin, PinError};
use crate::limits::{PERSON_SECONDS_MAX, PIN_BYTES_MAX};
use crate::request::Deadline;

const TERMINAL: &str = "/dev/tty";
const ORIGIN: &str = "at the terminal";

/// Asks at the terminal and waits for a line.
pub(super) fn ask(question: &str, deadline: Deadline) -> Result<Pin, PinError> {
    let mut terminal = File::options().read(true).write(true).open(TERMINAL).map_err(|_| {
        unreadable("there is none: this process was started without one; name another pin-source")
    })?;
    // Reading in the background would stop this process instead of failing.
    if tcgetpgrp(&terminal).map_err(unreadable)? != rustix::process::getpgrp() {
        return Err(unreadable(
            "it belongs to another job: the host runs plugins in the background; use ask",
        ));
    }
    let silent = Silent::new(&terminal).map_err(unreadable)?;
    write!(terminal, "{question}: ").map_err(unreadable)?;
    let answer = line(&mut terminal, until(deadline));
    let _ = writeln!(terminal);
    drop(silent);
    Pin::new(&answer?, ORIGIN)
}

/// When a person is no longer waited for.
pub(super) fn until(deadline: Deadline) -> Instant {
    let longest = Duration::from_secs(PERSON_SECONDS_MAX);
    Instant::now() + deadline.remaining().map_or(longest, |left| left.min(longest))
}

/// The terminal hands over every key at once, shows none and sends no signals, until this is dropped: a signal in
/// between would leave the terminal mute.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new(terminal: &File) -> std::io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// What was typed, after each key.
enum Typed {
    More,
    Done,
    Cancelled,
}

fn line(terminal: &mut File, until: Instant) -> Result<Zeroizing<Vec<u8>>, PinError> {
    // One more than allowed, so that a line that is too long is seen as such; it never grows, so no copy is left.
    let mut line = Zeroizing::new(Vec::with_capacity(PIN_BYTES_MAX + 1));
    loop {
        let mut pressed = Zeroizing::new([0]);
        wait(terminal, until)?;
        match terminal.read(&mut *pressed) {
            Ok(1) => {}
            _ => return Err(declined()),
        }
        let [key] = *pressed;
        match take(&mut line, key) {
            Typed::More => {}
            Typed::Done => return Ok(line),
            Typed::Cancelled => return Err(declined()),
        }
    }
}

/// The control characters of a terminal, which it does not handle itself now.
fn take(line: &mut Vec<u8>, key: u8) -> Typed {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 0x15;
    const DELETE: u8 = 0x7F;
    match key {
        b'\n' | b'\r' => return Typed::Done,
        CTRL_C | CTRL_D => return Typed::Cancelled,
        BACKSPACE | DELETE => while line.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {},
        CTRL_U => line.clear(),
        _ if line.len() <= PIN_BYTES_MAX => line.push(key),
        _ => {}
    }
    Typed::More
}

fn wait(terminal: &File, until: Instant) -> Result<(), PinError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(unreadable)?;
        match poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(PinError::Late { origin: ORIGIN.to_owned() }),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unreadable(reason: impl ToString) -> PinError {
    PinError::Unreadable { origin: ORIGIN.to_owned(), reason: reason.to_string() }
}

fn declined() -> PinError {
    PinError::Declined { origin: ORIGIN.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        for key in keys {
            match take(&mut line, *key) {
                Typed::More => {}
                Typed::Done => return Some(line),
                Typed::Cancelled => return None,
            }
        }
        panic!("no end in {keys:?}");
    }

    #[test]
    fn keys_are_taken_as_a_terminal_takes_them() {
        for (keys, line) in [
            (&b"1234\n"[..], Some(&b"1234"[..])),
            (b"12x\x7f34\r", Some(b"1234")),
            (b"1\xC3\xA4\x082\n", Some(b"12")),
            (b"wrong\x15right\n", Some(b"right")),
            (b"\x7f\n", Some(b"")),
            (b"12\x03", None),
            (b"12\x04", None),
        ] {
            assert_eq!(typed(keys).as_deref(), line, "{keys:?}");
        }
        let long = [[b'1'; 2 * PIN_BYTES_MAX].as_slice(), b"\n"].concat();
        assert_eq!(typed(&long).unwrap().len(), PIN_BYTES_MAX + 1, "bounded, and still seen to be too long");
    }

    #[test]
    fn a_process_without_a_terminal_is_told_so() {
        if File::open(TERMINAL).is_err() {
            let error = ask("PIN", Deadline::NONE).err().unwrap();
            assert!(error.to_string().contains("name another pin-source"), "{error}");
        }
    }
}
