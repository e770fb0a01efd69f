//! Checkpoints: size and root of the tree, signed (C2SP tlog-checkpoint and signed-note).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{LogKey, Verifier};
use super::tree::Hash;
use crate::limits::AUDIT_CHECKPOINT_BYTES_MAX;

/// Size and root of a log, as its key signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Entries in the tree.
    pub size: u64,
    /// Its root hash.
    pub root: Hash,
}

/// Why a checkpoint is not one of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note, or not one with the three lines of a checkpoint.
    #[error("the checkpoint is not one: {0}")]
    Form(&'static str),
    /// No signature by the key.
    #[error("the checkpoint bears no signature by {0}; was it made by another log?")]
    Unsigned(String),
    /// A signature that claims to be by the key and is not.
    #[error(
        "the signature of the checkpoint by {0} does not verify: it was altered, or another key has that name"
    )]
    Signature(String),
    /// Signed by the key, but of another log.
    #[error("the checkpoint is that of {found}, expected {expected}")]
    Origin {
        /// As the checkpoint says.
        found: String,
        /// The name of the key.
        expected: String,
    },
}

impl Checkpoint {
    /// The signed checkpoint, whose origin is the name of the key.
    pub(super) fn sign(size: u64, root: &Hash, key: &LogKey) -> String {
        let name = key.verifier().name();
        let text = format!("{name}\n{size}\n{}\n", STANDARD.encode(root));
        let mut signature = key.verifier().id().to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()));
        format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(signature))
    }

    /// Verifies a signed checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`], saying what does not hold.
    pub fn open(note: &[u8], verifier: &Verifier) -> Result<Self, CheckpointError> {
        let form = CheckpointError::Form;
        if note.len() > AUDIT_CHECKPOINT_BYTES_MAX {
            return Err(form("it is too long"));
        }
        let note = std::str::from_utf8(note).map_err(|_| form("it is not UTF-8"))?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(form("it has control characters"));
        }
        let blank = note.rfind("\n\n").ok_or(form("no blank line stands before the signatures"))?;
        let (text, signatures) = note.split_at(blank + 1);
        let signatures = signatures.trim_start_matches('\n');
        verify_one(text, signatures, verifier)?;
        Self::parse(text, verifier.name())
    }

    fn parse(text: &str, name: &str) -> Result<Self, CheckpointError> {
        let form = CheckpointError::Form;
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        let [origin, size, root] = lines.as_slice() else {
            return Err(form("its text has not three lines"));
        };
        if *origin != name {
            let (found, expected) = ((*origin).to_owned(), name.to_owned());
            return Err(CheckpointError::Origin { found, expected });
        }
        let number: u64 = size.parse().map_err(|_| form("its size is not a number"))?;
        if number.to_string() != *size {
            return Err(form("its size is not written plainly"));
        }
        let root = STANDARD.decode(root).ok().and_then(|root| Hash::try_from(root).ok());
        let root = root.ok_or(form("its root is not a SHA-256 hash in base64"))?;
        Ok(Self { origin: (*origin).to_owned(), size: number, root })
    }
}

/// One signature must be by the key; those of others are not looked at.
fn verify_one(text: &str, signatures: &str, verifier: &Verifier) -> Result<(), CheckpointError> {
    let form = CheckpointError::Form;
    let mut verified = false;
    if !signatures.ends_with('\n') {
        return Err(form("it does not end with a newline"));
    }
    for line in signatures.split_terminator('\n') {
        let line =
            line.strip_prefix("\u{2014} ").ok_or(form("a signature line does not begin with a dash"))?;
        let (name, signature) = line.split_once(' ').ok_or(form("a signature line has no signature"))?;
        let signature = STANDARD.decode(signature).map_err(|_| form("a signature is not base64"))?;
        let (id, signature) = signature.split_first_chunk::<4>().ok_or(form("a signature has no key id"))?;
        if name == verifier.name() && *id == verifier.id() {
            if !verifier.verifies(text.as_bytes(), signature) {
                return Err(CheckpointError::Signature(name.to_owned()));
            }
            verified = true;
        }
    }
    if verified { Ok(()) } else { Err(CheckpointError::Unsigned(verifier.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_signed_and_every_flipped_byte_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let key = LogKey::open(&directory.path().join("key"), "log.example/a").unwrap();
        let note = Checkpoint::sign(7, &[9; 32], &key);
        let read = Checkpoint::open(note.as_bytes(), key.verifier()).unwrap();
        assert_eq!(read, Checkpoint { origin: "log.example/a".to_owned(), size: 7, root: [9; 32] });
        for place in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                assert!(Checkpoint::open(&bytes, key.verifier()).is_err(), "byte {place} bit {bit}");
            }
        }
    }

    #[test]
    fn signatures_of_others_stand_beside_ours_and_do_not_replace_it() {
        let directory = tempfile::tempdir().unwrap();
        let key = LogKey::open(&directory.path().join("key"), "log.example/a").unwrap();
        let other = LogKey::open(&directory.path().join("other"), "log.example/a").unwrap();
        let note = Checkpoint::sign(7, &[9; 32], &key);
        let theirs = Checkpoint::sign(7, &[9; 32], &other);
        let line = theirs.lines().last().unwrap();
        assert!(Checkpoint::open(format!("{note}{line}\n").as_bytes(), key.verifier()).is_ok());
        let refused = Checkpoint::open(theirs.as_bytes(), key.verifier());
        assert_eq!(refused, Err(CheckpointError::Unsigned(key.verifier().to_string())));
    }
}
