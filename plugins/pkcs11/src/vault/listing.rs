//! The private keys of a token that can sign for Notary, one after the other.

use std::ops::ControlFlow;

use cryptoki::object::{ObjectClass, ObjectHandle};
use prokura_plugin::{Error, ErrorCode, Listed};

use super::token::{Access, Token};
use crate::config::TOKEN;
use crate::config::uri::ObjectFilter;
use crate::key::description::{Origin, describe};
use crate::key::mechanism::Scheme;
use crate::key::object::{find, private_key, template};

/// Hands each key to `found`. What keeps a token from being looked at goes there too.
///
/// `alone` says that this is the only token: the PIN of one token is never tried on another.
pub fn list(
    token: &Token,
    origin: &Origin,
    access: Access<'_>,
    alone: bool,
    found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match handles(token, access, alone) {
        Err(error) => found(Err(error)),
        Ok(handles) => handles.into_iter().try_for_each(|handle| {
            match key(token, handle, origin, access) {
                // Keys for other purposes.
                Err(error) if matches!(error.code, ErrorCode::ValidationError | ErrorCode::AccessDenied) => {
                    ControlFlow::Continue(())
                }
                listed => found(listed),
            }
        }),
    }
}

fn handles(token: &Token, access: Access<'_>, alone: bool) -> Result<Vec<ObjectHandle>, Error> {
    if !alone && !access.pin.names_a_person() && access.pin.kept()?.is_some() {
        let label = &token.identity().label;
        return Err(Error::access_denied(format!(
            "token {label:?} was not looked at: several tokens match and one PIN is configured, which is not tried on \
             each of them; name one token with {TOKEN}, serial or slot-id"
        )));
    }
    token.admit(access)?;
    token.with_session("list the private keys", access, &|inside| {
        find(inside.session, &template(ObjectClass::PRIVATE_KEY, &ObjectFilter::default()))
    })
}

fn key(token: &Token, handle: ObjectHandle, origin: &Origin, access: Access<'_>) -> Listed {
    let listed = token.with_session("read a key", access, &|inside| {
        let private = private_key(inside.session, handle)?;
        describe(inside, &private, origin)
    })?;
    let mechanisms = token.signing_mechanisms(access).map_err(Error::from)?;
    Scheme::choose(listed.public_key.spec(), &mechanisms).map(|_| listed).map_err(Error::validation)
}
