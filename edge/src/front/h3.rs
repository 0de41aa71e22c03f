//! HTTP/3: quinn's connections, `h3`'s framing, one task per request.
//!
//! accept -> handshake -> requests -> [`Edge::serve`].
//!
//! Promises
//! - While many handshakes are in progress, clients prove their address before they cost one; past the limit
//!   they are refused.
//! - A connection without a request is closed after the idle limit, however often it pings.
//! - At a stop, clients are told which requests still count (GOAWAY), those are answered whole, then the
//!   connection is closed.
//!
//! Does not know: tokens, objects, the cache.

use crate::config::{Http3Config, LimitsConfig, millis, secs};
use crate::front::quic::{BidiStream, Payload, QuicConnection, StreamLimits};
use crate::limits::Seat;
use crate::reply::Reply;
use crate::request::{Proto, Req};
use crate::serve::Edge;
use crate::tls;
use crate::verdict::Refusal;
use bytes::Buf;
use h3::error::Code;
use h3::server::{RequestResolver, RequestStream};
use http::header::DATE;
use http::{Request, Response};
use prometheus::IntGauge;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::{
    Connecting, Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TransportConfig, VarInt,
};
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything the connections of one UDP socket share.
pub struct H3Front {
    edge: Arc<Edge>,
    server: ServerConfig,
    limits: LimitsConfig,
    /// One permit per handshake in progress.
    handshakes: Arc<Semaphore>,
    handshakes_max: usize,
}

/// Why HTTP/3 cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum H3Error {
    /// The TLS terms have no suite that QUIC can begin with.
    #[error("use the TLS terms for QUIC")]
    Suite(#[from] NoInitialCipherSuite),
    /// The idle limit is longer than QUIC can tell a client.
    #[error("limits.idle_secs is longer than QUIC can say")]
    Idle,
}

/// Streams of a client that carry no requests: control, QPACK, and a few of kinds unknown to us.
const UNI_STREAMS_MAX: u32 = 8;
/// Unread bytes that a client may have under way on one stream, and on all.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of a request stream besides header and body: the headers of a few frames, trailers, grease.
const REQUEST_FRAMING_BYTES: u64 = 4 * 1024;
/// Control frames of one connection, all its life: some 50,000 of a browser's priority updates.
const CONTROL_BYTES_MAX: u64 = 1024 * 1024;
/// Once this share of the handshakes is in progress, clients must prove their address first.
const PROOF_SHARE: usize = 2;
/// How long the farewell of cut connections may take to leave the socket.
const FAREWELL: Duration = Duration::from_millis(500);

/// A request's stream.
type Stream = RequestStream<BidiStream, Payload>;

impl H3Front {
    /// A front that asks `edge`.
    pub fn new(
        edge: Arc<Edge>,
        tls: &tls::Terms,
        limits: LimitsConfig,
        http3: &Http3Config,
    ) -> Result<Arc<Self>, H3Error> {
        let crypto = QuicServerConfig::try_from(Arc::clone(&tls.quic))?;
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        let handshakes_max = http3.handshakes_max as usize;
        server.max_incoming(handshakes_max).transport_config(Arc::new(transport(&limits, http3)?));
        let handshakes = Arc::new(Semaphore::new(handshakes_max));
        Ok(Arc::new(Self { edge, server, limits, handshakes, handshakes_max }))
    }

    /// Takes over a bound socket. Datagrams are read from now on; [`H3Front::run`] answers them.
    pub fn open(&self, socket: UdpSocket) -> io::Result<Endpoint> {
        let runtime = Arc::new(quinn::TokioRuntime);
        Endpoint::new(EndpointConfig::default(), Some(self.server.clone()), socket, runtime)
    }

    /// Accepts connections until `shutdown` turns true, then waits for them to end. Connections run on `tasks`;
    /// `kill` ends them all.
    pub async fn run(
        self: Arc<Self>,
        endpoint: Endpoint,
        tasks: TaskTracker,
        mut shutdown: watch::Receiver<bool>,
        kill: CancellationToken,
    ) {
        loop {
            let incoming = tokio::select! {
                incoming = endpoint.accept() => incoming,
                () = stopped(&mut shutdown) => break,
            };
            let Some(incoming) = incoming else { break };
            self.admit(incoming, &tasks, &shutdown, &kill);
        }
        tokio::select! {
            () = endpoint.wait_idle() => {}
            () = refuse_all(&endpoint) => {}
            () = kill.cancelled() => {
                endpoint.close(var_int(Code::H3_NO_ERROR), b"");
                // Whoever did not hear it by then finds out by silence.
                let _ = timeout(FAREWELL, endpoint.wait_idle()).await;
            }
        }
    }

    /// Gives a client its task, or has it prove its address, or refuses it.
    fn admit(
        self: &Arc<Self>,
        incoming: Incoming,
        tasks: &TaskTracker,
        shutdown: &watch::Receiver<bool>,
        kill: &CancellationToken,
    ) {
        let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            self.turn_away("handshakes");
            return incoming.refuse();
        };
        let crowded = self.handshakes.available_permits() < self.handshakes_max / PROOF_SHARE;
        if crowded && incoming.may_retry() {
            // An error hands back an `Incoming` that may not retry, which was just ruled out.
            let _ = incoming.retry();
            return;
        }
        // An address that is not proven yet could be anybody's: its seat is taken after the handshake.
        let seat =
            match incoming.remote_address_validated().then(|| self.seat(incoming.remote_address().ip())) {
                Some(None) => return incoming.refuse(),
                Some(seat) => seat,
                None => None,
            };
        let Ok(connecting) = incoming.accept() else {
            return self.edge.metrics().handshakes_failed.with_label_values(&["quic"]).inc();
        };
        let (front, shutdown, kill) = (Arc::clone(self), shutdown.clone(), kill.clone());
        tasks.spawn(async move {
            let connection = front.connection(connecting, seat, permit, shutdown);
            tokio::select! {
                () = connection => {}
                () = kill.cancelled() => {}
            }
        });
    }

    /// One connection, from handshake to end.
    async fn connection(
        self: Arc<Self>,
        connecting: Connecting,
        seat: Option<Seat>,
        permit: OwnedSemaphorePermit,
        shutdown: watch::Receiver<bool>,
    ) {
        let limit = millis(self.limits.handshake_ms);
        let Some(seat) = seat else {
            let Ok(Ok(connection)) = timeout(limit, connecting).await else {
                return self.edge.metrics().handshakes_failed.with_label_values(&["quic"]).inc();
            };
            drop(permit);
            match self.seat(connection.remote_address().ip()) {
                Some(seat) => self.serve(connection, seat, shutdown).await,
                None => connection.close(var_int(Code::H3_EXCESSIVE_LOAD), b""),
            }
            return;
        };
        // A returning client at a proven address: what it asks with its first flight is answered with ours
        // (RFC 8470: everything here is safe to repeat).
        let (connection, complete) = match connecting.into_0rtt() {
            Ok(both) => both,
            Err(connecting) => {
                if let Ok(Ok(connection)) = timeout(limit, connecting).await {
                    self.serve(connection, seat, shutdown).await;
                }
                return;
            }
        };
        let handshake = async {
            if timeout(limit, complete).await.is_err() {
                connection.close(var_int(Code::H3_NO_ERROR), b"");
                self.edge.metrics().handshakes_failed.with_label_values(&["quic"]).inc();
            }
            drop(permit);
        };
        tokio::join!(handshake, self.serve(connection.clone(), seat, shutdown));
    }

    /// Answers the requests of a connection.
    async fn serve(
        self: &Arc<Self>,
        connection: quinn::Connection,
        _seat: Seat,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let _open = Counted::new(self.edge.metrics().connections.with_label_values(&["quic"]));
        let peer = connection.remote_address().ip();
        let mut builder = h3::server::builder();
        builder.max_field_section_size(u64::from(self.limits.header_bytes_max)).send_grease(false);
        let connection = QuicConnection::new(connection, self.stream_limits());
        let Ok(mut connection) = builder.build(connection).await else { return };
        let mut requests = JoinSet::new();
        let mut stopping = false;
        loop {
            let idle = requests.is_empty();
            if idle && stopping {
                break;
            }
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Ok(Some(resolver)) => {
                        requests.spawn(Arc::clone(self).request(resolver, peer));
                    }
                    // The client has said goodbye, or is gone.
                    Ok(None) | Err(_) => break,
                },
                Some(_) = requests.join_next(), if !idle => {}
                () = stopped(&mut shutdown), if !stopping => {
                    stopping = true;
                    // GOAWAY names the first request that does not count any more: the one after the last seen.
                    if connection.shutdown(1).await.is_err() {
                        break;
                    }
                }
                () = tokio::time::sleep(secs(self.limits.idle_secs)), if idle => break,
            }
        }
        // Dropping the connection closes it with H3_NO_ERROR.
    }

    /// One request, from its header to the last acknowledged byte.
    async fn request(self: Arc<Self>, resolver: RequestResolver<QuicConnection, Payload>, peer: IpAddr) {
        let resolved = timeout(millis(self.limits.header_ms), resolver.resolve_request()).await;
        // `h3` has answered or reset what is no request; one that never comes whole is dropped.
        let Ok(Ok((request, mut stream))) = resolved else { return };
        let reply = match self.drain(&mut stream).await {
            Ok(()) => self.ask(&request, peer).await,
            Err(refusal) => self.edge.refuse(Proto::H3, &refusal),
        };
        if let Err(code) = self.write(&mut stream, reply).await {
            stream.stop_stream(code);
        }
    }

    async fn ask(&self, request: &Request<()>, peer: IpAddr) -> Reply {
        let uri = request.uri();
        let request = Req {
            method: request.method(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()),
            authority: uri.authority().map(|authority| authority.as_str()),
            headers: request.headers(),
            peer,
            proto: Proto::H3,
        };
        self.edge.serve(request).await
    }

    /// Reads a request's body to its end and forgets it, as on the other protocols.
    async fn drain(&self, stream: &mut Stream) -> Result<(), Refusal> {
        let mut left = self.limits.request_body_bytes_max as usize;
        let reading = async {
            while let Some(bytes) = stream.recv_data().await.map_err(|_| Refusal::NotHttp)? {
                left = left.checked_sub(bytes.remaining()).ok_or(Refusal::BodyTooLarge)?;
            }
            Ok(())
        };
        timeout(millis(self.limits.header_ms), reading).await.unwrap_or(Err(Refusal::HeadTimeout))
    }

    /// Sends a reply. The error is the code to break the stream with.
    async fn write(&self, stream: &mut Stream, mut reply: Reply) -> Result<(), Code> {
        let limit = self.limits.write_chunk();
        let in_time = |outcome: Result<Result<(), h3::error::StreamError>, _>| match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Code::H3_REQUEST_CANCELLED),
        };
        in_time(timeout(limit, stream.send_response(self.head(&mut reply))).await)?;
        while let Some(chunk) = reply.next().await {
            let chunk = chunk.map_err(|_| Code::H3_INTERNAL_ERROR)?;
            in_time(timeout(limit, stream.send_data(Payload(chunk))).await)?;
        }
        drop(reply);
        in_time(timeout(limit, stream.finish()).await)
    }

    fn head(&self, reply: &mut Reply) -> Response<()> {
        let mut head = Response::new(());
        *head.status_mut() = reply.status;
        let headers = head.headers_mut();
        headers.reserve(reply.headers.len() + 1);
        for (name, value) in reply.headers.drain(..) {
            headers.append(name, value);
        }
        headers.insert(DATE, self.edge.date());
        head
    }

    /// A seat for `peer`, or a count of why there is none.
    fn seat(&self, peer: IpAddr) -> Option<Seat> {
        self.edge.connections().admit(peer).inspect_err(|full| self.turn_away(full.reason())).ok()
    }

    fn turn_away(&self, limit: &str) {
        self.edge.metrics().turned_away.with_label_values(&[limit]).inc();
    }

    fn stream_limits(&self) -> StreamLimits {
        let header = u64::from(self.limits.header_bytes_max);
        // The drain counts the body on its own, and answers 413 before the stream is cut off here.
        let body = u64::from(self.limits.request_body_bytes_max) + u64::from(STREAM_WINDOW_BYTES);
        StreamLimits {
            request_bytes: header + body + REQUEST_FRAMING_BYTES,
            control_bytes: CONTROL_BYTES_MAX,
        }
    }
}

/// One in a gauge, until dropped.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn transport(limits: &LimitsConfig, http3: &Http3Config) -> Result<TransportConfig, H3Error> {
    let idle = IdleTimeout::try_from(secs(limits.idle_secs)).map_err(|_| H3Error::Idle)?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_per_connection_max))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(http3.send_window_bytes.0)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0);
    Ok(transport)
}

/// Tells newcomers at once that they must look elsewhere, for as long as the endpoint lives.
async fn refuse_all(endpoint: &Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        incoming.refuse();
    }
}

/// Resolves when the edge is told to stop.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: nobody is left to serve for.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

fn var_int(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}
