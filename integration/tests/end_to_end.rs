//! The main job on real backends: a key in a token signs a real image in a registry or layout, and it verifies.

#![expect(clippy::indexing_slicing, reason = "an absent member of a JSON document reads as null")]

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Trial};
use prokura_integration::backend::registry::Registry;
use prokura_integration::home::write_private;
use prokura_integration::key;
use prokura_integration::pki::{Authority, generate_key};
use prokura_integration::program::{executable, output};
use prokura_integration::suite::trial;
use prokura_integration::world::World;
use prokura_plugin::KeySpec;

#[path = "end_to_end/at_once.rs"]
mod at_once;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let world = Arc::new(World::new()?);
    let mut trials = Vec::new();
    for vault in ["softkey", "softhsm", "kryoptic"] {
        for spec in KeySpec::ALL {
            for format in ["jws", "cose"] {
                let world = Arc::clone(&world);
                trials.push(trial(format!("layout::{vault}::{spec}::{format}"), move || {
                    signs_in_a_layout(&world, vault, spec, format)
                }));
            }
        }
        for referrers in [true, false] {
            let world = Arc::clone(&world);
            let api = if referrers { "referrers" } else { "tag-schema" };
            trials.push(trial(format!("registry::{vault}::{api}"), move || {
                signs_in_a_registry(&world, vault, referrers)
            }));
        }
    }
    trials.extend(named(&world, "several_signatures_are_listed_and_inspected", several_signatures));
    trials.extend(named(&world, "another_artifact_is_not_verified_by_this_signature", wrong_artifact));
    trials.extend(named(&world, "blobs_are_signed_and_a_changed_one_is_refused", blobs));
    trials.extend(named(&world, "an_untrusted_root_is_refused_with_its_reason", untrusted));
    trials.extend(named(&world, "a_registry_with_basic_authentication", |world| {
        authenticated(world, "-basic-auth")
    }));
    trials
        .extend(named(&world, "a_registry_with_bearer_tokens", |world| authenticated(world, "-token-auth")));
    trials.extend(named(&world, "a_registry_with_a_private_authority", private_authority));
    trials.extend(named(&world, "many_at_once::layout", at_once::layout));
    trials.extend(named(&world, "many_at_once::tag_schema", at_once::tag_schema));
    trials.extend(named(&world, "many_at_once::referrers", at_once::referrers));
    trials.extend(named(&world, "many_at_once::referrers_in_a_race", at_once::referrers_in_a_race));
    let conclusion = libtest_mimic::run(&arguments, trials);
    Ok(conclusion.exit_code())
}

fn named(world: &Arc<World>, name: &str, test: fn(&World) -> Result<()>) -> Option<Trial> {
    let world = Arc::clone(world);
    Some(trial(name, move || test(&world)))
}

fn key_arguments(world: &World, vault: &str, spec: KeySpec) -> Result<Vec<String>> {
    match vault {
        "softkey" => Ok(world.softkey_arguments(spec)),
        token => world.token_arguments(token, spec),
    }
}

fn signs_in_a_layout(world: &World, vault: &str, spec: KeySpec, format: &str) -> Result<()> {
    let key = key_arguments(world, vault, spec)?;
    let directory = world.home.path().join(format!("layout-{vault}-{}-{format}", key::id(spec)));
    let layout = world.image()?.copy(&directory)?;
    let reference = format!("{}:v1", layout.display());
    let sign = ["sign", "--oci-layout", "--signature-format", format];
    world
        .home
        .prokura(sign.into_iter().chain(key.iter().map(String::as_str)).chain([reference.as_str()]))?
        .ok()?;
    let said = world.home.prokura(["verify", "--oci-layout", "--scope", "local/app", &reference])?.ok()?;
    ensure!(said.contains("Successfully verified signature for"), "{said}");
    Ok(())
}

fn signs_in_a_registry(world: &World, vault: &str, referrers: bool) -> Result<()> {
    let key = key_arguments(world, vault, KeySpec::Ec384)?;
    let reference = world.image()?.push(world.registry(referrers)?, &format!("signed-by/{vault}"))?;
    let words = ["sign", "-o", "json"].into_iter().chain(key.iter().map(String::as_str));
    let said = world.home.prokura(words.chain([reference.as_str()]))?.ok()?;
    if vault == "softkey" {
        let said: serde_json::Value = serde_json::from_str(&said)?;
        told_of_a_signature(&said["signed"][0], "jws", &["push", "resolve"])?;
    }
    let said = world.home.prokura(["verify", &reference])?.ok()?;
    ensure!(said.contains(&format!("Successfully verified signature for {reference}")), "{said}");
    Ok(())
}

fn several_signatures(world: &World) -> Result<()> {
    for referrers in [true, false] {
        let reference = world.image()?.push(world.registry(referrers)?, "several")?;
        let none = world.home.prokura(["list", &reference])?.ok()?;
        ensure!(none.contains("has no associated signature"), "{none}");
        let unsigned = world.home.prokura(["verify", &reference])?.refused(1)?;
        ensure!(unsigned.contains("no signature is associated with"), "{unsigned}");
        for spec in [KeySpec::Ec256, KeySpec::Rsa2048, KeySpec::Ec521] {
            let key = world.softkey_arguments(spec);
            world
                .home
                .prokura(
                    ["sign"].into_iter().chain(key.iter().map(String::as_str)).chain([reference.as_str()]),
                )?
                .ok()?;
        }
        let listed = world.home.prokura(["list", &reference])?.ok()?;
        ensure!(
            listed.matches("sha256:").count() == 4,
            "one artifact and three signatures expected: {listed}"
        );
        let inspected = world.home.prokura(["inspect", "-o", "json", &reference])?.ok()?;
        let inspected: serde_json::Value = serde_json::from_str(&inspected)?;
        let mut algorithms: Vec<&str> = inspected["signatures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| s["signatureAlgorithm"].as_str())
            .collect();
        algorithms.sort_unstable();
        ensure!(algorithms == ["ECDSA-SHA-256", "ECDSA-SHA-512", "RSASSA-PSS-SHA-256"], "{inspected:#}");
    }
    Ok(())
}

/// The signature of one image, moved to another, must not make that one trusted.
fn wrong_artifact(world: &World) -> Result<()> {
    let image = world.image()?;
    let layout = image.copy(&world.home.path().join("wrong-artifact"))?;
    let reference = format!("{}:v1", layout.display());
    let key = world.softkey_arguments(KeySpec::Ec256);
    let sign = ["sign", "--oci-layout"].into_iter().chain(key.iter().map(String::as_str));
    world.home.prokura(sign.chain([reference.as_str()]))?.ok()?;

    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let old = index["manifests"][0].clone();
    let blob = |digest: &str| layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(blob(old["digest"].as_str().unwrap_or_default()))?)?;
    manifest["annotations"] = serde_json::json!({"org.example": "tampered"});
    let (digest, size) = store(&layout, &manifest)?;
    index["manifests"][0]["digest"] = digest.clone().into();
    index["manifests"][0]["size"] = size.into();
    let signature = index["manifests"][1]["digest"].as_str().unwrap_or_default().to_owned();
    let mut signature: serde_json::Value = serde_json::from_slice(&std::fs::read(blob(&signature))?)?;
    ensure!(signature["subject"]["digest"] == old["digest"], "{signature:#}");
    signature["subject"]["digest"] = digest.into();
    signature["subject"]["size"] = size.into();
    let (digest, size) = store(&layout, &signature)?;
    index["manifests"][1]["digest"] = digest.into();
    index["manifests"][1]["size"] = size.into();
    std::fs::write(layout.join("index.json"), index.to_string())?;

    let said =
        world.home.prokura(["verify", "--oci-layout", "--scope", "local/app", &reference])?.refused(1)?;
    ensure!(said.contains("descriptor mismatch"), "{said}");
    Ok(())
}

fn store(layout: &std::path::Path, manifest: &serde_json::Value) -> Result<(String, usize)> {
    let bytes = manifest.to_string().into_bytes();
    let digest = prokura_registry::Digest::sha256(&bytes).to_string();
    std::fs::write(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:")), &bytes)?;
    Ok((digest, bytes.len()))
}

fn blobs(world: &World) -> Result<()> {
    let policy = serde_json::json!({
        "version": "1.0",
        "trustPolicies": [{
            "name": "blobs",
            "globalPolicy": true,
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:tests"],
            "trustedIdentities": ["*"],
        }],
    });
    write_private(&world.home.config().join("trustpolicy.blob.json"), &policy.to_string())?;
    for spec in KeySpec::ALL {
        for format in ["jws", "cose"] {
            let blob = world.home.path().join(format!("blob-{}-{format}", key::id(spec)));
            std::fs::write(&blob, format!("a file to sign with {spec}"))?;
            let path = blob.display().to_string();
            let signature = format!("{path}.{format}.sig");
            let key = world.softkey_arguments(spec);
            let sign = || ["blob", "sign", "--signature-format", format].into_iter();
            let words = sign().chain(["-o", "json"]).chain(key.iter().map(String::as_str));
            let said = world.home.prokura(words.chain([path.as_str()]))?.ok()?;
            told_of_a_signature(&serde_json::from_str(&said)?, format, &["hash", "write"])?;
            let again = sign().chain(["--force"]).chain(key.iter().map(String::as_str));
            let again = world.home.prokura(again.chain([path.as_str()]))?;
            ensure!(
                again.stderr.contains("Warning: existing signature file will be overwritten"),
                "{}",
                again.stderr
            );
            again.ok()?;
            let said = world.home.prokura(["blob", "verify", "--signature", &signature, &path])?.ok()?;
            ensure!(said.contains(&format!("Successfully verified signature for {path}")), "{said}");
            std::fs::write(&blob, "another file")?;
            let said =
                world.home.prokura(["blob", "verify", "--signature", &signature, &path])?.refused(1)?;
            ensure!(said.contains("does not match"), "{said}");
        }
    }
    Ok(())
}

/// What `sign` and `blob sign` tell programs alike.
#[expect(clippy::disallowed_methods, reason = "the signing time is compared with the clock")]
fn told_of_a_signature(said: &serde_json::Value, format: &str, own: &[&str]) -> Result<()> {
    ensure!(said["format"] == format && said["plugin"] == "softkey", "{said}");
    ensure!(said["keyId"].is_string() && said["transport"] == "grpc", "{said}");
    let time = said["signingTime"].as_str().unwrap_or_default();
    let age = jiff::Timestamp::now().duration_since(time.parse()?).as_secs();
    ensure!((0..300).contains(&age) && time.ends_with('Z'), "signed {age} s ago: {said}");
    let mut phases: Vec<&String> =
        said["timingsMs"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
    let mut expected = [&["describe", "metadata", "sign", "start"], own].concat();
    phases.sort_unstable();
    expected.sort_unstable();
    ensure!(phases == expected, "{phases:?}");
    for phase in ["describe", "metadata", "sign", "start"] {
        ensure!(
            said["timingsMs"][phase].as_f64().is_some_and(|took| took > 0.0),
            "{phase} took no time: {said}"
        );
    }
    Ok(())
}

fn untrusted(world: &World) -> Result<()> {
    let layout = world.image()?.copy(&world.home.path().join("untrusted"))?;
    let reference = format!("{}:v1", layout.display());
    let other = world.home.path().join("other-keys");
    std::fs::create_dir(&other)?;
    key::KeyFiles::create(&other)?;
    let dir = format!("dir={}", other.display());
    let sign = [
        "sign",
        "--oci-layout",
        "--plugin",
        "softkey",
        "--id",
        "ec-256",
        "--plugin-config",
        &dir,
        &reference,
    ];
    world.home.prokura(sign)?.ok()?;
    let said =
        world.home.prokura(["verify", "--oci-layout", "--scope", "local/app", &reference])?.refused(1)?;
    ensure!(said.contains("does not contain any trusted certificate"), "{said}");
    Ok(())
}

/// Without credentials, with wrong ones, and with those in the environment, as notation takes them.
fn authenticated(world: &World, flag: &str) -> Result<()> {
    let registry = Registry::olareg_with(&[flag, "ci:open-sesame"], Some(("ci", "open-sesame")))?;
    let reference = world.image()?.push(&registry, "guarded/app")?;
    let key = world.softkey_arguments(KeySpec::Ec256);
    let sign = |login: Option<(&str, &str)>| {
        let mut command = world.home.command(&executable("prokura")?);
        command.args(["sign", "--debug"]).args(&key).arg(&reference);
        if let Some((user, password)) = login {
            command.env("NOTATION_USERNAME", user).env("NOTATION_PASSWORD", password);
        }
        output(&mut command)
    };
    for wrong in [None, Some(("ci", "close-sesame"))] {
        let said = sign(wrong)?.refused(2)?;
        ensure!(said.contains("401") || said.contains("login"), "{said}");
        ensure!(!said.contains("close-sesame"), "the password is shown: {said}");
    }
    let signed = sign(Some(("ci", "open-sesame")))?;
    let log = signed.stderr.clone();
    signed.ok()?;
    for words in [
        "notation-softkey",
        "plugin call plugin=softkey transport=\"stdio\" call=\"get-plugin-metadata\"",
        "plugin call plugin=softkey transport=\"grpc\" call=\"SignDigest\" took_ms=",
        "request=PUT /v2/guarded/app/manifests/sha256:",
        " status=401 attempt=1",
        " status=201 attempt=1",
    ] {
        ensure!(log.contains(words), "{words} is not logged: {log}");
    }
    // The password, it in Basic authentication, and what a token server is given and gives.
    for secret in ["open-sesame", "Y2k6b3Blbi1zZXNhbWU", "Bearer", "token=", "?"] {
        ensure!(!log.contains(secret), "{secret} is logged: {log}");
    }
    let verify = ["verify", "--username", "ci", "--password", "open-sesame", &reference];
    world.home.prokura(verify)?.ok()?;
    Ok(())
}

/// TLS with a certificate of an authority that only `--ca-file` names.
fn private_authority(world: &World) -> Result<()> {
    let authority = Authority::new("registry test root")?;
    let key = generate_key(KeySpec::Ec256)?;
    let certificate = authority.issue_to(&key, "localhost", |params| {
        params.subject_alt_names = vec![rcgen::SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    })?;
    let directory = world.home.path().join("tls");
    std::fs::create_dir(&directory)?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = directory.join(name);
        write_private(&path, text)?;
        Ok(path.display().to_string())
    };
    let root = file("root.pem", authority.certificate())?;
    let (chain, key) = (file("registry.pem", &certificate)?, file("registry.key", &key.serialize_pem())?);
    let registry = Registry::olareg_with(&["-tls-cert", &chain, "-tls-key", &key], None)?;
    // notation speaks plain HTTP to the name localhost, so the address has to be one.
    let registry = registry.at("127.0.0.1");
    let reference = world.image()?.push(&registry, "tls/app")?;
    let key = world.softkey_arguments(KeySpec::Ec256);
    let sign = |extra: &[&str]| {
        let arguments =
            ["sign"].into_iter().chain(extra.iter().copied()).chain(key.iter().map(String::as_str));
        world.home.prokura(arguments.chain([reference.as_str()]))
    };
    let said = sign(&[])?.refused(2)?;
    ensure!(said.contains("certificate"), "{said}");
    sign(&["--ca-file", &root])?.ok()?;
    world.home.prokura(["verify", "--ca-file", &root, &reference])?.ok()?;
    Ok(())
}
