//! Certificates, trust stores and signed envelopes for the tests. Everything happens in the year 2025.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use prokura_envelope::{
    Attributes, Descriptor, EnvelopeFormat, ExtendedAttribute, Payload, SigningScheme, Unsigned,
};
use prokura_plugin::{CertificateChain, KeySpec, RawSignature};
use prokura_verify::{OciPolicy, Statement, Target};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey as _, date_time_ymd,
};

pub(crate) const SIGNED_AT: &str = "2025-06-01T12:00:00Z";
pub(crate) const NOW: &str = "2025-07-01T00:00:00Z";
pub(crate) const AFTER_EXPIRY: &str = "2026-06-01T00:00:00Z";
pub(crate) const REPOSITORY: &str = "registry.example/app";

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) type Name<'a> = &'a [(DnType, &'a str)];

/// A leaf under a root, both valid in 2025.
pub(crate) struct Signer {
    key: KeyPair,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) leaf_pem: String,
    pub(crate) leaf: Vec<u8>,
    pub(crate) root: Vec<u8>,
    pub(crate) root_pem: String,
}

/// Where certificates say to ask about revocation.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Asks {
    Nobody,
    Crl,
    Ocsp,
    /// A CRL distribution point that is no such thing.
    UnreadableCrl,
    /// Authority information access that is no such thing.
    UnreadableOcsp,
    /// A CRL distribution point in the root, which nobody asks about.
    RootCrl,
}

const AUTHORITY_INFORMATION_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];

/// What is signed, and how.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) format: EnvelopeFormat,
    pub(crate) scheme: SigningScheme,
    pub(crate) expiry: Option<&'static str>,
    pub(crate) extended: Vec<ExtendedAttribute>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            format: EnvelopeFormat::Jws,
            scheme: SigningScheme::X509,
            expiry: None,
            extended: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }
}

pub(crate) fn wabbit() -> Signer {
    Signer::named(
        &[
            (DnType::CountryName, "US"),
            (DnType::StateOrProvinceName, "WA"),
            (DnType::OrganizationName, "Wabbit"),
            (DnType::CommonName, "release"),
        ],
        Asks::Nobody,
    )
}

impl Signer {
    pub(crate) fn named(subject: Name<'_>, asks: Asks) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut root = params(&[(DnType::CommonName, "Test Root"), (DnType::CountryName, "US")]);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        if asks == Asks::RootCrl {
            root.crl_distribution_points = crl();
        }
        let root_certificate = root.self_signed(&root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut leaf = params(subject);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match asks {
            Asks::Crl => leaf.crl_distribution_points = crl(),
            Asks::Ocsp => leaf.custom_extensions = vec![ocsp()],
            Asks::UnreadableCrl => leaf.custom_extensions = vec![unreadable(&[2, 5, 29, 31])],
            Asks::UnreadableOcsp => leaf.custom_extensions = vec![unreadable(AUTHORITY_INFORMATION_ACCESS)],
            Asks::Nobody | Asks::RootCrl => {}
        }
        let issuer = Issuer::new(root, root_key);
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        Self {
            key,
            issuer,
            leaf_pem: leaf.pem(),
            leaf: leaf.der().to_vec(),
            root: root_certificate.der().to_vec(),
            root_pem: root_certificate.pem(),
        }
    }

    /// Another certificate for the key of the leaf, valid from one day of 2025 to another.
    pub(crate) fn leaf_pem_valid(&self, from: (u8, u8), to: (u8, u8)) -> String {
        let mut leaf = params(&[(DnType::CommonName, "release")]);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.not_before = date_time_ymd(2025, from.0, from.1);
        leaf.not_after = date_time_ymd(2025, to.0, to.1);
        leaf.signed_by(&self.key, &self.issuer).unwrap().pem()
    }

    pub(crate) fn sign(&self, order: &Order) -> Vec<u8> {
        let payload = Payload::new(descriptor(), order.metadata.clone()).unwrap();
        let attributes = Attributes {
            scheme: order.scheme,
            signing_time: time(SIGNED_AT),
            expiry: order.expiry.map(time),
            extended: order.extended.clone(),
            signing_agent: None,
        };
        let unsigned = Unsigned::new(order.format, &payload, attributes, KeySpec::Ec256).unwrap();
        let der = self.key.sign(unsigned.to_be_signed()).unwrap();
        let signature = RawSignature::from_ecdsa_der(KeySpec::Ec256, &der).unwrap();
        let chain = CertificateChain::from_der(vec![self.leaf.clone(), self.root.clone()]).unwrap();
        unsigned.finish(signature, &chain).unwrap().bytes().to_vec()
    }
}

/// A self-signed leaf that is no CA, and a certificate that is neither.
pub(crate) fn self_signed_and_dependent() -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let alone = params(&[(DnType::CommonName, "alone")]);
    (alone.self_signed(&key).unwrap().der().to_vec(), wabbit().leaf)
}

/// A certificate that is no CA and names itself as its issuer, but was signed with another key.
pub(crate) fn self_issued() -> Vec<u8> {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let own = params(&[(DnType::CommonName, "alone")]);
    own.signed_by(&key, &Issuer::from_params(&own, &other)).unwrap().der().to_vec()
}

pub(crate) fn descriptor() -> Descriptor {
    Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: format!("sha256:{}", "ab".repeat(32)),
        size: 1234,
        annotations: BTreeMap::new(),
    }
}

pub(crate) fn target() -> Target {
    let Descriptor { media_type, digest, size, .. } = descriptor();
    Target::Oci { media_type, digest, size }
}

/// Puts files into a named store below `directory`.
pub(crate) fn fill_store(directory: &Path, store: &str, files: &[(&str, &[u8])]) {
    let store = directory.join("x509").join(store);
    fs::create_dir_all(&store).unwrap();
    for (name, bytes) in files {
        fs::write(store.join(name), bytes).unwrap();
    }
}

/// The statement with this `signatureVerification`, these stores and identities.
pub(crate) fn statement(verification: &str, stores: &[&str], identities: &[&str]) -> Statement {
    let document = format!(
        r#"{{"version":"1.0","trustPolicies":[{{"name":"s","registryScopes":["{REPOSITORY}"],
        "signatureVerification":{verification},"trustStores":{stores:?},"trustedIdentities":{identities:?}}}]}}"#
    );
    let policy = OciPolicy::parse(document.as_bytes(), Path::new("test.json")).unwrap();
    policy.applicable(&format!("{REPOSITORY}@sha256:00")).unwrap().clone()
}

fn params(subject: Name<'_>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params
}

fn crl() -> Vec<CrlDistributionPoint> {
    vec![CrlDistributionPoint { uris: vec!["http://crl.example/root.crl".to_owned()] }]
}

/// Authority information access (RFC 5280 section 4.2.2.1) with one OCSP responder.
fn ocsp() -> CustomExtension {
    let url = b"http://ocsp.example";
    let tlv = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let method = tlv(0x06, &[0x2B, 6, 1, 5, 5, 7, 0x30, 1]);
    let description = tlv(0x30, &[method, tlv(0x86, url)].concat());
    CustomExtension::from_oid_content(AUTHORITY_INFORMATION_ACCESS, tlv(0x30, &description))
}

/// An extension that holds NULL.
fn unreadable(oid: &[u64]) -> CustomExtension {
    CustomExtension::from_oid_content(oid, vec![5, 0])
}
