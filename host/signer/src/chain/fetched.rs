//! Certificates as servers of authority information access return them: one DER certificate, a certs-only PKCS#7
//! message (RFC 5280 section 4.2.2.1, RFC 5652), or, against the RFC, PEM.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, TagNumber};
use prokura_envelope::certificate::Certificate;
use prokura_plugin::limits::CERTIFICATES_MAX;
use tokio::time::{Instant, timeout_at};

use super::FetchIssuer;
use crate::limits::ISSUERS_DEADLINE;
use crate::text::cleaned;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

/// What the first URL that answers with certificates before `until` has; failures are added to `failures`.
pub(super) async fn issuers(
    fetch: &dyn FetchIssuer,
    urls: &[String],
    until: Instant,
    failures: &mut Vec<String>,
) -> Vec<Certificate> {
    for url in urls {
        let shown = cleaned(url);
        let answer = timeout_at(until, fetch.fetch(url)).await;
        let too_late = |_| Err(format!("no answer within the {} s for all", ISSUERS_DEADLINE.as_secs()));
        match answer.unwrap_or_else(too_late) {
            Ok(body) => match certificates(&body) {
                Some(found) => return found,
                None => failures.push(format!("{shown}: no certificate in {} bytes", body.len())),
            },
            Err(reason) => failures.push(format!("{shown}: {}", cleaned(&reason))),
        }
    }
    Vec::new()
}

fn certificates(body: &[u8]) -> Option<Vec<Certificate>> {
    if let Ok(found) = Certificate::from_pem_bundle(body) {
        return Some(found);
    }
    certs_only(body).ok().filter(|found| !found.is_empty())
}

/// The certificates of a `SignedData` without signers; nothing else of it is looked at.
fn certs_only(body: &[u8]) -> der::Result<Vec<Certificate>> {
    let mut reader = SliceReader::new(body)?;
    let certificates = reader.sequence(|content_info| {
        if ObjectIdentifier::decode(content_info)? != SIGNED_DATA {
            return Err(der::Error::from(der::ErrorKind::OidUnknown { oid: SIGNED_DATA }));
        }
        let explicit = AnyRef::decode(content_info)?;
        let mut signed_data = SliceReader::new(explicit.value())?;
        let found = signed_data.sequence(|fields| {
            let mut found = Vec::new();
            while !fields.is_finished() {
                let field = AnyRef::decode(fields)?;
                if is_certificates(der::Tagged::tag(&field)) {
                    found = elements(field.value())?;
                }
            }
            Ok::<_, der::Error>(found)
        })?;
        Ok(found)
    })?;
    Ok(certificates)
}

/// `certificates [0] IMPLICIT CertificateSet`.
fn is_certificates(tag: Tag) -> bool {
    tag == Tag::ContextSpecific { constructed: true, number: TagNumber(0) }
}

fn elements(bytes: &[u8]) -> der::Result<Vec<Certificate>> {
    let mut reader = SliceReader::new(bytes)?;
    let mut found = Vec::new();
    while !reader.is_finished() && found.len() < CERTIFICATES_MAX {
        if let Ok(certificate) = Certificate::from_der(reader.tlv_bytes()?) {
            found.push(certificate);
        }
    }
    Ok(found)
}
