//! Libraries found by p11-kit's configuration.

use libtest_mimic::Trial;
use prokura_plugin::ErrorCode;

use crate::keys::{sign, verifies};
use crate::world::World;

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![
        world.trial("a_module_is_found_by_its_name", a_module_is_found_by_its_name),
        world.trial("all_configured_modules_are_searched", all_configured_modules_are_searched),
        world.trial("a_module_that_is_needed_must_start", a_module_that_is_needed_must_start),
    ]
}

/// A directory of module files, and the PIN source.
fn configured(world: &World, name: &str, files: &[(&str, String)]) -> (String, String) {
    let directory = world.directory.join(name);
    std::fs::create_dir_all(&directory).unwrap();
    for (file, text) in files {
        std::fs::write(directory.join(file), text).unwrap();
    }
    (directory.display().to_string(), format!("file:{}", world.directory.join("pin").display()))
}

fn module(world: &World) -> String {
    format!("module: {}\n", world.module.display())
}

fn a_module_is_found_by_its_name(world: &World) {
    let (directory, pin) = configured(world, "by-name", &[("house.module", module(world))]);
    let config = [("modules-dir", directory.as_str()), ("pin-source", &pin)];
    let id = "pkcs11:token=Build%20Keys;object=EC-256?module-name=house";
    let key = world.open(id, &config).unwrap();
    assert_eq!(key.public_key(), world.key("EC-256").public_key());
    assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")));
    let exact = key.details().exact_key_id.unwrap();
    assert!(exact.as_str().contains("?module-name=house&pin-source=file:"), "{exact}");
    let error = world.refusal("pkcs11:object=k?module-name=absent", &config);
    assert!(error.message.contains("[\"house\"]"), "{error}");
}

fn all_configured_modules_are_searched(world: &World) {
    let broken = "module: /nonexistent/lib.so\npriority: 9\n".to_owned();
    let (directory, pin) =
        configured(world, "all", &[("broken.module", broken), ("house.module", module(world))]);
    let config = [("modules-dir", directory.as_str()), ("pin-source", &pin)];
    let key = world.open("pkcs11:token=Build%20Keys;object=EC-256", &config).unwrap();
    assert_eq!(key.public_key(), world.key("EC-256").public_key());
    let error = world.refusal("pkcs11:token=absent;object=k", &config);
    assert_eq!(error.code, ErrorCode::ValidationError);
    assert!(
        error.message.contains("token=Build%20Keys") && error.message.contains("/nonexistent/lib.so"),
        "{error}"
    );
}

fn a_module_that_is_needed_must_start(world: &World) {
    let broken = "module: /nonexistent/lib.so\ncritical: yes\n".to_owned();
    let (directory, pin) =
        configured(world, "needed", &[("broken.module", broken), ("house.module", module(world))]);
    let config = [("modules-dir", directory.as_str()), ("pin-source", &pin)];
    let error = world.refusal("pkcs11:token=Build%20Keys;object=EC-256", &config);
    assert!(error.message.contains("/nonexistent/lib.so"), "{error}");
}
