//! What a vault can do besides signing: list its keys, make one, get a certificate for it and keep it.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::home::write_private;
use prokura_integration::pki::Authority;
use prokura_integration::program::{run, system};
use prokura_integration::vault::TestKey;
use prokura_plugin::KeySpec;

use crate::scene::{Scene, Started};
use crate::tally::Tally;

const SUBJECT: &str = "CN=release,O=ACME Rockets,ST=WA,C=US";

/// One test per ability; requests and self-signed certificates need none.
pub(crate) fn trials(scene: &Arc<Scene>, tally: &Arc<Tally>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let abilities = scene.backend.abilities;
    trials.push(tally.trial(scene, "config", "a_name_that_nobody_knows_is_refused", unknown_name));
    if abilities.list {
        trials.push(tally.trial(scene, "discover", "every_key_is_discovered", discover));
    }
    if abilities.create {
        trials.push(tally.trial(scene, "create", "a_key_is_made_certified_and_signs", create));
    }
    if abilities.install {
        trials.push(tally.trial(scene, "install", "an_issued_certificate_is_kept", install));
    }
    for &spec in scene.backend.specs {
        trials.push(tally.trial(scene, "request", &format!("request::{spec}"), move |scene| {
            request(&scene.started()?, spec)
        }));
        trials.push(tally.trial(scene, "self-sign", &format!("self_sign::{spec}"), move |scene| {
            self_sign(&scene.started()?, spec)
        }));
    }
    trials
}

/// A typo in plugin config is refused by name, whatever is asked; the name that is meant is said.
fn unknown_name(scene: &Scene) -> Result<()> {
    let at = &scene.started()?;
    let key = at.key(*scene.backend.specs.first().context("a spec")?);
    let typo = |config: &[(String, String)]| {
        let more = ("ca_cert".to_owned(), "not-shown".to_owned());
        TestKey { id: key.id.clone(), config: config.iter().cloned().chain([more]).collect() }
    };
    let (of_key, of_vault) = (typo(&key.config), typo(&at.vault.vault_config()));
    let mut calls = vec![(["cert", "request"], at.key_arguments(&of_key))];
    if let Some((_, subject)) = calls.first_mut() {
        subject.extend(["--subject".to_owned(), SUBJECT.to_owned()]);
    }
    if scene.backend.abilities.list {
        calls.push((["key", "discover"], at.vault_arguments(&of_vault.config)));
    }
    if scene.backend.abilities.create {
        let mut arguments = at.vault_arguments(&of_vault.config);
        arguments.extend(["--key-spec", "RSA-2048", "typo"].map(str::to_owned));
        calls.push((["key", "create"], arguments));
    }
    for (verb, arguments) in calls {
        let words = verb.map(str::to_owned).into_iter().chain(arguments);
        let said = at.home.prokura(words)?.refused(1)?;
        for part in ["VALIDATION_ERROR", "ca_cert\\\" is not known", "ca_certs may be meant"] {
            ensure!(said.contains(part), "{verb:?}: {part:?} is missing in: {said}");
        }
        ensure!(!said.contains("not-shown"), "{verb:?}: {said}");
    }
    Ok(())
}

/// Every key of the test set is listed with its spec, and what is listed names a key that can be described.
fn discover(scene: &Scene) -> Result<()> {
    let at = &scene.started()?;
    ensure!(at.vault.abilities() == scene.backend.abilities, "the backend's abilities differ");
    ensure!(at.vault.specs() == scene.backend.specs, "the backend's specs differ");
    let said = at.json(&["key", "discover"], &at.vault_arguments(&at.vault.vault_config()))?;
    let keys = said.get("keys").and_then(|keys| keys.as_array()).context("no keys")?;
    for spec in scene.backend.specs {
        let of_spec: Vec<_> =
            keys.iter().filter(|k| k.get("keySpec").is_some_and(|s| s == spec.as_str())).collect();
        let key = of_spec.first().with_context(|| format!("no {spec} key is listed: {said}"))?;
        let id = key.get("id").and_then(|id| id.as_str()).context("a listed key has an id")?;
        let listed = TestKey { id: id.to_owned(), config: at.vault.vault_config() };
        let mut arguments = at.key_arguments(&listed);
        arguments.extend(["--subject".to_owned(), SUBJECT.to_owned()]);
        at.prokura(&["cert", "request"], &arguments).with_context(|| format!("the listed id {id}"))?;
    }
    Ok(())
}

/// What a vault wants to know when it makes a key: the name, and config besides that of other calls.
fn name_of_new(plugin: &str, what: &str) -> (String, Vec<(String, String)>) {
    let default_management_key = vec![("management-key-source".to_owned(), "default".to_owned())];
    match plugin {
        "aws-kms" => (format!("alias/{what}"), Vec::new()),
        "yubikey" if what == "made" => ("84".to_owned(), default_management_key),
        "yubikey" => ("85".to_owned(), default_management_key),
        _ => (what.to_owned(), Vec::new()),
    }
}

/// Makes a key and returns how it is named, with the config that made it.
fn make(at: &Started<'_>, scene: &Scene, what: &str) -> Result<(TestKey, KeySpec)> {
    let spec = if scene.backend.specs.contains(&KeySpec::Ec384) { KeySpec::Ec384 } else { KeySpec::Rsa2048 };
    let (name, more) = name_of_new(at.vault.plugin(), what);
    let mut config = at.vault.vault_config();
    config.extend(more);
    let mut arguments = at.vault_arguments(&config);
    arguments.extend(["--key-spec".to_owned(), spec.as_str().to_owned(), name]);
    let said = at.json(&["key", "create"], &arguments)?;
    let id = said.get("id").and_then(|id| id.as_str()).with_context(|| format!("no id: {said}"))?;
    let again = at.home.prokura(["key", "create"].map(str::to_owned).into_iter().chain(arguments))?;
    ensure!(!again.stderr.is_empty(), "a name that is taken is refused");
    again.refused(1)?;
    Ok((TestKey { id: id.to_owned(), config }, spec))
}

/// A new key signs an artifact under a self-signed certificate that was made with it.
fn create(scene: &Scene) -> Result<()> {
    let at = &scene.started()?;
    let (mut key, _) = make(at, scene, "made")?;
    advised(at, scene, &key)?;
    let certificate = at.home.path().join("made.pem");
    let mut arguments = at.key_arguments(&key);
    arguments.extend(["--subject", SUBJECT, "--file"].map(str::to_owned));
    arguments.push(certificate.display().to_string());
    at.prokura(&["cert", "self-sign"], &arguments)?;
    key.config.push(("ca_certs".to_owned(), certificate.display().to_string()));
    let layout = at.image.copy(&at.home.path().join("made"))?;
    let mut arguments = at.key_arguments(&key);
    arguments.push(format!("{}:v1", layout.display()));
    at.prokura(&["sign", "--oci-layout"], &arguments)?;
    Ok(())
}

/// Without a certificate nothing is signed, and what is advised is what this vault can do.
fn advised(at: &Started<'_>, scene: &Scene, key: &TestKey) -> Result<()> {
    let path = at.home.path().join("uncertified");
    std::fs::write(&path, "a file")?;
    let mut words = vec!["blob".to_owned(), "sign".to_owned()];
    words.extend(at.key_arguments(key));
    words.push(path.display().to_string());
    let refused = at.home.prokura(words)?.refused(1)?;
    let installs = scene.backend.abilities.install;
    ensure!(refused.contains("prokura cert install") == installs, "it installs: {installs}: {refused}");
    ensure!(installs || refused.contains("prokura cert request"), "{refused}");
    let own = match at.vault.plugin() {
        "aws-kms" => "plugin config certificate names",
        "vault" => "/made@vN",
        _ => return Ok(()),
    };
    ensure!(refused.contains(own), "the plugin's own advice: {refused}");
    Ok(())
}

/// A certificate issued for a request is installed, and signing needs no bundle but the root.
fn install(scene: &Scene) -> Result<()> {
    let at = &scene.started()?;
    let (mut key, spec) = make(at, scene, "installed")?;
    let authority = Authority::new("installed root")?;
    let mut arguments = at.key_arguments(&key);
    arguments.extend(["--subject", SUBJECT].map(str::to_owned));
    let pem = at.prokura(&["cert", "request"], &arguments)?;
    let spki = public_key_of_request(at, &pem)?;
    let path = at.home.path().join("installed.pem");
    std::fs::write(&path, authority.issue(&spki, &format!("installed {spec}"))?)?;
    let root = at.home.path().join("installed-root.pem");
    std::fs::write(&root, authority.certificate())?;
    let mut arguments = at.key_arguments(&key);
    arguments.push(path.display().to_string());
    at.prokura(&["cert", "install"], &arguments)?;
    key.config.push(("ca_certs".to_owned(), root.display().to_string()));
    let layout = at.image.copy(&at.home.path().join("installed"))?;
    let mut arguments = at.key_arguments(&key);
    arguments.push(format!("{}:v1", layout.display()));
    at.prokura(&["sign", "--oci-layout"], &arguments)?;
    Ok(())
}

/// OpenSSL reads the request and finds its signature good.
fn request(at: &Started<'_>, spec: KeySpec) -> Result<()> {
    let path = at.home.path().join(format!("request-{spec}.csr"));
    let mut arguments = at.key_arguments(&at.key(spec));
    arguments.extend(["--subject", SUBJECT, "--file"].map(str::to_owned));
    arguments.push(path.display().to_string());
    at.prokura(&["cert", "request"], &arguments)?;
    let openssl = system("openssl", "apt-get install openssl")?;
    let said = prokura_integration::program::output(
        std::process::Command::new(openssl).args(["req", "-verify", "-noout", "-subject", "-in"]).arg(&path),
    )?;
    let all = format!("{}{}", said.stdout, said.stderr);
    said.ok()?;
    ensure!(all.contains("verify OK") && all.contains("ACME Rockets"), "{all}");
    Ok(())
}

/// OpenSSL finds the certificate's signature good under its own key.
fn self_sign(at: &Started<'_>, spec: KeySpec) -> Result<()> {
    let path = at.home.path().join(format!("self-{spec}.pem"));
    let mut arguments = at.key_arguments(&at.key(spec));
    arguments.extend(["--subject", SUBJECT, "--validity", "48h", "--file"].map(str::to_owned));
    arguments.push(path.display().to_string());
    at.prokura(&["cert", "self-sign"], &arguments)?;
    let openssl = system("openssl", "apt-get install openssl")?;
    let mut command = std::process::Command::new(openssl);
    command.args(["verify", "-check_ss_sig", "-partial_chain", "-CAfile"]).arg(&path).arg(&path);
    let said = run(&mut command)?;
    ensure!(said.contains("OK"), "{said}");
    Ok(())
}

fn public_key_of_request(at: &Started<'_>, pem: &str) -> Result<Vec<u8>> {
    let path = at.home.path().join("installed.csr");
    write_private(&path, pem)?;
    let openssl = system("openssl", "apt-get install openssl")?;
    let public =
        run(std::process::Command::new(&openssl).args(["req", "-noout", "-pubkey", "-in"]).arg(&path))?;
    let body: String = public.lines().filter(|line| !line.starts_with("-----")).collect();
    Ok(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body)?)
}
