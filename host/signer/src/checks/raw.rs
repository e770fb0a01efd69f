//! Checks on `describe-key` and `generate-signature`.

use prokura_plugin::message::{DescribeKeyResponse, GenerateSignatureResponse};
use prokura_plugin::{CertificateChain, KeyId, KeySpec, RawSignature, SigningAlgorithm};

use prokura_envelope::certificate::Certificate;

use super::document;
use crate::error::Violation;
use crate::text::cleaned;

/// A signature and the chain of the key that made it. Not yet verified: that is done when the envelope is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedSignature {
    /// The signature, of the right length for the key spec.
    pub signature: RawSignature,
    /// Certificates, leaf first as the plugin says; may be empty.
    pub chain: CertificateChain,
}

/// Checks an answer of `describe-key`.
///
/// # Errors
/// `OUT-1`, `KEY-1`, `KEY-2`.
pub fn describe_key(answer: &[u8], key_id: &KeyId) -> Result<KeySpec, Violation> {
    let found: DescribeKeyResponse = document(answer)?;
    check_echo("KEY-1", &found.key_id, key_id)?;
    check_key_spec(&found.key_spec)
}

/// Checks an answer of `generate-signature` for a key of `spec`, in this order: echo, signing algorithm, encoding of
/// the signature, certificates.
///
/// # Errors
/// `OUT-1`, `SIG-1` to `SIG-4`.
pub fn generate_signature(
    answer: &[u8],
    key_id: &KeyId,
    spec: KeySpec,
) -> Result<GeneratedSignature, Violation> {
    let found: GenerateSignatureResponse = document(answer)?;
    check_echo("SIG-1", &found.key_id, key_id)?;
    check_algorithm(&found.signing_algorithm, spec)?;
    let signature = check_encoding(found.signature.0, spec)?;
    let chain = found.certificate_chain.into_iter().map(|certificate| certificate.0).collect();
    let chain = CertificateChain::from_der(chain)
        .map_err(|e| Violation::new("SIG-4", format!("certificateChain: {e}")))?;
    Ok(GeneratedSignature { signature, chain })
}

/// The key spec of the leaf, if leaf and signature agree that a key of another spec than `spec` has signed: then the key
/// changed after it was described, and the plugin broke no rule.
pub(crate) fn spec_of_other_key(answer: &[u8], spec: KeySpec) -> Option<KeySpec> {
    let found: GenerateSignatureResponse = document(answer).ok()?;
    let leaf = Certificate::from_der(&found.certificate_chain.first()?.0).ok()?;
    let other = leaf.public_key().ok()?.spec();
    let algorithm = found.signing_algorithm.parse::<SigningAlgorithm>().ok()?;
    let agree = algorithm.key_spec() == other && found.signature.0.len() == other.signature_len();
    (other != spec && agree).then_some(other)
}

pub(crate) fn check_echo(rule: &'static str, found: &str, expected: &KeyId) -> Result<(), Violation> {
    if found == expected.as_str() {
        return Ok(());
    }
    let found = cleaned(found);
    Err(Violation::new(rule, format!("keyId is {found:?}, expected the requested {:?}", expected.as_str())))
}

pub(crate) fn check_key_spec(found: &str) -> Result<KeySpec, Violation> {
    found.parse().map_err(|error| Violation::new("KEY-2", format!("keySpec: {error}")))
}

pub(crate) fn check_algorithm(found: &str, spec: KeySpec) -> Result<(), Violation> {
    let expected = spec.signing_algorithm();
    if found == expected.as_str() {
        return Ok(());
    }
    let found = if found.is_empty() { "missing".to_owned() } else { format!("{:?}", cleaned(found)) };
    let message = format!("signingAlgorithm is {found}, expected \"{expected}\", the one of {spec} keys");
    Err(Violation::new("SIG-2", message))
}

pub(crate) fn check_encoding(signature: Vec<u8>, spec: KeySpec) -> Result<RawSignature, Violation> {
    RawSignature::from_fixed_width(spec, signature)
        .map_err(|e| Violation::new("SIG-3", format!("signature: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> KeyId {
        KeyId::new("k").unwrap()
    }

    fn answer(members: &str) -> Vec<u8> {
        format!(r#"{{"keyId":"k",{members}}}"#).into_bytes()
    }

    #[test]
    fn a_description_echoes_the_key_id_and_names_a_spec() {
        assert_eq!(describe_key(&answer(r#""keySpec":"EC-384""#), &id()), Ok(KeySpec::Ec384));
        let error = describe_key(br#"{"keyId":"other","keySpec":"EC-384"}"#, &id()).unwrap_err();
        assert_eq!(error.to_string(), r#"keyId is "other", expected the requested "k" (rule KEY-1)"#);
        for bad in [r#""keySpec":"EC-512""#, r#""keySpec":"""#, r#""x":1"#] {
            assert_eq!(describe_key(&answer(bad), &id()).unwrap_err().rule, "KEY-2");
        }
    }

    #[test]
    fn each_fault_of_a_signature_has_its_rule() {
        use base64::Engine as _;
        let raw = base64::engine::general_purpose::STANDARD.encode([7; 64]);
        let good = format!(r#""signature":"{raw}","signingAlgorithm":"ECDSA-SHA-256","certificateChain":[]"#);
        assert!(generate_signature(&answer(&good), &id(), KeySpec::Ec256).is_ok());
        for (found, replaced, rule) in [
            ("ECDSA-SHA-256", "", "SIG-2"),
            ("ECDSA-SHA-256", "ECDSA-SHA-384", "SIG-2"),
            ("ECDSA-SHA-256", "ecdsa-sha-256", "SIG-2"),
            (raw.as_str(), "AAAA", "SIG-3"),
            ("[]", r#"["AAAA"]"#, "SIG-4"),
            ("[]", "null", "OUT-1"),
            (raw.as_str(), "not base64", "OUT-1"),
        ] {
            let bad = answer(&good.replace(found, replaced));
            assert_eq!(generate_signature(&bad, &id(), KeySpec::Ec256).unwrap_err().rule, rule, "{replaced}");
        }
        let other = br#"{"keyId":"K"}"#;
        assert_eq!(generate_signature(other, &id(), KeySpec::Ec256).unwrap_err().rule, "SIG-1");
    }
}
