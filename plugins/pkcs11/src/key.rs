//! A private key in a token, opened for signing.

pub mod description;
pub mod mechanism;
pub mod object;
pub mod public_key;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use cryptoki::object::ObjectHandle;
use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, KeyDetails, PublicKey, RawSignature, SigningKey,
};

use crate::certificate;
use crate::config::pin::PinReader;
use crate::config::settings::Settings;
use crate::config::uri::ObjectFilter;
use crate::error::{Refusal, is_refused_padding};
use crate::vault::token::{Access, Inside, Token};

use mechanism::Scheme;
use object::{described, find_private_key};
use public_key::public_key;

/// A key with its public key known and its handle at hand.
pub struct TokenKey {
    token: Arc<Token>,
    pin: PinReader,
    settings: Settings,
    object: ObjectFilter,
    public_key: PublicKey,
    scheme: Scheme,
    /// What signs if the token lists the scheme and refuses it, and whether it came to that.
    spare: Option<Scheme>,
    uses_spare: AtomicBool,
    /// Whether each signature takes a login of its own.
    always_authenticate: bool,
    details: KeyDetails,
    /// The handle, and the generation of sessions it was found under.
    handle: RwLock<(u64, ObjectHandle)>,
}

impl TokenKey {
    /// Logs in, finds the key and reads its public key, in the caller's turn with the module. `origin` is how a key id names the library.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such key or it cannot sign for Notary, `ACCESS_DENIED` if the PIN or the key
    /// is refused.
    pub fn open(
        token: Arc<Token>,
        filter: &ObjectFilter,
        pin: PinReader,
        settings: Settings,
        origin: &description::Origin,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let access = Access { deadline, pin: &pin, settings: &settings, in_turn: true };
        token.admit(access)?;
        let (generation, private, public_key, details) =
            token.with_session("find a key", access, &|inside| {
                let private = find_private_key(inside.session, filter)?;
                let public = public_key(inside.session, &private)?;
                let details = description::details(inside, &private, origin)?;
                Ok((inside.generation, private, public, details))
            })?;
        let (scheme, spare) = schemes(&token, access, &private.object, &public_key)?;
        let uses_spare = AtomicBool::new(false);
        let always_authenticate = private.always_authenticate;
        let handle = RwLock::new((generation, private.handle));
        let object = private.object;
        Ok(Self {
            token,
            pin,
            settings,
            object,
            public_key,
            scheme,
            spare,
            uses_spare,
            always_authenticate,
            details,
            handle,
        })
    }

    const fn access(&self, deadline: Deadline) -> Access<'_> {
        Access { deadline, pin: &self.pin, settings: &self.settings, in_turn: false }
    }

    /// The cached handle, or the one the key has since sessions were renewed.
    fn handle(&self, inside: &Inside<'_>) -> Result<ObjectHandle, Refusal> {
        let (found_under, handle) = *self.handle.read().unwrap_or_else(PoisonError::into_inner);
        if found_under == inside.generation {
            return Ok(handle);
        }
        let private = find_private_key(inside.session, &self.object)?;
        if public_key(inside.session, &private)? != self.public_key {
            return Err(Refusal::Final(Error::validation(format!(
                "the token now holds another key as {} than when it was opened; sign again to use that one",
                described(&self.object)
            ))));
        }
        *self.handle.write().unwrap_or_else(PoisonError::into_inner) = (inside.generation, private.handle);
        Ok(private.handle)
    }

    fn sign_by(&self, scheme: Scheme, digest: &Digest, deadline: Deadline) -> Result<Vec<u8>, Error> {
        let input = scheme.input(self.public_key.spec(), digest)?;
        self.token.with_session("sign", self.access(deadline), &|inside| self.sign(inside, scheme, &input))
    }

    fn sign(&self, inside: &Inside<'_>, scheme: Scheme, input: &[u8]) -> Result<Vec<u8>, Refusal> {
        let spec = self.public_key.spec();
        let handle = self.handle(inside)?;
        let mechanism = scheme.mechanism(spec.hash_algorithm());
        let confirm: &dyn Fn() -> Result<(), Refusal> = &|| inside.confirm();
        let confirm = self.always_authenticate.then_some(confirm);
        let module = inside.token().module();
        let signed = module.sign(inside.session, (&mechanism, handle), input, spec.signature_len(), confirm);
        signed.map_err(|refusal| match refusal {
            Refusal::Token { error, .. } => {
                Refusal::Token { doing: format!("sign with key {}", described(&self.object)), error }
            }
            found => found,
        })
    }
}

impl SigningKey for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Read anew each time, so that a renewed certificate is seen without a restart.
    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        self.token.with_session("read certificates", self.access(Deadline::NONE), &|inside| {
            certificate::chain(inside.session, &self.public_key, &self.object)
        })
    }

    /// The signature is checked for its form only: every host of Notary verifies it against the key's certificate
    /// before it is used, and a second verification here would cost as much as an ECDSA signature.
    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        deadline.check()?;
        let spec = self.public_key.spec();
        let spare = self.spare.filter(|_| self.uses_spare.load(Ordering::Relaxed));
        let signature = match (self.sign_by(spare.unwrap_or(self.scheme), digest, deadline), self.spare) {
            (Err(error), Some(other)) if spare.is_none() && is_refused_padding(&error) => {
                let signature = self.sign_by(other, digest, deadline)?;
                self.uses_spare.store(true, Ordering::Relaxed);
                signature
            }
            (signed, _) => signed?,
        };
        Ok(if spec.is_rsa() {
            RawSignature::from_rsa(spec, &signature)?
        } else {
            RawSignature::from_fixed_width(spec, signature)?
        })
    }

    fn details(&self) -> KeyDetails {
        self.details.clone()
    }
}

/// How the key signs, and how else it may. Says at once what the first signature would say less clearly.
fn schemes(
    token: &Token,
    access: Access<'_>,
    object: &ObjectFilter,
    key: &PublicKey,
) -> Result<(Scheme, Option<Scheme>), Error> {
    let mechanisms = token.signing_mechanisms(access).map_err(Error::from)?;
    let scheme = Scheme::choose(key.spec(), &mechanisms).map_err(|missing| {
        let (label, spec) = (&token.identity().label, key.spec());
        Error::validation(format!(
            "token {label:?} lacks mechanism {missing} for signing, which {spec} key {} needs; a token that has it, or a \
             key of the other kind, is required",
            described(object)
        ))
    })?;
    Ok((scheme, scheme.spare(&mechanisms)))
}
