//! Client keys that the operator pinned: known by the key itself, whoever issued the certificate around it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use x509_cert::der::{Decode as _, Encode as _};

use super::certificate;
use super::refusal::{Refusal, RefusalKind, quoted};
use crate::limits::PINNED_KEYS_MAX;
use crate::peer::{Peer, PeerKind};

const SHA256_BYTES: usize = 32;

/// SHA-256 of the SubjectPublicKeyInfo (DER) of each client key that is trusted without a CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinnedKeys(BTreeSet<[u8; SHA256_BYTES]>);

/// A pin that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Not a SHA-256 in hex.
    #[error(
        "found the pinned key {found:?}; expected the SHA-256 of a public key as 64 hex digits; print it with \
         `openssl x509 -in client.pem -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256`"
    )]
    NotHex {
        /// As configured.
        found: String,
    },
    /// More than anybody maintains by hand.
    #[error("found {found} pinned keys; expected at most {PINNED_KEYS_MAX}; use a CA for so many callers")]
    TooMany {
        /// How many.
        found: usize,
    },
}

impl PinnedKeys {
    /// Reads pins as 64 hex digits each, in either case.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn parse<T: AsRef<str>>(pins: &[T]) -> Result<Self, PinError> {
        if pins.len() > PINNED_KEYS_MAX {
            return Err(PinError::TooMany { found: pins.len() });
        }
        pins.iter().map(|pin| from_hex(pin.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether none is pinned.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pin that the certificate's key matches, in lower-case hex.
    pub(crate) fn matching(&self, leaf: &[u8]) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let parsed = x509_cert::Certificate::from_der(leaf).ok()?;
        let spki = parsed.tbs_certificate().subject_public_key_info().to_der().ok()?;
        let found = digest(&SHA256, &spki);
        let pin = self.0.iter().find(|pin| pin.as_slice() == found.as_ref())?;
        Some(to_hex(pin))
    }
}

/// The peer of a pinned key. Names in its certificate are claims of nobody, so they are not kept.
///
/// # Errors
/// [`Refusal`] if the certificate cannot be read.
pub(crate) fn peer_of(pin: String, leaf: &[u8]) -> Result<Peer, Refusal> {
    let certificate = certificate::read(leaf)?;
    let claims = BTreeMap::from([
        ("issuer".to_owned(), Value::from(certificate.issuer())),
        ("serial".to_owned(), Value::from(certificate.serial_hex())),
    ]);
    let evidence = format!("pinned key, {}", certificate::evidence(&certificate));
    Peer::new(PeerKind::PinnedKey, pin, claims, evidence, Some(certificate.not_after())).map_err(|e| {
        Refusal::new(RefusalKind::Certificate, e.to_string(), "a certificate within the limits", "reissue it")
    })
}

fn from_hex(text: &str) -> Result<[u8; SHA256_BYTES], PinError> {
    let bad = || PinError::NotHex { found: quoted(text) };
    let text = text.trim();
    if text.len() != 2 * SHA256_BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let mut pin = [0; SHA256_BYTES];
    for (at, byte) in pin.iter_mut().enumerate() {
        let digits = text.get(2 * at..2 * at + 2).ok_or_else(bad)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
    }
    Ok(pin)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

    use super::*;

    #[test]
    fn a_pinned_key_is_found_whatever_its_certificate_says() {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pin = to_hex(digest(&SHA256, &key.subject_public_key_info()).as_ref());
        let pins = PinnedKeys::parse(&[pin.to_ascii_uppercase()]).unwrap();
        assert_eq!(pins.matching(leaf.der()), Some(pin.clone()));
        let peer = peer_of(pin.clone(), leaf.der()).unwrap();
        assert_eq!((peer.kind(), peer.id()), (PeerKind::PinnedKey, pin.as_str()));
        assert!(!peer.claims().contains_key("dns_names"), "names of a pinned key prove nothing");
        let other = PinnedKeys::parse(&["00".repeat(32)]).unwrap();
        assert_eq!(other.matching(leaf.der()), None);
    }

    #[test]
    fn pins_are_64_hex_digits() {
        for bad in ["", "ab", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(PinnedKeys::parse(&[bad]).unwrap_err().to_string().contains("64 hex digits"), "{bad}");
        }
        let many = vec!["00".repeat(32); PINNED_KEYS_MAX + 1];
        assert!(matches!(PinnedKeys::parse(&many), Err(PinError::TooMany { .. })));
    }
}
