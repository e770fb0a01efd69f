//! Clients that want too much.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::harness::{Broker, call, client_config, connect, tls, trust};
use crate::identity::Evidence;
use crate::identity::testing::Authority;
use crate::listen::{Incoming, Limits, UnixSocket};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

fn server() -> (Authority, std::sync::Arc<crate::identity::tls::Tls>) {
    let authority = Authority::new("server");
    let tls = tls(&authority, trust(&[], &[]), true);
    (authority, tls)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the other side closes within `limit`.
async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin), limit: Duration) -> bool {
    let mut sink = Vec::new();
    timeout(limit, stream.read_to_end(&mut sink)).await.is_ok()
}

#[tokio::test]
async fn thousands_of_half_open_connections_leave_room_for_an_honest_one() {
    let (authority, tls) = server();
    let mut limits = Limits { handshakes_max: 200, ..Limits::default() };
    limits.admission.burst_per_origin = 10_000;
    limits.admission.open_per_origin_max = 10_000;
    let broker = Broker::tcp(&tls, limits);
    let mut held = Vec::new();
    for _ in 0..3000 {
        held.push(TcpStream::connect(broker.address).await.unwrap());
    }
    timeout(Duration::from_secs(5), call(broker.address, client_config(&authority, None)))
        .await
        .unwrap()
        .unwrap();
    until("2800 were displaced", || broker.counts.read().displaced >= 2800).await;
    assert_eq!(broker.counts.read().served, 1);
    drop(held);
    broker.stop().await;
}

#[tokio::test]
async fn one_origin_has_a_share_and_a_rate() {
    let (authority, tls) = server();
    let mut limits = Limits::default();
    (limits.admission.open_per_origin_max, limits.admission.burst_per_origin) = (3, 5);
    limits.admission.rate_per_origin = 0.001;
    let broker = Broker::tcp(&tls, limits);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(connect(broker.address, client_config(&authority, None)).await.unwrap());
    }
    assert!(connect(broker.address, client_config(&authority, None)).await.is_err(), "a fourth");
    assert_eq!(broker.counts.read().origin_full, 1);
    drop(open);
    until("they are closed", || broker.counts.read().served == 3).await;
    let mut more = 0;
    let began = Instant::now();
    while broker.counts.read().too_fast == 0 {
        more += usize::from(connect(broker.address, client_config(&authority, None)).await.is_ok());
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(more, 2, "the burst is five");
    broker.stop().await;
}

#[tokio::test]
async fn silence_in_the_handshake_or_after_it_ends_by_a_deadline() {
    let (authority, tls) = server();
    let short = Duration::from_millis(300);
    let broker = Broker::tcp(&tls, Limits { handshake: short, preface: short, ..Limits::default() });
    let mut silent = TcpStream::connect(broker.address).await.unwrap();
    assert!(is_closed(&mut silent, Duration::from_secs(5)).await, "no ClientHello");
    assert_eq!(broker.counts.read().late, 1);
    let mut idle = connect(broker.address, client_config(&authority, None)).await.unwrap();
    assert!(is_closed(&mut idle, Duration::from_secs(5)).await, "no preface");
    let mut begun = connect(broker.address, client_config(&authority, None)).await.unwrap();
    begun.write_all(&PREFACE[..23]).await.unwrap();
    assert!(is_closed(&mut begun, Duration::from_secs(5)).await, "no end of the preface");
    broker.stop().await;
}

#[tokio::test]
async fn garbage_is_no_handshake() {
    let (_, tls) = server();
    let broker = Broker::tcp(&tls, Limits::default());
    let mut stream = TcpStream::connect(broker.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(is_closed(&mut stream, Duration::from_secs(5)).await);
    until("it is counted", || broker.counts.read().failed == 1).await;
    broker.stop().await;
}

/// One frame after the preface, and what GOAWAY says about it (RFC 9113, sections 4.1 and 6.8).
async fn goaway(broker: &Broker, authority: &Authority, frames: &[u8]) -> Option<u32> {
    let mut stream = connect(broker.address, client_config(authority, None)).await.unwrap();
    stream.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    let _ = stream.write_all(frames).await;
    let mut received = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut received)).await.expect("it closes");
    let mut rest = received.as_slice();
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, after) = after.split_at_checked(length)?;
        if head[3] == 7 {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = after;
    }
    None
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn frames_over_the_limit_and_reset_floods_end_the_connection() {
    const FRAME_SIZE_ERROR: u32 = 6;
    const ENHANCE_YOUR_CALM: u32 = 11;
    // HPACK: POST, http, /, and an authority, all by index or literal.
    const HEADERS: &[u8] = b"\x83\x86\x84\x41\x01a";
    let (authority, tls) = server();
    let broker = Broker::tcp(&tls, Limits::default());
    let large = frame(0, 0, 1, &[0; 16 * 1024 + 1]);
    assert_eq!(goaway(&broker, &authority, &large).await, Some(FRAME_SIZE_ERROR));
    let flood: Vec<u8> = (0..5000)
        .flat_map(|n| [frame(1, 4, 2 * n + 1, HEADERS), frame(3, 0, 2 * n + 1, &8u32.to_be_bytes())].concat())
        .collect();
    assert_eq!(goaway(&broker, &authority, &flood).await, Some(ENHANCE_YOUR_CALM));
    let endless: Vec<u8> = std::iter::once(frame(1, 0, 1, HEADERS))
        .chain((0..2000).map(|_| frame(9, 0, 1, &[0; 1024])))
        .flatten()
        .collect();
    assert!(goaway(&broker, &authority, &endless).await.is_some(), "headers without end");
    call(broker.address, client_config(&authority, None)).await.unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_disconnected() {
    let (authority, tls) = server();
    let limits = Limits { stall: Duration::from_millis(300), ..Limits::default() };
    let broker = Broker::tcp(&tls, limits);
    let mut stream = connect(broker.address, client_config(&authority, None)).await.unwrap();
    stream.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    // Each PING wants an answer of the same size, and nobody reads them.
    let ping = frame(6, 0, 0, &[7; 8]).repeat(1000);
    let ended =
        timeout(Duration::from_secs(20), async { while stream.write_all(&ping).await.is_ok() {} }).await;
    assert!(ended.is_ok(), "the connection ends");
    broker.stop().await;
}

#[tokio::test]
async fn the_unix_socket_says_who_connects_and_goes_when_the_broker_stops() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("s");
    let socket = UnixSocket::bind(&path, None).unwrap();
    let mut broker = Broker::serve(Incoming::unix(socket, Limits::default()).unwrap());
    let endpoint = tonic::transport::Endpoint::try_from(format!("unix:{}", path.display())).unwrap();
    let mut client = tonic_health::pb::health_client::HealthClient::new(endpoint.connect().await.unwrap());
    super::harness::check(&mut client).await.unwrap();
    let Evidence::Unix(credentials) = broker.evidence().await else { panic!("no credentials") };
    assert_eq!(credentials.uid(), rustix::process::geteuid().as_raw());
    drop(client);
    broker.stop().await;
    until("the socket is gone", || !path.exists()).await;
    assert!(UnixStream::connect(&path).await.is_err());
}

#[tokio::test]
async fn a_stop_ends_after_the_requests_and_closes_the_port() {
    let (authority, tls) = server();
    let broker = Broker::tcp(&tls, Limits::default());
    let address = broker.address;
    let mut client = super::harness::channel(address, client_config(&authority, None)).await.unwrap();
    super::harness::check(&mut client).await.unwrap();
    broker.stop().await;
    assert!(super::harness::check(&mut client).await.is_err());
    let began = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(5), "the port is closed");
    }
}
