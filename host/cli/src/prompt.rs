//! Questions to the user: confirmations, user names, passwords.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde::Serialize;

use crate::context::Terminals;
use crate::exit::{Exit, Failure};
use crate::limits::ANSWER_BYTES_MAX;
use crate::output::{Output, Report};
use crate::password::Password;

/// Asks `question [y/N]`. Only `y` and `yes` mean yes; anything else is reported as a cancelled operation.
///
/// # Errors
/// If standard input cannot be read or ends without an answer. (`notation` takes the end for a no and succeeds: a script
/// then takes an old signature for the new one.)
pub(crate) async fn confirm(output: &mut Output<'_>, question: &str) -> Result<bool, Failure> {
    output.ask(&format!("{question} [y/N] "))?;
    let answer = waiting(|| read_line(&mut io::stdin().lock())).await?;
    match answer.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("y" | "yes") => Ok(true),
        // A script must not take a question that nobody answered for work that was done.
        None => Err(Failure::usage(
            "the question was not answered: there is no more input, and nothing was changed; say yes beforehand with \
             --yes or --force, whichever the verb has",
        )),
        _ => output.report(&Cancelled { cancelled: true }).map(|()| false),
    }
}

/// Waits for the user on another thread, so that Ctrl-C is heard meanwhile.
async fn waiting<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let joined = tokio::task::spawn_blocking(read).await;
    joined.map_err(|error| Failure::infrastructure(error.to_string()))?
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
pub(crate) async fn user_name() -> Result<String, Failure> {
    let mut err = io::stderr();
    let _ = write!(err, "Username: ").and_then(|()| err.flush());
    let answer = waiting(|| read_line(&mut io::stdin().lock())).await?;
    Ok(answer.unwrap_or_default().trim().to_owned())
}

/// Asks for a password, without echo on a terminal.
///
/// # Errors
/// If there is nothing to read from.
pub(crate) async fn password(what: &'static str, terminals: Terminals) -> Result<Password, Failure> {
    if !terminals.stdin {
        return password_from_input().await;
    }
    waiting(move || {
        let answer = rpassword::prompt_password(format!("{what}: "));
        answer.map(Password::new).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => Failure::interrupted(Exit::Interrupted),
            _ => Failure::usage(format!("cannot read the password: {error}")),
        })
    })
    .await
}

/// Reads all of standard input as a password; one line end at its end is dropped.
///
/// # Errors
/// If it cannot be read, is too long, or no UTF-8.
pub(crate) async fn password_from_input() -> Result<Password, Failure> {
    waiting(|| {
        let mut text = zeroize::Zeroizing::new(String::new());
        let read = io::stdin().lock().take(ANSWER_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| {
            Failure::usage(format!("cannot read the password from standard input: {error}"))
        })?;
        let trimmed = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
        Ok(Password::new(trimmed.to_owned()))
    })
    .await
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
