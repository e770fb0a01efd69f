//! The API of an emulator, spoken by hand: what tests do to keys and certificates, and to the emulator itself.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{ACCESS_KEY, REGION};

/// How to reach an emulator.
#[derive(Clone, Debug)]
pub struct Api {
    port: u16,
    account: Option<&'static str>,
}

/// One call that reached the corrected moto.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Call {
    /// Such as `kms:Sign`.
    pub operation: String,
    /// The `KeyId` of the request.
    pub key: Option<String>,
    /// The access key id that signed the request.
    pub caller: Option<String>,
    /// The `GrantTokens` of the request.
    pub grant_tokens: Option<Vec<String>>,
    /// HTTP status of the answer.
    pub status: u16,
}

impl Api {
    pub(super) const fn new(port: u16) -> Self {
        Self { port, account: None }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same emulator, asked by somebody of another account.
    #[must_use]
    pub fn of_account(&self, account: &'static str) -> Self {
        Self { account: Some(account), ..self.clone() }
    }

    /// An operation of KMS.
    ///
    /// # Errors
    /// With the answer, unless it is 200.
    pub fn kms(&self, operation: &str, body: &Value) -> Result<Value> {
        self.json("kms", &format!("TrentService.{operation}"), body)
    }

    /// An operation of a service that speaks JSON, such as `secretsmanager` and `secretsmanager.CreateSecret`.
    ///
    /// # Errors
    /// With the answer, unless it is 200.
    pub fn json(&self, service: &str, target: &str, body: &Value) -> Result<Value> {
        let headers = [("X-Amz-Target", target), ("Content-Type", "application/x-amz-json-1.1")];
        let answer = self.send("POST", "/", service, &headers, body.to_string().as_bytes())?;
        Ok(serde_json::from_str(&answer).unwrap_or(Value::Null))
    }

    /// Stores an object in S3.
    ///
    /// # Errors
    /// With the answer, unless it is 200.
    pub fn put_object(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.send("PUT", path, "s3", &[], bytes).map(drop)
    }

    /// The next calls of `operation` whose body contains `part` fail as `fault` says, see `kms_server.py`.
    ///
    /// # Errors
    /// If the emulator is not the corrected moto.
    pub fn fault(&self, operation: &str, part: &str, mut fault: Value) -> Result<()> {
        if let Some(fault) = fault.as_object_mut() {
            fault.insert("operation".to_owned(), json!(operation));
            fault.insert("match".to_owned(), json!(part));
        }
        self.control("POST", "/_test/faults", &fault).map(drop)
    }

    /// All calls so far that name a key containing `part`.
    ///
    /// # Errors
    /// If the emulator is not the corrected moto.
    pub fn calls(&self, part: &str) -> Result<Vec<Call>> {
        let calls: Vec<Call> = serde_json::from_value(self.control("GET", "/_test/calls", &Value::Null)?)?;
        Ok(calls.into_iter().filter(|call| call.key.as_deref().unwrap_or_default().contains(part)).collect())
    }

    /// Makes a user with this policy, or gives it another one. Returns access key id and secret of a new one.
    ///
    /// # Errors
    /// If the emulator is not the corrected moto.
    pub fn user(&self, name: &str, policy: &Value) -> Result<(String, String)> {
        let answer = self.control("POST", "/_test/user", &json!({"name": name, "policy": policy}))?;
        let text = |member: &str| answer.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok((text("access"), text("secret")))
    }

    /// From now on every call must be signed by a user whose policy allows it.
    ///
    /// # Errors
    /// If the emulator is not the corrected moto.
    pub fn enforce(&self) -> Result<()> {
        self.control("POST", "/_test/enforce", &Value::Null).map(drop)
    }

    /// What `kms_server.py` serves beside the API.
    ///
    /// # Errors
    /// If the emulator is not the corrected moto.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.send(method, path, "test", &[], body.as_bytes())?;
        serde_json::from_str(&answer).with_context(|| format!("{path} answered {answer}"))
    }

    /// The scope of the signature tells the emulator the service; the signature itself is checked only once enforced.
    fn send(
        &self,
        method: &str,
        path: &str,
        service: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<String> {
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\nX-Amz-Date: 20260101T000000Z\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n",
            self.port,
            body.len()
        );
        if let Some(account) = self.account {
            request.push_str(&format!("X-Moto-Account-Id: {account}\r\n"));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(&[request.as_bytes(), b"\r\n", body].concat())?;
        let (head, body) = answer(stream)?;
        match head.split(' ').nth(1) {
            Some("200") => Ok(body),
            _ => bail!("{method} {path} of {service}: {head}\n{body}"),
        }
    }
}

/// Head and body. An announced length is believed: moto closes its connections milliseconds after the last byte.
fn answer(stream: TcpStream) -> Result<(String, String)> {
    let (mut reader, mut head, mut length) = (BufReader::new(stream), String::new(), None);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        ensure!(reader.read_line(&mut head)? > 0, "no HTTP answer: {head}");
        let line = head.get(from..).unwrap_or_default().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
        }
        None => drop(reader.read_to_end(&mut body)?),
    }
    Ok((head, String::from_utf8_lossy(&body).into_owned()))
}
