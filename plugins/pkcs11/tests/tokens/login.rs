//! Logins: PINs from every source, wrong ones, missing ones, and the retry counter.

use std::sync::{Arc, Mutex};

use libtest_mimic::Trial;
use notation_pkcs11::Vault;
use notation_pkcs11::config::pin::DEFAULTS;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::pin::Surroundings;
use prokura_plugin::{
    Deadline, Error, ErrorCode, Interaction, KeyRequest, Notice, OpenKey, Person, Pin, PinPrompt, SigningKey,
};

use crate::keys::{sign, verifies};
use crate::world::{PIN, World};

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![
        world.trial("a_wrong_pin_is_tried_once_and_the_right_one_works", a_wrong_pin_is_tried_once),
        world.trial("no_pin_anywhere_names_the_places", no_pin_anywhere_names_the_places),
        world.trial("a_pin_file_open_to_others_is_refused", a_pin_file_open_to_others_is_refused),
        world.trial("a_pin_in_the_config_works_with_a_warning", a_pin_in_the_config_works_with_a_warning),
        world.trial("who_declines_is_told_of_the_other_places", who_declines_is_told_of_the_other_places),
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

/// A person who knows a PIN, or declines.
pub(crate) struct Someone {
    knows: Option<&'static str>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Interaction for Someone {
    fn pin(&self, prompt: &PinPrompt, _: Deadline) -> Result<Option<Pin>, Error> {
        self.asked.lock().unwrap().push(prompt.text.clone());
        Ok(self.knows.map(|pin| Pin::new(pin.as_bytes(), "typed by someone")).transpose()?)
    }

    fn confirm(&self, _: &str, _: Deadline) -> Result<Option<bool>, Error> {
        Ok(None)
    }

    fn show(&self, _: Notice, _: &str) -> Box<dyn FnOnce() + Send> {
        Box::new(|| ())
    }
}

/// A vault of its own in whose process nobody has logged in, and someone to be asked.
pub(crate) fn alone(knows: Option<&'static str>) -> (Vault, Person, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let person = Person::reached_by(Arc::new(Someone { knows, asked: Arc::clone(&asked) }));
    let vault = Vault::new(Surroundings::new(DEFAULTS, |_| None, |_| {}), |why| panic!("{why}"));
    (vault, person, asked)
}

pub(crate) fn open_for(
    vault: &Vault,
    person: &Person,
    id: &str,
    source: Option<&str>,
) -> Result<Box<dyn SigningKey>, Error> {
    let source = source.map(|source| ("pin-source".to_owned(), source.to_owned()));
    let config: PluginConfig = source.into_iter().collect();
    vault.open_key(&KeyRequest::new(id, config, Deadline::NONE).unwrap().with_person(person.clone()))
}

fn who_declines_is_told_of_the_other_places(world: &World) {
    let id = world.uri_without_pin("token=quiet;object=k");
    for source in [Some("ask"), None] {
        let (vault, person, asked) = alone(None);
        let error = open_for(&vault, &person, &id, source).err().unwrap();
        assert_eq!(error.code, ErrorCode::AccessDenied);
        assert!(error.message.contains("credential:NAME"), "{error}");
        let asked = asked.lock().unwrap();
        assert!(asked.len() == 1 && asked[0].contains("token \"quiet\" with serial"), "{asked:?}");
    }
    let (vault, ..) = alone(None);
    let error = open_for(&vault, &Person::NOBODY, &id, Some("ask")).err().unwrap();
    assert!(error.message.contains("nobody can be asked"), "{error}");
}
