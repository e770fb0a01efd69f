//! A virtual YubiKey: the bare GENERAL AUTHENTICATE over pcscd's socket, and the plugin, with the same key.
//!
//! A card does one thing at a time, so more in flight only wait: the plugin queues them.

use std::time::Duration;

use anyhow::{Result, ensure};
use prokura_plugin::{Digest, KeySpec};

use super::pkcs11::{DEADLINE, cold, plugin, sign_and_verify};
use super::{Row, on_threads};
use crate::backend::card::{Client, Filled, PIN};
use crate::home::Home;
use crate::program::executable;
use crate::served::{Served, reference};
use crate::vault::TestVault as _;

const NAME: &str = "yubikey";
const IN_FLIGHT: [usize; 3] = [1, 4, 16];
/// Key spec, slot and PIV algorithm; of keys that want the PIN once.
const KEYS: [(KeySpec, u8, u8); 2] = [(KeySpec::Ec384, 0x9D, 0x14), (KeySpec::Rsa2048, 0x9A, 0x07)];
const GENERAL_AUTHENTICATE: u8 = 0x87;
/// Signatures over which commands are counted.
const COUNTED: u32 = 20;
const SELECT: &[u8] = &[0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x08];
/// What fits into one command; more is chained (ISO 7816-4).
const COMMAND_DATA_MAX: usize = 255;

/// Measures everything; `seconds` is for one loop.
///
/// # Errors
/// [`crate::program::Missing`] without pcscd and the driver of virtual cards.
pub fn table(seconds: f64) -> Result<Vec<Row>> {
    let home = Home::new()?;
    let directory = home.path().join("card");
    std::fs::create_dir(&directory)?;
    let card = Filled::start(&directory)?;
    home.install("yubikey", &executable("notation-yubikey")?)?;
    let duration = Duration::from_secs_f64(seconds);
    let mut rows = Vec::new();
    for (spec, slot, algorithm) in KEYS {
        let bare = on_threads(1, duration, || unlocked(&card), |client| sign(client, spec, slot, algorithm))?;
        rows.push(Row::new(NAME, spec, 1, "APDU loop", &bare, &bare));
        let (cold, (calls, note)) = (cold(&home, &card, spec)?, calls(&home, &card, spec)?);
        for in_flight in IN_FLIGHT {
            let measured = plugin(&home, &card, spec, in_flight, duration)?;
            let row = Row::new(NAME, spec, in_flight, "plugin", &measured, &bare);
            rows.push(Row { calls: Some(calls), cold: Some(cold), note: note.clone(), ..row });
        }
    }
    Ok(rows)
}

/// GENERAL AUTHENTICATE per warm signature, and all commands per warm signature as a note.
fn calls(home: &Home, card: &Filled, spec: KeySpec) -> Result<(f64, String)> {
    let environment = card.environment().into_iter().map(|(name, value)| (name.into(), value));
    let served = Served::start(home.plugins(), "yubikey", environment, DEADLINE)?;
    let key = reference(card.key(spec))?;
    served.block_on(sign_and_verify(&served.plugin, &key, spec))?;
    let [first, _] = &card.reader.cards;
    first.count_anew();
    for _ in 0..COUNTED {
        served.block_on(sign_and_verify(&served.plugin, &key, spec))?;
    }
    served.close();
    let commands: u64 = first.counted().values().sum();
    let note = format!("{:.1} commands in all", commands as f64 / f64::from(COUNTED));
    Ok((first.count(GENERAL_AUTHENTICATE) as f64 / f64::from(COUNTED), note))
}

/// The applet selected and the PIN given.
fn unlocked(card: &Filled) -> Result<Client> {
    let mut client = card.reader.daemon.hold(0)?;
    done(&mut client, SELECT)?;
    let mut verify = vec![0x00, 0x20, 0x00, 0x80, 0x08];
    verify.extend(PIN.bytes().chain(std::iter::repeat(0xFF)).take(8));
    done(&mut client, &verify)?;
    Ok(client)
}

/// NIST SP 800-73-4, GENERAL AUTHENTICATE: a dynamic authentication template with the challenge to sign.
fn sign(client: &mut Client, spec: KeySpec, slot: u8, algorithm: u8) -> Result<()> {
    let digest = Digest::of(spec.hash_algorithm(), b"bench");
    let mut challenge = vec![0x00; if spec.is_rsa() { 256 - digest.bytes().len() } else { 0 }];
    challenge.extend(digest.bytes());
    let template = tlv(0x7C, &[&[0x82, 0x00][..], &tlv(0x81, &challenge)].concat());
    let chunks: Vec<&[u8]> = template.chunks(COMMAND_DATA_MAX).collect();
    let last = chunks.len() - 1;
    for (n, chunk) in chunks.into_iter().enumerate() {
        let class = if n == last { 0x00 } else { 0x10 };
        let mut command = vec![class, 0x87, algorithm, slot, u8::try_from(chunk.len())?];
        command.extend(chunk);
        done(client, &command)?;
    }
    Ok(())
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len();
    let mut bytes = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, (length & 0xFF) as u8],
    };
    bytes.extend(value);
    bytes
}

/// Sends a command and fetches all of the answer (GET RESPONSE).
fn done(client: &mut Client, command: &[u8]) -> Result<()> {
    let mut answer = client.transmit(command)?;
    while let [.., 0x61, left] = answer.as_slice() {
        answer = client.transmit(&[0x00, 0xC0, 0x00, 0x00, *left])?;
    }
    ensure!(answer.ends_with(&[0x90, 0x00]), "the card answered {answer:02X?}");
    Ok(())
}
