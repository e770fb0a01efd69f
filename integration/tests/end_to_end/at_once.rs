//! Processes that sign the same artifact at the same time: none of them may lose the signature of another.

#![expect(clippy::disallowed_methods, reason = "skopeo looks at what is stored")]

use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use prokura_integration::backend::registry::Registry;
use prokura_integration::program::{run, system};
use prokura_integration::world::World;
use prokura_plugin::KeySpec;

/// In a layout, which has a lock of ours.
pub(crate) fn layout(world: &World) -> Result<()> {
    let image = world.image()?;
    let layout = image.copy(&world.home.path().join("at-once"))?;
    let reference = format!("{}@{}", layout.display(), image.digest);
    sign(world, 10, &["--oci-layout"], &reference)?;
    listed(world, 10, &["--oci-layout"], &reference)
}

/// By the tag schema, which has no lock and of which less is asked here.
pub(crate) fn tag_schema(world: &World) -> Result<()> {
    let reference = world.image()?.push(world.registry(false)?, "at-once")?;
    sign(world, 3, &[], &reference)?;
    listed(world, 3, &[], &reference)
}

/// With the referrers API, at a registry that lists what it has stored.
pub(crate) fn referrers(world: &World) -> Result<()> {
    let registry = Registry::olareg_with(&["-one-at-a-time"], None)?;
    let reference = world.image()?.push(&registry, "at-once")?;
    sign(world, 10, &[], &reference)?;
    listed(world, 10, &[], &reference)
}

/// olareg 0.2.2 as it is now and then lists fewer than it has stored, whoever pushes. What is ours to keep: each
/// signature that was reported is stored and names what was signed.
pub(crate) fn referrers_in_a_race(world: &World) -> Result<()> {
    let skopeo = system("skopeo", "apt-get install skopeo")?;
    let image = world.image()?;
    let reference = image.push(world.registry(true)?, "at-once")?;
    let repository = reference.split('@').next().context("a reference has a repository")?;
    for digest in sign(world, 10, &[], &reference)? {
        let stored = format!("docker://{repository}@{digest}");
        let manifest = run(Command::new(&skopeo).args(["inspect", "--raw", "--tls-verify=false", &stored]))?;
        let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
        let subject = manifest.pointer("/subject/digest").and_then(|digest| digest.as_str());
        ensure!(subject == Some(&image.digest), "{digest} is for {subject:?}, not for {}", image.digest);
    }
    Ok(())
}

/// Signs `count` times at once; the digests of the signature manifests, all different.
fn sign(world: &World, count: usize, flags: &[&str], reference: &str) -> Result<Vec<String>> {
    let key = world.softkey_arguments(KeySpec::Ec256);
    let words = ["sign", "--output", "json"].iter().chain(flags).copied();
    let arguments: Vec<&str> = words.chain(key.iter().map(String::as_str)).chain([reference]).collect();
    let mut digests = std::thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|_| scope.spawn(|| world.home.prokura(&arguments)?.ok())).collect();
        let said = all.into_iter().map(|one| one.join().map_err(|_| anyhow!("a thread panicked"))?);
        said.map(|said| digest_in(&said?)).collect::<Result<Vec<String>>>()
    })?;
    digests.sort();
    digests.dedup();
    ensure!(digests.len() == count, "{} different signatures of {count}", digests.len());
    Ok(digests)
}

fn digest_in(said: &str) -> Result<String> {
    let said: serde_json::Value = serde_json::from_str(said)?;
    let digest = said.pointer("/signed/0/signatureDigest").and_then(|digest| digest.as_str());
    Ok(digest.with_context(|| format!("no digest in {said}"))?.to_owned())
}

fn listed(world: &World, count: usize, flags: &[&str], reference: &str) -> Result<()> {
    let listed = world.home.prokura(["list"].iter().chain(flags).chain([&reference]))?.ok()?;
    ensure!(listed.matches("sha256:").count() == count + 1, "{count} signatures expected: {listed}");
    Ok(())
}
