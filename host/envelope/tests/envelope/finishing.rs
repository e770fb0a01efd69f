//! `Unsigned::finish` refuses what a plugin or a configuration got wrong, and says what it is.

use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaPssSaltLength};
use prokura_envelope::{Attributes, Blame, Envelope, EnvelopeFormat, Error, Mismatch, Unsigned};
use prokura_plugin::{CertificateChain, KeySpec, RawSignature};

use crate::mint::{self, Plan};

fn unsigned(format: EnvelopeFormat, spec: KeySpec) -> Unsigned {
    Unsigned::new(format, &mint::payload(), mint::attributes(), spec).unwrap()
}

fn finish(spec: KeySpec, bytes: impl Fn(&[u8]) -> Vec<u8>) -> Result<Envelope, Error> {
    let unsigned = unsigned(EnvelopeFormat::Jws, spec);
    let signature = RawSignature::from_fixed_width(spec, bytes(unsigned.to_be_signed())).unwrap();
    unsigned.finish(signature, &mint::chain(spec))
}

fn mismatch(error: &Error) -> &Mismatch {
    match error {
        Error::WrongSignature { mismatch, .. } => mismatch,
        other => panic!("{other}"),
    }
}

#[test]
fn the_usual_mistakes_are_called_by_their_names() {
    for format in EnvelopeFormat::ALL {
        let max_salt = &const { RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) };
        let prepared = unsigned(format, KeySpec::Rsa2048);
        let bytes = mint::sign_rsa(KeySpec::Rsa2048, max_salt, prepared.to_be_signed());
        let signature = RawSignature::from_fixed_width(KeySpec::Rsa2048, bytes).unwrap();
        let error = prepared.finish(signature, &mint::chain(KeySpec::Rsa2048)).unwrap_err();
        assert_eq!(mismatch(&error), &Mismatch::SaltLength { found: 222, expected: 32 });
        assert!(error.to_string().contains("salt has 222 bytes, 32"), "{error}");
        assert_eq!(error.blame(), Blame::PluginAuthor);
    }
    let no_salt = &const { RSA_PSS_SHA384.with_pss_salt_length(RsaPssSaltLength::Custom(0)) };
    let error = finish(KeySpec::Rsa3072, |m| mint::sign_rsa(KeySpec::Rsa3072, no_salt, m)).unwrap_err();
    assert_eq!(mismatch(&error), &Mismatch::SaltLength { found: 0, expected: 48 });
    let error =
        finish(KeySpec::Rsa2048, |m| mint::sign_rsa(KeySpec::Rsa2048, &RSA_PKCS1_SHA256, m)).unwrap_err();
    assert_eq!(mismatch(&error), &Mismatch::Pkcs1);
    for spec in KeySpec::ALL {
        let twice = |message: &[u8]| {
            let digest = prokura_plugin::Digest::of(spec.hash_algorithm(), message);
            mint::sign(spec, digest.bytes()).bytes().to_vec()
        };
        assert_eq!(mismatch(&finish(spec, twice).unwrap_err()), &Mismatch::HashedTwice);
        let garbage = finish(spec, |_| vec![0x5A; spec.signature_len()]).unwrap_err();
        assert_eq!(mismatch(&garbage), &Mismatch::Unknown);
        let other_bytes = finish(spec, |_| mint::sign(spec, b"other").bytes().to_vec()).unwrap_err();
        assert_eq!(mismatch(&other_bytes), &Mismatch::Unknown);
    }
}

#[test]
fn a_signature_by_a_ca_of_the_chain_is_blamed_on_the_configuration() {
    let by_intermediate = |m: &[u8]| mint::sign_with(&mint::INTERMEDIATE_KEY, KeySpec::Ec256, m);
    let error = finish(KeySpec::Ec256, by_intermediate).unwrap_err();
    let subject = "CN=intermediate,O=Notary,ST=WA,C=US".to_owned();
    assert_eq!(mismatch(&error), &Mismatch::OtherCertificate { subject });
    assert_eq!(error.blame(), Blame::Operator);
}

#[test]
fn key_and_chain_must_belong_together() {
    let prepared = unsigned(EnvelopeFormat::Cose, KeySpec::Ec384);
    let signature = mint::sign(KeySpec::Ec256, prepared.to_be_signed());
    let error = prepared.finish(signature, &mint::chain(KeySpec::Ec384)).unwrap_err();
    assert_eq!(error, Error::WrongKeySpec { expected: KeySpec::Ec384, found: KeySpec::Ec256 });
    let prepared = unsigned(EnvelopeFormat::Cose, KeySpec::Ec384);
    let signature = mint::sign(KeySpec::Ec384, prepared.to_be_signed());
    let error = prepared.clone().finish(signature.clone(), &mint::chain(KeySpec::Ec256)).unwrap_err();
    assert!(
        matches!(error, Error::WrongLeafKey { expected: KeySpec::Ec384, found: KeySpec::Ec256, .. }),
        "{error}"
    );
    let error = prepared.finish(signature, &CertificateChain::default()).unwrap_err();
    assert_eq!((error.blame(), error), (Blame::Operator, Error::NoCertificates));
}

#[test]
fn certificate_rules_are_applied_at_the_signing_time() {
    for (signing_time, expected) in [
        ("2019-12-31T23:59:59Z", Some("not valid yet")),
        ("2020-01-01T00:00:00Z", None),
        ("2040-01-01T00:00:00Z", None),
        ("2040-01-01T00:00:01Z", Some("is expired at")),
    ] {
        let attributes = Attributes { signing_time: mint::time(signing_time), ..mint::attributes() };
        let spec = KeySpec::Ec256;
        let unsigned = Unsigned::new(EnvelopeFormat::Jws, &mint::payload(), attributes, spec).unwrap();
        let signature = mint::sign(spec, unsigned.to_be_signed());
        match (unsigned.finish(signature, &mint::chain(spec)), expected) {
            (Ok(_), None) => {}
            (Err(Error::Chain(violation)), Some(expected)) => {
                assert_eq!(violation.rule, "CERT-2");
                assert!(violation.message.contains(expected), "{violation}");
            }
            (other, _) => panic!("{signing_time}: {other:?}"),
        }
    }
}

#[test]
fn a_chain_without_root_or_in_wrong_order_makes_no_envelope() {
    let good = Plan::good().chain_for(mint::key(KeySpec::Ec256));
    let reversed: Vec<_> = good.iter().rev().cloned().collect();
    for (chain, rule) in
        [(good[..2].to_vec(), "CERT-3"), (reversed, "CERT-4"), (good[1..].to_vec(), "CERT-7")]
    {
        let prepared = unsigned(EnvelopeFormat::Cose, KeySpec::Ec256);
        let signature = mint::sign(KeySpec::Ec256, prepared.to_be_signed());
        let error = prepared.finish(signature, &CertificateChain::from_der(chain).unwrap()).unwrap_err();
        assert!(matches!(&error, Error::Chain(violation) if violation.rule == rule), "{rule}: {error}");
        assert_eq!(error.blame(), Blame::Operator);
    }
}
