//! What a plugin's answers must be, as pure functions of the bytes: the host's side of the protocol's rules.
//!
//! | Rule | The answer |
//! |---|---|
//! | `OUT-1` | is one JSON object with the members of the contract and nothing before or behind it |
//! | `META-1` … `META-6` | has a name, description, version, url, capabilities, contract versions |
//! | `META-7` | supports contract version 1.0 |
//! | `META-8` | has the name of the executable, without `notation-` |
//! | `KEY-1`, `KEY-2` | of `describe-key` echoes the key id; names one of the six key specs |
//! | `SIG-1` | of `generate-signature` echoes the key id |
//! | `SIG-2` | names the signing algorithm that belongs to the key spec |
//! | `SIG-3` | holds a signature in the raw encoding, as long as the key spec says |
//! | `SIG-4` | holds a certificate chain of DER certificates, within the limits |
//! | `ENV-1` … `ENV-11` | of `generate-envelope`: see [`generate_envelope`] |
//! | `GRPC-1` | to `serve` is the one ready line |
//! | `GRPC-2` | to a connection comes from the child itself |
//! | `GRPC-3`, `GRPC-5` | of `DescribeKey`, of `SignDigest` holds a public key, of the spec named |
//! | `GRPC-4` | of `DescribeKey` holds DER certificates, within the limits |
//! | `GRPC-6` | is HTTP/2 and gRPC, within the limits |
//!
//! The ids are those of plugin-spec/SPEC.md, section 7. Source: Notary Project "plugin-extensibility"; `SIG-2` is asked for there and was left out by notation.

mod envelope;
mod raw;

use std::collections::BTreeMap;

use prokura_plugin::message::{CONTRACT_VERSION, ErrorResponse, Metadata};
use prokura_plugin::{Error as PluginError, ErrorCode, PluginName};
use serde::de::DeserializeOwned;

use crate::error::{Error, Hints, Violation};
use crate::limits::{ERROR_METADATA_MAX, METADATA_ENTRIES_MAX};
use crate::text::{cleaned, excerpt};

pub use envelope::{EnvelopeRequest, GeneratedEnvelope, generate_envelope};
pub use raw::{GeneratedSignature, describe_key, generate_signature};
pub(crate) use raw::{check_algorithm, check_echo, check_encoding, check_key_spec, spec_of_other_key};

/// An error a plugin reported, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One of the six; [`ErrorCode::Error`] for a vendor's own.
    pub code: ErrorCode,
    /// The vendor's own code, if it is none of the six.
    pub vendor_code: Option<String>,
    /// What the plugin says; may be empty.
    pub message: String,
    /// Further facts.
    pub metadata: BTreeMap<String, String>,
    /// What helps to decide about a retry.
    pub hints: Box<Hints>,
}

impl Refusal {
    /// The error of the call.
    pub(crate) fn of(self, plugin: &PluginName, call: &'static str) -> Error {
        let Self { code, vendor_code, message, metadata, hints } = self;
        Error::Refused { plugin: plugin.clone(), call, code, vendor_code, message, metadata, hints }
    }
}

/// Checks an answer of `get-plugin-metadata`; texts are cleaned.
///
/// # Errors
/// `OUT-1` and `META-1` to `META-8`, in this order.
pub fn metadata(answer: &[u8], expected_name: &PluginName) -> Result<Metadata, Violation> {
    let found: Metadata = document(answer)?;
    let found = Metadata {
        name: cleaned(&found.name),
        description: cleaned(&found.description),
        version: cleaned(&found.version),
        url: cleaned(&found.url),
        supported_contract_versions: cleaned_list(&found.supported_contract_versions),
        capabilities: cleaned_list(&found.capabilities),
    };
    let required = [
        ("META-1", "name", found.name.is_empty()),
        ("META-2", "description", found.description.is_empty()),
        ("META-3", "version", found.version.is_empty()),
        ("META-4", "url", found.url.is_empty()),
        ("META-5", "capabilities", found.capabilities.is_empty()),
        ("META-6", "supportedContractVersions", found.supported_contract_versions.is_empty()),
    ];
    if let Some((rule, member, _)) = required.into_iter().find(|(_, _, is_empty)| *is_empty) {
        return Err(Violation::new(rule, format!("{member} is missing or empty, expected a value")));
    }
    if !found.supported_contract_versions.iter().any(|version| version == CONTRACT_VERSION) {
        let versions = &found.supported_contract_versions;
        return Err(Violation::new(
            "META-7",
            format!(
                "the plugin supports contract versions {versions:?}, expected {CONTRACT_VERSION:?} among them"
            ),
        ));
    }
    if found.name != expected_name.as_str() {
        return Err(Violation::new(
            "META-8",
            format!(
                "the plugin calls itself {:?}, expected {:?}: its executable is named {}",
                found.name,
                expected_name.as_str(),
                expected_name.executable()
            ),
        ));
    }
    Ok(found)
}

/// Reads the stderr of a failed command as an error object of the contract. `None` if it is none: not one JSON object,
/// or one with neither code nor message nor metadata. Members of another type than expected count as absent: the
/// object may be all the reason there is.
pub fn refusal(stderr: &[u8]) -> Option<Refusal> {
    let Ok(serde_json::Value::Object(mut members)) = serde_json::from_slice(stderr) else {
        return None;
    };
    let mut take = |name| members.remove(name);
    let text = |value: Option<serde_json::Value>| match value {
        Some(serde_json::Value::String(text)) => text,
        _ => String::new(),
    };
    let response = ErrorResponse {
        error_code: text(take("errorCode")),
        error_message: text(take("errorMessage")),
        error_metadata: take("errorMetadata")
            .and_then(|m| serde_json::from_value(m).ok())
            .unwrap_or_default(),
    };
    refusal_from(&response)
}

pub(crate) fn refusal_from(response: &ErrorResponse) -> Option<Refusal> {
    if *response == ErrorResponse::default() {
        return None;
    }
    Some(refusal_with(&response.error_code, &response.clone().into()))
}

/// The cleaned form of an error whose code was `code` on the wire.
pub(crate) fn refusal_with(code: &str, error: &PluginError) -> Refusal {
    let known = code.parse::<ErrorCode>();
    let vendor_code = known.is_err().then(|| cleaned(code)).filter(|code| !code.is_empty());
    let facts = error.metadata.iter().take(ERROR_METADATA_MAX);
    Refusal {
        code: error.code,
        vendor_code,
        message: cleaned(&error.message),
        metadata: facts.map(|(name, value)| (cleaned(name), cleaned(value))).collect(),
        hints: Box::new(Hints {
            retryable: error.retryable,
            retry_after: error.retry_after,
            scope: error.scope,
            vault_code: error.vault_code.as_deref().map(cleaned),
            request_id: error.request_id.as_deref().map(cleaned),
        }),
    }
}

/// Reads one JSON object and nothing else (`OUT-1`). Unknown members are ignored, known ones must not occur twice.
fn document<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Violation> {
    let violation = |message| Violation::new("OUT-1", message);
    let expected = "expected one JSON object on stdout and nothing else";
    match answer.trim_ascii_start().first() {
        None => return Err(violation(format!("found nothing, {expected}"))),
        Some(b'{') => {}
        Some(_) => return Err(violation(format!("found {:?}, {expected}", excerpt(answer)))),
    }
    serde_json::from_slice(answer).map_err(|error| {
        let problem = cleaned(&error.to_string());
        violation(format!("found {:?}, {expected}: {problem}", excerpt(answer)))
    })
}

fn cleaned_list(texts: &[String]) -> Vec<String> {
    texts.iter().take(METADATA_ENTRIES_MAX).map(|text| cleaned(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"name":"x","description":"d","version":"1.0.0","url":"u","supportedContractVersions":["1.0"],"capabilities":["SIGNATURE_GENERATOR.RAW"]}"#;

    fn check(answer: &str) -> Result<Metadata, Violation> {
        metadata(answer.as_bytes(), &"x".parse().unwrap())
    }

    fn rule(answer: &str) -> &'static str {
        check(answer).unwrap_err().rule
    }

    #[test]
    fn good_metadata_is_taken_with_white_space_and_unknown_members() {
        assert_eq!(check(GOOD).unwrap().version, "1.0.0");
        assert!(check(&format!("\n {GOOD} \r\n")).is_ok());
        assert!(check(&GOOD.replace("\"name\"", "\"new\":{\"a\":[1]},\"name\"")).is_ok());
    }

    #[test]
    fn each_missing_member_has_its_rule() {
        for (found, replaced, expected) in [
            (r#""name":"x""#, r#""name":"""#, "META-1"),
            (r#""description":"d""#, r#""description":"\u001b[1m""#, "META-2"),
            (r#""version":"1.0.0","#, "", "META-3"),
            (r#""url":"u","#, "", "META-4"),
            (r#"["SIGNATURE_GENERATOR.RAW"]"#, "[]", "META-5"),
            (r#"["1.0"]"#, "[]", "META-6"),
            (r#"["1.0"]"#, r#"["1.1","2.0"]"#, "META-7"),
            (r#""name":"x""#, r#""name":"y""#, "META-8"),
        ] {
            assert!(GOOD.contains(found));
            assert_eq!(rule(&GOOD.replace(found, replaced)), expected);
        }
    }

    #[test]
    fn only_one_json_object_is_an_answer() {
        for bad in ["", "  ", "[]", "null", "\"x\"", "Welcome!\n{}", "{}{}", "{} done", "{", r#"{"name":1}"#]
        {
            assert_eq!(rule(bad), "OUT-1", "{bad}");
        }
        let twice = GOOD.replace(r#""name":"x""#, r#""name":"x","name":"x""#);
        assert_eq!(rule(&twice), "OUT-1");
        let nested = format!("{{\"name\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(rule(&nested), "OUT-1");
        let error = check(&format!("\u{1b}[1mWelcome to x!\n{GOOD}")).unwrap_err();
        assert!(error.message.starts_with("found \"Welcome to x! {\\\"name"), "{error}");
    }

    #[test]
    fn errors_of_the_contract_are_read_and_cleaned() {
        let full = br#"{"errorCode":"ACCESS_DENIED","errorMessage":"no\u001b[2J","errorMetadata":{"k":"v"}}"#;
        let read = refusal(full).unwrap();
        assert_eq!((read.code, read.message.as_str()), (ErrorCode::AccessDenied, "no"));
        assert_eq!((read.metadata["k"].as_str(), read.vendor_code), ("v", None));
        let vendor = refusal(br#"{"errorCode":"Forbidden","errorMetadata":null}"#).unwrap();
        assert_eq!((vendor.code, vendor.vendor_code.as_deref()), (ErrorCode::Error, Some("Forbidden")));
        assert_eq!(refusal(br#"{"errorMessage":"m"}"#).unwrap().code, ErrorCode::Error);
        for none in
            [&b"{}"[..], b"", b"panic!", b"[]", br#"{"errorCode":"ERROR"} trailing"#, br#"{"errorCode":7}"#]
        {
            assert_eq!(refusal(none), None);
        }
    }
}
