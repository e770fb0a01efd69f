//! Keys that no signature should be made with, or not just so.

use anyhow::{Context as _, Result};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::Session;
use prokura_integration::pki::{self, Authority};
use prokura_plugin::KeySpec;
use rcgen::PublicKeyData as _;

use crate::{generate_as, store_certificate_as};

/// DER of the object identifier of secp256k1 (SEC 2), a curve Notary does not sign with.
const SECP256K1: [u8; 7] = [0x06, 5, 0x2B, 0x81, 4, 0, 0x0A];

/// Adds one of each kind; its label tells which.
pub(crate) fn fill(session: &Session, authority: &Authority) -> Result<()> {
    let spec = KeySpec::Ec256;
    // For signatures by another key than the one that was asked for.
    generate_as(session, spec, "other-ec-256", 0x11, &[])?;
    generate_as(session, KeySpec::Rsa2048, "other-rsa-2048", 0x12, &[])?;

    let always = generate_as(session, spec, "always", 0x13, &[Attribute::AlwaysAuthenticate(true)])
        .context("a key that asks for the PIN each time")?;
    let leaf = authority.issue(always.spki_der(), "always")?;
    store_certificate_as(session, "always", 0x13, &leaf)?;

    generate_as(session, spec, "stranger", 0x14, &[])?;
    let other = pki::generate_key(spec)?;
    let leaf = authority.issue(&other.subject_public_key_info(), "stranger")?;
    store_certificate_as(session, "stranger", 0x14, &leaf)?;

    generate_as(session, spec, "bare", 0x15, &[])?;
    generate_as(session, spec, "twice", 0x16, &[])?;
    generate_as(session, spec, "twice", 0x17, &[])?;
    let modulus = |bits: u64| [Attribute::ModulusBits(bits.into()), Attribute::PublicExponent(vec![1, 0, 1])];
    pair(session, "decrypt-only", 0x18, &Mechanism::RsaPkcsKeyPairGen, &modulus(2048), false)?;
    pair(session, "rsa-1024", 0x19, &Mechanism::RsaPkcsKeyPairGen, &modulus(1024), true)?;
    let curve = [Attribute::EcParams(SECP256K1.to_vec())];
    pair(session, "secp256k1", 0x1A, &Mechanism::EccKeyPairGen, &curve, true)
}

fn pair(
    session: &Session,
    label: &str,
    number: u8,
    mechanism: &Mechanism<'_>,
    public: &[Attribute],
    signs: bool,
) -> Result<()> {
    let named =
        [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(vec![number])];
    let private = [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(signs)];
    let private = [&named, private.as_slice(), &[Attribute::Decrypt(!signs)]].concat();
    let public = [&named, public].concat();
    session.generate_key_pair(mechanism, &public, &private).with_context(|| label.to_owned())?;
    Ok(())
}
