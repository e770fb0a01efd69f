//! A key version in the fake: its private half, how it is shown as a JSON web key, and what it signs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, RsaEncoding};
use prokura_plugin::KeySpec;
use serde_json::{Value, json};
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};

use super::{base64url, hexadecimal};

/// One version of a key.
pub(super) struct Version {
    pub(super) id: String,
    pub(super) pair: rcgen::KeyPair,
    private: Private,
    spec: KeySpec,
    pub(super) operations: Vec<String>,
    pub(super) enabled: bool,
    pub(super) not_before: Option<u64>,
    pub(super) expires: Option<u64>,
    pub(super) hardware: bool,
    /// Another `kty` than its own.
    pub(super) shown_type: Option<&'static str>,
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Version {
    pub(super) fn generate(spec: KeySpec, hardware: bool) -> Result<Self> {
        Self::new(crate::pki::generate_key(spec)?, spec, hardware)
    }

    pub(super) fn new(pair: rcgen::KeyPair, spec: KeySpec, hardware: bool) -> Result<Self> {
        let der = pair.serialize_der();
        let curve: Option<&EcdsaSigningAlgorithm> = match spec {
            KeySpec::Ec256 => Some(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            KeySpec::Ec384 => Some(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            KeySpec::Ec521 => Some(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            _ => None,
        };
        let private = match curve {
            Some(curve) => Private::Ec(EcdsaKeyPair::from_pkcs8(curve, &der).map_err(|e| anyhow!("{e}"))?),
            None => Private::Rsa(RsaKeyPair::from_pkcs8(&der).map_err(|e| anyhow!("{e}"))?),
        };
        let operations = ["sign", "verify"].map(str::to_owned).to_vec();
        Ok(Self {
            id: hexadecimal(16)?,
            pair,
            private,
            spec,
            operations,
            enabled: true,
            not_before: None,
            expires: None,
            hardware,
            shown_type: None,
        })
    }

    /// Why it may not sign now, as `innererror` code and sentence.
    pub(super) fn refusal(&self) -> Option<(&'static str, &'static str)> {
        let now = now();
        if !self.enabled {
            return Some(("KeyDisabled", "Operation sign is not allowed on a disabled key."));
        }
        if self.not_before.is_some_and(|from| from > now) {
            return Some(("KeyNotYetValid", "Operation sign is not allowed on a key that is not yet valid."));
        }
        let expired = self.expires.is_some_and(|until| until <= now);
        expired.then_some(("KeyExpired", "Operation sign is not allowed on an expired key."))
    }

    /// Signs a digest; `None` if the algorithm does not belong to the key or the digest not to the algorithm.
    pub(super) fn sign(&self, algorithm: &str, value: &[u8]) -> Option<Vec<u8>> {
        let hash = match algorithm.get(2..)? {
            "256" => &digest::SHA256,
            "384" => &digest::SHA384,
            "512" => &digest::SHA512,
            _ => return None,
        };
        let digest = Digest::import_less_safe(value, hash).ok()?;
        match (&self.private, algorithm) {
            (Private::Ec(key), "ES256") if self.spec == KeySpec::Ec256 => ecdsa(key, &digest),
            (Private::Ec(key), "ES384") if self.spec == KeySpec::Ec384 => ecdsa(key, &digest),
            (Private::Ec(key), "ES512") if self.spec == KeySpec::Ec521 => ecdsa(key, &digest),
            (Private::Rsa(key), _) => {
                let encoding: &dyn RsaEncoding = match algorithm {
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    _ => return None,
                };
                let mut bytes = vec![0; key.public_modulus_len()];
                key.sign_digest(encoding, &digest, &mut bytes).ok()?;
                Some(bytes)
            }
            _ => None,
        }
    }

    /// The public half (RFC 7517), named `kid`.
    pub(super) fn jwk(&self, kid: &str) -> Result<Value> {
        let bits = self.pair.public_key_raw();
        let suffix = if self.hardware { "-HSM" } else { "" };
        let mut jwk = match &self.private {
            Private::Rsa(_) => {
                let (n, e) = rsa_numbers(bits)?;
                json!({"kty": format!("RSA{suffix}"), "n": base64url(&n), "e": base64url(&e)})
            }
            Private::Ec(_) => {
                let (x, y) = bits.get(1..).context("a point")?.split_at(bits.len() / 2);
                let curve = self.spec.as_str().replace("EC-", "P-");
                json!({"kty": format!("EC{suffix}"), "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
        };
        if let Some(other) = self.shown_type {
            jwk = json!({"kty": other});
        }
        jwk["kid"] = json!(kid);
        jwk["key_ops"] = json!(self.operations);
        Ok(jwk)
    }

    pub(super) fn attributes(&self, exportable: bool) -> Value {
        let mut attributes = json!({
            "enabled": self.enabled, "created": 1_700_000_000, "updated": 1_700_000_000,
            "recoveryLevel": "Recoverable+Purgeable", "exportable": exportable,
        });
        for (name, value) in [("nbf", self.not_before), ("exp", self.expires)] {
            if let Some(value) = value {
                attributes[name] = json!(value);
            }
        }
        attributes
    }
}

fn ecdsa(key: &EcdsaKeyPair, digest: &Digest) -> Option<Vec<u8>> {
    Some(key.sign_digest(digest).ok()?.as_ref().to_vec())
}

/// Modulus and exponent of a PKCS#1 RSAPublicKey (RFC 8017).
fn rsa_numbers(bits: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut reader = SliceReader::new(bits)?;
    let numbers = reader.sequence(|key| {
        let modulus = UintRef::decode(key)?.as_bytes().to_vec();
        Ok::<_, x509_cert::der::Error>((modulus, UintRef::decode(key)?.as_bytes().to_vec()))
    })?;
    Ok(numbers)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
