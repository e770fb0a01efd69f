//! OpenBao: the bare request over a connection kept open, and the plugin, with the same key.

use std::time::Duration;

use anyhow::Result;
use prokura_plugin::{Digest, KeySpec};

use super::pkcs11::{DEADLINE, cold, plugin, sign_and_verify};
use super::{Row, on_threads};
use crate::backend::fault_proxy::FaultProxy;
use crate::backend::openbao::OpenBao;
use crate::backend::openbao::bare::Bare;
use crate::home::Home;
use crate::program::executable;
use crate::served::{Served, reference};
use crate::vault::TestVault as _;

const NAME: &str = "openbao";
const IN_FLIGHT: [usize; 3] = [1, 4, 16];
const SPECS: [KeySpec; 2] = [KeySpec::Ec256, KeySpec::Rsa2048];
/// Signatures over which calls are counted.
const COUNTED: u32 = 50;

/// Measures everything; `seconds` is for one loop.
///
/// # Errors
/// [`crate::program::Missing`] if OpenBao cannot be had.
pub fn table(seconds: f64) -> Result<Vec<Row>> {
    let (bao, home) = (OpenBao::start()?, Home::new()?);
    home.install("vault", &executable("notation-vault")?)?;
    let duration = Duration::from_secs_f64(seconds);
    let mut rows = Vec::new();
    for spec in SPECS {
        let (calls, cold) = (calls(&home, &bao, spec)?, cold(&home, &bao, spec)?);
        let digest = Digest::of(spec.hash_algorithm(), b"bench");
        for in_flight in IN_FLIGHT {
            let sign = |client: &mut Bare| client.sign(spec, &digest).map(|_| ());
            let bare = on_threads(in_flight, duration, || Bare::connect(&bao), sign)?;
            rows.push(Row::new(NAME, spec, in_flight, "HTTP loop", &bare, &bare));
            let measured = plugin(&home, &bao, spec, in_flight, duration)?;
            let row = Row::new(NAME, spec, in_flight, "plugin", &measured, &bare);
            rows.push(Row { calls: Some(calls), cold: Some(cold), ..row });
        }
    }
    Ok(rows)
}

/// Requests to the vault per warm signature.
fn calls(home: &Home, bao: &OpenBao, spec: KeySpec) -> Result<f64> {
    let proxy = FaultProxy::start(bao.server.plain)?;
    let environment = [("VAULT_ADDR".into(), proxy.url().into()), ("VAULT_TOKEN".into(), bao.token().into())];
    let served = Served::start(home.plugins(), "vault", environment, DEADLINE)?;
    let key = reference(bao.key(spec))?;
    served.block_on(sign_and_verify(&served.plugin, &key, spec))?;
    proxy.take_seen();
    for _ in 0..COUNTED {
        served.block_on(sign_and_verify(&served.plugin, &key, spec))?;
    }
    served.close();
    Ok(proxy.take_seen().len() as f64 / f64::from(COUNTED))
}
