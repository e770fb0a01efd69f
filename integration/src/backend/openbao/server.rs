//! A running OpenBao server in memory, with a plain and two TLS listeners on ports the system chose, and its administrator.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::bao;
use crate::home::write_private;

const START_TIME_MAX: Duration = Duration::from_secs(60);

/// The server; it ends when this is dropped, and when the test process dies.
pub struct Server {
    /// Where it listens without TLS.
    pub plain: SocketAddr,
    /// Where it listens with TLS, for the name `vault.test`.
    pub tls: SocketAddr,
    /// Where it listens with TLS and lets only clients in that have a certificate, see [`Server::client`].
    pub mutual: SocketAddr,
    /// The token that may do everything.
    pub root_token: String,
    unseal_key: String,
    directory: TempDir,
    child: Child,
    /// Namespaces of requests are per call; this one is for all.
    turn: Mutex<()>,
}

impl Server {
    /// Starts, initialises and unseals it.
    ///
    /// # Errors
    /// [`crate::program::Missing`] if OpenBao cannot be had.
    pub fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("prokura-openbao-").tempdir()?;
        write_tls_files(&directory)?;
        let config = directory.path().join("server.hcl");
        std::fs::write(&config, config_text(&directory))?;
        // The shell ends the server when its stdin is closed, which also happens when this process is killed.
        let mut child = Command::new("sh")
            .args(["-c", r#""$0" server -config "$1" & server=$!; cat >/dev/null; kill -KILL $server"#])
            .arg(bao()?)
            .arg(&config)
            .env("BAO_SKIP_LOGGING_LEASE_EXPIRATIONS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let [plain, tls, mutual] = listeners(&mut child)?;
        let mut server = Self {
            plain,
            tls,
            mutual,
            root_token: String::new(),
            unseal_key: String::new(),
            directory,
            child,
            turn: Mutex::default(),
        };
        server.initialise()?;
        Ok(server)
    }

    fn initialise(&mut self) -> Result<()> {
        let until = Instant::now() + START_TIME_MAX;
        let made = loop {
            match self.admin("POST", "sys/init", Some(&json!({"secret_shares": 1, "secret_threshold": 1}))) {
                Ok(made) => break made,
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let text = |value: Option<&Value>| {
            value.and_then(Value::as_str).map(str::to_owned).context("an init answer")
        };
        self.root_token = text(made.get("root_token"))?;
        self.unseal_key = text(made.pointer("/keys_base64/0"))?;
        self.unseal()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("http://{}", self.plain)
    }

    /// `https://127.0.0.1:PORT`; the certificate is for `vault.test`, by the authority in [`Server::ca`].
    pub fn tls_address(&self) -> String {
        format!("https://{}", self.tls)
    }

    /// PEM files of a client's certificate and key.
    pub fn client(&self) -> [std::path::PathBuf; 2] {
        ["client.pem", "client.key"].map(|name| self.directory.path().join(name))
    }

    /// PEM file with the authority of the TLS certificate.
    pub fn ca(&self) -> std::path::PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A directory for whatever belongs to this server.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Seals it: from now on it answers nothing.
    ///
    /// # Errors
    /// If it refuses.
    pub fn seal(&self) -> Result<()> {
        self.admin("POST", "sys/seal", None).map(|_| ())
    }

    /// Unseals it, and waits until it answers.
    ///
    /// # Errors
    /// If it refuses.
    pub fn unseal(&self) -> Result<()> {
        let answer = self.admin("POST", "sys/unseal", Some(&json!({"key": self.unseal_key})))?;
        ensure!(answer.get("sealed") == Some(&Value::Bool(false)), "still sealed: {answer}");
        let until = Instant::now() + START_TIME_MAX;
        while self.admin("GET", "sys/health", None).is_err() {
            ensure!(Instant::now() < until, "the server did not become active");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A request as the administrator; the whole JSON answer, null if it is empty.
    ///
    /// # Errors
    /// With the answer, if it is no success.
    pub fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        self.request(&self.root_token, method, path, body)
    }

    /// Shorthand for a POST.
    ///
    /// # Errors
    /// With the answer, if it is no success.
    pub fn write(&self, path: &str, body: &Value) -> Result<Value> {
        self.admin("POST", path, Some(body))
    }

    /// A new token with the policy given in HCL, living `ttl` such as `1h`.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn token(&self, name: &str, policy: &str, ttl: &str) -> Result<String> {
        self.write(&format!("sys/policies/acl/{name}"), &json!({"policy": policy}))?;
        let answer = self.write("auth/token/create", &json!({"policies": [name], "ttl": ttl}))?;
        let token = answer.pointer("/auth/client_token").and_then(Value::as_str);
        token.map(str::to_owned).context("a token")
    }

    fn request(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let _turn = self.turn.lock();
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(self.plain)?;
        stream.set_read_timeout(Some(START_TIME_MAX))?;
        // HTTP/1.0: the answer ends with the connection and comes in one piece.
        write!(
            stream,
            "{method} /v1/{path} HTTP/1.0\r\nHost: {}\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
            self.plain,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            bail!("{method} {path}: HTTP {status} {body}");
        }
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(body)?) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn config_text(directory: &TempDir) -> String {
    let path = |name: &str| directory.path().join(name).display().to_string();
    format!(
        r#"
storage "inmem" {{}}
api_addr = "http://127.0.0.1:1"
listener "tcp" {{
  address = "127.0.0.1:0"
  tls_disable = true
}}
listener "tcp" {{
  address = "127.0.0.1:0"
  tls_cert_file = "{}"
  tls_key_file = "{}"
}}
listener "tcp" {{
  address = "127.0.0.1:0"
  tls_cert_file = "{}"
  tls_key_file = "{}"
  tls_client_ca_file = "{}"
  tls_require_and_verify_client_cert = true
}}
"#,
        path("server.pem"),
        path("server.key"),
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    )
}

/// Waits until the server has said where it listens. It tells the cluster address only, whose port is the next one.
fn listeners(child: &mut Child) -> Result<[SocketAddr; 3]> {
    let mut stdout = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
    let (mut found, mut said) = (Vec::new(), String::new());
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line)? == 0 {
            let _ = child.kill();
            bail!("OpenBao ended at once and said {said:?}");
        }
        if let Some((_, rest)) = line.split_once("cluster address: \"")
            && let Some((address, _)) = rest.split_once('"')
        {
            let mut address: SocketAddr = address.parse()?;
            address.set_port(address.port() - 1);
            found.push(address);
        }
        if line.contains("server started") {
            break;
        }
        said.push_str(&line);
    }
    // Read on, or the server would block when the pipe is full.
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    <[SocketAddr; 3]>::try_from(found)
        .map_err(|found| anyhow::anyhow!("three listeners expected, found {found:?}"))
}

fn write_tls_files(directory: &TempDir) -> Result<()> {
    let ca_key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "openbao tls ca");
    std::fs::write(directory.path().join("ca.pem"), params.self_signed(&ca_key)?.pem())?;
    let issuer = rcgen::Issuer::new(params, ca_key);
    for (name, usage) in [
        ("server", rcgen::ExtendedKeyUsagePurpose::ServerAuth),
        ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(vec!["vault.test".to_owned()])?;
        params.extended_key_usages = vec![usage];
        std::fs::write(
            directory.path().join(name).with_extension("pem"),
            params.signed_by(&key, &issuer)?.pem(),
        )?;
        write_private(&directory.path().join(name).with_extension("key"), &key.serialize_pem())?;
    }
    Ok(())
}
