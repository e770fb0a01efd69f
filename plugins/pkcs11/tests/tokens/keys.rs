//! Keys: found, refused by name, signing alone and in parallel, with their certificates.

use std::time::Instant;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use libtest_mimic::Trial;
use prokura_plugin::{
    Deadline, Digest, ErrorCode, HashAlgorithm, KeySpec, PinPolicy, RawSignature, SigningKey,
};

use crate::world::World;

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    let mut trials = vec![
        world.trial("all_six_specs_sign_and_verify", all_six_specs_sign_and_verify),
        world.trial("sixteen_threads_sign_with_one_key", sixteen_threads_sign_with_one_key),
        world.trial("threads_open_different_keys_at_once", threads_open_different_keys_at_once),
        world.trial("a_label_with_config_names_a_key", a_label_with_config_names_a_key),
        world.trial("every_attribute_of_a_token_selects_it", every_attribute_of_a_token_selects_it),
        world.trial("a_missing_token_lists_the_tokens", a_missing_token_lists_the_tokens),
        world.trial("an_ambiguous_token_lists_the_matches", an_ambiguous_token_lists_the_matches),
        world.trial("a_missing_key_lists_the_keys", a_missing_key_lists_the_keys),
        world.trial("an_ambiguous_key_lists_the_matches", an_ambiguous_key_lists_the_matches),
        world.trial("a_key_that_must_not_sign_is_refused", a_key_that_must_not_sign_is_refused),
        world.trial(
            "without_public_key_rsa_works_and_ec_says_so",
            without_public_key_rsa_works_and_ec_says_so,
        ),
        world.trial("the_chain_in_the_token_is_completed", the_chain_in_the_token_is_completed),
        world.trial(
            "a_key_without_certificate_has_an_empty_chain",
            a_key_without_certificate_has_an_empty_chain,
        ),
        world.trial(
            "a_key_with_a_login_for_each_signature_signs",
            a_key_with_a_login_for_each_signature_signs,
        ),
        world.trial("a_passed_deadline_is_a_timeout", a_passed_deadline_is_a_timeout),
        world.trial("files_that_are_no_module_are_refused", files_that_are_no_module_are_refused),
    ];
    if world.backend.has_poor_slot() {
        trials.push(world.trial("a_missing_mechanism_is_named", a_missing_mechanism_is_named));
        trials.push(
            world.trial("without_pss_the_padding_is_built_here", without_pss_the_padding_is_built_here),
        );
    }
    if world.backend.has_small_rsa() {
        trials.push(world.trial("small_rsa_is_refused_by_name", small_rsa_is_refused_by_name));
    }
    if world.backend.has_ed25519() {
        trials.push(world.trial("ed25519_is_refused_by_name", ed25519_is_refused_by_name));
    }
    trials
}

pub(crate) fn sign(key: &dyn SigningKey, message: &[u8]) -> RawSignature {
    let digest = Digest::of(key.public_key().spec().hash_algorithm(), message);
    key.sign_digest(&digest, Deadline::NONE).unwrap()
}

pub(crate) fn verifies(key: &dyn SigningKey, message: &[u8], signature: &RawSignature) -> bool {
    let algorithm: &'static dyn VerificationAlgorithm = match key.public_key().spec() {
        KeySpec::Rsa2048 => &signature::RSA_PSS_2048_8192_SHA256,
        KeySpec::Rsa3072 => &signature::RSA_PSS_2048_8192_SHA384,
        KeySpec::Rsa4096 => &signature::RSA_PSS_2048_8192_SHA512,
        KeySpec::Ec256 => &signature::ECDSA_P256_SHA256_FIXED,
        KeySpec::Ec384 => &signature::ECDSA_P384_SHA384_FIXED,
        KeySpec::Ec521 => &signature::ECDSA_P521_SHA512_FIXED,
    };
    UnparsedPublicKey::new(algorithm, key.public_key().key_bits()).verify(message, signature.bytes()).is_ok()
}

fn all_six_specs_sign_and_verify(world: &World) {
    for spec in KeySpec::ALL {
        let key = world.key(spec.as_str());
        assert_eq!(key.public_key().spec(), spec);
        for message in ["one", "two", "three"] {
            let signature = sign(key.as_ref(), message.as_bytes());
            assert!(verifies(key.as_ref(), message.as_bytes(), &signature), "{spec}");
            assert!(!verifies(key.as_ref(), b"another message", &signature), "{spec}");
        }
    }
}

fn sixteen_threads_sign_with_one_key(world: &World) {
    for (spec, count) in [(KeySpec::Ec256, 40), (KeySpec::Rsa2048, 8)] {
        let key = world.key(spec.as_str());
        std::thread::scope(|threads| {
            for thread in 0..16 {
                let key = key.as_ref();
                threads.spawn(move || {
                    for n in 0..count {
                        let message = format!("thread {thread} message {n}");
                        let signature = sign(key, message.as_bytes());
                        assert!(verifies(key, message.as_bytes(), &signature), "{message}");
                    }
                });
            }
        });
    }
}

fn threads_open_different_keys_at_once(world: &World) {
    std::thread::scope(|threads| {
        for spec in KeySpec::ALL.into_iter().chain(KeySpec::ALL) {
            threads.spawn(move || {
                let key = world.key(spec.as_str());
                assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")), "{spec}");
            });
        }
    });
}

fn a_label_with_config_names_a_key(world: &World) {
    let module = world.module.to_str().unwrap();
    let config = [("module-path", module), ("token", "Build Keys"), ("pin-source", "env:RIGHT")];
    let key = world.open("EC-384", &config).unwrap();
    assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")));
    assert_eq!(key.public_key(), world.key("EC-384").public_key());
    assert_eq!(
        key.public_key(),
        world.open(&world.uri("token=Build%20Keys;id=%05"), &[]).unwrap().public_key()
    );
}

fn every_attribute_of_a_token_selects_it(world: &World) {
    let twins = world.refusal(&world.uri("token=twin;object=k"), &[]).message;
    let serial = twins.split("serial=").nth(1).unwrap().split(' ').next().unwrap();
    let slot = twins.split("in slot ").nth(1).unwrap().split([',', ' ']).next().unwrap();
    let by_serial = world.open(&world.uri(&format!("serial={serial};object=k")), &[]).unwrap();
    let by_slot = world.open(&world.uri(&format!("slot-id={slot};object=k")), &[]).unwrap();
    assert_eq!(by_serial.public_key(), by_slot.public_key());
    for wrong in ["manufacturer", "model", "slot-manufacturer", "slot-description", "library-description"] {
        let path = format!("serial={serial};{wrong}=Nobody;object=k");
        let error = world.refusal(&world.uri(&path), &[]);
        assert!(error.message.contains(&format!("{wrong}=Nobody")), "{error}");
    }
    let error = world.refusal(&world.uri(&format!("serial={serial};library-version=99.9;object=k")), &[]);
    assert!(error.message.contains("library-version=99.9"), "{error}");
}

fn a_missing_token_lists_the_tokens(world: &World) {
    let error = world.refusal(&world.uri("token=absent;object=k"), &[]);
    assert_eq!(error.code, ErrorCode::ValidationError);
    for part in ["no token matches pkcs11:token=absent", "pkcs11:token=Build%20Keys;serial=", "token=twin"] {
        assert!(error.message.contains(part), "{error}");
    }
}

fn an_ambiguous_token_lists_the_matches(world: &World) {
    let error = world.refusal(&world.uri("token=twin;object=k"), &[]);
    assert_eq!(error.code, ErrorCode::ValidationError);
    assert!(error.message.starts_with("2 tokens match pkcs11:token=twin"), "{error}");
    assert_eq!(error.message.matches("pkcs11:token=twin;serial=").count(), 2, "{error}");
}

fn a_missing_key_lists_the_keys(world: &World) {
    let error = world.refusal(&world.uri("token=Build%20Keys;object=absent"), &[]);
    assert_eq!(error.code, ErrorCode::ValidationError);
    assert!(error.message.contains("no private key matches object=absent"), "{error}");
    assert!(error.message.contains(";id=%0") && error.message.contains(" more"), "{error}");
    let error = world.refusal(&world.uri("token=Build%20Keys;object=EC-256;id=%05"), &[]);
    assert!(error.message.contains("no private key matches object=EC-256;id=%05"), "{error}");
}

fn an_ambiguous_key_lists_the_matches(world: &World) {
    let error = world.refusal(&world.uri("token=Build%20Keys;object=same"), &[]);
    assert_eq!(error.code, ErrorCode::ValidationError);
    for part in ["2 private keys match object=same", "object=same;id=%21", "object=same;id=%22"] {
        assert!(error.message.contains(part), "{error}");
    }
    let key = world.open(&world.uri("token=Build%20Keys;object=same;id=%22"), &[]).unwrap();
    assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")));
}

fn a_key_that_must_not_sign_is_refused(world: &World) {
    let error = world.refusal(&world.uri("token=Build%20Keys;object=agreement"), &[]);
    assert_eq!(error.code, ErrorCode::AccessDenied);
    assert!(error.message.contains("CKA_SIGN is false"), "{error}");
}

fn without_public_key_rsa_works_and_ec_says_so(world: &World) {
    let key = world.key("lonely-rsa");
    assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")));
    match world.open(&world.uri("token=Build%20Keys;object=lonely-ec"), &[]) {
        // A token may keep the point with the private key.
        Ok(key) => assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m"))),
        Err(error) => {
            assert_eq!(error.code, ErrorCode::ValidationError);
            assert!(error.message.contains("object=lonely-ec;id=%24 has no public key"), "{error}");
        }
    }
}

fn a_missing_mechanism_is_named(world: &World) {
    for (object, mechanisms) in [("rsa", "CKM_RSA_PKCS_PSS or CKM_RSA_X_509"), ("ec", "CKM_ECDSA")] {
        let error = world.refusal(&world.uri(&format!("token=poor;object={object}")), &[]);
        assert_eq!(error.code, ErrorCode::ValidationError);
        assert!(error.message.contains(&format!("lacks mechanism {mechanisms} for signing")), "{error}");
    }
}

fn without_pss_the_padding_is_built_here(world: &World) {
    for spec in [KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096] {
        let key = world.open(&world.uri(&format!("token=raw;object={spec}")), &[]).unwrap();
        for message in ["one", "two", "three"] {
            assert!(
                verifies(key.as_ref(), message.as_bytes(), &sign(key.as_ref(), message.as_bytes())),
                "{spec}"
            );
        }
    }
}

fn a_key_with_a_login_for_each_signature_signs(world: &World) {
    for object in ["careful-ec", "careful-rsa"] {
        let key = world.key(object);
        assert_eq!(key.details().pin_policy, Some(PinPolicy::Always));
        for message in ["one", "two", "three"] {
            assert!(
                verifies(key.as_ref(), message.as_bytes(), &sign(key.as_ref(), message.as_bytes())),
                "{object}"
            );
        }
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m"))));
            }
        });
    }
    assert_eq!(world.key("EC-256").details().pin_policy, Some(PinPolicy::Once));
}

fn small_rsa_is_refused_by_name(world: &World) {
    let error = world.refusal(&world.uri("token=Build%20Keys;object=small"), &[]);
    assert_eq!(error.code, ErrorCode::ValidationError);
    assert!(error.message.contains("RSA 1024 bit keys cannot sign"), "{error}");
}

fn ed25519_is_refused_by_name(world: &World) {
    let error = world.refusal(&world.uri("token=Build%20Keys;object=ed25519"), &[]);
    assert_eq!(error.code, ErrorCode::ValidationError);
    assert!(error.message.contains("EC_EDWARDS keys cannot sign"), "{error}");
}

fn the_chain_in_the_token_is_completed(world: &World) {
    let key = world.key("EC-256");
    let chain = key.certificate_chain().unwrap();
    assert_eq!(chain.certificates().len(), 2, "leaf and intermediate");
    let contains = |der: &[u8], text: &str| der.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(contains(&chain.certificates()[0], "renewed"), "the renewed leaf comes first");
    let completed = chain.complete(key.public_key(), vec![world.root.clone()]).unwrap();
    assert_eq!(completed.missing_issuer, None);
    assert_eq!(completed.chain.certificates().len(), 3);
    assert_eq!(completed.chain.certificates()[2], world.root);
}

fn a_key_without_certificate_has_an_empty_chain(world: &World) {
    assert!(world.key("RSA-2048").certificate_chain().unwrap().certificates().is_empty());
}

fn a_passed_deadline_is_a_timeout(world: &World) {
    let key = world.key("EC-256");
    let digest = Digest::of(HashAlgorithm::Sha256, b"m");
    let error = key.sign_digest(&digest, Deadline::at(Instant::now())).unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
}

fn files_that_are_no_module_are_refused(world: &World) {
    let text = world.directory.join("pin").display().to_string();
    for (path, words) in [
        (text.as_str(), "not a PKCS#11 library"),
        ("/nonexistent.so", "No such file"),
        ("/tmp", "expected a file"),
    ] {
        let error = world.refusal(&format!("pkcs11:object=k?module-path={path}"), &[]);
        assert_eq!(error.code, ErrorCode::ValidationError);
        assert!(error.message.contains(words), "{error}");
    }
}
