//! Plugin files that may not or cannot be started, and names that lead out of a directory.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::suite::trial;
use prokura_integration::world::World;

use super::Told;
use super::scene::Scene;

/// Name, what is wrong, and the words the user must be told.
type Case = (&'static str, fn(&Scene) -> Result<()>, &'static [&'static str]);

/// All are faults of the installation: exit code 2.
const CASES: &[Case] = &[
    ("missing", |_| Ok(()), &["not installed", "plugins/faulty/notation-faulty", "must put"]),
    ("not-executable", not_executable, &["0644", "may not be executed", "must set the execute permission"]),
    ("symlink", link, &["symbolic link", "must put the file itself"]),
    ("dangling-symlink", dangling, &["symbolic link", "must put the file itself"]),
    ("directory-symlink", directory_link, &["symbolic link", "must put the file itself"]),
    ("writable-by-group", |s| mode(s, 0o775), &["0775", "its group may change it", "must take"]),
    ("writable-by-others", |s| mode(s, 0o757), &["0757", "others may change it", "must take"]),
    ("directory-writable-by-others", open_directory, &["0777", "others may change it", "must take"]),
    ("a-directory", |s| Ok(std::fs::create_dir(s.place("faulty")?)?), &["is a directory", "regular file"]),
    ("a-socket", socket, &["is a socket", "regular file"]),
    ("wrong-architecture", foreign, &["wrong architecture", "must install the one for this machine"]),
    ("empty-file", |s| program(&s.place("faulty")?, b""), &["wrong architecture or is not a program"]),
    ("no-interpreter", no_interpreter, &["interpreter", "must install it"]),
];

pub(crate) fn trials(world: &Arc<World>, told: &Told) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, prepare, words) in CASES {
        let (world, told) = (Arc::clone(world), Arc::clone(told));
        trials.push(trial(format!("file::{name}"), move || {
            let scene = Scene::new(&world, &format!("file-{name}"))?;
            prepare(&scene)?;
            let arguments = ["--plugin", "faulty", "--id", "k"].map(str::to_owned);
            let said = refused(&scene, &arguments, 2, words)?;
            told.lock().map(|mut told| told.insert(format!("file::{name}"), said)).ok();
            Ok(())
        }));
    }
    for (name, arguments, exit, words) in names(world) {
        let (world, told) = (Arc::clone(world), Arc::clone(told));
        trials.push(trial(format!("name::{name}"), move || {
            let scene = Scene::new(&world, &format!("name-{name}"))?;
            // softkey stands in the plugin directory of the scene too.
            std::fs::hard_link(
                world.home.plugins().join("softkey/notation-softkey"),
                scene.place("softkey")?,
            )?;
            let said = refused(&scene, &arguments, exit, words)?;
            told.lock().map(|mut told| told.insert(format!("name::{name}"), said)).ok();
            Ok(())
        }));
    }
    trials
}

type Named = (&'static str, Vec<String>, i32, &'static [&'static str]);

fn names(world: &World) -> Vec<Named> {
    let dir = format!("dir={}", world.keys.directory.display());
    let arguments = |plugin: &str, id: &str| {
        ["--plugin", plugin, "--id", id, "--plugin-config", &dir].map(str::to_owned).to_vec()
    };
    vec![
        ("plugin-leads-out", arguments("../x", "k"), 2, &["\"../x\"", "no plugin name", "letters, digits"]),
        ("plugin-is-a-path", arguments("/bin/true", "k"), 2, &["no plugin name"]),
        ("plugin-is-empty", arguments("", "k"), 2, &["plugin name"]),
        ("key-id-leads-out", arguments("softkey", "../x"), 1, &["../x", "no plain file name", "key id"]),
        ("key-id-is-hidden", arguments("softkey", ".x"), 1, &["no plain file name", "key id"]),
        ("key-id-has-a-newline", arguments("softkey", "a\nb"), 2, &["control characters"]),
        ("key-is-not-there", arguments("softkey", "nobody"), 1, &["nobody.key", "key id"]),
    ]
}

fn refused(scene: &Scene, arguments: &[String], exit: i32, words: &[&str]) -> Result<String> {
    let said = scene.sign(arguments, &[])?.refused(exit)?;
    for word in words {
        ensure!(said.contains(word), "{word:?} is not said: {said}");
    }
    scene.is_untouched()?;
    Ok(said.trim().replace('\n', " "))
}

fn program(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(path, content)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

const SCRIPT: &[u8] = b"#!/bin/sh\necho this must never run >&2\nexit 1\n";

fn mode(scene: &Scene, mode: u32) -> Result<()> {
    let place = scene.place("faulty")?;
    program(&place, SCRIPT)?;
    Ok(std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode))?)
}

fn not_executable(scene: &Scene) -> Result<()> {
    mode(scene, 0o644)
}

fn link(scene: &Scene) -> Result<()> {
    let real = scene.place("real")?;
    program(&real, SCRIPT)?;
    Ok(symlink(&real, scene.place("faulty")?)?)
}

fn dangling(scene: &Scene) -> Result<()> {
    Ok(symlink("/nowhere", scene.place("faulty")?)?)
}

fn directory_link(scene: &Scene) -> Result<()> {
    let real = scene.place("real")?;
    let directory = real.parent().unwrap_or(&real);
    program(&directory.join("notation-faulty"), SCRIPT)?;
    Ok(symlink(directory, directory.with_file_name("faulty"))?)
}

fn open_directory(scene: &Scene) -> Result<()> {
    let place = scene.place("faulty")?;
    program(&place, SCRIPT)?;
    let directory = place.parent().unwrap_or(&place);
    Ok(std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777))?)
}

fn socket(scene: &Scene) -> Result<()> {
    std::os::unix::net::UnixListener::bind(scene.place("faulty")?)?;
    Ok(())
}

/// The header of a 64-bit ELF program for the Alpha.
fn foreign(scene: &Scene) -> Result<()> {
    let mut header = b"\x7fELF\x02\x01\x01\x00\0\0\0\0\0\0\0\0\x02\x00\x26\x90\x01\0\0\0".to_vec();
    header.resize(64, 0);
    program(&scene.place("faulty")?, &header)
}

fn no_interpreter(scene: &Scene) -> Result<()> {
    program(&scene.place("faulty")?, b"#!/nowhere/interpreter\n")
}
