//! The shortest way to a signature: one connection kept open, one request written, one answer read. What the plugin is
//! measured against.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prokura_plugin::{Digest, HashAlgorithm, KeySpec};

use super::OpenBao;
use crate::key::id;

/// A connection that signs.
pub struct Bare {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    token: String,
}

impl Bare {
    /// Connects without TLS.
    ///
    /// # Errors
    /// If the server does not listen.
    pub fn connect(vault: &OpenBao) -> Result<Self> {
        let stream = TcpStream::connect(vault.server.plain)?;
        stream.set_nodelay(true)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader, token: vault.token().to_owned() })
    }

    /// Has the test key of a spec sign a digest; returns the answer's JSON, unread.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn sign(&mut self, spec: KeySpec, digest: &Digest) -> Result<Vec<u8>> {
        let hash = match digest.algorithm() {
            HashAlgorithm::Sha256 => "sha2-256",
            HashAlgorithm::Sha384 => "sha2-384",
            HashAlgorithm::Sha512 => "sha2-512",
        };
        let manner = if spec.is_rsa() {
            r#""signature_algorithm":"pss","salt_length":"hash""#
        } else {
            r#""marshaling_algorithm":"jws""#
        };
        let input = BASE64_STANDARD.encode(digest.bytes());
        let body = format!(
            r#"{{"input":"{input}","prehashed":true,"hash_algorithm":"{hash}","key_version":1,{manner}}}"#
        );
        let (name, token, length) = (id(spec), &self.token, body.len());
        let request = format!(
            "POST /v1/transit/sign/{name} HTTP/1.1\r\nHost: vault\r\nX-Vault-Token: {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Vec<u8>> {
        let mut status = String::new();
        self.reader.read_line(&mut status)?;
        ensure!(status.contains(" 200 "), "the vault said {status:?}");
        let mut length = None;
        loop {
            let mut header = String::new();
            self.reader.read_line(&mut header)?;
            match header.trim_end().split_once(": ") {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.parse()?)
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length.context("an answer with its length")?];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }
}
