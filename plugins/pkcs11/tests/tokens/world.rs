//! The tokens, keys and certificates the trials find, and short ways to ask for them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, CertificateType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use libtest_mimic::Trial;
use notation_pkcs11::Vault;
use notation_pkcs11::config::pin::DEFAULTS;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::pin::Surroundings;
use prokura_plugin::{Deadline, Error, KeyRequest, KeySpec, OpenKey, PublicKey, SigningKey};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData};

use crate::backend::Backend;

pub(crate) const PIN: &str = "pin-4711";
const SO_PIN: &str = "so-pin-4711";
/// Tokens that hold one P-256 key named `k` each.
const SMALL_TOKENS: [&str; 6] = ["twin", "twin", "guarded", "fragile", "quiet", "workshop"];

pub(crate) struct World {
    pub(crate) backend: Backend,
    pub(crate) module: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) vault: Vault,
    /// Root certificate, DER: in no token.
    pub(crate) root: Vec<u8>,
    /// What the plugin warned of.
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// Makes all tokens before the plugin loads the module: modules look for tokens when they start.
    pub(crate) fn create(backend: Backend, directory: &Path) -> Self {
        let module = backend.module().unwrap();
        let context = initialised(&module);
        for label in SMALL_TOKENS {
            let session = new_token(&context, label);
            generate_ec(&session, KeySpec::Ec256, "k", &[1], true);
        }
        let session = new_token(&context, "Build Keys");
        let root = fill(&session, backend);
        drop(session);
        if backend.has_poor_slot() {
            let session = new_token(&context, "poor");
            generate_rsa(&session, 2048, "rsa", &[1]);
            generate_ec(&session, KeySpec::Ec256, "ec", &[2], true);
            let session = new_token(&context, "raw");
            for (n, bits) in [(1, 2048), (2, 3072), (3, 4096)] {
                generate_rsa(&session, bits, &format!("RSA-{bits}"), &[n]);
            }
        }
        context.finalize().unwrap();
        let pin_file = directory.join("pin");
        std::fs::write(&pin_file, format!("{PIN}\n")).unwrap();
        std::fs::set_permissions(&pin_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&warnings);
        let surroundings =
            Surroundings::new(DEFAULTS, variable, move |line| sink.lock().unwrap().push(line.to_owned()));
        Self {
            backend,
            module,
            directory: directory.to_owned(),
            vault: Vault::new(surroundings, |why| panic!("{why}")),
            root,
            warnings,
        }
    }

    /// A trial with the backend in its name.
    pub(crate) fn trial(&'static self, name: &str, test: fn(&World)) -> Trial {
        Trial::test(format!("{}::{name}", self.backend.name()), move || {
            test(self);
            Ok(())
        })
    }

    /// A URI with module and PIN file; `path` is what stands between the scheme and `?`.
    pub(crate) fn uri(&self, path: &str) -> String {
        let pin = self.directory.join("pin");
        format!("pkcs11:{path}?module-path={}&pin-source=file:{}", self.module.display(), pin.display())
    }

    /// A URI without a PIN source.
    pub(crate) fn uri_without_pin(&self, path: &str) -> String {
        format!("pkcs11:{path}?module-path={}", self.module.display())
    }

    /// The plugin config of requests that name no key.
    pub(crate) fn config(&self, token: &str) -> Vec<(String, String)> {
        let pin = format!("file:{}", self.directory.join("pin").display());
        let module = self.module.display().to_string();
        [("module-path", module.as_str()), ("token", token), ("pin-source", &pin)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    pub(crate) fn open(&self, key_id: &str, config: &[(&str, &str)]) -> Result<Box<dyn SigningKey>, Error> {
        let config: BTreeMap<String, String> =
            config.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.vault.open_key(&KeyRequest::new(key_id, PluginConfig(config), Deadline::NONE)?)
    }

    /// Opens a key of the token that has them all.
    pub(crate) fn key(&self, object: &str) -> Box<dyn SigningKey> {
        self.open(&self.uri(&format!("token=Build%20Keys;object={object}")), &[]).unwrap()
    }

    /// The error of a key that must not open.
    pub(crate) fn refusal(&self, key_id: &str, config: &[(&str, &str)]) -> Error {
        match self.open(key_id, config) {
            Ok(_) => panic!("{key_id} was opened"),
            Err(error) => error,
        }
    }
}

/// The environment the plugin sees.
fn variable(name: &str) -> Option<OsString> {
    match name {
        "RIGHT" => Some(PIN.into()),
        "WRONG" => Some("pin-0000".into()),
        "SHORT" => Some("1".into()),
        _ => None,
    }
}

pub(crate) fn initialised(module: &Path) -> Pkcs11 {
    let context = Pkcs11::new(module).unwrap();
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    context
}

/// A new token with its user logged in.
fn new_token(context: &Pkcs11, label: &str) -> Session {
    let pin = |text: &str| AuthPin::from(text.to_owned());
    let slots = context.get_slots_with_token().unwrap();
    let empty = |slot: &_| !context.get_token_info(*slot).unwrap().token_initialized();
    let slot = slots.into_iter().find(empty).unwrap();
    context.init_token(slot, &pin(SO_PIN), label).unwrap();
    // SoftHSM moves a new token to a slot numbered by its serial; only the new one has no user PIN.
    let slots = context.get_slots_with_token().unwrap();
    let fresh = slots.into_iter().find(|slot| {
        let info = context.get_token_info(*slot).unwrap();
        info.label() == label && !info.user_pin_initialized()
    });
    let session = context.open_rw_session(fresh.unwrap_or(slot)).unwrap();
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&pin(PIN)).unwrap();
    session.logout().unwrap();
    session.login(UserType::User, Some(&pin(PIN))).unwrap();
    session
}

/// The six specs under their own names, and keys that cannot or must not sign. Returns the root certificate.
fn fill(session: &Session, backend: Backend) -> Vec<u8> {
    for (n, spec) in (1..).zip(KeySpec::ALL) {
        if spec.is_rsa() {
            generate_rsa(session, spec.signature_len() as u64 * 8, spec.as_str(), &[n]);
        } else {
            generate_ec(session, spec, spec.as_str(), &[n], true);
        }
    }
    generate_ec(session, KeySpec::Ec256, "same", &[0x21], true);
    generate_ec(session, KeySpec::Ec256, "same", &[0x22], true);
    generate_ec(session, KeySpec::Ec256, "agreement", &[0x23], false);
    let (public, _) = generate_ec(session, KeySpec::Ec256, "lonely-ec", &[0x24], true);
    session.destroy_object(public).unwrap();
    let (public, _) = generate_rsa(session, 2048, "lonely-rsa", &[0x25]);
    session.destroy_object(public).unwrap();
    let ec = [Attribute::EcParams(vec![0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07])];
    let careful = [Attribute::AlwaysAuthenticate(true)];
    generate(session, &Mechanism::EccKeyPairGen, &ec, &careful, ("careful-ec", &[0x28]), true);
    let rsa = [Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1])];
    generate(session, &Mechanism::RsaPkcsKeyPairGen, &rsa, &careful, ("careful-rsa", &[0x29]), true);
    if backend.has_small_rsa() {
        generate_rsa(session, 1024, "small", &[0x26]);
    }
    if backend.has_ed25519() {
        let params = b"\x13\x0cedwards25519".to_vec();
        generate(
            session,
            &Mechanism::EccEdwardsKeyPairGen,
            &[Attribute::EcParams(params)],
            &[],
            ("ed25519", &[0x27]),
            true,
        );
    }
    certify(session)
}

fn generate_rsa(session: &Session, bits: u64, label: &str, id: &[u8]) -> (ObjectHandle, ObjectHandle) {
    let kind =
        [Attribute::ModulusBits(cryptoki::types::Ulong::new(bits)), Attribute::PublicExponent(vec![1, 0, 1])];
    generate(session, &Mechanism::RsaPkcsKeyPairGen, &kind, &[], (label, id), true)
}

fn generate_ec(
    session: &Session,
    spec: KeySpec,
    label: &str,
    id: &[u8],
    sign: bool,
) -> (ObjectHandle, ObjectHandle) {
    let curve: &[u8] = match spec {
        KeySpec::Ec256 => &[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07],
        KeySpec::Ec384 => &[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x22],
        _ => &[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x23],
    };
    generate(
        session,
        &Mechanism::EccKeyPairGen,
        &[Attribute::EcParams(curve.to_vec())],
        &[],
        (label, id),
        sign,
    )
}

fn generate(
    session: &Session,
    mechanism: &Mechanism<'_>,
    kind: &[Attribute],
    more: &[Attribute],
    (label, id): (&str, &[u8]),
    sign: bool,
) -> (ObjectHandle, ObjectHandle) {
    let names = [Attribute::Token(true), Attribute::Label(label.into()), Attribute::Id(id.to_vec())];
    let public = [&names[..], &[Attribute::Verify(sign), Attribute::Private(false)], kind].concat();
    let private = [
        &names[..],
        &[
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Sign(sign),
            Attribute::Derive(!sign),
        ],
        more,
    ];
    session.generate_key_pair(mechanism, &public, &private.concat()).unwrap()
}

/// A leaf (twice: an old one and its renewal) and an intermediate in the token, the root outside.
fn certify(session: &Session) -> Vec<u8> {
    let (root_key, intermediate_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (root, intermediate) = (authority("root"), authority("intermediate"));
    let root_der = root.self_signed(&root_key).unwrap();
    let root = Issuer::from_params(&root, &root_key);
    let intermediate_der = intermediate.signed_by(&intermediate_key, &root).unwrap();
    let issuer = Issuer::from_params(&intermediate, &intermediate_key);
    let public = SpkiKey(public_point(session, "EC-256"));
    for (year, common_name) in [(2026, "renewed"), (2020, "old")] {
        let mut leaf = named(common_name);
        leaf.not_before = rcgen::date_time_ymd(year, 1, 1);
        store(session, leaf.signed_by(&public, &issuer).unwrap().der(), &[4], common_name);
    }
    store(session, intermediate_der.der(), &[], "intermediate");
    root_der.der().to_vec()
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn authority(common_name: &str) -> CertificateParams {
    let mut params = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn store(session: &Session, der: &[u8], id: &[u8], label: &str) {
    let parts = notation_pkcs11::certificate::parts(der).unwrap();
    session
        .create_object(&[
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Label(label.into()),
            Attribute::Id(id.to_vec()),
            Attribute::Subject(parts.subject.to_vec()),
            Attribute::Issuer(parts.issuer.to_vec()),
            Attribute::Value(der.to_vec()),
        ])
        .unwrap();
}

fn public_point(session: &Session, label: &str) -> Vec<u8> {
    use cryptoki::object::AttributeType;
    let template = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Label(label.into()),
    ];
    let handle = session.find_objects(&template).unwrap()[0];
    match session.get_attributes(handle, &[AttributeType::EcPoint]).unwrap().remove(0) {
        Attribute::EcPoint(point) => {
            // P-256: 65 bytes, behind two bytes of OCTET STRING header where the token wraps it.
            let bare = point[point.len() - 65..].to_vec();
            PublicKey::from_ec_point(KeySpec::Ec256, &bare).unwrap();
            bare
        }
        other => panic!("{other:?}"),
    }
}

/// A P-256 public key that lives in a token.
pub(crate) struct SpkiKey(pub(crate) Vec<u8>);

impl PublicKeyData for SpkiKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
