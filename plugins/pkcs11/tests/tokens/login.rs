//! Logins: PINs from every source, wrong ones, missing ones, and the retry counter.

use libtest_mimic::Trial;
use prokura_plugin::ErrorCode;

use crate::keys::{sign, verifies};
use crate::world::{PIN, World};

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![
        world.trial("a_wrong_pin_is_tried_once_and_the_right_one_works", a_wrong_pin_is_tried_once),
        world.trial("no_pin_anywhere_names_the_places", no_pin_anywhere_names_the_places),
        world.trial("a_pin_file_open_to_others_is_refused", a_pin_file_open_to_others_is_refused),
        world.trial("a_pin_in_the_config_works_with_a_warning", a_pin_in_the_config_works_with_a_warning),
    ]
}

fn a_wrong_pin_is_tried_once(world: &World) {
    let uri = world.uri_without_pin("token=guarded;object=k");
    let error = world.refusal(&uri, &[("pin-source", "env:WRONG")]);
    assert_eq!(error.code, ErrorCode::AccessDenied);
    assert_eq!(error.metadata.get("ckr").map(String::as_str), Some("CKR_PIN_INCORRECT"), "{error}");
    assert!(error.message.contains("from environment variable WRONG"), "{error}");

    let error = world.refusal(&uri, &[("pin-source", "env:WRONG")]);
    assert_eq!(error.code, ErrorCode::AccessDenied);
    assert!(error.message.contains("not tried again") && error.metadata.is_empty(), "{error}");

    let key = world.open(&uri, &[("pin-source", "env:RIGHT")]).unwrap();
    assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")));

    // The token is logged in now; that must not let a key in whose own PIN is wrong or missing.
    let error = world.refusal(&uri, &[("pin-source", "env:WRONG")]);
    assert_eq!(error.code, ErrorCode::AccessDenied);
    assert!(error.message.contains("not the one this process has logged in"), "{error}");
    assert_eq!(world.refusal(&uri, &[]).code, ErrorCode::AccessDenied);
}

fn no_pin_anywhere_names_the_places(world: &World) {
    let error = world.refusal(&world.uri_without_pin("token=quiet;object=k"), &[]);
    assert_eq!(error.code, ErrorCode::AccessDenied);
    for place in ["pin-source", "PROKURA_PLUGIN_PKCS11_PIN", "notation-pkcs11.pin"] {
        assert!(error.message.contains(place), "{error}");
    }
    let error = world.refusal(&world.uri_without_pin("token=quiet;object=k"), &[("pin-source", "env:UNSET")]);
    assert!(error.message.contains("environment variable UNSET is not set"), "{error}");
}

fn a_pin_file_open_to_others_is_refused(world: &World) {
    use std::os::unix::fs::PermissionsExt;
    let file = world.directory.join("open-pin");
    std::fs::write(&file, PIN).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let source = file.display().to_string();
    let error = world.refusal(&world.uri_without_pin("token=quiet;object=k"), &[("pin-source", &source)]);
    assert_eq!(error.code, ErrorCode::AccessDenied);
    assert!(error.message.contains("mode 644") && !error.message.contains(PIN), "{error}");
}

fn a_pin_in_the_config_works_with_a_warning(world: &World) {
    let key =
        world.open(&world.uri_without_pin("token=Build%20Keys;object=EC-256"), &[("pin", PIN)]).unwrap();
    assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")));
    let warnings = world.warnings.lock().unwrap();
    let of_plain_text = warnings.iter().filter(|line| line.contains("plain text")).count();
    assert_eq!(of_plain_text, 1, "{warnings:?}");
    assert!(warnings.iter().all(|line| !line.contains(PIN)), "{warnings:?}");
}
