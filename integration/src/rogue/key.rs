//! The key the rogue makes up, its certificates and signatures, honest and not.

use std::path::Path;

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature;
use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, KeySpec, PublicKey, RawSignature, SigningKey,
};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use super::{Break, Told, pss};
use crate::home::write_private;
use crate::pki::{Authority, generate_key};
use crate::signature::{sign, sign_ec, sign_rsa};

const MANY: usize = 100;

/// A key that lives as long as the process, with a chain that has the fault of the switch.
pub(super) struct RogueKey {
    told: Told,
    pair: KeyPair,
    public: PublicKey,
    /// DER, leaf first unless the fault is the order.
    chain: Vec<Vec<u8>>,
}

impl RogueKey {
    pub(super) fn new(told: &Told) -> Result<Self> {
        let spec = match told.switch {
            Break::PssSaltMax | Break::Pkcs1Signature => KeySpec::Rsa2048,
            _ => told.spec,
        };
        let pair = told.key.as_deref().map_or_else(|| generate_key(spec), |file| kept_key(file, spec))?;
        let public = PublicKey::from_spki_der(&rcgen::PublicKeyData::subject_public_key_info(&pair))?;
        let chain = chain(told.switch, &pair)?;
        Ok(Self { told: told.clone(), pair, public, chain })
    }

    /// The certificates as the switch wants them sent.
    pub(super) fn sent_chain(&self) -> Vec<Vec<u8>> {
        self.chain.clone()
    }

    /// What the rogue says its key spec is.
    pub(super) fn told_spec(&self) -> &'static str {
        match self.told.switch {
            Break::UnknownKeySpec => "RSA-1024",
            Break::WrongKeySpec if self.public.spec() == KeySpec::Ec384 => "EC-256",
            Break::WrongKeySpec => "EC-384",
            _ => self.public.spec().as_str(),
        }
    }

    /// What the rogue says it signed with.
    pub(super) fn told_algorithm(&self) -> &'static str {
        match self.told.switch {
            Break::WrongSigningAlgorithm => "RSASSA-PSS-SHA-512",
            Break::MissingSigningAlgorithm => "",
            _ => self.public.spec().signing_algorithm().as_str(),
        }
    }

    /// The signature as the switch wants it sent.
    pub(super) fn sent_signature(&self, digest: &Digest) -> Result<Vec<u8>> {
        let honest = || sign(&self.pair, self.public.spec(), digest);
        Ok(match self.told.switch {
            Break::SignatureByAnotherKey => {
                sign(&generate_key(self.public.spec())?, self.public.spec(), digest)?
            }
            Break::TruncatedSignature => {
                honest()?.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default()
            }
            Break::HashedTwice => {
                let again = Digest::of(digest.algorithm(), digest.bytes());
                sign(&self.pair, self.public.spec(), &again)?
            }
            Break::DerSignature => sign_ec(&self.pair, &signature::ECDSA_P256_SHA256_ASN1_SIGNING, digest)?,
            Break::Pkcs1Signature => sign_rsa(&self.pair, &signature::RSA_PKCS1_SHA256, digest)?,
            Break::PssSaltMax => pss::sign_with_longest_salt(self.pair.serialized_der(), digest)?,
            _ => honest()?,
        })
    }
}

impl SigningKey for RogueKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        CertificateChain::from_der(self.chain.clone()).map_err(Error::internal)
    }

    fn sign_digest(&self, digest: &Digest, _deadline: Deadline) -> Result<RawSignature, Error> {
        let spec = self.public.spec();
        let bytes = sign(&self.pair, spec, digest).map_err(Error::internal)?;
        Ok(RawSignature::from_fixed_width(spec, bytes)?)
    }
}

/// The key in a file, which is made if need be.
fn kept_key(file: &Path, spec: KeySpec) -> Result<KeyPair> {
    if let Ok(pem) = std::fs::read_to_string(file) {
        return Ok(KeyPair::from_pem(&pem)?);
    }
    let pair = generate_key(spec)?;
    write_private(file, &pair.serialize_pem())?;
    Ok(pair)
}

fn chain(switch: Break, pair: &KeyPair) -> Result<Vec<Vec<u8>>> {
    let authority = Authority::new("rogue root")?;
    let leaf = authority.issue_to(pair, "rogue leaf", |params| match switch {
        Break::CaAsLeaf => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        Break::ExpiredLeaf => {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        Break::ServerAuthLeaf => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        _ => {}
    })?;
    let (leaf, root) = (der(&leaf)?, der(authority.certificate())?);
    let other = || Authority::new("somebody else's root").and_then(|other| der(other.certificate()));
    Ok(match switch {
        Break::NoChain => Vec::new(),
        Break::NoRoot => vec![leaf],
        Break::WrongOrder => vec![root, leaf],
        Break::ExtraCertificate => vec![leaf, root, other()?],
        Break::MalformedCertificate => vec![leaf, root.get(..root.len() / 2).unwrap_or_default().to_vec()],
        Break::TooManyCertificates => std::iter::once(leaf).chain(std::iter::repeat_n(root, MANY)).collect(),
        _ => vec![leaf, root],
    })
}

fn der(pem: &str) -> Result<Vec<u8>> {
    let chain = CertificateChain::from_pem(pem.as_bytes())?;
    Ok(chain.certificates().first().context("one certificate")?.clone())
}

/// Random bytes, for salts.
pub(super) fn random(len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    aws_lc_rs::rand::SecureRandom::fill(&SystemRandom::new(), &mut bytes)?;
    Ok(bytes)
}
