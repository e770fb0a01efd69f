//! The examples beside the schema: what each permits and denies, and that each is loaded without a warning.

use super::*;

macro_rules! example {
    ($name:literal) => {
        example($name, include_str!(concat!("../../../policies/examples/", $name)))
    };
}

#[track_caller]
fn example(file: &str, policies: &str) -> PolicySet {
    let set = PolicySet::load(&[text(file, policies)], Offset::from_hours(1).unwrap());
    let set = set.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(set.warnings(), []);
    set
}

#[test]
fn release_branch_only() {
    let set = example!("release-branch-only.cedar");
    let good = || by_github("release-2026").group("release");
    assert_eq!(good().permitted(&set), ["release-branch-only"]);
    assert_eq!(good().with(|c| c.format = EnvelopeFormat::Cose).permitted(&set), ["release-branch-only"]);
    for (claim, value, says) in [
        ("ref", json!("refs/heads/main"), r#"(found "refs/heads/main")"#),
        ("ref", json!("refs/tags/release/1"), "is false"),
        ("ref", Value::Null, "principal.claims has ref is false"),
        ("repository", json!("acme/rocket-fork"), r#"(found "acme/rocket-fork")"#),
        ("event_name", json!("pull_request"), "event_name"),
        ("iss", json!("https://gitlab.example.com"), "principal.issuer =="),
    ] {
        let denial = good().claim(claim, value).denied(&set, says);
        assert_eq!(denial.nearest()[0].policy, "release-branch-only");
    }
    let other_key = by_github("release-2026").denied(&set, "no policy permits it");
    assert_eq!(other_key.nearest(), []);
    good().with(|c| c.digest_only = true).denied(&set, "may not signDigest");
    good().with(|c| c.kind = PeerKind::Spiffe).denied(&set, "no policy permits it");
}

#[test]
fn protected_branch_gitlab() {
    let set = example!("protected-branch-gitlab.cedar");
    let claims = json!({
        "iss": "https://gitlab.example.com", "project_path": "rockets/engine", "project_id": "20",
        "ref": "main", "ref_type": "branch", "ref_protected": "true",
    });
    let good =
        || Case::new(PeerKind::Oidc, "https://gitlab.example.com|x", claims.clone(), "k").group("rockets");
    assert_eq!(good().permitted(&set), ["protected-branch-gitlab"]);
    assert_eq!(
        good().claim("ref_protected", json!(true)).permitted(&set).len(),
        1,
        "some issuers write booleans"
    );
    good().claim("ref_protected", json!("false")).denied(&set, r#"(found "false")"#);
    good().claim("project_path", json!("wheels/rockets/engine")).denied(&set, "project_path like");
    good().claim("ref_type", json!("tag")).denied(&set, "ref_type");
}

#[test]
fn these_workflows_only() {
    let set = example!("these-workflows-only.cedar");
    assert_eq!(by_github("ci").permitted(&set), ["these-workflows-only"]);
    let branch = json!("acme/workflows/.github/workflows/release.yml@refs/heads/feature");
    by_github("ci")
        .claim("job_workflow_ref", branch)
        .denied(&set, ".contains(principal.claims.job_workflow_ref) is false");
    let denial = by_github("ci").claim("event_name", json!("pull_request")).denied(&set, "no-pull-requests");
    assert_eq!(denial.forbidden_by(), ["no-pull-requests"]);
    by_github("ci2").denied(&set, "no policy permits it");
}

#[test]
fn business_hours() {
    let set = example!("business-hours.cedar");
    let good =
        || Case::new(PeerKind::Spiffe, "spiffe://acme.example/release/7", json!({}), "p").group("production");
    let at = |time: &str| good().with(|c| c.now = time.parse().unwrap());
    // The offset is one hour: 8:00 there is 7:00 in UTC.
    for time in ["2026-03-02T07:00:00Z", "2026-03-06T16:59:59Z"] {
        assert_eq!(at(time).permitted(&set), ["production-by-release-machines"], "{time}");
    }
    for time in
        ["2026-03-02T06:59:59Z", "2026-03-06T17:00:00Z", "2026-03-07T10:00:00Z", "2026-03-01T10:00:00Z"]
    {
        assert_eq!(at(time).denied(&set, "forbidden by").forbidden_by(), ["business-hours"], "{time}");
    }
    good().with(|c| c.id = "spiffe://acme.example/build/7".to_owned()).denied(&set, "principal.id like");
}

#[test]
fn per_repository_keys() {
    let set = example!("per-repository-keys.cedar");
    let good = || by_github("rocket").label("repository", "acme/rocket").label("pushes-to", "rocket/app");
    assert_eq!(good().permitted(&set), ["per-repository-keys"]);
    good().label("repository", "acme/wheel").denied(&set, r#"(found "acme/rocket")"#);
    by_github("rocket").denied(&set, r#"resource.hasTag("repository") is false"#);
    let claiming = |reference: &str| good().with(|c| c.reference = reference.to_owned());
    let digest = format!("sha256:{}", "ab".repeat(32));
    assert!(claiming(&format!("r.example/rocket/app@{digest}")).decide(&set).is_ok());
    claiming("r.example/wheel/app:1").denied(&set, "claimed-repository-fits");
    let other = digest.replace("ab", "cd");
    claiming(&format!("r.example/rocket/app@{other}")).denied(&set, "claimed-digest-fits");
}

#[test]
fn digest_for_one() {
    let set = example!("digest-for-one.cedar");
    let by = |id: &str, key: &str| {
        Case::new(PeerKind::Certificate, id, json!({}), key).with(|c| c.digest_only = true)
    };
    assert_eq!(by("firmware.acme.example", "firmware").permitted(&set), ["digest-for-firmware"]);
    by("other.acme.example", "firmware").denied(&set, "no policy permits it");
    by("firmware.acme.example", "release").denied(&set, "no policy permits it");
    by("firmware.acme.example", "firmware").with(|c| c.kind = PeerKind::PinnedKey).denied(&set, "no policy");
    by("firmware.acme.example", "firmware").with(|c| c.digest_only = false).denied(&set, "signNotaryJws");
}

#[test]
fn size_and_annotation() {
    let set = example!("size-and-annotation.cedar");
    let good = || {
        Case::new(PeerKind::Certificate, "ci.acme.example", json!({}), "ci")
            .with(|c| drop(c.annotations.insert("buildId".to_owned(), "101".to_owned())))
    };
    assert_eq!(good().permitted(&set), ["ci-by-certificate"]);
    good().with(|c| c.size = 4_194_305).denied(&set, "no-large-artifacts");
    good().with(|c| c.media_type = "text/plain".to_owned()).denied(&set, "manifests-only");
    good().with(|c| c.annotations.clear()).denied(&set, "build-must-be-named");
    good()
        .with(|c| drop(c.annotations.insert("buildId".to_owned(), String::new())))
        .denied(&set, "build-must-be-named");
    good().with(|c| c.lifetime_s = None).denied(&set, "two-years-at-most");
    good().with(|c| c.lifetime_s = Some(63_072_001)).denied(&set, "two-years-at-most");
    let both = good().with(|c| c.lifetime_s = None).with(|c| c.size = 5_000_000).decide(&set).unwrap_err();
    assert_eq!(both.forbidden_by(), ["no-large-artifacts", "two-years-at-most"]);
}

#[test]
fn count_limits() {
    let set = example!("count-limits.cedar");
    let with = |counts| Case::new(PeerKind::Unix, "uid:5", json!({}), "nightly").with(|c| c.counts = counts);
    let none = Counts::default();
    assert!(with(Counts { peer_last_hour: 99, key_last_day: 4999, ..none }).decide(&set).is_ok());
    with(Counts { peer_last_hour: 100, ..none }).denied(&set, "at-most-100-an-hour-each");
    with(Counts { key_last_day: u64::MAX, ..none }).denied(&set, "at-most-5000-a-day-with-one-key");
}

#[test]
fn kubernetes_namespace() {
    let set = example!("kubernetes-namespace.cedar");
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": "system:serviceaccount:release:signer",
        "aud": ["prokura"],
        "kubernetes.io": {
            "namespace": "release", "node": {"name": "n1", "uid": "u"}, "pod": {"name": "p", "uid": "u"},
            "serviceaccount": {"name": "signer", "uid": "u"},
        },
    });
    let good = || Case::new(PeerKind::Oidc, "cluster|signer", claims.clone(), "cluster");
    assert_eq!(good().permitted(&set), ["kubernetes-namespace"]);
    good().with(|c| c.claims["kubernetes.io"]["namespace"] = json!("test")).denied(&set, r#"(found "test")"#);
    good()
        .with(|c| c.claims["kubernetes.io"]["serviceaccount"]["name"] = json!("default"))
        .denied(&set, "service_account");
    good().claim("kubernetes.io", json!("release")).denied(&set, "kubernetes.namespace is false");
    good().with(|c| c.kind = PeerKind::Unix).denied(&set, "no policy permits it");
}

#[test]
fn unix_uid() {
    let set = example!("unix-uid.cedar");
    let by = |uid: u32, gid: u32| {
        Case::new(PeerKind::Unix, &format!("uid:{uid}"), json!({"uid": uid, "gid": gid, "pid": 7}), "local")
    };
    assert_eq!(by(998, 1).permitted(&set), ["unix-uid"]);
    assert_eq!(by(1, 2000).permitted(&set), ["unix-gid"]);
    assert_eq!(by(998, 2000).permitted(&set), ["unix-gid", "unix-uid"]);
    by(0, 0).denied(&set, "(found 0)");
    let token = json!({"uid": 998, "gid": 2000});
    Case::new(PeerKind::Oidc, "uid:998", token, "local").denied(&set, "no policy permits it");
}

#[test]
fn look() {
    let set = example!("look.cedar");
    let case = by_github("ci");
    for look in [Look::Describe, Look::List] {
        assert_eq!(set.may_look(look, &case.peer(), &case.key, case.now).unwrap(), ["look"]);
    }
    case.denied(&set, "no policy permits it");
    let none = load("").may_look(Look::List, &case.peer(), &case.key, case.now).unwrap_err();
    assert!(none.to_string().contains("may not listKeys"), "{none}");
}

#[test]
fn every_example_is_tested_here() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/examples");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(include_str!("examples.rs").contains(&format!("example!({name:?})")), "{name}");
    }
}
