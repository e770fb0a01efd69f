//! A rogue that is a vault: what the host does not believe of a list of keys, of a new key and of a certificate.

use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::suite::trial;
use prokura_integration::world::World;

use super::Told;
use super::scene::Scene;

/// Plugin config `vault`, a verb with its arguments, the exit code, and words that must be said.
type Case = (&'static str, &'static [&'static str], i32, &'static [&'static str]);

const CREATE: &[&str] = &["key", "create", "--key-spec", "EC-256", "new"];
const DISCOVER: &[&str] = &["key", "discover"];
const AUTHOR: &str = "its author must act";

const CASES: [Case; 8] = [
    ("nothing", DISCOVER, 0, &["rogue-key"]),
    ("nothing", CREATE, 0, &["made an EC-256 key: new"]),
    ("lists-others", DISCOVER, 0, &["no key found that can sign"]),
    ("lists-no-id", DISCOVER, 1, &["LIST-1", "key_id", AUTHOR]),
    ("lists-without-end", DISCOVER, 1, &["LIST-4", "more than 10000 keys", AUTHOR]),
    ("lists-unannounced", DISCOVER, 2, &["KEY_LIST.1"]),
    ("makes-another", CREATE, 1, &["CREATE-3", "EC-384", "asked for was EC-256", AUTHOR]),
    ("nothing", &["cert", "install", "--id", "rogue-key"], 2, &["expected the certificate of this key"]),
];

pub(crate) fn trials(world: &Arc<World>, told: &Told) -> Vec<Trial> {
    let one = |(number, case): (usize, Case)| {
        let (world, told) = (Arc::clone(world), Arc::clone(told));
        let (switch, verb, ..) = case;
        let name = format!("vault::{switch}::{}", verb.iter().take(2).copied().collect::<Vec<_>>().join("_"));
        trial(name.clone(), move || {
            let line = attempt(&world, number, case)?;
            told.lock().map(|mut told| told.insert(name, line)).ok();
            Ok(())
        })
    };
    CASES.into_iter().enumerate().map(one).collect()
}

fn attempt(world: &Arc<World>, number: usize, (switch, verb, code, words): Case) -> Result<String> {
    // A short name: a socket's path has a limit.
    let scene = Scene::new(world, &format!("v{number}"))?;
    scene.install_rogue()?;
    let mut arguments: Vec<String> = verb.iter().copied().map(str::to_owned).collect();
    if verb.contains(&"install") {
        let root = world.home.config().join("truststore/x509/ca/tests/root.pem");
        arguments.push(root.display().to_string());
    }
    arguments.extend(["--plugin", "rogue"].map(str::to_owned));
    let pids = format!("pids={}", scene.pids().display());
    for entry in ["transport=grpc", &format!("vault={switch}"), &pids] {
        arguments.extend(["--plugin-config".to_owned(), entry.to_owned()]);
    }
    let run = scene.run(&arguments)?;
    let said = format!("{}{}", run.stdout, run.stderr);
    ensure!(run.code == Some(code), "exit code {:?}, expected {code}: {said}", run.code);
    for word in words {
        ensure!(said.contains(word), "{word:?} is not said: {said}");
    }
    Ok(said.lines().last().unwrap_or_default().to_owned())
}
