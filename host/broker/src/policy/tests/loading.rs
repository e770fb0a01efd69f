//! Loading: all or nothing, with file, line and what may have been meant.

use std::collections::BTreeSet;

use super::*;
use crate::limits::*;

fn problems(texts: &[PolicyText]) -> Vec<String> {
    let error = PolicySet::load(texts, Offset::UTC).unwrap_err();
    error.problems().iter().map(ToString::to_string).collect()
}

#[track_caller]
fn problem(policies: &str, says: &str) {
    let found = problems(&[text("a.cedar", policies)]);
    assert!(found.iter().any(|problem| problem.contains(says)), "{found:#?}");
}

#[test]
fn names_that_the_schema_has_not_are_told_with_the_nearest() {
    let when = |condition: &str| {
        format!(
            "// first\npermit (principal, action in Action::\"sign\", resource)\nwhen {{\n  {condition}\n}};"
        )
    };
    for (condition, place, near) in [
        (
            "principal.claims has repository && principal.claims.repositry == \"x\"",
            "a.cedar:4:",
            "repository",
        ),
        ("context.artifact.mediatype == \"x\"", "a.cedar:4:3", "mediaType"),
        ("principal in PeerKind::\"OIDCC\"", "a.cedar:4:", "OIDC"),
        ("resource.spec == KeySpec::\"EC-255\"", "a.cedar:4:", "EC-256"),
        ("principal in PeerKynd::\"OIDC\"", "a.cedar:4:", "PeerKind"),
    ] {
        let found = problems(&[text("a.cedar", &when(condition))]);
        assert!(found[0].starts_with(place) && found[0].contains(near), "{condition}: {found:#?}");
    }
    problem("permit (principal, action == Action::\"signNotaryJWS\", resource);", "signNotaryJws");
}

#[test]
fn what_may_be_missing_must_be_asked_for_first() {
    let when = |condition: &str| {
        format!("permit (principal, action in Action::\"sign\", resource) when {{ {condition} }};")
    };
    problem(&when("principal.claims.repository == \"x\""), "has");
    problem(&when("context.artifact.getTag(\"x\") == \"y\""), "hasTag");
    problem(&when("context.claimed.reference.tag == \"y\""), "reference");
    problem(&when("context.artifact.size == \"7\""), "");
    problem("permit (principal, action, resource) when { context.artifact.size < 7 };", "artifact");
    problem(
        "permit (principal, action == Action::\"signDigest\", resource) when { context.artifact.size < 7 };",
        "artifact",
    );
}

#[test]
fn what_is_no_policy_is_told_with_its_line() {
    problem("permit (principal, action, resource);\n\npermt (principal, action, resource);", "a.cedar:3:1: ");
    problem("permit (principal, action, resource)", "a.cedar:1:");
    problem("permit (principal == ?principal, action, resource);", "a template");
    problem("\u{0}", "a.cedar:1:1");
    problem("@id(\"\")\npermit (principal, action, resource);", "@id \"\"");
}

#[test]
fn one_bad_file_loads_nothing_and_all_problems_are_told() {
    let good = text("good.cedar", "permit (principal, action, resource);");
    let bad = text("bad.cedar", "permit (principal, action, resource) when { principal.x };");
    let worse = text("worse.cedar", "permit");
    assert_eq!(problems(&[good.clone(), bad.clone()]).len(), 1);
    assert!(problems(&[bad, good.clone(), worse])[0].starts_with("worse.cedar:1"));
    assert!(problems(&[good.clone(), good])[0].contains("given twice"));
}

#[test]
fn names_are_unique_over_all_files() {
    let policy = "\n@id(\"a\")\npermit (principal, action, resource);";
    let found = problems(&[text("x.cedar", policy), text("y.cedar", policy)]);
    assert_eq!(found, ["y.cedar:2: policy \"a\" stands at x.cedar:2 already; give it another @id"]);
    let set = load(
        "permit (principal, action, resource);\n@id(\"b\") forbid (principal, action, resource);\npermit (principal, action, resource);",
    );
    assert_eq!(set.names().collect::<Vec<_>>(), ["b", "test.cedar#1", "test.cedar#3"]);
}

#[test]
fn conditions_that_never_hold_are_warned_of() {
    let set = load("permit (principal, action, resource) when { 1 == 2 };");
    assert!(set.warnings()[0].to_string().starts_with("test.cedar:1:"), "{:?}", set.warnings());
}

#[test]
fn keys_that_nobody_made_are_told() {
    let set = load(
        "permit (principal, action, resource == Key::\"relase\");\npermit (principal, action, resource in KeyGroup::\"prod\");",
    );
    let keys = BTreeSet::from(["release".to_owned()]);
    let found: Vec<String> =
        set.unknown_keys(&keys, &BTreeSet::new()).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "test.cedar:1: there is no key \"relase\", perhaps \"release\"",
            "test.cedar:2: there is no group of keys \"prod\"",
        ]
    );
}

#[test]
fn a_difference_names_what_changed() {
    let old = load(
        "@id(\"a\") permit (principal, action, resource);\n@id(\"b\") permit (principal, action, resource);\n@id(\"c\") permit (principal, action, resource);",
    );
    let new = load(
        "@id(\"d\") permit (principal, action, resource);\n@id(\"b\") forbid (principal, action, resource);\n@id(\"c\") permit (principal, action, resource);",
    );
    let difference = Difference::between(&old, &new);
    assert_eq!(difference.to_string(), "+ d (test.cedar:1)\n- a (test.cedar:1)\n~ b (test.cedar:2)");
    assert!(Difference::between(&old, &old).is_empty());
    assert_ne!(old.hash(), new.hash());
}

#[test]
fn the_hash_is_that_of_what_decides() {
    let hash = |texts: &[PolicyText], offset| *PolicySet::load(texts, offset).unwrap().hash();
    let (a, b) = (text("a", "permit (principal, action, resource);"), text("b", ""));
    let base = hash(&[a.clone(), b.clone()], Offset::UTC);
    assert_eq!(base, hash(&[b.clone(), a.clone()], Offset::UTC), "the order of files does not matter");
    assert_ne!(base, hash(&[a.clone(), b], Offset::from_hours(1).unwrap()));
    assert_ne!(base, hash(&[a], Offset::UTC));
}

#[test]
fn sizes_and_depths_are_bounded() {
    let many = |n: usize| "permit(principal,action,resource);".repeat(n);
    let set = PolicySet::load(&[text("m", &many(100))], Offset::UTC).unwrap();
    assert_eq!((set.len(), set.is_empty()), (100, false));
    assert!(problems(&[text("m", &many(POLICIES_MAX + 1))])[0].contains("at most 4096"));
    let large = format!("//{}", "x".repeat(POLICY_FILE_BYTES_MAX));
    assert!(problems(&[text("l", &large)])[0].contains("at most 1048576"));
    let files: Vec<_> = (0..=POLICY_FILES_MAX).map(|n| text(&n.to_string(), "")).collect();
    assert!(problems(&files)[0].contains("at most 256"));
    let condition = |c: String| text("c", &format!("permit (principal, action, resource) when {{ {c} }};"));
    let nested = |n: usize| condition(format!("{}true{}", "(".repeat(n), ")".repeat(n)));
    assert!(PolicySet::load(&[nested(POLICY_DEPTH_MAX - 1)], Offset::UTC).is_ok());
    assert!(problems(&[nested(POLICY_DEPTH_MAX)])[0].contains("nest deeper"));
    assert!(problems(&[nested(400_000)])[0].contains("nest deeper"));
    let ifs = condition("if true then true else ".repeat(40_000) + "true");
    assert!(problems(&[ifs])[0].contains("nest deeper"));
    let chain = |n: usize| condition("true && ".repeat(n) + "true");
    assert!(PolicySet::load(&[chain(POLICY_OPERATORS_MAX / 2)], Offset::UTC).is_ok());
    assert!(problems(&[chain(100_000)])[0].contains("operators in one policy"));
}

#[test]
fn problems_are_bounded() {
    let policy = |n: usize| format!("permit (principal, action, resource) when {{ principal.x{n} }};\n");
    let error =
        PolicySet::load(&[text("p", &(0..200).map(policy).collect::<String>())], Offset::UTC).unwrap_err();
    assert_eq!(error.problems().len(), POLICY_PROBLEMS_MAX);
    assert!(error.to_string().contains("more"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]
    #[test]
    fn no_text_makes_it_panic(noise in "[a-z(){}\\[\\]\"@.;:&|!?= \n]{0,80}") {
        let _ = PolicySet::load(&[text("n", &noise)], Offset::UTC);
        let within = format!("permit (principal, action, resource) when {{ {noise} }};");
        let _ = PolicySet::load(&[text("n", &within)], Offset::UTC);
        let _ = origin::parts(&noise);
        let _ = origin::left_side(&noise);
    }
}
