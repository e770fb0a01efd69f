//! Certificate requests (PKCS#10, RFC 2986) and self-signed certificates for a key that signs elsewhere.
//!
//! As with envelopes: [`Unissued`] holds the bytes to be signed, whoever has the key signs their digest, and
//! [`Unissued::finish`] verifies before it hands anything out.

mod algorithm;

use std::str::FromStr;

use der::asn1::{BitString, ObjectIdentifier, OctetString, SetOfVec};
use der::{Any, Encode, Sequence};
use jiff::Timestamp;
use prokura_plugin::{Digest, KeySpec, PublicKey, RawSignature};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use crate::limits::SUBJECT_BYTES_MAX;
use crate::signature::{Salt, verifies};

const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
const STATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.8");

/// Why nothing can be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// Not a distinguished name.
    #[error(
        "{found:?} is no subject: {reason}; expected a name as RFC 4514 writes it, such as \
         \"CN=release,O=ACME Rockets,ST=WA,C=US\""
    )]
    Subject {
        /// What was given, cut.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A trust policy identifies signers by these.
    #[error(
        "the subject lacks {missing}; trust policies of the Notary Project identify a signer by C, ST and O, so a \
         certificate needs all three"
    )]
    Incomplete {
        /// `C`, `ST` or `O`.
        missing: &'static str,
    },
    /// Times a certificate cannot hold.
    #[error("a certificate cannot be valid from {from} to {to}")]
    Validity {
        /// First moment.
        from: Timestamp,
        /// Last moment.
        to: Timestamp,
    },
    /// The signature does not verify under the key.
    #[error("the signature does not verify under the key that was described; nothing was issued")]
    DoesNotVerify,
    /// DER could not be written.
    #[error("DER cannot be written: {0}")]
    Der(String),
}

impl From<der::Error> for IssueError {
    fn from(error: der::Error) -> Self {
        Self::Der(error.to_string())
    }
}

/// A distinguished name that can be the subject of a signing certificate: it has C, ST and O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(Name);

impl FromStr for Subject {
    type Err = IssueError;

    /// Reads RFC 4514, such as `CN=release,O=ACME Rockets,ST=WA,C=US`.
    fn from_str(text: &str) -> Result<Self, IssueError> {
        let refuse =
            |reason: &str| IssueError::Subject { found: crate::quoted(text), reason: reason.to_owned() };
        if text.trim().is_empty() {
            return Err(refuse("it is empty"));
        }
        if text.len() > SUBJECT_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let name = Name::from_str(text).map_err(|error| refuse(&error.to_string()))?;
        for (oid, missing) in [(COUNTRY, "C"), (STATE, "ST"), (ORGANIZATION, "O")] {
            if !name.iter().any(|attribute| attribute.oid == oid) {
                return Err(IssueError::Incomplete { missing });
            }
        }
        Ok(Self(name))
    }
}

/// A request or certificate that lacks its signature.
#[derive(Clone, Debug)]
pub struct Unissued {
    key: PublicKey,
    to_be_signed: Vec<u8>,
}

/// `CertificationRequestInfo` of RFC 2986.
#[derive(Sequence)]
struct RequestInfo {
    version: u8,
    subject: Name,
    public_key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    attributes: SetOfVec<Attribute>,
}

/// `TBSCertificate` of RFC 5280, version 3.
#[derive(Sequence)]
struct ToBeSignedCertificate {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    public_key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// What both a request and a certificate are: signed bytes, algorithm, signature.
#[derive(Sequence)]
struct Issued {
    to_be_signed: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

impl Unissued {
    /// A certificate request for code signing.
    ///
    /// # Errors
    /// [`IssueError::Der`].
    pub fn request(subject: &Subject, key: &PublicKey) -> Result<Self, IssueError> {
        let extensions = Any::encode_from(&leaf_extensions()?)?;
        let attribute = Attribute { oid: EXTENSION_REQUEST, values: SetOfVec::try_from(vec![extensions])? };
        let info = RequestInfo {
            version: 0,
            subject: subject.0.clone(),
            public_key: subject_public_key(key)?,
            attributes: SetOfVec::try_from(vec![attribute])?,
        };
        Ok(Self { key: key.clone(), to_be_signed: info.to_der()? })
    }

    /// A self-signed certificate for code signing, with which whoever trusts it verifies signatures: its own leaf and
    /// root. `serial` are 16 random bytes.
    ///
    /// # Errors
    /// [`IssueError::Validity`] if the times cannot be written or are in the wrong order, [`IssueError::Der`].
    pub fn self_signed(
        subject: &Subject,
        key: &PublicKey,
        serial: [u8; 16],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Self, IssueError> {
        let refuse = || IssueError::Validity { from, to };
        if from >= to {
            return Err(refuse());
        }
        let validity = Validity::new(time(from).ok_or_else(refuse)?, time(to).ok_or_else(refuse)?);
        let mut positive = serial;
        positive[0] = positive[0] & 0x7f | 0x40; // 20 octets at most and positive (RFC 5280 section 4.1.2.2)
        let certificate = ToBeSignedCertificate {
            version: 2,
            serial: SerialNumber::new(&positive)?,
            signature: algorithm::of(key.spec())?,
            issuer: subject.0.clone(),
            validity,
            subject: subject.0.clone(),
            public_key: subject_public_key(key)?,
            extensions: leaf_extensions()?,
        };
        Ok(Self { key: key.clone(), to_be_signed: certificate.to_der()? })
    }

    /// The spec of the key that must sign.
    pub const fn key_spec(&self) -> KeySpec {
        self.key.spec()
    }

    /// What must be signed.
    pub fn digest(&self) -> Digest {
        Digest::of(self.key.spec().hash_algorithm(), &self.to_be_signed)
    }

    /// Adds the signature: the whole request or certificate, DER.
    ///
    /// # Errors
    /// [`IssueError::DoesNotVerify`] if the signature is not by the key.
    pub fn finish(self, signature: &RawSignature) -> Result<Vec<u8>, IssueError> {
        if !verifies(&self.key, &self.to_be_signed, signature.bytes(), Salt::HashLength) {
            return Err(IssueError::DoesNotVerify);
        }
        let issued = Issued {
            to_be_signed: der::Decode::from_der(&self.to_be_signed)?,
            algorithm: algorithm::of(self.key.spec())?,
            signature: BitString::from_bytes(&algorithm::x509_signature(signature)?)?,
        };
        Ok(issued.to_der()?)
    }
}

/// What the certificate rules of the Notary Project ask of a leaf.
fn leaf_extensions() -> Result<Vec<Extension>, IssueError> {
    let extension = |extn_id, critical, value: Vec<u8>| -> Result<Extension, IssueError> {
        Ok(Extension { extn_id, critical, extn_value: OctetString::new(value)? })
    };
    let constraints = BasicConstraints { ca: false, path_len_constraint: None };
    Ok(vec![
        extension(BASIC_CONSTRAINTS, true, constraints.to_der()?)?,
        extension(KEY_USAGE, true, KeyUsage(KeyUsages::DigitalSignature.into()).to_der()?)?,
        extension(EXTENDED_KEY_USAGE, false, ExtendedKeyUsage(vec![CODE_SIGNING]).to_der()?)?,
    ])
}

fn subject_public_key(key: &PublicKey) -> Result<SubjectPublicKeyInfoOwned, IssueError> {
    Ok(der::Decode::from_der(key.spki_der())?)
}

/// `UTCTime` until 2049, `GeneralizedTime` after it (RFC 5280 section 4.1.2.5).
fn time(at: Timestamp) -> Option<Time> {
    let seconds = u64::try_from(at.as_second()).ok()?;
    let at = der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).ok()?;
    if at.year() < 2050 {
        return der::asn1::UtcTime::from_date_time(at).ok().map(Time::UtcTime);
    }
    Some(Time::GeneralTime(der::asn1::GeneralizedTime::from_date_time(at)))
}

#[cfg(test)]
mod tests;
