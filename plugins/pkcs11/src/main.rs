//! The executable `notation-pkcs11`: lends environment and stderr to the plugin and serves it.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use notation_pkcs11::Vault;
use notation_pkcs11::config::pin::DEFAULTS;
use prokura_plugin::pin::Surroundings;

const USAGE: &str = "\
The key id is a PKCS#11 URI (RFC 7512), or the label of a key in the token that the plugin config names:
  pkcs11:token=LABEL;object=KEY;id=%01?module-path=/PATH/OF/MODULE.so&pin-source=file:/PATH

Plugin config:
  module-path  absolute file name of the PKCS#11 library
  token        label of the token
  serial       serial number of the token
  slot-id      decimal number of the slot
  pin-source   file:/PATH, env:NAME or credential:NAME (systemd); by default the environment variable
               PROKURA_PLUGIN_PKCS11_PIN, then the credential notation-pkcs11.pin
  ca_certs     PEM file of certificates that complete the chain found in the token";

#[expect(clippy::disallowed_methods, reason = "a binary reads the environment and passes it down")]
fn main() -> ExitCode {
    let long_lived = std::env::args_os().nth(1).is_some_and(|command| command == "serve");
    let held_back = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&held_back);
    let warn = move |line: &str| {
        if long_lived {
            show(line);
        } else {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
        }
    };
    let metadata = prokura_plugin::metadata!("pkcs11", "Signs with keys in PKCS#11 tokens");
    let vault = Vault::new(Surroundings::new(DEFAULTS, |name| std::env::var_os(name), warn));
    let code = prokura_plugin::Service::new(metadata, vault).usage(USAGE).run();
    // A refusal over stdio is one JSON object on stderr and nothing else: warnings come with success only.
    if code == ExitCode::SUCCESS {
        held_back.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|line| show(line));
    }
    code
}

#[expect(clippy::print_stderr, reason = "stderr of a plugin is for diagnostics")]
fn show(line: &str) {
    eprintln!("warning: notation-pkcs11: {line}");
}
