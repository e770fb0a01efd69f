//! PKCS#11: the bare loop of C_SignInit and C_Sign, the plugin, libp11 and p11-kit, on the same token.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
};
use prokura_plugin::{Digest, KeySpec, PublicKey, RawSignature};
use prokura_signer::{KeyReference, Plugin};

use super::{Measured, Row, cpu_seconds};
use crate::backend::p11fault::{Faults, VARIABLE};
use crate::backend::p11kit::P11Kit;
use crate::backend::token::{LABEL, PIN, Token, chain_config, uri};
use crate::home::Home;
use crate::key;
use crate::program::{Missing, executable, run, system};
use crate::served::{Served, reference};
use crate::vault::{TestKey, TestVault};

pub(super) const DEADLINE: Duration = Duration::from_secs(20);
const IN_FLIGHT: [usize; 3] = [1, 4, 16];
/// Where batches are measured: a batch keeps as many in flight by itself.
const BATCHED_IN_FLIGHT: usize = 16;
/// Signatures of one SignDigests call, and how many such calls are open.
const BATCH: usize = 64;
const BATCHES_OPEN: usize = 2;
const SPECS: [KeySpec; 2] = [KeySpec::Ec256, KeySpec::Rsa2048];
pub(super) const MESSAGE: &[u8] = b"bench";
/// Signatures over which calls are counted.
const COUNTED: u32 = 100;
const LIBP11: &str = include_str!("libp11.c");
const ENGINES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so",
    "/usr/lib/aarch64-linux-gnu/engines-3/pkcs11.so",
    "/usr/lib64/engines-3/pkcs11.so",
];

/// Measures everything; `seconds` is for one loop.
///
/// # Errors
/// [`Missing`] without SoftHSM, p11-kit, the fault module, libp11 or a C compiler.
pub fn table(seconds: f64) -> Result<Vec<Row>> {
    let home = Home::new()?;
    let duration = Duration::from_secs_f64(seconds);
    let directory = home.path().join("token");
    std::fs::create_dir(&directory)?;
    let hsm = P11Kit::start(&directory)?;
    let libp11 = Libp11::build(home.path())?;
    let pin_file = &hsm.token.pin_file;
    let mut rows = Vec::new();
    for spec in SPECS {
        for in_flight in IN_FLIGHT {
            let bare_loop =
                |verify| direct(&hsm.token, &hsm.token.module, pin_file, (spec, in_flight, duration), verify);
            let bare = bare_loop(false)?;
            let row =
                |path: &str, measured: &Measured| Row::new("softhsm", spec, in_flight, path, measured, &bare);
            rows.push(row("C_Sign loop", &bare));
            rows.push(row("  + verify", &bare_loop(true)?));
            rows.push(row("plugin", &plugin(&home, &hsm.token, spec, in_flight, duration)?));
            if in_flight == BATCHED_IN_FLIGHT {
                rows.push(row("  in batches", &batches(&home, &hsm.token, spec, duration)?));
            }
            rows.push(row("libp11", &libp11.run(&hsm.token, spec, in_flight, duration)?));

            let bare = direct(&hsm, hsm.client(), pin_file, (spec, in_flight, duration), false)?;
            let row =
                |path: &str, measured: &Measured| Row::new("p11-kit", spec, in_flight, path, measured, &bare);
            rows.push(row("C_Sign loop", &bare));
            rows.push(row("plugin", &plugin(&home, &hsm, spec, in_flight, duration)?));
        }
        for vault in [&hsm.token as &dyn TestVault, &hsm] {
            let cold = cold(&home, vault, spec)?;
            let name = vault.name().trim_start_matches("pkcs11/");
            for row in
                rows.iter_mut().filter(|r| r.vault == name && r.key == spec.as_str() && r.path == "plugin")
            {
                row.cold = Some(cold);
            }
        }
        let (calls, which) = calls(&home, &hsm.token, spec)?;
        for row in rows.iter_mut().filter(|r| r.key == spec.as_str() && r.path == "plugin") {
            row.calls = Some(calls);
            row.note.clone_from(&which);
        }
    }
    Ok(rows)
}

/// In a process of its own: a module reads its configuration from the environment.
fn direct(
    vault: &dyn TestVault,
    module: &Path,
    pin_file: &Path,
    (spec, in_flight, duration): (KeySpec, usize, Duration),
    verify: bool,
) -> Result<Measured> {
    let mut command = Command::new(executable("bench")?);
    command.args(["--seconds", &duration.as_secs_f64().to_string(), "direct", "--spec", spec.as_str()]);
    command.args(["--in-flight", &in_flight.to_string()]).arg("--module").arg(module);
    command.arg("--pin-file").arg(pin_file).args(verify.then_some("--verify")).envs(vault.environment());
    Ok(serde_json::from_str(&run(&mut command)?)?)
}

fn serve(home: &Home, vault: &dyn TestVault) -> Result<Served> {
    let environment = vault.environment().into_iter().map(|(name, value)| (name.into(), value));
    Served::start(home.plugins(), vault.plugin(), environment, DEADLINE)
}

/// SignDigest, and each signature verified here.
pub(super) fn plugin(
    home: &Home,
    vault: &dyn TestVault,
    spec: KeySpec,
    in_flight: usize,
    duration: Duration,
) -> Result<Measured> {
    let served = serve(home, vault)?;
    let key = reference(vault.key(spec))?;
    served.block_on(sign_and_verify(&served.plugin, &key, spec))?; // login and handles: from here on it is warm
    let child = served.process_id().context("the plugin serves")?;
    let cpu = || anyhow::Ok(cpu_seconds(std::process::id())? + cpu_seconds(child)?);
    let (cpu_before, begun) = (cpu()?, Instant::now());
    let signatures = served.block_on(async {
        let tasks: Vec<_> = (0..in_flight)
            .map(|_| {
                let (plugin, key) = (served.plugin.clone(), key.clone());
                tokio::spawn(async move {
                    let mut made = 0u64;
                    while begun.elapsed() < duration {
                        sign_and_verify(&plugin, &key, spec).await?;
                        made += 1;
                    }
                    anyhow::Ok(made)
                })
            })
            .collect();
        let mut signatures = 0;
        for task in tasks {
            signatures += task.await??;
        }
        anyhow::Ok(signatures)
    })?;
    let measured =
        Measured { signatures, seconds: begun.elapsed().as_secs_f64(), cpu_seconds: cpu()? - cpu_before };
    served.close();
    Ok(measured)
}

/// SignDigests, many signatures over one call, and each of them verified here.
fn batches(home: &Home, vault: &dyn TestVault, spec: KeySpec, duration: Duration) -> Result<Measured> {
    let served = serve(home, vault)?;
    let key = reference(vault.key(spec))?;
    let public_key = served.block_on(async {
        let signed =
            served.plugin.sign_digest(&key, spec, &Digest::of(spec.hash_algorithm(), MESSAGE)).await?;
        anyhow::Ok(signed.public_key)
    })?;
    let child = served.process_id().context("the plugin serves")?;
    let cpu = || anyhow::Ok(cpu_seconds(std::process::id())? + cpu_seconds(child)?);
    let (cpu_before, begun) = (cpu()?, Instant::now());
    let signatures = served.block_on(async {
        let tasks: Vec<_> = (0..BATCHES_OPEN)
            .map(|_| {
                let (plugin, key, public_key) = (served.plugin.clone(), key.clone(), public_key.clone());
                tokio::spawn(async move {
                    let digests = vec![Digest::of(spec.hash_algorithm(), MESSAGE); BATCH];
                    let mut made = 0u64;
                    while begun.elapsed() < duration {
                        for signed in plugin.sign_digests(&key, spec, &digests).await? {
                            verify(&public_key, &signed?.signature)?;
                            made += 1;
                        }
                    }
                    anyhow::Ok(made)
                })
            })
            .collect();
        let mut signatures = 0;
        for task in tasks {
            signatures += task.await??;
        }
        anyhow::Ok(signatures)
    })?;
    let measured =
        Measured { signatures, seconds: begun.elapsed().as_secs_f64(), cpu_seconds: cpu()? - cpu_before };
    served.close();
    Ok(measured)
}

pub(super) async fn sign_and_verify(plugin: &Plugin, key: &KeyReference, spec: KeySpec) -> Result<()> {
    let signed = plugin.sign_digest(key, spec, &Digest::of(spec.hash_algorithm(), MESSAGE)).await?;
    verify(&signed.public_key, &signed.signature)
}

fn verify(key: &PublicKey, signature: &RawSignature) -> Result<()> {
    let bits = key.key_bits();
    if !key.spec().is_rsa() {
        return verify_ec(key.spec(), bits, signature.bytes());
    }
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, bits);
    key.verify(MESSAGE, signature.bytes()).context("the signature does not verify")
}

/// ECDSA with P-256 or P-384, `signature` being r||s.
pub(super) fn verify_ec(spec: KeySpec, point: &[u8], signature: &[u8]) -> Result<()> {
    let algorithm = match spec {
        KeySpec::Ec256 => &ECDSA_P256_SHA256_FIXED,
        KeySpec::Ec384 => &ECDSA_P384_SHA384_FIXED,
        _ => anyhow::bail!("{spec} is not measured"),
    };
    let key = UnparsedPublicKey::new(algorithm, point);
    key.verify(MESSAGE, signature).context("the signature does not verify")
}

/// From nothing to the first signature: metadata, process, login, key.
pub(super) fn cold(home: &Home, vault: &dyn TestVault, spec: KeySpec) -> Result<Duration> {
    let begun = Instant::now();
    let served = serve(home, vault)?;
    served.block_on(sign_and_verify(&served.plugin, &reference(vault.key(spec))?, spec))?;
    let took = begun.elapsed();
    served.close();
    Ok(took)
}

/// Calls into the module per warm signature, and which.
fn calls(home: &Home, token: &Token, spec: KeySpec) -> Result<(f64, String)> {
    let directory = home.path().join(format!("counted-{}", key::id(spec)));
    let faults = Faults::new(directory, &token.module, None)?;
    let environment: [(OsString, OsString); 2] = [
        (VARIABLE.into(), faults.directory.clone().into()),
        (token.environment.0.into(), token.environment.1.clone().into()),
    ];
    let served = Served::start(home.plugins(), "pkcs11", environment, DEADLINE)?;
    let id = uri(LABEL, &key::id(spec), &Faults::module()?, &token.pin_file);
    let key = reference(TestKey { id, config: chain_config(&token.root) })?;
    served.block_on(sign_and_verify(&served.plugin, &key, spec))?;
    let before = faults.counts()?;
    for _ in 0..COUNTED {
        served.block_on(sign_and_verify(&served.plugin, &key, spec))?;
    }
    let after = faults.counts()?;
    served.close();
    let per_signature =
        after.iter().filter(|(name, _)| name.starts_with("C_")).filter_map(|(name, count)| {
            let more = count - before.get(name).copied().unwrap_or(0);
            (more > 0).then(|| (name, more as f64 / f64::from(COUNTED)))
        });
    let per_signature: Vec<(&String, f64)> = per_signature.collect();
    let which: Vec<String> = per_signature.iter().map(|(name, count)| format!("{name} {count:.2}")).collect();
    Ok((per_signature.iter().map(|(_, count)| count).sum(), which.join(", ")))
}

/// OpenSSL with the engine of libp11, which is what others sign with: a small C program.
struct Libp11 {
    program: PathBuf,
}

impl Libp11 {
    fn build(directory: &Path) -> Result<Self> {
        let install = "apt-get install libengine-pkcs11-openssl gcc libc6-dev libssl-dev";
        if !ENGINES.iter().any(|engine| Path::new(engine).is_file()) {
            return Err(Missing::new("libp11's engine", install).into());
        }
        let (source, program) = (directory.join("libp11.c"), directory.join("libp11"));
        std::fs::write(&source, LIBP11)?;
        let mut compiler = Command::new(system("cc", install)?);
        compiler.args(["-O2", "-Wno-deprecated-declarations", "-pthread", "-o"]).arg(&program).arg(&source);
        run(compiler.arg("-lcrypto"))?;
        Ok(Self { program })
    }

    fn run(&self, token: &Token, spec: KeySpec, in_flight: usize, duration: Duration) -> Result<Measured> {
        let id = format!("pkcs11:token={};object={}", LABEL.replace(' ', "%20"), key::id(spec));
        let mut command = Command::new(&self.program);
        command.arg(&token.module).arg(id).arg(in_flight.to_string()).arg(duration.as_secs_f64().to_string());
        command.env("PIN", PIN).env(token.environment.0, &token.environment.1);
        Ok(serde_json::from_str(&run(&mut command)?)?)
    }
}
