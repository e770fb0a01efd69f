//! HTTP/1.1 over TCP, TLS and a CONNECT proxy on one port: as much of it as the fake vault and its faults need.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as it was sent.
pub(super) struct Request {
    pub(super) method: String,
    /// Without the port.
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What is sent back, or done to the connection instead.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) mischief: Option<Mischief>,
}

/// What goes wrong below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mischief {
    /// No byte of an answer, the connection stays open.
    Stall,
    /// The connection is reset.
    Reset,
    /// The body ends before its announced length, then the connection closes.
    Truncate,
}

/// The running server; it stops accepting when this is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    running: Arc<AtomicBool>,
}

type Handle = dyn Fn(&Request) -> Answer + Send + Sync;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub(super) fn query(&self, name: &str) -> &str {
        self.query.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

impl Server {
    pub(super) fn start(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        handle: Arc<Handle>,
    ) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        let (tls, running) = (Arc::new(tls), Arc::new(AtomicBool::new(true)));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let still = Arc::clone(&running);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if !still.load(Ordering::SeqCst) {
                    return;
                }
                let (tls, handle, still) = (Arc::clone(&tls), Arc::clone(&handle), Arc::clone(&still));
                // Whatever ends a connection is the client's to notice.
                std::thread::spawn(move || serve(connection, &tls, &*handle, &still));
            }
        });
        Ok(Self { address, running })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.store(false, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(tcp: TcpStream, tls: &Arc<ServerConfig>, handle: &Handle, running: &AtomicBool) -> Result<()> {
    const TLS_HANDSHAKE: u8 = 0x16;
    tcp.set_nodelay(true)?;
    let raw = tcp.try_clone()?;
    let mut first = [0];
    tcp.peek(&mut first)?;
    let mut stream: Box<dyn Stream> = Box::new(tcp);
    if first == *b"C" {
        tunnel(&mut stream)?;
        raw.peek(&mut first)?;
    }
    if first == [TLS_HANDSHAKE] {
        let connection = rustls::ServerConnection::new(Arc::clone(tls))?;
        stream = Box::new(rustls::StreamOwned::new(connection, stream));
    }
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let answer = handle(&request);
        match answer.mischief {
            Some(Mischief::Reset) => {
                rustix::net::sockopt::set_socket_linger(&raw, Some(Duration::ZERO))?;
                return Ok(());
            }
            Some(Mischief::Stall) => {
                while running.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
            }
            _ => {}
        }
        write_answer(reader.get_mut(), &answer)?;
        if answer.mischief.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

/// Answers `CONNECT`; every host there is, is this server.
fn tunnel(stream: &mut Box<dyn Stream>) -> Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    Ok(())
}

fn read_request(reader: &mut BufReader<Box<dyn Stream>>) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().context("a method")?.to_owned(), words.next().context("a target")?);
    let target =
        target.strip_prefix("http://").map_or(target, |rest| rest.find('/').map_or("/", |i| &rest[i..]));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), form(query));
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, host: String::new(), path, query, headers, body: Vec::new() };
    request.host = request.header("host").split(':').next().unwrap_or_default().to_owned();
    request.body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn write_answer(stream: &mut Box<dyn Stream>, answer: &Answer) -> Result<()> {
    let mut head = format!("HTTP/1.1 {} Fake\r\n", answer.status);
    let fixed = [("content-type", "application/json; charset=utf-8".to_owned())];
    for (name, value) in fixed.iter().chain(&answer.headers) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", answer.body.len()));
    let sent = if answer.mischief.is_some() { answer.body.len() / 2 } else { answer.body.len() };
    stream.write_all(&[head.as_bytes(), &answer.body[..sent]].concat())?;
    stream.flush()?;
    Ok(())
}

/// `application/x-www-form-urlencoded`.
pub(super) fn form(text: &str) -> Vec<(String, String)> {
    let decoded = |part: &str| {
        let part = part.replace('+', " ");
        let mut bytes = Vec::new();
        let mut rest = part.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            let hex = after.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
            let (byte, skip) = hex.filter(|_| byte == b'%').map_or((byte, 0), |decoded| (decoded, 2));
            bytes.push(byte);
            rest = &after[skip..];
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}
