//! A second PIV card that is none of ours: Nitrokey's, from crates.io, run as a process by `integration/nitrokey`.
//!
//! It has firmware 5.3 for all that is asked of it, with a 3DES management key and no attestation. GET METADATA, which
//! it lacks, is answered for it from what it said when it made a key. SELECT does not take a verification away. Its
//! random numbers begin with the same seed each time, so its keys are always the same; and as it takes a minute to find
//! them, a filled card is kept beside the program, and copied for each test.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use aes::cipher::{Array, BlockCipherDecrypt as _, KeyInit as _};
use anyhow::{Context as _, Result, bail};
use prokura_plugin::{CertificateChain, KeySpec, PublicKey};

use super::applet::{certificate_object, object_of};
use super::{Applet, Daemon, KEYS, PIN, VirtualCard, key, tlv};
use crate::pki::Authority;
use crate::program::{Missing, workspace};
use crate::vault::{Abilities, TestKey, TestVault};

/// The serial number Nitrokey's card gives all its copies.
pub const SERIAL: u32 = 0x0052_F743;

const FACTORY_KEY: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// Bytes of a command sent at a time.
const COMMAND_MAX: usize = 255;

/// The process, and the ends of its pipes.
pub struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Process {
    fn start(memory: &Path) -> Result<Self> {
        let mut child = Command::new(program()?)
            .arg(memory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.take().context("stdin is a pipe")?;
        let output = child.stdout.take().context("stdout is a pipe")?;
        Ok(Self { child, input, output })
    }

    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        let length = u16::try_from(command.len())?.to_be_bytes();
        self.input.write_all(&[&length, command].concat())?;
        let mut length = [0; 2];
        self.output.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        self.output.read_exact(&mut answer)?;
        Ok(answer)
    }
}

impl Applet for Process {
    /// 6F00 if the process is gone.
    fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        self.exchange(command).unwrap_or_else(|_| vec![0x6F, 0x00])
    }

    fn reset(&mut self) {
        let _ = self.exchange(&[]);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reader with Nitrokey's card in its first slot, filled as [`super::Filled`] is.
pub struct Nitrokey {
    /// pcscd.
    pub daemon: Daemon,
    /// The card.
    pub card: VirtualCard<Process>,
    /// The root of all certificates, PEM file.
    pub root: PathBuf,
    /// File with the PIN.
    pub pin_file: PathBuf,
}

impl Nitrokey {
    /// Starts pcscd and the card with their files below `directory`, has the card make its keys, and stores their
    /// certificates.
    ///
    /// # Errors
    /// [`Missing`] as [`super::Reader::start`], and if `integration/nitrokey` is not built.
    pub fn start(directory: &Path) -> Result<Self> {
        let memory = directory.join("nitrokey");
        std::fs::create_dir_all(&memory)?;
        let filled = filled()?;
        for entry in std::fs::read_dir(filled)? {
            let entry = entry?;
            std::fs::copy(entry.path(), memory.join(entry.file_name()))?;
        }
        let process = Process::start(&memory)?;
        let root = memory.join("root.pem");
        let pin_file = directory.join("pin");
        crate::home::write_private(&pin_file, PIN)?;
        let daemon = Daemon::start(directory)?;
        let card = VirtualCard::insert(daemon.address(0)?, process, Arc::default())?;
        daemon.wait_for_card(0, true)?;
        Ok(Self { daemon, card, root, pin_file })
    }
}

impl TestVault for Nitrokey {
    fn name(&self) -> &'static str {
        "yubikey/nitrokey"
    }

    fn plugin(&self) -> &'static str {
        "yubikey"
    }

    fn specs(&self) -> &'static [KeySpec] {
        super::SPECS
    }

    fn key(&self, spec: KeySpec) -> TestKey {
        super::key_of(SERIAL, spec, &self.pin_file, &self.root)
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![self.daemon.environment()]
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn abilities(&self) -> Abilities {
        Abilities { list: true, create: true, install: true, version: false }
    }
}

fn program() -> Result<PathBuf> {
    let program = workspace().join("integration/nitrokey/target/release/prokura-test-card");
    match program.is_file() {
        true => Ok(program),
        false => Err(Missing::new("Nitrokey's PIV card", "integration/nitrokey/build").into()),
    }
}

/// The directory of a filled card: what it stores, and the root of its certificates; filled if need be. Who fills one at the same time does so in vain.
fn filled() -> Result<PathBuf> {
    let kept = program()?.with_file_name("filled-5.3");
    if !kept.is_dir() {
        let beside = kept.parent().context("the program is in a directory")?;
        let new = tempfile::Builder::new().prefix("filling-").tempdir_in(beside)?;
        let authority = Authority::new("nitrokey test root")?;
        std::fs::write(new.path().join("root.pem"), authority.certificate())?;
        fill(&mut Process::start(new.path())?, &authority).context("filling Nitrokey's card")?;
        let _ = std::fs::rename(new.path(), &kept);
    }
    Ok(kept)
}

/// As an administrator would: select, management key, then key and certificate for every slot.
fn fill(card: &mut Process, authority: &Authority) -> Result<()> {
    send(card, [0, 0xA4, 4, 0], &[0xA0, 0, 0, 3, 8])?;
    authenticate(card)?;
    for (slot, spec, _) in KEYS {
        let public = generate(card, *slot, *spec).with_context(|| format!("{spec} in slot {slot:02x}"))?;
        let leaf = authority.issue(public.spki_der(), &format!("nitrokey {spec}"))?;
        let chain = CertificateChain::from_pem(leaf.as_bytes())?;
        let der = chain.certificates().first().context("a leaf was issued")?;
        let object = object_of(*slot).context("a slot has an object")?.to_be_bytes();
        let [_, tag @ ..] = object;
        let data = [tlv::encode(0x5C, &tag), tlv::encode(0x53, &certificate_object(der))].concat();
        send(card, [0, 0xDB, 0x3F, 0xFF], &data).with_context(|| format!("certificate {slot:02x}"))?;
    }
    card.reset();
    Ok(())
}

/// Mutual authentication with the factory's 3DES key (NIST SP 800-73-4 part 2 appendix A.1.2).
fn authenticate(card: &mut Process) -> Result<()> {
    let header = [0, 0x87, 0x03, 0x9B];
    let answer = send(card, header, &tlv::encode(0x7C, &tlv::encode(0x80, &[])))?;
    let witness =
        tlv::unwrap(&answer, 0x7C).and_then(|parts| tlv::find(&parts, 0x80)).context("no witness")?;
    let mut block = Array::try_from(witness)?;
    des::TdesEde3::new(&FACTORY_KEY.into()).decrypt_block(&mut block);
    let parts = [tlv::encode(0x80, &block), tlv::encode(0x81, &[7; 8])].concat();
    send(card, header, &tlv::encode(0x7C, &parts)).map(drop)
}

fn generate(card: &mut Process, slot: u8, spec: KeySpec) -> Result<PublicKey> {
    let algorithm = key::algorithm(spec).context("PIV has no such key")?;
    let template = tlv::encode(0xAC, &tlv::encode(0x80, &[algorithm]));
    let answer = send(card, [0, 0x47, 0, slot], &template)?;
    let parts = tlv::unwrap(&answer, 0x7F49).context("no public key")?;
    let part = |tag| tlv::find(&parts, tag).with_context(|| format!("a public key without {tag:02x}"));
    if spec.is_rsa() {
        return Ok(PublicKey::from_rsa(part(0x81)?, part(0x82)?)?);
    }
    Ok(PublicKey::from_ec_point(spec, part(0x86)?)?)
}

/// A command of any length and its whole answer.
fn send(card: &mut Process, [class, rest @ ..]: [u8; 4], data: &[u8]) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut parts = data.chunks(COMMAND_MAX).peekable();
    while let Some(part) = parts.next() {
        let class = if parts.peek().is_some() { class | 0x10 } else { class };
        let length = u8::try_from(part.len())?;
        answer = card.exchange(&[&[class], &rest[..], &[length], part].concat())?;
    }
    let mut whole = Vec::new();
    loop {
        match answer.split_last_chunk() {
            Some((data, [0x90, 0x00])) => return Ok([&whole, data].concat()),
            Some((data, [0x61, _])) => whole.extend_from_slice(data),
            Some((_, status)) => bail!("status {status:02x?}"),
            None => bail!("an empty answer"),
        }
        answer = card.exchange(&[0, 0xC0, 0, 0, 0])?;
    }
}
