//! What a token says of a key besides its public half, and the URI that names exactly this key.

use cryptoki::object::{Attribute, AttributeType};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prokura_plugin::{KeyDescription, KeyDetails, KeyId, KeyState, PinPolicy};

use super::object::{PrivateKey, attribute};
use super::public_key::public_key;
use crate::certificate;
use crate::config::uri::{ObjectFilter, id_attribute, text_attribute};
use crate::error::Refusal;
use crate::vault::token::Inside;
use crate::vault::token_info::Identity;

/// What a URI's query needs no escape for (RFC 7512 section 2.3), but for `|`, which begins the name of a program.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// How a key id leads to the token: which library, and where the PIN is if that was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `module-path` or `module-name`, and its value.
    pub module: (&'static str, String),
    /// `pin-source` of key id or config.
    pub pin_source: Option<String>,
    /// The slot, if another token says the same of itself.
    pub slot_id: Option<u64>,
}

/// What is told of a key.
///
/// # Errors
/// The token's refusal.
pub fn details(inside: &Inside<'_>, private: &PrivateKey, origin: &Origin) -> Result<KeyDetails, Refusal> {
    let identity = inside.token().identity();
    let flag = |kind| match attribute(inside.session, private.handle, kind)? {
        Some(
            Attribute::Extractable(value)
            | Attribute::NeverExtractable(value)
            | Attribute::Sensitive(value)
            | Attribute::Local(value),
        ) => Ok::<_, Refusal>(Some(value)),
        _ => Ok(None),
    };
    let mut details = KeyDetails {
        state: Some(KeyState::Enabled),
        pin_policy: Some(pin_policy(inside, private)),
        exportable: flag(AttributeType::Extractable)?,
        label: private.object.label.clone(),
        exact_key_id: exact_id(identity, &private.object, origin),
        ..KeyDetails::default()
    };
    for (name, kind) in [
        ("sensitive", AttributeType::Sensitive),
        ("never-extractable", AttributeType::NeverExtractable),
        ("made-in-token", AttributeType::Local),
    ] {
        if let Some(value) = flag(kind)? {
            details = details.with(name, if value { "yes" } else { "no" });
        }
    }
    let Identity { label, serial, manufacturer, model } = identity;
    for (name, value) in
        [("token", label), ("serial", serial), ("manufacturer", manufacturer), ("model", model)]
    {
        if !value.is_empty() {
            details = details.with(name, value);
        }
    }
    Ok(details.with("slot-id", inside.token().slot().id().to_string()))
}

/// A key as it is listed.
///
/// # Errors
/// The token's refusal; `VALIDATION_ERROR` for a key that cannot sign for Notary or that nothing names.
pub fn describe(
    inside: &Inside<'_>,
    private: &PrivateKey,
    origin: &Origin,
) -> Result<KeyDescription, Refusal> {
    let public_key = public_key(inside.session, private)?;
    let details = details(inside, private, origin)?;
    let certificates = certificate::chain(inside.session, &public_key, &private.object)?;
    let key_id = details.exact_key_id.clone().ok_or_else(|| {
        Refusal::Final(prokura_plugin::Error::validation(
            "a private key has neither label nor id, so that no key id can name it; its owner must give it one",
        ))
    })?;
    Ok(KeyDescription { key_id, public_key: public_key.into(), certificates, details })
}

fn pin_policy(inside: &Inside<'_>, private: &PrivateKey) -> PinPolicy {
    match private.always_authenticate {
        true => PinPolicy::Always,
        false if inside.token().has_logged_in() => PinPolicy::Once,
        false => PinPolicy::Never,
    }
}

/// The URI that names this key and no other; none for a key without label and id.
pub fn exact_id(token: &Identity, object: &ObjectFilter, origin: &Origin) -> Option<KeyId> {
    if *object == ObjectFilter::default() {
        return None;
    }
    let Identity { label, serial, manufacturer, model } = token;
    let mut path: Vec<String> =
        [("token", label), ("serial", serial), ("manufacturer", manufacturer), ("model", model)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| text_attribute(name, value.as_bytes()))
            .collect();
    path.extend(origin.slot_id.map(|id| format!("slot-id={id}")));
    path.extend(object.label.as_ref().map(|label| text_attribute("object", label.as_bytes())));
    path.extend(object.id.as_ref().map(|id| id_attribute(id)));
    path.push("type=private".to_owned());
    let (name, value) = &origin.module;
    let mut query = vec![format!("{name}={}", utf8_percent_encode(value, QUERY))];
    query.extend(origin.pin_source.as_ref().map(|s| format!("pin-source={}", utf8_percent_encode(s, QUERY))));
    KeyId::new(format!("pkcs11:{}?{}", path.join(";"), query.join("&"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::uri;

    #[test]
    fn the_exact_id_is_read_back_as_what_it_names() {
        let token = Identity {
            label: "Build Keys; 1".into(),
            serial: "0000000000000000".into(),
            manufacturer: String::new(),
            model: "v2/x".into(),
        };
        let object = ObjectFilter { label: Some("Schlüssel?".into()), id: Some(vec![0, 255]) };
        let origin = Origin {
            module: ("module-path", "/opt/a b&c/lib.so".into()),
            pin_source: Some("file:/etc/p|n".into()),
            slot_id: Some(7),
        };
        let id = exact_id(&token, &object, &origin).unwrap();
        let read = uri::parse(id.as_str()).unwrap();
        assert_eq!(read.object, object);
        assert_eq!(read.token.label.as_deref(), Some("Build Keys; 1"));
        assert_eq!((read.token.manufacturer, read.token.slot_id), (None, Some(7)));
        assert_eq!(read.module_path.as_deref(), Some("/opt/a b&c/lib.so"));
        assert_eq!(read.pin_source.as_deref(), Some("file:/etc/p|n"));
        assert_eq!(exact_id(&token, &ObjectFilter::default(), &origin), None);
    }
}
