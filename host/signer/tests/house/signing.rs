//! A key with its certificate, and signatures and envelopes made with it, for plugins with canned answers.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use jiff::Timestamp;
use prokura_envelope::{Attributes, Descriptor, EnvelopeFormat, Payload, SigningScheme, Unsigned};
use prokura_plugin::{CertificateChain, KeySpec, RawSignature};
use prokura_signer::SignRequest;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

pub(crate) const AGENT: &str = "prokura/0.1.0";

pub(crate) struct Key {
    pub(crate) spec: KeySpec,
    pair: KeyPair,
    pub(crate) certificate: Vec<u8>,
}

impl Key {
    pub(crate) fn new(spec: KeySpec) -> Self {
        let algorithm = if spec == KeySpec::Ec256 {
            &rcgen::PKCS_ECDSA_P256_SHA256
        } else {
            &rcgen::PKCS_ECDSA_P384_SHA384
        };
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let certificate = certificate(&pair, 2020, 2040);
        Self { spec, pair, certificate }
    }

    /// A certificate of this key for the years from `from` until `until`.
    pub(crate) fn certificate_for(&self, from: i32, until: i32) -> Vec<u8> {
        certificate(&self.pair, from, until)
    }

    pub(crate) fn sign(&self, to_be_signed: &[u8]) -> Vec<u8> {
        let algorithm = if self.spec == KeySpec::Ec256 {
            &ECDSA_P256_SHA256_FIXED_SIGNING
        } else {
            &ECDSA_P384_SHA384_FIXED_SIGNING
        };
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.pair.serialize_der()).unwrap();
        pair.sign(&SystemRandom::new(), to_be_signed).unwrap().as_ref().to_vec()
    }

    pub(crate) fn chain(&self) -> CertificateChain {
        CertificateChain::from_der(vec![self.certificate.clone()]).unwrap()
    }

    /// The envelope a plugin makes for a payload.
    pub(crate) fn envelope(
        &self,
        format: EnvelopeFormat,
        payload: &Payload,
        attributes: Attributes,
    ) -> Vec<u8> {
        let unsigned = Unsigned::new(format, payload, attributes, self.spec).unwrap();
        let signature = self.sign(unsigned.to_be_signed());
        let signature = RawSignature::from_fixed_width(self.spec, signature).unwrap();
        unsigned.finish(signature, &self.chain()).unwrap().bytes().to_vec()
    }
}

fn certificate(pair: &KeyPair, from: i32, until: i32) -> Vec<u8> {
    let mut params = CertificateParams::default();
    for (kind, value) in [
        (rcgen::DnType::CountryName, "US"),
        (rcgen::DnType::StateOrProvinceName, "WA"),
        (rcgen::DnType::OrganizationName, "Notary"),
        (rcgen::DnType::CommonName, "signer"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params.self_signed(pair).unwrap().der().to_vec()
}

pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn request(format: EnvelopeFormat) -> SignRequest {
    SignRequest {
        format,
        target: Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            size: 528,
            annotations: BTreeMap::new(),
        },
        user_metadata: BTreeMap::from([("build".to_owned(), "42".to_owned())]),
        expiry: None,
        signing_time: now(),
        agent: AGENT.to_owned(),
    }
}

pub(crate) fn payload(request: &SignRequest) -> Payload {
    Payload::new(request.target.clone(), request.user_metadata.clone()).unwrap()
}

pub(crate) fn attributes(expiry: Option<Timestamp>, agent: &str) -> Attributes {
    Attributes {
        scheme: SigningScheme::X509,
        signing_time: now(),
        expiry,
        extended: Vec::new(),
        signing_agent: Some(agent.to_owned()),
    }
}
