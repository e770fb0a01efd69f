//! What is to be signed: a digest and, where the host sends it, what was hashed.

use crate::error::Error;
use crate::key::{Digest, HashAlgorithm};

/// A digest to sign, with the bytes it was made of if the host told them. The two belong together by construction.
#[derive(Clone, PartialEq, Eq)]
pub struct ToBeSigned {
    digest: Digest,
    bytes: Option<Vec<u8>>,
}

impl ToBeSigned {
    /// Hashes `bytes`, as contract 1.0 over stdio asks for.
    pub fn of(algorithm: HashAlgorithm, bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(algorithm, &bytes), bytes: Some(bytes) }
    }

    /// A digest made elsewhere; what was hashed is not known.
    pub const fn digest_alone(digest: Digest) -> Self {
        Self { digest, bytes: None }
    }

    /// A digest and what the host says was hashed; empty: it does not say.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if the digest is not that of the bytes (SPEC TBS-2).
    pub fn checked(digest: Digest, bytes: Vec<u8>) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Ok(Self::digest_alone(digest));
        }
        if Digest::of(digest.algorithm(), &bytes) != digest {
            return Err(Error::validation(format!(
                "digest is not the {} digest of to_be_signed, expected that of its {} bytes; this is a defect of the host",
                digest.algorithm(),
                bytes.len()
            )));
        }
        Ok(Self { digest, bytes: Some(bytes) })
    }

    /// What the vault signs.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What was hashed: the signing input of a JWS, the `Sig_structure` of a COSE_Sign1, or whatever the host has signed
    /// besides. Always known over stdio; over gRPC if the plugin announces `TO_BE_SIGNED.1` and the host has it.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }
}

impl std::fmt::Debug for ToBeSigned {
    /// The digest and how many bytes there are: what is signed belongs into no log (SPEC SEC-2).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = self.bytes.as_ref().map(Vec::len);
        f.debug_struct("ToBeSigned").field("digest", &self.digest).field("bytes", &length).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_digest_belong_together() {
        for algorithm in HashAlgorithm::ALL {
            let digest = Digest::of(algorithm, b"content");
            let both = ToBeSigned::checked(digest.clone(), b"content".to_vec()).unwrap();
            assert_eq!(both, ToBeSigned::of(algorithm, b"content".to_vec()));
            assert_eq!((both.digest(), both.bytes()), (&digest, Some(&b"content"[..])));
            let alone = ToBeSigned::checked(digest.clone(), Vec::new()).unwrap();
            assert_eq!((alone.digest(), alone.bytes()), (&digest, None));
            let error = ToBeSigned::checked(digest, b"c0ntent".to_vec()).unwrap_err();
            assert!(error.message.contains("7 bytes") && !error.message.contains("c0ntent"), "{error}");
        }
    }

    #[test]
    fn what_is_signed_does_not_reach_debug() {
        let shown = format!("{:?}", ToBeSigned::of(HashAlgorithm::Sha256, b"canary".to_vec()));
        assert!(shown.contains("Some(6)") && !shown.contains("99, 97, 110"), "{shown}");
    }
}
