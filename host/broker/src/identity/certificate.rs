//! The peer that a verified client certificate names.
//!
//! | the leaf's subject alternative names | kind | id |
//! |---|---|---|
//! | a URI `spiffe://...` (an X.509-SVID) | `SPIFFE` | that URI, which must be the only URI |
//! | other URIs | `CERTIFICATE` | the first URI, in the order of the certificate |
//! | no URI, DNS names | `CERTIFICATE` | the first DNS name, in lower case; no wildcard |
//! | neither | refused | the common name is never used (RFC 9525, section 2) |
//!
//! All names are kept as the claims `uris` and `dns_names`; `issuer` and `serial` are claims too. Names of other types
//! are ignored. Any CA of the configuration may issue any name: whoever trusts two CAs with different duties compares
//! `issuer` in the policy.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prokura_envelope::certificate::Certificate;
use serde_json::Value;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage, SubjectAltName};

use super::refusal::{Refusal, RefusalKind, quoted};
use super::spiffe;
use crate::limits::CERTIFICATE_NAMES_MAX;
use crate::peer::{Peer, PeerKind};

const REISSUE: &str = "whoever issues the caller's certificate must reissue it";

/// The peer named by a leaf whose chain was verified before.
///
/// # Errors
/// [`Refusal`] if it names nobody, or names a workload against the rules of X.509-SVID.
pub(crate) fn peer_of(leaf: &[u8]) -> Result<Peer, Refusal> {
    let certificate = read(leaf)?;
    let parsed = x509_cert::Certificate::from_der(leaf).map_err(|e| unreadable(&e.to_string()))?;
    let names = Names::of(&parsed)?;
    let (kind, id) = names.identity(&parsed)?;
    let mut claims = BTreeMap::from([
        ("issuer".to_owned(), Value::from(certificate.issuer())),
        ("serial".to_owned(), Value::from(certificate.serial_hex())),
        ("uris".to_owned(), Value::from(names.uris.clone())),
        ("dns_names".to_owned(), Value::from(names.dns.clone())),
    ]);
    if let (PeerKind::Spiffe, Ok(domain)) = (kind, spiffe::trust_domain(&id)) {
        claims.insert("trust_domain".to_owned(), Value::from(domain));
    }
    Peer::new(kind, id, claims, evidence(&certificate), Some(certificate.not_after()))
        .map_err(|e| refused(e.to_string(), "names within the limits"))
}

/// One line for the log: by which certificate.
pub(crate) fn evidence(certificate: &Certificate) -> String {
    format!("certificate {} issued by {}", certificate.serial_hex(), quoted(&certificate.issuer()))
}

/// Parses the leaf.
pub(crate) fn read(leaf: &[u8]) -> Result<Certificate, Refusal> {
    Certificate::from_der(leaf).map_err(|e| unreadable(&e.to_string()))
}

/// Whether it is valid at `now`, both ends included (RFC 5280, section 4.1.2.5).
pub(crate) fn check_validity(certificate: &Certificate, now: Timestamp) -> Result<(), Refusal> {
    let (from, until) = (certificate.not_before(), certificate.not_after());
    if (from..=until).contains(&now) {
        return Ok(());
    }
    let found = format!("a client certificate valid from {from} until {until}, and now is {now}");
    let remedy = "renew the caller's certificate, or correct the clock of the broker";
    Err(Refusal::new(RefusalKind::Certificate, found, "one that is valid now", remedy))
}

struct Names {
    uris: Vec<String>,
    dns: Vec<String>,
}

impl Names {
    fn of(certificate: &x509_cert::Certificate) -> Result<Self, Refusal> {
        let extension = certificate
            .tbs_certificate()
            .get_extension::<SubjectAltName>()
            .map_err(|e| unreadable(&format!("subject alternative names: {e}")))?;
        let names = extension.map(|(_, names)| names.0).unwrap_or_default();
        if names.len() > CERTIFICATE_NAMES_MAX {
            let found = format!("a client certificate with {} subject alternative names", names.len());
            return Err(refused(found, &format!("at most {CERTIFICATE_NAMES_MAX}")));
        }
        let (mut uris, mut dns) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.to_string()),
                GeneralName::DnsName(name) => dns.push(name.as_str().to_ascii_lowercase()),
                _ => {}
            }
        }
        Ok(Self { uris, dns })
    }

    fn identity(&self, certificate: &x509_cert::Certificate) -> Result<(PeerKind, String), Refusal> {
        if self.uris.iter().any(|uri| is_spiffe(uri)) {
            return self.svid(certificate);
        }
        if let Some(uri) = self.uris.first() {
            return check_uri(uri).map(|()| (PeerKind::Certificate, uri.clone()));
        }
        let Some(name) = self.dns.first() else {
            return Err(refused(
                "a client certificate without a subject alternative name of type URI or DNS (a common name is not used)",
                "a URI, such as spiffe://example.org/build, or a DNS name",
            ));
        };
        check_dns(name).map(|()| (PeerKind::Certificate, name.clone()))
    }

    /// X.509-SVID, sections 2, 4.3 and 5.2.
    fn svid(&self, certificate: &x509_cert::Certificate) -> Result<(PeerKind, String), Refusal> {
        let [uri] = self.uris.as_slice() else {
            let found = format!("an X.509-SVID with {} URIs", self.uris.len());
            return Err(refused(found, "exactly one"));
        };
        spiffe::trust_domain(uri).map_err(|rule| {
            refused(format!("the SPIFFE ID {:?}: {rule}", quoted(uri)), "the ID of a workload")
        })?;
        let usage = certificate
            .tbs_certificate()
            .get_extension::<KeyUsage>()
            .map_err(|e| unreadable(&format!("key usage: {e}")))?;
        let fit = usage.is_some_and(|(_, usage)| {
            usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign()
        });
        if !fit {
            let expected = "key usage digitalSignature, without keyCertSign and cRLSign";
            return Err(refused("an X.509-SVID with another key usage, or none", expected));
        }
        Ok((PeerKind::Spiffe, uri.clone()))
    }
}

/// Any spelling: what looks like a SPIFFE ID is held to its rules.
fn is_spiffe(uri: &str) -> bool {
    uri.get(..spiffe::SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(spiffe::SCHEME))
}

fn check_uri(uri: &str) -> Result<(), Refusal> {
    let has_scheme = uri.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    if has_scheme && uri.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(refused(
        format!("the URI {:?} in the client certificate", quoted(uri)),
        "a URI with a scheme (RFC 3986)",
    ))
}

fn check_dns(name: &str) -> Result<(), Refusal> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    if !name.is_empty() && name.bytes().all(legal) {
        return Ok(());
    }
    let found = format!("the DNS name {:?} in the client certificate", quoted(name));
    Err(refused(found, "the name of one machine, no wildcard, of a-z, 0-9, '-', '.', '_'"))
}

fn refused(found: impl Into<String>, expected: &str) -> Refusal {
    Refusal::new(RefusalKind::Certificate, found, expected, REISSUE)
}

fn unreadable(reason: &str) -> Refusal {
    refused(
        format!("a client certificate that cannot be read ({})", quoted(reason)),
        "an X.509 certificate in DER",
    )
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose, SanType};

    use super::*;

    fn leaf(uris: &[&str], dns: &[&str], usages: &[KeyUsagePurpose]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "build.example");
        let uri = |u: &&str| SanType::URI((*u).try_into().unwrap());
        let name = |n: &&str| SanType::DnsName((*n).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).chain(dns.iter().map(name)).collect();
        params.key_usages = usages.to_vec();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn named(uris: &[&str], dns: &[&str]) -> Result<(PeerKind, String), String> {
        peer_of(&leaf(uris, dns, &[KeyUsagePurpose::DigitalSignature]))
            .map(|peer| (peer.kind(), peer.id().to_owned()))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_id_is_the_spiffe_id_or_the_first_uri_or_the_first_dns_name() {
        let spiffe = "spiffe://example.org/build";
        assert_eq!(named(&[spiffe], &["a.example"]).unwrap(), (PeerKind::Spiffe, spiffe.to_owned()));
        let uris = ["https://ci.example/b", "urn:a"];
        assert_eq!(named(&uris, &["a.example"]).unwrap(), (PeerKind::Certificate, uris[0].to_owned()));
        assert_eq!(
            named(&[], &["B.example", "a.example"]).unwrap(),
            (PeerKind::Certificate, "b.example".to_owned())
        );
    }

    #[test]
    fn all_names_issuer_and_serial_are_claims() {
        let peer = peer_of(&leaf(&["urn:b", "urn:a"], &["x.example"], &[])).unwrap();
        assert_eq!(peer.claims().get("uris"), Some(&serde_json::json!(["urn:b", "urn:a"])));
        assert_eq!(peer.claims().get("dns_names"), Some(&serde_json::json!(["x.example"])));
        assert_eq!(peer.claims().get("issuer"), Some(&serde_json::json!("CN=build.example")));
        assert!(peer.claims().contains_key("serial") && peer.expires_at().is_some());
        assert!(peer.evidence().contains("issued by CN=build.example"), "{}", peer.evidence());
    }

    #[test]
    fn a_common_name_names_nobody() {
        let error = named(&[], &[]).unwrap_err();
        assert!(error.contains("common name is not used"), "{error}");
    }

    #[test]
    fn an_svid_keeps_its_rules() {
        let id = "spiffe://example.org/build";
        assert!(named(&[id, "urn:a"], &[]).unwrap_err().contains("with 2 URIs"));
        assert!(named(&["spiffe://example.org"], &[]).unwrap_err().contains("no path"));
        assert!(named(&["SPIFFE://example.org/b"], &[]).unwrap_err().contains("SPIFFE ID"));
        for usages in [&[][..], &[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign]] {
            let error = peer_of(&leaf(&[id], &[], usages)).unwrap_err().to_string();
            assert!(error.contains("key usage"), "{error}");
        }
    }

    #[test]
    fn wildcards_odd_uris_and_floods_of_names_are_refused() {
        assert!(named(&[], &["*.example"]).unwrap_err().contains("no wildcard"));
        assert!(named(&["no-scheme"], &[]).unwrap_err().contains("with a scheme"));
        let many = vec!["a.example"; CERTIFICATE_NAMES_MAX + 1];
        assert!(named(&[], &many).unwrap_err().contains("at most"));
        assert!(named(&[], &many[1..]).is_ok());
    }

    #[test]
    fn validity_includes_both_ends() {
        let certificate = read(&leaf(&["urn:a"], &[], &[])).unwrap();
        let (from, until) = (certificate.not_before(), certificate.not_after());
        let second = jiff::SignedDuration::from_secs(1);
        assert!(check_validity(&certificate, from).is_ok() && check_validity(&certificate, until).is_ok());
        assert!(check_validity(&certificate, from - second).is_err());
        assert!(check_validity(&certificate, until + second).is_err());
    }
}
