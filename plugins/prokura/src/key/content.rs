//! What is handed to the broker: bytes of a type it can read, or, if that is allowed, a digest.

use prokura_plugin::{Digest, Error, HashAlgorithm, Scope, ToBeSigned};
use prokura_proto::broker::v1;
use prokura_proto::broker::v1::content::Content as Wire;

use super::hex;
use crate::limits::CONTENT_BYTES_MAX;

/// What a `Sig_structure` of a COSE_Sign1 begins with: an array of four, "Signature1" (RFC 9052 section 4.4).
const SIG_STRUCTURE: &[u8] = b"\x84\x6ASignature1";

/// Content with its type.
pub(super) struct Content(Wire);

impl Content {
    /// Tells the type by the bytes; the broker reads them strictly.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if they are of no type the broker reads, or missing, and no digest is allowed instead.
    pub(super) fn of(content: &ToBeSigned, allow_digest: bool) -> Result<Self, Error> {
        let digest = || Self(Wire::Digest(content.digest().bytes().to_vec()));
        match content.bytes() {
            Some(bytes) if bytes.len() > CONTENT_BYTES_MAX => Err(refuse(&format!(
                "{} bytes are to be signed, a broker takes at most {CONTENT_BYTES_MAX}; shorten the annotations",
                bytes.len()
            ))),
            Some(bytes) if is_jws_signing_input(bytes) => Ok(Self(Wire::NotaryJws(bytes.to_vec()))),
            Some(bytes) if bytes.starts_with(SIG_STRUCTURE) => Ok(Self(Wire::NotaryCose(bytes.to_vec()))),
            _ if allow_digest => Ok(digest()),
            Some(_) => Err(refuse(
                "what is to be signed is neither the signing input of a JWS nor the Sig_structure of a COSE_Sign1, and a broker \
                 signs what it can read; to have its digest signed, set --plugin-config allow-digest=yes and have the broker's \
                 operator permit signDigest",
            )),
            None => Err(refuse(
                "the host sent a digest without what was hashed, and a broker signs what it can read; use a host that knows the \
                 capability TO_BE_SIGNED.1, or, for certificates and requests, set --plugin-config allow-digest=yes and have the \
                 broker's operator permit signDigest",
            )),
        }
    }

    /// The same for every attempt at one signature, whichever process makes it: SHA-256 over name, fingerprint, type and
    /// content. Signing the same bytes once more within the broker's day gives the same signature.
    pub(super) fn idempotency_key(&self, name: &str, fingerprint: &str) -> String {
        let (kind, bytes) = match &self.0 {
            Wire::NotaryJws(bytes) => ("notary_jws", bytes),
            Wire::NotaryCose(bytes) => ("notary_cose", bytes),
            Wire::Digest(bytes) => ("digest", bytes),
        };
        // None of the three texts holds a newline.
        let mut all = format!("prokura idempotency 1\n{name}\n{fingerprint}\n{kind}\n").into_bytes();
        all.extend_from_slice(bytes);
        hex(Digest::of(HashAlgorithm::Sha256, &all).bytes())
    }

    /// As it travels.
    pub(super) fn into_wire(self) -> v1::Content {
        v1::Content { content: Some(self.0) }
    }
}

/// Two parts in base64url, the first of which begins as a JSON object does (RFC 7515 section 5.1).
fn is_jws_signing_input(bytes: &[u8]) -> bool {
    let is_text = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    is_text && bytes.starts_with(b"ey") && bytes.iter().filter(|b| **b == b'.').count() == 1
}

fn refuse(why: &str) -> Error {
    Error::validation(why).with_scope(Scope::Request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], allow_digest: bool) -> Result<Wire, Error> {
        Content::of(&ToBeSigned::of(HashAlgorithm::Sha256, bytes.to_vec()), allow_digest)
            .map(|content| content.0)
    }

    #[test]
    fn the_type_is_told_by_the_bytes() {
        assert_eq!(
            of(b"eyJhIjoxfQ.eyJiIjoyfQ", false).unwrap(),
            Wire::NotaryJws(b"eyJhIjoxfQ.eyJiIjoyfQ".to_vec())
        );
        let cose = [SIG_STRUCTURE, b"\x41\x00\x40\x40"].concat();
        assert_eq!(of(&cose, true).unwrap(), Wire::NotaryCose(cose));
        for other in [
            &b"eyJhIjoxfQ"[..],
            b"eyJ.a.b",
            b"eyJ.a\n",
            b"{}",
            b"\x84\x6ASignature",
            b"\x84\x69Signature1",
            &[7; 32],
        ] {
            let error = of(other, false).unwrap_err();
            assert!(error.message.contains("allow-digest=yes"), "{error}");
            assert_eq!(
                of(other, true).unwrap(),
                Wire::Digest(Digest::of(HashAlgorithm::Sha256, other).bytes().to_vec())
            );
        }
    }

    #[test]
    fn a_digest_alone_needs_leave_and_too_much_is_refused() {
        let alone = ToBeSigned::digest_alone(Digest::of(HashAlgorithm::Sha256, b"x"));
        let error = Content::of(&alone, false).err().unwrap();
        assert!(error.message.contains("TO_BE_SIGNED.1"), "{error}");
        assert!(Content::of(&alone, true).is_ok());
        assert!(of(&vec![b'e'; CONTENT_BYTES_MAX + 1], true).unwrap_err().message.contains("at most 262144"));
    }

    #[test]
    fn one_signature_has_one_idempotency_key() {
        let key = |bytes: &[u8], name: &str, print: &str| {
            let content = Content::of(&ToBeSigned::of(HashAlgorithm::Sha256, bytes.to_vec()), true).unwrap();
            content.idempotency_key(name, print)
        };
        let one = key(b"eyJ.a", "k", "f");
        assert_eq!(one, key(b"eyJ.a", "k", "f"));
        assert_eq!(one.len(), 64);
        for other in
            [key(b"eyJ.b", "k", "f"), key(b"eyJ.a", "l", "f"), key(b"eyJ.a", "k", "g"), key(b"{}", "k", "f")]
        {
            assert_ne!(one, other);
        }
    }
}
