//! What the answers of a serving plugin must hold.

use prokura_plugin::grpc::details_from_wire;
use prokura_plugin::{CertificateChain, KeyDetails, KeySpec, KeyState, PublicKey, SigningAlgorithm};
use prokura_proto::plugin::v1 as wire;

use crate::checks::{check_algorithm, check_echo, check_encoding, check_key_spec};
use crate::error::Violation;
use crate::plugin::KeyReference;
use crate::sign::{DigestSignature, KeyDescription};
use crate::text::cleaned;

pub(super) fn described(
    answer: wire::DescribeKeyResponse,
    key: &KeyReference,
) -> Result<KeyDescription, Violation> {
    check_echo("KEY-1", &answer.key_id, key.key_id())?;
    let key_spec = check_key_spec(&answer.key_spec)?;
    let public_key = public_key_of(&answer, key_spec)?;
    describe(answer, key_spec, Some(public_key))
}

/// A key in a list. Of one that cannot be used now, some vaults tell no public key (SPEC LIST-5).
pub(super) fn listed(
    answer: wire::DescribeKeyResponse,
    key: &KeyReference,
) -> Result<KeyDescription, Violation> {
    let state = answer.details.as_ref().and_then(|details| details.state.parse::<KeyState>().ok());
    let is_idle = state.is_some_and(|state| state != KeyState::Enabled);
    if !is_idle || !answer.public_key.is_empty() {
        return described(answer, key);
    }
    check_echo("KEY-1", &answer.key_id, key.key_id())?;
    let key_spec = check_key_spec(&answer.key_spec)?;
    describe(answer, key_spec, None)
}

fn public_key_of(answer: &wire::DescribeKeyResponse, key_spec: KeySpec) -> Result<PublicKey, Violation> {
    let public_key = public_key("GRPC-3", &answer.public_key)?;
    if public_key.spec() != key_spec {
        let message =
            format!("public_key is an {} key, expected the {key_spec} of key_spec", public_key.spec());
        return Err(Violation::new("GRPC-3", message));
    }
    Ok(public_key)
}

fn describe(
    answer: wire::DescribeKeyResponse,
    key_spec: KeySpec,
    public_key: Option<PublicKey>,
) -> Result<KeyDescription, Violation> {
    let chain = CertificateChain::from_der(answer.certificate_chain)
        .map_err(|e| Violation::new("GRPC-4", format!("certificate_chain: {e}")))?;
    let details = details_from_wire(answer.details).map_err(|problem| Violation::new("KEY-3", problem))?;
    let details = cleaned_details(details);
    Ok(KeyDescription { key_spec, public_key, chain: Some(chain), details })
}

/// The inner error is the spec of the key that signed, if key and algorithm agree that it is another one.
pub(super) fn signed(
    answer: wire::SignDigestResponse,
    key: &KeyReference,
    spec: KeySpec,
) -> Result<Result<DigestSignature, KeySpec>, Violation> {
    check_echo("SIG-1", &answer.key_id, key.key_id())?;
    let public_key = public_key("GRPC-5", &answer.public_key)?;
    let algorithm = answer.signing_algorithm.parse::<SigningAlgorithm>();
    if public_key.spec() != spec && algorithm.is_ok_and(|a| a.key_spec() == public_key.spec()) {
        return Ok(Err(public_key.spec()));
    }
    check_algorithm(&answer.signing_algorithm, spec)?;
    if public_key.spec() != spec {
        let message =
            format!("public_key is an {} key, expected the {spec} of the request", public_key.spec());
        return Err(Violation::new("GRPC-5", message));
    }
    let signature = check_encoding(answer.signature, spec)?;
    let text = |text: String| Some(cleaned(&text)).filter(|text| !text.is_empty());
    let (key_version, vault_request_id) = (text(answer.key_version), text(answer.vault_request_id));
    Ok(Ok(DigestSignature { signature, public_key, key_version, vault_request_id }))
}

/// Texts for people and machines, without control characters; key ids hold none.
fn cleaned_details(details: KeyDetails) -> KeyDetails {
    let attributes = details.attributes.iter().map(|(name, value)| (cleaned(name), cleaned(value))).collect();
    let text = |text: &Option<String>| text.as_deref().map(cleaned);
    KeyDetails { version: text(&details.version), label: text(&details.label), attributes, ..details }
}

fn public_key(rule: &'static str, spki: &[u8]) -> Result<PublicKey, Violation> {
    PublicKey::from_spki_der(spki).map_err(|e| Violation::new(rule, format!("public_key: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fault<T> = (&'static str, fn(&mut T));

    fn key() -> KeyReference {
        KeyReference::new("k", Default::default()).unwrap()
    }

    fn spki(spec: KeySpec, length: usize) -> Vec<u8> {
        let mut point = vec![7; length];
        point[0] = 4;
        PublicKey::from_ec_point(spec, &point).unwrap().spki_der().to_vec()
    }

    fn description() -> wire::DescribeKeyResponse {
        wire::DescribeKeyResponse {
            key_id: "k".to_owned(),
            key_spec: "EC-256".to_owned(),
            public_key: spki(KeySpec::Ec256, 65),
            certificate_chain: Vec::new(),
            details: None,
        }
    }

    fn signature() -> wire::SignDigestResponse {
        wire::SignDigestResponse {
            key_id: "k".to_owned(),
            signature: vec![7; 64],
            signing_algorithm: "ECDSA-SHA-256".to_owned(),
            public_key: spki(KeySpec::Ec256, 65),
            ..Default::default()
        }
    }

    #[test]
    fn each_fault_of_a_description_has_its_rule() {
        assert!(described(description(), &key()).is_ok());
        let faults: [Fault<wire::DescribeKeyResponse>; 6] = [
            ("KEY-1", |d| d.key_id.push('x')),
            ("KEY-2", |d| d.key_spec = "EC-512".to_owned()),
            ("GRPC-3", |d| d.public_key.push(0)),
            ("GRPC-3", |d| d.key_spec = "EC-384".to_owned()),
            ("GRPC-4", |d| d.certificate_chain.push(vec![0x30, 0])),
            ("KEY-3", |d| d.details.get_or_insert_default().label = "x".repeat(5000)),
        ];
        for (rule, fault) in faults {
            let mut bad = description();
            fault(&mut bad);
            assert_eq!(described(bad, &key()).unwrap_err().rule, rule);
        }
    }

    #[test]
    fn only_a_listed_key_that_cannot_be_used_may_have_no_public_key() {
        let in_state = |state: &str| {
            let details = wire::KeyDetails { state: state.to_owned(), ..Default::default() };
            wire::DescribeKeyResponse { public_key: Vec::new(), details: Some(details), ..description() }
        };
        for state in ["DISABLED", "PENDING_DELETION", "UNAVAILABLE"] {
            let key_found = listed(in_state(state), &key()).unwrap();
            assert_eq!(key_found.details.state.map(KeyState::as_str), Some(state));
            assert_eq!((key_found.public_key, key_found.key_spec), (None, KeySpec::Ec256));
            assert_eq!(described(in_state(state), &key()).unwrap_err().rule, "GRPC-3", "{state}");
        }
        for state in ["ENABLED", "", "LATER"] {
            assert_eq!(listed(in_state(state), &key()).unwrap_err().rule, "GRPC-3", "{state}");
        }
        let other = wire::DescribeKeyResponse { key_spec: "EC-512".to_owned(), ..in_state("DISABLED") };
        assert_eq!(listed(other, &key()).unwrap_err().rule, "KEY-2");
        assert!(listed(description(), &key()).unwrap().public_key.is_some());
    }

    #[test]
    fn each_fault_of_a_signature_has_its_rule() {
        assert!(signed(signature(), &key(), KeySpec::Ec256).unwrap().is_ok());
        let faults: [Fault<wire::SignDigestResponse>; 5] = [
            ("SIG-1", |s| s.key_id.clear()),
            ("SIG-2", |s| s.signing_algorithm.clear()),
            ("SIG-3", |s| s.signature.push(0)),
            ("GRPC-5", |s| s.public_key.clear()),
            ("GRPC-5", |s| s.public_key = spki(KeySpec::Ec384, 97)),
        ];
        for (rule, fault) in faults {
            let mut bad = signature();
            fault(&mut bad);
            assert_eq!(signed(bad, &key(), KeySpec::Ec256).unwrap_err().rule, rule);
        }
    }

    #[test]
    fn a_key_of_another_spec_that_signs_consistently_is_a_changed_key() {
        let mut other = signature();
        other.public_key = spki(KeySpec::Ec384, 97);
        other.signing_algorithm = "ECDSA-SHA-384".to_owned();
        assert_eq!(signed(other, &key(), KeySpec::Ec256).unwrap(), Err(KeySpec::Ec384));
    }
}
