//! Questions to the user: confirmations, user names, passwords.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde::Serialize;

use crate::context::Terminals;
use crate::exit::Failure;
use crate::limits::ANSWER_BYTES_MAX;
use crate::output::{Format, Output, Report};

/// A secret the user gave: no `Debug`, no `Clone`, wiped when dropped.
pub(crate) type Secret = zeroize::Zeroizing<String>;

/// Asks `question [y/N]`. Only `y` and `yes` mean yes; anything else is reported as a cancelled operation. The end
/// of standard input means no, silently, as in `notation`.
///
/// # Errors
/// If standard input cannot be read.
pub(crate) fn confirm(output: &mut Output<'_>, question: &str) -> Result<bool, Failure> {
    output.ask(&format!("{question} [y/N] "))?;
    let answer = read_line(&mut io::stdin().lock())?;
    match answer.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("y" | "yes") => return Ok(true),
        None if output.format() == Format::Text => {}
        _ => output.report(&Cancelled { cancelled: true })?,
    }
    Ok(false)
}

/// JSON of a command that the user stopped at its question: `{cancelled: true}`.
#[derive(Serialize)]
struct Cancelled {
    cancelled: bool,
}

impl Report for Cancelled {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Operation cancelled.")
    }
}

/// Asks for a user name; an empty answer is one.
///
/// # Errors
/// If standard input cannot be read.
pub(crate) fn user_name() -> Result<String, Failure> {
    let mut err = io::stderr().lock();
    let _ = write!(err, "Username: ").and_then(|()| err.flush());
    Ok(read_line(&mut io::stdin().lock())?.unwrap_or_default().trim().to_owned())
}

/// Asks for a password, without echo on a terminal.
///
/// # Errors
/// If there is nothing to read from.
pub(crate) fn password(what: &str, terminals: Terminals) -> Result<Secret, Failure> {
    if !terminals.stdin {
        return password_from_input();
    }
    let answer = rpassword::prompt_password(format!("{what}: "));
    answer.map(Secret::new).map_err(|error| Failure::usage(format!("cannot read the password: {error}")))
}

/// Reads all of standard input as a password; one line end at its end is dropped.
///
/// # Errors
/// If it cannot be read, is too long, or no UTF-8.
pub(crate) fn password_from_input() -> Result<Secret, Failure> {
    let mut text = Secret::new(String::new());
    let read = io::stdin().lock().take(ANSWER_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("cannot read the password from standard input: {error}")))?;
    let trimmed = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    Ok(Secret::new(trimmed.to_owned()))
}

fn read_line(input: &mut impl Read) -> Result<Option<String>, Failure> {
    let mut line = String::new();
    let mut reader = BufReader::new(input.take(ANSWER_BYTES_MAX));
    match reader.read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(Failure::usage(format!("cannot read the answer: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_anywhere_and_nothing_is_nothing() {
        let read = |text: &str| read_line(&mut text.as_bytes()).unwrap();
        assert_eq!(read("yes\r\nmore").as_deref(), Some("yes"));
        assert_eq!(read("y").as_deref(), Some("y"));
        assert_eq!(read("\n").as_deref(), Some(""));
        assert_eq!(read(""), None);
    }
}
