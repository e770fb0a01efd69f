//! The arrows of the house: who may depend on whom, how small the SDK stays, and how files begin.

#![expect(clippy::disallowed_methods, reason = "the test asks cargo")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use prokura_integration::program::{run, workspace};
use serde::Deserialize;

/// Member, and what of ours it may use. Development dependencies are not looked at; who is not here may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("prokura-proto", &[]),
    ("prokura-plugin", &["prokura-proto"]),
    ("prokura-envelope", &["prokura-plugin"]),
    ("prokura-verify", &["prokura-envelope"]),
    ("prokura-registry", &[]),
    ("prokura-signer", &["prokura-envelope", "prokura-plugin", "prokura-proto"]),
    ("prokura-broker", &["prokura-envelope", "prokura-plugin", "prokura-proto", "prokura-signer"]),
    (
        "prokura",
        &["prokura-envelope", "prokura-plugin", "prokura-registry", "prokura-signer", "prokura-verify"],
    ),
    ("notation-softkey", &["prokura-plugin"]),
    ("notation-pkcs11", &["prokura-plugin"]),
    ("notation-aws-kms", &["prokura-plugin"]),
    ("notation-azure-keyvault", &["prokura-plugin"]),
    ("notation-yubikey", &["prokura-plugin"]),
    ("notation-vault", &["prokura-plugin"]),
    ("notation-prokura", &["prokura-plugin", "prokura-proto"]),
    (
        "prokura-integration",
        &[
            "prokura-broker",
            "prokura-envelope",
            "prokura-plugin",
            "prokura-proto",
            "prokura-registry",
            "prokura-signer",
            "prokura-verify",
        ],
    ),
];

/// Stacks that may reach no executable of ours: there is one crypto stack, AWS-LC by way of rustls.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

/// So that the smallest plugin of a vendor stays small.
const SDK_PACKAGES_MAX: usize = 31;

const LINES_MAX: usize = 600;
const LINES_ALARM: usize = 400;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    optional: bool,
    uses_default_features: bool,
    features: Vec<String>,
}

impl Metadata {
    fn of_workspace() -> Result<Self> {
        let mut command = Command::new(env!("CARGO"));
        command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(workspace());
        Ok(serde_json::from_str(&run(&mut command)?)?)
    }

    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    fn member(&self, name: &str) -> Result<&Package> {
        self.members().find(|member| member.name == name).with_context(|| format!("no member {name}"))
    }
}

impl Package {
    /// Dependencies on members of the workspace, those for tests left out.
    fn ours<'a>(&'a self, names: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a Dependency> {
        let counts = |kind: Option<&str>| kind != Some("dev");
        self.dependencies.iter().filter(move |d| counts(d.kind.as_deref()) && names.contains(d.name.as_str()))
    }
}

#[test]
fn every_member_uses_only_what_its_arrows_allow() -> Result<()> {
    let metadata = Metadata::of_workspace()?;
    let names: BTreeSet<&str> = metadata.members().map(|member| member.name.as_str()).collect();
    let drawn: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    ensure!(names == drawn, "members {names:?}, but arrows are drawn for {drawn:?}");
    for (name, allowed) in ARROWS {
        for dependency in metadata.member(name)?.ours(&names) {
            let used = dependency.name.as_str();
            ensure!(allowed.contains(&used), "{name} uses {used}, only {allowed:?} is allowed");
        }
    }
    Ok(())
}

#[test]
fn nobody_links_a_plugin_not_even_a_test() -> Result<()> {
    for member in Metadata::of_workspace()?.members() {
        for dependency in &member.dependencies {
            let is_plugin = dependency.name.starts_with("notation-");
            ensure!(!is_plugin, "{} depends on {}", member.name, dependency.name);
        }
    }
    Ok(())
}

#[test]
fn the_sdk_knows_the_protocol_buffers_only_with_grpc() -> Result<()> {
    let metadata = Metadata::of_workspace()?;
    let sdk = metadata.member("prokura-plugin")?;
    let proto = sdk.dependencies.iter().find(|d| d.name == "prokura-proto" && d.kind.is_none());
    ensure!(proto.is_some_and(|d| d.optional), "prokura-proto must be an optional dependency");
    for (feature, enabled) in &sdk.features {
        let enables = enabled.iter().any(|entry| entry.contains("prokura-proto"));
        let may = feature == "grpc" || feature == "prokura-proto";
        ensure!(!enables || may, "feature {feature} of prokura-plugin enables prokura-proto");
    }
    Ok(())
}

#[test]
fn envelopes_take_the_key_vocabulary_and_no_feature_with_it() -> Result<()> {
    let metadata = Metadata::of_workspace()?;
    let envelope = metadata.member("prokura-envelope")?;
    let sdk = envelope.dependencies.iter().find(|d| d.name == "prokura-plugin" && d.kind.is_none());
    let sdk = sdk.context("prokura-envelope uses prokura-plugin")?;
    let features = &sdk.features;
    ensure!(!sdk.uses_default_features && features.is_empty(), "features of prokura-plugin: {features:?}");
    Ok(())
}

#[test]
fn a_plugin_without_grpc_stays_small() -> Result<()> {
    let packages = tree(&["--package", "prokura-plugin", "--no-default-features", "--edges", "normal"])?;
    let found = packages.len();
    ensure!(packages.iter().any(|p| p.starts_with("prokura-plugin ")), "{packages:?}");
    ensure!(found <= SDK_PACKAGES_MAX, "{found} packages, at most {SDK_PACKAGES_MAX}: {packages:#?}");
    println!("prokura-plugin without grpc: {found} packages");
    Ok(())
}

#[test]
fn there_is_one_crypto_stack() -> Result<()> {
    // Not `cargo metadata`: its graph holds optional dependencies that nobody turned on.
    let packages = tree(&["--workspace", "--edges", "normal,build"])?;
    ensure!(packages.len() > 100, "{} packages: the graph was not read", packages.len());
    ensure!(packages.iter().any(|p| p.starts_with("aws-lc-rs ")), "no aws-lc-rs: the graph was not read");
    let name = |package: &str| package.split(' ').next().unwrap_or_default().to_owned();
    let found: Vec<&String> = packages.iter().filter(|p| BANNED.contains(&name(p).as_str())).collect();
    ensure!(found.is_empty(), "{found:?} would be linked; ask `cargo tree --workspace --invert` by whom");
    Ok(())
}

/// Every package cargo builds, as `name vX.Y.Z`.
fn tree(arguments: &[&str]) -> Result<BTreeSet<String>> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--prefix", "none", "--format", "{p}", "--locked"]).args(arguments);
    let tree = run(command.current_dir(workspace()))?;
    // "(*)" marks a package that stands above already.
    let packages = tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned());
    Ok(packages.filter(|package| !package.is_empty()).collect())
}

#[test]
fn every_file_tells_its_purpose_and_is_one_room() -> Result<()> {
    let mut files = Vec::new();
    rust_files(workspace(), &mut files)?;
    ensure!(files.len() > 50, "{} files: the folder was not walked", files.len());
    let mut refused = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let lines = text.lines().count();
        let shown = file.strip_prefix(workspace())?.display().to_string();
        if !text.starts_with("//!") {
            refused.push(format!("{shown} does not begin with its purpose (//!)"));
        }
        if lines > LINES_MAX {
            refused.push(format!("{shown} has {lines} lines, at most {LINES_MAX}"));
        } else if lines > LINES_ALARM {
            println!("alarm: {shown} has {lines} lines");
        }
    }
    if !refused.is_empty() {
        bail!("{}", refused.join("\n"));
    }
    Ok(())
}

/// Every `*.rs` below a folder, but for generated code, build output and hidden folders.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = name == "target" || name == "gen" || name.to_string_lossy().starts_with('.');
        if entry.file_type()?.is_dir() && !skipped {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}
