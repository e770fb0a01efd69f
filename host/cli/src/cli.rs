//! The command line as typed: every verb, flag and example, nothing that touches the system.

use clap::{ArgAction, Parser, Subcommand};

use crate::exit::EXIT_CODES;
use crate::output::Format;

pub(crate) mod artifact;
pub(crate) mod blob;
pub(crate) mod certificate;
pub(crate) mod key;
pub(crate) mod options;
pub(crate) mod policy;
pub(crate) mod quickstart;
pub(crate) mod registry;
pub(crate) mod value;

/// Prokura - a tool to sign and verify artifacts with keys that stay in their vault
#[derive(Parser)]
#[command(
    name = "prokura",
    version,
    max_term_width = 110,
    after_help = EXIT_CODES,
    after_long_help = format!("{EXIT_CODES}\n\n{ENVIRONMENT}"),
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const ENVIRONMENT: &str = "\
Environment:
  NOTATION_CONFIG    directory of config.json, signingkeys.json, trust store and trust policy;
                     must be set where there is no home directory
  NOTATION_LIBEXEC   directory that holds plugins/
  NOTATION_CACHE     directory of caches
  NOTATION_USERNAME, NOTATION_PASSWORD
                     registry credentials; never handed to a plugin
  DOCKER_CONFIG      directory of docker's config.json with registry credentials
  NO_COLOR           no colour in warnings and errors";

/// Flags that every verb understands.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct GlobalOptions {
    /// Log what is done to standard error; no secret is logged
    #[arg(short, long, global = true, help_heading = "General options")]
    pub(crate) debug: bool,

    /// Log the larger steps to standard error
    #[arg(short, long, global = true, action = ArgAction::SetTrue, help_heading = "General options")]
    pub(crate) verbose: bool,

    /// How the result is written to standard output
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT",
          help_heading = "General options")]
    pub(crate) output: Format,
}

/// The verbs.
#[derive(Subcommand)]
pub(crate) enum Command {
    Sign(artifact::SignOptions),
    Verify(artifact::VerifyOptions),
    List(artifact::ListOptions),
    Inspect(artifact::InspectOptions),
    /// Sign, verify and inspect signatures of files; set up their trust policy
    #[command(subcommand)]
    Blob(blob::BlobCommand),
    /// Manage the key list, and find and make keys in a vault
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Manage the certificates that are trusted, and get certificates for keys in a vault
    #[command(subcommand, visible_alias = "cert")]
    Certificate(certificate::CertificateCommand),
    /// Manage the trust policy for OCI artifacts
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Manage plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    Login(registry::LoginOptions),
    Logout(registry::LogoutOptions),
    Quickstart(quickstart::QuickstartOptions),
    /// Show the version of prokura
    Version,
    Completion(CompletionOptions),
}

/// Verbs on plugins.
#[derive(Subcommand)]
pub(crate) enum PluginCommand {
    /// List installed plugins
    #[command(visible_alias = "ls", after_long_help = "Example - list the plugins:\n  prokura plugin ls")]
    List,
}

/// Write a completion script for a shell
#[derive(clap::Args)]
#[command(after_long_help = "Example - completion in bash, for this user:
  prokura completion bash > ~/.local/share/bash-completion/completions/prokura")]
pub(crate) struct CompletionOptions {
    /// The shell
    pub(crate) shell: Shell,
}

/// Shells as `notation` names them.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scripts_for_notation_parse() {
        for line in [
            "prokura sign -d -k demo --signature-format cose -e 24h -m a=b localhost:5000/x@sha256:1",
            "prokura sign --oci-layout ./l:v1 --plugin com.x --id arn:aws:1/2 --plugin-config a=b=c",
            "prokura sign --force-referrers-tag=false -u u -p p --insecure-registry r/x:v1",
            "prokura sign --force-referrers-tag r/x:v1",
            "prokura -v verify --max-signatures 5 r/x:v1 -o json",
            "prokura verify --oci-layout l:v1 --scope local/x",
            "prokura ls r/x:v1",
            "prokura inspect -o tree r/x:v1",
            "prokura key add --plugin p --id i --default name",
            "prokura key set --default name",
            "prokura key ls",
            "prokura cert add -t ca -s store a.crt b.crt",
            "prokura certificate delete -t ca -s store -a -y",
            "prokura cert generate-test -b 4096 --default wabbit-networks.io",
            "prokura policy import --force p.json",
            "prokura blob sign --signature-directory d --force f",
            "prokura blob verify -s f.jws.sig f",
            "prokura blob policy init -n x --trust-store ca:x --trusted-identity * --global --force",
            "prokura plugin ls",
            "prokura login -u u --password-stdin r",
            "prokura completion powershell",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().unwrap());
        }
    }

    #[test]
    fn a_key_is_named_the_same_way_for_every_verb() {
        let described = |path: &[&str]| {
            let mut command = Cli::command();
            for verb in path {
                command = command.find_subcommand(verb).unwrap().clone();
            }
            let option = |id: &str| {
                let found = command.get_arguments().find(|argument| argument.get_id() == id).cloned();
                found.map(|argument| (argument.get_short(), argument.get_help().unwrap().to_string()))
            };
            ["key", "id", "plugin", "plugin_config", "deadline"].map(option)
        };
        let sign = described(&["sign"]);
        assert!(sign.iter().all(Option::is_some));
        for path in [["blob", "sign"], ["cert", "request"], ["cert", "self-sign"], ["cert", "install"]] {
            assert_eq!(described(&path), sign, "{path:?}");
        }
        for path in [["key", "discover"], ["key", "create"]] {
            assert_eq!(described(&path)[3..], sign[3..], "{path:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, word) in [
            ("prokura sign --key k --id i --plugin p r/x:v1", "--key"),
            ("prokura sign --id i r/x:v1", "--plugin"),
            ("prokura cert request --key k --id i --plugin p --subject x", "--key"),
            ("prokura cert install --id i f", "--plugin"),
            ("prokura sign --oci-layout --force-referrers-tag l:v1", "--force-referrers-tag"),
            ("prokura sign --timestamp-url http://tsa r/x:v1", "--timestamp-root-cert"),
            ("prokura verify --oci-layout l:v1", "--scope"),
            ("prokura verify --scope local/x r/x:v1", "--oci-layout"),
            ("prokura sign --plugin ../../x --id i r/x:v1", "no plugin name"),
            ("prokura verify --max-signatures 0 r/x:v1", "positive"),
            ("prokura cert add -t root -s s f", "signingAuthority"),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).err().unwrap().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
