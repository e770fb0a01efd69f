//! Tests of the room above: what is issued is read back by our own rules.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA384, RsaKeyPair,
};

use super::*;
use crate::certificate::{Certificate, check_code_signing_chain};

const NAME: &str = "CN=release,O=ACME Rockets,ST=WA,C=US";

fn ec_key() -> (EcdsaKeyPair, PublicKey) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = PublicKey::from_ec_point(KeySpec::Ec256, key.public_key().as_ref()).unwrap();
    (key, public)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn self_signed(public: &PublicKey) -> Unissued {
    let subject = NAME.parse().unwrap();
    Unissued::self_signed(
        &subject,
        public,
        [0xff; 16],
        at("2026-01-01T00:00:00Z"),
        at("2051-01-01T00:00:00Z"),
    )
    .unwrap()
}

#[test]
fn a_self_signed_certificate_keeps_the_rules_of_a_chain() {
    let (key, public) = ec_key();
    let unissued = self_signed(&public);
    let signature = key.sign(&SystemRandom::new(), &unissued.to_be_signed).unwrap();
    let signature = RawSignature::from_fixed_width(KeySpec::Ec256, signature.as_ref().to_vec()).unwrap();
    let certificate = Certificate::from_der(&unissued.finish(&signature).unwrap()).unwrap();
    assert_eq!(certificate.not_after(), at("2051-01-01T00:00:00Z"));
    assert!(certificate.subject().contains("ACME Rockets"));
    check_code_signing_chain(&[certificate], Some(at("2026-06-01T00:00:00Z"))).unwrap();
}

#[test]
fn an_rsa_certificate_is_signed_with_pss() {
    let key = RsaKeyPair::generate(KeySize::Rsa3072).unwrap();
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(key.public_key()).unwrap();
    let public = PublicKey::from_spki_der(spki.as_ref()).unwrap();
    let unissued = self_signed(&public);
    let mut signature = vec![0; 384];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &unissued.to_be_signed, &mut signature).unwrap();
    let signature = RawSignature::from_fixed_width(KeySpec::Rsa3072, signature).unwrap();
    let certificate = Certificate::from_der(&unissued.finish(&signature).unwrap()).unwrap();
    check_code_signing_chain(&[certificate], Some(at("2026-06-01T00:00:00Z"))).unwrap();
}

/// What RFC 5280 asks of serial numbers and times, and the Notary Project of a leaf, by another reader of certificates.
#[test]
fn a_self_signed_certificate_is_written_as_the_rfc_says() {
    use x509_cert::time::Time::{GeneralTime, UtcTime};
    let (_, public) = ec_key();
    let (before, after) = (at("2049-12-31T23:59:59Z"), at("2050-01-01T00:00:00Z"));
    for serial in [[0xff; 16], [0; 16]] {
        let subject = NAME.parse().unwrap();
        let unissued = Unissued::self_signed(&subject, &public, serial, before, after).unwrap();
        let made = <ToBeSignedCertificate as der::Decode>::from_der(&unissued.to_be_signed).unwrap();
        // 16 octets and no sign: neither negative nor shortened.
        let octets = made.serial.as_bytes();
        assert!(octets.len() == 16 && (0x40..0x80).contains(&octets[0]), "{octets:x?}");
        assert!(
            matches!(made.validity.not_before, UtcTime(_))
                && matches!(made.validity.not_after, GeneralTime(_))
        );
        let found: Vec<_> = made.extensions.iter().map(|e| (e.extn_id, e.critical)).collect();
        assert_eq!(found, [(BASIC_CONSTRAINTS, true), (KEY_USAGE, true), (EXTENDED_KEY_USAGE, false)]);
        let purposes: ExtendedKeyUsage =
            der::Decode::from_der(made.extensions[2].extn_value.as_bytes()).unwrap();
        assert_eq!(purposes.0, [CODE_SIGNING]);
    }
}

#[test]
fn a_request_reads_back_with_subject_key_and_extensions() {
    let (key, public) = ec_key();
    let unissued = Unissued::request(&NAME.parse().unwrap(), &public).unwrap();
    let signature = key.sign(&SystemRandom::new(), &unissued.to_be_signed).unwrap();
    let signature = RawSignature::from_fixed_width(KeySpec::Ec256, signature.as_ref().to_vec()).unwrap();
    let der = unissued.finish(&signature).unwrap();
    let request = <x509_cert::request::CertReq as der::Decode>::from_der(&der).unwrap();
    assert_eq!(request.info.subject.to_string(), NAME);
    assert_eq!(request.info.public_key.to_der().unwrap(), public.spki_der());
    let attribute = request.info.attributes.iter().next().unwrap();
    assert_eq!(attribute.oid, EXTENSION_REQUEST);
    let asked: Vec<Extension> = attribute.values.get(0).unwrap().decode_as().unwrap();
    assert_eq!(asked, leaf_extensions().unwrap());
}

#[test]
fn a_signature_of_another_key_issues_nothing() {
    let (_, public) = ec_key();
    let (other, _) = ec_key();
    let unissued = self_signed(&public);
    let signature = other.sign(&SystemRandom::new(), &unissued.to_be_signed).unwrap();
    let signature = RawSignature::from_fixed_width(KeySpec::Ec256, signature.as_ref().to_vec()).unwrap();
    assert_eq!(unissued.finish(&signature), Err(IssueError::DoesNotVerify));
}

#[test]
fn subjects_no_trust_policy_could_name_are_refused() {
    for (bad, word) in [
        ("", "empty"),
        ("release", "no subject"),
        ("CN=x,O=y,ST=z", "lacks C"),
        ("CN=x,C=US,ST=z", "lacks O"),
        ("CN=x,C=US,O=y", "lacks ST"),
    ] {
        let error = bad.parse::<Subject>().unwrap_err().to_string();
        assert!(error.contains(word), "{bad:?}: {error}");
    }
    let long = format!("{NAME},OU={}", "x".repeat(SUBJECT_BYTES_MAX));
    assert!(long.parse::<Subject>().is_err());
}

#[test]
fn a_validity_that_ends_before_it_begins_is_refused() {
    let (_, public) = ec_key();
    let subject = NAME.parse().unwrap();
    let from = at("2026-01-02T00:00:00Z");
    for to in [at("2026-01-01T00:00:00Z"), from, at("1969-01-01T00:00:00Z")] {
        let refused = Unissued::self_signed(&subject, &public, [1; 16], from, to).unwrap_err();
        assert_eq!(refused, IssueError::Validity { from, to });
    }
}
