//! Envelopes that break a rule: refused by `verify` with the reason for each, and by `inspect` where unreadable.

use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::suite::trial;
use prokura_integration::world::World;

use super::forgery::{COSE, Forger, JWS};
use super::{cbor, says};

const NESTED: usize = 100_000;

/// What `inspect`, which verifies nothing, does with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inspect {
    Refuses,
    Shows,
}
use Inspect::{Refuses, Shows};

/// Name, media type, the envelope, the words `verify` must say, and what `inspect` does.
type Case = (&'static str, &'static str, fn(&Forger) -> Result<Vec<u8>>, &'static [&'static str], Inspect);

const CASES: &[Case] = &[
    (
        "jws-duplicate-member",
        JWS,
        |f| f.jws(&good(), &f.payload(), r#""payload":"e30","#),
        &["payload"],
        Refuses,
    ),
    (
        "jws-duplicate-in-header",
        JWS,
        |f| f.jws(&Forger::header("ES256", &[], r#""alg":"ES384","#), &f.payload(), ""),
        &["alg"],
        Refuses,
    ),
    (
        "jws-duplicate-in-payload",
        JWS,
        |f| f.jws(&good(), &f.payload().replacen('{', r#"{"targetArtifact":{},"#, 1), ""),
        &["targetArtifact"],
        Refuses,
    ),
    (
        "jws-unknown-critical",
        JWS,
        |f| f.jws(&Forger::header("ES256", &["org.example.x"], r#""org.example.x":1,"#), &f.payload(), ""),
        &["org.example.x", "critical"],
        Shows,
    ),
    (
        "jws-critical-but-absent",
        JWS,
        |f| f.jws(&Forger::header("ES256", &["org.example.x"], ""), &f.payload(), ""),
        &["org.example.x", "crit"],
        Refuses,
    ),
    (
        "jws-alg-of-another-key",
        JWS,
        |f| f.jws(&Forger::header("ES384", &[], ""), &f.payload(), ""),
        &["EC-256"],
        Shows,
    ),
    (
        "jws-alg-none",
        JWS,
        |f| f.jws(&Forger::header("none", &[], ""), &f.payload(), ""),
        &["none", "PS256"],
        Refuses,
    ),
    (
        "jws-alg-hmac",
        JWS,
        |f| f.jws(&Forger::header("HS256", &[], ""), &f.payload(), ""),
        &["HS256"],
        Refuses,
    ),
    (
        "jws-alg-pkcs1",
        JWS,
        |f| f.jws(&Forger::header("RS256", &[], ""), &f.payload(), ""),
        &["RS256"],
        Refuses,
    ),
    (
        "jws-depth-bomb",
        JWS,
        |f| f.jws(&good(), &f.payload(), &format!(r#""x":{}{},"#, "[".repeat(NESTED), "]".repeat(NESTED))),
        &["nest"],
        Refuses,
    ),
    (
        "jws-depth-bomb-in-header",
        JWS,
        |f| {
            let bomb = format!(r#""x":{}{},"#, "[".repeat(NESTED), "]".repeat(NESTED));
            f.jws(&Forger::header("ES256", &[], &bomb), &f.payload(), "")
        },
        &["nest"],
        Refuses,
    ),
    (
        "jws-other-content-type",
        JWS,
        |f| f.jws(&good().replace("notary.payload.v1+json", "notary.other"), &f.payload(), ""),
        &["notary.other"],
        Shows,
    ),
    ("jws-empty", JWS, |_| Ok(Vec::new()), &["not a valid jws envelope"], Refuses),
    ("jws-not-json", JWS, |_| Ok(b"<html>".to_vec()), &["not a valid jws envelope"], Refuses),
    (
        "jws-text-behind",
        JWS,
        |f| Ok([f.jws(&good(), &f.payload(), "")?, b"{}".to_vec()].concat()),
        &["not a valid"],
        Refuses,
    ),
    ("jws-as-cose", COSE, |f| f.jws(&good(), &f.payload(), ""), &["not a valid cose envelope"], Refuses),
    (
        "jws-changed",
        JWS,
        |f| {
            let text = String::from_utf8(f.jws(&good(), &f.payload(), "")?)?;
            let other =
                String::from_utf8(f.jws(&good(), &f.payload().replace("sha256:", "sha256:0"), "")?)?;
            let payload = |text: &str| text.split('"').nth(3).unwrap_or_default().to_owned();
            Ok(text.replace(&payload(&text), &payload(&other)).into_bytes())
        },
        &[
            "integrity: signature is invalid",
            "the envelope was changed or is wrongly signed; under the leaf certificate",
            "another key made the signature, or it covers other bytes",
        ],
        Shows,
    ),
    (
        "cose-wrong-alg",
        COSE,
        |f| f.cose(&cbor::map(&Forger::labels(-35)), &f.payload(), &[]),
        &["EC-256"],
        Shows,
    ),
    (
        "cose-unknown-alg",
        COSE,
        |f| f.cose(&cbor::map(&Forger::labels(-8)), &f.payload(), &[]),
        &["-8"],
        Refuses,
    ),
    (
        "cose-duplicate-label",
        COSE,
        |f| {
            let labels = [Forger::labels(-7), vec![(cbor::int(1), cbor::int(-35))]].concat();
            f.cose(&cbor::map(&labels), &f.payload(), &[])
        },
        &["not a valid"],
        Refuses,
    ),
    (
        "cose-unknown-critical",
        COSE,
        |f| {
            let mut labels = Forger::labels(-7);
            labels[1].1 =
                cbor::array(&[cbor::text("io.cncf.notary.signingScheme"), cbor::text("org.example.x")]);
            labels.push((cbor::text("org.example.x"), cbor::int(1)));
            f.cose(&cbor::map(&labels), &f.payload(), &[])
        },
        &["org.example.x", "critical"],
        Shows,
    ),
    (
        "cose-depth-bomb",
        COSE,
        |f| {
            let bomb = [vec![0x81; NESTED], cbor::int(0)].concat();
            f.cose(&cbor::map(&Forger::labels(-7)), &f.payload(), &[(cbor::text("x"), bomb)])
        },
        &["nest"],
        Refuses,
    ),
    // An array that says it has 2^64-1 items.
    ("cose-endless-array", COSE, |_| Ok([&[0xd2, 0x9b][..], &[0xff; 8]].concat()), &["not a valid"], Refuses),
    ("cose-empty", COSE, |_| Ok(Vec::new()), &["not a valid cose envelope"], Refuses),
];

fn good() -> String {
    Forger::header("ES256", &[], "")
}

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|case| {
            let world = Arc::clone(world);
            trial(format!("envelope::{}", case.0), move || refused(&world, case))
        })
        .collect();
    let (control, all) = (Arc::clone(world), Arc::clone(world));
    trials.push(trial("envelope::control", move || faultless(&control)));
    trials.push(trial("envelope::all-in-one-layout", move || each_with_its_reason(&all)));
    trials
}

/// What is refused elsewhere is refused for its fault: without one, the same envelope verifies.
fn faultless(world: &World) -> Result<()> {
    for (format, media_type) in [("jws", JWS), ("cose", COSE)] {
        let forger = Forger::new(world, &format!("control-{format}"))?;
        let envelope = match format {
            "jws" => forger.jws(&good(), &forger.payload(), "")?,
            _ => forger.cose(&cbor::map(&Forger::labels(-7)), &forger.payload(), &[])?,
        };
        forger.store(media_type, &envelope)?;
        let said = verify(world, &forger)?.ok()?;
        ensure!(said.contains("Successfully verified"), "{said}");
    }
    Ok(())
}

fn refused(world: &World, case: &Case) -> Result<()> {
    let (name, media_type, envelope, words, inspect) = *case;
    let forger = Forger::new(world, name)?;
    let digest = forger.store(media_type, &envelope(&forger)?)?;
    let said = verify(world, &forger)?.refused(1)?;
    says(&said, words)?;
    says(&said, &[&digest])?;
    let reference = format!("{}:v1", forger.layout.display());
    let run = world.home.prokura(["inspect", "--oci-layout", &reference])?;
    if inspect == Shows {
        let shown = run.ok()?;
        return says(&shown, &[&digest]);
    }
    let said = run.refused(1)?;
    says(&said, words)?;
    says(&said, &[&digest])
}

/// Several bad signatures hide neither each other nor the good one among them.
fn each_with_its_reason(world: &World) -> Result<()> {
    let forger = Forger::new(world, "all")?;
    let mut digests = Vec::new();
    for (_, media_type, envelope, ..) in CASES {
        digests.push(forger.store(media_type, &envelope(&forger)?)?);
    }
    let said = verify(world, &forger)?.refused(1)?;
    for (digest, (name, _, _, words, _)) in digests.iter().zip(CASES) {
        ensure!(said.contains(digest.as_str()), "{name} ({digest}) is not named: {said}");
        says(&said, words)?;
    }
    forger.store(JWS, &forger.jws(&good(), &forger.payload(), "")?)?;
    let said = verify(world, &forger)?.ok()?;
    ensure!(said.contains("Successfully verified"), "{said}");
    Ok(())
}

fn verify(world: &World, forger: &Forger) -> Result<prokura_integration::program::Run> {
    let reference = format!("{}:v1", forger.layout.display());
    world.home.prokura(["verify", "--oci-layout", "--scope", "local/app", &reference])
}
