//! What happens to YubiKeys: wrong PINs, pulled cards, other programs, silence, nonsense. Each trial says what was
//! broken and what the user is told.

#[path = "yubikey/answers.rs"]
mod answers;
#[path = "yubikey/device.rs"]
mod device;
#[path = "yubikey/firmware.rs"]
mod firmware;
#[path = "yubikey/pin.rs"]
mod pin;
#[path = "yubikey/provisioning.rs"]
mod provisioning;
#[path = "yubikey/served.rs"]
mod served;
#[path = "yubikey/touch.rs"]
mod touch;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use libtest_mimic::Trial;
use prokura_integration::backend::card::{FIRST, Filled, Identity, KEYS, Reader, SECOND, VirtualCard};
use prokura_integration::home::{Home, write_private};
use prokura_integration::pki::Authority;
use prokura_integration::program::{Run, executable};
use prokura_integration::suite::trial;
use prokura_integration::vault::TestVault as _;
use prokura_plugin::{HashAlgorithm, KeySpec, PublicKey};
use prokura_proto::plugin::v1;
use tempfile::TempDir;

use self::served::{Key, Served};

/// What was broken, and a way to break it that returns what the user is told.
type Fault = (&'static str, &'static str, fn(&mut Scene) -> Result<String>);

/// Time enough for every call that is not meant to wait.
const SOON: Duration = Duration::from_secs(20);

/// A trial per fault.
pub(crate) fn trials() -> Vec<Trial> {
    let faults = pin::FAULTS.iter().chain(device::FAULTS).chain(answers::FAULTS);
    let faults = faults.chain(touch::FAULTS).chain(provisioning::FAULTS).map(|fault| (SECOND, fault));
    let faults = faults.chain(firmware::FAULTS.iter().map(|(identity, fault)| (*identity, fault)));
    faults
        .map(|(second, fault)| trial(format!("yubikey::{}", fault.0), move || run(second, *fault)))
        .collect()
}

fn run(second: Identity, (name, broken, test): Fault) -> Result<()> {
    let mut scene = Scene::start(second).context(name)?;
    let said = test(&mut scene)?;
    ensure!(!said.contains(char::is_control), "control characters reach the terminal: {said:?}");
    writeln!(std::io::stdout(), "yubikey: {broken} => {said}")?;
    Ok(())
}

/// Two virtual YubiKeys, the first with a key of every spec, and a home with the plugin in it.
struct Scene {
    filled: Filled,
    home: Home,
    _directory: TempDir,
}

impl Scene {
    fn start(second: Identity) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("prokura-card-").tempdir()?;
        let reader = Reader::start_with(directory.path(), [FIRST, second])?;
        let filled = Filled::fill(reader, directory.path())?;
        let mut home = Home::new()?;
        home.install("yubikey", &executable("notation-yubikey")?)?;
        let (name, socket) = filled.reader.daemon.environment();
        home.set(name, socket);
        std::fs::write(home.path().join("file"), "what is signed")?;
        Ok(Self { filled, home, _directory: directory })
    }

    fn card(&self) -> &VirtualCard {
        let [first, _] = &self.filled.reader.cards;
        first
    }

    fn second(&self) -> &VirtualCard {
        let [_, second] = &self.filled.reader.cards;
        second
    }

    /// The plugin as a long-lived process.
    fn serve(&self) -> Result<Served> {
        Served::start(&[self.filled.reader.daemon.environment()])
    }

    /// The key of a spec in the first card; its PIN is in a file.
    fn key(&self, spec: KeySpec) -> Key {
        let key = self.filled.key(spec);
        let mut config: BTreeMap<String, String> = key.config.into_iter().collect();
        // The key ids of these tests say it, or leave it out on purpose.
        config.remove("serial");
        Key { id: key.id, spec, config }
    }

    /// The key in 9c, which wants the PIN always.
    fn always(&self) -> Key {
        self.key(KeySpec::Ec256)
    }

    /// A key in a slot of the first card, of which nothing is configured.
    fn bare(&self, slot: u8, spec: KeySpec) -> Key {
        Key { id: format!("piv:serial={};slot={slot:02x}", FIRST.serial), spec, config: BTreeMap::new() }
    }

    /// Puts another PIN into the file the keys are configured with.
    fn store_pin(&self, pin: &str) -> Result<()> {
        write_private(&self.filled.pin_file, pin)
    }

    /// `prokura blob sign` with a key.
    fn prokura(&self, key: &Key) -> Result<Run> {
        let mut arguments = vec!["blob", "sign", "--force", "--plugin", "yubikey", "--id", &key.id];
        let config: Vec<String> = key.config.iter().map(|(name, value)| format!("{name}={value}")).collect();
        for entry in &config {
            arguments.extend(["--plugin-config", entry]);
        }
        arguments.push("file");
        self.home.prokura(arguments)
    }

    /// What `prokura blob sign` says when it is refused, in one line.
    fn refusal(&self, key: &Key, code: i32) -> Result<String> {
        let said = self.prokura(key)?.refused(code)?;
        let line = said.lines().find(|line| line.starts_with("Error: ")).context("an error line")?;
        Ok(line.trim_start_matches("Error: ").to_owned())
    }

    /// Signs as a host would: the answer must verify under the key that was described.
    fn signs(&self, served: &Served, key: &Key, deadline: Duration) -> Result<()> {
        let described = served.describe(key).map_err(|e| anyhow::anyhow!("{}", e.message))?;
        let signed = served.sign(key, deadline).map_err(|e| anyhow::anyhow!("{}", e.message))?;
        verified(key, &described, &signed)
    }
}

/// The signature of the test's digest verifies under the key that was described.
fn verified(key: &Key, described: &v1::DescribeKeyResponse, signed: &v1::SignDigestResponse) -> Result<()> {
    let public = PublicKey::from_spki_der(&described.public_key)?;
    let algorithm: &dyn VerificationAlgorithm = match key.spec {
        KeySpec::Rsa2048 => &signature::RSA_PSS_2048_8192_SHA256,
        KeySpec::Rsa3072 => &signature::RSA_PSS_2048_8192_SHA384,
        KeySpec::Rsa4096 => &signature::RSA_PSS_2048_8192_SHA512,
        KeySpec::Ec256 => &signature::ECDSA_P256_SHA256_FIXED,
        KeySpec::Ec384 => &signature::ECDSA_P384_SHA384_FIXED,
        KeySpec::Ec521 => &signature::ECDSA_P521_SHA512_FIXED,
    };
    let digest = key.digest()?;
    let hash = match digest.algorithm() {
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    };
    let digest = digest::Digest::import_less_safe(digest.bytes(), hash)?;
    let verified =
        UnparsedPublicKey::new(algorithm, public.key_bits()).verify_digest(&digest, &signed.signature);
    verified.context("the signature does not verify under the key that was described")
}

/// The error, which must be of this code and hold these words.
fn refused<T>(answer: Result<T, served::Refusal>, code: &str, words: &[&str]) -> Result<String> {
    let Err(error) = answer else { anyhow::bail!("it was not refused") };
    ensure!(error.code == code, "{} instead of {code}: {}", error.code, error.message);
    says(&error.message, words)?;
    Ok(format!("{}: {}", error.code, error.message))
}

fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "{word:?} is not said: {said}");
    }
    Ok(())
}

/// A leaf for another key than any card has.
fn foreign_certificate() -> Result<Vec<u8>> {
    let key = prokura_integration::pki::generate_key(KeySpec::Ec256)?;
    let pem = Authority::new("another root")?.issue_to(&key, "for another key", |_| ())?;
    let chain = prokura_plugin::CertificateChain::from_pem(pem.as_bytes())?;
    chain.certificates().first().cloned().context("a leaf was issued")
}

/// The slot of a spec in the first card.
fn slot_of(spec: KeySpec) -> u8 {
    KEYS.iter().find(|(_, found, _)| *found == spec).map_or(0, |(slot, ..)| *slot)
}
