//! AWS KMS: the bare request, and the plugin, with the same key of the corrected moto.
//!
//! moto signs in Python and closes each connection, so rates tell of moto; what the plugin adds is told by the difference.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prokura_plugin::{Digest, KeySpec};
use serde_json::json;

use super::pkcs11::{cold, plugin};
use super::{Row, on_threads};
use crate::backend::aws::{Kms, KmsKey};
use crate::home::Home;
use crate::program::executable;

const NAME: &str = "moto";
const IN_FLIGHT: [usize; 3] = [1, 4, 16];
const SPECS: [(KeySpec, &str); 2] =
    [(KeySpec::Ec256, "ECDSA_SHA_256"), (KeySpec::Rsa2048, "RSASSA_PSS_SHA_256")];

/// Measures everything; `seconds` is for one loop.
///
/// # Errors
/// [`crate::program::Missing`] if moto cannot be had.
pub fn table(seconds: f64) -> Result<Vec<Row>> {
    let (kms, home) = (Kms::moto()?, Home::new()?);
    home.install("aws-kms", &executable("notation-aws-kms")?)?;
    let duration = Duration::from_secs_f64(seconds);
    let mut rows = Vec::new();
    for (spec, algorithm) in SPECS {
        let key = kms.kms_key(spec)?;
        let cold = cold(&home, &kms, spec)?;
        let digest = Digest::of(spec.hash_algorithm(), b"bench");
        let request = json!({
            "KeyId": key.arn,
            "Message": STANDARD.encode(digest.bytes()),
            "MessageType": "DIGEST",
            "SigningAlgorithm": algorithm,
        });
        for in_flight in IN_FLIGHT {
            let sign = |_: &mut ()| kms.api().kms("Sign", &request).map(drop);
            let bare = on_threads(in_flight, duration, || Ok(()), sign)?;
            rows.push(Row::new(NAME, spec, in_flight, "HTTP loop", &bare, &bare));
            let before = asked(&kms, key)?;
            let measured = plugin(&home, &kms, spec, in_flight, duration)?;
            // One more made it warm.
            let calls =
                asked(&kms, key)?.saturating_sub(before + 1) as f64 / measured.signatures.max(1) as f64;
            let row = Row::new(NAME, spec, in_flight, "plugin", &measured, &bare);
            rows.push(Row { calls: Some(calls), cold: Some(cold), ..row });
        }
    }
    Ok(rows)
}

/// How often `Sign` was called with a key.
fn asked(kms: &Kms, key: &KmsKey) -> Result<usize> {
    let calls = kms.api().calls(&key.id).context("calls are counted")?;
    Ok(calls.iter().filter(|call| call.operation == "kms:Sign").count())
}
