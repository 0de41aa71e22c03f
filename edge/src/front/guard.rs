//! What one TCP connection may cost, between the socket and Pingora.
//!
//! Pingora reads a head of up to 1 MB, waits for each read anew, and lets bare line feeds and carriage returns
//! through. [`Guard`] is the stream that Pingora reads instead: it sees every byte first.
//!
//! Promises
//! - An HTTP/1 head is complete in time, within its length, with proper line ends, or reading fails and
//!   [`Watch::fault`] says why.
//! - A connection without a request ends after the idle limit; one that takes no bytes after the stall limit.
//! - A response head and the first of its body leave in one write.
//!
//! Does not know: HTTP beyond line ends; what is answered.

use crate::front::head::{Fault, Head, Progress};
use crate::limits::Seat;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use prometheus::IntGauge;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Time for a head, from its first byte; for the first one, from the start of the connection.
    pub head: Duration,
    /// Longest head, bytes.
    pub head_bytes: usize,
    /// Time without a request.
    pub idle: Duration,
    /// Time in which a waiting write must get on.
    pub write_stall: Duration,
    /// Bytes read and thrown away after a refusal, so that the client gets to read it.
    pub linger_bytes: usize,
}

/// The protocol on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1: heads are watched.
    H1,
    /// HTTP/2: the preface has to come in time; the rest is framed and bounded by its library.
    H2,
}

/// What guard and front tell each other about one connection.
#[derive(Debug, Default)]
pub struct Watch {
    /// Set by the front: the next bytes are a head.
    head_next: AtomicBool,
    /// Set by the guard: part of a head is here.
    begun: AtomicBool,
    /// Set by the front: the client may still be sending when we close.
    linger: AtomicBool,
    fault: Mutex<Option<Fault>>,
}

impl Watch {
    /// The front is about to read a request.
    pub fn expect_head(&self) {
        self.begun.store(false, Ordering::Relaxed);
        self.head_next.store(true, Ordering::Release);
    }

    /// Whether part of the request that the front waits for is here.
    pub fn head_has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Why reading failed, if the guard made it fail.
    pub fn fault(&self) -> Option<Fault> {
        *self.fault.lock()
    }

    /// Reads on for a moment when the stream is shut down: closing with bytes unread makes the kernel send a
    /// reset, and the client then never sees the answer.
    pub fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }
}

/// A connection, watched.
pub struct Guard<S> {
    io: S,
    speaks: Speaks,
    terms: Terms,
    watch: Arc<Watch>,
    reading: Reading,
    /// Runs while `reading` has a deadline and nothing to read.
    read_timer: Timer,
    /// Runs while a write waits.
    write_timer: Timer,
    /// Small writes wait here for the next write or flush. At most [`HOLD_BYTES_MAX`].
    held: Vec<u8>,
    lingered: usize,
    /// Counted as open until dropped.
    gauge: IntGauge,
    _seat: Option<Seat>,
}

/// What the next bytes are.
#[derive(Debug)]
enum Reading {
    /// Part of a head, due at the deadline.
    Head(Head, Instant),
    /// A body, or frames of HTTP/2.
    Open,
}

/// Largest write that is held back to leave together with the next one: a response head.
const HOLD_BYTES_MAX: usize = 2048;
/// How long a refused client may go on sending.
const LINGER: Duration = Duration::from_secs(1);
/// The connection preface of HTTP/2 (RFC 9113 §3.4).
const H2_PREFACE_BYTES: usize = 24;

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Watches `io`. `seat` is given back, and `gauge` counts down, when the connection ends.
    pub fn new(
        io: S,
        speaks: Speaks,
        terms: Terms,
        watch: Arc<Watch>,
        seat: Option<Seat>,
        gauge: IntGauge,
    ) -> Self {
        gauge.inc();
        Self {
            io,
            speaks,
            reading: Reading::Head(Head::default(), Instant::now() + terms.head),
            terms,
            watch,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            held: Vec::new(),
            lingered: 0,
            gauge,
            _seat: seat,
        }
    }

    /// Looks at the bytes just read.
    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Reading::Head(head, deadline) = &mut self.reading else { return Ok(()) };
        if bytes.is_empty() {
            return Ok(());
        }
        if !head.has_begun() {
            *deadline = Instant::now() + self.terms.head;
            self.watch.begun.store(true, Ordering::Relaxed);
            self.read_timer.stop();
        }
        let progress = match self.speaks {
            Speaks::H1 => head.feed(bytes, self.terms.head_bytes),
            Speaks::H2 => head.count(bytes, H2_PREFACE_BYTES),
        };
        match progress {
            Progress::Partial => Ok(()),
            Progress::Complete(_) => {
                self.reading = Reading::Open;
                self.read_timer.stop();
                Ok(())
            }
            Progress::Wrong(fault) => self.fail(fault),
        }
    }

    fn fail(&mut self, fault: Fault) -> io::Result<()> {
        *self.watch.fault.lock() = Some(fault);
        Err(io::Error::new(io::ErrorKind::InvalidData, "the head of the request is refused"))
    }

    /// The front has begun to wait for another request.
    fn renew(&mut self) {
        if self.watch.head_next.swap(false, Ordering::Acquire) && matches!(self.reading, Reading::Open) {
            self.reading = Reading::Head(Head::default(), Instant::now() + self.terms.idle);
        }
    }

    /// Writes what is held back.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.write_timer.stop();
            self.held.drain(..n);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is held back together with `buf`; ready once some of `buf` is written.
    fn poll_write_together(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let both = [IoSlice::new(&self.held), IoSlice::new(buf)];
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &both))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.write_timer.stop();
            let from_held = n.min(self.held.len());
            self.held.drain(..from_held);
            if n > from_held {
                return Poll::Ready(Ok(n - from_held));
            }
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    /// Fails a write that has waited for too long without getting on.
    fn or_stalled<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_timer.stop();
            return result;
        }
        let limit = self.terms.write_stall;
        ready!(self.write_timer.poll(cx, || Instant::now() + limit));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }

    /// Reads and forgets, for a limited time and length.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 4096];
        while self.lingered < self.terms.linger_bytes {
            if self.read_timer.poll(cx, || Instant::now() + LINGER).is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.lingered += buf.filled().len(),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.renew();
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(this.look(&buf.filled()[before..])),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let Reading::Head(_, deadline) = this.reading else { return Poll::Pending };
                ready!(this.read_timer.poll(cx, || deadline));
                Poll::Ready(this.fail(Fault::TooSlow))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.held.len() + buf.len() <= HOLD_BYTES_MAX {
            this.held.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let result = this.poll_write_together(cx, buf);
        this.or_stalled(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match this.poll_release(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.io).poll_write_vectored(cx, bufs),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        this.or_stalled(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = match this.poll_release(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.io).poll_flush(cx),
            other => other,
        };
        this.or_stalled(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = match this.poll_release(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.io).poll_shutdown(cx),
            other => other,
        };
        ready!(this.or_stalled(cx, result))?;
        if this.watch.linger.load(Ordering::Relaxed) {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Drop for Guard<S> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl<S> std::fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("speaks", &self.speaks)
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

/// A deadline that costs nothing while it is not needed.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Timer {
    /// Starts with the deadline of `until` if it is not running. Ready when the deadline has passed.
    fn poll(&mut self, cx: &mut Context<'_>, until: impl FnOnce() -> Instant) -> Poll<()> {
        let running = std::mem::replace(&mut self.running, true);
        match &mut self.sleep {
            Some(sleep) if running => sleep.as_mut().poll(cx),
            Some(sleep) => {
                sleep.as_mut().reset(until());
                sleep.as_mut().poll(cx)
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(until()))).as_mut().poll(cx),
        }
    }

    fn stop(&mut self) {
        self.running = false;
    }
}

// What Pingora wants to know about a stream.

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Shutdown for Guard<S> {
    async fn shutdown(&mut self) {
        // The stream is on its way out; that it went already is no news.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S> UniqueID for Guard<S> {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl<S> Ssl for Guard<S> {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        (self.speaks == Speaks::H2).then_some(ALPN::H2)
    }
}

impl<S> GetTimingDigest for Guard<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for Guard<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl<S> GetSocketDigest for Guard<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl<S> Peek for Guard<S> {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    const TERMS: Terms = Terms {
        head: Duration::from_secs(10),
        head_bytes: 100,
        idle: Duration::from_secs(60),
        write_stall: Duration::from_secs(30),
        linger_bytes: 1000,
    };
    const HEAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    fn guarded(speaks: Speaks, pipe: usize) -> (DuplexStream, Guard<DuplexStream>, Arc<Watch>) {
        let (client, server) = duplex(pipe);
        let watch = Arc::new(Watch::default());
        let gauge = IntGauge::new("open", "open").unwrap();
        (client, Guard::new(server, speaks, TERMS, Arc::clone(&watch), None, gauge), watch)
    }

    async fn seconds<T>(work: impl Future<Output = T>) -> (u64, T) {
        let start = Instant::now();
        let result = work.await;
        (start.elapsed().as_secs(), result)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte_on() {
        let (mut client, mut guard, watch) = guarded(Speaks::H1, 1024);
        let mut buf = [0; 64];
        client.write_all(b"GET /").await.unwrap();
        assert_eq!(guard.read(&mut buf).await.unwrap(), 5);
        assert!(watch.head_has_begun());
        let (waited, result) = seconds(guard.read(&mut buf)).await;
        assert!((10..=11).contains(&waited) && result.is_err(), "{waited}");
        assert_eq!(watch.fault(), Some(Fault::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_the_idle_limit_holds_and_bodies_have_no_limit_here() {
        let (mut client, mut guard, watch) = guarded(Speaks::H1, 1024);
        let mut buf = [0; 64];
        client.write_all(HEAD).await.unwrap();
        assert_eq!(guard.read(&mut buf).await.unwrap(), HEAD.len());
        let body = async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            client.write_all(b"\n\n\n").await.unwrap();
        };
        let (read, ()) = tokio::join!(guard.read(&mut buf), body);
        assert_eq!(read.unwrap(), 3);
        watch.expect_head();
        let (waited, result) = seconds(guard.read(&mut buf)).await;
        assert!((60..=61).contains(&waited) && result.is_err(), "{waited}");
        assert!(!watch.head_has_begun());
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_preface_has_its_time_too() {
        let (mut client, mut guard, watch) = guarded(Speaks::H2, 1024);
        let mut buf = [0; 64];
        client.write_all(b"PRI * HTTP").await.unwrap();
        assert_eq!(guard.read(&mut buf).await.unwrap(), 10);
        let (waited, result) = seconds(guard.read(&mut buf)).await;
        assert!((10..=11).contains(&waited) && result.is_err(), "{waited}");
        assert_eq!(watch.fault(), Some(Fault::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_bytes_is_left_after_the_stall_limit() {
        let (_client, mut guard, _watch) = guarded(Speaks::H1, 64);
        let (waited, result) = seconds(guard.write_all(&[7; 10_000])).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!((30..=31).contains(&waited), "{waited}");

        let (mut slow, mut guard, _watch) = guarded(Speaks::H1, 64);
        let reading = async {
            let mut buf = [0; 64];
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                slow.read_exact(&mut buf).await.unwrap();
            }
        };
        let writing = async {
            guard.write_all(&[7; 3200]).await?;
            guard.flush().await
        };
        let (result, ()) = tokio::join!(writing, reading);
        assert!(result.is_ok(), "slow is not stalled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_write_leaves_with_the_next_one_or_with_a_flush() {
        let (mut client, mut guard, _watch) = guarded(Speaks::H1, 64 * 1024);
        let mut buf = vec![0; 64 * 1024];
        guard.write_all(b"head").await.unwrap();
        let early = tokio::time::timeout(Duration::from_secs(1), client.read(&mut buf)).await;
        assert!(early.is_err(), "held back");
        guard.write_all(&[7; 5000]).await.unwrap();
        guard.write_all(b"tail").await.unwrap();
        guard.flush().await.unwrap();
        client.read_exact(&mut buf[..5008]).await.unwrap();
        assert!(buf.starts_with(b"head\x07") && buf[..5008].ends_with(b"\x07tail"));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_the_client_may_go_on_for_a_moment() {
        let (client, mut guard, watch) = guarded(Speaks::H1, 64);
        watch.linger();
        let (waited, ()) = seconds(Shutdown::shutdown(&mut guard)).await;
        assert!((1..=2).contains(&waited), "{waited}");
        drop(client);

        let (mut client, mut guard, watch) = guarded(Speaks::H1, 64);
        watch.linger();
        let sending = async { client.write_all(&[7; 100_000]).await };
        let (waited, _) = tokio::select! {
            done = seconds(Shutdown::shutdown(&mut guard)) => done,
            _ = sending => unreachable!("more than anybody reads"),
        };
        assert_eq!(waited, 0, "bytes have a limit too");
    }
}
