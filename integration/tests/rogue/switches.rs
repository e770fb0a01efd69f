//! One test per switch of the rogue, over stdio and, where it exists there, over gRPC.

use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::ValueEnum as _;
use libtest_mimic::Trial;
use prokura_integration::program::executable;
use prokura_integration::rogue::Break;
use prokura_integration::suite::trial;
use prokura_integration::world::World;

use super::Told;
use super::scene::Scene;

const KEY_ID: &str = "rogue-key";

/// How an attempt must end.
enum Expected {
    /// The switch harms nobody.
    Signed,
    /// gRPC does not work and the host signs over stdio; told with --verbose in these words.
    FellBack(&'static [&'static str]),
    /// Exit code, and words that the error must hold: what was found, what was expected, who must act.
    Refused(i32, &'static [&'static str]),
}
use Expected::{FellBack, Refused, Signed};

const AUTHOR: &str = "its author must act";
const CONFIGURER: &str = "whoever configured the key and its certificates must act";

pub(crate) fn trials(world: &Arc<World>, told: &Told) -> Vec<Trial> {
    let installed = executable("rogue").and_then(|rogue| world.home.install("rogue", &rogue));
    let installed = installed.map(|_| ()).map_err(|e| format!("{e:#}"));
    let mut trials = Vec::new();
    for &switch in Break::value_variants() {
        let transports: &[&str] = match (switch.is_grpc(), switch.is_in_answer()) {
            (true, _) => &["grpc"],
            (_, true) => &["stdio", "grpc"],
            _ => &["stdio"],
        };
        for transport in transports {
            let name = format!("{transport}::{}", switch.name());
            let (world, told, installed) = (Arc::clone(world), Arc::clone(told), installed.clone());
            trials.push(trial(name.clone(), move || {
                installed.map_err(anyhow::Error::msg)?;
                let line = attempt(&world, &name, switch, transport == &"grpc", "generate-signature")?;
                told.lock().map(|mut told| told.insert(name, line)).ok();
                Ok(())
            }));
        }
    }
    // What a process does wrong, it may do in any command.
    for at in ["get-plugin-metadata", "describe-key"] {
        for switch in [Break::Dies, Break::Hangs, Break::Banner, Break::FloodsStdout, Break::EscapesInError] {
            let name = format!("stdio::{}::{at}", switch.name());
            let (world, installed) = (Arc::clone(world), installed.clone());
            trials.push(trial(name.clone(), move || {
                installed.map_err(anyhow::Error::msg)?;
                let line = attempt(&world, &name, switch, false, at)?;
                ensure!(line.contains(at), "{at} is not named: {line}");
                Ok(())
            }));
        }
    }
    trials
}

/// Attempts a signature and returns what the user was told.
fn attempt(world: &Arc<World>, name: &str, switch: Break, grpc: bool, at: &str) -> Result<String> {
    let scene = Scene::new(world, name)?;
    scene.install_rogue()?;
    let config = [
        format!("break={}", switch.name()),
        format!("transport={}", if grpc { "grpc" } else { "stdio" }),
        format!("pids={}", scene.pids().display()),
        format!("at={at}"),
        // A process that crashed is replaced by one that has the same key, as with a vault.
        format!("{}={}", if switch == Break::KeyRotates { "no-key" } else { "key" }, scene.key()),
    ];
    let mut arguments = ["--plugin", "rogue", "--id", KEY_ID, "--deadline", "4s"].map(str::to_owned).to_vec();
    arguments.extend(config.into_iter().flat_map(|entry| ["--plugin-config".to_owned(), entry]));
    let surroundings = [
        ("NOTATION_USERNAME", "canary"),
        ("NOTATION_PASSWORD", "canary"),
        ("PROKURA_TEST_CANARY", "canary"),
        // A library that is not there: the loader warns and goes on.
        ("LD_PRELOAD", "/nowhere/canary.so"),
    ];
    let surroundings = if switch == Break::LeakedCredentials { &surroundings[..] } else { &[] };
    let expected = expected(switch, grpc);
    let run = scene.sign(&arguments, surroundings)?;
    match expected {
        Signed => {
            let said = run.ok()?;
            scene.is_signed()?;
            let at_least = if grpc { 2 } else { 3 };
            let found = scene.processes();
            ensure!(found >= at_least, "{found} processes, expected {at_least} or more: was it {name}?");
            Ok(format!("signed: {}", said.trim()))
        }
        FellBack(words) => {
            let said = run.stderr.clone();
            run.ok()?;
            scene.is_signed()?;
            says(&said, &["the plugin was spoken to over stdio, gRPC failed"])?;
            says(&said, words)?;
            let line = said.lines().find(|line| line.contains("gRPC failed")).unwrap_or_default();
            Ok(format!("signed over stdio: {line}"))
        }
        Refused(exit, words) => {
            let said = run.refused(exit)?;
            says(&said, words)?;
            ensure!(said.contains("rogue"), "the plugin is not named: {said}");
            scene.is_untouched()?;
            Ok(said.trim().replace('\n', " "))
        }
    }
}

fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "{word:?} is not said: {said}");
    }
    Ok(())
}

fn expected(switch: Break, grpc: bool) -> Expected {
    match switch {
        Break::Nothing
        | Break::LeavesGrandchild
        | Break::SlowStart
        | Break::LeakedCredentials
        | Break::EscapesInMetadata
        // The host asked over stdio who the plugin is and does not ask again.
        | Break::GrpcOtherName
        | Break::GrpcNeverStops
        | Break::GrpcNeedsBytes
        | Break::GrpcUnaskedBytes
        | Break::GrpcSlowStart
        | Break::GrpcFloodsStderr => Signed,

        Break::Dies => Refused(3, &["exit status 1", "nothing to stderr", AUTHOR]),
        Break::DiesBySignal => Refused(3, &["signal", "9", AUTHOR]),
        Break::Hangs | Break::HangsWithGrandchild => Refused(3, &["no answer", "was ended", "must act"]),
        Break::FloodsStdout | Break::MetadataFlood => Refused(3, &["67108864 bytes", "stdout", AUTHOR]),
        Break::FloodsStderr => Refused(3, &["67108864 bytes", "stderr", AUTHOR]),

        Break::Banner => Refused(1, &["OUT-1", "Connecting to the vault", "one JSON object", AUTHOR]),
        Break::TrailingText => Refused(1, &["OUT-1", "trailing", "one JSON object", AUTHOR]),
        Break::NotJson => Refused(1, &["OUT-1", "502 Bad Gateway", "one JSON object", AUTHOR]),
        Break::EmptyAnswer => Refused(1, &["OUT-1", "found nothing", "one JSON object", AUTHOR]),
        Break::DuplicateMember => Refused(1, &["OUT-1", "duplicate", AUTHOR]),
        Break::DepthBomb => Refused(1, &["OUT-1", "keyId", AUTHOR]),

        Break::OtherKeyIdDescribed => Refused(
            1,
            &["KEY-1", "rogue-key-of-somebody-else", "expected the requested \"rogue-key\"", AUTHOR],
        ),
        Break::OtherKeyId => Refused(
            1,
            &["SIG-1", "rogue-key-of-somebody-else", "expected the requested \"rogue-key\"", AUTHOR],
        ),
        Break::UnknownKeySpec => Refused(1, &["KEY-2", "RSA-1024", "EC-256", AUTHOR]),
        Break::WrongKeySpec if grpc => Refused(1, &["GRPC-3", "EC-384", "EC-256", AUTHOR]),
        Break::WrongKeySpec => Refused(
            3,
            &[
                "the key changed between describe-key and generate-signature",
                "was an EC-384 key, the signature is by an EC-256 key",
                "nothing was signed, sign again",
            ],
        ),
        Break::KeyRotates => Refused(
            3,
            &[
                "the key changed between DescribeKey and SignDigest",
                "was an EC-256 key, the signature is by another EC-256 key",
                "nothing was signed, sign again",
            ],
        ),

        Break::SignatureByAnotherKey => {
            Refused(1, &["does not verify under the leaf", "another key", AUTHOR])
        }
        Break::TruncatedSignature => Refused(1, &["SIG-3", "64 bytes", "found 63", AUTHOR]),
        Break::DerSignature => Refused(1, &["SIG-3", "ASN.1 DER", "r||s", AUTHOR]),
        Break::GrpcSignsOtherBytes => Refused(1, &["does not verify under the leaf", AUTHOR]),
        Break::HashedTwice => Refused(1, &["does not verify", "hashed once more", AUTHOR]),
        Break::Pkcs1Signature => Refused(1, &["PKCS#1 v1.5", "PSS", AUTHOR]),
        Break::PssSaltMax => Refused(1, &["salt", "222", "32", AUTHOR]),
        Break::WrongSigningAlgorithm => {
            Refused(1, &["SIG-2", "RSASSA-PSS-SHA-512", "expected \"ECDSA-SHA-256\"", AUTHOR])
        }
        Break::MissingSigningAlgorithm => {
            Refused(1, &["SIG-2", "missing", "expected \"ECDSA-SHA-256\"", AUTHOR])
        }

        // Over gRPC the host completes and orders what the vault holds.
        Break::WrongOrder | Break::ExtraCertificate if grpc => Signed,
        Break::NoChain if grpc => {
            Refused(1, &["cannot be completed: there is no certificate; name a PEM", "ca_certs=FILE", "the page of plugin rogue"])
        }
        Break::NoRoot if grpc => {
            Refused(1, &["rogue root", "which issued", "rogue leaf", "is missing", "ca_certs=FILE"])
        }
        Break::NoChain => Refused(
            1,
            &["there is no certificate chain; leaf, intermediates and root are required", CONFIGURER],
        ),
        Break::NoRoot => Refused(1, &["breaks CERT-3:", "rogue leaf", "is the last of the chain", CONFIGURER]),
        Break::WrongOrder => {
            Refused(1, &["breaks CERT-4:", "rogue root", "is self-signed but at position 0", CONFIGURER])
        }
        Break::ExtraCertificate => {
            Refused(1, &["breaks CERT-4:", "rogue root", "is self-signed but at position 1", CONFIGURER])
        }
        // Over gRPC the chain is known before the key is used: no PIN, touch or paid call for nothing.
        Break::ExpiredLeaf if grpc => Refused(1, &["returned from DescribeKey", "breaks CERT-2:", CONFIGURER]),
        Break::CaAsLeaf if grpc => Refused(1, &["returned from DescribeKey", "breaks CERT-7:", CONFIGURER]),
        Break::CaAsLeaf => Refused(1, &["breaks CERT-7:", "rogue leaf", "is a CA certificate", CONFIGURER]),
        Break::ExpiredLeaf => {
            Refused(1, &["breaks CERT-2:", "rogue leaf", "is expired", "to 2021-01-01T00:00:00Z", CONFIGURER])
        }
        Break::ServerAuthLeaf => {
            Refused(1, &["breaks CERT-11:", "rogue leaf", "has extended key usage serverAuth", CONFIGURER])
        }
        Break::MalformedCertificate => Refused(1, &["certificate 1", AUTHOR]),
        Break::TooManyCertificates => Refused(1, &["101", "16", AUTHOR]),

        Break::UnknownErrorCode => Refused(1, &["QUOTA_OF_MOONS_EXCEEDED", "out of moons", "must act"]),
        Break::EscapesInError => {
            Refused(1, &["ACCESS_DENIED", "red", "key", "credentials of the vault must act"])
        }
        Break::NotJsonError => Refused(3, &["Traceback", "vault.py", AUTHOR]),
        Break::EmptyError if grpc => Refused(1, &["ERROR", "must act"]),
        Break::EmptyError => Refused(3, &["exit status 1", "{}", AUTHOR]),

        Break::OtherName => Refused(1, &["META-8", "somebody-else", "expected \"rogue\"", AUTHOR]),
        Break::EmptyVersion => Refused(1, &["META-3", "version", AUTHOR]),
        Break::NoCapabilities => Refused(1, &["META-5", "capabilities", AUTHOR]),
        Break::OtherContractVersion => Refused(1, &["META-7", "2.0", "1.0", AUTHOR]),

        Break::GrpcNoReadyLine => FellBack(&["no answer", "must act"]),
        Break::GrpcWrongReadyLine => FellBack(&["Listening on the socket", "ready prokura.plugin.v1", AUTHOR]),
        Break::GrpcNoSocket => FellBack(&["socket", AUTHOR]),
        Break::GrpcOtherPid => FellBack(&["GRPC-2", "process", AUTHOR]),
        Break::GrpcDiesWhileSigning => Refused(3, &["signal", AUTHOR]),
        Break::GrpcAbortsAtStart => FellBack(&["SIGABRT", "libvendor: cannot map the token", AUTHOR]),
        Break::GrpcAbortsInSign => Refused(3, &["SIGABRT", "SignDigest", "assertion failed", AUTHOR]),
        Break::GrpcHangsUpInSign => Refused(1, &["GRPC-6", "SignDigest", AUTHOR]),
        Break::GrpcStopsInSign | Break::GrpcHangsInSign => Refused(3, &["no answer", "must act"]),
        Break::GrpcHugeAnswer => Refused(1, &["1048576", AUTHOR]),
    }
}
