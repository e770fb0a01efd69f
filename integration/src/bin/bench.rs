//! Benchmarks: a warm signature over gRPC against the bare module call, and `prokura sign` as a whole process.
//!
//! Both sides of a ratio are measured in the same run. See `integration/bench`.

#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::disallowed_methods, reason = "a benchmark starts real programs and reads the clock")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use prokura_envelope::{Descriptor, EnvelopeFormat};
use prokura_integration::backend::token::Token;
use prokura_integration::bench::direct::Direct;
use prokura_integration::bench::{self, Measured, Row, children_cpu_seconds, cpu_seconds};
use prokura_integration::program::{executable, run};
use prokura_integration::world::World;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{Digest, KeySpec};
use prokura_signer::{KeyReference, Plugin, PluginDirectory, PluginOptions, Preference, SignRequest, sign};

/// Measure what a signature costs.
#[derive(Parser)]
struct Arguments {
    /// Seconds per loop.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often a whole `prokura sign` is run.
    #[arg(long, default_value_t = 20)]
    runs: u32,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Every vault: what its plugin adds to the bare calls, side by side.
    Vaults,
    /// The bare loop, in a process of its own: a module reads its configuration from the environment.
    #[command(hide = true)]
    Direct {
        #[arg(long)]
        module: PathBuf,
        #[arg(long)]
        pin_file: PathBuf,
        #[arg(long)]
        spec: KeySpec,
        #[arg(long)]
        in_flight: usize,
        /// Each signature verified, as the host does.
        #[arg(long)]
        verify: bool,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let duration = Duration::from_secs_f64(arguments.seconds);
    match arguments.part {
        Some(Part::Direct { module, pin_file, spec, in_flight, verify }) => {
            let bare = Direct { module: &module, pin_file: &pin_file, spec, verify };
            let measured = bare.run(in_flight, duration)?;
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
        Some(Part::Vaults) => vaults(arguments.seconds),
        None => {
            let world = World::new()?;
            ladder(&world, duration)?;
            whole_process(&world, arguments.runs)
        }
    }
}

/// One table per vault; a backend that is not there is named.
fn vaults(seconds: f64) -> Result<()> {
    type Table = fn(f64) -> Result<Vec<Row>>;
    let tables: [(&str, Table); 5] = [
        ("pkcs11", bench::pkcs11::table),
        ("aws-kms", bench::aws::table),
        ("azure-keyvault", bench::azure::table),
        ("yubikey", bench::yubikey::table),
        ("vault", bench::openbao::table),
    ];
    println!("{}", Row::HEADING);
    for (name, table) in tables {
        match table(seconds) {
            Ok(rows) => rows.iter().for_each(|row| println!("{row}")),
            Err(error) => println!("{name}: not measured: {error:#}"),
        }
    }
    Ok(())
}

fn ladder(world: &World, duration: Duration) -> Result<()> {
    let token = world.token("softhsm")?;
    let runtime = tokio::runtime::Runtime::new()?;
    println!(
        "SoftHSM, one warm key, {:.0} s a loop; CPU is that of all processes that take part",
        duration.as_secs_f64()
    );
    println!("direct  C_SignInit + C_Sign, session and handle reused, one thread per signature in flight");
    println!("grpc    SignDigest through notation-pkcs11, signature checked for form");
    println!("sign    the whole story: describe, envelope (JWS), SignDigest, verified twice\n");
    println!("key       in flight   path      sign/s   of direct   CPU us/signature   added us");
    for spec in [KeySpec::Ec256, KeySpec::Rsa2048] {
        for in_flight in [1, 16] {
            let bare = run_direct(token, spec, in_flight, duration)?;
            row(spec, in_flight, "direct", &bare, &bare);
            row(
                spec,
                in_flight,
                "grpc",
                &over_grpc(world, &runtime, token, spec, in_flight, duration, false)?,
                &bare,
            );
            row(
                spec,
                in_flight,
                "sign",
                &over_grpc(world, &runtime, token, spec, in_flight, duration, true)?,
                &bare,
            );
        }
    }
    Ok(())
}

fn row(spec: KeySpec, in_flight: usize, path: &str, measured: &Measured, bare: &Measured) {
    println!(
        "{:<9} {in_flight:>9}   {path:<6} {:>9.0}   {:>9.2}   {:>16.0}   {:>8.0}",
        spec.as_str(),
        measured.rate(),
        measured.rate() / bare.rate(),
        measured.cpu_micros(),
        measured.cpu_micros() - bare.cpu_micros()
    );
}

fn run_direct(token: &Token, spec: KeySpec, in_flight: usize, duration: Duration) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--seconds", &duration.as_secs_f64().to_string(), "direct", "--spec", spec.as_str()]);
    command.args(["--in-flight", &in_flight.to_string()]).arg("--module").arg(&token.module);
    command.arg("--pin-file").arg(&token.pin_file).env(token.environment.0, &token.environment.1);
    Ok(serde_json::from_str(&run(&mut command)?)?)
}

fn over_grpc(
    world: &World,
    runtime: &tokio::runtime::Runtime,
    token: &Token,
    spec: KeySpec,
    in_flight: usize,
    duration: Duration,
    whole: bool,
) -> Result<Measured> {
    runtime.block_on(async {
        let executable = PluginDirectory::new(world.home.plugins(), None).find(&"pkcs11".parse()?)?;
        let config: PluginConfig =
            [("ca_certs".to_owned(), token.root.display().to_string())].into_iter().collect();
        let environment = vec![
            (token.environment.0.into(), token.environment.1.clone().into_os_string()),
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
        ];
        let options = PluginOptions { transport: Preference::Grpc, ..PluginOptions::new(environment) };
        let plugin = Plugin::start(executable, &config, options).await?;
        let key = KeyReference::new(token.key_uri(spec), config)?;
        let once = move |plugin: Plugin, key: KeyReference| async move {
            if whole {
                sign(&plugin, &key, request()?).await?;
            } else {
                plugin.sign_digest(&key, spec, &Digest::of(spec.hash_algorithm(), b"bench")).await?;
            }
            anyhow::Ok(())
        };
        once(plugin.clone(), key.clone()).await?; // login and handles: from here on it is warm
        let (host, child) = (std::process::id(), child_named("notation-pkcs11")?);
        let (cpu, begun) = (cpu_seconds(host)? + cpu_seconds(child)?, Instant::now());
        let tasks: Vec<_> = (0..in_flight)
            .map(|_| {
                let (plugin, key) = (plugin.clone(), key.clone());
                tokio::spawn(async move {
                    let mut made = 0u64;
                    while begun.elapsed() < duration {
                        once(plugin.clone(), key.clone()).await?;
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
        let seconds = begun.elapsed().as_secs_f64();
        let cpu_seconds = cpu_seconds(host)? + cpu_seconds(child)? - cpu;
        plugin.close().await;
        Ok(Measured { signatures, seconds, cpu_seconds })
    })
}

fn request() -> Result<SignRequest> {
    Ok(SignRequest {
        format: EnvelopeFormat::Jws,
        target: Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            size: 528,
            annotations: std::collections::BTreeMap::new(),
        },
        user_metadata: std::collections::BTreeMap::new(),
        expiry: None,
        signing_time: jiff::Timestamp::now(),
        agent: "prokura-bench/0".to_owned(),
    })
}

/// The process id of our child with the given program name.
fn child_named(name: &str) -> Result<u32> {
    let own = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((comm, rest)) = stat.rsplit_once(')') else { continue };
        // The kernel keeps 15 characters of the name.
        let named = comm.split_once('(').is_some_and(|(_, comm)| name.starts_with(comm) && !comm.is_empty());
        if named && rest.split_whitespace().nth(1) == Some(&own) {
            return Ok(pid);
        }
    }
    anyhow::bail!("no child named {name}")
}

/// `prokura sign` of an image layout from a cold start, again and again: wall and CPU of the whole process tree.
fn whole_process(world: &World, runs: u32) -> Result<()> {
    println!(
        "\nprokura sign of an OCI layout, whole process, median of {runs}; phases as the command reports them"
    );
    println!("plugin     transport   wall ms   CPU ms   phases of the last run (ms)");
    executable("prokura")?;
    for (plugin, key) in [
        ("softkey", world.softkey_arguments(KeySpec::Ec256)),
        ("pkcs11", world.token_arguments("softhsm", KeySpec::Ec256)?),
    ] {
        let layout = world.image()?.copy(&world.home.path().join(format!("bench-{plugin}")))?;
        let reference = format!("{}:v1", layout.display());
        let mut walls = Vec::new();
        let mut phases = serde_json::Value::Null;
        let cpu = children_cpu_seconds()?;
        for _ in 0..runs {
            let arguments = ["sign", "--oci-layout", "--output", "json"]
                .into_iter()
                .chain(key.iter().map(String::as_str));
            let begun = Instant::now();
            let said = world.home.prokura(arguments.chain([reference.as_str()]))?.ok()?;
            walls.push(begun.elapsed());
            phases = serde_json::from_str(&said)?;
        }
        let cpu = (children_cpu_seconds()? - cpu) / f64::from(runs);
        walls.sort_unstable();
        let median = walls.get(walls.len() / 2).context("at least one run")?;
        println!(
            "{plugin:<10} {:<9} {:>9.1} {:>8.1}   {}",
            phases.pointer("/signed/0/transport").and_then(|t| t.as_str()).unwrap_or("?"),
            median.as_secs_f64() * 1e3,
            cpu * 1e3,
            phases.pointer("/signed/0/timingsMs").map_or_else(|| phases.to_string(), ToString::to_string)
        );
    }
    Ok(())
}
