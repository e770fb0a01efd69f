//! Each certificate rule: a chain that keeps it and one that breaks it, and nothing else.

use prokura_envelope::certificate::{Certificate, CertificateError, SignedByError, check_code_signing_chain};
use prokura_plugin::KeySpec;
use rcgen::{
    BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};

use crate::mint::{self, Plan};

/// OID 2.5.29.15, key usage.
const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];

fn parsed(ders: &[Vec<u8>]) -> Vec<Certificate> {
    ders.iter().map(|der| Certificate::from_der(der).unwrap()).collect()
}

fn good() -> Vec<Certificate> {
    parsed(&Plan::good().chain_for(mint::key(KeySpec::Ec256)))
}

fn planned(change: impl FnOnce(&mut Plan)) -> Vec<Certificate> {
    let mut plan = Plan::good();
    change(&mut plan);
    parsed(&plan.chain_for(mint::key(KeySpec::Ec256)))
}

#[track_caller]
fn breaks(chain: &[Certificate], rule: &str, words: &str) {
    let violation = check_code_signing_chain(chain, None).unwrap_err();
    assert_eq!(violation.rule, rule, "{violation}");
    assert!(violation.message.contains(words), "{violation}");
}

#[track_caller]
fn keeps(chain: &[Certificate]) {
    check_code_signing_chain(chain, Some(mint::time("2026-01-31T08:00:00Z"))).unwrap();
}

/// A key usage extension with the given bits, most significant first.
fn key_usage(bits: u8, critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&KEY_USAGE, vec![3, 2, 0, bits]);
    extension.set_criticality(critical);
    extension
}

#[test]
fn good_chains_keep_every_rule() {
    for spec in KeySpec::ALL {
        keeps(&parsed(&Plan::good().chain_for(mint::key(spec))));
    }
    let plan = Plan::good();
    keeps(&parsed(&[plan.leaf.self_signed(mint::key(KeySpec::Ec384)).unwrap().der().to_vec()]));
    keeps(&planned(|plan| plan.leaf.is_ca = IsCa::ExplicitNoCa));
    keeps(&planned(|plan| plan.leaf.key_usages.push(KeyUsagePurpose::ContentCommitment)));
    keeps(&planned(|plan| plan.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]));
    keeps(&planned(|plan| plan.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))));
    keeps(&planned(|plan| plan.intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))));
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    unknown.set_criticality(true);
    keeps(&planned(|plan| plan.leaf.custom_extensions = vec![unknown]));
    // Validity need not nest.
    keeps(&planned(|plan| plan.root.not_after = rcgen::date_time_ymd(2030, 1, 1)));
}

#[test]
fn cert_1_number_of_certificates() {
    breaks(&[], "CERT-1", "is empty");
    let root = good().pop().unwrap();
    breaks(&vec![root; 17], "CERT-1", "17 certificates, at most 16");
}

#[test]
fn cert_2_validity() {
    let chain = planned(|plan| plan.intermediate.not_after = rcgen::date_time_ymd(2025, 1, 1));
    assert!(check_code_signing_chain(&chain, None).is_ok());
    let violation = check_code_signing_chain(&chain, Some(mint::time("2026-01-01T00:00:00Z"))).unwrap_err();
    assert_eq!(violation.rule, "CERT-2");
    assert!(violation.message.contains("CN=intermediate"), "{violation}");
    assert!(
        violation.message.contains("valid from 2020-01-01T00:00:00Z to 2025-01-01T00:00:00Z"),
        "{violation}"
    );
    assert!(check_code_signing_chain(&chain, Some(mint::time("2025-01-01T00:00:00Z"))).is_ok());
}

#[test]
fn certificates_that_never_expire_are_read() {
    let chain = planned(|plan| {
        let last_second = std::time::Duration::from_secs(24 * 60 * 60 - 1);
        plan.root.not_after = rcgen::date_time_ymd(9999, 12, 31) + last_second;
    });
    let root = &chain[2];
    assert!(root.der().windows(15).any(|bytes| bytes == b"99991231235959Z"));
    assert_eq!(root.not_after(), jiff::Timestamp::MAX);
    assert_eq!(root.not_before(), mint::time("2020-01-01T00:00:00Z"));
    keeps(&chain);
    check_code_signing_chain(&chain[2..], Some(mint::time("9999-12-30T00:00:00Z")))
        .map_err(|violation| assert_eq!(violation.rule, "CERT-7", "{violation}"))
        .unwrap_err();
}

#[test]
fn cert_3_root() {
    breaks(&good()[..2], "CERT-3", "must go on to the self-signed root");
    breaks(&good()[..1], "CERT-3", "must go on to the self-signed root");
    let mut ders = Plan::good().chain_for(mint::key(KeySpec::Ec256));
    let last = ders[2].len() - 1;
    ders[2][last] ^= 1;
    breaks(&parsed(&ders), "CERT-3", "does not verify");
}

#[test]
fn cert_4_self_signed_only_at_the_end() {
    let mut chain = good();
    chain.push(chain[2].clone());
    breaks(&chain, "CERT-4", "at position 2");
    chain.pop();
    chain.reverse();
    breaks(&chain, "CERT-4", "leaf first, one root last");
}

#[test]
fn cert_5_order_and_strangers() {
    let chain = good();
    let swapped: Vec<_> = [&chain[0], &chain[2]].into_iter().cloned().collect();
    breaks(&swapped, "CERT-5", "was issued by \"CN=intermediate");
    let stranger =
        planned(|plan| plan.intermediate.distinguished_name.push(rcgen::DnType::CommonName, "stranger"));
    let inserted: Vec<_> = [&chain[0], &stranger[1], &chain[1], &chain[2]].into_iter().cloned().collect();
    breaks(&inserted, "CERT-5", "the next certificate is \"CN=stranger");
}

#[test]
fn cert_6_signed_by_the_next() {
    let chain = good();
    // Same name, another key.
    let other_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let impostor = Plan::good().root.self_signed(&other_key).unwrap();
    let impostor = Certificate::from_der(impostor.der()).unwrap();
    breaks(&[chain[0].clone(), chain[1].clone(), impostor], "CERT-6", "does not verify under that key");
    let mut ders = Plan::good().chain_for(mint::key(KeySpec::Ec256));
    let last = ders[0].len() - 1;
    ders[0][last] ^= 1;
    breaks(&parsed(&ders), "CERT-6", "CN=leaf");
}

#[test]
fn the_signature_algorithm_is_the_same_inside_and_outside() {
    const ECDSA_WITH_SHA256: [u8; 8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2];
    let ders = Plan::good().chain_for(mint::key(KeySpec::Ec256));
    let outer = ders[0].windows(8).rposition(|bytes| bytes == ECDSA_WITH_SHA256).unwrap();
    let inner = ders[0].windows(8).position(|bytes| bytes == ECDSA_WITH_SHA256).unwrap();
    for at in [inner, outer] {
        let mut chain = ders.clone();
        chain[0][at + 7] = 3; // ecdsa-with-SHA384
        let chain = parsed(&chain);
        assert_eq!(chain[0].verify_signed_by(&chain[1]), Err(SignedByError::Inconsistent));
        breaks(&chain, "CERT-6", "differs inside and outside of the signed part");
    }
    assert_ne!(inner, outer);
}

#[test]
fn equal_names_alone_make_no_self_signed_certificate() {
    let leaf = Plan::good().leaf;
    let key = mint::key(KeySpec::Ec256);
    let own = Certificate::from_der(leaf.self_signed(key).unwrap().der()).unwrap();
    let foreign = leaf.signed_by(key, &Issuer::from_params(&leaf, &*mint::ROOT_KEY)).unwrap();
    let foreign = Certificate::from_der(foreign.der()).unwrap();
    assert_eq!((foreign.raw_subject(), foreign.raw_issuer()), (own.raw_subject(), own.raw_issuer()));
    assert!(own.is_self_signed() && !foreign.is_self_signed());
    breaks(&[foreign], "CERT-3", "");
}

#[test]
fn cert_7_leaf_is_no_ca() {
    breaks(&good()[1..], "CERT-7", "is a CA certificate");
    breaks(&good()[2..], "CERT-7", "is a CA certificate");
}

#[test]
fn cert_8_key_usage_of_the_leaf() {
    breaks(&planned(|plan| plan.leaf.key_usages.clear()), "CERT-8", "has no key usage");
    let chain = planned(|plan| {
        plan.leaf.key_usages.clear();
        plan.leaf.custom_extensions = vec![key_usage(0x80, false)];
    });
    breaks(&chain, "CERT-8", "not marked critical");
    keeps(&planned(|plan| {
        plan.leaf.key_usages.clear();
        plan.leaf.custom_extensions = vec![key_usage(0x80, true)];
    }));
}

#[test]
fn cert_9_leaf_signs() {
    let chain = planned(|plan| plan.leaf.key_usages = vec![KeyUsagePurpose::ContentCommitment]);
    breaks(&chain, "CERT-9", "digitalSignature");
}

#[test]
fn cert_10_leaf_does_nothing_else() {
    for (usage, name) in [
        (KeyUsagePurpose::KeyEncipherment, "keyEncipherment"),
        (KeyUsagePurpose::DataEncipherment, "dataEncipherment"),
        (KeyUsagePurpose::KeyAgreement, "keyAgreement"),
        (KeyUsagePurpose::KeyCertSign, "keyCertSign"),
        (KeyUsagePurpose::CrlSign, "cRLSign"),
        (KeyUsagePurpose::EncipherOnly, "encipherOnly"),
        (KeyUsagePurpose::DecipherOnly, "decipherOnly"),
    ] {
        breaks(&planned(|plan| plan.leaf.key_usages.push(usage)), "CERT-10", name);
    }
}

#[test]
fn cert_11_extended_key_usage_of_the_leaf() {
    for (purpose, name) in [
        (ExtendedKeyUsagePurpose::Any, "anyExtendedKeyUsage"),
        (ExtendedKeyUsagePurpose::ServerAuth, "serverAuth"),
        (ExtendedKeyUsagePurpose::ClientAuth, "clientAuth"),
        (ExtendedKeyUsagePurpose::EmailProtection, "emailProtection"),
        (ExtendedKeyUsagePurpose::TimeStamping, "timeStamping"),
        (ExtendedKeyUsagePurpose::OcspSigning, "OCSPSigning"),
    ] {
        let purposes = vec![ExtendedKeyUsagePurpose::CodeSigning, purpose];
        breaks(&planned(|plan| plan.leaf.extended_key_usages = purposes), "CERT-11", name);
    }
}

#[test]
fn cert_12_key_of_the_leaf() {
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    breaks(&parsed(&Plan::good().chain_for(&ed25519)), "CERT-12", "1.3.101.112");
    breaks(&[vector(include_bytes!("../vectors/rsa-2560-leaf.pem"))], "CERT-12", "RSA 2560 bit");
}

#[test]
fn cert_13_issuers_are_cas() {
    let chain = planned(|plan| plan.intermediate.is_ca = IsCa::ExplicitNoCa);
    breaks(&chain, "CERT-13", "CN=intermediate");
    breaks(&planned(|plan| plan.root.is_ca = IsCa::NoCa), "CERT-13", "CN=root");
}

#[test]
fn cert_14_path_length() {
    let chain = planned(|plan| plan.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    breaks(&chain, "CERT-14", "allows 0 intermediates below itself, found 1");
}

#[test]
fn cert_15_cas_sign_certificates() {
    let chain = planned(|plan| plan.intermediate.key_usages = vec![KeyUsagePurpose::CrlSign]);
    breaks(&chain, "CERT-15", "keyCertSign");
    breaks(&planned(|plan| plan.root.key_usages.clear()), "CERT-15", "has no key usage");
    let chain = planned(|plan| {
        plan.intermediate.key_usages.clear();
        plan.intermediate.custom_extensions = vec![key_usage(0x04, false)];
    });
    breaks(&chain, "CERT-15", "not marked critical");
}

#[test]
fn cert_16_extensions_occur_once() {
    let chain = planned(|plan| plan.leaf.custom_extensions = vec![key_usage(0x80, true)]);
    breaks(&chain, "CERT-16", "key usage");
    let chain = planned(|plan| {
        let garbage = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 5]);
        plan.leaf.custom_extensions = vec![garbage];
    });
    breaks(&chain, "CERT-16", "basic constraints");
}

fn vector(pem: &[u8]) -> Certificate {
    Certificate::from_pem_bundle(pem).unwrap().remove(0)
}

#[test]
fn certificates_by_openssl_signed_in_other_ways() {
    let pss = vector(include_bytes!("../vectors/rsa-pss-self-signed.pem"));
    check_code_signing_chain(std::slice::from_ref(&pss), None).unwrap();
    let mut der = pss.der().to_vec();
    let last = der.len() - 1;
    der[last] ^= 1;
    breaks(&parsed(&[der]), "CERT-3", "does not verify");
    breaks(
        &[vector(include_bytes!("../vectors/rsa-sha1-self-signed.pem"))],
        "CERT-3",
        "SHA-1, which is broken",
    );
    breaks(
        &[vector(include_bytes!("../vectors/rsa-pss-sha1-self-signed.pem"))],
        "CERT-3",
        "SHA-1, which is broken",
    );
    breaks(
        &[vector(include_bytes!("../vectors/rsa-pss-salt-20-self-signed.pem"))],
        "CERT-3",
        "is not supported",
    );
    assert!(vector(include_bytes!("../vectors/ed25519-ca.pem")).is_self_signed());
    assert!(vector(include_bytes!("../vectors/secp256k1-ca.pem")).is_ca());
    breaks(
        &[vector(include_bytes!("../vectors/secp256k1-ca.pem"))],
        "CERT-3",
        "1.2.840.10045.4.3.2 with an issuer key of type 1.2.840.10045.2.1 is not supported",
    );
}

#[test]
fn what_is_shown_of_a_certificate() {
    let chain = good();
    assert_eq!(chain[0].subject(), "CN=leaf,O=Notary,ST=WA,C=US");
    assert_eq!(chain[0].issuer(), "CN=intermediate,O=Notary,ST=WA,C=US");
    assert_eq!(chain[0].not_after(), mint::time("2040-01-01T00:00:00Z"));
    assert!(chain[2].is_self_signed() && !chain[1].is_self_signed() && chain[1].is_ca() && !chain[0].is_ca());
    let kinds: Vec<String> = chain[0].subject_attributes().into_iter().map(|a| a.kind).collect();
    assert_eq!(kinds, ["C", "ST", "O", "CN"]);
    // As `openssl x509 -fingerprint -sha256 -serial` prints it.
    let pss = vector(include_bytes!("../vectors/rsa-pss-self-signed.pem"));
    assert_eq!(pss.sha256_fingerprint(), FINGERPRINT);
    assert_eq!(pss.serial_hex(), "0b0e");
}

const FINGERPRINT: &str = "7c43b7742b480dec778137c419eec776a480e3b1625d967e3564b9f5cbac9f9d";

#[test]
fn bundles_are_read_strictly() {
    let pem = |der: &[u8]| {
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    let chain = good();
    let bundle = format!("# root\n{}subject=x\n\n{}", pem(chain[2].der()), pem(chain[1].der()));
    let read = Certificate::from_pem_bundle(bundle.as_bytes()).unwrap();
    assert_eq!(read, [chain[2].clone(), chain[1].clone()]);
    assert_eq!(Certificate::from_pem_bundle(chain[0].der()).unwrap(), [chain[0].clone()]);
    let key = mint::key(KeySpec::Ec256).serialize_pem();
    let many = pem(chain[0].der()).repeat(513);
    for (bytes, words) in [
        (&b""[..], "found none"),
        (b"hello", "found none"),
        (key.as_bytes(), "a block of type PRIVATE KEY"),
        (&bundle.as_bytes()[..bundle.len() - 40], "a block without an end"),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "expected PEM"),
        (b"\xff\xfe", "not text"),
        (b"0\x03\x02\x01\x01", "not a DER X.509"),
        (many.as_bytes(), "more than 512"),
    ] {
        let error = Certificate::from_pem_bundle(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    let trailing = [chain[0].der(), &[0]].concat();
    assert!(matches!(Certificate::from_der(&trailing), Err(CertificateError::Malformed { .. })));
    let large = vec![0x30; 64 * 1024 + 1];
    assert_eq!(Certificate::from_der(&large), Err(CertificateError::TooLarge { found: 65537 }));
}
