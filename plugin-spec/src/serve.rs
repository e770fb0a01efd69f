//! The process around the protocol: arguments, standard streams, exit code.
//!
//! Exit codes: 0 done, 1 refused (one JSON object on stderr), 2 started by hand or wrongly (text on stderr).

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;

use crate::config_names::ConfigNames;
use crate::error::Error;
use crate::limits::REQUEST_BYTES_MAX;
#[cfg(feature = "grpc")]
use crate::message::capability;
use crate::message::{ErrorResponse, Metadata};
use crate::protocol_stream::take_stdout;
use crate::signing_key::OpenKey;
use crate::stdio;

const USAGE_EXIT_CODE: u8 = 2;

/// The whole `main` of a plugin: answers the one command on the command line, over either transport.
///
/// Reads arguments and stdin, writes the protocol to stdout and returns what `main` returns. Blocks until the answer
/// is given; with `serve --socket PATH` (feature `grpc`) until the host closes stdin.
pub fn serve(metadata: Metadata, open_key: impl OpenKey) -> ExitCode {
    Service::new(metadata, open_key).run()
}

/// A plugin that does more than open keys, or has something to say to people who start it by hand.
pub struct Service {
    pub(crate) metadata: Metadata,
    pub(crate) open_key: Box<dyn OpenKey>,
    pub(crate) config_names: Option<ConfigNames>,
    #[cfg(feature = "grpc")]
    pub(crate) vault_calls: crate::grpc::VaultCalls,
    usage: String,
}

impl Service {
    /// What [`serve`] runs.
    pub fn new(metadata: Metadata, open_key: impl OpenKey) -> Self {
        Self {
            metadata,
            open_key: Box::new(open_key),
            config_names: None,
            #[cfg(feature = "grpc")]
            vault_calls: crate::grpc::VaultCalls::default(),
            usage: String::new(),
        }
    }

    /// A text about the plugin's own configuration for people who start it by hand.
    #[must_use]
    pub fn usage(mut self, text: &str) -> Self {
        text.clone_into(&mut self.usage);
        self
    }

    /// Declares the names this plugin reads in a plugin config, besides [`crate::CA_CERTS`]. A request with another name is
    /// refused with `VALIDATION_ERROR` and the name that may be meant, before the vendor is called: a typo in where a PIN
    /// or a version is named must not pass. `refused` are names the plugin knows only to refuse them in its own words,
    /// such as those of secrets; they are never suggested.
    #[must_use]
    pub fn config_names(mut self, known: &'static [&'static str], refused: &'static [&'static str]) -> Self {
        self.config_names = Some(ConfigNames::new(known, refused));
        self
    }

    /// Announces [`capability::TO_BE_SIGNED_1`]: hosts send what was hashed beside its digest, for
    /// [`crate::SigningKey::sign_content`].
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn reads_to_be_signed(mut self) -> Self {
        self.metadata.capabilities.push(capability::TO_BE_SIGNED_1.to_owned());
        self
    }

    /// Announces [`capability::KEY_LIST_1`].
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn list_keys(mut self, list_keys: impl crate::ListKeys) -> Self {
        self.metadata.capabilities.push(capability::KEY_LIST_1.to_owned());
        self.vault_calls.list_keys = Some(std::sync::Arc::new(list_keys));
        self
    }

    /// Announces [`capability::KEY_CREATE_1`].
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn create_key(mut self, create_key: impl crate::CreateKey) -> Self {
        self.metadata.capabilities.push(capability::KEY_CREATE_1.to_owned());
        self.vault_calls.create_key = Some(std::sync::Arc::new(create_key));
        self
    }

    /// Announces [`capability::CERTIFICATE_INSTALL_1`].
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn install_certificate(mut self, install: impl crate::InstallCertificate) -> Self {
        self.metadata.capabilities.push(capability::CERTIFICATE_INSTALL_1.to_owned());
        self.vault_calls.install_certificate = Some(std::sync::Arc::new(install));
        self
    }

    /// As [`serve`].
    pub fn run(self) -> ExitCode {
        #[expect(clippy::disallowed_methods, reason = "this is the main function of every plugin")]
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        #[cfg(feature = "grpc")]
        if let [serve, socket, path] = arguments.as_slice()
            && serve == "serve"
            && socket == "--socket"
        {
            return crate::grpc::serve(path.as_ref(), self);
        }
        let Self { metadata, open_key, usage, .. } = self.checked();
        match arguments.iter().map(|a| a.to_str().unwrap_or("\u{fffd}")).collect::<Vec<_>>().as_slice() {
            ["version"] => written(&mut std::io::stdout(), version(&metadata).as_bytes()),
            ["--help" | "-h" | "help"] => {
                written(&mut std::io::stdout(), about(&metadata, &usage).as_bytes())
            }
            [command] if *command != "serve" => over_stdio(command, &metadata, open_key.as_ref()),
            _ => {
                let _ = std::io::stderr().write_all(about(&metadata, &usage).as_bytes());
                ExitCode::from(USAGE_EXIT_CODE)
            }
        }
    }
}

fn over_stdio(command: &str, metadata: &Metadata, open_key: &dyn OpenKey) -> ExitCode {
    // The default hook writes to stderr, which belongs to the one JSON object (SPEC STDIO-8).
    std::panic::set_hook(Box::new(|_| ()));
    let mut stdout = match take_stdout() {
        Ok(stdout) => stdout,
        Err(error) => return refused(&Error::internal(format!("stdout cannot be kept: {error}")).into()),
    };
    let mut request = Vec::new();
    let limit = REQUEST_BYTES_MAX as u64 + 1;
    let answer = match std::io::stdin().lock().take(limit).read_to_end(&mut request) {
        Ok(_) => stdio::answer(command, &request, metadata, open_key),
        Err(error) => Err(Error::internal(format!("stdin cannot be read: {error}")).into()),
    };
    match answer {
        Ok(answer) => written(&mut stdout, &answer),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &ErrorResponse) -> ExitCode {
    let text = serde_json::to_vec(refusal).unwrap_or_else(|_| br#"{"errorCode":"ERROR"}"#.to_vec());
    let _ = written(&mut std::io::stderr(), &text);
    ExitCode::FAILURE
}

fn written(stream: &mut impl Write, bytes: &[u8]) -> ExitCode {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn version(metadata: &Metadata) -> String {
    let Metadata { name, description, version, .. } = metadata;
    format!("{name} - {description}\nVersion: {version}\n")
}

fn about(metadata: &Metadata, usage: &str) -> String {
    let Metadata { name, description, version, url, .. } = metadata;
    let usage = if usage.is_empty() { String::new() } else { format!("\n{}\n", usage.trim_end()) };
    format!(
        "notation-{name} {version}: {description}\n\n\
         This is a signing plugin of the Notary Project. It is started by a host, prokura or notation, not by hand.\n\
         Install it as plugins/{name}/notation-{name} in the directory that NOTATION_LIBEXEC names, then\n\n    \
         prokura key add --plugin {name} --id KEY_ID --plugin-config NAME=VALUE KEY_NAME\n    \
         prokura sign --key KEY_NAME REFERENCE\n{usage}\n\
         The certificate chain is completed from the PEM file that plugin config ca_certs names.\n\
         More: {url}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata::of_plugin("demo", "Signs for a demonstration", "1.2.3", "https://example.org/")
    }

    #[test]
    fn the_version_is_printed_as_other_plugins_print_it() {
        assert_eq!(version(&metadata()), "demo - Signs for a demonstration\nVersion: 1.2.3\n");
    }

    #[test]
    fn whoever_starts_it_by_hand_is_told_how_to_configure_it() {
        let text = about(&metadata(), "Plugin config:\n  dir  where the keys are\n");
        for part in ["notation-demo 1.2.3", "--plugin demo", "where the keys are", "https://example.org/"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
