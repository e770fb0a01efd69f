//! The executable `notation-yubikey`: lends environment and stderr to the plugin and serves it.

mod certificate;
mod config;
mod error;
mod key;
mod limits;
mod slot;
mod vault;

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

use prokura_plugin::pin::{Defaults, Surroundings};
use prokura_plugin::{CertificateChain, CreateRequest, KeyRequest, Listed, Service, VaultRequest};

use crate::vault::Vault;

const USAGE: &str = "\
The key id is a slot of the PIV application, of the only YubiKey or of the one with a serial number:
  9c   signature   82 ... 95   piv:serial=12345678;slot=9c   yubikey:slot-id=9c;serial=12345678

Plugin config:
  serial                 serial number of the YubiKey, if the key id names none
  pin-source             file:/PATH, env:NAME, credential:NAME (systemd), pinentry, terminal or ask; by default the
                         environment variable PROKURA_PLUGIN_YUBIKEY_PIN, then the credential notation-yubikey.pin,
                         then whoever the host can ask
  ca_certs               PEM file of certificates that complete the chain; the slot holds the key's own alone
To make keys and to store certificates:
  management-key-source  file:/PATH, env:NAME, credential:NAME, protected or default
  pin-policy             default, never, once or always
  touch-policy           default, never, always or cached
  overwrite              yes: replace the key in an occupied slot";

/// Where the PIN is looked for when no source is named.
const DEFAULTS: Defaults =
    Defaults { variable: "PROKURA_PLUGIN_YUBIKEY_PIN", credential: "notation-yubikey.pin" };

#[expect(
    clippy::disallowed_methods,
    reason = "a binary reads arguments and environment and passes them down"
)]
fn main() -> ExitCode {
    let metadata = prokura_plugin::metadata!("yubikey", "Signs with keys on YubiKeys (PIV)");
    // No source of this plugin's warns: a PIN in the plugin config is refused.
    let surroundings = Surroundings::new(DEFAULTS, |name| std::env::var_os(name), |_| ());
    let long_lived = std::env::args_os().nth(1).is_some_and(|command| command == "serve");
    let vault = Arc::new(Vault::new(surroundings, long_lived));
    let [opening, listing, making, installing] = std::array::from_fn(|_| Arc::clone(&vault));
    let list = move |request: &VaultRequest, found: &mut dyn FnMut(Listed) -> ControlFlow<()>| {
        listing.list_keys(request, found)
    };
    Service::new(metadata, move |request: &KeyRequest| opening.open_key(request))
        .usage(USAGE)
        .config_names(config::NAMES, config::NAMES_OF_SECRETS)
        .list_keys(list)
        .create_key(move |request: &CreateRequest| making.create_key(request))
        .install_certificate(move |request: &KeyRequest, chain: &CertificateChain| {
            installing.install_certificate(request, chain)
        })
        .run()
}
