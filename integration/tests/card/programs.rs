//! Yubico's and OpenSC's own programs with the virtual card.

use std::process::Command;

use anyhow::{Error, Result, ensure};
use prokura_integration::backend::card::PIN;
use prokura_integration::pki::Authority;
use prokura_integration::program::{run, system};
use prokura_plugin::PublicKey;

use super::Cards;

/// What a test needs that may be missing.
pub(super) fn needed(test: &str) -> Result<()> {
    match test {
        "programs::yubico_piv_tool" => {
            system("yubico-piv-tool", "apt-get install yubico-piv-tool").map(drop)?;
        }
        "programs::opensc" => system("pkcs11-tool", "apt-get install opensc").map(drop)?,
        _ => (),
    }
    Ok(())
}

/// In the reader's second slot unless it says so: its management key is 3DES, which version 2.2 knows.
fn yubico(slot: u8, arguments: &[&str]) -> Result<String> {
    run(Command::new("yubico-piv-tool").args(["--reader", &format!("00 0{slot}")]).args(arguments))
}

pub(super) fn yubico_piv_tool(cards: &Cards) -> Result<()> {
    let status = yubico(0, &["-a", "status"])?;
    ensure!(status.contains("5.7.1") && status.contains("PIN tries left:\t3"), "{status}");
    let made = yubico(1, &["-a", "generate", "-s", "9c", "-A", "ECCP256", "--pin-policy", "always"])?;
    let key =
        PublicKey::from_spki_der(&x509_cert::der::pem::decode_vec(made.as_bytes()).map_err(Error::msg)?.1)?;
    let certificate = cards.directory().join("certificate.pem");
    std::fs::write(&certificate, Authority::new("piv-tool")?.issue(key.spki_der(), "piv-tool")?)?;
    let certificate = certificate.display().to_string();
    let verify = ["-a", "verify-pin", "-P", PIN];
    yubico(1, &["-a", "import-certificate", "-s", "9c", "-i", &certificate])?;
    yubico(1, &[&verify[..], &["-a", "test-signature", "-s", "9c", "-i", &certificate]].concat())?;
    let attested = yubico(1, &["-a", "attest", "-s", "9c"])?;
    ensure!(attested.contains("BEGIN CERTIFICATE"), "{attested}");
    yubico(1, &["-a", "change-pin", "-P", PIN, "-N", "654321"])?;
    ensure!(yubico(1, &verify).is_err(), "the old PIN");
    Ok(())
}

pub(super) fn opensc(cards: &Cards) -> Result<()> {
    let listed = run(Command::new("opensc-tool").arg("-l"))?;
    ensure!(listed.matches("Yubico YubiKey").count() == 2, "{listed}");
    let module = ["--module", "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so", "--slot", "0"];
    let message = cards.directory().join("digest");
    std::fs::write(&message, [7; 32])?;
    let signature = cards.directory().join("signature");
    let mut sign = Command::new("pkcs11-tool");
    sign.args(module).args(["--login", "--pin", PIN, "--id", "02", "--sign", "--mechanism", "ECDSA"]);
    run(sign.arg("-i").arg(&message).arg("-o").arg(&signature))?;
    ensure!(std::fs::read(&signature)?.len() == 64);
    Ok(())
}
