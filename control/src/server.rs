//! Sockets: accepts connections, speaks TLS and HTTP/1.1 or HTTP/2 on them, and stops gracefully.
//!
//! Promises
//! - Connections are bounded in number, all together and per address; handshakes, headers and idle time in
//!   length.
//! - After a stop no connection is accepted; requests in flight are finished, or cut when the time is over.
//!
//! Does not know: what is served, where the files of the certificate are.

use crate::app::Peer;
use crate::config::LimitConfig;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::Service;

/// One listening socket and what is served there.
pub struct Door {
    /// Bound.
    pub listener: TcpListener,
    /// `None` is plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// What is served.
    pub router: Router,
    /// Shared by the doors that share limits.
    pub places: Arc<Places>,
    /// Limits on time and headers.
    pub terms: Terms,
}

/// Limits on time and headers.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    handshake: Duration,
    header: Duration,
    header_bytes: usize,
    stop: Duration,
}

/// How many connections there are, and may be.
pub struct Places {
    all: Arc<Semaphore>,
    /// Invariant: a network is in here exactly while it has connections; `enter` counts up, `Drop for Place`
    /// counts down and nothing else does.
    by_network: Mutex<HashMap<IpAddr, u32>>,
    per_network_max: u32,
    metrics: Arc<Metrics>,
}

/// The right to one connection.
struct Place {
    places: Arc<Places>,
    network: IpAddr,
    _permit: OwnedSemaphorePermit,
}

/// Requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// An HTTP/2 client that says nothing for this long is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Rest after the system refused a connection (out of descriptors, mostly).
const ACCEPT_REST: Duration = Duration::from_millis(100);

impl Terms {
    /// The limits of a configuration.
    pub fn new(limits: &LimitConfig, handshake_ms: u32, stop_secs: u32) -> Self {
        Self {
            handshake: Duration::from_millis(handshake_ms.into()),
            header: Duration::from_millis(limits.header_ms.into()),
            header_bytes: limits.header_bytes.as_usize(),
            stop: Duration::from_secs(stop_secs.into()),
        }
    }
}

impl Places {
    /// Room for `max` connections, `per_network_max` of them from one network.
    pub fn new(max: u32, per_network_max: u32, metrics: Arc<Metrics>) -> Arc<Self> {
        let all = Semaphore::new(usize::try_from(max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS));
        Arc::new(Self { all: Arc::new(all), by_network: Mutex::default(), per_network_max, metrics })
    }

    /// Waits for room; `None` if this network has had its share.
    async fn enter(self: &Arc<Self>, peer: Peer) -> Option<Place> {
        let permit = Arc::clone(&self.all).acquire_owned().await.ok()?;
        let network = peer.network();
        let mut by_network = self.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_network.entry(network).or_insert(0);
        if *count >= self.per_network_max {
            return None;
        }
        *count += 1;
        self.metrics.connection_opened();
        Some(Place { places: Arc::clone(self), network, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_network = self.places.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        let left = by_network.get_mut(&self.network).map(|count| {
            *count -= 1;
            *count
        });
        debug_assert!(left.is_some(), "a connection found its network gone");
        if left == Some(0) {
            by_network.remove(&self.network);
        }
        self.places.metrics.connection_closed();
    }
}

/// Accepts and serves until `stop` changes, then finishes what is in flight. Connections run on `runtime`.
pub async fn serve(door: Door, runtime: Handle, mut stop: watch::Receiver<bool>) {
    // Never sent on: `all_gone` hears when the last connection has dropped its end.
    let (here, mut all_gone) = mpsc::channel::<()>(1);
    // Dropped at the end of this function: whoever still runs then is cut.
    let (_cut, cut) = watch::channel(());
    loop {
        let entered = tokio::select! {
            entered = next(&door) => entered,
            _ = stop.changed() => break,
        };
        let Some((tcp, peer, place)) = entered else { continue };
        let (tls, router, terms) = (door.tls.clone(), door.router.clone(), door.terms);
        let visit = Visit { tls, router, terms, peer, place, stop: stop.clone(), here: here.clone() };
        runtime.spawn(visit.serve(tcp, cut.clone()));
    }
    let stop_within = door.terms.stop;
    drop((door, here));
    if timeout(stop_within, all_gone.recv()).await.is_err() {
        tracing::warn!(secs = stop_within.as_secs(), "connections were cut: requests did not end in time");
    }
}

/// The next connection that may stay.
async fn next(door: &Door) -> Option<(TcpStream, Peer, Place)> {
    match door.listener.accept().await {
        Ok((tcp, address)) => {
            let peer = Peer(address.ip().to_canonical());
            let place = door.places.enter(peer).await?;
            // Answers are small; waiting to fill a segment only adds time.
            let _ = tcp.set_nodelay(true);
            Some((tcp, peer, place))
        }
        Err(error) => {
            tracing::warn!(%error, "accept a connection");
            sleep(ACCEPT_REST).await;
            None
        }
    }
}

/// One connection, from handshake to end.
struct Visit {
    tls: Option<TlsAcceptor>,
    router: Router,
    terms: Terms,
    peer: Peer,
    place: Place,
    stop: watch::Receiver<bool>,
    here: mpsc::Sender<()>,
}

/// What is going on on a connection.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    running: AtomicU32,
}

/// One request that is being answered.
struct Busy(Arc<Activity>);

impl Visit {
    async fn serve(self, tcp: TcpStream, mut cut: watch::Receiver<()>) {
        tokio::select! {
            () = self.greet(tcp) => {}
            _ = cut.changed() => {}
        }
    }

    async fn greet(self, tcp: TcpStream) {
        let Some(tls) = &self.tls else {
            return self.speak(tcp, false).await;
        };
        match timeout(self.terms.handshake, tls.accept(tcp)).await {
            Ok(Ok(stream)) => {
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, h2).await;
            }
            Ok(Err(_)) | Err(_) => self.place.places.metrics.handshake_failed(),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, h2: bool) {
        let Self { router, terms, peer, mut stop, place: _place, here: _here, .. } = self;
        let activity = Arc::new(Activity::default());
        let seen = Arc::clone(&activity);
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let busy = Busy::begin(&seen);
            request.extensions_mut().insert(peer);
            let answer = router.clone().call(request);
            async move {
                let _busy = busy;
                answer.await
            }
        });
        let builder = builder(&terms, h2);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            // Broken connections are the network's business, and are over either way.
            _ = connection.as_mut() => return,
            () = silence(terms.header, &activity) => {}
            _ = stop.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = silence(terms.header, &activity) => {}
        }
    }
}

impl Busy {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends when nothing was asked for `limit` and nothing is being answered: neither protocol bounds the time
/// until its first bytes, between requests, or while a client does not read.
async fn silence(limit: Duration, activity: &Activity) {
    let mut before = activity.begun.load(Ordering::Relaxed);
    loop {
        sleep(limit).await;
        let begun = activity.begun.load(Ordering::Relaxed);
        if begun == before && activity.running.load(Ordering::Relaxed) == 0 {
            return;
        }
        before = begun;
    }
}

fn builder(terms: &Terms, h2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(terms.header)
        .max_buf_size(terms.header_bytes)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(terms.header)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(terms.header_bytes).unwrap_or(u32::MAX));
    if h2 { builder.http2_only() } else { builder.http1_only() }
}
