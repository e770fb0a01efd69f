//! Private keys of the virtual card: raw RSA and ECDSA over what the host has padded or hashed.

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{Digest, SHA256, SHA384};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use num_bigint::BigUint;
use prokura_plugin::KeySpec;

use super::tlv;

/// The object identifiers of a P-256 and a P-384 key in PKCS#8 (RFC 5480 section 2.1.1).
const EC_PUBLIC_KEY: &[u8] = &[0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
const P256: &[u8] = &[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
const P384: &[u8] = &[0x06, 5, 0x2B, 0x81, 4, 0, 0x22];

/// PIV's number of an algorithm (NIST SP 800-78-5 table 9; RSA-3072 and RSA-4096 as YubiKeys number them).
pub(super) fn algorithm(spec: KeySpec) -> Option<u8> {
    match spec {
        KeySpec::Rsa2048 => Some(0x07),
        KeySpec::Rsa3072 => Some(0x05),
        KeySpec::Rsa4096 => Some(0x16),
        KeySpec::Ec256 => Some(0x11),
        KeySpec::Ec384 => Some(0x14),
        KeySpec::Ec521 => None,
    }
}

/// The spec PIV gives this number.
pub(super) fn spec(algorithm_id: u8) -> Option<KeySpec> {
    KeySpec::ALL.into_iter().find(|spec| algorithm(*spec) == Some(algorithm_id))
}

/// A private key in the card.
pub(super) struct PrivateKey {
    pub(super) spec: KeySpec,
    kind: Kind,
}

enum Kind {
    Rsa(Rsa),
    Ec(EcdsaKeyPair),
}

/// RSA by the Chinese remainder theorem (RFC 8017 section 5.1.2). Not in constant time: the keys are worth nothing.
struct Rsa {
    p: BigUint,
    q: BigUint,
    d_p: BigUint,
    d_q: BigUint,
    q_inverse: BigUint,
}

impl Rsa {
    /// From p, q, dP, dQ and qInv, big-endian: the order of PIV's import and of PKCS#1.
    fn new(parts: [&[u8]; 5]) -> Self {
        let [p, q, d_p, d_q, q_inverse] = parts.map(BigUint::from_bytes_be);
        Self { p, q, d_p, d_q, q_inverse }
    }

    fn modulus(&self) -> BigUint {
        &self.p * &self.q
    }

    fn apply(&self, message: &BigUint) -> BigUint {
        let m_1 = message.modpow(&self.d_p, &self.p);
        let m_2 = message.modpow(&self.d_q, &self.q);
        let difference = (&self.p + m_1 - (&m_2 % &self.p)) % &self.p;
        &m_2 + (difference * &self.q_inverse % &self.p) * &self.q
    }
}

impl PrivateKey {
    /// A new key.
    pub(super) fn generate(spec: KeySpec) -> Result<Self> {
        Self::from_pkcs8(spec, crate::pki::generate_key(spec)?.serialized_der())
    }

    fn from_pkcs8(spec: KeySpec, der: &[u8]) -> Result<Self> {
        let kind = if spec.is_rsa() {
            let inner = tlv::unwrap(der, 0x30).and_then(|parts| tlv::find(&parts, 0x04));
            let integers = inner.and_then(|inner| tlv::unwrap(inner, 0x30)).context("not an RSA key")?;
            let [_, _, _, _, (_, p), (_, q), (_, d_p), (_, d_q), (_, q_inverse)] = integers.as_slice() else {
                bail!("an RSA key of {} integers", integers.len())
            };
            Kind::Rsa(Rsa::new([p, q, d_p, d_q, q_inverse]))
        } else {
            Kind::Ec(EcdsaKeyPair::from_private_key_der(signing(spec)?, der)?)
        };
        Ok(Self { spec, kind })
    }

    /// An RSA key from p, q, dP, dQ and qInv.
    pub(super) fn import_rsa(spec: KeySpec, parts: [&[u8]; 5]) -> Result<Self> {
        let rsa = Rsa::new(parts);
        let bits = usize::try_from(rsa.modulus().bits())?;
        if bits != spec.signature_len() * 8 {
            bail!("a key of {bits} bits as {spec}");
        }
        Ok(Self { spec, kind: Kind::Rsa(rsa) })
    }

    /// An EC key from its scalar, big-endian.
    pub(super) fn import_ec(spec: KeySpec, scalar: &[u8]) -> Result<Self> {
        let curve = if spec == KeySpec::Ec256 { P256 } else { P384 };
        let identifier = tlv::encode(0x30, &[EC_PUBLIC_KEY, curve].concat());
        let inner = tlv::encode(0x30, &[&[2, 1, 1][..], &tlv::encode(0x04, scalar)].concat());
        let outer = [&[2, 1, 0][..], &identifier, &tlv::encode(0x04, &inner)].concat();
        Self::from_pkcs8(spec, &tlv::encode(0x30, &outer))
    }

    /// The public key in the elements PIV uses: modulus and exponent, or the uncompressed point.
    pub(super) fn public(&self) -> Vec<u8> {
        match &self.kind {
            Kind::Rsa(rsa) => {
                [tlv::encode(0x81, &rsa.modulus().to_bytes_be()), tlv::encode(0x82, &[1, 0, 1])].concat()
            }
            Kind::Ec(pair) => tlv::encode(0x86, pair.public_key().as_ref()),
        }
    }

    /// The public key in DER SubjectPublicKeyInfo.
    pub(super) fn spki(&self) -> Result<Vec<u8>> {
        let public = match &self.kind {
            Kind::Rsa(rsa) => prokura_plugin::PublicKey::from_rsa(&rsa.modulus().to_bytes_be(), &[1, 0, 1])?,
            Kind::Ec(pair) => {
                prokura_plugin::PublicKey::from_ec_point(self.spec, pair.public_key().as_ref())?
            }
        };
        Ok(public.spki_der().to_vec())
    }

    /// Applies the private key: to a padded block as wide as the modulus, or to a hash at most as wide as the curve.
    ///
    /// Returns `None` for an input of another width or a block not below the modulus.
    pub(super) fn sign(&self, input: &[u8]) -> Option<Vec<u8>> {
        match &self.kind {
            Kind::Rsa(rsa) => {
                let width = self.spec.signature_len();
                let message = BigUint::from_bytes_be(input);
                if input.len() != width || message >= rsa.modulus() {
                    return None;
                }
                Some(padded(&rsa.apply(&message).to_bytes_be(), width))
            }
            Kind::Ec(pair) => {
                let width = self.spec.signature_len() / 2;
                if input.is_empty() || input.len() > width {
                    return None;
                }
                let algorithm = if width == 32 { &SHA256 } else { &SHA384 };
                let digest = Digest::import_less_safe(&padded(input, width), algorithm).ok()?;
                pair.sign_digest(&digest).ok().map(|signature| signature.as_ref().to_vec())
            }
        }
    }
}

fn padded(bytes: &[u8], width: usize) -> Vec<u8> {
    let mut out = vec![0; width.saturating_sub(bytes.len())];
    out.extend_from_slice(bytes);
    out
}

fn signing(spec: KeySpec) -> Result<&'static aws_lc_rs::signature::EcdsaSigningAlgorithm> {
    match spec {
        KeySpec::Ec256 => Ok(&ECDSA_P256_SHA256_ASN1_SIGNING),
        KeySpec::Ec384 => Ok(&ECDSA_P384_SHA384_ASN1_SIGNING),
        _ => bail!("PIV has no {spec}"),
    }
}
