//! X.509 certificates (RFC 5280): reading, what is shown of them, and who signed whom.

mod name;
mod resolve;
mod rules;
mod signature;

use std::fmt;

use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader};
use jiff::Timestamp;
use prokura_plugin::{Digest, HashAlgorithm, PublicKey, PublicKeyError};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, BasicConstraints};

use crate::limits::{BUNDLE_CERTIFICATES_MAX, CERTIFICATE_BYTES_MAX, ISSUER_URLS_MAX};

pub use name::SubjectAttribute;
pub use resolve::{MissingIssuer, NoChain, Resolved, resolve};
pub use rules::{RuleViolation, check_code_signing_chain};
pub use signature::SignedByError;

const CA_ISSUERS: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// A parsed certificate together with its bytes.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    parts: Parts,
    parsed: x509_cert::Certificate,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// DER elements as received: signatures cover these bytes, and names are compared by them.
#[derive(Clone)]
struct Parts {
    tbs: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    spki: Vec<u8>,
}

/// Why bytes are no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Larger than any real certificate.
    #[error("a certificate of {found} bytes, at most {CERTIFICATE_BYTES_MAX} are read")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// More certificates in a bundle than any trust store has.
    #[error("more than {BUNDLE_CERTIFICATES_MAX} certificates in one bundle")]
    TooMany,
    /// Not one DER certificate, or bytes behind it.
    #[error("not a DER X.509 certificate: {reason}")]
    Malformed {
        /// What the parser found.
        reason: String,
    },
    /// Not PEM (RFC 7468), or PEM of another kind.
    #[error("expected PEM blocks of type CERTIFICATE, found {found}")]
    NotPem {
        /// What was found.
        found: String,
    },
}

impl Certificate {
    /// Parses one DER certificate; trailing bytes are refused.
    ///
    /// # Errors
    /// [`CertificateError::TooLarge`], [`CertificateError::Malformed`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLarge { found: der.len() });
        }
        let malformed = |e: der::Error| CertificateError::Malformed { reason: e.to_string() };
        let parsed = x509_cert::Certificate::from_der(der).map_err(malformed)?;
        let parts = parts(der).map_err(malformed)?;
        let validity = *parsed.tbs_certificate().validity();
        let (not_before, not_after) = (timestamp(validity.not_before), timestamp(validity.not_after));
        Ok(Self { der: der.to_vec(), parts, parsed, not_before, not_after })
    }

    /// Parses certificates as files hold them: PEM blocks of type `CERTIFICATE`, text between them ignored, or one
    /// DER certificate. At least one.
    ///
    /// # Errors
    /// [`CertificateError`] if any of them cannot be read, if a block has another type, or if there is none.
    pub fn from_pem_bundle(bytes: &[u8]) -> Result<Vec<Self>, CertificateError> {
        const BEGIN: &str = "-----BEGIN ";
        const DER_SEQUENCE: u8 = 0x30;
        if bytes.first() == Some(&DER_SEQUENCE) {
            return Ok(vec![Self::from_der(bytes)?]);
        }
        let not_pem = |found: &str| CertificateError::NotPem { found: crate::quoted(found) };
        let mut rest = std::str::from_utf8(bytes).map_err(|_| not_pem("bytes that are not text"))?;
        let mut certificates = Vec::new();
        while let Some(start) = rest.find(BEGIN) {
            if certificates.len() == BUNDLE_CERTIFICATES_MAX {
                return Err(CertificateError::TooMany);
            }
            let block = rest.get(start..).unwrap_or_default();
            let end = end_of_block(block).ok_or_else(|| not_pem("a block without an end"))?;
            let (block, after) = block.split_at(end);
            let (label, der) = der::pem::decode_vec(block.as_bytes()).map_err(|e| not_pem(&e.to_string()))?;
            if label != "CERTIFICATE" {
                return Err(not_pem(&format!("a block of type {label}")));
            }
            certificates.push(Self::from_der(&der)?);
            rest = after;
        }
        if certificates.is_empty() {
            return Err(not_pem("none"));
        }
        Ok(certificates)
    }

    /// The DER bytes as received.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject as text, in the order and with the escapes that notation prints (Go's `pkix.Name`), such as
    /// `CN=wabbit-networks.io,O=Notary,L=Seattle,ST=WA,C=US`. For people; control characters are removed.
    pub fn subject(&self) -> String {
        name::to_text(self.parsed.tbs_certificate().subject())
    }

    /// The issuer as text, like [`Certificate::subject`].
    pub fn issuer(&self) -> String {
        name::to_text(self.parsed.tbs_certificate().issuer())
    }

    /// The attributes of the subject in the order of the certificate, as trusted identities compare them.
    pub fn subject_attributes(&self) -> Vec<SubjectAttribute> {
        name::attributes(self.parsed.tbs_certificate().subject())
    }

    /// The DER Name of the subject.
    pub fn raw_subject(&self) -> &[u8] {
        &self.parts.subject
    }

    /// The DER Name of the issuer.
    pub fn raw_issuer(&self) -> &[u8] {
        &self.parts.issuer
    }

    /// First moment of the validity period.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Last moment of the validity period; [`Timestamp::MAX`] if the certificate never expires.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The serial number in lower-case hex, as DER holds it.
    pub fn serial_hex(&self) -> String {
        crate::lower_hex(self.parsed.tbs_certificate().serial_number().as_bytes())
    }

    /// SHA-256 over the DER bytes, lower-case hex.
    pub fn sha256_fingerprint(&self) -> String {
        crate::lower_hex(Digest::of(HashAlgorithm::Sha256, &self.der).bytes())
    }

    /// The public key, if it is of one of the six key specs.
    ///
    /// # Errors
    /// [`PublicKeyError`] for every other key; CAs may have those.
    pub fn public_key(&self) -> Result<PublicKey, PublicKeyError> {
        PublicKey::from_spki_der(&self.parts.spki)
    }

    /// Whether basic constraints say that this is a CA.
    pub fn is_ca(&self) -> bool {
        let constraints = self.parsed.tbs_certificate().get_extension::<BasicConstraints>();
        matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
    }

    /// Where the certificate says its issuer's certificate can be fetched: `caIssuers` of its authority information
    /// access, `http` and `https` only, at most four.
    pub fn issuer_urls(&self) -> Vec<String> {
        let access = self.parsed.tbs_certificate().get_extension::<AuthorityInfoAccessSyntax>();
        let Ok(Some((_, access))) = access else { return Vec::new() };
        let urls = access.0.iter().filter(|a| a.access_method == CA_ISSUERS).filter_map(|a| {
            let GeneralName::UniformResourceIdentifier(url) = &a.access_location else { return None };
            let url = url.as_str();
            (url.starts_with("http://") || url.starts_with("https://")).then(|| url.to_owned())
        });
        urls.take(ISSUER_URLS_MAX).collect()
    }

    /// Whether subject and issuer are the same and the signature verifies under the certificate's own key.
    pub fn is_self_signed(&self) -> bool {
        self.parts.subject == self.parts.issuer && self.verify_signed_by(self).is_ok()
    }

    /// Verifies the signature on this certificate under the key of `issuer`. Nothing else: not the names, not
    /// whether `issuer` may issue.
    ///
    /// # Errors
    /// [`SignedByError`] if the algorithm is broken (MD5, SHA-1) or unknown, or the signature does not verify.
    pub fn verify_signed_by(&self, issuer: &Self) -> Result<(), SignedByError> {
        signature::verify(self, issuer)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("subject", &self.subject()).finish_non_exhaustive()
    }
}

fn end_of_block(block: &str) -> Option<usize> {
    let end = block.find("-----END ")?;
    let rest = block.get(end..)?;
    Some(end + rest.find('\n').map_or(rest.len(), |newline| newline + 1))
}

/// 99991231235959Z stands for "no well-defined expiration" (RFC 5280 section 4.1.2.5) and lies a day behind the last
/// moment a [`Timestamp`] can be: that moment is taken, for everything behind it.
fn timestamp(time: x509_cert::time::Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok(); // never before 1970
    seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX)
}

/// Cuts out the elements of a certificate (RFC 5280 section 4.1) without encoding anything anew.
fn parts(certificate: &[u8]) -> der::Result<Parts> {
    let mut reader = SliceReader::new(certificate)?;
    let tbs = reader.sequence(|outer| {
        let tbs = outer.tlv_bytes()?;
        drain(outer)?;
        Ok::<_, der::Error>(tbs)
    })?;
    reader.finish()?;
    SliceReader::new(tbs)?.sequence(|fields| {
        const EXPLICIT_VERSION: u8 = 0xA0;
        if fields.tlv_bytes()?.first() == Some(&EXPLICIT_VERSION) {
            fields.tlv_bytes()?; // serialNumber
        }
        AnyRef::decode(fields)?; // signature
        let issuer = fields.tlv_bytes()?.to_vec();
        fields.tlv_bytes()?; // validity
        let subject = fields.tlv_bytes()?.to_vec();
        let spki = fields.tlv_bytes()?.to_vec();
        drain(fields)?;
        Ok(Parts { tbs: tbs.to_vec(), issuer, subject, spki })
    })
}

fn drain(reader: &mut SliceReader<'_>) -> der::Result<()> {
    while !reader.is_finished() {
        reader.tlv_bytes()?;
    }
    Ok(())
}
