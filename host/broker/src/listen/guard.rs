//! A connection's bytes under deadlines: for the HTTP/2 preface, and for whoever does not read what it asked for.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes of the client's connection preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// Ends a connection that does not begin, or that stands still while the broker has bytes for it.
pub(crate) struct Guard<S> {
    inner: S,
    /// Bytes of the preface still to come, and until when.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    stall: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guard<S> {
    /// The preface must be there by `preface`; no write may wait longer than `stall`.
    pub(crate) fn new(inner: S, preface: Instant, stall: Duration) -> Self {
        Self { inner, preface: Some((PREFACE_BYTES, Box::pin(sleep_until(preface)))), stall, stalled: None }
    }

    fn progress<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let stall = self.stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(late("the other side reads nothing")))
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let poll = Pin::new(&mut this.inner).poll_read(context, buffer);
        let Some((left, deadline)) = &mut this.preface else { return poll };
        let read = buffer.filled().len() - before;
        *left = left.saturating_sub(read);
        if *left == 0 {
            this.preface = None;
        } else if deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(late("no HTTP/2 preface in time")));
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.progress(context, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(context);
        self.progress(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(context);
        self.progress(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.progress(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_preface_in_drops_does_not_move_the_deadline() {
        let (mut client, server) = duplex(1024);
        let mut server = Guard::new(server, Instant::now() + DEADLINE, DEADLINE);
        let began = Instant::now();
        let drip = async {
            for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r" {
                client.write_all(&[*byte]).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let read = async {
            let mut bytes = [0; 24];
            tokio::time::timeout(10 * DEADLINE, server.read_exact(&mut bytes)).await.unwrap().unwrap_err()
        };
        let (error, ()) = tokio::join!(read, drip);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_preface_a_silent_client_is_left_to_the_pings() {
        let (mut client, server) = duplex(1024);
        let mut server = Guard::new(server, Instant::now() + DEADLINE, DEADLINE);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        server.read_exact(&mut [0; 24]).await.unwrap();
        let late = tokio::time::timeout(5 * DEADLINE, server.read_u8()).await;
        assert!(late.is_err(), "it waits");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_left_and_who_reads_slowly_is_not() {
        let (mut client, server) = duplex(16);
        let mut server = Guard::new(server, Instant::now() + DEADLINE, DEADLINE);
        let slow = async {
            for _ in 0..20 {
                tokio::time::sleep(DEADLINE - Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(server.write_all(&[0; 20 * 16]), slow);
        written.unwrap();
        let stuck = tokio::time::timeout(10 * DEADLINE, server.write_all(&[0; 64])).await;
        let error = stuck.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
