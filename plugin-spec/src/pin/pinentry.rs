//! A PIN from a program of the pinentry family (GnuPG), spoken to in the Assuan protocol over its standard streams.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::terminal::until;
use super::{Pin, PinError, Surroundings};
use crate::limits::ASSUAN_LINE_BYTES_MAX;
use crate::request::Deadline;

/// Environment variable that names the program; `pinentry` of `PATH` otherwise.
const PROGRAM: &str = "PROKURA_PLUGIN_PINENTRY";
const ORIGIN: &str = "by pinentry";
/// What the program may see of the environment: where to show itself, and how.
const PASSED_ON: [&str; 8] = [
    "PATH",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "TERM",
    "LANG",
];
/// "Operation cancelled" and "Not confirmed", without the source of the error in the upper bytes (libgpg-error).
const CANCELLED: [u32; 2] = [99, 114];

/// Starts the program, asks, and ends it.
pub(super) fn ask(surroundings: &Surroundings, question: &str, deadline: Deadline) -> Result<Pin, PinError> {
    let mut dialogue = Dialogue::start(surroundings)?;
    dialogue.expect_ok(None)?;
    for command in commands(surroundings, question) {
        // An option the program does not know is no reason to give up.
        let _ = dialogue.expect_ok(Some(&command));
    }
    let pin = dialogue.pin(until(deadline))?;
    Pin::new(&pin, ORIGIN)
}

fn commands(surroundings: &Surroundings, question: &str) -> Vec<String> {
    let variable = |name| surroundings.variable(name).and_then(|value| value.into_string().ok());
    let mut commands = Vec::new();
    commands.extend(variable("GPG_TTY").map(|tty| format!("OPTION ttyname={}", escaped(&tty))));
    commands.extend(variable("TERM").map(|kind| format!("OPTION ttytype={}", escaped(&kind))));
    commands.push(format!("SETDESC {}", escaped(question)));
    commands.push("SETPROMPT PIN:".to_owned());
    commands
}

/// A program that waits for commands. It is ended when this is dropped.
struct Dialogue {
    child: Child,
    lines: mpsc::Receiver<Zeroizing<Vec<u8>>>,
}

impl Dialogue {
    fn start(surroundings: &Surroundings) -> Result<Self, PinError> {
        let program = surroundings.variable(PROGRAM).unwrap_or_else(|| "pinentry".into());
        let environment = PASSED_ON.iter().filter_map(|name| Some((*name, surroundings.variable(name)?)));
        #[expect(clippy::disallowed_methods, reason = "pinentry is the one program a plugin starts")]
        let mut command = Command::new(&program);
        command.env_clear().envs(environment);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| {
            unreadable(format!(
                "{} cannot be started ({e}); install pinentry, or name it with the environment variable {PROGRAM}",
                program.display()
            ))
        })?;
        let stdout = child.stdout.take().ok_or_else(|| unreadable("it has no output"))?;
        let (sender, lines) = mpsc::channel();
        let read = move || {
            let mut stdout = BufReader::with_capacity(ASSUAN_LINE_BYTES_MAX, stdout);
            while let Some(line) = read_line(&mut stdout) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("pinentry".to_owned()).spawn(read).map_err(unreadable)?;
        Ok(Self { child, lines })
    }

    fn say(&mut self, command: &str) -> Result<(), PinError> {
        let stdin = self.child.stdin.as_mut().ok_or_else(|| unreadable("it takes no commands"))?;
        stdin.write_all(format!("{command}\n").as_bytes()).map_err(unreadable)
    }

    fn expect_ok(&mut self, command: Option<&str>) -> Result<(), PinError> {
        if let Some(command) = command {
            self.say(command)?;
        }
        let line = self.next(until(Deadline::NONE))?;
        if line.starts_with(b"OK") { Ok(()) } else { Err(refusal(&line)) }
    }

    fn pin(&mut self, until: Instant) -> Result<Zeroizing<Vec<u8>>, PinError> {
        self.say("GETPIN")?;
        let mut pin = Zeroizing::new(Vec::new());
        loop {
            let line = self.next(until)?;
            match line.as_slice() {
                [b'D', b' ', data @ ..] => pin = unescaped(data),
                [b'O', b'K', ..] => return Ok(pin),
                [b'#' | b'S', ..] => {}
                _ => return Err(refusal(&line)),
            }
        }
    }

    fn next(&self, until: Instant) -> Result<Zeroizing<Vec<u8>>, PinError> {
        match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(PinError::Late { origin: ORIGIN.to_owned() }),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(unreadable("it ended before it answered")),
        }
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line, bounded; `None` at the end and for a line that is longer than Assuan allows.
fn read_line(from: &mut impl BufRead) -> Option<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(ASSUAN_LINE_BYTES_MAX));
    let mut bounded = from.take(ASSUAN_LINE_BYTES_MAX as u64);
    bounded.read_until(b'\n', &mut line).ok()?;
    (line.pop()? == b'\n').then_some(line)
}

fn refusal(line: &[u8]) -> PinError {
    let text = String::from_utf8_lossy(line);
    let code = text.strip_prefix("ERR ").and_then(|t| t.split(' ').next()?.parse::<u32>().ok());
    match code {
        Some(code) if CANCELLED.contains(&(code & 0xFFFF)) => {
            PinError::Declined { origin: ORIGIN.to_owned() }
        }
        Some(_) => unreadable(format!(
            "it answered {:?}; a pinentry needs a display or a terminal: name another pin-source where there is none",
            text.trim_end()
        )),
        None => unreadable("it does not speak the pinentry protocol"),
    }
}

/// Percent-escapes as Assuan asks, and control characters besides.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars().take(ASSUAN_LINE_BYTES_MAX / 8) {
        if character.is_control() || character == '%' {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn unescaped(data: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(data.len()));
    let mut rest = data;
    while let [first, tail @ ..] = rest {
        let digits = (*first == b'%').then(|| tail.first_chunk::<2>()).flatten();
        let byte = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    plain
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unreadable(reason: impl ToString) -> PinError {
    PinError::Unreadable { origin: ORIGIN.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::super::Defaults;
    use super::*;

    /// A pinentry of two lines of shell: greets, agrees with everything, and answers GETPIN with `answer`.
    fn asked(name: &str, answer: &str, deadline: Deadline) -> Result<String, PinError> {
        let path = std::env::temp_dir().join(format!("prokura-pinentry-{name}-{}", std::process::id()));
        let script = format!(
            "#!/bin/sh\necho OK at your service\nwhile read -r line; do case $line in\n\
             GETPIN) {answer} ;;\nSETDESC*) [ \"$line\" = 'SETDESC 100%25 sure%0A?' ] && echo OK || echo ERR 1 x;;\n\
             *) echo OK ;; esac; done\n"
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let program = path.clone();
        let variable = move |name: &str| match name {
            PROGRAM => Some(program.clone().into_os_string()),
            "PATH" => Some("/usr/bin:/bin".into()),
            _ => None,
        };
        let surroundings = Surroundings::new(Defaults { variable: "V", credential: "c" }, variable, |_| {});
        // A file that was written a moment ago may still be open in a child another test is starting.
        let pin = loop {
            match ask(&surroundings, "100% sure\n?", deadline) {
                Err(error) if error.to_string().contains("Text file busy") => {}
                other => break other,
            }
        };
        std::fs::remove_file(&path).unwrap();
        pin.map(|pin| pin.expose().to_owned())
    }

    #[test]
    fn the_answer_is_unescaped() {
        assert_eq!(asked("plain", "echo D 12%2534; echo OK", Deadline::NONE).unwrap(), "12%34");
        assert_eq!(asked("status", "echo S KEEPALIVE; echo D 1; echo OK", Deadline::NONE).unwrap(), "1");
    }

    #[test]
    fn who_cancels_declines_and_nobody_waits_for_ever() {
        let cancelled = asked("cancel", "echo ERR 83886179 Operation cancelled", Deadline::NONE).unwrap_err();
        assert!(matches!(cancelled, PinError::Declined { .. }), "{cancelled}");
        let soon = Deadline::at(Instant::now() + Duration::from_millis(200));
        let late = asked("late", "sleep 60", soon).unwrap_err();
        assert!(matches!(late, PinError::Late { .. }), "{late}");
        let empty = asked("empty", "echo OK", Deadline::NONE).unwrap_err();
        assert!(matches!(empty, PinError::NotAPin { .. }), "{empty}");
        let ended = asked("ended", "exit", Deadline::NONE).unwrap_err();
        assert!(ended.to_string().contains("ended before"), "{ended}");
    }

    #[test]
    fn lines_are_bounded() {
        let long = [&[b'D'; ASSUAN_LINE_BYTES_MAX + 1][..], b"\n"].concat();
        assert!(read_line(&mut long.as_slice()).is_none());
        assert_eq!(read_line(&mut &b"OK\nOK"[..]).unwrap().as_slice(), b"OK");
    }
}
