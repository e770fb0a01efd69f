//! What the vault says of keys and signatures, taken apart.

use serde_json::json;

use super::*;

fn call() -> Call {
    Call::read("transit/sign/k", "sign with key transit/k version 2")
}

fn answer(data: Value) -> Answer {
    Answer { data, request_id: None, token_from: String::new() }
}

fn signed(spec: KeySpec, text: &str) -> Result<RawSignature, Error> {
    signature(&call(), spec, &answer(json!({"signature": text})), 2)
}

#[test]
fn signatures_are_taken_in_the_form_that_was_asked_for_only() {
    let fixed = BASE64_URL_SAFE_NO_PAD.encode([0xfb; 64]);
    assert_eq!(signed(KeySpec::Ec256, &format!("vault:v2:{fixed}")).unwrap().bytes(), [0xfb; 64]);
    let rsa = BASE64_STANDARD.encode([0xfb; 256]);
    assert_eq!(signed(KeySpec::Rsa2048, &format!("vault:v2:{rsa}")).unwrap().bytes(), [0xfb; 256]);
    let short = BASE64_URL_SAFE_NO_PAD.encode([0xfb; 63]);
    for bad in [
        fixed.clone(),
        format!("vault:{fixed}"),
        format!("vault:v2:{short}"),
        format!("vault:v2:{fixed}="),
        format!("vault:v2:{}", BASE64_STANDARD.encode([0xfb; 64])),
        "vault:v2:".to_owned(),
    ] {
        assert!(signed(KeySpec::Ec256, &bad).is_err(), "{bad}");
    }
    assert!(signature(&call(), KeySpec::Ec256, &answer(Value::Null), 2).is_err());
}

#[test]
fn a_signature_by_another_version_is_refused() {
    let fixed = BASE64_URL_SAFE_NO_PAD.encode([7; 64]);
    for version in ["1", "3", "02x", "", "\u{1b}[2J"] {
        let error = signed(KeySpec::Ec256, &format!("vault:v{version}:{fixed}")).unwrap_err();
        assert!(error.message.contains("not with the one asked for"), "{error}");
        assert!(!error.message.contains('\u{1b}'));
    }
}

#[test]
fn requests_ask_for_what_notary_verifies() {
    let digest = Digest::of(HashAlgorithm::Sha384, b"x");
    let rsa = serde_json::to_value(SignRequest::new(KeySpec::Rsa3072, &digest, 4)).unwrap();
    assert_eq!((&rsa["signature_algorithm"], &rsa["salt_length"]), (&json!("pss"), &json!("hash")));
    assert_eq!((&rsa["prehashed"], &rsa["hash_algorithm"]), (&json!(true), &json!("sha2-384")));
    assert_eq!(rsa["key_version"], 4);
    assert!(rsa.get("marshaling_algorithm").is_none());
    let ec = serde_json::to_value(SignRequest::new(KeySpec::Ec384, &digest, 1)).unwrap();
    assert_eq!(ec["marshaling_algorithm"], "jws");
    assert!(ec.get("salt_length").is_none());
}

#[test]
fn keys_that_cannot_sign_for_notary_are_refused_with_the_reason() {
    let id = TransitId::parse("k", None).unwrap();
    let key = |kind: &str, derived: bool| -> KeyData {
        serde_json::from_value(
            json!({"type": kind, "latest_version": 3, "derived": derived, "min_decryption_version": 2}),
        )
        .unwrap()
    };
    for spec in KeySpec::ALL {
        assert_eq!(spec_of(&key(type_of(spec), false), &id).unwrap(), spec);
    }
    for (kind, derived, why) in [
        ("ed25519", true, "is derived"),
        ("ed25519", false, "is of type \"ed25519\""),
        ("aes256-gcm96", false, "Notary signs with no other"),
        ("rsa-1024\u{1b}", false, "\"rsa-1024\""),
    ] {
        assert!(spec_of(&key(kind, derived), &id).unwrap_err().message.contains(why), "{kind}");
    }
    assert!(no_version(&key("rsa-2048", false), &id, 1).message.contains("archived"));
    assert!(no_version(&key("rsa-2048", false), &id, 9).message.contains("versions 2 to 3"));
}
