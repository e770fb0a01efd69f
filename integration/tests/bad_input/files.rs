//! Configuration that was cut in half: refused by name, and left as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::program::{executable, output};
use prokura_integration::suite::trial;
use prokura_integration::world::World;
use prokura_plugin::KeySpec;

use super::says;

/// The file, its whole content, the command that reads it and the words the user must be told.
type Case = (&'static str, fn(&World) -> Result<String>, &'static [&'static str], &'static [&'static str]);

/// `LAYOUT` stands for an image layout with one artifact.
const CASES: &[Case] = &[
    ("signingkeys.json", keys, &["key", "list"], &["signingkeys.json", "line 1"]),
    ("signingkeys.json", keys, &["sign", "--oci-layout", "LAYOUT"], &["signingkeys.json", "line 1"]),
    (
        "signingkeys.json",
        keys,
        &["key", "add", "--plugin", "softkey", "--id", "ec-256", "another"],
        &["signingkeys.json", "line 1"],
    ),
    ("signingkeys.json", keys, &["key", "delete", "first"], &["signingkeys.json", "line 1"]),
    ("config.json", settings, &["sign", "--oci-layout", "LAYOUT"], &["config.json", "line 1"]),
    (
        "trustpolicy.json",
        policy,
        &["verify", "--oci-layout", "--scope", "local/app", "LAYOUT"],
        &["trustpolicy.json"],
    ),
    ("trustpolicy.oci.json", policy, &["policy", "show"], &["trustpolicy.oci.json"]),
    ("trustpolicy.blob.json", policy, &["blob", "policy", "show"], &["trustpolicy.blob.json"]),
    (
        "truststore/x509/ca/tests/root.pem",
        |world| Ok(world.keys.root.clone()),
        &["verify", "--oci-layout", "--scope", "local/app", "LAYOUT"],
        &["root.pem"],
    ),
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (number, (file, whole, command, words)) in CASES.iter().enumerate() {
        let world = Arc::clone(world);
        let name = format!("file::{}::{}", file.rsplit('/').next().unwrap_or(file), command[..2].join("-"));
        trials.push(trial(name, move || {
            let directory = world.home.path().join(format!("cut-{number}"));
            let place = directory.join("config").join(file);
            std::fs::create_dir_all(place.parent().context("a file is in a directory")?)?;
            complete(&world, &directory)?;
            let whole = whole(&world)?;
            refused_and_untouched(&world, &directory, &place, cut(&whole), command, words)
        }));
    }
    let (layout, envelope) = (Arc::clone(world), Arc::clone(world));
    trials.push(trial("file::index.json", move || cut_index(&layout)));
    trials.push(trial("file::envelope", move || cut_envelope(&envelope)));
    trials
}

/// What else the commands read, faultless.
fn complete(world: &World, directory: &Path) -> Result<()> {
    let config = directory.join("config");
    let store = config.join("truststore/x509/ca/tests");
    std::fs::create_dir_all(&store)?;
    std::fs::write(store.join("root.pem"), &world.keys.root)?;
    std::fs::write(config.join("trustpolicy.json"), policy(world)?)?;
    std::fs::write(config.join("signingkeys.json"), keys(world)?)?;
    Ok(())
}

fn refused_and_untouched(
    world: &World,
    directory: &Path,
    place: &Path,
    half: &str,
    command: &[&str],
    words: &[&str],
) -> Result<()> {
    let layout = signed_layout(world, directory)?;
    std::fs::write(place, half)?;
    let reference = format!("{}:v1", layout.display());
    let arguments =
        command.iter().map(|argument| if *argument == "LAYOUT" { reference.as_str() } else { argument });
    let mut prokura = world.home.command(&executable("prokura")?);
    let run = output(prokura.env("NOTATION_CONFIG", directory.join("config")).args(arguments))?;
    let verifies_by_broken_store = place.ends_with("root.pem");
    let said = run.refused(if verifies_by_broken_store { 1 } else { 2 })?;
    says(&said, words)?;
    ensure!(std::fs::read_to_string(place)? == half, "the file was changed");
    Ok(())
}

/// An image layout with one good signature.
fn signed_layout(world: &World, directory: &Path) -> Result<PathBuf> {
    let layout = world.image()?.copy(&directory.join("layout"))?;
    let key = world.softkey_arguments(KeySpec::Ec256);
    let arguments = ["sign".to_owned(), "--oci-layout".to_owned()].into_iter().chain(key);
    world.home.prokura(arguments.chain([format!("{}:v1", layout.display())]))?.ok()?;
    Ok(layout)
}

fn cut(whole: &str) -> &str {
    whole.get(..whole.len() / 2).unwrap_or_default()
}

fn keys(world: &World) -> Result<String> {
    let entry = |name: &str| {
        let dir = world.keys.directory.display().to_string();
        serde_json::json!({
            "name": name, "id": "ec-256", "pluginName": "softkey", "pluginConfig": {"dir": dir},
        })
    };
    Ok(serde_json::json!({"default": "first", "keys": [entry("first"), entry("second")]}).to_string())
}

fn settings(_: &World) -> Result<String> {
    Ok(serde_json::json!({"insecureRegistries": ["registry.example"], "signatureFormat": "cose"}).to_string())
}

fn policy(_: &World) -> Result<String> {
    let statement = serde_json::json!({
        "name": "tests",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:tests"],
        "trustedIdentities": ["*"],
    });
    Ok(serde_json::json!({"version": "1.0", "trustPolicies": [statement]}).to_string())
}

fn cut_index(world: &World) -> Result<()> {
    let directory = world.home.path().join("cut-index");
    std::fs::create_dir(&directory)?;
    let layout = signed_layout(world, &directory)?;
    let index = layout.join("index.json");
    let half = cut(&std::fs::read_to_string(&index)?).to_owned();
    std::fs::write(&index, &half)?;
    let reference = format!("{}:v1", layout.display());
    let key = world.softkey_arguments(KeySpec::Ec256);
    let sign =
        ["sign".to_owned(), "--oci-layout".to_owned()].into_iter().chain(key).chain([reference.clone()]);
    let run = world.home.prokura(sign)?;
    ensure!(run.code != Some(0), "signed in half an index");
    says(&run.stderr, &["index.json"])?;
    let list = world.home.prokura(["list", "--oci-layout", &reference])?;
    ensure!(list.code != Some(0), "listed half an index");
    says(&list.stderr, &["index.json"])?;
    ensure!(std::fs::read_to_string(&index)? == half, "the index was changed");
    Ok(())
}

/// A blob whose bytes are not those of its digest.
fn cut_envelope(world: &World) -> Result<()> {
    let directory = world.home.path().join("cut-envelope");
    std::fs::create_dir(&directory)?;
    let layout = signed_layout(world, &directory)?;
    let blobs = layout.join("blobs/sha256");
    let mut found = 0;
    for entry in std::fs::read_dir(&blobs)? {
        let path = entry?.path();
        let text = std::fs::read(&path)?;
        if text.starts_with(b"{\"payload\"") {
            std::fs::write(&path, text.get(..text.len() / 2).unwrap_or_default())?;
            found += 1;
        }
    }
    ensure!(found == 1, "{found} envelopes in the layout, expected 1");
    let reference = format!("{}:v1", layout.display());
    let run = world.home.prokura(["verify", "--oci-layout", "--scope", "local/app", &reference])?;
    ensure!(matches!(run.code, Some(1 | 3)), "{run:?}");
    says(&run.stderr, &["descriptor", "bytes"])
}
