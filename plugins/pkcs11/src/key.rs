//! A private key in a token, opened for signing.

pub mod object;
pub mod public_key;

use std::sync::{Arc, PoisonError, RwLock};

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use prokura_plugin::pin::{PinSource, Surroundings};
use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, HashAlgorithm, KeySpec, Pin, PublicKey, RawSignature,
    SigningKey,
};

use crate::certificate;
use crate::config::uri::ObjectFilter;
use crate::error::Refusal;
use crate::key::object::{described, find_private_key};
use crate::key::public_key::public_key;
use crate::vault::token::Token;

/// A key with its public key known and its handle at hand.
pub struct TokenKey {
    token: Arc<Token>,
    pin: PinSource,
    surroundings: Arc<Surroundings>,
    object: ObjectFilter,
    public_key: PublicKey,
    /// The handle, and the generation of sessions it was found under.
    handle: RwLock<(u64, ObjectHandle)>,
}

impl TokenKey {
    /// Logs in, finds the key and reads its public key.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such key or it cannot sign for Notary, `ACCESS_DENIED` if the PIN or the key
    /// is refused.
    pub fn open(
        token: Arc<Token>,
        filter: &ObjectFilter,
        pin: PinSource,
        surroundings: Arc<Surroundings>,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let read_pin = || read(&pin, &surroundings);
        token.admit(deadline, &read_pin)?;
        let (generation, private, public_key) =
            token.with_session(deadline, &read_pin, &|session, generation| {
                let private = find_private_key(session, filter)?;
                let public = public_key(session, &private)?;
                Ok((generation, private, public))
            })?;
        check_mechanism(&token, &private.object, public_key.spec())?;
        let handle = RwLock::new((generation, private.handle));
        Ok(Self { token, pin, surroundings, object: private.object, public_key, handle })
    }

    fn with_session<T>(
        &self,
        deadline: Deadline,
        calls: &dyn Fn(&Session, u64) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        self.token.with_session(deadline, &|| read(&self.pin, &self.surroundings), calls)
    }

    /// The cached handle, or the one the key has since sessions were renewed.
    fn handle(&self, session: &Session, generation: u64) -> Result<ObjectHandle, Refusal> {
        let (found_under, handle) = *self.handle.read().unwrap_or_else(PoisonError::into_inner);
        if found_under == generation {
            return Ok(handle);
        }
        let private = find_private_key(session, &self.object)?;
        if public_key(session, &private)? != self.public_key {
            return Err(Refusal::Final(Error::validation(format!(
                "the token now holds another key as {} than when it was opened; sign again to use that one",
                described(&self.object)
            ))));
        }
        *self.handle.write().unwrap_or_else(PoisonError::into_inner) = (generation, private.handle);
        Ok(private.handle)
    }
}

impl SigningKey for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Read anew each time, so that a renewed certificate is seen without a restart.
    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        self.with_session(Deadline::NONE, &|session, _| {
            certificate::chain(session, &self.public_key, &self.object)
        })
    }

    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        deadline.check()?;
        let spec = self.public_key.spec();
        let mechanism = mechanism(spec);
        let signature = self.with_session(deadline, &|session, generation| {
            let handle = self.handle(session, generation)?;
            let doing = || format!("sign with key {}", described(&self.object));
            session.sign(&mechanism, handle, digest.bytes()).map_err(|e| Refusal::of(doing())(e))
        })?;
        Ok(if spec.is_rsa() {
            RawSignature::from_rsa(spec, &signature)?
        } else {
            RawSignature::from_fixed_width(spec, signature)?
        })
    }
}

fn read(pin: &PinSource, surroundings: &Surroundings) -> Result<Option<Pin>, Error> {
    Ok(pin.read(surroundings, "PIN of the token", Deadline::NONE)?)
}

/// RSASSA-PSS over a digest made outside, with MGF1 over the same hash and a salt as long (PKCS#11 v3.1 section
/// 6.1.10), or plain ECDSA (section 6.3.12), which returns `r ‖ s`.
fn mechanism(spec: KeySpec) -> Mechanism<'static> {
    if !spec.is_rsa() {
        return Mechanism::Ecdsa;
    }
    let (hash_alg, mgf, s_len) = match spec.hash_algorithm() {
        HashAlgorithm::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
        HashAlgorithm::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
        HashAlgorithm::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
    };
    Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len: cryptoki::types::Ulong::new(s_len) })
}

/// Says at once what the first signature would say less clearly.
fn check_mechanism(token: &Token, object: &ObjectFilter, spec: KeySpec) -> Result<(), Error> {
    let needed = if spec.is_rsa() { MechanismType::RSA_PKCS_PSS } else { MechanismType::ECDSA };
    if token.mechanisms()?.contains(&needed) {
        return Ok(());
    }
    let label = &token.identity().label;
    Err(Error::validation(format!(
        "token {label:?} lacks mechanism {needed}, which {spec} key {} needs to sign; a token that has it, or a key of \
         the other kind, is required",
        described(object)
    )))
}
