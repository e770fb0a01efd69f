//! What a decision costs, printed. Without debug assertions, for those check every fact against the schema:
//! `cargo test --release -p prokura-broker --lib policy::tests::cost -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

/// One policy per team, each with its scope and three conditions; the last one is the caller's.
fn teams(n: usize) -> String {
    let policy = |n: usize| {
        format!(
            "@id(\"team-{n}\") permit (principal in PeerKind::\"OIDC\", action in Action::\"sign\", resource in KeyGroup::\"team-{n}\")
             when {{ principal has issuer && principal.issuer == \"https://token.actions.githubusercontent.com\"
             && principal.claims has repository && principal.claims.repository == \"acme/rocket\" }};\n"
        )
    };
    (0..n).map(policy).collect()
}

#[test]
#[ignore = "by name only: prints figures; run it by name"]
fn cost_of_a_decision() {
    const ROUNDS: u32 = 200;
    for n in [1, 100, 1000] {
        let started = Instant::now();
        let set = load(&teams(n));
        let loaded = started.elapsed();
        for (what, group) in [("permit", format!("team-{}", n - 1)), ("deny", "nobody".to_owned())] {
            let case = by_github("ci").group(&group);
            case.ask(&set, |set, wanted| {
                let started = Instant::now();
                let permitted = (0..ROUNDS).filter(|_| set.decide(wanted).is_ok()).count();
                let each = started.elapsed() / ROUNDS;
                let per_second = 1.0 / each.as_secs_f64();
                println!("{n:5} policies, {what:6}: {each:>10.1?} each, {per_second:>8.0}/s (load {loaded:.1?}, {permitted} permitted)");
            });
        }
    }
}
