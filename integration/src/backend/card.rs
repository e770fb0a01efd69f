//! YubiKeys without hardware: a virtual PIV card behind a real pcscd, with everything that happens to real ones.
//!
//! What who talks to these cards meets, and would meet with real ones:
//! - libpcsclite reads [`SOCKET_VARIABLE`] once per process.
//! - pcscd looks for cards every 0.4 s: a card is there up to half a second after it was put in. Ask again, don't sleep.
//! - Any command between VERIFY and a signature ends what PIN policy `always` wants: read certificates before.
//! - Opening a card resets it for all, or SELECT does: whoever verified a PIN before must do so again.
//! - A touch that does not come in time and a PIN that was not verified are the same status, 6982.
//! - The last wrong PIN is answered 63C0, every one after it 6983.
//! - A wrong PIN whose answer is lost with the card has counted all the same.
//! - A card pulled in the middle of a command: `SCARD_E_NOT_TRANSACTED`. Then the slot is empty, `SCARD_E_NO_SMARTCARD`.
//! - pcscd killed: `SCARD_E_NO_SERVICE` or `SCARD_E_SERVICE_STOPPED`, and every handle is worthless once it is back.
//! - Without any reader (`restart_without_reader`) the list of readers is empty, no error: `pcsc` says so on purpose.
//! - A card held exclusively: `SCARD_E_SHARING_VIOLATION`.
//!
//! Unlike a YubiKey, which takes its reader with it, a card that is pulled here leaves an empty slot behind:
//! `SCARD_E_READER_UNAVAILABLE` and `SCARD_E_UNKNOWN_READER` cannot be had from this reader.
//!
//! And with the `yubikey` crate, 0.9.0-rc.0: `open_by_serial` selects PIV on every card on its way, and waits for one
//! that another program has in a transaction; `piv_keys` shows the certificate of 9d a second time, as that of a slot
//! for the PIN; a certificate that is not there is `InvalidObject`; `import_*_key` take the touch policy first.

mod applet;
mod client;
pub mod control;
mod daemon;
mod key;
mod link;
pub mod nitrokey;
mod tlv;
mod touch;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use prokura_plugin::{CertificateChain, KeySpec};

use crate::pki::Authority;
use crate::vault::{Abilities, TestKey, TestVault};

pub use self::applet::{Card, Identity, PIN, PUK, PinPolicy, TouchPolicy};
pub use self::client::Client;
pub use self::daemon::{Daemon, SOCKET_VARIABLE};
pub use self::link::{Applet, Fault, VirtualCard};
pub use self::touch::Habit;

/// The card in the first slot: firmware 5.7, which has RSA-3072 and RSA-4096 and an AES-192 management key.
pub const FIRST: Identity = Identity { serial: 12_345_678, version: [5, 7, 1] };
/// The card in the second slot: firmware 5.4, which has neither.
pub const SECOND: Identity = Identity { serial: 87_654_321, version: [5, 4, 3] };

/// Who takes part only where asked for: firmware 4.3, which tells no metadata, and its serial number elsewhere.
pub const OLD: Identity = Identity { serial: 7_654_321, version: [4, 3, 7] };
/// Firmware 4.2, which attests nothing either: only certificates tell which keys it has.
pub const OLDEST: Identity = Identity { serial: 1_234_567, version: [4, 2, 8] };

/// A reader with two slots and a card in each, and the pcscd that sees them.
pub struct Reader {
    /// pcscd.
    pub daemon: Daemon,
    /// The cards, [`FIRST`] and [`SECOND`] unless others were asked for.
    pub cards: [VirtualCard; 2],
}

impl Reader {
    /// Starts pcscd with its files below `directory` and puts two cards as from the factory into its slots.
    ///
    /// # Errors
    /// [`crate::program::Missing`] without pcscd, vsmartcard's driver or the right to a mount namespace.
    pub fn start(directory: &Path) -> Result<Self> {
        Self::start_with(directory, [FIRST, SECOND])
    }

    /// As [`Reader::start`], with other cards.
    ///
    /// # Errors
    /// As [`Reader::start`].
    pub fn start_with(directory: &Path, [first, second]: [Identity; 2]) -> Result<Self> {
        let daemon = Daemon::start(directory)?;
        let cards = [insert(&daemon, 0, first)?, insert(&daemon, 1, second)?];
        let reader = Self { daemon, cards };
        reader.daemon.wait_for_card(0, true)?;
        reader.daemon.wait_for_card(1, true)?;
        Ok(reader)
    }
}

fn insert(daemon: &Daemon, slot: u16, identity: Identity) -> Result<VirtualCard> {
    let finger = Arc::default();
    let card = Card::new(identity, Arc::clone(&finger))?;
    VirtualCard::insert(daemon.address(slot)?, card, finger)
}

/// Where [`Filled`] has its keys: slots that want the PIN once, and 9c, which always does.
pub const KEYS: &[(u8, KeySpec, PinPolicy)] = &[
    (0x9A, KeySpec::Rsa2048, PinPolicy::Once),
    (0x9C, KeySpec::Ec256, PinPolicy::Always),
    (0x9D, KeySpec::Ec384, PinPolicy::Once),
    (0x82, KeySpec::Rsa3072, PinPolicy::Once),
    (0x83, KeySpec::Rsa4096, PinPolicy::Once),
];

/// A reader whose first card has a key of every spec it can have, with certificates.
pub struct Filled {
    /// The reader.
    pub reader: Reader,
    /// Who the first card is.
    identity: Identity,
    /// The root of all certificates, PEM file.
    pub root: PathBuf,
    /// File with the PIN.
    pub pin_file: PathBuf,
}

impl Filled {
    /// Starts a reader with its files below `directory` and fills the first card.
    ///
    /// # Errors
    /// As [`Reader::start`].
    pub fn start(directory: &Path) -> Result<Self> {
        Self::fill(Reader::start(directory)?, directory)
    }

    /// As [`Filled::start`], with [`OLD`] as the card that is filled.
    ///
    /// # Errors
    /// As [`Reader::start`].
    pub fn start_old(directory: &Path) -> Result<Self> {
        Self::fill(Reader::start_with(directory, [OLD, SECOND])?, directory)
    }

    /// Fills the first card of a reader; what else there is to it is put below `directory`.
    ///
    /// # Errors
    /// If a key or file cannot be made.
    pub fn fill(reader: Reader, directory: &Path) -> Result<Self> {
        let [card, _] = &reader.cards;
        let identity = card.change(|card| card.identity());
        let authority = Authority::new("yubikey test root")?;
        for (slot, spec, pin) in KEYS.iter().filter(|(_, spec, _)| specs_of(identity).contains(spec)) {
            card.fill(*slot, *spec, (*pin, TouchPolicy::Never), &authority)?;
        }
        let root = directory.join("root.pem");
        std::fs::write(&root, authority.certificate())?;
        let pin_file = directory.join("pin");
        crate::home::write_private(&pin_file, PIN)?;
        Ok(Self { reader, identity, root, pin_file })
    }
}

const SPECS: &[KeySpec] =
    &[KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096, KeySpec::Ec256, KeySpec::Ec384];
const OLD_SPECS: &[KeySpec] = &[KeySpec::Rsa2048, KeySpec::Ec256, KeySpec::Ec384];

/// What the firmware has: RSA-3072 and RSA-4096 came with 5.7.
fn specs_of(identity: Identity) -> &'static [KeySpec] {
    if identity.version < [5, 7, 0] { OLD_SPECS } else { SPECS }
}

fn key_of(serial: u32, spec: KeySpec, pin_file: &Path, root: &Path) -> TestKey {
    let slot = KEYS.iter().find(|(_, found, _)| *found == spec).map_or(0, |(slot, _, _)| *slot);
    TestKey {
        id: format!("piv:serial={serial};slot={slot:02x}"),
        config: vec![
            ("pin-source".to_owned(), format!("file:{}", pin_file.display())),
            // Of two cards, one is named; where keys are made, no key id does it.
            ("serial".to_owned(), serial.to_string()),
            ("ca_certs".to_owned(), root.display().to_string()),
        ],
    }
}

impl TestVault for Filled {
    fn name(&self) -> &'static str {
        if self.identity.version < [5, 3, 0] { "yubikey/old" } else { "yubikey/virtual" }
    }

    fn plugin(&self) -> &'static str {
        "yubikey"
    }

    fn specs(&self) -> &'static [KeySpec] {
        specs_of(self.identity)
    }

    fn key(&self, spec: KeySpec) -> TestKey {
        key_of(self.identity.serial, spec, &self.pin_file, &self.root)
    }

    fn vault_config(&self) -> Vec<(String, String)> {
        vec![
            ("serial".to_owned(), self.identity.serial.to_string()),
            ("pin-source".to_owned(), format!("file:{}", self.pin_file.display())),
        ]
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![self.reader.daemon.environment()]
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn abilities(&self) -> Abilities {
        Abilities { list: true, create: true, install: true, version: false }
    }
}

impl VirtualCard {
    /// Makes a key in a slot, has its certificate issued and stores it beside the key.
    ///
    /// # Errors
    /// If PIV has no such key or slot.
    pub fn fill(
        &self,
        slot: u8,
        spec: KeySpec,
        policies: (PinPolicy, TouchPolicy),
        authority: &Authority,
    ) -> Result<()> {
        let spki = self.change(|card| card.put_key(slot, spec, policies.0, policies.1))?;
        let leaf = authority.issue(&spki, &format!("yubikey {spec}"))?;
        let chain = CertificateChain::from_pem(leaf.as_bytes())?;
        self.store_certificate(slot, chain.certificates().first().context("a leaf was issued")?)
    }

    /// Stores a certificate in a slot, whosever key it is for.
    ///
    /// # Errors
    /// If PIV has no such slot.
    pub fn store_certificate(&self, slot: u8, der: &[u8]) -> Result<()> {
        let object = applet::object_of(slot).with_context(|| format!("PIV has no slot {slot:02x}"))?;
        self.change(|card| card.put_object(object, applet::certificate_object(der)));
        Ok(())
    }

    /// Stores a data object, as another program would.
    pub fn store_object(&self, tag: u32, value: Vec<u8>) {
        self.change(|card| card.put_object(tag, value));
    }

    /// Gives the card another PIN and all its tries.
    pub fn set_pin(&self, pin: &str) {
        self.change(|card| card.put_pin(pin));
    }

    /// Tries left of PIN and PUK.
    pub fn tries(&self) -> (u8, u8) {
        self.change(|card| card.tries())
    }
}
