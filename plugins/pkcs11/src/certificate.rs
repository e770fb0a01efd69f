//! Certificates in a token: the one of a key, and its issuers as far as the token has them.

pub mod installation;

use std::time::Duration;

use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};
use cryptoki::session::Session;
use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use prokura_plugin::limits::{CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX};
use prokura_plugin::{CertificateChain, Error, PublicKey};

use crate::config::uri::ObjectFilter;
use crate::error::Refusal;
use crate::key::object::{attribute, find, template};
use crate::key::public_key::same_names;
use crate::limits::SAME_SUBJECT_MAX;

/// The parts of a certificate (RFC 5280 section 4.1) that link one to the next, each as its DER element.
pub struct Parts<'a> {
    /// Serial number.
    pub serial: &'a [u8],
    /// Name of the issuer.
    pub issuer: &'a [u8],
    /// Name of the subject.
    pub subject: &'a [u8],
    /// SubjectPublicKeyInfo.
    pub spki: &'a [u8],
    /// Start of validity, since 1970.
    pub not_before: Duration,
}

/// The chain of a key, leaf first, as far as the token has it; empty if there is no certificate of the key.
///
/// Where several certificates have the same key or name, the one that became valid last is taken: a renewal.
///
/// # Errors
/// The token's refusal.
pub fn chain(session: &Session, key: &PublicKey, object: &ObjectFilter) -> Result<CertificateChain, Refusal> {
    let named = same_named(session, object)?;
    let Some(leaf) = newest(named, |p| PublicKey::from_spki_der(p.spki).is_ok_and(|k| k == *key)) else {
        return Ok(CertificateChain::default());
    };
    let mut chain = vec![leaf];
    while chain.len() < CERTIFICATES_MAX {
        let Some(last) = chain.last().and_then(|c| parts(c)) else { break };
        if last.issuer == last.subject {
            break;
        }
        let issuer = last.issuer;
        let found = certificates(session, vec![Attribute::Subject(issuer.to_vec())])?;
        let Some(next) = newest(found, |p| p.subject == issuer).filter(|c| !chain.contains(c)) else { break };
        chain.push(next);
    }
    let chain = CertificateChain::from_der(chain);
    chain.map_err(|e| Refusal::Final(Error::internal(format!("certificates in the token: {e}"))))
}

/// The certificates that belong to an object by id or label, those of the same id first.
///
/// # Errors
/// The token's refusal.
pub fn same_named(session: &Session, object: &ObjectFilter) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut found = Vec::new();
    for same in same_names(object) {
        let names = template(ObjectClass::CERTIFICATE, &same).split_off(1);
        found.extend(certificates(session, names)?);
    }
    Ok(found)
}

/// Picks a certificate apart; `None` if it is none.
pub fn parts(certificate: &[u8]) -> Option<Parts<'_>> {
    let mut reader = SliceReader::new(certificate).ok()?;
    let mut outer = SliceReader::new(inner(&mut reader)?).ok()?;
    reader.finish().ok()?;
    let mut tbs = SliceReader::new(inner(&mut outer)?).ok()?;
    const EXPLICIT_VERSION: u8 = 0xA0;
    let mut serial = tbs.tlv_bytes().ok()?;
    if serial.first() == Some(&EXPLICIT_VERSION) {
        serial = tbs.tlv_bytes().ok()?;
    }
    tbs.tlv_bytes().ok()?; // signature algorithm
    let issuer = tbs.tlv_bytes().ok()?;
    let mut validity = SliceReader::new(inner(&mut tbs)?).ok()?;
    let not_before = time(validity.tlv_bytes().ok()?)?;
    let subject = tbs.tlv_bytes().ok()?;
    let spki = tbs.tlv_bytes().ok()?;
    Some(Parts { serial, issuer, subject, spki, not_before })
}

/// The content of the SEQUENCE that comes next.
fn inner<'a>(reader: &mut SliceReader<'a>) -> Option<&'a [u8]> {
    let element = reader.tlv_bytes().ok()?;
    let any = AnyRef::from_der(element).ok()?;
    (any.tag() == Tag::Sequence).then_some(any.value())
}

fn time(element: &[u8]) -> Option<Duration> {
    let utc = UtcTime::from_der(element).map(|t| t.to_unix_duration());
    utc.or_else(|_| GeneralizedTime::from_der(element).map(|t| t.to_unix_duration())).ok()
}

fn newest(certificates: Vec<Vec<u8>>, is_wanted: impl Fn(&Parts<'_>) -> bool) -> Option<Vec<u8>> {
    let dated = certificates.into_iter().filter_map(|c| {
        let not_before = parts(&c).filter(|p| is_wanted(p))?.not_before;
        Some((not_before, c))
    });
    dated.max_by_key(|(not_before, _)| *not_before).map(|(_, c)| c)
}

pub(crate) fn certificates(session: &Session, wanted: Vec<Attribute>) -> Result<Vec<Vec<u8>>, Refusal> {
    let class =
        [Attribute::Class(ObjectClass::CERTIFICATE), Attribute::CertificateType(CertificateType::X_509)];
    let template: Vec<Attribute> = class.into_iter().chain(wanted).collect();
    let mut found = Vec::new();
    for handle in find(session, &template)?.into_iter().take(SAME_SUBJECT_MAX) {
        if let Some(Attribute::Value(der)) = attribute(session, handle, AttributeType::Value)? {
            found.extend(Some(der).filter(|d| d.len() <= CERTIFICATE_BYTES_MAX));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("year {year}"));
        params.not_before = rcgen::date_time_ymd(year, 1, 1);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn parts_are_found_and_truncated_or_extended_certificates_are_none() {
        let der = certificate(2024);
        let found = parts(&der).unwrap();
        assert_eq!(found.issuer, found.subject);
        assert_eq!(found.not_before.as_secs(), 1_704_067_200);
        assert!(PublicKey::from_spki_der(found.spki).is_ok());
        for len in 0..der.len() {
            assert!(parts(&der[..len]).is_none(), "{len}");
        }
        assert!(parts(&[&der[..], &[0]].concat()).is_none());
    }

    #[test]
    fn the_renewed_certificate_is_taken() {
        // From 2050 on validity is a GeneralizedTime (RFC 5280 section 4.1.2.5).
        let [old, new, newest_of_all] = [2024, 2026, 2051].map(certificate);
        let all = vec![new.clone(), newest_of_all.clone(), old.clone(), b"noise".to_vec()];
        assert_eq!(newest(all, |_| true), Some(newest_of_all));
        let subject = parts(&old).unwrap().subject.to_vec();
        assert_eq!(newest(vec![new, old.clone()], |p| p.subject == subject), Some(old));
    }
}
