//! Commands and answers of a card (ISO 7816-4): long commands in chained parts, long answers collected, all bounded.

use zeroize::Zeroizing;

use crate::error::Failure;
use crate::limits::{ANSWER_BYTES_MAX, ANSWER_PARTS_MAX};

/// Most bytes of data in one short command.
const PART_MAX: usize = 255;
/// Room for the largest answer to a short command: 256 bytes and the status word.
const RECEIVE_BYTES: usize = 258;
/// Class byte of all but the last part of a chained command (ISO 7816-4 section 5.1.1.1).
const CHAINED: u8 = 0x10;
const GET_RESPONSE: [u8; 4] = [0x00, 0xC0, 0x00, 0x00];

/// The way to a card.
pub(crate) trait Wire {
    /// Sends one command and returns answer and status word.
    fn transmit<'a>(&self, command: &[u8], room: &'a mut [u8]) -> Result<&'a [u8], pcsc::Error>;
}

impl Wire for pcsc::Transaction<'_> {
    fn transmit<'a>(&self, command: &[u8], room: &'a mut [u8]) -> Result<&'a [u8], pcsc::Error> {
        pcsc::Card::transmit(self, command, room)
    }
}

/// A command; its data may be a PIN, so that it is wiped and has no Debug.
pub(crate) struct Command<'a> {
    /// Instruction, P1 and P2.
    pub(crate) head: [u8; 3],
    /// Data, of any length.
    pub(crate) data: &'a [u8],
    /// Whether an answer with data is expected; a card that follows the standard strictly keeps it otherwise.
    pub(crate) answers: bool,
}

/// What a card answered.
pub(crate) struct Answer {
    /// SW1 and SW2 of the last part.
    pub(crate) status: u16,
    /// The data of all parts; wiped, it may be a management key.
    pub(crate) data: Zeroizing<Vec<u8>>,
}

/// Sends a command and collects its answer. `doing` is what it is for, in the form "read slot 9c".
///
/// # Errors
/// [`Failure::Pcsc`] if the card cannot be reached, [`Failure::Malformed`] for answers that are none or have no end.
pub(crate) fn exchange(wire: &dyn Wire, doing: &str, command: &Command<'_>) -> Result<Answer, Failure> {
    let mut parts = command.data.chunks(PART_MAX).peekable();
    let mut answer = loop {
        let part = parts.next().unwrap_or_default();
        let last = parts.peek().is_none();
        let answer = send(wire, doing, &bytes(command, part, last))?;
        if last || answer.status != OK {
            break answer;
        }
    };
    for _ in 0..ANSWER_PARTS_MAX {
        let [more, left] = answer.status.to_be_bytes();
        if more != MORE_TO_COME {
            return Ok(answer);
        }
        let next = send(wire, doing, &[&GET_RESPONSE[..], &[left]].concat())?;
        answer.data.extend_from_slice(&next.data);
        answer.status = next.status;
        if answer.data.len() > ANSWER_BYTES_MAX {
            return Err(malformed(doing, "more bytes than any PIV object has"));
        }
    }
    Err(malformed(doing, "an answer without end"))
}

/// Status word of success.
pub(crate) const OK: u16 = 0x9000;
const MORE_TO_COME: u8 = 0x61;

fn bytes(command: &Command<'_>, part: &[u8], last: bool) -> Zeroizing<Vec<u8>> {
    let [instruction, p1, p2] = command.head;
    let mut bytes = Zeroizing::new(Vec::with_capacity(6 + part.len()));
    bytes.extend_from_slice(&[if last { 0 } else { CHAINED }, instruction, p1, p2]);
    if !part.is_empty() {
        bytes.push(u8::try_from(part.len()).unwrap_or_default());
        bytes.extend_from_slice(part);
    }
    if part.is_empty() || (last && command.answers) {
        bytes.push(0); // Le: up to 256 bytes
    }
    bytes
}

fn send(wire: &dyn Wire, doing: &str, command: &[u8]) -> Result<Answer, Failure> {
    let mut room = Zeroizing::new([0; RECEIVE_BYTES]);
    let answer = match wire.transmit(command, room.as_mut()) {
        Ok(answer) => answer,
        Err(pcsc::Error::InsufficientBuffer) => return Err(malformed(doing, "more than a short answer")),
        Err(error) => return Err(Failure::Pcsc { doing: doing.to_owned(), error }),
    };
    match answer {
        [data @ .., sw1, sw2] => {
            Ok(Answer { status: u16::from_be_bytes([*sw1, *sw2]), data: Zeroizing::new(data.to_vec()) })
        }
        _ => Err(malformed(doing, "no status word")),
    }
}

/// A card that answers what no PIV application may.
pub(crate) fn malformed(doing: &str, found: &str) -> Failure {
    Failure::Malformed { doing: doing.to_owned(), found: found.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Answers in turn what it was given, and remembers what it was sent.
    pub(crate) struct Script {
        pub(crate) answers: RefCell<Vec<Vec<u8>>>,
        pub(crate) sent: RefCell<Vec<Vec<u8>>>,
    }

    impl Script {
        pub(crate) fn new(answers: &[&[u8]]) -> Self {
            let answers = answers.iter().rev().map(|a| a.to_vec()).collect();
            Self { answers: RefCell::new(answers), sent: RefCell::default() }
        }
    }

    impl Wire for Script {
        fn transmit<'a>(&self, command: &[u8], room: &'a mut [u8]) -> Result<&'a [u8], pcsc::Error> {
            self.sent.borrow_mut().push(command.to_vec());
            let mut answers = self.answers.borrow_mut();
            let answer = if answers.len() > 1 { answers.pop() } else { answers.first().cloned() };
            let answer = answer.ok_or(pcsc::Error::RemovedCard)?;
            let room = room.get_mut(..answer.len()).ok_or(pcsc::Error::InsufficientBuffer)?;
            room.copy_from_slice(&answer);
            Ok(room)
        }
    }

    fn command(data: &[u8], answers: bool) -> Command<'_> {
        Command { head: [0x87, 0x07, 0x9C], data, answers }
    }

    #[test]
    fn long_commands_are_chained_and_long_answers_collected() {
        let script = Script::new(&[&[0x90, 0], &[1, 2, 0x61, 3], &[3, 4, 5, 0x90, 0]]);
        let answer = exchange(&script, "sign", &command(&[7; 300], true)).ok().unwrap();
        assert_eq!((answer.status, &answer.data[..]), (OK, &[1, 2, 3, 4, 5][..]));
        let sent = script.sent.borrow();
        assert_eq!(sent[0][..5], [0x10, 0x87, 0x07, 0x9C, 255]);
        assert_eq!(sent[0].len(), 5 + 255);
        assert_eq!(sent[1][..5], [0x00, 0x87, 0x07, 0x9C, 45]);
        assert_eq!((sent[1].len(), sent[1].last()), (5 + 45 + 1, Some(&0)));
        assert_eq!(sent[2], [0, 0xC0, 0, 0, 3]);
    }

    #[test]
    fn a_refused_part_ends_the_command() {
        let script = Script::new(&[&[0x69, 0x82], &[0x90, 0]]);
        let answer = exchange(&script, "sign", &command(&[7; 600], true)).ok().unwrap();
        assert_eq!((answer.status, script.sent.borrow().len()), (0x6982, 1));
    }

    #[test]
    fn answers_without_end_or_status_are_refused() {
        for answers in [&[&[0x61, 0][..]][..], &[&[0x90]], &[&[]]] {
            let failure = exchange(&Script::new(answers), "sign", &command(&[], true)).err().unwrap();
            assert!(matches!(failure, Failure::Malformed { .. }));
        }
        let endless = [&[9; 256][..], &[0x61, 0]].concat();
        let failure = exchange(&Script::new(&[&endless]), "sign", &command(&[], true)).err().unwrap();
        assert!(matches!(failure, Failure::Malformed { found, .. } if found.contains("more bytes")));
    }

    #[test]
    fn commands_without_data_ask_for_an_answer() {
        let script = Script::new(&[&[5, 7, 1, 0x90, 0]]);
        assert!(exchange(&script, "ask", &Command { head: [0xFD, 0, 0], data: &[], answers: true }).is_ok());
        assert_eq!(script.sent.borrow()[0], [0, 0xFD, 0, 0, 0]);
    }
}
