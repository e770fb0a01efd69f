//! The JSON messages of contract 1.0, field by field and in the order notation writes them.
//!
//! Source: Notary Project "plugin-extensibility", sections per command. Unknown members are ignored on both sides.
//! Enumerations travel as text: whoever reads them decides what an unknown value means.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode};

/// Names under which the facts of an [`Error`] travel in `errorMetadata` (SPEC section 8).
const RETRYABLE: &str = "retryable";
const RETRY_AFTER_MS: &str = "retryAfterMs";
const SCOPE: &str = "scope";
const VAULT_CODE: &str = "vaultCode";
const VAULT_REQUEST_ID: &str = "vaultRequestId";

/// The one contract version there is.
pub const CONTRACT_VERSION: &str = "1.0";
/// The media type of the payload `generate-envelope` wraps.
pub const PAYLOAD_MEDIA_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

/// Capabilities of the contract, and ours. The set is open: unknown ones are ignored.
pub mod capability {
    /// `describe-key` and `generate-signature`.
    pub const SIGNATURE_GENERATOR_RAW: &str = "SIGNATURE_GENERATOR.RAW";
    /// `generate-envelope`.
    pub const SIGNATURE_GENERATOR_ENVELOPE: &str = "SIGNATURE_GENERATOR.ENVELOPE";
    /// `verify-signature`, trusted identities.
    pub const SIGNATURE_VERIFIER_TRUSTED_IDENTITY: &str = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY";
    /// `verify-signature`, revocation.
    pub const SIGNATURE_VERIFIER_REVOCATION_CHECK: &str = "SIGNATURE_VERIFIER.REVOCATION_CHECK";
    /// The plugin also serves `prokura.plugin.v1` over gRPC (`notation-x serve`). Not part of contract 1.0; hosts
    /// that do not know it ignore it.
    pub const TRANSPORT_GRPC_1: &str = "TRANSPORT.GRPC.1";
    /// gRPC `SignDigests`.
    pub const SIGN_STREAM_1: &str = "SIGN_STREAM.1";
    /// gRPC `SignDigest` and `SignDigests` bring what was hashed beside its digest.
    pub const TO_BE_SIGNED_1: &str = "TO_BE_SIGNED.1";
    /// gRPC `Interact`.
    pub const INTERACTION_1: &str = "INTERACTION.1";
    /// gRPC `ListKeys`.
    pub const KEY_LIST_1: &str = "KEY_LIST.1";
    /// gRPC `CreateKey`.
    pub const KEY_CREATE_1: &str = "KEY_CREATE.1";
    /// gRPC `InstallCertificate`.
    pub const CERTIFICATE_INSTALL_1: &str = "CERTIFICATE_INSTALL.1";
}

/// The commands of contract 1.0 that a plugin with raw signatures answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `get-plugin-metadata`
    GetPluginMetadata,
    /// `describe-key`
    DescribeKey,
    /// `generate-signature`
    GenerateSignature,
    /// `generate-envelope`
    GenerateEnvelope,
}

impl Command {
    /// The one argument on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GetPluginMetadata => "get-plugin-metadata",
            Self::DescribeKey => "describe-key",
            Self::GenerateSignature => "generate-signature",
            Self::GenerateEnvelope => "generate-envelope",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes that travel as Base64 with the standard alphabet and padding (RFC 4648 section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD
            .decode(text.as_bytes())
            .map(Self)
            .map_err(|_| serde::de::Error::custom("not Base64 with the standard alphabet and padding"))
    }
}

/// Names and values the user configured for a key. Values may be confidential: `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PluginConfig(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for PluginConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::json::unique_entries(deserializer).map(Self)
    }
}

impl PluginConfig {
    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for PluginConfig {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// Request of `get-plugin-metadata`. It carries no contract version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataRequest {
    /// Omitted when empty.
    #[serde(default, skip_serializing_if = "PluginConfig::is_empty")]
    pub plugin_config: PluginConfig,
}

/// Answer of `get-plugin-metadata`. All members are required and not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// `x` of the executable `notation-x`.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// Semantic version without a leading `v`.
    pub version: String,
    /// Where people read more.
    pub url: String,
    /// Must contain [`CONTRACT_VERSION`].
    pub supported_contract_versions: Vec<String>,
    /// See [`capability`].
    pub capabilities: Vec<String>,
}

impl Metadata {
    /// The metadata of a plugin made with this SDK; what [`crate::metadata!`] expands to.
    ///
    /// Contract version 1.0 and raw signatures; with the feature `grpc` also what every gRPC service of this SDK has.
    pub fn of_plugin(name: &str, description: &str, version: &str, url: &str) -> Self {
        let mut capabilities = vec![capability::SIGNATURE_GENERATOR_RAW.to_owned()];
        if cfg!(feature = "grpc") {
            let served = [capability::TRANSPORT_GRPC_1, capability::SIGN_STREAM_1, capability::INTERACTION_1];
            capabilities.extend(served.map(str::to_owned));
        }
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            version: version.to_owned(),
            url: url.to_owned(),
            supported_contract_versions: vec![CONTRACT_VERSION.to_owned()],
            capabilities,
        }
    }

    /// Whether the plugin announces `capability`.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }
}

/// Request of `describe-key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DescribeKeyRequest {
    /// [`CONTRACT_VERSION`].
    pub contract_version: String,
    /// Opaque to the host.
    pub key_id: String,
    /// Omitted when empty.
    #[serde(skip_serializing_if = "PluginConfig::is_empty")]
    pub plugin_config: PluginConfig,
}

/// Answer of `describe-key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DescribeKeyResponse {
    /// Echo of the request.
    pub key_id: String,
    /// A [`crate::KeySpec`].
    pub key_spec: String,
}

/// Request of `generate-signature`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GenerateSignatureRequest {
    /// [`CONTRACT_VERSION`].
    pub contract_version: String,
    /// Opaque to the host.
    pub key_id: String,
    /// A [`crate::KeySpec`].
    pub key_spec: String,
    /// A [`crate::HashAlgorithm`], the one that belongs to the key spec.
    pub hash_algorithm: String,
    /// The to-be-signed bytes, not hashed: the plugin hashes them.
    pub payload: Base64,
    /// Omitted when empty.
    #[serde(skip_serializing_if = "PluginConfig::is_empty")]
    pub plugin_config: PluginConfig,
}

/// Answer of `generate-signature`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GenerateSignatureResponse {
    /// Echo of the request.
    pub key_id: String,
    /// A raw signature, see [`crate::RawSignature`].
    pub signature: Base64,
    /// A [`crate::SigningAlgorithm`].
    pub signing_algorithm: String,
    /// DER certificates, leaf first, root last, root included.
    pub certificate_chain: Vec<Base64>,
}

/// Request of `generate-envelope`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GenerateEnvelopeRequest {
    /// [`CONTRACT_VERSION`].
    pub contract_version: String,
    /// Opaque to the host.
    pub key_id: String,
    /// [`PAYLOAD_MEDIA_TYPE`].
    pub payload_type: String,
    /// `application/jose+json` or `application/cose`.
    pub signature_envelope_type: String,
    /// The payload JSON.
    pub payload: Base64,
    /// Omitted when zero.
    #[serde(skip_serializing_if = "is_zero")]
    pub expiry_duration_in_seconds: u64,
    /// Omitted when empty.
    #[serde(skip_serializing_if = "PluginConfig::is_empty")]
    pub plugin_config: PluginConfig,
}

/// Answer of `generate-envelope`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GenerateEnvelopeResponse {
    /// The signed envelope.
    pub signature_envelope: Base64,
    /// Echo of the request.
    pub signature_envelope_type: String,
    /// For the signature manifest.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// The JSON object on stderr when a command fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorResponse {
    /// An [`ErrorCode`], or a vendor's own.
    pub error_code: String,
    /// A sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error_message: String,
    /// Further facts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub error_metadata: BTreeMap<String, String>,
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        let facts = [
            (RETRYABLE, error.retryable.map(|r| r.to_string())),
            (RETRY_AFTER_MS, error.retry_after.map(|d| d.as_millis().to_string())),
            (SCOPE, error.scope.map(|s| s.to_string())),
            (VAULT_CODE, error.vault_code),
            (VAULT_REQUEST_ID, error.request_id),
        ];
        let mut error_metadata = error.metadata;
        error_metadata.extend(facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Self { error_code: error.code.as_str().to_owned(), error_message: error.message, error_metadata }
    }
}

impl From<ErrorResponse> for Error {
    /// A code outside the contract is `ERROR`; facts that cannot be read are left in the metadata.
    fn from(response: ErrorResponse) -> Self {
        let code = response.code();
        let mut error = Self::new(code, response.error_message);
        error.metadata = response.error_metadata;
        error.retryable = error.taken(RETRYABLE);
        error.retry_after = error.taken(RETRY_AFTER_MS).map(Duration::from_millis);
        error.scope = error.taken(SCOPE);
        error.vault_code = error.taken(VAULT_CODE);
        error.request_id = error.taken(VAULT_REQUEST_ID);
        error
    }
}

impl Error {
    fn taken<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let value = self.metadata.get(name)?.parse().ok()?;
        self.metadata.remove(name);
        Some(value)
    }
}

impl ErrorResponse {
    /// The code, [`ErrorCode::Error`] for one outside the contract.
    pub fn code(&self) -> ErrorCode {
        self.error_code.parse().unwrap_or(ErrorCode::Error)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_an_error_survive_the_contract() {
        let error = Error::throttled("slow down")
            .with("region", "eu-central-1")
            .with_scope(crate::Scope::Vault)
            .retryable(true)
            .retry_after(Duration::from_millis(1500))
            .vault_code("ThrottlingException")
            .request_id("6b0c");
        let response = ErrorResponse::from(error.clone());
        assert_eq!(response.error_metadata.get("retryAfterMs").map(String::as_str), Some("1500"));
        assert_eq!(Error::from(response), error);
    }

    #[test]
    fn requests_are_written_as_notation_writes_them() {
        let request = GenerateSignatureRequest {
            contract_version: CONTRACT_VERSION.to_owned(),
            key_id: "id".to_owned(),
            key_spec: "RSA-2048".to_owned(),
            hash_algorithm: "SHA-256".to_owned(),
            payload: Base64(b"hello?>".to_vec()),
            plugin_config: PluginConfig::default(),
        };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"contractVersion":"1.0","keyId":"id","keySpec":"RSA-2048","hashAlgorithm":"SHA-256","payload":"aGVsbG8/Pg=="}"#
        );
        assert_eq!(serde_json::to_string(&MetadataRequest::default()).unwrap(), "{}");
    }

    #[test]
    fn base64_is_standard_and_padded() {
        for bad in [r#""aGVsbG8_Pg==""#, r#""aGVsbG8/Pg""#, r#""aGVs bG8/Pg==""#, "7"] {
            assert!(serde_json::from_str::<Base64>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plugin_config_values_do_not_reach_debug() {
        let config: PluginConfig = [("pin".to_owned(), "canary".to_owned())].into_iter().collect();
        let shown = format!("{:?}", DescribeKeyRequest { plugin_config: config, ..Default::default() });
        assert!(shown.contains("pin") && !shown.contains("canary"), "{shown}");
    }
}
