//! `notation-prokura` between hosts and a broker: our host over gRPC and notation-go over stdio sign through it, the
//! broker reads what is signed, and what it refuses is told.

#![expect(clippy::disallowed_methods, reason = "tests start real programs")]

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use prokura_integration::backend::broker::{FORBIDDEN, StandIn};
use prokura_integration::backend::registry::Registry;
use prokura_integration::home::Home;
use prokura_integration::image::Image;
use prokura_integration::key;
use prokura_integration::program::{executable, go_executable, run};
use prokura_integration::suite::trial;
use prokura_plugin::KeySpec;

const SPECS: [KeySpec; 3] = [KeySpec::Ec256, KeySpec::Ec384, KeySpec::Rsa3072];

/// A home with the plugin, and a broker whose root it trusts.
struct Ground {
    broker: StandIn,
    home: Home,
}

impl Ground {
    fn new() -> Result<Self> {
        let home = Home::new()?;
        home.install("prokura", &executable("notation-prokura")?)?;
        let broker = StandIn::start(home.path(), &SPECS)?;
        home.trust(&broker.root, "strict")?;
        Ok(Self { broker, home })
    }

    fn key_arguments(&self, key: &str) -> Vec<String> {
        let address = format!("address={}", self.broker.address());
        ["--plugin", "prokura", "--id", key, "--plugin-config", &address].map(str::to_owned).to_vec()
    }

    /// What the broker read of a signature: its type, and the artifact of the image.
    fn was_read(&self, format: &str, digest: &str) -> Result<()> {
        let seen = self.broker.seen();
        let wanted = format!("notary_{format}");
        let read = seen
            .iter()
            .find(|seen| seen.artifact == digest)
            .with_context(|| format!("{digest} in {seen:?}"))?;
        ensure!(read.content_type == wanted && read.idempotency_key.len() == 64, "{read:?}");
        Ok(())
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let ground = Arc::new(Ground::new()?);
    let mut trials = Vec::new();
    for spec in SPECS {
        for format in ["jws", "cose"] {
            let name = format!("our_host::{spec}::{format}");
            trials.push(of(&ground, name, move |ground| our_host(ground, spec, format)));
            let name = format!("notation_go::{spec}::{format}");
            trials.push(of(&ground, name, move |ground| notation_go(ground, spec, format)));
        }
    }
    trials.push(of(&ground, "keys_are_discovered".to_owned(), discover));
    trials.push(of(&ground, "a_denial_names_the_policy".to_owned(), denied));
    trials.push(of(&ground, "a_request_for_a_certificate_is_no_envelope".to_owned(), certificate_request));
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn of(
    ground: &Arc<Ground>,
    name: String,
    test: impl FnOnce(&Ground) -> Result<()> + Send + 'static,
) -> Trial {
    let ground = Arc::clone(ground);
    trial(name, move || test(&ground))
}

fn our_host(ground: &Ground, spec: KeySpec, format: &str) -> Result<()> {
    let own = ground.home.path().join(format!("{}-{format}", key::id(spec)));
    std::fs::create_dir(&own)?;
    let image = Image::create(&own)?;
    let reference = format!("{}@{}", image.layout.display(), image.digest);
    let mut arguments = ["sign", "--oci-layout", "--output", "json", "--signature-format", format]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(ground.key_arguments(&key::id(spec)));
    arguments.push(reference.clone());
    let said = ground.home.prokura(arguments)?.ok()?;
    let signed: serde_json::Value = serde_json::from_str(&said)?;
    ensure!(
        signed.pointer("/signed/0/transport").is_some_and(|transport| transport == "grpc"),
        "not over gRPC: {said}"
    );
    ensure!(said.contains("request-1#0"), "the broker's request id is not told: {said}");
    ground.home.prokura(["verify", "--oci-layout", "--scope", "local/brokered", &reference])?.ok()?;
    ground.was_read(format, &image.digest)
}

fn notation_go(ground: &Ground, spec: KeySpec, format: &str) -> Result<()> {
    let own = ground.home.path().join(format!("go-{}-{format}", key::id(spec)));
    std::fs::create_dir(&own)?;
    let image = Image::create(&own)?;
    let registry = Registry::olareg(true)?;
    let reference = image.push(&registry, "brokered")?;
    let mut command = ground.home.command(&go_executable("notation-go-sign")?);
    command.args(["-reference", &reference, "-format", format, "-plugin", "prokura", "-plugin-dir"]);
    command.arg(ground.home.plugins()).args(["-key-id", &key::id(spec), "-plugin-config"]);
    run(command.arg(format!("address={}", ground.broker.address())))?;
    ground.home.prokura(["verify", &reference])?.ok()?;
    let root = own.join("root.pem");
    std::fs::write(&root, &ground.broker.root)?;
    let mut command = Command::new(go_executable("notation-go-verify")?);
    let said = run(command.args(["-reference", &reference, "-trust-root"]).arg(root))?;
    ensure!(said.contains("\"verified\":true") || said.contains("\"verified\": true"), "{said}");
    ground.was_read(format, &image.digest)
}

fn discover(ground: &Ground) -> Result<()> {
    let address = format!("address={}", ground.broker.address());
    let verb = ["key", "discover", "--output", "json", "--plugin", "prokura", "--plugin-config", &address];
    let said: serde_json::Value = serde_json::from_str(&ground.home.prokura(verb)?.ok()?)?;
    let keys = said.get("keys").and_then(|keys| keys.as_array()).context("no keys")?;
    let ids: BTreeSet<_> = keys.iter().filter_map(|key| key.get("id")?.as_str().map(str::to_owned)).collect();
    let wanted = SPECS.iter().map(|spec| key::id(*spec)).chain([FORBIDDEN.to_owned()]).collect();
    ensure!(ids == wanted, "{said}");
    Ok(())
}

fn denied(ground: &Ground) -> Result<()> {
    let own = ground.home.path().join("denied");
    std::fs::create_dir(&own)?;
    let image = Image::create(&own)?;
    let mut arguments = ["sign", "--oci-layout"].map(str::to_owned).to_vec();
    arguments.extend(ground.key_arguments(FORBIDDEN));
    arguments.push(format!("{}@{}", image.layout.display(), image.digest));
    let said = ground.home.prokura(arguments)?.refused(1)?;
    for words in
        ["ACCESS_DENIED", "denied by policy only-release-branches", "a retry does not help", "request-2"]
    {
        ensure!(said.contains(words), "{words:?} is not said: {said}");
    }
    Ok(())
}

fn certificate_request(ground: &Ground) -> Result<()> {
    let mut arguments = ["cert", "request", "--subject", "CN=a,O=b,ST=WA,C=US"].map(str::to_owned).to_vec();
    arguments.extend(ground.key_arguments(&key::id(KeySpec::Ec256)));
    let said = ground.home.prokura(arguments)?.refused(1)?;
    ensure!(said.contains("allow-digest=yes"), "{said}");
    Ok(())
}
