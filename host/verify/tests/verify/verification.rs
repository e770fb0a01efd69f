//! The verification algorithm: levels against defects, and each reason for refusal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prokura_envelope::{AttributeKey, AttributeValue, EnvelopeFormat, ExtendedAttribute, SigningScheme};
use prokura_verify::{
    Action, Check, CheckResult, CheckType, Outcome, Statement, Target, TrustStore, Verdict, VerifyInput,
    verify_signature,
};
use rcgen::DnType;
use tempfile::TempDir;

use crate::minting::{
    AFTER_EXPIRY, Asks, NOW, Order, Signer, descriptor, fill_store, statement, target, time, wabbit,
};

const WABBIT: &str = "x509.subject:C=US,ST=WA,O=Wabbit";

/// One verification; every field can be spoilt.
struct Case {
    envelope: Vec<u8>,
    media_type: &'static str,
    statement: Statement,
    store: TempDir,
    now: Timestamp,
    target: Target,
    metadata: BTreeMap<String, String>,
}

impl Case {
    fn of(signer: &Signer, order: &Order) -> Self {
        let store = tempfile::tempdir().unwrap();
        fill_store(store.path(), "ca/wabbit", &[("root.pem", signer.root_pem.as_bytes())]);
        Self {
            envelope: signer.sign(order),
            media_type: order.format.media_type(),
            statement: statement(r#"{"level":"strict"}"#, &["ca:wabbit"], &[WABBIT]),
            store,
            now: time(NOW),
            target: target(),
            metadata: BTreeMap::new(),
        }
    }

    fn good() -> Self {
        Self::of(&wabbit(), &Order::default())
    }

    fn policy(mut self, verification: &str, stores: &[&str], identities: &[&str]) -> Self {
        self.statement = statement(verification, stores, identities);
        self
    }

    fn verify(&self) -> Outcome {
        verify_signature(&VerifyInput {
            media_type: self.media_type,
            envelope: &self.envelope,
            statement: &self.statement,
            store: &TrustStore::new(self.store.path()),
            now: self.now,
            target: &self.target,
            required_metadata: &self.metadata,
        })
    }

    /// Asserts that this check is the enforced one that fails, and for these words.
    fn refused(&self, check: CheckType, words: &str) -> Outcome {
        let outcome = self.verify();
        let failure = outcome.failure().unwrap_or_else(|| panic!("expected {check}: {words}\n{outcome}"));
        assert_eq!((outcome.verdict(), failure.check_type), (Verdict::Refused, check), "{outcome}");
        assert!(failure.explanation().contains(words), "expected: {words}\n{outcome}");
        outcome
    }
}

fn extended(key: AttributeKey, critical: bool, value: AttributeValue) -> Order {
    Order { extended: vec![ExtendedAttribute { key, critical, value }], ..Order::default() }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::Text(text.to_owned())
}

fn key(text: &str) -> AttributeKey {
    AttributeKey::Text(text.to_owned())
}

#[test]
fn a_good_signature_verifies_in_both_formats() {
    for format in EnvelopeFormat::ALL {
        let outcome = Case::of(&wabbit(), &Order { format, ..Order::default() }).verify();
        assert!(outcome.is_verified(), "{outcome}");
        assert_eq!(outcome.checks().len(), 8);
        assert!(outcome.checks().iter().all(|c| c.result == CheckResult::Passed), "{outcome}");
        assert_eq!(outcome.payload().unwrap().target(), &descriptor());
        assert_eq!(outcome.content().unwrap().format, format);
        assert_eq!((outcome.statement(), outcome.level().name()), ("s", "strict"));
    }
}

/// A way to spoil a verification, the check that notices, and its words.
type Defect = (&'static str, fn() -> Case, CheckType, &'static str);

const DEFECTS: [Defect; 5] = [
    (
        "expired signature",
        expired_signature,
        CheckType::Expiry,
        "digital signature has expired on \"Sun, 15 Jun 2025 00:00:00 +0000\"",
    ),
    (
        "expired certificate",
        expired_certificate,
        CheckType::AuthenticTimestamp,
        "verification time is after certificate \"CN=release,O=Wabbit,ST=WA,C=US\" validity period, it was expired at \"Thu, 01 Jan 2026 00:00:00 +0000\"",
    ),
    (
        "untrusted",
        untrusted,
        CheckType::Authenticity,
        "certificate chain does not contain any trusted certificate: it ends at \"CN=Test Root,C=US\", which is not in ca:wabbit",
    ),
    (
        "wrong identity",
        wrong_identity,
        CheckType::Authenticity,
        "signing certificate from the digital signature does not match the X.509 trusted identities [\"x509.subject:C=US,ST=WA,O=Wabbit\"] defined in the trust policy \"s\": its subject is \"CN=release,O=Mallory,ST=WA,C=US\"",
    ),
    (
        "tampered",
        tampered,
        CheckType::Integrity,
        "signature is invalid. Error: the envelope was changed or is wrongly signed; under the leaf certificate",
    ),
];

fn expired_signature() -> Case {
    Case::of(&wabbit(), &Order { expiry: Some("2025-06-15T00:00:00Z"), ..Order::default() })
}

fn expired_certificate() -> Case {
    Case { now: time(AFTER_EXPIRY), ..Case::good() }
}

fn untrusted() -> Case {
    Case { envelope: wabbit().sign(&Order::default()), ..Case::good() }
}

fn wrong_identity() -> Case {
    let mallory = [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "WA"),
        (DnType::OrganizationName, "Mallory"),
        (DnType::CommonName, "release"),
    ];
    Case::of(&Signer::named(&mallory, Asks::Nobody), &Order::default())
}

/// The signature of another envelope by the same key.
fn tampered() -> Case {
    let signer = wabbit();
    let other =
        signer.sign(&Order { metadata: [("a".to_owned(), "b".to_owned())].into(), ..Order::default() });
    let mut case = Case::of(&signer, &Order::default());
    let member = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let start = text.find("\"signature\":\"").unwrap() + 13;
        text[start..start + text[start..].find('"').unwrap()].to_owned()
    };
    let whole = String::from_utf8(case.envelope.clone()).unwrap();
    case.envelope = whole.replace(&member(&case.envelope), &member(&other)).into_bytes();
    case
}

#[test]
fn every_level_treats_every_defect_as_the_specification_says() {
    for (name, spoilt, check_type, words) in DEFECTS {
        for level in ["strict", "permissive", "audit"] {
            let case = spoilt();
            let case = case.policy(&format!(r#"{{"level":"{level}"}}"#), &["ca:wabbit"], &[WABBIT]);
            let action = case.statement.level().action(check_type);
            let outcome = match action {
                Action::Enforce => case.refused(check_type, words),
                _ => case.verify(),
            };
            let failed: Vec<&Check> = outcome.checks().iter().filter(|c| !c.reasons().is_empty()).collect();
            let is_only =
                failed.len() == 1 && (failed[0].check_type, failed[0].action) == (check_type, action);
            assert!(is_only, "{level}, {name}:\n{outcome}");
            assert!(failed[0].explanation().contains(words), "{level}, {name}:\n{outcome}");
            assert_eq!(outcome.is_verified(), action == Action::Log, "{level}, {name}:\n{outcome}");
            assert_eq!(outcome.warnings().count(), usize::from(action == Action::Log), "{level}, {name}");
            let after = outcome.checks().iter().skip_while(|c| c.check_type != check_type).skip(1);
            let expected =
                if action == Action::Enforce { CheckResult::NotReached } else { CheckResult::Passed };
            assert!(after.clone().all(|c| c.result == expected), "{level}, {name}:\n{outcome}");
        }
        let outcome = spoilt().policy(r#"{"level":"skip"}"#, &[], &[]).verify();
        assert_eq!((outcome.verdict(), outcome.is_verified()), (Verdict::Skipped, false), "{name}");
        assert!(
            outcome.checks().iter().all(|c| c.result == CheckResult::Skipped) && outcome.content().is_none()
        );
    }
}

#[test]
fn overrides_change_single_checks() {
    let logged = r#"{"level":"strict","override":{"expiry":"log"}}"#;
    let outcome = expired_signature().policy(logged, &["ca:wabbit"], &[WABBIT]).verify();
    assert!(outcome.is_verified() && outcome.warnings().count() == 1, "{outcome}");
    let enforced = r#"{"level":"audit","override":{"authenticity":"enforce"}}"#;
    let case = untrusted().policy(enforced, &["ca:wabbit"], &[WABBIT]);
    case.refused(CheckType::Authenticity, "does not contain any trusted certificate");
}

#[test]
fn expiry_and_validity_are_compared_to_the_second() {
    let mut case = expired_signature();
    case.now = time("2025-06-14T23:59:59Z");
    assert!(case.verify().is_verified());
    case.now = time("2025-06-15T00:00:00Z");
    case.refused(CheckType::Expiry, "has expired");
    let mut case = Case::good();
    case.now = time("2026-01-01T00:00:00Z");
    assert!(case.verify().is_verified(), "the last second of the validity belongs to it");
    case.now = time("2026-01-01T00:00:01Z");
    case.refused(CheckType::AuthenticTimestamp, "verification time is after certificate");
    case.now = time("2024-12-31T23:59:59Z");
    case.refused(CheckType::AuthenticTimestamp, "verification time is before certificate \"CN=release,O=Wabbit,ST=WA,C=US\" validity period, it will be valid from \"Wed, 01 Jan 2025 00:00:00 +0000\"");
}

#[test]
fn envelopes_that_cannot_be_read_are_refused() {
    let mut case = Case::good();
    case.media_type = "application/json";
    case.refused(CheckType::Integrity, "unable to parse the digital signature, error : envelope format \"application/json\" is not supported");
    case.media_type = "application/cose";
    case.refused(
        CheckType::Integrity,
        "unable to parse the digital signature, error : not a valid cose envelope",
    );
    let mut case = Case::good();
    case.envelope.truncate(200);
    let outcome = case.refused(
        CheckType::Integrity,
        "unable to parse the digital signature, error : not a valid jws envelope",
    );
    assert!(outcome.content().is_none());
}

#[test]
fn critical_attributes_that_nobody_understands_are_refused_at_every_level() {
    let plugin = "io.cncf.notary.verificationPlugin";
    let version = "io.cncf.notary.verificationPluginMinVersion";
    for (order, words) in [
        (
            extended(key("com.example.x"), true, text("1")),
            "extended critical attribute \"com.example.x\" was not processed",
        ),
        (
            extended(key(plugin), true, text("acme")),
            "the signature asks for the verification plugin \"acme\": verification plugins are not run by this version",
        ),
        (
            extended(key(plugin), false, text("acme")),
            "io.cncf.notary.verificationPlugin is not a critical Extended attribute",
        ),
        (
            extended(key(plugin), true, AttributeValue::Integer(1)),
            "io.cncf.notary.verificationPlugin from extended attribute is not a string",
        ),
        (
            extended(key(plugin), true, text("  ")),
            "io.cncf.notary.verificationPlugin from extended attribute is an empty string",
        ),
        (
            extended(key(version), true, text("1.0.0")),
            "at least version \"1.0.0\" of a verification plugin but names none",
        ),
    ] {
        for level in ["strict", "audit"] {
            let case = Case::of(&wabbit(), &order);
            case.policy(&format!(r#"{{"level":"{level}"}}"#), &["ca:wabbit"], &[WABBIT])
                .refused(CheckType::CriticalAttributes, words);
        }
    }
    let labelled =
        Order { format: EnvelopeFormat::Cose, ..extended(AttributeKey::Int(-70_000), true, text("x")) };
    Case::of(&wabbit(), &labelled)
        .refused(CheckType::CriticalAttributes, "extended critical attribute \"-70000\"");
    let harmless = extended(key("com.example.x"), false, text("1"));
    assert!(Case::of(&wabbit(), &harmless).verify().is_verified());
}

#[test]
fn an_identity_error_does_not_hide_a_trust_store_error() {
    for level in ["strict", "audit"] {
        let case = wrong_identity();
        let case = case.policy(&format!(r#"{{"level":"{level}"}}"#), &["ca:absent"], &[WABBIT]);
        let outcome = case.verify();
        let check = outcome.checks().iter().find(|c| c.check_type == CheckType::Authenticity).unwrap();
        assert_eq!(
            check.reasons().iter().map(|r| r.code()).collect::<Vec<_>>(),
            ["trustStore", "trustedIdentity"]
        );
        assert!(
            check.explanation().contains("the trust store \"absent\" of type \"ca\" does not exist"),
            "{outcome}"
        );
    }
}

#[test]
fn trust_comes_from_any_certificate_of_the_chain_and_from_the_right_type_of_store_only() {
    let signer = wabbit();
    let case = Case::of(&signer, &Order::default());
    fill_store(case.store.path(), "ca/other", &[("other.pem", wabbit().root_pem.as_bytes())]);
    fill_store(case.store.path(), "signingAuthority/sa", &[("root.der", &signer.root)]);
    fill_store(case.store.path(), "ca/broken", &[("a", &signer.root), ("b", b"garbage")]);
    let strict = r#"{"level":"strict"}"#;
    let case = case.policy(strict, &["ca:other", "ca:wabbit", "ca:wabbit"], &["*"]);
    assert!(case.verify().is_verified());
    let case = case.policy(strict, &["ca:other"], &["*"]);
    case.refused(CheckType::Authenticity, "does not contain any trusted certificate");
    let case = case.policy(strict, &["signingAuthority:sa"], &["*"]);
    case.refused(CheckType::Authenticity, "no trusted certificates are found to verify authenticity: trust policy statement \"s\" names no trust store of type ca, which signing scheme notary.x509 needs");
    let case = case.policy(strict, &["tsa:x"], &["*"]);
    case.refused(CheckType::Authenticity, "no trusted certificates are found to verify authenticity");
    let case = case.policy(strict, &["ca:wabbit", "ca:broken"], &["*"]);
    case.refused(
        CheckType::Authenticity,
        "failed to read the trusted certificate \"b\" in trust store broken",
    );
}

#[test]
fn subjects_that_break_the_rules_match_no_identity_but_the_wildcard() {
    let with = |extra: &[(DnType, &'static str)]| {
        let mut name = vec![
            (DnType::CountryName, "US"),
            (DnType::StateOrProvinceName, "WA"),
            (DnType::OrganizationName, "Wabbit"),
        ];
        name.extend_from_slice(extra);
        name
    };
    let unit = |value| (DnType::OrganizationalUnitName, value);
    let second_unit = (DnType::CustomDnType(vec![2, 5, 4, 11]), "b");
    let mail = (DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]), "a@b.example");
    for (name, words) in [
        (
            vec![(DnType::CommonName, "x")],
            "error while parsing the certificate subject from the digital signature. error : distinguished name (DN) \"CN=x\" has no mandatory RDN attribute for \"C\"",
        ),
        (with(&[unit("a"), second_unit]), "has duplicate RDN attribute for \"OU\""),
        (with(&[mail]), "containing \"=#\""),
    ] {
        let case = Case::of(&Signer::named(&name, Asks::Nobody), &Order::default());
        case.refused(CheckType::Authenticity, words);
        assert!(case.policy(r#"{"level":"strict"}"#, &["ca:wabbit"], &["*"]).verify().is_verified());
    }
    let control = with(&[unit("a")])
        .into_iter()
        .map(|(kind, value)| (kind, if value == "Wabbit" { "Wab\u{7}bit" } else { value }));
    let control: Vec<_> = control.collect();
    let case = Case::of(&Signer::named(&control, Asks::Nobody), &Order::default());
    case.refused(CheckType::Authenticity, "does not match the X.509 trusted identities");
}

#[test]
fn identities_for_plugins_match_nothing_here() {
    let case = Case::good().policy(r#"{"level":"strict"}"#, &["ca:wabbit"], &["acme.id:x"]);
    case.refused(
        CheckType::Authenticity,
        "no x509 trusted identities are configured in the trust policy \"s\"",
    );
}

#[test]
fn the_signing_authority_scheme_has_its_own_store_and_time() {
    let signer = wabbit();
    let order = Order { scheme: SigningScheme::X509SigningAuthority, ..Order::default() };
    let mut case = Case::of(&signer, &order);
    case.refused(CheckType::Authenticity, "names no trust store of type signingAuthority");
    fill_store(case.store.path(), "signingAuthority/sa", &[("root.der", &signer.root)]);
    case.now = time(AFTER_EXPIRY);
    let case = case.policy(r#"{"level":"strict"}"#, &["signingAuthority:sa", "tsa:t"], &[WABBIT]);
    let outcome = case.verify();
    assert!(outcome.is_verified(), "valid when it was signed:\n{outcome}");
}

#[test]
fn an_authentic_signing_time_lies_within_every_validity_and_not_in_the_future() {
    let signer = wabbit();
    let order = Order { scheme: SigningScheme::X509SigningAuthority, ..Order::default() };
    let case = Case::of(&signer, &order);
    fill_store(case.store.path(), "signingAuthority/sa", &[("root.der", &signer.root)]);
    let mut case = case.policy(r#"{"level":"strict"}"#, &["signingAuthority:sa"], &["*"]);
    let base64 = |pem: &str| pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    let whole = String::from_utf8(case.envelope.clone()).unwrap();
    // The chain is unsigned: another certificate for the same key can be put in.
    for (from, to, is_valid) in [((1, 1), (6, 1), false), ((6, 2), (12, 31), false), ((6, 1), (6, 2), true)] {
        let leaf = base64(&signer.leaf_pem_valid(from, to));
        let exchanged = whole.replacen(&base64(&signer.leaf_pem), &leaf, 1);
        assert_ne!(whole, exchanged);
        case.envelope = exchanged.into_bytes();
        if is_valid {
            assert!(case.verify().is_verified(), "{}", case.verify());
        } else {
            case.refused(
                CheckType::AuthenticTimestamp,
                "certificate \"CN=release\" was not valid when the digital signature was produced at \"Sun, 01 Jun 2025 12:00:00 +0000\"",
            );
        }
    }
    case.envelope = whole.into_bytes();
    case.now = time("2025-06-01T11:45:00Z");
    assert!(case.verify().is_verified(), "clocks differ:\n{}", case.verify());
    case.now = time("2025-06-01T11:44:59Z");
    case.refused(
        CheckType::AuthenticTimestamp,
        "the authentic signing time \"Sun, 01 Jun 2025 12:00:00 +0000\" is later than the time of verification \"Sun, 01 Jun 2025 11:44:59 +0000\"",
    );
}

#[test]
fn a_policy_that_asks_for_timestamps_is_refused_with_that_reason() {
    let strict = r#"{"level":"strict"}"#;
    let stores = ["ca:wabbit", "tsa:digicert"];
    Case::good().policy(strict, &stores, &[WABBIT]).refused(
        CheckType::AuthenticTimestamp,
        "no timestamp countersignature was found in the signature envelope; trust policy statement \"s\" asks for timestamps (tsa:digicert): timestamp countersignatures are not verified by this version",
    );
    let permissive = Case::good().policy(r#"{"level":"permissive"}"#, &stores, &[WABBIT]).verify();
    assert!(
        permissive.is_verified() && permissive.warnings().count() == 1,
        "shown, not passed over:\n{permissive}"
    );
    let after_expiry = r#"{"level":"strict","verifyTimestamp":"afterCertExpiry"}"#;
    let mut case = Case::good().policy(after_expiry, &stores, &[WABBIT]);
    assert!(case.verify().is_verified(), "no certificate has expired, no timestamp is asked for");
    case.now = time(AFTER_EXPIRY);
    case.refused(CheckType::AuthenticTimestamp, "no timestamp countersignature was found");
    let mut case = with_timestamp().policy(strict, &stores, &[WABBIT]);
    let words = "trust policy statement \"s\" asks for timestamps (tsa:digicert): timestamp countersignatures are not verified by this version";
    case.refused(CheckType::AuthenticTimestamp, words);
    case.now = time(AFTER_EXPIRY);
    let case = case.policy(after_expiry, &stores, &[WABBIT]);
    case.refused(CheckType::AuthenticTimestamp, words);
}

/// An envelope that carries some timestamp token: it is unsigned, so it can be put in.
fn with_timestamp() -> Case {
    let mut case = Case::good();
    let whole = String::from_utf8(case.envelope).unwrap();
    let with = whole.replacen("\"x5c\":", "\"io.cncf.notary.timestampSignature\":\"MAA=\",\"x5c\":", 1);
    assert_ne!(whole, with);
    case.envelope = with.into_bytes();
    case
}

#[test]
fn certificates_that_can_be_revoked_are_refused_because_that_cannot_be_checked() {
    let name = [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "WA"),
        (DnType::OrganizationName, "Wabbit"),
    ];
    for (asks, source) in [
        (Asks::Crl, "a CRL distribution point"),
        (Asks::Ocsp, "an OCSP responder"),
        (Asks::UnreadableCrl, "a CRL distribution point"),
        (Asks::UnreadableOcsp, "an OCSP responder"),
    ] {
        let signer = Signer::named(&name, asks);
        let words = format!(
            "revocation status of \"O=Wabbit,ST=WA,C=US\" cannot be checked by this version: it names {source}"
        );
        let case = Case::of(&signer, &Order::default());
        case.refused(CheckType::Revocation, &words);
        let logged = case.policy(r#"{"level":"permissive"}"#, &["ca:wabbit"], &[WABBIT]);
        let outcome = logged.verify();
        assert!(outcome.is_verified(), "{outcome}");
        assert!(outcome.warnings().next().unwrap().explanation().contains(&words), "{outcome}");
        let skipped = r#"{"level":"strict","override":{"revocation":"skip"}}"#;
        let outcome = logged.policy(skipped, &["ca:wabbit"], &[WABBIT]).verify();
        assert!(outcome.is_verified() && outcome.warnings().next().is_none(), "{outcome}");
        assert!(outcome.to_string().contains("revocation          skip     skipped"), "{outcome}");
    }
    let outcome = Case::of(&Signer::named(&name, Asks::RootCrl), &Order::default()).verify();
    assert!(outcome.is_verified(), "nobody asks about a root:\n{outcome}");
}

#[test]
fn a_signature_for_another_artifact_is_refused_at_every_level() {
    let right = descriptor();
    let oci = |media_type: &str, digest: &str, size| Target::Oci {
        media_type: media_type.to_owned(),
        digest: digest.to_owned(),
        size,
    };
    for (target, words) in [
        (
            oci(&right.media_type, "sha256:cd", 1234),
            "content descriptor mismatch: the signature is for another artifact, digest \"sha256:abab",
        ),
        (
            oci(&right.media_type, &right.digest, 1235),
            "content descriptor mismatch: the signature is for another artifact, size \"1234\" instead of \"1235\"",
        ),
        (
            oci("application/x", &right.digest, 1234),
            "content descriptor mismatch: the signature is for another artifact, media type",
        ),
        (
            Target::Blob { media_type: None, digest: right.digest.clone(), size: 1 },
            "integrity check failed. signature does not match the given blob: it is for size \"1234\"",
        ),
        (
            Target::Blob { media_type: None, digest: "sha512:ab".to_owned(), size: 1234 },
            "integrity check failed. signature does not match the given blob: it is for digest",
        ),
        (
            Target::Blob {
                media_type: Some("text/plain".to_owned()),
                digest: right.digest.clone(),
                size: 1234,
            },
            "it is for media type",
        ),
    ] {
        for level in ["strict", "audit"] {
            let case = Case::good().policy(&format!(r#"{{"level":"{level}"}}"#), &["ca:wabbit"], &[WABBIT]);
            Case { target: target.clone(), ..case }.refused(CheckType::TargetArtifact, words);
        }
    }
    let blob = Target::Blob { media_type: None, digest: right.digest, size: 1234 };
    assert!(Case { target: blob, ..Case::good() }.verify().is_verified());
}

#[test]
fn user_metadata_must_be_there_and_may_be_more() {
    let signed = [("build", "7"), ("more", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let mut case = Case::of(&wabbit(), &Order { metadata: signed, ..Order::default() });
    case.metadata = [("build".to_owned(), "7".to_owned())].into();
    assert!(case.verify().is_verified());
    case.metadata = [("build".to_owned(), "8".to_owned())].into();
    case.refused(
        CheckType::UserMetadata,
        "unable to find specified metadata in the signature: \"build\" should be \"8\", but is \"7\"",
    );
    case.metadata = [("commit".to_owned(), String::new())].into();
    let case = case.policy(r#"{"level":"audit"}"#, &["ca:wabbit"], &[WABBIT]);
    case.refused(CheckType::UserMetadata, "\"commit\" should be \"\", but is not there");
}

#[test]
fn an_outcome_is_one_line_per_check_and_json() {
    let outcome = expired_signature().policy(r#"{"level":"permissive"}"#, &["ca:wabbit"], &[WABBIT]).verify();
    let text = outcome.to_string();
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.contains("integrity           enforce  passed\n"), "{text}");
    assert!(text.contains("expiry              log      failed: digital signature has expired"), "{text}");
    let json = serde_json::to_value(&outcome).unwrap();
    assert_eq!(json["verdict"], "verified");
    assert_eq!(json["level"]["name"], "permissive");
    assert_eq!(json["level"]["authenticTimestamp"], "log");
    let expiry = json["checks"].as_array().unwrap().iter().find(|c| c["type"] == "expiry").unwrap();
    assert_eq!((&expiry["action"], &expiry["result"]), (&"log".into(), &"failed".into()));
    assert_eq!(expiry["reasons"][0]["code"], "expired");
}

/// Up to a hundred refused signatures are kept for their reasons.
#[test]
fn nothing_large_is_kept_of_a_refused_signature() {
    let large = "v".repeat(900 * 1024);
    let metadata: BTreeMap<_, _> = [("build".to_owned(), large.clone())].into();
    let attribute = extended(key(&large), true, text("x"));
    let mut wrong_value = Case::of(&wabbit(), &Order { metadata: metadata.clone(), ..Order::default() });
    assert_eq!(
        wrong_value.verify().content().unwrap().payload,
        wrong_value.verify().payload().unwrap().bytes()
    );
    wrong_value.metadata = [("build".to_owned(), "8".to_owned())].into();
    for (case, check, words) in [
        (wrong_value, CheckType::UserMetadata, "but is \"vvv"),
        (Case::of(&wabbit(), &attribute), CheckType::CriticalAttributes, "attribute \"vvv"),
    ] {
        let outcome = case.refused(check, words);
        assert!(outcome.content().is_none() && outcome.payload().is_none());
        assert!(format!("{outcome:?}").len() < 8 * 1024, "{}", format!("{outcome:?}").len());
    }
}
