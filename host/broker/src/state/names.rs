//! Names in the state are hashes: of one length, and no name can be made to look like another.

use aws_lc_rs::digest;
use aws_lc_rs::rand;

use crate::peer::{Peer, PeerKind};

use super::error::{StateError, Trouble};

/// A peer, as the state knows it. Two kinds with the same id are two callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller<'a> {
    /// How it was known.
    pub kind: PeerKind,
    /// Its name within the kind.
    pub id: &'a str,
}

impl<'a> From<&'a Peer> for Caller<'a> {
    fn from(peer: &'a Peer) -> Self {
        Self { kind: peer.kind(), id: peer.id() }
    }
}

/// SHA-256 over a purpose and parts, each preceded by its length (64 bits, big endian).
pub(super) type Name = [u8; 32];

pub(super) fn name(purpose: &str, parts: &[&str]) -> Name {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(&purpose).chain(parts) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut name = Name::default();
    name.copy_from_slice(context.finish().as_ref());
    name
}

/// 128 random bits: nobody else has them.
pub(super) type Nonce = [u8; 16];

pub(super) fn nonce() -> Result<Nonce, StateError> {
    let mut nonce = Nonce::default();
    rand::fill(&mut nonce).map_err(|_| {
        StateError::new(Trouble::Internal, "the broker", "the system gave no random bytes".to_owned())
    })?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_run_together() {
        let names = [
            name("a", &["b", "c"]),
            name("a", &["bc"]),
            name("a", &["b", "", "c"]),
            name("ab", &["c"]),
            name("a", &["c", "b"]),
        ];
        for (i, one) in names.iter().enumerate() {
            assert!(names.iter().skip(i + 1).all(|other| other != one));
        }
    }
}
