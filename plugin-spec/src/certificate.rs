//! A certificate chain as the contract carries it: DER, leaf first, root last. Order and completion, no judgement.
//!
//! Whether a chain may sign is decided by the host. Here certificates are only told apart by their names and keys.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use der::{Decode, Reader, SliceReader, asn1::AnyRef, asn1::ObjectIdentifier};

use crate::error::Error;
use crate::limits::{BUNDLE_BYTES_MAX, BUNDLE_CERTIFICATES_MAX, CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX};
use crate::public_key::PublicKey;

/// DER certificates, leaf first. May be partial or empty: the vault holds what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateChain {
    certificates: Vec<Vec<u8>>,
}

/// Why bytes are no certificate chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// More certificates than a chain or bundle may have.
    TooMany {
        /// How many were found.
        found: usize,
        /// How many are allowed.
        allowed: usize,
    },
    /// A certificate is larger than any real one.
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// The certificate at this position (from 0) is not X.509 DER.
    NotACertificate {
        /// Position from 0.
        index: usize,
    },
    /// The text is not PEM, or holds a PEM block of another kind.
    NotPem(String),
    /// None of the certificates belongs to the key.
    NoLeaf,
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { found, allowed } => {
                write!(f, "{found} certificates, at most {allowed} are allowed")
            }
            Self::TooLarge { found } => {
                write!(f, "a certificate of {found} bytes, at most {CERTIFICATE_BYTES_MAX} are allowed")
            }
            Self::NotACertificate { index } => {
                write!(f, "certificate {index} is not a DER X.509 certificate")
            }
            Self::NotPem(found) => write!(f, "expected PEM blocks of type CERTIFICATE, found {found}"),
            Self::NoLeaf => f.write_str("no certificate belongs to the key"),
        }
    }
}

impl std::error::Error for ChainError {}

/// A chain ordered from the leaf as far as the certificates at hand reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Leaf first. Ends at the root unless `missing_issuer` says otherwise.
    pub chain: CertificateChain,
    /// Common name of the issuer that is missing, if the chain does not reach a self-signed root.
    pub missing_issuer: Option<String>,
}

impl CertificateChain {
    /// Takes DER certificates in the order given.
    ///
    /// # Errors
    /// [`ChainError`] if there are too many, one is too large or is no certificate.
    pub fn from_der(certificates: Vec<Vec<u8>>) -> Result<Self, ChainError> {
        if certificates.len() > CERTIFICATES_MAX {
            return Err(ChainError::TooMany { found: certificates.len(), allowed: CERTIFICATES_MAX });
        }
        checked(certificates).map(|certificates| Self { certificates })
    }

    /// Reads PEM certificates (RFC 7468) in the order of the text; text between the blocks is ignored.
    ///
    /// # Errors
    /// [`ChainError`] as for [`CertificateChain::from_der`], and if there is a block of another type.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ChainError> {
        Self::from_der(certificates_from_pem(pem)?)
    }

    /// The certificates, leaf first.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// The common name of the first certificate, for messages: its subject's, made short. `None` if there is none.
    pub fn first_subject(&self) -> Option<String> {
        names(self.certificates.first()?).map(|names| common_name(names.subject))
    }

    /// Orders what the vault holds and what `bundle` adds into a chain that starts at the certificate of `key`.
    ///
    /// Certificates that do not belong to the chain are left out. The vault's own come first where names are equal.
    ///
    /// # Errors
    /// [`ChainError::NoLeaf`] if no certificate holds `key`; other [`ChainError`]s for hostile input.
    pub fn complete(self, key: &PublicKey, bundle: Vec<Vec<u8>>) -> Result<Completed, ChainError> {
        let pool: Vec<Vec<u8>> = checked([self.certificates, bundle].concat())?;
        let parsed: Vec<(&Vec<u8>, Names<'_>)> = pool.iter().filter_map(|c| Some((c, names(c)?))).collect();
        let is_leaf = |n: &Names<'_>| PublicKey::from_spki_der(n.spki).is_ok_and(|k| k == *key);
        let mut link = parsed.iter().find(|(_, n)| is_leaf(n)).ok_or(ChainError::NoLeaf)?;
        let mut chain = vec![link.0.clone()];
        while link.1.issuer != link.1.subject {
            let issuer = parsed.iter().find(|(c, n)| n.subject == link.1.issuer && !chain.contains(*c));
            let Some(next) = issuer else {
                let missing_issuer = Some(common_name(link.1.issuer));
                return Ok(Completed { chain: Self::from_der(chain)?, missing_issuer });
            };
            chain.push(next.0.clone());
            link = next;
        }
        Ok(Completed { chain: Self::from_der(chain)?, missing_issuer: None })
    }
}

/// Reads a bundle: many PEM certificates in any order, as `ca_certs` names it.
///
/// # Errors
/// [`Error`] with code `VALIDATION_ERROR` naming the file, if it cannot be read, is too large or is no bundle.
pub fn read_bundle(path: &std::path::Path) -> Result<Vec<Vec<u8>>, Error> {
    let refuse = |why: String| Error::validation(format!("certificate bundle {}: {why}", path.display()));
    let pem = read_regular_file(path).map_err(&refuse)?;
    let certificates = certificates_from_pem(&pem).map_err(|e| refuse(e.to_string()))?;
    if certificates.is_empty() {
        return Err(refuse("holds no certificate".to_owned()));
    }
    if certificates.len() > BUNDLE_CERTIFICATES_MAX {
        let found = certificates.len();
        return Err(refuse(ChainError::TooMany { found, allowed: BUNDLE_CERTIFICATES_MAX }.to_string()));
    }
    checked(certificates).map_err(|e| refuse(e.to_string()))
}

/// Reads a file of at most [`BUNDLE_BYTES_MAX`]; what is no regular file is not waited for.
fn read_regular_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    // Without it, opening a FIFO waits for a writer.
    let non_blocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::File::options().read(true).custom_flags(non_blocking).open(path);
    let file = file.map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(BUNDLE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > BUNDLE_BYTES_MAX {
        return Err(format!("has more than the {BUNDLE_BYTES_MAX} bytes allowed"));
    }
    Ok(bytes)
}

fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, ChainError> {
    const BEGIN: &str = "-----BEGIN ";
    let text =
        std::str::from_utf8(pem).map_err(|_| ChainError::NotPem("bytes that are not text".to_owned()))?;
    let mut certificates = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        let block = rest.get(start..).unwrap_or_default();
        let end = block
            .find("-----END ")
            .and_then(|e| Some(e + block.get(e..)?.find('\n').map_or(block.len() - e, |n| n + 1)));
        let end = end.ok_or_else(|| ChainError::NotPem("a block without an end".to_owned()))?;
        let (block, after) = block.split_at(end);
        let (label, der) =
            der::pem::decode_vec(block.as_bytes()).map_err(|e| ChainError::NotPem(e.to_string()))?;
        if label != "CERTIFICATE" {
            return Err(ChainError::NotPem(format!("a block of type {label:?}")));
        }
        certificates.push(der);
        rest = after;
    }
    Ok(certificates)
}

fn checked(certificates: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, ChainError> {
    for (index, certificate) in certificates.iter().enumerate() {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return Err(ChainError::TooLarge { found: certificate.len() });
        }
        names(certificate).ok_or(ChainError::NotACertificate { index })?;
    }
    Ok(certificates)
}

struct Names<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    spki: &'a [u8],
}

/// Picks issuer, subject and key out of a certificate (RFC 5280 section 4.1), each as its DER element.
fn names(certificate: &[u8]) -> Option<Names<'_>> {
    let mut reader = SliceReader::new(certificate).ok()?;
    let names = reader
        .sequence(|outer| {
            let names = outer.sequence(tbs_names)?;
            drain(outer)?;
            Ok::<_, der::Error>(names)
        })
        .ok()?;
    reader.finish().ok()?;
    Some(names)
}

fn tbs_names<'a>(tbs: &mut SliceReader<'a>) -> der::Result<Names<'a>> {
    const EXPLICIT_VERSION: u8 = 0xA0;
    let first = tbs.tlv_bytes()?;
    if first.first() == Some(&EXPLICIT_VERSION) {
        tbs.tlv_bytes()?; // serialNumber
    }
    tbs.tlv_bytes()?; // signature
    let issuer = tbs.tlv_bytes()?;
    tbs.tlv_bytes()?; // validity
    let subject = tbs.tlv_bytes()?;
    let spki = tbs.tlv_bytes()?;
    drain(tbs)?;
    Ok(Names { issuer, subject, spki })
}

fn drain(reader: &mut SliceReader<'_>) -> der::Result<()> {
    while !reader.is_finished() {
        reader.tlv_bytes()?;
    }
    Ok(())
}

/// The common name in a Name, for messages; control characters removed.
fn common_name(name: &[u8]) -> String {
    const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    let mut found = None;
    if let Ok(mut reader) = SliceReader::new(name) {
        let _ = reader.sequence(|rdns| {
            while !rdns.is_finished() {
                let set = AnyRef::decode(rdns)?;
                let mut attributes = SliceReader::new(set.value())?;
                attributes.sequence(|attribute| {
                    let oid = ObjectIdentifier::decode(attribute)?;
                    let value = AnyRef::decode(attribute)?;
                    if oid == COMMON_NAME {
                        found = Some(String::from_utf8_lossy(value.value()).into_owned());
                    }
                    Ok::<_, der::Error>(())
                })?;
            }
            Ok::<_, der::Error>(())
        });
    }
    found.unwrap_or_else(|| "without a common name".to_owned()).chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_a_regular_file_within_its_limit() {
        let error = read_bundle(std::path::Path::new("/dev/zero")).unwrap_err();
        assert!(error.message.contains("/dev/zero: is no regular file"), "{error}");
        let path = std::env::temp_dir().join(format!("prokura-bundle-{}", std::process::id()));
        std::fs::write(&path, vec![b' '; usize::try_from(BUNDLE_BYTES_MAX).unwrap() + 1]).unwrap();
        let error = read_bundle(&path).unwrap_err();
        std::fs::write(&path, vec![b' '; usize::try_from(BUNDLE_BYTES_MAX).unwrap()]).unwrap();
        let empty = read_bundle(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(error.message.contains("more than the 4194304 bytes allowed"), "{error}");
        assert!(empty.message.contains("holds no certificate"), "{empty}");
    }
}
