//! The allow-list of environment variables a plugin gets, each with its reason. Everything else stays with the host.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::environment::Rule::{Name, Prefix};

/// What of the host's environment a plugin may see, as exact names and as prefixes.
///
/// Left out on purpose: `NOTATION_USERNAME` and `NOTATION_PASSWORD` and the like (registry credentials are none of
/// a plugin's business), `LD_PRELOAD`, `LD_LIBRARY_PATH`, `DYLD_*`, `DOTNET_STARTUP_HOOKS`, `JAVA_TOOL_OPTIONS`
/// (they put foreign code into the process that holds the vault's credentials).
const ALLOWED: &[(Rule, &str)] = &[
    (Name("PATH"), "plugins that are scripts, and tools a plugin runs"),
    (Name("HOME"), "configuration and caches of vendor SDKs"),
    (Name("USER"), "vendor SDKs that name their session after the user"),
    (Name("LOGNAME"), "as USER"),
    (Name("LANG"), "language of messages"),
    (Prefix("LC_"), "language of messages"),
    (Name("TZ"), "times in messages"),
    (Name("TMPDIR"), "where temporary files belong"),
    (Prefix("XDG_"), "directories of configuration, caches and run-time sockets (a pcscd or p11-kit server)"),
    (Name("NOTATION_CONFIG"), "plugins that keep configuration beside notation's"),
    (Name("NOTATION_LIBEXEC"), "as NOTATION_CONFIG"),
    (Name("NOTATION_CACHE"), "as NOTATION_CONFIG"),
    (Name("HTTP_PROXY"), "the way to a vault in the cloud"),
    (Name("http_proxy"), "the way to a vault in the cloud"),
    (Name("HTTPS_PROXY"), "the way to a vault in the cloud"),
    (Name("https_proxy"), "the way to a vault in the cloud"),
    (Name("ALL_PROXY"), "the way to a vault in the cloud"),
    (Name("all_proxy"), "the way to a vault in the cloud"),
    (Name("NO_PROXY"), "the way to a vault in the cloud"),
    (Name("no_proxy"), "the way to a vault in the cloud"),
    (Prefix("SSL_CERT_"), "certificates of a private CA in front of the vault (SSL_CERT_FILE, SSL_CERT_DIR)"),
    (Prefix("AWS_"), "credentials and region of AWS KMS and AWS Signer"),
    (Prefix("AZURE_"), "credentials of Azure Key Vault and Artifact Signing"),
    (Prefix("IDENTITY_"), "managed identity of Azure App Service (IDENTITY_ENDPOINT, IDENTITY_HEADER)"),
    (Prefix("MSI_"), "managed identity of Azure, older form"),
    (Prefix("ACTIONS_ID_TOKEN_REQUEST_"), "workload identity of GitHub Actions"),
    (Prefix("GOOGLE_"), "credentials of Google Cloud KMS"),
    (Prefix("CLOUDSDK_"), "project and account of Google Cloud"),
    (Prefix("VAULT_"), "address and token of HashiCorp Vault and OpenBao"),
    (Prefix("BAO_"), "as VAULT_, OpenBao's own names"),
    (Prefix("PKCS11"), "module and token of PKCS#11 plugins"),
    (Prefix("P11_KIT_"), "p11-kit modules and remote servers"),
    (Name("SOFTHSM2_CONF"), "where SoftHSM keeps its tokens"),
    (Name("KRYOPTIC_CONF"), "where Kryoptic keeps its tokens"),
    (Name("OPENSC_CONF"), "smart cards through OpenSC"),
    (Name("PCSCLITE_CSOCK_NAME"), "the socket of pcscd"),
    (Prefix("YUBIHSM_"), "connector of a YubiHSM"),
    (Prefix("YKCS11_"), "YubiKeys through PKCS#11"),
    (Prefix("TPM2_PKCS11_"), "TPM through PKCS#11"),
    (Name("TPM2TOOLS_TCTI"), "which TPM"),
    (Name("ChrystokiConfigurationPath"), "Thales Luna client"),
    (Prefix("NFAST_"), "Entrust nShield client"),
    (Prefix("CKNFAST_"), "Entrust nShield PKCS#11"),
    (Prefix("CS_PKCS11_"), "Utimaco PKCS#11"),
    (Name("CREDENTIALS_DIRECTORY"), "PINs as systemd credentials"),
    (Prefix("PROKURA_PLUGIN_"), "whatever a user wants to hand to a plugin by name, such as a PIN"),
    (Name("DOTNET_ROOT"), "where plugins written in .NET find their runtime"),
    (Name("DOTNET_BUNDLE_EXTRACT_BASE_DIR"), "where self-contained .NET plugins unpack themselves"),
    (Name("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"), ".NET plugins on machines without ICU"),
];

#[derive(Clone, Copy)]
enum Rule {
    Name(&'static str),
    Prefix(&'static str),
}

/// The variables a plugin gets.
#[derive(Clone, Default)]
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Keeps of the host's variables what the allow-list names.
    pub(crate) fn allowed(host: &[(OsString, OsString)]) -> Self {
        Self(host.iter().filter(|(name, _)| is_allowed(name)).cloned().collect())
    }

    pub(crate) fn variables(&self) -> &[(OsString, OsString)] {
        &self.0
    }

    /// Where private directories are made: `TMPDIR` if it is absolute, else `/tmp` (POSIX).
    pub(crate) fn temporary_directory(&self) -> PathBuf {
        let named = self.0.iter().find(|(name, _)| name == "TMPDIR").map(|(_, value)| Path::new(value));
        named.filter(|path| path.is_absolute()).unwrap_or(Path::new("/tmp")).to_owned()
    }
}

fn is_allowed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    ALLOWED.iter().any(|(rule, _)| match rule {
        Name(allowed) => name == *allowed,
        Prefix(prefix) => name.starts_with(prefix),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_registries_and_foreign_code_stay_with_the_host() {
        for name in [
            "NOTATION_USERNAME",
            "NOTATION_PASSWORD",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_AUDIT",
            "DYLD_INSERT_LIBRARIES",
            "DOTNET_STARTUP_HOOKS",
            "JAVA_TOOL_OPTIONS",
            "PYTHONPATH",
            "BASH_ENV",
            "ENV",
            "DOCKER_AUTH_CONFIG",
            "GITHUB_TOKEN",
            "CI_JOB_TOKEN",
            "PATHX",
            "aws_secret",
        ] {
            assert!(!is_allowed(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn credentials_of_vaults_reach_the_plugin() {
        for name in [
            "PATH",
            "LC_ALL",
            "AWS_SESSION_TOKEN",
            "AZURE_CLIENT_ID",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "VAULT_TOKEN",
            "SOFTHSM2_CONF",
            "KRYOPTIC_CONF",
            "PKCS11_MODULE_PATH",
            "CREDENTIALS_DIRECTORY",
            "PROKURA_PLUGIN_PIN",
            "SSL_CERT_FILE",
            "https_proxy",
            "XDG_RUNTIME_DIR",
        ] {
            assert!(is_allowed(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_relative_temporary_directory_is_not_followed() {
        let environment = |value: &str| Environment(vec![("TMPDIR".into(), value.into())]);
        assert_eq!(environment("x/y").temporary_directory(), Path::new("/tmp"));
        assert_eq!(environment("/var/tmp").temporary_directory(), Path::new("/var/tmp"));
        assert_eq!(Environment::default().temporary_directory(), Path::new("/tmp"));
    }
}
