//! Azure Key Vault: the bare loop of `POST .../sign` over kept connections, and the plugin, on the same fake vault.
//!
//! The fake answers in well under a millisecond and real vaults in tens, so that what the plugin adds stands out here
//! more than it ever will. The bare loop has its connection and token before the clock starts and reads no more of an
//! answer than its length; it shares the CPU with the vault, as the plugin does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prokura_plugin::{CertificateChain, Digest, KeySpec};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::pkcs11::{DEADLINE, cold, plugin, sign_and_verify};
use super::{Measured, Row, on_threads};
use crate::backend::azure::{AzureVault, Kind};
use crate::home::Home;
use crate::program::executable;
use crate::served::{Served, reference};
use crate::vault::TestVault as _;

const IN_FLIGHT: [usize; 3] = [1, 4, 16];
const SPECS: [KeySpec; 2] = [KeySpec::Ec256, KeySpec::Rsa2048];
/// Signatures over which calls are counted.
const COUNTED: u32 = 50;

/// Measures everything; `seconds` is for one loop.
///
/// # Errors
/// If the vault, the plugin or a signature fails.
pub fn table(seconds: f64) -> Result<Vec<Row>> {
    let home = Home::new()?;
    home.install("azure-keyvault", &executable("notation-azure-keyvault")?)?;
    let vault = AzureVault::start_with(Kind::Vault, &SPECS)?;
    let duration = Duration::from_secs_f64(seconds);
    let mut rows = Vec::new();
    for spec in SPECS {
        let (cold, calls) = (cold(&home, &vault, spec)?, calls(&home, &vault, spec)?);
        for in_flight in IN_FLIGHT {
            let bare = bare(&vault, spec, in_flight, duration)?;
            let row = |path: &str, measured: &Measured| {
                Row::new("azure-kv", spec, in_flight, path, measured, &bare)
            };
            rows.push(row("HTTPS loop", &bare));
            let mut plugin = row("plugin", &plugin(&home, &vault, spec, in_flight, duration)?);
            (plugin.cold, plugin.calls) = (Some(cold), Some(calls));
            rows.push(plugin);
        }
    }
    Ok(rows)
}

/// Requests to the vault per warm signature.
fn calls(home: &Home, vault: &AzureVault, spec: KeySpec) -> Result<f64> {
    let environment = vault.environment().into_iter().map(|(name, value)| (name.into(), value));
    let served = Served::start(home.plugins(), vault.plugin(), environment, DEADLINE)?;
    let key = reference(vault.key(spec))?;
    served.block_on(sign_and_verify(&served.plugin, &key, spec))?;
    vault.take_calls();
    for _ in 0..COUNTED {
        served.block_on(sign_and_verify(&served.plugin, &key, spec))?;
    }
    served.close();
    Ok(vault.take_calls().len() as f64 / f64::from(COUNTED))
}

type Connection = BufReader<StreamOwned<ClientConnection, TcpStream>>;

fn bare(vault: &AzureVault, spec: KeySpec, in_flight: usize, duration: Duration) -> Result<Measured> {
    let request = request(vault, spec)?;
    on_threads(in_flight, duration, || connect(vault), |connection| post(connection, &request))
}

fn connect(vault: &AzureVault) -> Result<Connection> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(vault.tls_ca())?;
    for certificate in CertificateChain::from_pem(&pem)?.certificates() {
        roots.add(certificate.clone().into())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(vault.url().trim_start_matches("https://").to_owned())?;
    let tcp = TcpStream::connect(vault.proxy().trim_start_matches("http://"))?;
    tcp.set_nodelay(true)?;
    Ok(BufReader::new(StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, tcp)))
}

fn request(vault: &AzureVault, spec: KeySpec) -> Result<Vec<u8>> {
    let algorithm = if spec.is_rsa() { "PS256" } else { "ES256" };
    let digest = Digest::of(spec.hash_algorithm(), b"bench");
    let body =
        format!("{{\"alg\":\"{algorithm}\",\"value\":\"{}\"}}", URL_SAFE_NO_PAD.encode(digest.bytes()));
    let name = crate::key::id(spec);
    let path = format!("/keys/{name}/{}/sign?api-version=7.5", vault.current_version(&name)?);
    let host = vault.url();
    Ok(format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        host.trim_start_matches("https://"),
        vault.issue_token(),
        body.len()
    )
    .into_bytes())
}

fn post(connection: &mut Connection, request: &[u8]) -> Result<()> {
    connection.get_mut().write_all(request)?;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    ensure!(line.contains(" 200 "), "{line}");
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        connection.read_line(&mut line)?;
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    connection.read_exact(&mut vec![0; length])?;
    Ok(())
}
