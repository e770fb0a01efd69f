//! The bare loop that a PKCS#11 plugin is compared with: C_SignInit and C_Sign, nothing around them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use prokura_plugin::{Digest, KeySpec};

use super::pkcs11::{MESSAGE, verify_ec};
use super::{Measured, on_threads};
use crate::key;

/// Which module signs, and with which key.
pub struct Direct<'a> {
    /// The module's shared library.
    pub module: &'a Path,
    /// The file that holds the PIN.
    pub pin_file: &'a Path,
    /// The key's spec, which is also its name.
    pub spec: KeySpec,
    /// Whether each signature is verified after it was made, by the thread that made it: the least that a host which
    /// trusts no vault can take.
    pub verify: bool,
}

impl Direct<'_> {
    /// Signs with a session and a key handle per thread, made before the clock starts. A module reads its
    /// configuration from the environment, hence once per process.
    ///
    /// # Errors
    /// What the module says, or a signature that does not verify.
    pub fn run(&self, in_flight: usize, duration: Duration) -> Result<Measured> {
        let module = Pkcs11::new(self.module)?;
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        let slot = *module.get_slots_with_initialized_token()?.first().context("no token")?;
        let login = module.open_ro_session(slot)?;
        login.login(UserType::User, Some(&AuthPin::from(std::fs::read_to_string(self.pin_file)?)))?;
        let digest = Digest::of(self.spec.hash_algorithm(), MESSAGE).bytes().to_vec();
        let open = || {
            let session = module.open_ro_session(slot)?;
            let key = self.object(&session, ObjectClass::PRIVATE_KEY)?;
            let public_key = self.public_key(&session)?;
            anyhow::Ok((session, key, public_key))
        };
        on_threads(in_flight, duration, open, |(session, key, public_key)| {
            let signature = session.sign(&self.mechanism(), *key, &digest)?;
            if self.verify { public_key.verify(&signature) } else { Ok(()) }
        })
    }

    fn object(&self, session: &Session, class: ObjectClass) -> Result<ObjectHandle> {
        let wanted = [Attribute::Class(class), Attribute::Label(key::id(self.spec).into_bytes())];
        session.find_objects(&wanted)?.first().copied().context("no such key")
    }

    fn public_key(&self, session: &Session) -> Result<PublicKey> {
        let object = self.object(session, ObjectClass::PUBLIC_KEY)?;
        let wanted = [AttributeType::EcPoint, AttributeType::Modulus, AttributeType::PublicExponent];
        let (mut n, mut e) = (None, None);
        for attribute in session.get_attributes(object, &wanted)? {
            match attribute {
                // A DER OCTET STRING of two bytes' head around the uncompressed point.
                Attribute::EcPoint(point) => {
                    return Ok(PublicKey::Ec(self.spec, point.get(2..).context("a point")?.to_vec()));
                }
                Attribute::Modulus(modulus) => n = Some(modulus),
                Attribute::PublicExponent(exponent) => e = Some(exponent),
                _ => {}
            }
        }
        let (n, e) = n.zip(e).context("an RSA key has a modulus and an exponent")?;
        Ok(PublicKey::Rsa(RsaPublicKeyComponents { n, e }))
    }

    /// The mechanism over a digest; cheap to make, and not to be shared between threads.
    fn mechanism(&self) -> Mechanism<'static> {
        let pss = PkcsPssParams {
            hash_alg: MechanismType::SHA256,
            mgf: PkcsMgfType::MGF1_SHA256,
            s_len: 32u64.into(),
        };
        if self.spec.is_rsa() { Mechanism::RsaPkcsPss(pss) } else { Mechanism::Ecdsa }
    }
}

enum PublicKey {
    Ec(KeySpec, Vec<u8>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl PublicKey {
    fn verify(&self, signature: &[u8]) -> Result<()> {
        match self {
            Self::Ec(spec, point) => verify_ec(*spec, point, signature),
            Self::Rsa(key) => key
                .verify(&RSA_PSS_2048_8192_SHA256, MESSAGE, signature)
                .context("the signature does not verify"),
        }
    }
}
