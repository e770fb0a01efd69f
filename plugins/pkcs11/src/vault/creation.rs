//! A new key pair inside a token: it can sign, do nothing else, and never leave.

use std::time::Duration;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use prokura_plugin::{Error, KeyDescription, KeySpec};

use super::token::{Access, Token};
use crate::config::uri::ObjectFilter;
use crate::error::Refusal;
use crate::key::description::{Origin, describe};
use crate::key::object::{described, find, private_key, template};
use crate::key::public_key::curve_parameters;
use crate::limits::{GENERATE_SECONDS_MAX, NEW_ID_BYTES};

/// Makes a key called `object`; without an id it is given a random one.
///
/// # Errors
/// `VALIDATION_ERROR` if there is such a key, or the token cannot make one; `ACCESS_DENIED` if it must not.
pub fn create(
    token: &Token,
    object: &ObjectFilter,
    spec: KeySpec,
    origin: &Origin,
    access: Access<'_>,
) -> Result<KeyDescription, Error> {
    token.admit(access)?;
    let id = object.id.clone().map_or_else(random_id, Ok)?;
    let new = ObjectFilter { label: object.label.clone(), id: Some(id) };
    let longest = Duration::from_secs(GENERATE_SECONDS_MAX);
    token.write("make a key", longest, access, &|inside| {
        refuse_taken(inside.session, object)?;
        let handle = generate(inside.session, &new, spec)?;
        let private = private_key(inside.session, handle)?;
        describe(inside, &private, origin)
    })
}

/// Two keys of one name could not be told apart by it, and a certificate belongs to the key of its id.
fn refuse_taken(session: &Session, object: &ObjectFilter) -> Result<(), Refusal> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let by_label = ObjectFilter { label: object.label.clone(), id: None };
        let by_id = ObjectFilter { label: None, id: object.id.clone() };
        for taken in [by_label, by_id].iter().filter(|name| **name != ObjectFilter::default()) {
            if !find(session, &template(class, taken))?.is_empty() {
                return Err(Refusal::Final(Error::validation(format!(
                    "the token has a key {} already; keys are never replaced, choose another name or id",
                    described(taken)
                ))));
            }
        }
    }
    Ok(())
}

fn generate(session: &Session, new: &ObjectFilter, spec: KeySpec) -> Result<ObjectHandle, Refusal> {
    let names = || {
        let mut names = vec![Attribute::Token(true)];
        names.extend(new.label.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
        names.extend(new.id.as_ref().map(|id| Attribute::Id(id.clone())));
        names
    };
    let mut public = names();
    public.extend([Attribute::Private(false), Attribute::Verify(true)]);
    let mut private = names();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    let mechanism = if spec.is_rsa() {
        let bits = Ulong::from(spec.signature_len() as u64 * 8);
        public.extend([Attribute::ModulusBits(bits), Attribute::PublicExponent(vec![1, 0, 1])]);
        private.extend([Attribute::Decrypt(false), Attribute::Unwrap(false)]);
        Mechanism::RsaPkcsKeyPairGen
    } else {
        public.push(Attribute::EcParams(curve_parameters(spec)));
        private.push(Attribute::Derive(false));
        Mechanism::EccKeyPairGen
    };
    let made = session.generate_key_pair(&mechanism, &public, &private);
    let (_, private) = made.map_err(Refusal::of(format!("make {spec} key {}", described(new))))?;
    Ok(private)
}

fn random_id() -> Result<Vec<u8>, Error> {
    let mut id = vec![0; NEW_ID_BYTES];
    let filled = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
    match filled {
        // Fewer than 256 bytes come in one piece or not at all (getrandom(2)).
        Ok(NEW_ID_BYTES) => Ok(id),
        _ => Err(Error::internal("the operating system has no random numbers for the id of the key")),
    }
}
