//! What stands between the card and software made for YubiKeys: whole commands, short answers, and four differences.
//!
//! - The card says it has firmware 6.6.6, which no YubiKey has; here it says 5.3.0, the first with GET METADATA.
//! - The card answers that command with nothing; here with what [`Metadata`] remembers.
//! - The card is selected by its whole name only; YubiKeys answer to its beginning.
//! - The card gives no data to who does not say how much (Le); YubiKeys do.

use crate::metadata::Metadata;

/// Bytes of an answer sent at a time, without its status.
const ANSWER_MAX: usize = 256;
/// Bytes of a chained command at most.
const COMMAND_MAX: usize = 4096;

/// VERIFY that only asks (NIST SP 800-73-4 part 2 section 3.2.1).
const VERIFY_STATUS: &[u8] = &[0x00, 0x20, 0x00, 0x80];

const PIV_BEGINNING: &[u8] = &[0xA0, 0x00, 0x00, 0x03, 0x08];
const PIV: &[u8] = &[0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00];

/// Joins chained commands, cuts long answers.
pub(crate) struct Shim {
    metadata: Metadata,
    chained: Vec<u8>,
    unsent: Vec<u8>,
}

/// What makes a command's answer: data and status.
pub(crate) type Card<'a> = &'a mut dyn FnMut(&[u8]) -> (Vec<u8>, u16);

impl Shim {
    pub(crate) fn new(metadata: Metadata) -> Self {
        Self { metadata, chained: Vec::new(), unsent: Vec::new() }
    }

    /// Answers one command, by way of a card that takes whole ones and answers with data and status.
    pub(crate) fn answer(&mut self, bytes: &[u8], card: Card<'_>) -> Vec<u8> {
        let Some((&[class, instruction, p1, p2], body)) = bytes.split_first_chunk() else {
            return vec![0x67, 0x00];
        };
        match instruction {
            0xC0 => return self.rest(0x9000),
            0xF7 => {
                let (_, status) = card(VERIFY_STATUS);
                let metadata = self.metadata.of(p2, status);
                let status = if metadata.is_some() { 0x9000 } else { 0x6A88 };
                self.unsent = metadata.unwrap_or_default();
                return self.rest(status);
            }
            0xFD => return vec![5, 3, 0, 0x90, 0x00],
            _ => (),
        }
        self.unsent.clear();
        let data = match body {
            [] | [_] => &[],
            [length, data @ ..] => data.get(..usize::from(*length)).unwrap_or_default(),
        };
        self.chained.extend_from_slice(data);
        if class & 0x10 != 0 && self.chained.len() <= COMMAND_MAX {
            return vec![0x90, 0x00];
        }
        let mut data = std::mem::take(&mut self.chained);
        if instruction == 0xA4 && data == PIV_BEGINNING {
            data = PIV.to_vec();
        }
        let (answer, status) = card(&extended([class & !0x10, instruction, p1, p2], &data));
        if instruction == 0x47 && status == 0x9000 {
            self.metadata.made(p2, &data, &answer);
        }
        self.unsent = answer;
        self.rest(status)
    }

    /// Reset: what was begun is forgotten.
    pub(crate) fn reset(&mut self) {
        self.chained.clear();
        self.unsent.clear();
    }

    fn rest(&mut self, status: u16) -> Vec<u8> {
        let later = self.unsent.split_off(self.unsent.len().min(ANSWER_MAX));
        let mut part = std::mem::replace(&mut self.unsent, later);
        match self.unsent.len() {
            0 => part.extend(status.to_be_bytes()),
            left => part.extend([0x61, u8::try_from(left).unwrap_or(0)]),
        }
        part
    }
}

/// The command in the long form, with the longest answer allowed (ISO/IEC 7816-4 section 5.1).
fn extended(header: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut command = header.to_vec();
    command.push(0);
    if let (false, Ok(length)) = (data.is_empty(), u16::try_from(data.len())) {
        command.extend(length.to_be_bytes());
        command.extend_from_slice(data);
    }
    command.extend([0, 0]);
    command
}
