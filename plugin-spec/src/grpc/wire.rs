//! Keys and their details as the messages that travel, and back, within the limits of the protocol.

use prokura_proto::plugin::v1;

use crate::certificate::CertificateChain;
use crate::error::Error;
use crate::key::KeySpec;
use crate::key_details::{KeyDescription, KeyDetails, KeyState, PublicHalf};
use crate::limits::{CERTIFICATES_MAX, KEY_ATTRIBUTES_MAX, KEY_DETAIL_BYTES_MAX};
use crate::public_key::PublicKey;
use crate::request::KeyId;

const YES: &str = "YES";
const NO: &str = "NO";

/// Details as they travel; `None` if nothing is known.
pub(crate) fn details_to_wire(details: KeyDetails) -> Option<v1::KeyDetails> {
    if details == KeyDetails::default() {
        return None;
    }
    Some(v1::KeyDetails {
        version: details.version.unwrap_or_default(),
        state: details.state.map(|s| s.to_string()).unwrap_or_default(),
        pin_policy: details.pin_policy.map(|p| p.to_string()).unwrap_or_default(),
        touch_policy: details.touch_policy.map(|p| p.to_string()).unwrap_or_default(),
        exportable: details.exportable.map(|e| if e { YES } else { NO }.to_owned()).unwrap_or_default(),
        label: details.label.unwrap_or_default(),
        exact_key_id: details.exact_key_id.map(|id| id.to_string()).unwrap_or_default(),
        attributes: details.attributes.into_iter().collect(),
        attestation: details.attestation,
    })
}

/// Details from the wire. Texts of enumerations that are unknown count as not known.
///
/// # Errors
/// What breaks a limit of the protocol (SPEC KEY-3), as a sentence.
pub fn details_from_wire(wire: Option<v1::KeyDetails>) -> Result<KeyDetails, String> {
    let Some(wire) = wire else { return Ok(KeyDetails::default()) };
    if wire.attributes.len() > KEY_ATTRIBUTES_MAX {
        let found = wire.attributes.len();
        return Err(format!(
            "details.attributes has {found} entries, at most {KEY_ATTRIBUTES_MAX} are allowed"
        ));
    }
    let texts = wire.attributes.iter().flat_map(|(name, value)| [name, value]);
    for text in texts.chain([&wire.version, &wire.label]) {
        if text.len() > KEY_DETAIL_BYTES_MAX {
            return Err(format!("details holds a text above {KEY_DETAIL_BYTES_MAX} bytes"));
        }
    }
    CertificateChain::from_der(wire.attestation.clone())
        .map_err(|e| format!("details.attestation (at most {CERTIFICATES_MAX} certificates): {e}"))?;
    let text = |text: String| Some(text).filter(|t| !t.is_empty());
    let exact_key_id = text(wire.exact_key_id).map(KeyId::new).transpose();
    Ok(KeyDetails {
        version: text(wire.version),
        state: wire.state.parse().ok(),
        pin_policy: wire.pin_policy.parse().ok(),
        touch_policy: wire.touch_policy.parse().ok(),
        exportable: match wire.exportable.as_str() {
            YES => Some(true),
            NO => Some(false),
            _ => None,
        },
        label: text(wire.label),
        exact_key_id: exact_key_id.map_err(|e| format!("details.exact_key_id: {}", e.message))?,
        attributes: wire.attributes.into_iter().collect(),
        attestation: wire.attestation,
    })
}

/// A key that was listed or made, its certificates put in order.
pub(crate) fn description_to_wire(key: KeyDescription) -> v1::DescribeKeyResponse {
    let KeyDescription { key_id, public_key, certificates, mut details } = key;
    let public_key = match public_key {
        PublicHalf::Known(key) => key,
        PublicHalf::Withheld(spec) => return withheld(&key_id, spec, details),
    };
    let is_empty = certificates.certificates().is_empty();
    let chain = match certificates.complete(&public_key, Vec::new()) {
        Ok(completed) => completed.chain,
        Err(error) if !is_empty => {
            // Listing goes on: the person who looks is told, the one who signs is refused.
            details = details.with(CERTIFICATE_PROBLEM, error.to_string());
            CertificateChain::default()
        }
        Err(_) => CertificateChain::default(),
    };
    v1::DescribeKeyResponse {
        key_id: key_id.to_string(),
        key_spec: public_key.spec().to_string(),
        public_key: public_key.spki_der().to_vec(),
        certificate_chain: chain.certificates().to_vec(),
        details: details_to_wire(details),
    }
}

fn withheld(key_id: &KeyId, spec: KeySpec, mut details: KeyDetails) -> v1::DescribeKeyResponse {
    // Only a key that cannot be used may come without its public half.
    if details.state.is_none_or(|state| state == KeyState::Enabled) {
        details.state = Some(KeyState::Unavailable);
    }
    v1::DescribeKeyResponse {
        key_id: key_id.to_string(),
        key_spec: spec.to_string(),
        details: details_to_wire(details),
        ..Default::default()
    }
}

/// The attribute of a listed key whose certificates do not belong to it.
pub const CERTIFICATE_PROBLEM: &str = "certificate-problem";

/// A key from a host's request: what `InstallCertificate` stores must belong to it.
///
/// # Errors
/// `VALIDATION_ERROR` if the list is empty, too long, no certificates, or its first is for another key.
pub(crate) fn installable(certificates: Vec<Vec<u8>>, key: &PublicKey) -> Result<CertificateChain, Error> {
    let refuse = |e: crate::certificate::ChainError| Error::validation(format!("certificate_chain: {e}"));
    let chain = CertificateChain::from_der(certificates).map_err(refuse)?;
    let first = chain.certificates().first().cloned();
    let ordered = chain.complete(key, Vec::new()).map_err(refuse)?.chain;
    if ordered.certificates().first() != first.as_ref() {
        return Err(Error::validation("certificate_chain does not begin with the certificate of the key"));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_details::PinPolicy;

    #[test]
    fn details_survive_the_wire() {
        let details = KeyDetails {
            version: Some("7".to_owned()),
            state: Some(KeyState::Disabled),
            pin_policy: Some(PinPolicy::Always),
            exportable: Some(false),
            exact_key_id: Some(KeyId::new("k/7").unwrap()),
            ..KeyDetails::default()
        }
        .with("slot", "9c");
        assert_eq!(details_from_wire(details_to_wire(details.clone())).unwrap(), details);
        assert_eq!(details_to_wire(KeyDetails::default()), None);
    }

    #[test]
    fn details_beyond_the_limits_are_refused_and_unknown_texts_ignored() {
        let attributes = (0..=KEY_ATTRIBUTES_MAX).map(|n| (n.to_string(), String::new())).collect();
        let many = v1::KeyDetails { attributes, ..Default::default() };
        assert!(details_from_wire(Some(many)).unwrap_err().contains("at most 64"));
        let long = v1::KeyDetails { label: "x".repeat(KEY_DETAIL_BYTES_MAX + 1), ..Default::default() };
        assert!(details_from_wire(Some(long)).is_err());
        let id = v1::KeyDetails { exact_key_id: "a\nb".to_owned(), ..Default::default() };
        assert!(details_from_wire(Some(id)).is_err());
        let attestation = v1::KeyDetails { attestation: vec![vec![1, 2, 3]], ..Default::default() };
        assert!(details_from_wire(Some(attestation)).is_err());
        let future = v1::KeyDetails { state: "MELTED".to_owned(), ..Default::default() };
        assert_eq!(details_from_wire(Some(future)).unwrap(), KeyDetails::default());
    }
}
