//! Objects in a token: the one private key that is meant, and attributes one at a time.

use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use prokura_plugin::Error;

use crate::config::uri::{ObjectFilter, id_attribute, text_attribute};
use crate::error::Refusal;
use crate::limits::{LISTED_MAX, OBJECTS_MAX};

/// A private key found in a token.
pub struct PrivateKey {
    /// Its handle, valid in all sessions with the token.
    pub handle: ObjectHandle,
    /// Its kind, unless the module names one nobody knows.
    pub kind: Option<KeyType>,
    /// Its label and id as the token has them; an empty one counts as none.
    pub object: ObjectFilter,
    /// Whether each signature takes a login of its own (`CKA_ALWAYS_AUTHENTICATE`).
    pub always_authenticate: bool,
}

/// Finds the one private key that matches and may sign.
///
/// # Errors
/// `VALIDATION_ERROR` listing what the token has, if none or several match; `ACCESS_DENIED` if it must not sign.
pub fn find_private_key(session: &Session, filter: &ObjectFilter) -> Result<PrivateKey, Refusal> {
    let found = find(session, &template(ObjectClass::PRIVATE_KEY, filter))?;
    match found.as_slice() {
        [handle] => private_key(session, *handle),
        [] => Err(no_key(session, filter)?),
        several => {
            let listed = listed(session, several)?;
            Err(Refusal::Final(Error::validation(format!(
                "{} private keys match {}, expected one; name it by object and id: {listed}",
                several.len(),
                described(filter),
            ))))
        }
    }
}

/// Handles of the objects that match, at most [`OBJECTS_MAX`].
///
/// # Errors
/// The token's refusal.
pub fn find(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Refusal> {
    let doing = "search the token's objects";
    let objects = session.iter_objects(template).map_err(Refusal::of(doing))?;
    objects.take(OBJECTS_MAX).collect::<Result<_, _>>().map_err(Refusal::of(doing))
}

/// What a search for objects of this class and of this label and id looks for.
pub fn template(class: ObjectClass, filter: &ObjectFilter) -> Vec<Attribute> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(filter.label.as_ref().map(|l| Attribute::Label(l.as_bytes().to_vec())));
    template.extend(filter.id.as_ref().map(|id| Attribute::Id(id.clone())));
    template
}

/// One attribute of an object; `None` if the object has none or keeps it to itself.
///
/// One at a time, because some modules answer a question for several with one refusal.
///
/// # Errors
/// The token's refusal.
pub fn attribute(
    session: &Session,
    object: ObjectHandle,
    kind: AttributeType,
) -> Result<Option<Attribute>, Refusal> {
    match session.get_attributes(object, &[kind]) {
        Ok(found) => Ok(found.into_iter().next()),
        Err(
            CryptokiError::Pkcs11(RvError::AttributeTypeInvalid | RvError::AttributeSensitive, _)
            | CryptokiError::NotSupported
            | CryptokiError::InvalidValue
            | CryptokiError::TryFromSlice(_),
        ) => Ok(None),
        Err(error) => Err(Refusal::of("read an attribute of an object")(error)),
    }
}

/// A key's label and id in the form of a URI, for messages.
pub fn described(filter: &ObjectFilter) -> String {
    let label = filter.label.as_ref().map(|l| text_attribute("object", l.as_bytes()));
    let id = filter.id.as_ref().map(|id| id_attribute(id));
    let parts: Vec<String> = label.into_iter().chain(id).collect();
    if parts.is_empty() { "a key without label and id".to_owned() } else { parts.join(";") }
}

/// What is known of a private key, unless it must not sign.
///
/// # Errors
/// `ACCESS_DENIED` if it must not sign; the token's refusal.
pub fn private_key(session: &Session, handle: ObjectHandle) -> Result<PrivateKey, Refusal> {
    let object = names(session, handle)?;
    if let Some(Attribute::Sign(false)) = attribute(session, handle, AttributeType::Sign)? {
        return Err(Refusal::Final(Error::access_denied(format!(
            "private key {} must not sign: its CKA_SIGN is false. The token's owner decides that",
            described(&object)
        ))));
    }
    let always = attribute(session, handle, AttributeType::AlwaysAuthenticate)?;
    let always_authenticate = matches!(always, Some(Attribute::AlwaysAuthenticate(true)));
    let kind = match attribute(session, handle, AttributeType::KeyType)? {
        Some(Attribute::KeyType(kind)) => Some(kind),
        _ => None,
    };
    Ok(PrivateKey { handle, kind, object, always_authenticate })
}

/// Label and id of an object.
///
/// # Errors
/// The token's refusal.
pub fn names(session: &Session, handle: ObjectHandle) -> Result<ObjectFilter, Refusal> {
    let label = match attribute(session, handle, AttributeType::Label)? {
        Some(Attribute::Label(label)) => String::from_utf8(label).ok().filter(|l| !l.is_empty()),
        _ => None,
    };
    let id = match attribute(session, handle, AttributeType::Id)? {
        Some(Attribute::Id(id)) => Some(id).filter(|id| !id.is_empty()),
        _ => None,
    };
    Ok(ObjectFilter { label, id })
}

fn no_key(session: &Session, filter: &ObjectFilter) -> Result<Refusal, Refusal> {
    let all = find(session, &template(ObjectClass::PRIVATE_KEY, &ObjectFilter::default()))?;
    let there = if all.is_empty() {
        "the token shows no private key at all".to_owned()
    } else {
        format!("the token has {}", listed(session, &all)?)
    };
    Ok(Refusal::Final(Error::validation(format!("no private key matches {}; {there}", described(filter)))))
}

fn listed(session: &Session, handles: &[ObjectHandle]) -> Result<String, Refusal> {
    let mut lines = Vec::new();
    for handle in handles.iter().take(LISTED_MAX) {
        lines.push(described(&names(session, *handle)?));
    }
    if handles.len() > LISTED_MAX {
        lines.push(format!("{} more", handles.len() - LISTED_MAX));
    }
    Ok(lines.join(", "))
}
