//! Initialises a PKCS#11 token and fills it with a key of every spec and the leaf certificate of each.
//!
//! A program of its own: PKCS#11 modules read their configuration from the environment of the process.

mod odd;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use prokura_integration::{key, pki};
use prokura_plugin::{CertificateChain, KeySpec, PublicKey};
use x509_cert::der::{Decode as _, Encode as _};

/// Fill a fresh token with test keys.
#[derive(Parser)]
struct Arguments {
    /// The PKCS#11 module.
    #[arg(long)]
    module: PathBuf,
    /// Label of the token.
    #[arg(long)]
    label: String,
    /// File with the PIN to set, for the user and the security officer.
    #[arg(long)]
    pin_file: PathBuf,
    /// Where to write the root of the chains, PEM.
    #[arg(long)]
    root: PathBuf,
    /// The token of this label is there already and has this PIN.
    #[arg(long)]
    initialised: bool,
    /// Add keys that no signature should be made with, or not just so.
    #[arg(long)]
    odd: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let pin = AuthPin::from(std::fs::read_to_string(&arguments.pin_file)?.trim().to_owned());
    let module = Pkcs11::new(&arguments.module)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slot = if arguments.initialised {
        initialised(&module, &arguments.label)?
    } else {
        initialise(&module, &arguments.label, &pin)?
    };
    let session = module.open_rw_session(slot)?;
    session.login(UserType::User, Some(&pin))?;

    let authority = pki::Authority::new("token test root")?;
    for (number, spec) in (1u8..).zip(KeySpec::ALL) {
        let public = generate(&session, spec, number).with_context(|| format!("generating {spec}"))?;
        let leaf = authority.issue(public.spki_der(), &format!("token {spec}"))?;
        store_certificate(&session, spec, number, &leaf).with_context(|| format!("certificate of {spec}"))?;
    }
    if arguments.odd {
        odd::fill(&session, &authority)?;
    }
    std::fs::write(&arguments.root, authority.certificate())?;
    Ok(())
}

fn initialise(module: &Pkcs11, label: &str, pin: &AuthPin) -> Result<Slot> {
    let slot = *module.get_all_slots()?.first().context("the module has no slot")?;
    module.init_token(slot, pin, label)?;
    // SoftHSM gives an initialised token another slot.
    let slot = *module.get_slots_with_initialized_token()?.first().context("the token did not appear")?;
    let session = module.open_rw_session(slot)?;
    session.login(UserType::So, Some(pin))?;
    session.init_pin(pin)?;
    session.logout()?;
    Ok(slot)
}

fn initialised(module: &Pkcs11, label: &str) -> Result<Slot> {
    for slot in module.get_slots_with_token()? {
        if module.get_token_info(slot)?.label() == label {
            return Ok(slot);
        }
    }
    bail!("there is no token {label:?}")
}

fn generate(session: &Session, spec: KeySpec, number: u8) -> Result<PublicKey> {
    generate_as(session, spec, &key::id(spec), number, &[])
}

/// With these further attributes of the private key.
fn generate_as(
    session: &Session,
    spec: KeySpec,
    label: &str,
    number: u8,
    further: &[Attribute],
) -> Result<PublicKey> {
    let named =
        [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(vec![number])];
    let mut public = named.to_vec();
    public.push(Attribute::Verify(true));
    let mut private = named.to_vec();
    private.extend([Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true)]);
    private.extend_from_slice(further);
    let mechanism = match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => {
            public.push(Attribute::ModulusBits(u64::try_from(spec.signature_len() * 8)?.into()));
            public.push(Attribute::PublicExponent(vec![1, 0, 1]));
            Mechanism::RsaPkcsKeyPairGen
        }
        KeySpec::Ec256 | KeySpec::Ec384 | KeySpec::Ec521 => {
            public.push(Attribute::EcParams(curve(spec)));
            Mechanism::EccKeyPairGen
        }
    };
    let (public, _) = session.generate_key_pair(&mechanism, &public, &private)?;
    read_public_key(session, spec, public)
}

/// DER of the curve's object identifier (RFC 5480 section 2.1.1.1).
fn curve(spec: KeySpec) -> Vec<u8> {
    match spec {
        KeySpec::Ec256 => vec![0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7],
        KeySpec::Ec384 => vec![0x06, 5, 0x2B, 0x81, 4, 0, 0x22],
        _ => vec![0x06, 5, 0x2B, 0x81, 4, 0, 0x23],
    }
}

fn read_public_key(session: &Session, spec: KeySpec, object: ObjectHandle) -> Result<PublicKey> {
    let wanted = [AttributeType::Modulus, AttributeType::PublicExponent, AttributeType::EcPoint];
    let (mut modulus, mut exponent, mut point) = (Vec::new(), Vec::new(), Vec::new());
    for attribute in session.get_attributes(object, &wanted)? {
        match attribute {
            Attribute::Modulus(value) => modulus = value,
            Attribute::PublicExponent(value) => exponent = value,
            Attribute::EcPoint(value) => point = value,
            _ => (),
        }
    }
    if spec.is_rsa() {
        return Ok(PublicKey::from_rsa(&modulus, &exponent)?);
    }
    // OCTET STRING around the uncompressed point: 04 LEN or 04 81 LEN.
    let point_len = spec.signature_len() / 2 * 2 + 1;
    let Some(start) = point.len().checked_sub(point_len) else {
        bail!("the EC point has {} bytes", point.len())
    };
    Ok(PublicKey::from_ec_point(spec, point.get(start..).unwrap_or_default())?)
}

fn store_certificate(session: &Session, spec: KeySpec, number: u8, pem: &str) -> Result<()> {
    store_certificate_as(session, &key::id(spec), number, pem)
}

fn store_certificate_as(session: &Session, label: &str, number: u8, pem: &str) -> Result<()> {
    let chain = CertificateChain::from_pem(pem.as_bytes())?;
    let der = chain.certificates().first().context("a leaf was issued")?.clone();
    let certificate = x509_cert::Certificate::from_der(&der)?;
    let certificate = certificate.tbs_certificate();
    session.create_object(&[
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(vec![number]),
        Attribute::Subject(certificate.subject().to_der()?),
        Attribute::Issuer(certificate.issuer().to_der()?),
        Attribute::SerialNumber(certificate.serial_number().to_der()?),
        Attribute::Value(der),
    ])?;
    Ok(())
}
