//! All test vectors against every plugin, backend and key spec over both transports, and against our host.
//!
//! At the end stands one line per rule. A rule that is about another key spec is a visible skip of that line; a vector
//! that no key at all could be tried with fails.

#![expect(clippy::disallowed_methods, reason = "the test starts the kit")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Trial};
use prokura_integration::key;
use prokura_integration::kit::{
    Outcome, Subject, Verdict, check_host, check_plugin, load, vectors_directory,
};
use prokura_integration::program::{executable, output};
use prokura_integration::rogue::Break;
use prokura_integration::suite::trial;
use prokura_integration::vault::{BACKENDS, Running};
use prokura_integration::world::World;
use prokura_plugin::KeySpec;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::vector::{Transport, Vector};

#[path = "kit/vault.rs"]
mod vault;

/// All verdicts so far, each with who was under test.
type Told = Arc<Mutex<Vec<(String, Verdict)>>>;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let world = Arc::new(World::new()?);
    world.home.install("rogue", &executable("rogue")?)?;
    let vectors = Arc::new(load(&vectors_directory())?);
    let told = Told::default();
    let mut trials = Vec::new();
    let transports = [Transport::Stdio, Transport::Grpc];
    for (spec, transport) in KeySpec::ALL.into_iter().flat_map(|spec| transports.map(|t| (spec, t))) {
        let (world, vectors, told) = (Arc::clone(&world), Arc::clone(&vectors), Arc::clone(&told));
        let name = format!("softkey::{spec}::{}", format!("{transport:?}").to_lowercase());
        trials.push(trial(name.clone(), move || {
            settle(&told, &name, check_plugin(&softkey(&world, spec)?, &vectors, transport)?)
        }));
    }
    for backend in BACKENDS {
        let running = Arc::new(Running::new(backend));
        for (spec, transport) in backend.specs.iter().flat_map(|spec| transports.map(|t| (*spec, t))) {
            let (running, vectors, told) = (Arc::clone(&running), Arc::clone(&vectors), Arc::clone(&told));
            let name = format!("{}::{spec}::{}", backend.name, format!("{transport:?}").to_lowercase());
            trials.push(trial(name.clone(), move || {
                settle(&told, &name, check_plugin(&running.subject(spec)?, &vectors, transport)?)
            }));
        }
    }
    let (host_vectors, host_told) = (Arc::clone(&vectors), Arc::clone(&told));
    trials.push(trial("host", move || settle(&host_told, "host", check_host(&host_vectors)?)));
    trials.extend(rogues(&world, &vectors));
    trials.extend(vault::trials(&world, &vectors));
    let (by_hand, many) = (Arc::clone(&world), Arc::clone(&vectors));
    trials.push(trial("the_command_tells_by_its_exit_code", move || command(&by_hand)));
    trials.push(trial("there_are_enough_vectors", move || enough(&many)));
    let whole = arguments.filter.is_none() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    let untried = report(&told, &vectors)?;
    if whole && !untried.is_empty() {
        writeln!(std::io::stderr(), "no key could be tried with {}", untried.join(", "))?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(conclusion.exit_code())
}

fn softkey(world: &World, spec: KeySpec) -> Result<Subject> {
    let config = [("dir".to_owned(), world.keys.directory.display().to_string())].into_iter().collect();
    Ok(Subject {
        program: executable("notation-softkey")?,
        key_id: key::id(spec),
        config,
        environment: Vec::new(),
    })
}

/// Keeps the verdicts for the report; a broken rule fails the test.
fn settle(told: &Told, name: &str, verdicts: Vec<Verdict>) -> Result<()> {
    let broken: Vec<String> = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.outcome, Outcome::Broken(_)))
        .map(ToString::to_string)
        .collect();
    if let Ok(mut told) = told.lock() {
        told.extend(verdicts.into_iter().map(|verdict| (name.to_owned(), verdict)));
    }
    ensure!(broken.is_empty(), "{} rules are broken:\n{}", broken.len(), broken.join("\n"));
    Ok(())
}

/// One line per rule and side: kept by how many keys, skipped for how many, or broken. Returns the vectors that were
/// skipped by all.
fn report(told: &Told, vectors: &[Vector]) -> Result<Vec<String>> {
    #[derive(Default)]
    struct Line {
        comment: String,
        kept: usize,
        skipped: usize,
        broken: Vec<String>,
    }
    let mut lines: BTreeMap<(String, &str, String), Line> = BTreeMap::new();
    for (name, verdict) in told.lock().map(|told| told.clone()).unwrap_or_default() {
        let line = lines.entry((verdict.rule, verdict.side, verdict.vector)).or_default();
        line.comment = verdict.comment;
        match verdict.outcome {
            Outcome::Kept => line.kept += 1,
            Outcome::Skipped(_) => line.skipped += 1,
            Outcome::Broken(_) => line.broken.push(name),
        }
    }
    let mut stdout = std::io::stdout().lock();
    for ((rule, side, _), Line { comment, kept, skipped, broken }) in &lines {
        let word = match (broken.is_empty(), *kept) {
            (false, _) => "FAIL",
            (true, 0) => "skip",
            (true, _) => "ok",
        };
        let by = if broken.is_empty() { String::new() } else { format!(": broken by {}", broken.join(", ")) };
        let keys = if *kept == 1 { "key" } else { "keys" };
        let other = if *skipped == 0 { String::new() } else { format!(", {skipped} not about them") };
        writeln!(stdout, "{word:<5} {rule:<10} {side:<5}  {comment} ({kept} {keys}{other}){by}")?;
    }
    let tried = |vector: &Vector| {
        lines.iter().any(|((_, _, name), line)| *name == vector.name && line.skipped == 0)
            || lines
                .iter()
                .any(|((_, _, name), line)| *name == vector.name && line.kept + line.broken.len() > 0)
    };
    Ok(vectors.iter().filter(|vector| !tried(vector)).map(|vector| vector.name.clone()).collect())
}

/// A kit that never fails is none: it must notice what the rogue does.
fn rogues(world: &Arc<World>, vectors: &Arc<Vec<Vector>>) -> Vec<Trial> {
    let stdio: [(Break, &'static str); 19] = [
        (Break::Banner, "OUT-1"),
        (Break::TrailingText, "OUT-1"),
        (Break::OtherKeyId, "SIG-1"),
        (Break::OtherKeyIdDescribed, "KEY-1"),
        (Break::UnknownKeySpec, "KEY-2"),
        (Break::SignatureByAnotherKey, "does not verify"),
        (Break::TruncatedSignature, "SIG-3"),
        (Break::DerSignature, "look like ASN.1 DER"),
        (Break::HashedTwice, "does not verify"),
        (Break::WrongSigningAlgorithm, "SIG-2"),
        (Break::MissingSigningAlgorithm, "SIG-2"),
        (Break::NoChain, "there is no certificate"),
        (Break::NoRoot, "CERT-3"),
        (Break::WrongOrder, "CERT-4"),
        (Break::CaAsLeaf, "CERT-7"),
        (Break::OtherName, "META-8"),
        (Break::EmptyVersion, "META-3"),
        (Break::OtherContractVersion, "META-7"),
        (Break::EmptyAnswer, "found nothing"),
    ];
    let grpc = [
        (Break::OtherKeyId, "key_id"),
        (Break::SignatureByAnotherKey, "does not verify"),
        (Break::DerSignature, "look like ASN.1 DER"),
        (Break::WrongSigningAlgorithm, "signing_algorithm"),
        (Break::KeyRotates, "another key signed"),
        (Break::GrpcOtherName, "META-8"),
        (Break::GrpcWrongReadyLine, "Listening on the socket"),
        (Break::GrpcNoSocket, "cannot connect"),
        (Break::GrpcNeverStops, "did not end"),
    ];
    let stdio = stdio.into_iter().map(|(switch, word)| (switch, word, Transport::Stdio));
    let grpc = grpc.into_iter().map(|(switch, word)| (switch, word, Transport::Grpc));
    let mut trials = Vec::new();
    for (switch, word, transport) in stdio.chain(grpc) {
        let (world, vectors) = (Arc::clone(world), Arc::clone(vectors));
        let name = format!("the_kit_notices::{}::{transport:?}", switch.name()).to_lowercase();
        trials.push(trial(name, move || {
            let subject = rogue(&world, switch, transport)?;
            let verdicts = match check_plugin(&subject, &vectors, transport) {
                Ok(verdicts) => verdicts,
                // It says that it cannot even begin.
                Err(error) => {
                    let said = format!("{error:#}");
                    ensure!(said.contains("does not describe its key") && said.contains(word), "{said}");
                    return Ok(());
                }
            };
            let broken = verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::Broken(_)));
            let broken: Vec<String> = broken.map(ToString::to_string).collect();
            ensure!(broken.iter().any(|line| line.contains(word)), "{word:?} is not among {broken:#?}");
            Ok(())
        }));
    }
    trials
}

/// The rogue under its own name in a directory of its own, where it keeps what it was told.
fn rogue(world: &World, switch: Break, transport: Transport) -> Result<Subject> {
    let directory = tempfile::tempdir_in(world.home.path())?.keep();
    let program = directory.join("notation-rogue");
    // One copy for all, made before there are threads: a file that is open for writing cannot be started.
    std::fs::hard_link(world.home.plugins().join("rogue/notation-rogue"), &program)?;
    let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let transport = if transport == Transport::Grpc { "grpc" } else { "stdio" };
    let config: PluginConfig =
        [entry("break", &switch.name()), entry("transport", transport)].into_iter().collect();
    Ok(Subject { program, key_id: "rogue-key".to_owned(), config, environment: Vec::new() })
}

/// What a vendor would type.
fn command(world: &World) -> Result<()> {
    let config = format!("dir={}", world.keys.directory.display());
    let arguments = ["--key-id", "ec-256", "--plugin-config", &config];
    let run = output(Command::new(executable("kit")?).arg(executable("notation-softkey")?).args(arguments))?;
    let said = run.ok()?;
    ensure!(said.contains("\nok ") && said.contains(" 0 broken"), "{said}");

    let rogue = rogue(world, Break::DerSignature, Transport::Stdio)?;
    let mut kit = Command::new(executable("kit")?);
    kit.arg(rogue.program).args(["--key-id", "k", "--plugin-config", "break=der-signature"]);
    let run = output(kit.args(["--transport", "stdio", "--json"]))?;
    ensure!(run.code == Some(1), "{run:?}");
    let broken = run.stdout.lines().filter(|line| line.contains(r#""result":"broken""#)).count();
    ensure!(broken > 0, "{}", run.stdout);

    let run = output(Command::new(executable("kit")?).args(["/nowhere/notation-x", "--key-id", "k"]))?;
    ensure!(run.code == Some(2) && run.stderr.contains("/nowhere/notation-x"), "{run:?}");
    Ok(())
}

fn enough(vectors: &[Vector]) -> Result<()> {
    use prokura_plugin::vector::Direction;
    let of = |direction| vectors.iter().filter(|vector| vector.direction == direction).count();
    let (plugin, host) = (of(Direction::Plugin), of(Direction::Host));
    ensure!(plugin + host >= 30 && plugin >= 10 && host >= 10, "{plugin} for plugins and {host} for hosts");
    Ok(())
}
