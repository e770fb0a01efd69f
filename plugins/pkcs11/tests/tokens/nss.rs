//! NSS softokn: a library that is told where its database is by a string, with a serial number of zeros.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Completion, Trial};
use notation_pkcs11::Vault;
use notation_pkcs11::config::pin::DEFAULTS;
use prokura_plugin::message::PluginConfig;
use prokura_plugin::pin::Surroundings;
use prokura_plugin::{
    CreateKey, CreateRequest, Deadline, KeyId, KeyRequest, KeySpec, ListKeys, OpenKey, SigningKey,
    VaultRequest,
};

use crate::keys::{sign, verifies};

const PIN: &str = "nss-pin-4711";

pub(crate) fn trials() -> Vec<Trial> {
    let missing = missing();
    let name = missing.as_ref().map_or("nss::all_six_specs".to_owned(), |why| format!("nss: skipped, {why}"));
    let in_ci = std::env::var("CI").is_ok_and(|v| v == "true");
    vec![Trial::ignorable_test(name, move || match missing {
        Some(why) if in_ci => Err(why.into()),
        Some(why) => Ok(Completion::ignored_with(why)),
        None => {
            all_six_specs();
            Ok(Completion::Completed)
        }
    })]
}

fn missing() -> Option<String> {
    let certutil = Command::new("certutil").arg("-H").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if module().is_none() || certutil.is_err() {
        return Some("NSS is not installed (apt-get install libnss3 libnss3-tools)".to_owned());
    }
    None
}

fn module() -> Option<PathBuf> {
    let directories = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    directories.map(|d| Path::new(d).join("libsoftokn3.so")).into_iter().find(|path| path.is_file())
}

/// The same library as p11-kit is configured with it, among others.
fn by_name(vault: &Vault, directory: &Path, config: &PluginConfig) {
    let modules = directory.join("modules");
    std::fs::create_dir(&modules).unwrap();
    let library = module().unwrap();
    let nss = format!("module: {}\nx-init-reserved: {}\n", library.display(), config.0["init-args"]);
    std::fs::write(modules.join("nss.module"), nss).unwrap();
    std::fs::write(modules.join("opensc.module"), "module: opensc-pkcs11.so\npriority: 3\n").unwrap();
    for (id, name) in [
        ("pkcs11:token=NSS%20Certificate%20DB;object=key%20EC-256", "module-name=nss"),
        (
            "pkcs11:token=NSS%20Certificate%20DB;object=key%20EC-256?module-name=softokn3",
            "module-name=softokn3",
        ),
    ] {
        let config = [("modules-dir", modules.display().to_string()), ("pin-source", "env:RIGHT".to_owned())];
        let config = config.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let key = vault.open_key(&KeyRequest::new(id, config, Deadline::NONE).unwrap()).unwrap();
        assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")));
        assert!(key.details().exact_key_id.unwrap().as_str().contains(name), "{:?}", key.details());
    }
}

/// What is created is listed, opened by its exact id and signs; NSS has no tokens to be made by us.
fn all_six_specs() {
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, format!("{PIN}\n")).unwrap();
    let database = format!("sql:{}", directory.path().display());
    let made = Command::new("certutil")
        .args(["-N", "-d", &database, "-f"])
        .arg(&password)
        // Else each use of a key takes 60 ms.
        .env("NSS_MAX_MP_PBE_ITERATION_COUNT", "1")
        .status();
    assert!(made.unwrap().success());
    let surroundings = Surroundings::new(DEFAULTS, |name| (name == "RIGHT").then(|| PIN.into()), |_| {});
    let vault = Vault::new(surroundings, |why| panic!("{why}"));
    let config: PluginConfig = [
        ("module-path", module().unwrap().display().to_string()),
        ("init-args", format!("configdir='{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=")),
        ("token", "NSS Certificate DB".to_owned()),
        ("pin-source", "env:RIGHT".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    let request = VaultRequest::new(config.clone(), Deadline::NONE).unwrap();
    for spec in KeySpec::ALL {
        let name = KeyId::new(format!("key {spec}")).unwrap();
        let made = vault.create_key(&CreateRequest::new(name, spec, request.clone())).unwrap();
        assert!(made.key_id.as_str().contains("serial=0000000000000000"), "{}", made.key_id);
    }
    let mut listed = Vec::new();
    let listing = vault.list_keys(&request, &mut |found| {
        listed.push(found.unwrap());
        std::ops::ControlFlow::Continue(())
    });
    listing.unwrap();
    assert_eq!(listed.len(), KeySpec::ALL.len());
    for found in listed {
        let key: Box<dyn SigningKey> = vault
            .open_key(&KeyRequest::new(found.key_id.as_str(), config.clone(), Deadline::NONE).unwrap())
            .unwrap();
        assert_eq!(Some(key.public_key()), found.public_key.known());
        for _ in 0..3 {
            assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m")), "{}", found.key_id);
        }
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| assert!(verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m"))));
            }
        });
    }
    by_name(&vault, directory.path(), &config);
    // One process can initialise the library with one database only.
    let other = config.0.into_iter().map(|(name, value)| {
        let value = if name == "init-args" { format!("{value}readOnly") } else { value };
        (name, value)
    });
    let request = KeyRequest::new("key EC-256", other.collect(), Deadline::NONE).unwrap();
    let error = vault.open_key(&request).err().unwrap();
    assert!(error.message.contains("other init-args"), "{error}");
}
