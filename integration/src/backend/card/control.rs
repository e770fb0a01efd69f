//! The virtual card's control: one line per command, as a UNIX socket or a test script gives it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Client, Fault, Habit, Reader};

/// What a line may say. N is the slot, 0 or 1; INS an instruction in hexadecimal, or `any`.
pub const USAGE: &str = "\
unplug N | plug N                    pull a card out, put it back
hang N INS | release N               no answer until released
pull N INS before|after              the card goes in the middle of a command
garbage N INS HEX                    these bytes instead of an answer
status N INS SW TIMES                this status instead of an answer
touch N                              touch the card that asks
touch-after N MS | touch-by-hand N   when the card is touched
patience N MS                        how long the card waits for a touch
count N | count-anew N               commands by instruction
tries N                              tries left of PIN and PUK
asking N | hanging N                 whether it waits for a touch, for `release`
hold N | let-go                      another program holds the card exclusively
kill-pcscd | restart-pcscd           signal 9, and starting it again
restart-pcscd-without-reader         as where no YubiKey was ever plugged in
end                                  ends cards and pcscd
";

/// Sends one line to the cards that listen at `socket`, and returns what they say.
///
/// # Errors
/// If no cards listen there, or with what they say is wrong.
pub fn send(socket: &Path, line: &str) -> Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("no cards listen at {}", socket.display()))?;
    writeln!(stream, "{line}")?;
    stream.shutdown(Shutdown::Write)?;
    let said = std::io::read_to_string(stream)?;
    match said.split_once(' ') {
        Some(("ok", said)) => Ok(said.trim_end().to_owned()),
        None if said.is_empty() && line == "end" => Ok(said),
        _ => bail!("{said}"),
    }
}

/// A reader under control, and what holds its cards.
pub struct Control {
    reader: Reader,
    holder: Option<Client>,
}

impl Control {
    /// Takes control of a reader.
    pub fn new(reader: Reader) -> Self {
        Self { reader, holder: None }
    }

    /// The reader.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Answers lines on a socket until one says `end`.
    ///
    /// # Errors
    /// If no client can be accepted.
    pub fn serve(mut self, socket: &UnixListener) -> Result<()> {
        for stream in socket.incoming() {
            // A client that goes away is no reason to end.
            if let Ok(true) = self.converse(stream?) {
                break;
            }
        }
        Ok(())
    }

    fn converse(&mut self, stream: UnixStream) -> Result<bool> {
        let mut replies = stream.try_clone()?;
        for line in BufReader::new(stream).lines() {
            let line = line?;
            if line == "end" {
                return Ok(true);
            }
            match self.command(&line) {
                Ok(said) => writeln!(replies, "ok {said}")?,
                Err(error) => writeln!(replies, "error {error:#}")?,
            }
        }
        Ok(false)
    }

    /// Carries out one line.
    ///
    /// # Errors
    /// If it is none of [`USAGE`], or fails.
    pub fn command(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["kill-pcscd"] => self.reader.daemon.kill(),
            ["restart-pcscd"] => self.reader.daemon.restart()?,
            ["restart-pcscd-without-reader"] => self.reader.daemon.restart_without_reader()?,
            ["let-go"] => self.holder = None,
            ["hold", slot] => self.holder = Some(self.reader.daemon.hold(slot.parse()?)?),
            [verb, slot, rest @ ..] => return self.card_command(verb, slot.parse()?, rest),
            _ => bail!("expected one of\n{USAGE}"),
        }
        Ok(String::new())
    }

    fn card_command(&self, verb: &str, slot: usize, rest: &[&str]) -> Result<String> {
        let card = self.reader.cards.get(slot).context("the slots are 0 and 1")?;
        match (verb, rest) {
            ("unplug", []) => card.unplug(),
            ("plug", []) => card.plug(),
            ("release", []) => card.release(),
            ("hang", [ins]) => card.fail(instruction(ins)?, Fault::Hang, 1),
            ("pull", [ins, "before"]) => card.fail(instruction(ins)?, Fault::PullBefore, 1),
            ("pull", [ins, "after"]) => card.fail(instruction(ins)?, Fault::PullAfter, 1),
            ("garbage", [ins, bytes]) => card.fail(instruction(ins)?, Fault::Garbage(hex(bytes)?), 1),
            ("status", [ins, status, times]) => {
                let status = u16::from_str_radix(status, 16)?;
                card.fail(instruction(ins)?, Fault::Status(status), times.parse()?);
            }
            ("touch", []) => card.touch(),
            ("touch-after", [ms]) => card.set_touch(Habit::After(milliseconds(ms)?)),
            ("touch-by-hand", []) => card.set_touch(Habit::OnDemand),
            ("patience", [ms]) => card.set_touch_patience(milliseconds(ms)?),
            ("count-anew", []) => card.count_anew(),
            ("count", []) => {
                let counted = card.counted();
                let shown: Vec<String> = counted.iter().map(|(ins, n)| format!("{ins:02x}={n}")).collect();
                return Ok(shown.join(" "));
            }
            ("asking", []) => return Ok(card.is_asking().to_string()),
            ("hanging", []) => return Ok(card.is_hanging().to_string()),
            ("tries", []) => return Ok(format!("{:?}", card.tries())),
            _ => bail!("expected one of\n{USAGE}"),
        }
        Ok(String::new())
    }
}

fn instruction(word: &str) -> Result<Option<u8>> {
    if word == "any" { Ok(None) } else { Ok(Some(u8::from_str_radix(word, 16)?)) }
}

fn milliseconds(word: &str) -> Result<Duration> {
    Ok(Duration::from_millis(word.parse()?))
}

fn hex(word: &str) -> Result<Vec<u8>> {
    let pair = |at: usize| word.get(at..at + 2).context("an odd number of hexadecimal digits");
    (0..word.len()).step_by(2).map(|at| Ok(u8::from_str_radix(pair(at)?, 16)?)).collect()
}
