//! The rules a code-signing certificate chain must keep, one function each.
//!
//! Source: Notary Project signature specification, "Certificate Requirements", and RFC 5280. The table is in the
//! crate documentation. Validity periods need not nest, name constraints and policies are not evaluated and
//! extensions not named here are ignored, critical or not: so does every Notary verifier so far.

use std::fmt;

use der::asn1::ObjectIdentifier;
use der::{Decode, oid::AssociatedOid};
use jiff::Timestamp;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use super::Certificate;
use crate::limits::CERTIFICATES_MAX;

/// Which rule a chain breaks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleViolation {
    /// Stable name of the rule, `CERT-1` to `CERT-16`.
    pub rule: &'static str,
    /// What was found, what was expected.
    pub message: String,
}

impl fmt::Display for RuleViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.message)
    }
}

impl std::error::Error for RuleViolation {}

type Rule = Result<(), RuleViolation>;

/// Checks a code-signing chain, leaf first and root last, against every rule.
///
/// With `at`, every certificate must have been valid at that time; without, validity periods are not looked at, as
/// on reading a signature, where trust policy decides which time counts.
///
/// # Errors
/// The first [`RuleViolation`], from the leaf upwards.
pub fn check_code_signing_chain(chain: &[Certificate], at: Option<Timestamp>) -> Result<(), RuleViolation> {
    cert_1_number(chain)?;
    for (index, certificate) in chain.iter().enumerate() {
        cert_2_valid(certificate, at)?;
        cert_16_extensions_unambiguous(certificate)?;
        match chain.get(index + 1) {
            Some(issuer) => {
                cert_4_root_only_at_the_end(certificate, index)?;
                cert_5_names_chain(certificate, issuer)?;
                cert_6_signed_by_next(certificate, issuer)?;
            }
            None => cert_3_root(certificate)?,
        }
        if index == 0 { check_leaf(certificate)? } else { check_ca(certificate, index)? }
    }
    Ok(())
}

fn check_leaf(leaf: &Certificate) -> Rule {
    cert_7_leaf_is_no_ca(leaf)?;
    cert_8_leaf_key_usage_critical(leaf)?;
    cert_9_leaf_signs(leaf)?;
    cert_10_leaf_does_nothing_else(leaf)?;
    cert_11_leaf_extended_key_usage(leaf)?;
    cert_12_leaf_key(leaf)
}

fn check_ca(ca: &Certificate, index: usize) -> Rule {
    cert_13_ca(ca)?;
    cert_14_path_length(ca, index)?;
    cert_15_ca_signs_certificates(ca)
}

/// CERT-1: one to sixteen certificates.
fn cert_1_number(chain: &[Certificate]) -> Rule {
    let message = match chain.len() {
        0 => "the chain is empty; leaf, intermediates and root are required".to_owned(),
        1..=CERTIFICATES_MAX => return Ok(()),
        found => format!("the chain has {found} certificates, at most {CERTIFICATES_MAX} are read"),
    };
    Err(RuleViolation { rule: "CERT-1", message })
}

/// CERT-2: valid at the signing time, both ends included.
fn cert_2_valid(certificate: &Certificate, at: Option<Timestamp>) -> Rule {
    let Some(at) = at else { return Ok(()) };
    let (from, to) = (certificate.not_before(), certificate.not_after());
    require((from..=to).contains(&at), "CERT-2", certificate, || {
        let state = if at < from { "not valid yet" } else { "expired" };
        format!("is {state} at the signing time {at}; it is valid from {from} to {to}")
    })
}

/// CERT-3: the chain ends with a self-signed root.
fn cert_3_root(last: &Certificate) -> Rule {
    require(last.raw_subject() == last.raw_issuer(), "CERT-3", last, || {
        format!(
            "is the last of the chain but was issued by {:?}; the chain must go on to the self-signed root",
            last.issuer()
        )
    })?;
    let signed = last.verify_signed_by(last);
    let broken = signed.as_ref().err().map(ToString::to_string).unwrap_or_default();
    require(signed.is_ok(), "CERT-3", last, || format!("is the last of the chain but no root: {broken}"))
}

/// CERT-4: no self-signed certificate before the last.
fn cert_4_root_only_at_the_end(certificate: &Certificate, index: usize) -> Rule {
    require(!certificate.is_self_signed(), "CERT-4", certificate, || {
        format!("is self-signed but at position {index}; the order is leaf first, one root last")
    })
}

/// CERT-5: the issuer of each is, byte for byte, the subject of the next.
fn cert_5_names_chain(certificate: &Certificate, next: &Certificate) -> Rule {
    require(certificate.raw_issuer() == next.raw_subject(), "CERT-5", certificate, || {
        format!(
            "was issued by {:?}, but the next certificate is {:?}; the order is leaf first, root last, \
             nothing in between that does not belong",
            certificate.issuer(),
            next.subject()
        )
    })
}

/// CERT-6: each verifies under the key of the next, with an algorithm that is not broken.
fn cert_6_signed_by_next(certificate: &Certificate, next: &Certificate) -> Rule {
    let signed = certificate.verify_signed_by(next);
    let broken = signed.as_ref().err().map(ToString::to_string).unwrap_or_default();
    require(signed.is_ok(), "CERT-6", certificate, || {
        format!("is not signed by the next certificate {:?}: {broken}", next.subject())
    })
}

/// CERT-7: the leaf is no CA.
fn cert_7_leaf_is_no_ca(leaf: &Certificate) -> Rule {
    require(!leaf.is_ca(), "CERT-7", leaf, || {
        "is a CA certificate, which must not sign artifacts; the order is leaf first, root last".to_owned()
    })
}

/// CERT-8: the key usage of the leaf is there and critical.
fn cert_8_leaf_key_usage_critical(leaf: &Certificate) -> Rule {
    key_usage_critical(leaf, "CERT-8")
}

/// CERT-9: the key usage of the leaf allows digital signatures.
fn cert_9_leaf_signs(leaf: &Certificate) -> Rule {
    let signs = extension::<KeyUsage>(leaf).is_some_and(|(_, usage)| usage.digital_signature());
    require(signs, "CERT-9", leaf, || "lacks the key usage digitalSignature".to_owned())
}

/// CERT-10: the key usage of the leaf allows nothing but digital signatures and non-repudiation.
fn cert_10_leaf_does_nothing_else(leaf: &Certificate) -> Rule {
    let Some((_, usage)) = extension::<KeyUsage>(leaf) else { return Ok(()) };
    let other = [
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ];
    let other: Vec<&str> = other.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
    require(other.is_empty(), "CERT-10", leaf, || {
        format!("has key usage {}, a signing certificate must not", other.join(", "))
    })
}

/// CERT-11: the extended key usage of the leaf, if there is one, names no purpose that others trust it for.
fn cert_11_leaf_extended_key_usage(leaf: &Certificate) -> Rule {
    const FORBIDDEN: [(ObjectIdentifier, &str); 6] = [
        (ObjectIdentifier::new_unwrap("2.5.29.37.0"), "anyExtendedKeyUsage"),
        (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"), "serverAuth"),
        (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"), "clientAuth"),
        (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4"), "emailProtection"),
        (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8"), "timeStamping"),
        (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9"), "OCSPSigning"),
    ];
    let Some((_, usages)) = extension::<ExtendedKeyUsage>(leaf) else { return Ok(()) };
    let found = FORBIDDEN.iter().find(|(oid, _)| usages.0.contains(oid));
    require(found.is_none(), "CERT-11", leaf, || {
        format!(
            "has extended key usage {}, a signing certificate must not",
            found.map_or("", |(_, name)| name)
        )
    })
}

/// CERT-12: the key of the leaf is of one of the six key specs.
fn cert_12_leaf_key(leaf: &Certificate) -> Rule {
    let key = leaf.public_key();
    let problem = key.as_ref().err().map(ToString::to_string).unwrap_or_default();
    require(key.is_ok(), "CERT-12", leaf, || format!("holds a key that cannot be used: {problem}"))
}

/// CERT-13: every other certificate is a CA by its basic constraints.
fn cert_13_ca(ca: &Certificate) -> Rule {
    require(ca.is_ca(), "CERT-13", ca, || "issued a certificate of the chain but is no CA".to_owned())
}

/// CERT-14: the path length of a CA, if it has one, allows as many intermediates as stand below it.
fn cert_14_path_length(ca: &Certificate, index: usize) -> Rule {
    let below = index - 1;
    let allowed =
        extension::<BasicConstraints>(ca).and_then(|(_, constraints)| constraints.path_len_constraint);
    require(allowed.is_none_or(|allowed| below <= usize::from(allowed)), "CERT-14", ca, || {
        format!("allows {} intermediates below itself, found {below}", allowed.unwrap_or_default())
    })
}

/// CERT-15: the key usage of a CA is there, critical, and allows signing certificates.
fn cert_15_ca_signs_certificates(ca: &Certificate) -> Rule {
    key_usage_critical(ca, "CERT-15")?;
    let signs = extension::<KeyUsage>(ca).is_some_and(|(_, usage)| usage.key_cert_sign());
    require(signs, "CERT-15", ca, || "lacks the key usage keyCertSign".to_owned())
}

/// CERT-16: basic constraints, key usage and extended key usage occur at most once each and can be read.
fn cert_16_extensions_unambiguous(certificate: &Certificate) -> Rule {
    let readable = [
        (readable::<BasicConstraints>(certificate), "basic constraints"),
        (readable::<KeyUsage>(certificate), "key usage"),
        (readable::<ExtendedKeyUsage>(certificate), "extended key usage"),
    ];
    let broken = readable.into_iter().find(|(readable, _)| !readable).map(|(_, name)| name);
    require(broken.is_none(), "CERT-16", certificate, || {
        format!("has {} that occur twice or cannot be read", broken.unwrap_or_default())
    })
}

fn key_usage_critical(certificate: &Certificate, rule: &'static str) -> Rule {
    let critical = extension::<KeyUsage>(certificate).map(|(critical, _)| critical);
    require(critical.is_some(), rule, certificate, || "has no key usage extension".to_owned())?;
    require(critical == Some(true), rule, certificate, || {
        "has a key usage extension that is not marked critical".to_owned()
    })
}

fn require(kept: bool, rule: &'static str, certificate: &Certificate, why: impl FnOnce() -> String) -> Rule {
    if kept {
        return Ok(());
    }
    Err(RuleViolation { rule, message: format!("certificate {:?} {}", certificate.subject(), why()) })
}

/// An extension and whether it is critical. Unreadable ones were refused by CERT-16.
fn extension<T: AssociatedOid + for<'a> Decode<'a>>(certificate: &Certificate) -> Option<(bool, T)> {
    certificate.parsed.tbs_certificate().get_extension::<T>().ok().flatten()
}

fn readable<T: AssociatedOid + for<'a> Decode<'a>>(certificate: &Certificate) -> bool {
    certificate.parsed.tbs_certificate().get_extension::<T>().is_ok()
}
