//! One key of a broker: described, compared with what is expected, and signing what the broker may see.

mod content;
mod receipt;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, HashAlgorithm, KeyDescription, KeyDetails, KeyId, Listed,
    PublicKey, RawSignature, Scope, SigningKey, ToBeSigned,
};
use prokura_proto::broker::v1;

use crate::certificate;
use crate::config::KeyConfig;
use crate::error::malformed;
use crate::limits::KNOWN_FOR;
use crate::vault::Broker;

/// A key, opened.
pub(crate) struct BrokerKey {
    broker: Arc<Broker>,
    config: KeyConfig,
    public_key: PublicKey,
    fingerprint: String,
    version: String,
    described: Mutex<(v1::DescribeKeyResponse, Instant)>,
}

impl BrokerKey {
    /// Asks the broker which key it is.
    ///
    /// # Errors
    /// What the broker says; `VALIDATION_ERROR` if it is another key than plugin config `expected-key` names.
    pub(crate) fn open(broker: Arc<Broker>, config: KeyConfig, deadline: Deadline) -> Result<Self, Error> {
        let described = broker.describe(&config.name, deadline)?;
        let public_key = public_key(&described, &config.name)?;
        let fingerprint = hex(Digest::of(HashAlgorithm::Sha256, public_key.spki_der()).bytes());
        if let Some(expected) = config.expected.as_ref().filter(|expected| **expected != fingerprint) {
            return Err(Error::validation(format!(
                "key {} at the broker has the fingerprint {fingerprint}, plugin config expected-key is {expected}: the operator \
                 has put another key under this name; ask whether that is meant, and correct expected-key if it is",
                config.name
            ))
            .with_scope(Scope::Key));
        }
        let version = described.key_version.clone();
        let described = Mutex::new((described, Instant::now()));
        Ok(Self { broker, config, public_key, fingerprint, version, described })
    }

    /// What the broker says of the key, asked again if that was a while ago.
    fn current(&self) -> Result<v1::DescribeKeyResponse, Error> {
        let mut known = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if known.1.elapsed() > KNOWN_FOR {
            let now = self.broker.describe(&self.config.name, Deadline::NONE)?;
            if public_key(&now, &self.config.name)? != self.public_key {
                return Err(Error::internal(format!(
                    "the broker has another key under the name {} than when it was opened; ask again",
                    self.config.name
                ))
                .with_scope(Scope::Key)
                .retryable(true));
            }
            *known = (now, Instant::now());
        }
        Ok(known.0.clone())
    }

    fn description(self) -> Result<KeyDescription, Error> {
        Ok(KeyDescription {
            key_id: KeyId::new(self.config.name.clone())?,
            certificates: certificate::chain(&self.current()?)?,
            details: self.details(),
            public_key: prokura_plugin::PublicHalf::Known(self.public_key),
        })
    }

    fn signed(&self, content: content::Content, deadline: Deadline) -> Result<RawSignature, Error> {
        let request = v1::SignRequest {
            key_name: self.config.name.clone(),
            expected_key: self.fingerprint.clone(),
            idempotency_key: content.idempotency_key(&self.config.name, &self.fingerprint),
            content: Some(content.into_wire()),
            ..v1::SignRequest::default()
        };
        let answer = self.broker.sign(&request, deadline)?;
        let doing = format!("sign with key {}", self.config.name);
        let spec = self.public_key.spec();
        if answer.signing_algorithm != spec.signing_algorithm().as_str() {
            let expected = spec.signing_algorithm();
            let found = format!("names the algorithm {:?}, expected {expected}", answer.signing_algorithm);
            return Err(malformed(&doing, &found));
        }
        let index = receipt::checked(answer.receipt.as_ref()).map_err(|what| malformed(&doing, &what))?;
        let signature = RawSignature::from_fixed_width(spec, answer.signature)
            .map_err(|e| malformed(&doing, &format!("holds no usable signature: {e}")))?;
        let signature = signature.with_request_id(format!("{}#{index}", answer.request_id));
        Ok(match answer.key_version {
            version if version.is_empty() => signature,
            version => signature.signed_by_version(version),
        })
    }
}

impl SigningKey for BrokerKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        certificate::chain(&self.current()?)
    }

    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        self.sign_content(&ToBeSigned::digest_alone(digest.clone()), deadline)
    }

    fn sign_content(&self, content: &ToBeSigned, deadline: Deadline) -> Result<RawSignature, Error> {
        self.signed(content::Content::of(content, self.config.allow_digest)?, deadline)
    }

    fn details(&self) -> KeyDetails {
        let version = Some(self.version.clone()).filter(|version| !version.is_empty());
        let details = KeyDetails { version, label: Some(self.config.name.clone()), ..KeyDetails::default() };
        details.with("fingerprint", &self.fingerprint)
    }
}

/// Lists the keys that the broker offers. What is wrong with one does not stop the others.
///
/// # Errors
/// If the broker lists nothing at all.
pub(crate) fn list(
    broker: &Arc<Broker>,
    deadline: Deadline,
    found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
) -> Result<(), Error> {
    for name in broker.list(deadline)? {
        let config = KeyConfig { name, expected: None, allow_digest: false };
        let key = BrokerKey::open(Arc::clone(broker), config, deadline).and_then(BrokerKey::description);
        if found(key).is_break() {
            break;
        }
    }
    Ok(())
}

fn public_key(described: &v1::DescribeKeyResponse, name: &str) -> Result<PublicKey, Error> {
    let wrong = |what: String| malformed(&format!("read key {name}"), &what);
    let key = PublicKey::from_spki_der(&described.public_key)
        .map_err(|e| wrong(format!("holds no public key: {e}")))?;
    if described.key_name != name {
        return Err(wrong(format!("is about key {:?}", described.key_name)));
    }
    if key.spec().as_str() != described.key_spec {
        return Err(wrong(format!("says {:?} of an {} key", described.key_spec, key.spec())));
    }
    Ok(key)
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
