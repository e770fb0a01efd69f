//! What is known of a key: its public key, its whole chain, until when that is good.

use jiff::Timestamp;
use prokura_envelope::certificate::{Certificate, check_code_signing_chain};
use prokura_plugin::{CertificateChain, KeySpec, PublicKey};
use prokura_signer::{Error, KeyDescription};

use super::verify::VerifyingKey;
use crate::config::KeyConfig;
use crate::policy::KeyFacts;

/// A key that may be used.
#[derive(Debug)]
pub struct Described {
    facts: KeyFacts,
    fingerprint: String,
    chain: CertificateChain,
    version: String,
    expires_at: Option<Timestamp>,
    at: Timestamp,
    public_key: PublicKey,
    verifying: VerifyingKey,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The plugin or its vault.
    #[error(transparent)]
    Plugin(Box<Error>),
    /// The plugin told less than it must over gRPC.
    #[error(
        "the plugin tells no public key of {0}, expected SubjectPublicKeyInfo; the plugin's author must act"
    )]
    NoPublicKey(String),
    /// The chain breaks a rule of the Notary specification.
    #[error(
        "the certificates of key {key} cannot be used: {reason}; whoever keeps the key must install others"
    )]
    Chain {
        /// Which key.
        key: String,
        /// Which rule.
        reason: String,
    },
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self::Plugin(Box::new(error))
    }
}

impl Described {
    /// Takes a description and the chain completed from it.
    pub(super) fn new(
        config: &KeyConfig,
        description: KeyDescription,
        chain: CertificateChain,
        at: Timestamp,
    ) -> Result<Self, Unusable> {
        let name = config.name.to_string();
        let public_key = description.public_key.ok_or_else(|| Unusable::NoPublicKey(name.clone()))?;
        let verifying = VerifyingKey::new(&public_key).ok_or_else(|| Unusable::NoPublicKey(name.clone()))?;
        let refuse = |reason: String| Unusable::Chain { key: name.clone(), reason };
        let certificates: Vec<Certificate> = chain
            .certificates()
            .iter()
            .map(|der| Certificate::from_der(der).map_err(|error| refuse(error.to_string())))
            .collect::<Result<_, _>>()?;
        check_code_signing_chain(&certificates, Some(at)).map_err(|error| refuse(error.to_string()))?;
        let facts = KeyFacts {
            name: name.clone(),
            spec: description.key_spec,
            groups: config.groups.clone(),
            labels: config.labels.clone(),
        };
        Ok(Self {
            facts,
            fingerprint: fingerprint(&public_key),
            version: description.details.version.unwrap_or_default(),
            expires_at: certificates.iter().map(Certificate::not_after).min(),
            at,
            chain,
            public_key,
            verifying,
        })
    }

    /// As policies see it.
    pub const fn facts(&self) -> &KeyFacts {
        &self.facts
    }

    /// Decides hash and algorithm.
    pub const fn spec(&self) -> KeySpec {
        self.facts.spec
    }

    /// Hex SHA-256 of the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The chain, leaf first, root last.
    pub const fn chain(&self) -> &CertificateChain {
        &self.chain
    }

    /// The vault's own name of the version; may be empty.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// When the first certificate of the chain ends.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// When the plugin said so.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The public key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    pub(super) const fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }
}

/// Hex SHA-256 of a SubjectPublicKeyInfo.
fn fingerprint(key: &PublicKey) -> String {
    use std::fmt::Write as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.spki_der());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
