//! Keys listed, named exactly, made and given their certificate.

use std::ops::ControlFlow;

use libtest_mimic::Trial;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::{
    CertificateChain, CreateKey, CreateRequest, Deadline, Error, ErrorCode, InstallCertificate,
    KeyDescription, KeyId, KeyRequest, KeySpec, ListKeys, PinPolicy, VaultRequest,
};
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::keys::{sign, verifies};
use crate::world::{SpkiKey, World};

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![
        world.trial("the_keys_that_can_sign_are_listed", the_keys_that_can_sign_are_listed),
        world.trial("listed_ids_name_exactly_one_key", listed_ids_name_exactly_one_key),
        world.trial("many_tokens_are_not_tried_with_one_pin", many_tokens_are_not_tried_with_one_pin),
        world.trial("a_listing_ends_when_it_is_told_to", a_listing_ends_when_it_is_told_to),
        world.trial("keys_are_made_and_sign_and_stay", keys_are_made_and_sign_and_stay),
        world.trial("a_key_is_never_replaced", a_key_is_never_replaced),
        world.trial("a_certificate_is_installed_beside_its_key", a_certificate_is_installed),
    ]
}

fn vault_request(world: &World, token: &str) -> VaultRequest {
    VaultRequest::new(world.config(token).into_iter().collect(), Deadline::NONE).unwrap()
}

fn listed(world: &World, request: &VaultRequest) -> (Vec<KeyDescription>, Vec<Error>) {
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    let listing = world.vault.list_keys(request, &mut |found| {
        match found {
            Ok(key) => keys.push(key),
            Err(error) => errors.push(error),
        }
        ControlFlow::Continue(())
    });
    listing.unwrap();
    (keys, errors)
}

fn the_keys_that_can_sign_are_listed(world: &World) {
    let (keys, errors) = listed(world, &vault_request(world, "Build Keys"));
    assert!(errors.is_empty(), "{errors:?}");
    let labels: Vec<&str> = keys.iter().filter_map(|key| key.details.label.as_deref()).collect();
    for spec in KeySpec::ALL {
        let key = keys.iter().find(|key| key.details.label.as_deref() == Some(spec.as_str())).unwrap();
        assert_eq!(key.public_key.spec(), spec);
        assert_eq!(key.details.exportable, Some(false), "{spec}");
        assert_eq!(key.details.attributes["token"], "Build Keys");
    }
    for not_for_us in ["agreement", "small", "ed25519"] {
        assert!(!labels.contains(&not_for_us), "{labels:?}");
    }
    let with_certificate = keys.iter().find(|key| key.details.label.as_deref() == Some("EC-256")).unwrap();
    assert_eq!(with_certificate.certificates.certificates().len(), 2);
    let careful = keys.iter().find(|key| key.details.label.as_deref() == Some("careful-ec")).unwrap();
    assert_eq!(careful.details.pin_policy, Some(PinPolicy::Always));
}

fn listed_ids_name_exactly_one_key(world: &World) {
    let (keys, _) = listed(world, &vault_request(world, "Build Keys"));
    let pin = format!("file:{}", world.directory.join("pin").display());
    for listed in keys {
        let key = world.open(listed.key_id.as_str(), &[("pin-source", &pin)]).unwrap();
        assert_eq!(Some(key.public_key()), listed.public_key.known(), "{}", listed.key_id);
        assert_eq!(key.details().exact_key_id, Some(listed.key_id));
    }
    // Twins are told apart by their slot.
    let error = world.refusal(&world.uri("token=twin;object=k"), &[]);
    let serial = error.message.split("serial=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let key = world.open(&world.uri(&format!("serial={serial};object=k")), &[]).unwrap();
    let exact = key.details().exact_key_id.unwrap();
    assert!(exact.as_str().contains(&format!("serial={serial}")), "{exact}");
    assert!(exact.as_str().contains("pin-source=file:/"), "what the key id said of the PIN is kept: {exact}");
}

fn many_tokens_are_not_tried_with_one_pin(world: &World) {
    let config: PluginConfig = world.config("twin").into_iter().filter(|(name, _)| name != "token").collect();
    let (keys, errors) = listed(world, &VaultRequest::new(config, Deadline::NONE).unwrap());
    assert!(keys.is_empty() && errors.len() > 5, "{errors:?}");
    assert!(errors.iter().all(|e| e.code == ErrorCode::AccessDenied && e.message.contains("not tried")));
}

fn a_listing_ends_when_it_is_told_to(world: &World) {
    let mut seen = 0;
    let listing = world.vault.list_keys(&vault_request(world, "Build Keys"), &mut |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(listing.is_ok() && seen == 2, "{seen}");
}

fn create(world: &World, name: &str, spec: KeySpec) -> Result<KeyDescription, Error> {
    let name = KeyId::new(name).unwrap();
    world.vault.create_key(&CreateRequest::new(name, spec, vault_request(world, "workshop")))
}

fn keys_are_made_and_sign_and_stay(world: &World) {
    for spec in [KeySpec::Ec256, KeySpec::Ec384, KeySpec::Ec521, KeySpec::Rsa2048] {
        let made = create(world, &format!("made {spec}"), spec).unwrap();
        assert_eq!(made.public_key.spec(), spec);
        assert_eq!(made.details.exportable, Some(false));
        assert_eq!(made.details.attributes["sensitive"], "yes");
        let key = world.open(&world.uri(&format!("token=workshop;object=made%20{spec}")), &[]).unwrap();
        assert_eq!(Some(key.public_key()), made.public_key.known());
        assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")), "{spec}");
    }
    let named = create(world, "pkcs11:object=by%20uri;id=%AA%BB", KeySpec::Ec256).unwrap();
    assert!(named.key_id.as_str().contains("object=by%20uri;id=%AA%BB"), "{}", named.key_id);
}

fn a_key_is_never_replaced(world: &World) {
    create(world, "once", KeySpec::Ec256).unwrap();
    for name in ["once", "k", "pkcs11:object=other;id=%01"] {
        let error = create(world, name, KeySpec::Ec256).unwrap_err();
        assert_eq!(error.code, ErrorCode::ValidationError);
        assert!(error.message.contains("never replaced"), "{error}");
    }
}

fn a_certificate_is_installed(world: &World) {
    let made = create(world, "certified", KeySpec::Ec256).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, "workshop CA");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let mut leaf = CertificateParams::new(Vec::new()).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "certified");
    let leaf =
        leaf.signed_by(&SpkiKey(made.public_key.known().unwrap().key_bits().to_vec()), &issuer).unwrap();
    let chain = CertificateChain::from_der(vec![leaf.der().to_vec(), root.der().to_vec()]).unwrap();

    let uri = world.uri("token=workshop;object=certified");
    let request = KeyRequest::new(&uri, PluginConfig::default(), Deadline::NONE).unwrap();
    assert!(world.open(&uri, &[]).unwrap().certificate_chain().unwrap().certificates().is_empty());
    for _ in 0..2 {
        // The second time there is nothing left to do.
        world.vault.install_certificate(&request, &chain).unwrap();
        let found = world.open(&uri, &[]).unwrap().certificate_chain().unwrap();
        assert_eq!(found.certificates(), chain.certificates());
    }
}
