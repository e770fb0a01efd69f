//! Signature algorithms of tokens (RFC 7518, section 3; RFC 8037) and the public keys (RFC 7517) they belong to.
//!
//! There is no `none` and no HMAC here: a token cannot ask for what cannot be written down.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// How a token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// As `alg` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// By its name in `alg`, exactly; `None` for `none`, HMAC and all else.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    fn curve(self) -> Option<Curve> {
        match self {
            Self::Es256 => Some(Curve::P256),
            Self::Es384 => Some(Curve::P384),
            Self::Es512 => Some(Curve::P521),
            Self::EdDsa => Some(Curve::Ed25519),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
    Ed25519,
}

impl Curve {
    fn parse(kty: &str, crv: &str) -> Option<(Self, usize)> {
        match (kty, crv) {
            ("EC", "P-256") => Some((Self::P256, 32)),
            ("EC", "P-384") => Some((Self::P384, 48)),
            ("EC", "P-521") => Some((Self::P521, 66)),
            ("OKP", "Ed25519") => Some((Self::Ed25519, 32)),
            _ => None,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
            Self::Ed25519 => &ED25519,
        }
    }
}

/// A public key of an issuer.
#[derive(Debug)]
pub(crate) struct IssuerKey {
    kid: Option<String>,
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Curve(Curve, Vec<u8>),
}

impl IssuerKey {
    /// Reads a JWK. `None` if it is no key for verifying signatures that is known here: sets may hold others.
    pub(crate) fn parse(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|usage| usage != "sig") || !allows_verifying(jwk.get("key_ops")) {
            return None;
        }
        let only = match jwk.get("alg") {
            Some(alg) => Some(Algorithm::parse(alg.as_str()?)?),
            None => None,
        };
        let kid = match jwk.get("kid") {
            Some(kid) => Some(kid.as_str()?.to_owned()),
            None => None,
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let material = match text("kty")? {
            "RSA" => Material::Rsa { n: bytes("n")?, e: bytes("e")? },
            kty => {
                let (curve, width) = Curve::parse(kty, text("crv")?)?;
                Material::Curve(curve, point(curve, width, bytes("x")?, bytes("y"))?)
            }
        };
        Some(Self { kid, only, material })
    }

    /// Its id.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether the algorithm belongs to the type of this key, and the issuer allows it for it.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        let belongs = match &self.material {
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::Curve(curve, _) => algorithm.curve() == Some(*curve),
        };
        belongs && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is one of `message` under this key. RSA below 2048 bit never is.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm.rsa()) {
            _ if !self.fits(algorithm) => false,
            (Material::Rsa { n, e }, Some(parameters)) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            (Material::Curve(curve, point), None) => {
                UnparsedPublicKey::new(curve.verification(), point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

fn allows_verifying(key_ops: Option<&Value>) -> bool {
    key_ops.and_then(Value::as_array).is_none_or(|ops| ops.iter().any(|op| op == "verify"))
}

/// SEC 1, section 2.3.3, uncompressed; Ed25519 keys have one coordinate.
fn point(curve: Curve, width: usize, x: Vec<u8>, y: Option<Vec<u8>>) -> Option<Vec<u8>> {
    if x.len() != width {
        return None;
    }
    if curve == Curve::Ed25519 {
        return Some(x);
    }
    let y = y.filter(|y| y.len() == width)?;
    Some([vec![4], x, y].concat())
}
