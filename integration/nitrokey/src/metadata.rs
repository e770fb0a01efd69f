//! What the card does not tell of its keys: the answers to Yubico's GET METADATA, remembered from when they were made.
//!
//! The card itself has metadata of one slot only, and there but the policies. One file per slot, beside what the card
//! stores, holds the answer.

use std::path::PathBuf;

/// PIN and PUK, whose tries a card has three of.
const TRIES: u8 = 3;
const MANAGEMENT_KEY: u8 = 0x9B;
const PIN: u8 = 0x80;
const TRIPLE_DES: u8 = 0x03;

/// The memory of made keys.
pub(crate) struct Metadata {
    directory: PathBuf,
}

impl Metadata {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Remembers a key from the command that made it, `AC 03 80 01 algorithm`, and its answer, `7F49 length key`.
    pub(crate) fn made(&self, slot: u8, template: &[u8], answer: &[u8]) {
        let (&[_, _, _, _, algorithm, ..], [0x7F, 0x49, rest @ ..]) = (template, answer) else { return };
        let key = match rest {
            [0x82, _, _, key @ ..] | [0x81, _, key @ ..] | [_, key @ ..] => key,
            [] => return,
        };
        let policy = match slot {
            0x9C => 3,
            0x9E => 1,
            _ => 2,
        };
        let mut metadata = vec![1, 1, algorithm, 2, 2, policy, 1, 3, 1, 1, 4];
        match (u8::try_from(key.len()), u16::try_from(key.len())) {
            (Ok(short), _) if short < 0x80 => metadata.push(short),
            (Ok(short), _) => metadata.extend([0x81, short]),
            (_, Ok(long)) => metadata.extend([&[0x82][..], &long.to_be_bytes()].concat()),
            _ => return,
        }
        metadata.extend_from_slice(key);
        // A key whose metadata is lost is one the tests will miss.
        let _ = std::fs::write(self.file(slot), metadata);
    }

    /// The metadata of a slot, of the management key, or of the PIN, for which `status` is the answer to a VERIFY
    /// without data: 9000 if it was verified, and then all tries are left, or 63Cn.
    pub(crate) fn of(&self, reference: u8, status: u16) -> Option<Vec<u8>> {
        match reference {
            MANAGEMENT_KEY => Some(vec![1, 1, TRIPLE_DES, 2, 2, 0, 1, 5, 1, 1]),
            PIN => {
                let left = if status == 0x9000 { TRIES } else { u8::try_from(status & 0x0F).unwrap_or(0) };
                Some(vec![1, 1, 0xFF, 5, 1, 0, 6, 2, TRIES, left])
            }
            slot => std::fs::read(self.file(slot)).ok(),
        }
    }

    fn file(&self, slot: u8) -> PathBuf {
        self.directory.join(format!("metadata-{slot:02x}"))
    }
}
