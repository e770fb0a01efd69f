//! The executable `notation-pkcs11`: lends environment and stderr to the plugin and serves it.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notation_pkcs11::config::pin::DEFAULTS;
use notation_pkcs11::vault::watch::Loss;
use notation_pkcs11::{Vault, config};
use prokura_plugin::message::ErrorResponse;
use prokura_plugin::pin::Surroundings;
use prokura_plugin::{
    CertificateChain, CreateKey, CreateRequest, Error, InstallCertificate, KeyRequest, ListKeys, Listed,
    OpenKey, Service, VaultRequest,
};

const USAGE: &str = "\
The key id is a PKCS#11 URI (RFC 7512), or the label of a key in the token that the plugin config names:
  pkcs11:token=LABEL;object=KEY;id=%01?module-path=/PATH/OF/MODULE.so&pin-source=file:/PATH

Plugin config:
  module-path   absolute file name of the PKCS#11 library
  module-name   its name as p11-kit has it; without both, all modules that p11-kit is configured with are searched
  modules-dir   directory of p11-kit module files to read instead of the standard ones
  init-args     string the library is initialised with, which NSS needs
  token         label of the token
  serial        serial number of the token
  slot-id       decimal number of the slot
  pin-source    file:/PATH, env:NAME, credential:NAME (systemd), ask, pinentry or terminal; by default the environment
                variable PROKURA_PLUGIN_PKCS11_PIN, then the credential notation-pkcs11.pin, then whoever can be asked
  call-timeout  seconds one call into the library may last before the library counts as lost; by default 30
  keep-alive    seconds between signs of life in idle sessions; by default none
  max-sessions  most sessions with one token, if fewer than it has are wanted
  ca_certs      PEM file of certificates that complete the chain found in the token";

/// How long answers that are ready may take to leave a process that ends because its module hangs.
const FAREWELL: Duration = Duration::from_millis(500);

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
    let surroundings = Surroundings::new(DEFAULTS, |name| std::env::var_os(name), warn);
    let vault = Arc::new(Vault::new(surroundings, move |loss| leave(long_lived, loss)));
    let code = service(Service::new(metadata, opener(&vault)), &vault).run();
    // A refusal over stdio is one JSON object on stderr and nothing else: warnings come with success only.
    if code == ExitCode::SUCCESS {
        held_back.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|line| show(line));
    }
    code
}

fn opener(vault: &Arc<Vault>) -> impl OpenKey {
    let vault = Arc::clone(vault);
    move |request: &KeyRequest| vault.open_key(request)
}

fn service(service: Service, vault: &Arc<Vault>) -> Service {
    let [lister, maker, installer] = [vault, vault, vault].map(Arc::clone);
    service
        .usage(USAGE)
        .config_names(config::NAMES, config::NAMES_OF_SECRETS)
        .list_keys(move |request: &VaultRequest, found: &mut dyn FnMut(Listed) -> ControlFlow<()>| {
            lister.list_keys(request, found)
        })
        .create_key(move |request: &CreateRequest| maker.create_key(request))
        .install_certificate(move |request: &KeyRequest, chain: &CertificateChain| {
            installer.install_certificate(request, chain)
        })
}

/// Ends this process: a thread that hangs in a module would keep it from ending by itself, and a module that hangs may
/// hang in its exit handlers too. The host starts another one. A process for one request ends by itself once that is
/// answered, if it can be.
fn leave(long_lived: bool, loss: &Loss) {
    match (long_lived, loss) {
        (true, Loss::Hang(why)) => {
            show(why);
            std::thread::sleep(FAREWELL);
            end();
        }
        (true, Loss::Module(why)) => {
            show(why);
            // Whoever called still has an answer to give.
            let _ = std::thread::Builder::new().name("farewell".to_owned()).spawn(|| {
                std::thread::sleep(FAREWELL);
                end();
            });
        }
        (false, Loss::Hang(why)) => {
            refuse(&ErrorResponse::from(Error::timeout(why)));
            end();
        }
        (false, Loss::Module(_)) => {}
    }
}

fn end() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

#[expect(clippy::print_stderr, reason = "stderr of a plugin is for diagnostics")]
fn show(line: &str) {
    eprintln!("warning: notation-pkcs11: {line}");
}

#[expect(clippy::print_stderr, reason = "a refusal over stdio is one JSON object on stderr")]
fn refuse(refusal: &ErrorResponse) {
    eprint!("{}", serde_json::to_string(refusal).unwrap_or_default());
}
