//! Signs with every key of a backend: over gRPC with our host, over stdio with notation-go as the host.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::key;
use prokura_integration::program::{go_executable, run};
use prokura_plugin::KeySpec;

use crate::scene::{Scene, Started};
use crate::tally::Tally;

/// All specs × formats × transports × places.
pub(crate) fn trials(scene: &Arc<Scene>, tally: &Arc<Tally>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for &spec in scene.backend.specs {
        for format in ["jws", "cose"] {
            let id = format!("{}-{format}", key::id(spec));
            for (column, test) in WAYS {
                let (name, id) = (format!("{column}::{spec}::{format}"), id.clone());
                trials
                    .push(tally.trial(scene, column, &name, move |scene| {
                        test(&scene.started()?, spec, format, &id)
                    }));
            }
        }
    }
    if let Some(&spec) = scene.backend.specs.first() {
        trials.push(
            tally.trial(scene, "blob", &format!("blob::{spec}"), move |scene| blob(&scene.started()?, spec)),
        );
    }
    trials
}

type Way = fn(&Started<'_>, KeySpec, &str, &str) -> Result<()>;

const WAYS: [(&str, Way); 4] = [
    ("grpc·layout", grpc_layout),
    ("grpc·registry", grpc_registry),
    ("stdio·layout", stdio_layout),
    ("stdio·registry", stdio_registry),
];

fn grpc_layout(at: &Started<'_>, spec: KeySpec, format: &str, id: &str) -> Result<()> {
    let layout = at.image.copy(&at.home.path().join(format!("grpc-{id}")))?;
    let reference = format!("{}:v1", layout.display());
    let mut arguments = at.key_arguments(&at.key(spec));
    arguments.push(reference);
    let said = at.json(&["sign", "--oci-layout", "--signature-format", format], &arguments)?;
    let signed = said.pointer("/signed/0").unwrap_or(&serde_json::Value::Null);
    ensure!(signed.get("transport").is_some_and(|t| t == "grpc"), "not over gRPC: {said}");
    let version = signed.get("keyVersion").and_then(|v| v.as_str());
    let expected = at.vault.abilities().version;
    ensure!(version.is_some() == expected, "the version that signed: {version:?}, expected one: {expected}");
    verified_in_layout(at, &layout)
}

fn grpc_registry(at: &Started<'_>, spec: KeySpec, format: &str, id: &str) -> Result<()> {
    let reference = at.image.push(at.registry, &format!("{}/grpc-{id}", at.vault.name()))?;
    let mut arguments = at.key_arguments(&at.key(spec));
    arguments.push(reference.clone());
    at.prokura(&["sign", "--signature-format", format], &arguments)?;
    verified_in_registry(at, &reference)
}

/// A file is signed, and told of as an artifact is: which version signed, under which id the vault logged it.
fn blob(at: &Started<'_>, spec: KeySpec) -> Result<()> {
    let layout = at.image.copy(&at.home.path().join("beside-a-blob"))?;
    let signed = |verb: &[&str], what: String| {
        let mut arguments = at.key_arguments(&at.key(spec));
        arguments.push(what);
        at.json(verb, &arguments)
    };
    let artifact = signed(&["sign", "--oci-layout"], format!("{}:v1", layout.display()))?;
    let artifact = artifact.pointer("/signed/0").unwrap_or(&serde_json::Value::Null);
    let path = at.home.path().join("a-blob");
    std::fs::write(&path, "a file")?;
    let file = signed(&["blob", "sign"], path.display().to_string())?;
    ensure!(at.home.path().join("a-blob.jws.sig").exists(), "no signature: {file}");
    ensure!(file.get("keyVersion") == artifact.get("keyVersion"), "keyVersion: {file}, {artifact}");
    ensure!(file.get("keyVersion").is_some() == at.vault.abilities().version, "keyVersion: {file}");
    let (one, other) = (file.get("vaultRequestId"), artifact.get("vaultRequestId"));
    ensure!(one.is_some() == other.is_some(), "vaultRequestId: {file}, {artifact}");
    ensure!(one.is_none() || one != other, "each request has an id of its own: {file}, {artifact}");
    Ok(())
}

fn stdio_layout(at: &Started<'_>, spec: KeySpec, format: &str, id: &str) -> Result<()> {
    let layout = at.image.copy(&at.home.path().join(format!("stdio-{id}")))?;
    let place =
        ["-layout".to_owned(), layout.display().to_string(), "-reference".to_owned(), "v1".to_owned()];
    notation_go_signs(at, spec, format, &place)?;
    verified_in_layout(at, &layout)
}

fn stdio_registry(at: &Started<'_>, spec: KeySpec, format: &str, id: &str) -> Result<()> {
    let reference = at.image.push(at.registry, &format!("{}/stdio-{id}", at.vault.name()))?;
    notation_go_signs(at, spec, format, &["-reference".to_owned(), reference.clone()])?;
    verified_in_registry(at, &reference)
}

fn notation_go_signs(at: &Started<'_>, spec: KeySpec, format: &str, place: &[String]) -> Result<()> {
    let key = at.key(spec);
    let mut command = at.home.command(&go_executable("notation-go-sign")?);
    command.args(place).args(["-format", format, "-plugin", at.vault.plugin(), "-plugin-dir"]);
    command.arg(at.home.plugins()).args(["-key-id", &key.id]);
    for (name, value) in &key.config {
        command.arg("-plugin-config").arg(format!("{name}={value}"));
    }
    run(&mut command)?;
    Ok(())
}

fn verified_in_layout(at: &Started<'_>, layout: &Path) -> Result<()> {
    let reference = format!("{}:v1", layout.display());
    let said = at.prokura(&["verify", "--oci-layout", "--scope", "local/app"], &[reference])?;
    ensure!(said.contains("Successfully verified signature for"), "{said}");
    Ok(())
}

fn verified_in_registry(at: &Started<'_>, reference: &str) -> Result<()> {
    let said = at.prokura(&["verify"], &[reference.to_owned()])?;
    ensure!(said.contains(&format!("Successfully verified signature for {reference}")), "{said}");
    Ok(())
}
