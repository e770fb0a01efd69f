//! One key of a transit engine: read, described, and signing with the version that was resolved when it was opened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use prokura_plugin::{
    CERTIFICATE_ADVICE, CertificateChain, Deadline, Digest, Error, HashAlgorithm, KeyDescription, KeyDetails,
    KeyId, KeySpec, KeyState, PublicKey, RawSignature, Scope, SigningKey,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::certificate;
use crate::config::{CertificateSource, TransitId};
use crate::error::malformed;
use crate::limits::KNOWN_FOR;
use crate::vault::client::{Call, Verb};
use crate::vault::{Answer, Vault};

/// A version of a key, opened.
pub(crate) struct TransitKey {
    vault: Arc<Vault>,
    id: TransitId,
    sources: Vec<CertificateSource>,
    found: Found,
    /// The key's own certificates, and when they were read.
    certificates: Mutex<(String, Instant)>,
}

/// What the vault says of a key and of the version that signs.
struct Found {
    key: KeyData,
    version: u32,
    public_key: PublicKey,
    certificates: String,
    token_from: String,
}

/// `data` of `MOUNT/keys/NAME`. What older servers do not say has its default.
#[derive(Deserialize)]
struct KeyData {
    #[serde(rename = "type")]
    kind: String,
    latest_version: u32,
    #[serde(default)]
    min_encryption_version: u32,
    #[serde(default)]
    min_decryption_version: u32,
    #[serde(default)]
    derived: bool,
    #[serde(default)]
    exportable: bool,
    #[serde(default)]
    allow_plaintext_backup: bool,
    #[serde(default)]
    soft_deleted: bool,
    #[serde(default)]
    imported_key: bool,
    /// By version; a mere number for keys without a public half.
    #[serde(default)]
    keys: BTreeMap<String, Value>,
}

/// One version of a key with a public half.
#[derive(Deserialize)]
struct VersionData {
    public_key: String,
    #[serde(default)]
    certificate_chain: Option<String>,
}

impl TransitKey {
    /// Reads the key and resolves its version, which stays the one that signs.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such key or version, or none that signs for Notary.
    pub(crate) fn open(
        vault: Arc<Vault>,
        id: TransitId,
        sources: Vec<CertificateSource>,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let found = read(&vault, &id, deadline)?;
        let certificates = Mutex::new((found.certificates.clone(), Instant::now()));
        Ok(Self { vault, id, sources, found, certificates })
    }

    /// The version that signs.
    pub(crate) const fn version(&self) -> u32 {
        self.found.version
    }

    /// The key as listings and creations tell it.
    ///
    /// # Errors
    /// If its certificates cannot be read.
    pub(crate) fn description(self, deadline: Deadline) -> Result<KeyDescription, Error> {
        let details = self.details();
        let certificates = self.gathered(&self.found.certificates, deadline)?;
        Ok(KeyDescription {
            key_id: KeyId::new(self.id.to_string())?,
            public_key: self.found.public_key.into(),
            certificates,
            details,
        })
    }

    fn gathered(&self, own: &str, deadline: Deadline) -> Result<CertificateChain, Error> {
        certificate::gather(&self.vault, &self.sources, own, &self.id, deadline)
    }

    /// The key's own certificates, read anew if they were read a while ago: they may have been renewed.
    fn own_certificates(&self) -> Result<String, Error> {
        let mut known = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if known.1.elapsed() > KNOWN_FOR {
            let found = read(&self.vault, &self.id, Deadline::NONE)?;
            if found.version != self.found.version || found.public_key != self.found.public_key {
                return Err(Error::internal(format!(
                    "key {} was rotated: version {} signs since, this one was opened with version {}; ask again",
                    self.id, found.version, self.found.version
                ))
                .with_scope(Scope::Key)
                .retryable(true));
            }
            *known = (found.certificates, Instant::now());
        }
        Ok(known.0.clone())
    }
}

impl SigningKey for TransitKey {
    fn public_key(&self) -> &PublicKey {
        &self.found.public_key
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        self.gathered(&self.own_certificates()?, Deadline::NONE)
    }

    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        let spec = self.found.public_key.spec();
        let version = self.found.version;
        let doing = format!("sign with key {} version {version}", self.id);
        let call =
            Call::write(Verb::Update, self.id.sign_path(), &SignRequest::new(spec, digest, version), doing)?;
        let answer = self.vault.ask(&call, deadline)?;
        let signature = signature(&call, spec, &answer, version)?;
        let signature = signature.signed_by_version(version.to_string());
        Ok(match answer.request_id {
            Some(id) => signature.with_request_id(id),
            None => signature,
        })
    }

    fn details(&self) -> KeyDetails {
        let Found { key, version, token_from, .. } = &self.found;
        let state = if key.soft_deleted {
            KeyState::PendingDeletion
        } else if *version < key.min_encryption_version {
            KeyState::Disabled
        } else {
            KeyState::Enabled
        };
        let details = KeyDetails {
            version: Some(version.to_string()),
            state: Some(state),
            exportable: Some(key.exportable || key.allow_plaintext_backup),
            label: Some(self.id.name.clone()),
            exact_key_id: KeyId::new(self.id.at_version(*version)).ok(),
            ..KeyDetails::default()
        };
        details
            .with("type", &key.kind)
            .with("mount", &self.id.mount)
            .with("latest_version", key.latest_version.to_string())
            .with("imported", key.imported_key.to_string())
            .with("auth", self.vault.auth())
            .with("token", token_from)
            .with(CERTIFICATE_ADVICE, self.advice())
    }
}

impl TransitKey {
    /// How this version comes to a certificate. Another version may have one.
    fn advice(&self) -> String {
        format!(
            "version {} of the key needs a certificate of its own, which prokura cert install keeps with it; plugin config \
             certificates names another place, and a version that has one is {}@vN",
            self.found.version, self.id
        )
    }
}

/// `MOUNT/sign/NAME`: a digest made outside, by the one algorithm that belongs to the key.
#[derive(Serialize)]
struct SignRequest {
    input: String,
    prehashed: bool,
    hash_algorithm: &'static str,
    key_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt_length: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    marshaling_algorithm: Option<&'static str>,
}

impl SignRequest {
    fn new(spec: KeySpec, digest: &Digest, key_version: u32) -> Self {
        let hash_algorithm = match digest.algorithm() {
            HashAlgorithm::Sha256 => "sha2-256",
            HashAlgorithm::Sha384 => "sha2-384",
            HashAlgorithm::Sha512 => "sha2-512",
        };
        Self {
            input: BASE64_STANDARD.encode(digest.bytes()),
            prehashed: true,
            hash_algorithm,
            key_version,
            signature_algorithm: spec.is_rsa().then_some("pss"),
            // The default is as long as fits, which Notary's verifiers refuse.
            salt_length: spec.is_rsa().then_some("hash"),
            // r and s of fixed width; the default is ASN.1 DER.
            marshaling_algorithm: (!spec.is_rsa()).then_some("jws"),
        }
    }
}

/// `vault:vN:BASE64`, which must be of version N asked for.
fn signature(call: &Call, spec: KeySpec, answer: &Answer, version: u32) -> Result<RawSignature, Error> {
    let text =
        answer.data.get("signature").and_then(Value::as_str).ok_or_else(|| malformed(call, "a signature"))?;
    let (signed_by, encoded) = text
        .strip_prefix("vault:v")
        .and_then(|rest| rest.split_once(':'))
        .ok_or_else(|| malformed(call, "a signature of the form vault:vN:BASE64"))?;
    if signed_by.parse() != Ok(version) {
        let shown: String = signed_by.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        return Err(Error::internal(format!(
            "cannot {}: the vault signed with version {shown:?}, not with the one asked for",
            call.doing
        ))
        .with_scope(Scope::Key));
    }
    let undecodable = |_| malformed(call, "a signature in Base64");
    if spec.is_rsa() {
        Ok(RawSignature::from_rsa(spec, &BASE64_STANDARD.decode(encoded).map_err(undecodable)?)?)
    } else {
        Ok(RawSignature::from_fixed_width(
            spec,
            BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(undecodable)?,
        )?)
    }
}

fn read(vault: &Vault, id: &TransitId, deadline: Deadline) -> Result<Found, Error> {
    let call = Call::read(id.key_path(), format!("read key {id}"));
    let answer = vault.ask(&call, deadline)?;
    let key: KeyData =
        serde_json::from_value(answer.data).map_err(|e| malformed(&call, &format!("a key ({e})")))?;
    let expected = spec_of(&key, id)?;
    let version = id.version.unwrap_or(key.latest_version);
    let data = key.keys.get(&version.to_string()).cloned().ok_or_else(|| no_version(&key, id, version))?;
    let data: VersionData = serde_json::from_value(data)
        .map_err(|_| malformed(&call, &format!("a public key of version {version}")))?;
    let public_key = public_key(&data.public_key).ok_or_else(|| {
        malformed(
            &call,
            &format!("a public key of version {version} that is one of RSA-2048/3072/4096, P-256/384/521"),
        )
    })?;
    if public_key.spec() != expected {
        return Err(malformed(&call, &format!("an {expected} public key, as its type {} says", key.kind)));
    }
    let certificates = data.certificate_chain.unwrap_or_default();
    Ok(Found { key, version, public_key, certificates, token_from: answer.token_from })
}

/// The transit type of a key spec.
pub(crate) const fn type_of(spec: KeySpec) -> &'static str {
    match spec {
        KeySpec::Rsa2048 => "rsa-2048",
        KeySpec::Rsa3072 => "rsa-3072",
        KeySpec::Rsa4096 => "rsa-4096",
        KeySpec::Ec256 => "ecdsa-p256",
        KeySpec::Ec384 => "ecdsa-p384",
        KeySpec::Ec521 => "ecdsa-p521",
    }
}

fn spec_of(key: &KeyData, id: &TransitId) -> Result<KeySpec, Error> {
    let unfit = |why: &str| Err(Error::validation(format!("key {id} {why}")).with_scope(Scope::Key));
    if key.derived {
        return unfit(
            "is derived: each context has another key, and no certificate names one; use a key without derivation",
        );
    }
    match KeySpec::ALL.into_iter().find(|spec| type_of(*spec) == key.kind) {
        Some(spec) => Ok(spec),
        None => {
            let kind: String = key.kind.chars().filter(|c| !c.is_control()).take(64).collect();
            unfit(&format!(
                "is of type {kind:?}, expected rsa-2048, rsa-3072, rsa-4096, ecdsa-p256, ecdsa-p384 or ecdsa-p521: \
                 Notary signs with no other"
            ))
        }
    }
}

fn no_version(key: &KeyData, id: &TransitId, version: u32) -> Error {
    let (oldest, latest) = (key.min_decryption_version.max(1), key.latest_version);
    let why = if version < oldest { "is archived (min_decryption_version)" } else { "does not exist" };
    Error::validation(format!("key {id}: version {version} {why}; versions {oldest} to {latest} are there"))
        .with_scope(Scope::Key)
}

fn public_key(pem: &str) -> Option<PublicKey> {
    let (label, spki) = der::pem::decode_vec(pem.as_bytes()).ok()?;
    PublicKey::from_spki_der(&spki).ok().filter(|_| label == "PUBLIC KEY")
}

#[cfg(test)]
mod tests;
