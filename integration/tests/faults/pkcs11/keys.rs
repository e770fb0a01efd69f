//! Keys that are not there, cannot sign or must not, and PINs that are wrong: real ones, in a real token.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::p11fault::Faults;
use prokura_integration::backend::token::{LABEL, uri};
use prokura_integration::home::write_private;

use super::scene::Stages;
use super::told;

pub(super) fn trials(stages: &Stages) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (label, words) in [
        ("absent", &["absent", "key"] as &[&str]),
        ("decrypt-only", &["decrypt-only", "sign"]),
        ("rsa-1024", &["1024"]),
        ("secp256k1", &["EC secp256k1", "P-256"]),
        ("twice", &["2 ", "id"]),
        ("stranger", &["certificate"]),
        ("bare", &["certificate"]),
    ] {
        trials.push(told(stages, &format!("key::{label}"), move |stages| {
            stages.scene()?.refuses(label, words)
        }));
    }
    trials.push(told(stages, "key::asks_for_the_pin_each_time", |stages| stages.scene()?.signs("always")));
    trials.push(told(stages, "token::absent", |stages| {
        with_id(stages, "other token", &["other%20token", LABEL_SHOWN])
    }));
    trials.push(told(stages, "module::absent", |stages| {
        with_module(stages, "/nowhere/libhsm.so", &["/nowhere/libhsm.so"])
    }));
    trials.push(told(stages, "module::no_library", |stages| {
        with_module(stages, "/etc/passwd", &["/etc/passwd", "PKCS#11"])
    }));
    trials.push(told(stages, "module::a_library_of_another_kind", |stages| {
        let library =
            ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6"];
        let library =
            library.into_iter().find(|path| std::path::Path::new(path).is_file()).unwrap_or("/bin/sh");
        with_module(stages, library, &[library, "C_GetFunctionList"])
    }));
    trials.push(told(stages, "pin::wrong", wrong_pin));
    trials.push(told(stages, "pin::absent", |stages| {
        let scene = stages.scene()?;
        let id = scene.id("ec-256")?;
        let (without, _) = id.split_once("&pin-source").unwrap_or((&id, ""));
        scene.refuses_id(without, &["PIN", "pin-source"])
    }));
    trials.push(told(stages, "pin::file_absent", |stages| {
        let scene = stages.scene()?;
        let id = uri(LABEL, "ec-256", &Faults::module()?, std::path::Path::new("/nowhere/pin"));
        scene.refuses_id(&id, &["/nowhere/pin"])
    }));
    trials
}

const LABEL_SHOWN: &str = "prokura%20test";

fn with_id(stages: &Stages, token: &str, words: &[&str]) -> Result<String> {
    let scene = stages.scene()?;
    let id = uri(token, "ec-256", &Faults::module()?, &scene.token.pin_file);
    scene.refuses_id(&id, words)
}

fn with_module(stages: &Stages, path: &str, words: &[&str]) -> Result<String> {
    let scene = stages.scene()?;
    let id = uri(LABEL, "ec-256", std::path::Path::new(path), &scene.token.pin_file);
    scene.refuses_id(&id, words)
}

/// One of a token's few tries is spent, not one more.
fn wrong_pin(stages: &Stages) -> Result<String> {
    let scene = stages.scene()?;
    let wrong = scene.faults.directory.join("wrong-pin");
    write_private(&wrong, "0000-1111")?;
    let id = uri(LABEL, "ec-256", &Faults::module()?, &wrong);
    let line = scene.refuses_id(&id, &["CKR_PIN_INCORRECT", "PIN"])?;
    let tries = scene.faults.calls("C_Login")?;
    ensure!(tries == 1, "{tries} tries were spent: {line}");
    ensure!(!line.contains("0000-1111"), "the PIN is shown: {line}");
    Ok(line)
}
