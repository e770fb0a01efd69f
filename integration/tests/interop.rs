//! Interop both ways with notation-go: it verifies ours, it runs our plugins, we verify its; and we run a plugin
//! made with its framework. JWS and COSE × six key specs × registries with and without the referrers API.

#![expect(clippy::disallowed_methods, reason = "tests start real programs")]
#![expect(clippy::indexing_slicing, reason = "an absent member of a JSON document reads as null")]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Trial};
use prokura_integration::key;
use prokura_integration::program::{go_executable, run};
use prokura_integration::suite::trial;
use prokura_integration::world::World;
use prokura_plugin::KeySpec;

/// One cell of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    spec: KeySpec,
    format: &'static str,
    referrers: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let world = Arc::new(World::new()?);
    let mut trials = Vec::new();
    for cell in cells() {
        trials.push(in_matrix("notation_go_verifies_ours", cell, &world, notation_go_verifies_ours));
        trials.push(in_matrix("notation_go_runs_softkey", cell, &world, notation_go_runs_softkey));
        trials.push(in_matrix("notation_go_runs_pkcs11", cell, &world, notation_go_runs_pkcs11));
        trials.push(in_matrix("we_verify_notation_go", cell, &world, we_verify_notation_go));
        trials.push(in_matrix("we_run_the_framework_plugin", cell, &world, we_run_the_framework_plugin));
    }
    for (format, tamper) in [("jws", false), ("cose", false), ("jws", true), ("cose", true)] {
        let world = Arc::clone(&world);
        let name =
            format!("we_run_the_envelope_plugin::{format}::{}", if tamper { "tampered" } else { "honest" });
        trials.push(trial(name, move || we_run_the_envelope_plugin(&world, format, tamper)));
    }
    {
        let world = Arc::clone(&world);
        trials.push(trial("oras_lists_our_signature_in_a_layout", move || oras_lists_ours(&world)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    Ok(conclusion.exit_code())
}

fn cells() -> impl Iterator<Item = Cell> {
    KeySpec::ALL.into_iter().flat_map(|spec| {
        ["jws", "cose"]
            .into_iter()
            .flat_map(move |format| [true, false].map(|referrers| Cell { spec, format, referrers }))
    })
}

fn in_matrix(
    what: &'static str,
    cell: Cell,
    world: &Arc<World>,
    test: fn(&World, Cell, &str) -> Result<()>,
) -> Trial {
    let world = Arc::clone(world);
    let api = if cell.referrers { "referrers" } else { "tag-schema" };
    let name = format!("{what}::{}::{}::{api}", cell.spec, cell.format);
    trial(name, move || {
        let repository = format!("{}/{}-{}", what.replace('_', "-"), key::id(cell.spec), cell.format);
        let reference = world.image()?.push(world.registry(cell.referrers)?, &repository)?;
        test(&world, cell, &reference)
    })
}

fn notation_go_verifies_ours(world: &World, cell: Cell, reference: &str) -> Result<()> {
    let mut arguments = vec!["sign", "--signature-format", cell.format, "-m", "build=7"];
    let key = world.softkey_arguments(cell.spec);
    arguments.extend(key.iter().map(String::as_str));
    world.home.prokura(arguments.into_iter().chain([reference]))?.ok()?;
    let root = write_root(world)?;
    let said = run(Command::new(go_executable("notation-go-verify")?)
        .args(["-reference", reference, "-m", "build=7", "-trust-root"])
        .arg(root))?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    ensure!(said["verified"] == true, "{said}");
    ensure!(said["userMetadata"]["build"] == "7", "{said}");
    Ok(())
}

fn notation_go_runs_softkey(world: &World, cell: Cell, reference: &str) -> Result<()> {
    let dir = format!("dir={}", world.keys.directory.display());
    notation_go_runs(world, cell, reference, "softkey", &key::id(cell.spec), &dir)
}

fn notation_go_runs_pkcs11(world: &World, cell: Cell, reference: &str) -> Result<()> {
    let token = world.token("softhsm")?;
    let bundle = format!("ca_certs={}", token.root.display());
    notation_go_runs(world, cell, reference, "pkcs11", &token.key_uri(cell.spec), &bundle)
}

fn notation_go_runs(
    world: &World,
    cell: Cell,
    reference: &str,
    plugin: &str,
    key_id: &str,
    config: &str,
) -> Result<()> {
    let mut command = world.home.command(&go_executable("notation-go-sign")?);
    command.args(["-reference", reference, "-format", cell.format, "-plugin", plugin, "-plugin-dir"]);
    command.arg(world.home.plugins()).args(["-key-id", key_id, "-plugin-config", config]);
    run(&mut command)?;
    verified_by_us(world, reference)
}

fn we_verify_notation_go(world: &World, cell: Cell, reference: &str) -> Result<()> {
    let mut command = Command::new(go_executable("notation-go-sign")?);
    command.args(["-reference", reference, "-format", cell.format, "-m", "made-by=notation-go", "-key"]);
    command.arg(world.keys.key(cell.spec)).arg("-cert").arg(world.keys.chain(cell.spec));
    if cell.format == "cose" {
        // Both forms of the signature manifest: what notation 1.3 writes, and what its successor writes.
        command.args(["-manifest-form", "artifact-type"]);
    }
    run(&mut command)?;
    verified_by_us(world, reference)?;
    world.home.prokura(["verify", "-m", "made-by=notation-go", reference])?.ok()?;
    let refused = world.home.prokura(["verify", "-m", "made-by=somebody", reference])?.refused(1)?;
    ensure!(refused.contains("unable to find specified metadata in the signature"), "{refused}");
    Ok(())
}

fn we_run_the_framework_plugin(world: &World, cell: Cell, reference: &str) -> Result<()> {
    install(world, "framework", "notation-framework")?;
    let key = format!("keyPath={}", world.keys.key(cell.spec).display());
    let chain = format!("certPath={}", world.keys.chain(cell.spec).display());
    let sign = ["sign", "--signature-format", cell.format, "--plugin", "framework", "--id", "any"];
    world
        .home
        .prokura(sign.into_iter().chain(["--plugin-config", &key, "--plugin-config", &chain, reference]))?
        .ok()?;
    verified_by_us(world, reference)
}

fn we_run_the_envelope_plugin(world: &World, format: &str, tamper: bool) -> Result<()> {
    install(world, "envelope", "notation-envelope")?;
    let layout = world.image()?.copy(&world.home.path().join(format!("envelope-{format}-{tamper}")))?;
    let reference = format!("{}:v1", layout.display());
    let key = format!("keyPath={}", world.keys.key(KeySpec::Ec256).display());
    let chain = format!("certPath={}", world.keys.chain(KeySpec::Ec256).display());
    let sign = |extra: &[&str]| {
        let mut arguments =
            vec!["sign", "--oci-layout", "--signature-format", format, "--plugin", "envelope"];
        arguments.extend([
            "--id",
            "any",
            "--plugin-config",
            &key,
            "--plugin-config",
            &chain,
            "-m",
            "build=7",
        ]);
        arguments.extend(extra);
        world.home.prokura(arguments.into_iter().chain([reference.as_str()]))
    };
    if !tamper {
        sign(&[])?.ok()?;
        world.home.prokura(["verify", "--oci-layout", "--scope", "local/envelope", &reference])?.ok()?;
        // Allowed by the contract, and told.
        let run = sign(&["--verbose", "--plugin-config", "tamper=annotation-added"])?;
        let told = run.stderr.clone();
        run.ok()?;
        ensure!(told.contains("annotations that nobody asked for"), "{told}");
        ensure!(told.contains(r#"added="added""#), "the added annotation is not named: {told}");
        return Ok(());
    }
    for (switch, rule) in [
        ("envelope-type", "ENV-1"),
        ("truncated", "ENV-2"),
        ("bad-signature", "ENV-3"),
        ("digest", "ENV-6"),
        ("mediatype", "ENV-6"),
        ("annotation-dropped", "ENV-6"),
        ("extra-attribute", "ENV-7"),
        ("expiry", "ENV-8"),
        ("expiry-dropped", "ENV-8"),
        ("future", "ENV-9"),
    ] {
        let refused =
            sign(&["--expiry", "1h", "--plugin-config", &format!("tamper={switch}")])?.refused(1)?;
        let said = format!("plugin envelope broke rule {rule} in generate-envelope");
        ensure!(refused.contains(&said), "{switch}: expected {said:?} in {refused}");
        ensure!(refused.contains("its author must act"), "{switch}: nobody is named in {refused}");
    }
    let none = world.home.prokura(["list", "--oci-layout", &reference])?.ok()?;
    ensure!(none.contains("no associated signature"), "a refused envelope was stored: {none}");
    Ok(())
}

fn oras_lists_ours(world: &World) -> Result<()> {
    let image = world.image()?;
    let layout = image.copy(&world.home.path().join("oras-layout"))?;
    let reference = format!("{}@{}", layout.display(), image.digest);
    let key = world.softkey_arguments(KeySpec::Ec256);
    let arguments = ["sign", "--oci-layout"].into_iter().chain(key.iter().map(String::as_str));
    world.home.prokura(arguments.chain([reference.as_str()]))?.ok()?;
    let said = run(Command::new(go_executable("oras-list")?)
        .arg("-layout")
        .arg(&layout)
        .args(["-reference", &image.digest]))?;
    ensure!(said.contains("application/vnd.cncf.notary.signature"), "{said}");
    // skopeo still takes the layout for an image.
    let inspected = run(Command::new("skopeo").args(["inspect", &format!("oci:{}:v1", layout.display())]))?;
    ensure!(inspected.contains("\"Layers\""), "{inspected}");
    Ok(())
}

fn verified_by_us(world: &World, reference: &str) -> Result<()> {
    let said = world.home.prokura(["verify", reference])?.ok()?;
    ensure!(said.contains(&format!("Successfully verified signature for {reference}")), "{said}");
    Ok(())
}

/// Installs one of the Go plugins; several tests may do so at a time.
fn install(world: &World, name: &str, program: &str) -> Result<()> {
    static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = INSTALLING.lock();
    if !world.home.plugins().join(name).exists() {
        world.home.install(name, &go_executable(program)?)?;
    }
    Ok(())
}

fn write_root(world: &World) -> Result<std::path::PathBuf> {
    let path = world.home.path().join("softkey-root.pem");
    if !Path::new(&path).exists() {
        let staged = tempfile::NamedTempFile::new_in(world.home.path())?;
        std::fs::write(staged.path(), &world.keys.root)?;
        staged.persist(&path)?;
    }
    Ok(path)
}
