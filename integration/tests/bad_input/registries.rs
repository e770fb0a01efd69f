//! Registries that lie: wrong digests, floods, redirects with credentials, bodies cut short.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::program::Run;
use prokura_integration::suite::trial;
use prokura_integration::world::World;
use prokura_plugin::KeySpec;
use prokura_registry::Digest;
use serde_json::json;

use super::says;
use super::server::{Answer, Asked, Server};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MIB: usize = 1024 * 1024;

/// Registry, disk and network are the infrastructure.
const INFRASTRUCTURE: i32 = 3;

type Test = fn(&World) -> Result<()>;

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let tests: [(&str, Test); 11] = [
        ("wrong-digest", wrong_digest),
        ("wrong-digest-by-tag", wrong_digest_by_tag),
        ("manifest-of-5-mib", large_manifest),
        ("manifest-of-5-mib-unannounced", large_manifest_in_secret),
        ("10000-referrers", many_referrers),
        ("referrers-in-a-circle", circle),
        ("redirect-with-credentials", redirect),
        ("challenge-elsewhere", challenge_elsewhere),
        ("truncated-manifest", truncated_manifest),
        ("truncated-envelope", truncated_envelope),
        ("escapes-in-error", escapes),
    ];
    let trials = tests.map(|(name, test)| {
        let world = Arc::clone(world);
        trial(format!("registry::{name}"), move || test(&world))
    });
    trials.into_iter().collect()
}

/// An artifact manifest, its digest.
fn artifact() -> (String, String) {
    let empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2});
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [config]}).to_string();
    let digest = Digest::sha256(manifest.as_bytes()).to_string();
    (manifest, digest)
}

/// A registry with one artifact; what `lie` does not answer is answered truly.
fn registry(lie: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Result<(Server, String)> {
    let (manifest, digest) = artifact();
    let known = digest.clone();
    let server = Server::start(move |asked| {
        if let Some(answer) = lie(asked) {
            return answer;
        }
        if asked.path == "/v2/" {
            return Answer::of("application/json", "{}");
        }
        if asked.path.contains(&format!("/manifests/{known}")) || asked.path.ends_with("/manifests/v1") {
            return Answer::of(MANIFEST, manifest.clone()).with("docker-content-digest", known.clone());
        }
        if asked.path.contains("/referrers/") {
            return Answer::of(
                INDEX,
                json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string(),
            );
        }
        Answer::status(404)
    })?;
    let reference = format!("{}/app@{digest}", server.address);
    Ok((server, reference))
}

fn verify(world: &World, reference: &str) -> Result<Run> {
    world.home.prokura(["verify", reference])
}

fn is_manifest(asked: &Asked) -> bool {
    asked.path.contains("/manifests/")
}

/// Nothing is signed either, and nothing was pushed.
fn not_signed(world: &World, server: &Server, reference: &str, exit: i32, words: &[&str]) -> Result<()> {
    let key = world.softkey_arguments(KeySpec::Ec256);
    let said = world
        .home
        .prokura(["sign".to_owned()].into_iter().chain(key).chain([reference.to_owned()]))?
        .refused(exit)?;
    says(&said, words)?;
    let pushed: Vec<_> =
        server.asked().into_iter().filter(|a| matches!(a.method.as_str(), "PUT" | "POST")).collect();
    ensure!(pushed.is_empty(), "something was pushed: {pushed:?}");
    Ok(())
}

fn wrong_digest(world: &World) -> Result<()> {
    let other = artifact().0.replace("schemaVersion", "schemaversion");
    let (server, reference) = registry(move |asked| {
        let (_, digest) = artifact();
        is_manifest(asked).then(|| Answer::of(MANIFEST, other.clone()).with("docker-content-digest", digest))
    })?;
    let words = ["has digest sha256:", "expected", "replaced or damaged"];
    says(&verify(world, &reference)?.refused(INFRASTRUCTURE)?, &words)?;
    not_signed(world, &server, &reference, INFRASTRUCTURE, &words)
}

/// The header names one digest, the content has another.
fn wrong_digest_by_tag(world: &World) -> Result<()> {
    let lie = Digest::sha256(b"something else").to_string();
    let (server, _) = registry(move |asked| {
        asked
            .path
            .ends_with("/manifests/v1")
            .then(|| Answer::of(MANIFEST, artifact().0).with("docker-content-digest", lie.clone()))
    })?;
    let reference = format!("{}/app:v1", server.address);
    let run = verify(world, &reference)?;
    ensure!(run.code == Some(INFRASTRUCTURE), "{run:?}");
    says(&run.stderr, &["sha256:"])?;
    not_signed(world, &server, &reference, INFRASTRUCTURE, &["sha256:"])
}

fn large_manifest(world: &World) -> Result<()> {
    let (server, reference) =
        registry(|asked| is_manifest(asked).then(|| Answer::of(MANIFEST, vec![b' '; 5 * MIB])))?;
    let words = ["too large", "4 MiB"];
    says(&verify(world, &reference)?.refused(INFRASTRUCTURE)?, &words)?;
    not_signed(world, &server, &reference, INFRASTRUCTURE, &words)
}

/// The length is not announced (HTTP/1.0 style: until the connection closes is not possible with a length, so it is
/// chunked), and the manifest of a signature is what floods.
fn large_manifest_in_secret(world: &World) -> Result<()> {
    let (_server, reference) = registry(|asked| {
        is_manifest(asked).then(|| {
            let chunk = [format!("{MIB:x}\r\n").as_bytes(), &vec![b' '; MIB], b"\r\n"].concat();
            let body = [chunk.repeat(5).as_slice(), b"0\r\n\r\n"].concat();
            Answer::of(MANIFEST, body).with("transfer-encoding", "chunked")
        })
    })?;
    says(&verify(world, &reference)?.refused(INFRASTRUCTURE)?, &["4 MiB"])
}

fn many_referrers(world: &World) -> Result<()> {
    let (server, reference) = registry(|asked| {
        let (_, query) = asked.path.split_once("/referrers/")?;
        let page: usize = query.split_once("page=").and_then(|(_, page)| page.parse().ok()).unwrap_or(0);
        let entries: Vec<_> = (0..200)
            .map(|n| {
                let digest = Digest::sha256(format!("{page}-{n}").as_bytes()).to_string();
                let kind = "application/vnd.cncf.notary.signature";
                json!({"mediaType": MANIFEST, "digest": digest, "size": 700, "artifactType": kind})
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
        let path = asked.path.split('?').next().unwrap_or_default();
        let next = format!("<{path}?page={}>; rel=\"next\"", page + 1);
        Some(Answer::of(INDEX, index).with("link", next))
    })?;
    let pages = || server.asked().iter().filter(|a| a.path.contains("/referrers/")).count();
    // As many as are asked for, and word of the rest.
    let some = world.home.prokura(["list", "--max-signatures", "50", &reference])?;
    says(&some.stderr, &["exceeded configured limit of max signatures 50"])?;
    ensure!(some.stdout.matches("sha256:").count() == 51 && pages() == 1, "{} pages: {some:?}", pages());
    let all = world.home.prokura(["list", "--max-signatures", "20000", &reference])?;
    // However many are asked for: no more than 10,000 are read, 200 to a page, and the rest is not passed over.
    says(&all.stderr, &["exceeded configured limit"])?;
    let listed = all.stdout.matches("sha256:").count();
    ensure!(listed <= 10_001, "{listed} digests were listed");
    ensure!((50..=52).contains(&(pages() - 1)), "{} pages were read", pages());
    // No signature of them exists: none is worth more than its own error.
    let verified = world.home.prokura(["verify", "--max-signatures", "3", &reference])?;
    ensure!(verified.code != Some(0), "{verified:?}");
    Ok(())
}

fn circle(world: &World) -> Result<()> {
    let (server, reference) = registry(|asked| {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
        let next = format!("<{}>; rel=\"next\"", asked.path);
        asked.path.contains("/referrers/").then(|| Answer::of(INDEX, index).with("link", next))
    })?;
    let run = verify(world, &reference)?;
    ensure!(run.code == Some(INFRASTRUCTURE), "{run:?}");
    let pages = server.asked().iter().filter(|a| a.path.contains("/referrers/")).count();
    ensure!(pages <= 201, "{pages} pages were read");
    Ok(())
}

/// Storage hosts get the request, never the password.
fn redirect(world: &World) -> Result<()> {
    let storage = Arc::new(Server::start(|_| Answer::of(MANIFEST, artifact().0))?);
    let target = format!("http://{}/stolen", storage.address.replace("localhost", "127.0.0.1"));
    let (server, reference) = registry(move |asked| {
        if asked.header("authorization").is_none() {
            return Some(Answer::status(401).with("www-authenticate", "Basic realm=\"test\""));
        }
        is_manifest(asked).then(|| Answer::status(307).with("location", target.clone()))
    })?;
    let run = world.home.prokura(["verify", "--username", "me", "--password", "hunter2", &reference])?;
    ensure!(run.code != Some(0), "{run:?}");
    ensure!(!run.stderr.contains("hunter2"), "the password is shown: {}", run.stderr);
    let authorized = server.asked().iter().filter(|a| a.header("authorization").is_some()).count();
    ensure!(authorized > 0, "the registry itself never saw the credentials: {run:?}");
    for asked in storage.asked() {
        let found = asked.header("authorization").or(asked.header("cookie"));
        ensure!(found.is_none(), "the other host saw {found:?}");
    }
    Ok(())
}

/// A registry that sends its users to the token service of somebody else, by plain HTTP off this machine.
fn challenge_elsewhere(world: &World) -> Result<()> {
    let (_server, reference) = registry(|_| {
        let challenge = "Bearer realm=\"http://192.0.2.1/token\",service=\"x\"";
        Some(Answer::status(401).with("www-authenticate", challenge))
    })?;
    let run = world.home.prokura(["verify", "--username", "me", "--password", "hunter2", &reference])?;
    let said = run.refused(INFRASTRUCTURE)?;
    says(&said, &["192.0.2.1", "refused"])?;
    ensure!(!said.contains("hunter2"), "the password is shown: {said}");
    Ok(())
}

fn truncated_manifest(world: &World) -> Result<()> {
    let (server, reference) = registry(|asked| {
        let manifest = artifact().0;
        let announced = Some(manifest.len());
        let half = manifest.get(..manifest.len() / 2).unwrap_or_default();
        is_manifest(asked).then(|| Answer { announced, ..Answer::of(MANIFEST, half) })
    })?;
    let said = verify(world, &reference)?.refused(INFRASTRUCTURE)?;
    says(&said, &[&server.address])?;
    not_signed(world, &server, &reference, INFRASTRUCTURE, &[&server.address])
}

/// A real signature of which half the envelope arrives.
fn truncated_envelope(world: &World) -> Result<()> {
    let layout = world.image()?.copy(&world.home.path().join("truncated-envelope"))?;
    let local = format!("{}:v1", layout.display());
    let key = world.softkey_arguments(KeySpec::Ec256);
    let sign = ["sign".to_owned(), "--oci-layout".to_owned()].into_iter().chain(key).chain([local]);
    world.home.prokura(sign)?.ok()?;
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let digests: Vec<String> = index["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry["digest"].as_str()?.to_owned()))
        .collect();
    let [artifact, signature] = digests.as_slice() else { anyhow::bail!("two manifests expected: {index}") };
    let blobs = layout.join("blobs/sha256");
    let entry = index["manifests"][1].clone();
    let server = Server::start(move |asked| {
        let read = || {
            let name = asked.path.rsplit(':').next().context("a digest")?;
            std::fs::read(blobs.join(name)).context("a blob")
        };
        if asked.path.contains("/referrers/") {
            let mut entry = entry.clone();
            entry["artifactType"] = "application/vnd.cncf.notary.signature".into();
            return Answer::of(
                INDEX,
                json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string(),
            );
        }
        match read() {
            Ok(content) if asked.path.contains("/blobs/") => {
                let half = content.get(..content.len() / 2).unwrap_or_default().to_vec();
                Answer { announced: Some(content.len()), ..Answer::of("application/octet-stream", half) }
            }
            Ok(content) => Answer::of(MANIFEST, content),
            Err(_) => Answer::status(404),
        }
    })?;
    let reference = format!("{}/app@{artifact}", server.address);
    let run = verify(world, &reference)?;
    ensure!(matches!(run.code, Some(1 | INFRASTRUCTURE)), "{run:?}");
    let blobs = server.asked().iter().filter(|asked| asked.path.contains("/blobs/")).count();
    ensure!(blobs > 0, "the envelope was never asked for: {run:?}");
    ensure!(run.stderr.contains(&server.address) || run.stderr.contains(signature.as_str()), "{run:?}");
    Ok(())
}

/// What a registry says is shown without its control characters.
fn escapes(world: &World) -> Result<()> {
    let (_server, reference) = registry(|asked| {
        let error =
            json!({"errors": [{"code": "DENIED", "message": "\u{1b}[31mno\u{7}\u{1b}]0;title\u{7}"}]});
        is_manifest(asked)
            .then(|| Answer { status: 403, ..Answer::of("application/json", error.to_string()) })
    })?;
    let run = verify(world, &reference)?;
    ensure!(run.code != Some(0), "{run:?}");
    says(&run.stderr, &["403", "DENIED"])
}
