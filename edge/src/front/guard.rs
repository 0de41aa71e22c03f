//! What one TCP connection may cost, between the socket and Pingora.
//!
//! Pingora reads a head of up to 1 MB, waits for each read anew, and lets bare line feeds and carriage returns
//! through. [`Guard`] is the stream that Pingora reads instead: it sees every byte first.
//!
//! Promises
//! - An HTTP/1 head is complete in time, within its length, with proper line ends, or reading fails and
//!   [`Watch::fault`] says why.
//! - A connection without a request ends after the idle limit; one that takes no bytes after the stall limit.
//! - A response head and the first of its body leave in one write, and so do the frames of HTTP/2 that are ready
//!   at a time, as far as the stream can stage them.
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
use tokio::net::TcpStream;
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

/// A stream that can take bytes now and send them later.
pub trait Stage: AsyncRead + AsyncWrite {
    /// Takes bytes that leave with the next write or flush. 0 when no more fit, or nothing ever does.
    fn stage(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl Stage for TcpStream {
    fn stage(&mut self, _bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(0)
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
    /// Whether bytes were taken since the last flush that sent everything.
    unsent: bool,
    /// Whether a flush is due at the next read: HTTP/2 only, and only while bytes are unsent. A flush put off for
    /// nothing would have the connection come again for ever.
    put_off: bool,
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

/// How long a refused client may go on sending.
const LINGER: Duration = Duration::from_secs(1);
/// The connection preface of HTTP/2 (RFC 9113 §3.4).
const H2_PREFACE_BYTES: usize = 24;

impl<S: Stage + Unpin> Guard<S> {
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
            unsent: false,
            put_off: false,
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

    /// Takes as many bytes as fit without sending them.
    fn stage(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        let taken = self.io.stage(bufs)?;
        if taken > 0 {
            self.unsent = true;
            self.write_timer.stop();
        }
        Ok((taken > 0).then_some(taken))
    }

    /// Sends what was put off.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.or_stalled(cx, result))?;
        self.unsent = false;
        self.put_off = false;
        Poll::Ready(Ok(()))
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

impl<S: Stage + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.put_off
            && let Poll::Ready(Err(error)) = this.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
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

impl<S: Stage + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(taken) = this.stage(&[IoSlice::new(buf)])? {
            return Poll::Ready(Ok(taken));
        }
        // Some of it may stay behind in the stream.
        this.unsent = true;
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.or_stalled(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(taken) = this.stage(bufs)? {
            return Poll::Ready(Ok(taken));
        }
        this.unsent = true;
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.or_stalled(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.speaks {
            Speaks::H1 => this.poll_send(cx),
            Speaks::H2 if !this.unsent => Poll::Ready(Ok(())),
            // Its library flushes after every frame of 16 KiB. It is asked to come again instead, once the streams
            // have had their turn, and begins each turn by reading: that is when all of it is sent at once.
            Speaks::H2 => {
                if !std::mem::replace(&mut this.put_off, true) {
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let result = Pin::new(&mut this.io).poll_shutdown(cx);
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
impl<S: Stage + Unpin + Send> Shutdown for Guard<S> {
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
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};
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

    impl Stage for DuplexStream {
        fn stage(&mut self, _bufs: &[IoSlice<'_>]) -> io::Result<usize> {
            Ok(0)
        }
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

    /// A stream that stages up to 100 bytes, and counts how often it sends.
    struct Staging {
        inner: DuplexStream,
        staged: Vec<u8>,
        sent: usize,
    }

    impl Stage for Staging {
        fn stage(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
            let before = self.staged.len();
            for buf in bufs {
                self.staged.extend_from_slice(&buf[..buf.len().min(100 - self.staged.len())]);
            }
            Ok(self.staged.len() - before)
        }
    }

    impl AsyncRead for Staging {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Staging {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            ready!(self.as_mut().poll_flush(cx))?;
            Poll::Ready(Ok(self.stage(&[IoSlice::new(buf)])?))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let this = &mut *self;
            while !this.staged.is_empty() {
                let n = ready!(Pin::new(&mut this.inner).poll_write(cx, &this.staged))?;
                this.staged.drain(..n);
                this.sent += 1;
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    fn staging(speaks: Speaks) -> (DuplexStream, Guard<Staging>) {
        let (client, inner) = duplex(1024);
        let gauge = IntGauge::new("open", "open").unwrap();
        let io = Staging { inner, staged: Vec::new(), sent: 0 };
        (client, Guard::new(io, speaks, TERMS, Arc::default(), None, gauge))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_and_its_body_leave_in_one_write() {
        let (mut client, mut guard) = staging(Speaks::H1);
        guard.write_all(b"head").await.unwrap();
        guard.write_all(&[7; 90]).await.unwrap();
        assert_eq!(guard.io.sent, 0);
        guard.flush().await.unwrap();
        assert_eq!(guard.io.sent, 1);
        guard.write_all(&[8; 250]).await.unwrap();
        assert_eq!(guard.io.sent, 3, "what does not fit leaves");
        guard.flush().await.unwrap();
        let mut got = vec![0; 344];
        client.read_exact(&mut got).await.unwrap();
        assert!(got.starts_with(b"head\x07") && got.ends_with(&[8; 250]));
    }

    /// Counts how often a task is asked to come again.
    #[derive(Default)]
    struct Asked(AtomicUsize);

    impl Wake for Asked {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn http2_is_asked_to_come_again_once_for_what_is_unsent_and_never_for_nothing() {
        let (_client, mut guard) = staging(Speaks::H2);
        let asked = Arc::new(Asked::default());
        let waker = Waker::from(Arc::clone(&asked));
        let mut cx = Context::from_waker(&waker);
        let mut turn = |frame: &[u8]| {
            let mut space = [0; 10];
            assert!(Pin::new(&mut guard).poll_read(&mut cx, &mut ReadBuf::new(&mut space)).is_pending());
            assert!(frame.is_empty() || Pin::new(&mut guard).poll_write(&mut cx, frame).is_ready());
            assert!(Pin::new(&mut guard).poll_flush(&mut cx).is_ready());
            (asked.0.load(Ordering::Relaxed), guard.io.sent)
        };
        assert_eq!(turn(b""), (0, 0));
        assert_eq!(turn(b"frame"), (1, 0));
        assert_eq!(turn(b""), (1, 1));
        assert_eq!(turn(b""), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_leave_together_at_the_next_turn() {
        let (mut client, mut guard) = staging(Speaks::H2);
        for frame in [b"one", b"two", b"six"] {
            guard.write_all(frame).await.unwrap();
            guard.flush().await.unwrap();
        }
        assert_eq!(guard.io.sent, 0);
        // A turn begins by reading; there is nothing to read.
        let turn = tokio::time::timeout(Duration::from_secs(1), guard.read(&mut [0; 8])).await;
        assert!(turn.is_err() && guard.io.sent == 1);
        let mut got = [0; 9];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"onetwosix");

        guard.write_all(b"bye").await.unwrap();
        AsyncWriteExt::shutdown(&mut guard).await.unwrap();
        client.read_exact(&mut got[..3]).await.unwrap();
        assert_eq!(&got[..3], b"bye");
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
