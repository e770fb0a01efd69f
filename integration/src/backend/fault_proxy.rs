//! An HTTP/1.1 proxy that breaks what it is told to break: delays, stalls, resets, cut bodies, other statuses.
//!
//! One thread per connection, plain HTTP on 127.0.0.1. Requests that no rule matches pass unchanged, so a client meets
//! a real vault with exactly one thing wrong.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What happens to a request instead of its answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is passed on after a pause.
    Delay(Duration),
    /// Nothing: the connection stays open and silent until the client gives up.
    Stall,
    /// The connection is reset before anything is passed on.
    Reset,
    /// The vault answers, and the connection is reset before the client hears of it.
    ResetAfter,
    /// The vault's answer ends after so many bytes of its body, though its length was promised.
    Cut(usize),
    /// The vault's answer ends after so many bytes of its body, and says that this is its length.
    Shorten(usize),
    /// Another answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// Further header lines, such as `Retry-After: 1`.
        headers: Vec<String>,
        /// The body.
        body: String,
    },
    /// The vault's body with one text replaced by another.
    Replace(String, String),
    /// The request goes to another path, such as another key's: the first text in it is replaced by the second.
    Elsewhere(String, String),
}

impl Fault {
    /// A status with a body in the form of Vault's errors.
    pub fn status(status: u16, error: &str) -> Self {
        let body =
            serde_json::json!({"errors": if error.is_empty() { vec![] } else { vec![error] }}).to_string();
        Self::Answer { status, headers: Vec::new(), body }
    }
}

struct Rule {
    /// Part of `METHOD PATH`.
    matching: String,
    /// How many requests it still breaks.
    times: usize,
    fault: Fault,
}

#[derive(Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// The proxy; it stops accepting when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
}

impl FaultProxy {
    /// A proxy before the server at `upstream`.
    ///
    /// # Errors
    /// If the system gives no port.
    pub fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::SeqCst) {
                    break;
                }
                let state = Arc::clone(&shared);
                // A client that goes away is no concern of the proxy's.
                std::thread::spawn(move || drop(serve(&stream, upstream, &state)));
            }
        });
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks the next `times` requests whose `METHOD PATH` holds `matching`. Rules are tried in the order given.
    pub fn inject(&self, matching: &str, times: usize, fault: Fault) {
        locked(&self.state.rules).push(Rule { matching: matching.to_owned(), times, fault });
    }

    /// Breaks nothing any more.
    pub fn heal(&self) {
        locked(&self.state.rules).clear();
    }

    /// The requests since the last call, as `METHOD PATH`.
    pub fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.state.seen))
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

struct Request {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

fn serve(client: &TcpStream, upstream: SocketAddr, state: &State) -> Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        let shown =
            request.line.rsplit_once(' ').map_or(request.line.as_str(), |(shown, _)| shown).to_owned();
        locked(&state.seen).push(shown.clone());
        let answer = match fault_for(state, &shown) {
            None => pass(&request, upstream)?,
            Some(Fault::Delay(pause)) => {
                std::thread::sleep(pause);
                pass(&request, upstream)?
            }
            Some(Fault::Stall) => {
                // Until the client closes its side.
                let _ = reader.read(&mut [0; 1]);
                return Ok(());
            }
            Some(Fault::Reset) => return reset(client),
            Some(Fault::ResetAfter) => {
                pass(&request, upstream)?;
                return reset(client);
            }
            Some(Fault::Cut(kept)) => {
                let mut answer = pass(&request, upstream)?;
                answer.body.truncate(kept);
                (&mut &*client).write_all(&answer.head)?;
                (&mut &*client).write_all(&answer.body)?;
                return Ok(());
            }
            Some(Fault::Shorten(kept)) => {
                let Answer { status, mut body, .. } = pass(&request, upstream)?;
                body.truncate(kept);
                Answer::new(&status, &[], body)
            }
            Some(Fault::Replace(from, to)) => {
                let Answer { status, body, .. } = pass(&request, upstream)?;
                Answer::new(&status, &[], String::from_utf8_lossy(&body).replace(&from, &to).into_bytes())
            }
            Some(Fault::Elsewhere(from, to)) => {
                pass(&Request { line: request.line.replacen(&from, &to, 1), ..request }, upstream)?
            }
            Some(Fault::Answer { status, headers, body }) => {
                Answer::new(&format!("{status} Broken"), &headers, body.into_bytes())
            }
        };
        (&mut &*client).write_all(&answer.head)?;
        (&mut &*client).write_all(&answer.body)?;
    }
    Ok(())
}

fn fault_for(state: &State, shown: &str) -> Option<Fault> {
    let mut rules = locked(&state.rules);
    let rule = rules.iter_mut().find(|rule| rule.times > 0 && shown.contains(&rule.matching))?;
    rule.times -= 1;
    Some(rule.fault.clone())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim_end().to_owned();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        headers.push(header);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { line: line.trim_end().to_owned(), headers, body }))
}

struct Answer {
    /// Code and reason.
    status: String,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: &str, headers: &[String], body: Vec<u8>) -> Self {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let kind = if headers.to_lowercase().contains("content-type:") {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let head =
            format!("HTTP/1.1 {status}\r\n{headers}{kind}Content-Length: {length}\r\n\r\n").into_bytes();
        Self { status: status.to_owned(), head, body }
    }
}

/// HTTP/1.0 towards the vault: its answer ends with the connection and is never chunked.
fn pass(request: &Request, upstream: SocketAddr) -> Result<Answer> {
    let mut stream = TcpStream::connect(upstream)?;
    let line = request.line.replace("HTTP/1.1", "HTTP/1.0");
    let mut head = format!("{line}\r\n");
    for header in request.headers.iter().filter(|h| !h.to_lowercase().starts_with("connection:")) {
        head.push_str(header);
        head.push_str("\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&request.body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("an HTTP answer")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer).into_owned();
    let mut lines = head.trim_end().lines();
    let status = lines.next().and_then(|l| l.split_once(' ')).map(|(_, status)| status.to_owned());
    let left_out = ["content-length:", "connection:", "transfer-encoding:"];
    let headers: Vec<String> = lines
        .filter(|line| !left_out.iter().any(|name| line.to_lowercase().starts_with(name)))
        .map(str::to_owned)
        .collect();
    Ok(Answer::new(&status.context("a status")?, &headers, body))
}

/// Closes with RST instead of FIN.
fn reset(client: &TcpStream) -> Result<()> {
    rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO))?;
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
