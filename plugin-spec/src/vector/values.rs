//! What stands for the placeholders of a vector, made from the key at hand.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificate::CertificateChain;
use crate::key::{Digest, HashAlgorithm, KeySpec};
use crate::limits::{KEY_ID_BYTES_MAX, PLUGIN_CONFIG_ENTRIES_MAX};
use crate::message::PluginConfig;
use crate::signature::RawSignature;

/// How deep `@DEEP@` nests: within what the JSON libraries of all languages read (Python stops at 1,000, Go at 10,000).
const DEPTH: usize = 100;

/// Values of placeholders. Texts are ready to stand in JSON: contents of a string, or a whole value.
#[derive(Clone)]
pub struct Values(BTreeMap<&'static str, String>);

/// What a well-behaved plugin would have answered: the raw material for replies towards a host.
pub struct Signed<'a> {
    /// A signature of the key over the payload.
    pub signature: &'a RawSignature,
    /// A signature of another key of the same spec over the same payload.
    pub other_signature: &'a RawSignature,
    /// The key's chain: leaf, at least one more, the root last.
    pub chain: &'a CertificateChain,
    /// The chain of the other key.
    pub other_chain: &'a CertificateChain,
}

impl Values {
    /// Values for requests that use the key `key_id` of `spec`; `payload` is what is to be signed.
    pub fn new(key_id: &str, plugin_config: &PluginConfig, spec: KeySpec, payload: &[u8]) -> Self {
        let other_spec = if spec == KeySpec::Ec384 { KeySpec::Rsa2048 } else { KeySpec::Ec384 };
        let other_hash = match spec.hash_algorithm() {
            HashAlgorithm::Sha256 => HashAlgorithm::Sha384,
            HashAlgorithm::Sha384 | HashAlgorithm::Sha512 => HashAlgorithm::Sha256,
        };
        let digest = Digest::of(spec.hash_algorithm(), payload);
        let config = serde_json::to_string(plugin_config).unwrap_or_default();
        let shorter = digest.bytes().split_last().map_or(&[][..], |(_, rest)| rest);
        Self(BTreeMap::from([
            ("KEY", in_string(key_id)),
            ("LONG_ID", "k".repeat(KEY_ID_BYTES_MAX + 1)),
            ("CONFIG", config),
            ("WIDE_CONFIG", wide_config()),
            ("SPEC", spec.to_string()),
            ("HASH", spec.hash_algorithm().to_string()),
            ("ALGORITHM", spec.signing_algorithm().to_string()),
            ("OTHER_SPEC", other_spec.to_string()),
            ("OTHER_SPEC_HASH", other_spec.hash_algorithm().to_string()),
            ("OTHER_ALGORITHM", other_spec.signing_algorithm().to_string()),
            ("OTHER_HASH", other_hash.to_string()),
            ("PAYLOAD", STANDARD.encode(payload)),
            ("DIGEST", STANDARD.encode(digest.bytes())),
            ("OTHER_SPEC_DIGEST", STANDARD.encode(Digest::of(other_spec.hash_algorithm(), payload).bytes())),
            ("SHORT_DIGEST", STANDARD.encode(shorter)),
            ("DEEP", "[".repeat(DEPTH) + &"]".repeat(DEPTH)),
        ]))
    }

    /// Adds the values replies towards a host need; `name` is the name of the plugin that is played.
    #[must_use]
    pub fn with_reply(mut self, name: &str, signed: &Signed<'_>) -> Self {
        let certificates = signed.chain.certificates();
        let raw = signed.signature.bytes();
        let shorter = raw.split_last().map_or(&[][..], |(_, rest)| rest);
        let reversed: Vec<Vec<u8>> = certificates.iter().rev().cloned().collect();
        let rootless = certificates.split_last().map_or(&[][..], |(_, rest)| rest);
        let leafless = certificates.split_first().map_or(&[][..], |(_, rest)| rest);
        self.0.extend([
            ("NAME", in_string(name)),
            ("SIGNATURE", STANDARD.encode(raw)),
            ("SHORT_SIGNATURE", STANDARD.encode(shorter)),
            ("DER_SIGNATURE", STANDARD.encode(ecdsa_der(raw))),
            ("OTHER_SIGNATURE", STANDARD.encode(signed.other_signature.bytes())),
            ("CHAIN", array(certificates)),
            ("REVERSED_CHAIN", array(&reversed)),
            ("ROOTLESS_CHAIN", array(rootless)),
            ("LEAFLESS_CHAIN", array(leafless)),
            ("OTHER_CHAIN", array(signed.other_chain.certificates())),
            ("LEAF", certificates.first().map(|c| STANDARD.encode(c)).unwrap_or_default()),
        ]);
        self
    }

    /// Replaces every `@NAME@`; any other `@` stays.
    pub(super) fn fill(&self, body: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(body.len());
        let mut rest = body;
        while let Some((before, after)) = rest.split_once('@') {
            filled.push_str(before);
            let placeholder = after.split_once('@').filter(|(name, _)| is_name(name));
            let Some((name, behind)) = placeholder else {
                filled.push('@');
                rest = after;
                continue;
            };
            let value = self.0.get(name).ok_or_else(|| format!("no value for @{name}@"))?;
            filled.push_str(value);
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

/// A text as it stands between the quotes of a JSON string.
fn in_string(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
}

fn array(certificates: &[Vec<u8>]) -> String {
    let quoted: Vec<String> = certificates.iter().map(|c| format!("\"{}\"", STANDARD.encode(c))).collect();
    format!("[{}]", quoted.join(","))
}

/// One entry more than a plugin config may have.
fn wide_config() -> String {
    let entries: PluginConfig =
        (0..=PLUGIN_CONFIG_ENTRIES_MAX).map(|n| (format!("entry-{n}"), String::new())).collect();
    serde_json::to_string(&entries).unwrap_or_default()
}

/// `r ‖ s` as the ASN.1 DER that many vaults return and that does not belong on the wire (RFC 3279).
fn ecdsa_der(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let numbers = [der_integer(r), der_integer(s)].concat();
    let len = u8::try_from(numbers.len()).unwrap_or_default();
    let header = if len < 0x80 { vec![0x30, len] } else { vec![0x30, 0x81, len] };
    [header, numbers].concat()
}

fn der_integer(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|b| **b == 0).count();
    let number = big_endian.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if number.first().is_none_or(|b| *b >= 0x80) { &[0] } else { &[] };
    let len = u8::try_from(sign.len() + number.len()).unwrap_or_default();
    [&[0x02, len], sign, number].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_other_text_stays() {
        let values = Values::new("a\"@b", &PluginConfig::default(), KeySpec::Ec256, b"x");
        assert_eq!(values.fill("@KEY@ me@x @ @KEY@").unwrap(), r#"a\"@b me@x @ a\"@b"#);
        assert_eq!(values.fill("@NOBODY@").unwrap_err(), "no value for @NOBODY@");
        assert!(values.fill("@SIGNATURE@").is_err());
    }

    #[test]
    fn der_of_a_raw_signature_reads_back() {
        for (first, spec) in [(0x80, KeySpec::Ec256), (0x00, KeySpec::Ec521), (0x01, KeySpec::Ec384)] {
            let mut raw = vec![0x91; spec.signature_len()];
            raw[0] = first;
            let back = RawSignature::from_ecdsa_der(spec, &ecdsa_der(&raw)).unwrap();
            assert_eq!(back.bytes(), raw);
        }
    }
}
