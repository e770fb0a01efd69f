//! Decisions: default deny, forbid before permit, errors deny, and what a permit is for.

use super::*;

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

#[test]
fn what_no_policy_permits_is_denied() {
    let denial = by_github("ci").denied(&load(""), "no policy permits it");
    assert_eq!((denial.forbidden_by(), denial.nearest()), (&[][..], &[][..]));
    assert!(denial.to_string().starts_with("OIDC:https://token.actions.githubusercontent.com|repo:acme/rocket may not signNotaryJws with key \"ci\""), "{denial}");
}

#[test]
fn the_group_sign_holds_no_digests() {
    let set = load("permit (principal, action in Action::\"sign\", resource);");
    for (format, digest_only, good) in [
        (EnvelopeFormat::Jws, false, true),
        (EnvelopeFormat::Cose, false, true),
        (EnvelopeFormat::Jws, true, false),
    ] {
        let case = by_github("ci").with(|c| (c.format, c.digest_only) = (format, digest_only));
        assert_eq!(case.decide(&set).is_ok(), good);
    }
    let anything = load("permit (principal, action in Action::\"signAnything\", resource);");
    assert!(by_github("ci").with(|c| c.digest_only = true).decide(&anything).is_ok());
}

#[test]
fn a_forbid_that_cannot_be_evaluated_denies() {
    let overflow = "@id(\"broken\") forbid (principal, action in Action::\"sign\", resource)
        when { (context.counts.peerLastHour + 9223372036854775807) * 2 > 5 };";
    let set = load(&format!("{ALL}{overflow}"));
    let denial = by_github("ci").denied(&set, "a policy cannot be evaluated, \"broken\": ");
    assert!(denial.forbidden_by().is_empty());
    let other = by_github("ci").with(|c| c.digest_only = true);
    assert_eq!(other.permitted(&set), ["all"], "a policy of another action does not matter");
}

#[test]
fn a_permit_that_cannot_be_evaluated_permits_nothing() {
    let overflow = "@id(\"broken\") permit (principal, action in Action::\"sign\", resource)
        when { context.counts.peerLastHour + 9223372036854775807 > 5 };";
    let case = || by_github("ci").with(|c| c.counts.peer_last_hour = 1);
    case().denied(
        &load(overflow),
        "\"broken\", but context.counts.peerLastHour + 9223372036854775807 > 5 cannot be evaluated",
    );
    assert_eq!(case().permitted(&load(&format!("{ALL}{overflow}"))), ["all"]);
}

#[test]
fn the_nearest_is_the_one_that_held_longest() {
    let set = load(
        r#"@id("far") permit (principal, action in Action::"sign", resource)
             when { principal.claims has ref && principal.claims.ref == "x" && context.artifact.size < 5 };
           @id("near") permit (principal, action in Action::"sign", resource)
             when { principal.claims has ref && principal.claims.ref like "refs/*" && context.artifact.size < 5 };
           @id("not meant") permit (principal, action in Action::"sign", resource == Key::"other");
           @id("unless") permit (principal, action in Action::"sign", resource)
             unless { context.artifact.size > 5 };"#,
    );
    let denial = by_github("ci").denied(
        &set,
        "no policy permits it; nearest: \"near\", but context.artifact.size < 5 is false (found 7143), ",
    );
    let names: Vec<&str> = denial.nearest().iter().map(|n| n.policy.as_str()).collect();
    assert_eq!(names, ["near", "far", "unless"]);
    assert_eq!(denial.nearest()[2].why, "context.artifact.size > 5 is true (found 7143)");
}

#[test]
fn a_permit_is_for_one_peer_key_and_content() {
    let set = load(ALL);
    let case = by_github("ci");
    let permit = case.decide(&set).unwrap();
    let (peer, content) = (case.peer(), case.content());
    assert!(permit.covers(&peer, "ci", &content));
    assert!(!permit.covers(&peer, "release", &content));
    assert!(!permit.covers(&peer, "ci", &by_github("ci").with(|c| c.size = 1).content()));
    let other = Case::new(PeerKind::Spiffe, peer.id(), github(), "ci").peer();
    assert!(!permit.covers(&other, "ci", &content));
    assert_eq!((permit.policy_set(), permit.at()), (set.hash(), case.now));
    assert_eq!((permit.key_name(), permit.digest()), ("ci", content.digest()));
}

#[test]
fn every_claim_is_a_tag_and_typed_ones_only_for_their_kind() {
    let tagged = |name: &str, value: &str| {
        load(&format!(
            "permit (principal, action, resource) when {{ principal.hasTag({name:?}) && principal.getTag({name:?}) == {value:?} }};"
        ))
    };
    let case = || {
        by_github("ci")
            .claim("custom", json!({"a": {"b": 7}, "c": ["x", 1]}))
            .claim("flag", json!(true))
            .claim("custom/a/b", json!("own"))
            .claim("uid", json!(0))
    };
    for (name, value) in [
        ("custom/a/b", "own"),
        ("custom/c", r#"["x",1]"#),
        ("flag", "true"),
        ("uid", "0"),
        ("ref", "refs/heads/release/1.2"),
    ] {
        assert!(case().decide(&tagged(name, value)).is_ok(), "{name}");
    }
    case().denied(&tagged("nothing", "x"), "is false");
    let root = load(
        "permit (principal, action, resource) when { principal.claims has uid && principal.claims.uid == 0 };",
    );
    case().denied(&root, "principal.claims has uid is false");
    let sets = load(
        "permit (principal, action, resource) when { principal.claims has aud && principal.claims.aud.contains(\"b\") };",
    );
    assert!(case().claim("aud", json!(["a", "b"])).decide(&sets).is_ok());
    assert!(case().claim("aud", json!("b")).decide(&sets).is_ok());
    case().claim("aud", json!(["b", 1])).denied(&sets, "has aud is false");
}

#[test]
fn all_that_is_known_can_be_asked_for() {
    let set = load(
        r#"permit (principal is Peer, action == Action::"signNotaryCose", resource is Key in KeyGroup::"g") when {
            resource.name == "ci" && resource.spec == KeySpec::"EC-256" &&
            context.artifact.digest like "sha256:abab*" && context.artifact.scheme == SigningScheme::"notary.x509" &&
            context.artifact.signingTime == context.time.unix && !(context.artifact.attributes.contains("x")) &&
            context.time.utc.year == 2026 && context.time.utc.month == 3 && context.time.utc.day == 2 &&
            context.time.utc.weekday == 1 && context.time.utc.hour == 9 && context.time.local.minute == 30 &&
            context.claimed has reference.tag && context.claimed.reference.tag == "1" &&
            context.claimed.reference.registry == "r.example:5000" &&
            context.claimed.hasTag("ticket") && context.claimed.getTag("ticket") == "T-1" &&
            context.counts.keyLastHour == 3
        };"#,
    );
    let case = by_github("ci").group("g").with(|c| {
        c.format = EnvelopeFormat::Cose;
        c.reference = "r.example:5000/a:1".to_owned();
        c.said = BTreeMap::from([("ticket".to_owned(), "T-1".to_owned())]);
        c.counts.key_last_hour = 3;
    });
    assert_eq!(case.permitted(&set), ["test.cedar#1"]);
}

#[test]
fn an_explanation_decides_alike_and_shows_what_was_seen() {
    let set = load(
        "@id(\"a\") permit (principal in PeerKind::\"OIDC\", action in Action::\"sign\", resource) when { context.artifact.size < 8000 };",
    );
    let case =
        || by_github("ci").with(|c| drop(c.annotations.insert("buildId".to_owned(), "101".to_owned())));
    let explanation = case().ask(&set, |set, wanted| set.explain(wanted));
    assert!(explanation.permitted && explanation.policies == ["a"]);
    assert_eq!(explanation.message, "permitted by \"a\"");
    let seen = explanation.seen;
    assert_eq!(seen["action"], "signNotaryJws");
    assert_eq!(seen["principal"]["attrs"]["claims"]["ref"], "refs/heads/release/1.2");
    assert_eq!(seen["resource"]["uid"]["id"], "ci");
    assert_eq!(seen["context"]["artifact"]["attrs"]["size"], 7143);
    assert_eq!(seen["context"]["artifact"]["tags"]["buildId"], "101");
    assert_eq!(seen["context"]["time"]["utc"]["hour"], 9);
    let large = case().with(|c| c.size = 8000);
    let explanation = large.ask(&set, |set, wanted| set.explain(wanted));
    assert!(!explanation.permitted && explanation.policies.is_empty());
    assert_eq!(explanation.message, large.decide(&set).unwrap_err().to_string());
}

#[test]
fn a_pattern_of_many_stars_costs_no_more_than_its_length_times_that_of_the_text() {
    let stars = "*a".repeat(200);
    let set = load(&format!(
        "permit (principal, action in Action::\"sign\", resource) when {{ principal.hasTag(\"long\") && principal.getTag(\"long\") like \"{stars}b\" }};"
    ));
    let started = std::time::Instant::now();
    by_github("ci").claim("long", json!("a".repeat(8000))).denied(&set, "is false");
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn every_kind_of_peer_and_spec_of_key_fits_the_schema() {
    let set = load(ALL);
    let kinds =
        [PeerKind::Certificate, PeerKind::Spiffe, PeerKind::PinnedKey, PeerKind::Oidc, PeerKind::Unix];
    let claims = json!({"serial": "07", "uris": ["a"], "dns_names": [], "issuer": "CN=x", "trust_domain": "t",
        "uid": 1, "gid": 2, "pid": 3, "user": "u", "iss": "i", "aud": ["a"], "groups": ["g"], "kubernetes.io": {}});
    for (kind, spec) in kinds.iter().flat_map(|kind| KeySpec::ALL.map(|spec| (*kind, spec))) {
        let case = Case::new(kind, "id", claims.clone(), "k").with(|c| c.key.spec = spec);
        assert_eq!(case.permitted(&set), ["all"], "{kind} {spec}");
    }
}

/// Scopes that match or miss the caller, the key and the action in every way the language has.
fn scopes() -> Vec<String> {
    let principals = [
        "principal",
        "principal == Peer::\"UNIX:uid:5\"",
        "principal == Peer::\"UNIX:uid:6\"",
        "principal in PeerKind::\"UNIX\"",
        "principal in PeerKind::\"OIDC\"",
        "principal is Peer",
        "principal is Peer in PeerKind::\"UNIX\"",
        "principal in Peer::\"UNIX:uid:5\"",
    ];
    let resources = [
        "resource",
        "resource == Key::\"ci\"",
        "resource == Key::\"other\"",
        "resource in KeyGroup::\"g\"",
        "resource in KeyGroup::\"h\"",
        "resource is Key",
        "resource is Key in KeyGroup::\"g\"",
        "resource in Key::\"ci\"",
    ];
    let actions = [
        "action",
        "action in Action::\"sign\"",
        "action == Action::\"signDigest\"",
        "action in [Action::\"signNotaryJws\", Action::\"look\"]",
    ];
    let mut all = Vec::new();
    for principal in principals {
        for resource in resources {
            all.extend(actions.map(|action| format!("{principal}, {action}, {resource}")));
        }
    }
    all
}

#[test]
fn what_is_left_out_before_evaluation_changes_no_decision() {
    let policies: Vec<String> = scopes().iter().map(|scope| format!("permit ({scope});")).collect();
    let set = load(&policies.join("\n"));
    for digest_only in [false, true] {
        let case = Case::new(PeerKind::Unix, "uid:5", json!({}), "ci")
            .group("g")
            .with(|c| c.digest_only = digest_only);
        case.ask(&set, |set, wanted| {
            let asked = set.entity_names.signature(&set.schema, set.offset, wanted).ok().unwrap();
            let all = policies.join("\n").parse::<cedar_policy::PolicySet>().unwrap();
            let response =
                cedar_policy::Authorizer::new().is_authorized(&asked.request, &all, &asked.entities);
            let mut expected: Vec<String> =
                response.diagnostics().reason().map(|id| id.to_string().replace("policy", "")).collect();
            expected.sort_by_key(|n| n.parse::<usize>().unwrap());
            let number = |name: &String| name.trim_start_matches("test.cedar#").parse::<usize>().unwrap() - 1;
            let mut found: Vec<usize> = set.decide(wanted).unwrap().policies().iter().map(number).collect();
            found.sort_unstable();
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
            assert!(found.len() > 20 && found.len() < policies.len());
        });
    }
}
