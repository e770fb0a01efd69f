//! What stands between the card and software made for YubiKeys: whole commands, short answers, and three answers.
//!
//! - The card says it has firmware 6.6.6, which no YubiKey has; here it says 5.1.2, the last without GET METADATA.
//! - The card knows metadata of one slot and answers nothing for the others; firmware 5.1 answers 6D00.
//! - The card is selected by its whole name only; YubiKeys answer to its beginning.
//! - The card gives no data to who does not say how much (Le); YubiKeys do.

/// Bytes of an answer sent at a time, without its status.
const ANSWER_MAX: usize = 256;
/// Bytes of a chained command at most.
const COMMAND_MAX: usize = 4096;

const PIV_BEGINNING: &[u8] = &[0xA0, 0x00, 0x00, 0x03, 0x08];
const PIV: &[u8] = &[0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00];

/// Joins chained commands, cuts long answers.
#[derive(Default)]
pub(crate) struct Shim {
    chained: Vec<u8>,
    unsent: Vec<u8>,
}

impl Shim {
    /// Answers one command, by way of a card that takes whole ones and answers with data and status.
    pub(crate) fn answer(&mut self, bytes: &[u8], card: &mut dyn FnMut(&[u8]) -> (Vec<u8>, u16)) -> Vec<u8> {
        let Some((&[class, instruction, p1, p2], body)) = bytes.split_first_chunk() else {
            return vec![0x67, 0x00];
        };
        match instruction {
            0xC0 => return self.rest(0x9000),
            0xF7 => return vec![0x6D, 0x00],
            0xFD => return vec![5, 1, 2, 0x90, 0x00],
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
        self.unsent = answer;
        self.rest(status)
    }

    /// Reset: what was begun is forgotten.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
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
