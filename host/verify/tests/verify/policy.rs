//! Trust policy documents: every rule, the choice of a statement, and the files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use prokura_verify::policy::{DocumentKind, OldFile, PolicyFile, VerifyTimestamp};
use prokura_verify::{Action, BlobPolicy, CheckType, OciPolicy, PolicyError};

const ORIGIN: &str = "/etc/notation/trustpolicy.oci.json";

const GOOD: &str = r#"{"version":"1.0","trustPolicies":[
    {"name":"wabbit","registryScopes":["registry.example/app","local/layout"],
     "signatureVerification":{"level":"strict"},
     "trustStores":["ca:wabbit","signingAuthority:acme","tsa:t.s_a-1"],
     "trustedIdentities":["x509.subject: C=US, ST=WA, O=wabbit","x509.subject:C=US,ST=WA,O=acme,OU=x","other:id"]},
    {"name":"none","registryScopes":["registry.example/unsigned"],"signatureVerification":{"level":"skip"}},
    {"name":"rest","registryScopes":["*"],"signatureVerification":{"level":"audit","override":{"expiry":"enforce","revocation":"skip"},
     "verifyTimestamp":"afterCertExpiry"},"trustStores":["ca:all"],"trustedIdentities":["*"]}]}"#;

fn oci(document: &str) -> Result<OciPolicy, PolicyError> {
    OciPolicy::parse(document.as_bytes(), Path::new(ORIGIN))
}

fn blob(document: &str) -> Result<BlobPolicy, PolicyError> {
    BlobPolicy::parse(document.as_bytes(), Path::new("blob.json"))
}

/// `GOOD` with one text replaced.
fn refusal(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let error = oci(&GOOD.replacen(from, to, 1)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(ORIGIN), "names the file: {error}");
    error
}

fn assert_refusals(cases: &[(&str, &str, &str)]) {
    for (from, to, words) in cases {
        let error = refusal(from, to);
        assert!(error.contains(words), "{from} -> {to}\n   found: {error}\nexpected: {words}");
    }
}

#[test]
fn a_good_document_is_read_and_its_statements_found() {
    let policy = oci(GOOD).unwrap();
    let of = |reference: &str| policy.applicable(reference).unwrap().name().to_owned();
    assert_eq!(of("registry.example/app@sha256:00"), "wabbit");
    assert_eq!(of("local/layout@sha256:00"), "wabbit");
    assert_eq!(of("registry.example/unsigned@sha256:00"), "none");
    assert_eq!(of("registry.example/app/more@sha256:00"), "rest", "no prefixes");
    for same in ["Registry.EXAMPLE/app", "registry.example:443/app", "registry.example:0443/app"] {
        assert_eq!(of(&format!("{same}@sha256:00")), "wabbit", "the same registry: {same}");
    }
    for other in ["registry.example:80/app", "registry.example:4430/app", "registry.example:5000/app"] {
        assert_eq!(of(&format!("{other}@sha256:00")), "rest", "another registry: {other}");
    }
    assert!(
        policy.applicable("registry.example/App@sha256:00").is_err(),
        "no repository is spelled like that"
    );
    let rest = policy.applicable("a.example/b@sha256:00").unwrap();
    assert_eq!(rest.verify_timestamp(), VerifyTimestamp::AfterCertExpiry);
    assert_eq!(rest.level().name(), "custom");
    let actions = CheckType::OF_LEVELS.map(|t| rest.level().action(t));
    assert_eq!(actions, [Action::Enforce, Action::Log, Action::Log, Action::Enforce, Action::Skip]);
    assert!(policy.unknown_members().is_empty());
}

#[test]
fn levels_have_the_actions_of_the_specification() {
    use Action::{Enforce, Log, Skip};
    for (level, actions) in [
        ("strict", [Enforce; 5]),
        ("permissive", [Enforce, Enforce, Log, Log, Log]),
        ("audit", [Enforce, Log, Log, Log, Log]),
    ] {
        let policy = oci(&GOOD.replacen("\"strict\"", &format!("{level:?}"), 1)).unwrap();
        let statement = policy.applicable("registry.example/app@sha256:00").unwrap();
        assert_eq!(CheckType::OF_LEVELS.map(|t| statement.level().action(t)), actions, "{level}");
        assert_eq!(statement.level().name(), level);
    }
    let policy = oci(GOOD).unwrap();
    let skipped = policy.applicable("registry.example/unsigned@sha256:00").unwrap();
    assert!(skipped.level().is_skip());
    assert_eq!(CheckType::OF_LEVELS.map(|t| skipped.level().action(t)), [Skip; 5]);
}

#[test]
fn documents_against_a_rule_are_refused_by_that_rule() {
    assert_refusals(&[
        ("\"1.0\"", "\"\"", "oci trust policy document has empty version, version must be specified"),
        ("\"version\":\"1.0\",", "", "oci trust policy document has empty version"),
        ("\"1.0\"", "\"1.1\"", "oci trust policy document uses unsupported version \"1.1\""),
        (
            "\"none\"",
            "\"wabbit\"",
            "multiple oci trust policy statements use the same name \"wabbit\", statement names must be unique",
        ),
        (
            "\"wabbit\"",
            "\"\"",
            "oci trust policy: a trust policy statement is missing a name, every statement requires a name",
        ),
        (
            r#"["registry.example/app","local/layout"]"#,
            "[]",
            "oci trust policy statement \"wabbit\" has zero registry scopes",
        ),
        (
            "\"local/layout\"",
            "\"*\"",
            "\"wabbit\" uses wildcard registry scope '*', a wildcard scope cannot be used in conjunction",
        ),
        (
            "\"local/layout\"",
            "\"registry.example/app\"",
            "registry scope \"registry.example/app\" is present in multiple oci trust policy statements",
        ),
        (
            "registry.example/unsigned",
            "local/layout",
            "registry scope \"local/layout\" is present in multiple",
        ),
        (
            "local/layout",
            "registry.example",
            "registry scope \"registry.example\" is not valid, make sure it is a fully qualified repository",
        ),
        (
            "local/layout",
            "registry.example/*",
            "registry scope \"registry.example/*\" with wild card(s) is not valid",
        ),
        ("\"*\"],\"signature", "\"a.example/b\",\"*\"],\"signature", "\"rest\" uses wildcard registry scope"),
    ]);
    let error = oci(r#"{"version":"1.0","trustPolicies":[]}"#).unwrap_err().to_string();
    assert!(error.contains("oci trust policy document can not have zero trust policy statements"), "{error}");
    let skip = r#"{"version":"1.0","trustPolicies":[{"name":"s","registryScopes":["*"],"signatureVerification":{"level":"skip"}}]}"#;
    let error = oci(skip).unwrap_err().to_string();
    assert!(error.contains("\"s\" skips signature verification for the global scope '*'"), "{error}");
}

#[test]
fn levels_and_overrides_against_a_rule_are_refused_by_that_rule() {
    let invalid = "trust policy statement \"wabbit\" has invalid signatureVerification: ";
    let strict = r#"{"level":"strict"}"#;
    let with = |overrides: &str| format!(r#"{{"level":"strict","override":{{{overrides}}}}}"#);
    for (to, words) in [
        ("{}".to_owned(), "signature verification level is empty or missing"),
        (r#"{"level":""}"#.to_owned(), "signature verification level is empty or missing"),
        (r#"{"level":"Strict"}"#.to_owned(), "invalid signature verification level \"Strict\""),
        (r#"{"level":"custom"}"#.to_owned(), "invalid signature verification level \"custom\""),
        (
            r#"{"level":"skip","override":{"expiry":"log"}}"#.to_owned(),
            "signature verification level \"skip\" can't be used to customize",
        ),
        (
            with(r#""integrity":"log""#),
            "\"integrity\" verification can not be overridden in custom signature verification",
        ),
        (with(r#""integrity":"skip""#), "\"integrity\" verification can not be overridden"),
        (
            with(r#""expiry":"skip""#),
            "\"expiry\" verification can not be skipped in custom signature verification",
        ),
        (with(r#""authenticity":"skip""#), "\"authenticity\" verification can not be skipped"),
        (with(r#""authenticTimestamp":"skip""#), "\"authenticTimestamp\" verification can not be skipped"),
        (
            with(r#""targetArtifact":"log""#),
            "verification type \"targetArtifact\" in custom signature verification is not supported",
        ),
        (
            with(r#""expiry":"ignore""#),
            "verification action \"ignore\" in custom signature verification is not supported",
        ),
        (
            r#"{"level":"strict","verifyTimestamp":"never"}"#.to_owned(),
            "verifyTimestamp must be \"always\" or \"afterCertExpiry\", but got \"never\"",
        ),
    ] {
        let error = refusal(strict, &to);
        assert!(error.contains(&format!("oci trust policy: {invalid}{words}")), "{to}: {error}");
    }
    let custom = oci(&GOOD.replacen(strict, &with(""), 1)).unwrap();
    assert_eq!(
        custom.applicable("local/layout@x").unwrap().level().name(),
        "strict",
        "an empty override is none"
    );
}

#[test]
fn stores_and_identities_against_a_rule_are_refused_by_that_rule() {
    let stores = r#"["ca:wabbit","signingAuthority:acme","tsa:t.s_a-1"]"#;
    let identities =
        r#"["x509.subject: C=US, ST=WA, O=wabbit","x509.subject:C=US,ST=WA,O=acme,OU=x","other:id"]"#;
    assert_refusals(&[
        (
            stores,
            "[]",
            "\"wabbit\" is either missing trust stores or trusted identities, both must be specified",
        ),
        (identities, "null", "\"wabbit\" is either missing trust stores or trusted identities"),
        (
            "{\"level\":\"strict\"}",
            "{\"level\":\"skip\"}",
            "\"wabbit\" is set to skip signature verification but configured with trust stores",
        ),
        (
            "ca:wabbit",
            "wabbit",
            "has malformed trust store value \"wabbit\". The required format is <TrustStoreType>:<TrustStoreName>",
        ),
        (
            "ca:wabbit",
            "CA:wabbit",
            "uses an unsupported trust store type \"CA\" in trust store value \"CA:wabbit\"",
        ),
        (
            "ca:wabbit",
            "ca:wab/bit",
            "uses an unsupported trust store name \"wab/bit\" in trust store value \"ca:wab/bit\"",
        ),
        ("ca:wabbit", "ca:..", "uses an unsupported trust store name \"..\""),
        ("ca:wabbit", "ca:", "uses an unsupported trust store name \"\""),
        (
            "other:id",
            "*",
            "uses a wildcard trusted identity '*', a wildcard identity cannot be used in conjunction with other values",
        ),
        ("other:id", "", "has an empty trusted identity"),
        ("other:id", "other", "has trusted identity \"other\" missing separator"),
        ("other:id", "x509.subject:", "has trusted identity \"x509.subject:\" without an identity value"),
        (
            "other:id",
            "x509.subject:CN=x",
            "has trusted identity \"x509.subject:CN=x\" with invalid identity value: distinguished name (DN) \"CN=x\" has no mandatory RDN attribute for \"C\"",
        ),
        (
            "other:id",
            "x509.subject:C=US,ST=WA,O=acme",
            "has overlapping x509 trustedIdentities, \"x509.subject:C=US,ST=WA,O=acme\" overlaps with \"x509.subject:C=US,ST=WA,O=acme,OU=x\"",
        ),
        ("other:id", "x509.subject:C=US,S=WA,O=wabbit", "has overlapping x509 trustedIdentities"),
    ]);
}

#[test]
fn hostile_json_is_refused_with_its_place() {
    assert_refusals(&[
        (
            "\"version\":\"1.0\"",
            "\"version\":\"1.0\",\"version\":\"1.0\"",
            "member \"version\" is given twice at line 1",
        ),
        (
            "\"level\":\"strict\"",
            "\"level\":\"strict\",\"level\":\"audit\"",
            "member \"level\" is given twice at line 3",
        ),
        (
            "\"name\":\"none\"",
            "\"x\":{\"y\":1,\"y\":2},\"name\":\"none\"",
            "member \"y\" is given twice at line 6",
        ),
        (
            "\"override\"",
            "\"Override\"",
            "trustPolicies[2].signatureVerification.Override: expected the member to be spelt \"override\"",
        ),
        ("\"version\"", "\"Version\"", "Version: expected the member to be spelt \"version\""),
        ("\"none\"", "7", "trustPolicies[1].name: expected a text, found a number"),
        ("\"local/layout\"", "null", "trustPolicies[0].registryScopes[1]: expected a text, found null"),
        (
            "\"enforce\"",
            "true",
            "trustPolicies[2].signatureVerification.override.expiry: expected a text, found true or false",
        ),
        ("[\"*\"]", "\"*\"", "trustPolicies[2].registryScopes: expected a list, found a text"),
    ]);
    let error = oci("[]").unwrap_err().to_string();
    assert!(
        error.contains("malformed trust policy") && error.contains("expected an object, found a list"),
        "{error}"
    );
    let cut = GOOD.get(..300).unwrap();
    let error = oci(cut).unwrap_err().to_string();
    assert!(error.contains(&format!("malformed trust policy {ORIGIN}: EOF while parsing")), "{error}");
    assert!(error.contains("at line 5 column 65"), "{error}");
    let error = oci(&format!("{GOOD} {{}}")).unwrap_err().to_string();
    assert!(error.contains("trailing characters"), "{error}");
    let error = oci(&"[".repeat(100_000)).unwrap_err().to_string();
    assert!(error.contains("recursion limit exceeded"), "{error}");
    let error = oci(&" ".repeat(1024 * 1024 + 1)).unwrap_err();
    assert!(matches!(error, PolicyError::TooLarge { .. }), "{error}");
    let many = r#"{"name":"a"},"#.repeat(1025);
    let error =
        oci(&format!(r#"{{"version":"1.0","trustPolicies":[{}]}}"#, many.trim_end_matches(','))).unwrap_err();
    assert!(error.to_string().contains("has 1025 trust policy statements, at most 1024"), "{error}");
}

#[test]
fn members_without_effect_are_told() {
    let policy = oci(&GOOD.replacen("\"override\"", "\"overide\"", 1).replacen(
        "\"version\"",
        "\"$schema\":1,\"version\"",
        1,
    ));
    assert_eq!(
        policy.unwrap().unknown_members(),
        ["$schema", "trustPolicies[2].signatureVerification.overide"]
    );
}

#[test]
fn references_without_a_statement_are_refused() {
    let policy = oci(&GOOD.replacen("[\"*\"],\"sig", "[\"a.example/b\"],\"sig", 1)).unwrap();
    let error = policy.applicable("c.example/d@sha256:00").unwrap_err().to_string();
    assert!(error.contains("artifact \"c.example/d@sha256:00\" has no applicable oci trust policy statement. Trust policy applicability"), "{error}");
    for unusable in ["a.example/b", "a.example/b:tag", "https://a.example/b@sha256:00", "@sha256:00"] {
        let error = policy.applicable(unusable).unwrap_err().to_string();
        assert!(error.contains(&format!("artifact URI {unusable:?} could not be parsed")), "{error}");
    }
}

const BLOB: &str = r#"{"version":"1.0","trustPolicies":[
    {"name":"a","signatureVerification":{"level":"strict"},"trustStores":["ca:a"],"trustedIdentities":["*"]},
    {"name":"b","signatureVerification":{"level":"audit"},"trustStores":["ca:a"],"trustedIdentities":["*"],"globalPolicy":true},
    {"name":"c","signatureVerification":{"level":"skip"}}]}"#;

#[test]
fn blob_statements_are_found_by_name_or_the_global_one() {
    let policy = blob(BLOB).unwrap();
    assert_eq!(policy.applicable(Some("a")).unwrap().name(), "a");
    assert_eq!(policy.applicable(None).unwrap().name(), "b");
    let error = policy.applicable(Some("d")).unwrap_err().to_string();
    assert!(
        error.contains("no applicable blob trust policy with name \"d\"")
            && error.contains("\"a\", \"b\", \"c\""),
        "{error}"
    );
    let error = blob(&BLOB.replacen("true", "false", 1)).unwrap().applicable(None).unwrap_err().to_string();
    assert!(error.contains("no global blob trust policy"), "{error}");
}

#[test]
fn blob_documents_against_a_rule_are_refused_by_that_rule() {
    for (from, to, words) in [
        ("\"1.0\"", "\"2.0\"", "blob trust policy document uses unsupported version \"2.0\""),
        ("\"b\"", "\"a\"", "multiple blob trust policy statements use the same name \"a\""),
        (
            "\"level\":\"strict\"",
            "\"level\":\"\"",
            "blob trust policy: trust policy statement \"a\" has invalid signatureVerification",
        ),
        (
            "{\"name\":\"a\",",
            "{\"name\":\"a\",\"globalPolicy\":true,",
            "multiple blob trust policy statements have globalPolicy set to true. Only one",
        ),
        ("true", "\"yes\"", "trustPolicies[1].globalPolicy: expected true or false, found a text"),
    ] {
        let error = blob(&BLOB.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(words), "{to}: {error}");
    }
    let skip = r#"{"version":"1.0","trustPolicies":[{"name":"g","globalPolicy":true,"signatureVerification":{"level":"skip"}}]}"#;
    let error = blob(skip).unwrap_err().to_string();
    assert!(error.contains("\"g\" is the global policy and skips signature verification"), "{error}");
}

#[test]
fn an_initial_blob_policy_is_strict_and_checked() {
    let (stores, identities) = (["ca:acme".to_owned()], ["x509.subject:C=US,ST=WA,O=x".to_owned()]);
    let text = BlobPolicy::initial("mine", &stores, &identities, true, Path::new("new")).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with(
            "{\n  \"version\": \"1.0\",\n  \"trustPolicies\": [\n    {\n      \"name\": \"mine\""
        ),
        "{text}"
    );
    let policy = blob(&text).unwrap();
    assert_eq!(policy.applicable(None).unwrap().level().name(), "strict");
    let text = BlobPolicy::initial("mine", &stores, &identities, false, Path::new("new")).unwrap();
    assert!(!String::from_utf8(text).unwrap().contains("globalPolicy"));
    let error =
        BlobPolicy::initial("mine", &["ca".to_owned()], &identities, true, Path::new("new")).unwrap_err();
    assert!(error.to_string().contains("has malformed trust store value \"ca\""), "{error}");
}

#[test]
fn documents_are_loaded_from_the_new_name_before_the_old() {
    let config = tempfile::tempdir().unwrap();
    let (new, old) = (config.path().join("trustpolicy.oci.json"), config.path().join("trustpolicy.json"));
    let error = OciPolicy::load(config.path()).unwrap_err();
    assert!(matches!(&error, PolicyError::Absent { path } if *path == new), "{error}");
    assert!(
        error.to_string().contains("trust policy is not present. To create a trust policy, see: https://"),
        "{error}"
    );
    fs::write(&old, GOOD).unwrap();
    assert!(PolicyFile::read(config.path(), DocumentKind::Oci).unwrap().is_old);
    assert!(OciPolicy::load(config.path()).is_ok());
    fs::write(&new, GOOD.get(..100).unwrap()).unwrap();
    let error = OciPolicy::load(config.path()).unwrap_err().to_string();
    assert!(error.contains("malformed trust policy") && error.contains(new.to_str().unwrap()), "{error}");
    fs::remove_file(&new).unwrap();
    symlink(&old, &new).unwrap();
    let error = OciPolicy::load(config.path()).unwrap_err().to_string();
    assert!(error.contains("trust policy is not a regular file (symlinks are not supported)"), "{error}");
    fs::remove_file(&new).unwrap();
    fs::create_dir(&new).unwrap();
    assert!(matches!(OciPolicy::load(config.path()), Err(PolicyError::NotRegularFile { .. })));
    assert!(matches!(BlobPolicy::load(config.path()), Err(PolicyError::Absent { .. })));
    fs::write(config.path().join("trustpolicy.blob.json"), BLOB).unwrap();
    assert!(BlobPolicy::load(config.path()).is_ok());
}

#[test]
fn an_import_is_checked_private_and_replaces_the_old_name() {
    let parent = tempfile::tempdir().unwrap();
    let config = parent.path().join("notation");
    assert!(!PolicyFile::exists(&config, DocumentKind::Oci));
    let error = OciPolicy::import(&config, b"{", Path::new("mine.json")).unwrap_err().to_string();
    assert!(error.contains("mine.json") && !config.exists(), "nothing is written: {error}");
    let imported = OciPolicy::import(&config, GOOD.as_bytes(), Path::new("mine.json")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&config), mode(&imported.path)), (0o700, 0o600));
    assert!(matches!(imported.old, OldFile::Absent));
    assert_eq!(fs::read(&imported.path).unwrap(), GOOD.as_bytes(), "byte for byte");
    fs::write(config.join("trustpolicy.json"), "old").unwrap();
    assert!(OciPolicy::import(&config, b"[]", Path::new("mine.json")).is_err());
    assert!(config.join("trustpolicy.json").exists() && OciPolicy::load(&config).is_ok());
    let imported = OciPolicy::import(&config, GOOD.as_bytes(), Path::new("mine.json")).unwrap();
    assert!(matches!(imported.old, OldFile::Deleted) && !config.join("trustpolicy.json").exists());
    BlobPolicy::import(&config, BLOB.as_bytes(), Path::new("b.json")).unwrap();
    assert!(PolicyFile::exists(&config, DocumentKind::Blob) && BlobPolicy::load(&config).is_ok());
    assert_eq!(fs::read_dir(&config).unwrap().count(), 2, "no temporary file is left");
}

proptest::proptest! {
    #[test]
    fn any_document_is_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0..1200_usize) {
        let origin = Path::new(ORIGIN);
        proptest::prop_assert!(OciPolicy::parse(&bytes, origin).is_err());
        proptest::prop_assert!(BlobPolicy::parse(&bytes, origin).is_err());
        if let Some(half) = GOOD.get(..cut.min(GOOD.len() - 1)) {
            proptest::prop_assert!(OciPolicy::parse(half.as_bytes(), origin).is_err(), "a cut document is never accepted");
        }
    }
}

#[test]
fn scopes_of_the_same_registry_are_compared_as_equal() {
    let document = GOOD.replacen("registry.example/app", "LocalHost:5999/a/b", 1);
    let policy = oci(&document).unwrap();
    for reference in ["LOCALHOST:5999/a/b@sha256:00", "localhost:05999/a/b@sha256:00"] {
        assert_eq!(policy.applicable(reference).unwrap().name(), "wabbit", "{reference}");
    }
    let shown: Vec<_> = policy.statements().flat_map(|(_, scopes)| scopes).collect();
    assert!(shown.iter().any(|scope| *scope == "LocalHost:5999/a/b"), "shown as written: {shown:?}");
    for twice in ["REGISTRY.example/app", "registry.example:443/app"] {
        let error = refusal("registry.example/unsigned", twice);
        assert!(error.contains(&format!("registry scope {twice:?}")), "{error}");
        assert!(error.contains("multiple") || error.contains("twice"), "{error}");
    }
}
