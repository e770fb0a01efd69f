//! `certificate`: verbs on the trust store and on test keys.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::options::VaultKeyOptions;
use super::value::GoDuration;

/// Names of the three store types.
pub(crate) const STORE_TYPES: [&str; 3] = ["ca", "signingAuthority", "tsa"];

/// Verbs on the trust store.
#[derive(Subcommand)]
pub(crate) enum CertificateCommand {
    Add(CertificateAddOptions),
    List(CertificateListOptions),
    Show(CertificateShowOptions),
    Delete(CertificateDeleteOptions),
    GenerateTest(GenerateTestOptions),
    CleanupTest(CleanupTestOptions),
    Request(RequestOptions),
    SelfSign(SelfSignOptions),
    Install(InstallOptions),
}

/// Make a certificate request (PKCS#10) for a key in a vault, for a CA to sign
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura cert request --key release --subject \"CN=release,O=ACME Rockets,ST=WA,C=US\" --file release.csr")]
pub(crate) struct RequestOptions {
    #[command(flatten)]
    pub(crate) key: VaultKeyOptions,

    /// Distinguished name with at least C, ST and O, as RFC 4514 writes it
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: String,

    /// Where to write the PEM; standard output by default
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Make a self-signed certificate for a key in a vault. Whoever verifies must trust it itself
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura cert self-sign --key release --subject \"CN=release,O=ACME Rockets,ST=WA,C=US\" --file release.crt")]
pub(crate) struct SelfSignOptions {
    #[command(flatten)]
    pub(crate) key: VaultKeyOptions,

    /// Distinguished name with at least C, ST and O, as RFC 4514 writes it
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: String,

    /// How long the certificate is valid
    #[arg(long, value_name = "DURATION", default_value = "8760h")]
    pub(crate) validity: GoDuration,

    /// Where to write the PEM; standard output by default
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Put a certificate into the vault beside its key, where the vault has a place for it
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura cert install --key release release-chain.pem")]
pub(crate) struct InstallOptions {
    #[command(flatten)]
    pub(crate) key: VaultKeyOptions,

    /// File with the key's certificate and, optional, its issuers; PEM or DER, in any order
    #[arg(value_name = "FILE")]
    pub(crate) path: PathBuf,
}

/// A named store of the trust store.
#[derive(Args, Clone)]
pub(crate) struct StoreOptions {
    /// Type of the store
    #[arg(short = 't', long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(STORE_TYPES))]
    pub(crate) store_type: String,

    /// Name of the store
    #[arg(short, long, value_name = "NAME")]
    pub(crate) store: String,
}

/// Add certificates to the trust store
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  prokura cert add --type ca --store acme-rockets acme-rockets.crt
  prokura cert add --type signingAuthority --store wabbit-networks wabbit-networks.pem")]
pub(crate) struct CertificateAddOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,

    /// Certificate files, PEM or DER
    #[arg(value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,
}

/// List the certificates in the trust store
#[derive(Args, Clone)]
#[command(
    visible_alias = "ls",
    after_long_help = "\
Examples:
  prokura cert ls
  prokura cert ls --type ca --store acme-rockets"
)]
pub(crate) struct CertificateListOptions {
    /// Only stores of this type
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub(crate) store_type: Option<String>,

    /// Only stores of this name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) store: Option<String>,
}

/// Show the certificates of one file in the trust store
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura cert show --type ca --store acme-rockets acme-rockets.crt")]
pub(crate) struct CertificateShowOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,

    /// File name in the store
    #[arg(value_name = "FILE_NAME")]
    pub(crate) names: Vec<String>,
}

/// Delete certificates from the trust store
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  prokura cert delete --type ca --store acme-rockets acme-rockets.crt
  prokura cert delete --type ca --store acme-rockets --all --yes")]
pub(crate) struct CertificateDeleteOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,

    /// Delete the whole store
    #[arg(short, long, conflicts_with = "names")]
    pub(crate) all: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// File name in the store
    #[arg(value_name = "FILE_NAME")]
    pub(crate) names: Vec<String>,
}

/// Generate a test key with a self-signed certificate and trust it. Not for production: the key lies in a file
#[derive(Args, Clone)]
#[command(after_long_help = "\
Examples:
  An RSA key as notation makes it, as default key:
    prokura cert generate-test --default \"wabbit-networks.io\"

  An elliptic-curve key valid for a week:
    prokura cert generate-test --key-spec EC-256 --validity 168h \"wabbit-networks.io\"")]
pub(crate) struct GenerateTestOptions {
    /// RSA key size: 2048, 3072 or 4096
    #[arg(short, long, value_name = "BITS", default_value_t = 2048, conflicts_with = "key_spec")]
    pub(crate) bits: u32,

    /// Key spec instead of an RSA size: RSA-2048, RSA-3072, RSA-4096, EC-256, EC-384 or EC-521
    #[arg(long, value_name = "SPEC")]
    pub(crate) key_spec: Option<String>,

    /// How long the certificate is valid
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub(crate) validity: GoDuration,

    /// Make it the default key
    #[arg(long)]
    pub(crate) default: bool,

    /// Common name; also the name of the key, its files and its trust store
    #[arg(value_name = "COMMON_NAME")]
    pub(crate) names: Vec<String>,
}

/// Remove a key made by generate-test: its files, its entry in the key list and its certificate in the trust store
#[derive(Args, Clone)]
#[command(after_long_help = "\
Example:
  prokura cert cleanup-test \"wabbit-networks.io\"")]
pub(crate) struct CleanupTestOptions {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Common name
    #[arg(value_name = "COMMON_NAME")]
    pub(crate) names: Vec<String>,
}
