//! HTTP/1.1 and HTTP/2 over TLS over TCP: a listener of our own, Pingora's sessions.
//!
//! accept -> TLS -> [`Guard`] -> Pingora's `HttpServerApp` -> [`Edge::serve`].
//!
//! Promises
//! - A connection that is over a limit is closed before it costs a handshake.
//! - At a stop, idle connections close at once, answers under way finish within `drain_secs`, the rest is cut.
//!
//! Does not know: tokens, objects, the cache.

use crate::config::{LimitsConfig, millis, secs};
use crate::front::guard::{Guard, Speaks, Terms as GuardTerms, Watch};
use crate::front::head::Fault;
use crate::reply::Reply;
use crate::request::{Proto, Req};
use crate::serve::Edge;
use crate::tls;
use crate::verdict::Refusal;
use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use pingora_core::apps::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp,
};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything the connections of one listener share.
pub struct TcpFront {
    edge: Arc<Edge>,
    tls: tls::Terms,
    limits: LimitsConfig,
    guard: GuardTerms,
    options: HttpServerOptions,
    /// Where HTTP/3 is spoken (RFC 7838), if it is.
    alt_svc: Option<HeaderValue>,
}

const ALT_SVC: HeaderName = HeaderName::from_static("alt-svc");
/// Response bytes that may wait on one HTTP/2 stream for the client's window.
const H2_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// After a failed `accept`, usually for lack of file descriptors, wait for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl TcpFront {
    /// A front that asks `edge`.
    pub fn new(
        edge: Arc<Edge>,
        tls: tls::Terms,
        limits: LimitsConfig,
        alt_svc: Option<HeaderValue>,
    ) -> Arc<Self> {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(secs(limits.idle_secs));
        let guard = GuardTerms {
            head: millis(limits.header_ms),
            head_bytes: limits.header_bytes_max as usize,
            idle: secs(limits.idle_secs),
            write_stall: secs(limits.write_stall_secs),
            linger_bytes: limits.header_bytes_max.max(limits.request_body_bytes_max) as usize * 4,
        };
        Arc::new(Self { edge, tls, limits, guard, options, alt_svc })
    }

    /// Accepts connections until `shutdown` turns true. Connections run on `tasks`; `kill` ends them all.
    pub async fn run(
        self: Arc<Self>,
        listener: TcpListener,
        tasks: TaskTracker,
        mut shutdown: ShutdownWatch,
        kill: CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut shutdown) => return,
            };
            match accepted {
                Ok((tcp, peer)) => self.admit(tcp, peer.ip(), &tasks, &shutdown, &kill),
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Gives a connection its seat and its task, or drops it.
    fn admit(
        self: &Arc<Self>,
        tcp: TcpStream,
        peer: IpAddr,
        tasks: &TaskTracker,
        shutdown: &ShutdownWatch,
        kill: &CancellationToken,
    ) {
        let seat = match self.edge.connections().admit(peer) {
            Ok(seat) => seat,
            Err(full) => {
                self.edge.metrics().turned_away.with_label_values(&[full.reason()]).inc();
                return;
            }
        };
        let (front, shutdown, kill) = (Arc::clone(self), shutdown.clone(), kill.clone());
        tasks.spawn(async move {
            let connection = front.connection(tcp, peer, seat, &shutdown);
            tokio::select! {
                () = connection => {}
                () = kill.cancelled() => {}
            }
        });
    }

    /// One connection, from handshake to end.
    async fn connection(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: IpAddr,
        seat: crate::limits::Seat,
        shutdown: &ShutdownWatch,
    ) {
        // Answers go out when they are there; without it, a full socket is the only cost.
        let _ = tcp.set_nodelay(true);
        let mut stop = shutdown.clone();
        let accepted = tokio::select! {
            accepted = self.tls.accept(tcp, millis(self.limits.handshake_ms)) => accepted,
            () = stopped(&mut stop) => return,
        };
        let Some(stream) = accepted else {
            self.edge.metrics().handshakes_failed.with_label_values(&["tcp"]).inc();
            return;
        };
        let speaks = if tls::chose_h2(&stream) { Speaks::H2 } else { Speaks::H1 };
        let watch = Arc::new(Watch::default());
        let gauge = self.edge.metrics().connections.with_label_values(&["tcp"]);
        let stream = Guard::new(stream, speaks, self.guard, Arc::clone(&watch), Some(seat), gauge);
        let app = Arc::new(Connection { front: self, watch, peer, speaks });
        app.process_new(Box::new(stream), shutdown).await;
    }
}

/// One connection's side of Pingora's `HttpServerApp`.
struct Connection {
    front: Arc<TcpFront>,
    watch: Arc<Watch>,
    peer: IpAddr,
    speaks: Speaks,
}

#[async_trait]
impl HttpServerApp for Connection {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let reply = match self.read(&mut session, shutdown).await {
            Read::Request => self.ask(&mut session).await,
            Read::Refused(refusal) => Err(refusal),
            Read::Gone => {
                session.shutdown().await;
                return None;
            }
        };
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        match reply {
            Ok(reply) => {
                self.write(&mut session, reply).await?;
                let settings = HttpPersistentSettings::for_session(&session);
                let reusable = session.finish().await.ok()??;
                Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
            }
            Err(refusal) => {
                // What follows on this connection cannot be trusted to be a request.
                session.set_keepalive(None);
                self.watch.linger();
                let reply = self.front.edge.refuse(self.proto(), &refusal);
                self.write(&mut session, reply).await?;
                match session {
                    ServerSession::H1(mut session) => session.shutdown().await,
                    other => drop(other.finish().await),
                }
                None
            }
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        let limits = &self.front.limits;
        let mut options = default_h2_options();
        options
            .max_concurrent_streams(limits.streams_per_connection_max)
            .max_header_list_size(limits.header_bytes_max)
            .max_send_buffer_size(H2_SEND_BUFFER_BYTES);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.front.options)
    }
}

/// What reading a request came to.
enum Read {
    /// A request.
    Request,
    /// Something else, worth an answer.
    Refused(Refusal),
    /// Nothing: the client left, or was idle for too long, or we are stopping.
    Gone,
}

impl Connection {
    fn proto(&self) -> Proto {
        match self.speaks {
            Speaks::H1 => Proto::H1,
            Speaks::H2 => Proto::H2,
        }
    }

    /// Reads the head of a request. HTTP/2 streams come with theirs.
    async fn read(&self, session: &mut ServerSession, shutdown: &ShutdownWatch) -> Read {
        if self.speaks == Speaks::H2 {
            return Read::Request;
        }
        // The guard keeps time. Pingora's own limit would begin anew with every read.
        session.set_keepalive(Some(0));
        self.watch.expect_head();
        let mut stop = shutdown.clone();
        let outcome = {
            let mut read = pin!(session.read_request());
            tokio::select! {
                outcome = &mut read => outcome,
                () = stopped(&mut stop) => {
                    if !self.watch.head_has_begun() {
                        return Read::Gone;
                    }
                    read.await
                }
            }
        };
        match (self.watch.fault(), outcome) {
            (Some(fault), _) => self.fault(fault),
            (None, Ok(true)) => Read::Request,
            (None, Ok(false)) => Read::Gone,
            (None, Err(error)) => unreadable(&error),
        }
    }

    fn fault(&self, fault: Fault) -> Read {
        match fault {
            Fault::LineEnding => Read::Refused(Refusal::LineEnding),
            Fault::NoRequest => Read::Refused(Refusal::NotHttp),
            Fault::LineTooLong => Read::Refused(Refusal::TargetTooLong),
            Fault::TooLong => Read::Refused(Refusal::HeadTooLarge),
            Fault::TooSlow if self.watch.head_has_begun() => Read::Refused(Refusal::HeadTimeout),
            Fault::TooSlow => Read::Gone,
        }
    }

    /// Has the request answered.
    async fn ask(&self, session: &mut ServerSession) -> Result<Reply, Refusal> {
        self.drain(session).await?;
        let head = session.req_header();
        let target = match self.speaks {
            Speaks::H1 => std::str::from_utf8(head.raw_path()).map_err(|_| Refusal::PathGrammar)?,
            Speaks::H2 => head.uri.path_and_query().map_or("/", |target| target.as_str()),
        };
        let request = Req {
            method: &head.method,
            target,
            authority: head.uri.authority().map(|authority| authority.as_str()),
            headers: &head.headers,
            peer: self.peer,
            proto: self.proto(),
        };
        Ok(self.front.edge.serve(request).await)
    }

    /// Reads a request's body to its end and forgets it: nothing here has use for one, but a connection can
    /// only go on behind it.
    async fn drain(&self, session: &mut ServerSession) -> Result<(), Refusal> {
        if session.is_body_done() {
            return Ok(());
        }
        let limits = &self.front.limits;
        let mut left = limits.request_body_bytes_max as usize;
        let reading = async {
            while let Some(bytes) = session.read_request_body().await.map_err(|_| Refusal::NotHttp)? {
                left = left.checked_sub(bytes.len()).ok_or(Refusal::BodyTooLarge)?;
            }
            Ok(())
        };
        tokio::time::timeout(millis(limits.header_ms), reading).await.unwrap_or(Err(Refusal::HeadTimeout))
    }

    /// Sends a reply. `None` if it could not be sent whole: the stream is broken off.
    async fn write(&self, session: &mut ServerSession, mut reply: Reply) -> Option<()> {
        session.set_write_timeout(Some(self.front.limits.write_chunk()));
        let head = self.head(&mut reply)?;
        if let ServerSession::H2(stream) = session {
            stream.write_response_header(head, reply.left() == 0).ok()?;
        } else {
            session.write_response_header(head).await.ok()?;
        }
        while let Some(chunk) = reply.next().await {
            let Ok(chunk) = chunk else {
                session.shutdown().await;
                return None;
            };
            session.write_response_body(chunk, reply.left() == 0).await.ok()?;
        }
        Some(())
    }

    fn head(&self, reply: &mut Reply) -> Option<Box<ResponseHeader>> {
        let mut head = ResponseHeader::build_no_case(reply.status, Some(reply.headers.len() + 3)).ok()?;
        for (name, value) in reply.headers.drain(..) {
            head.append_header(name, value).ok()?;
        }
        if let Some(alt_svc) = &self.front.alt_svc {
            head.append_header(ALT_SVC, alt_svc.clone()).ok()?;
        }
        Some(Box::new(head))
    }
}

/// Resolves when the edge is told to stop.
async fn stopped(shutdown: &mut ShutdownWatch) {
    // An error means that the sender is gone: nobody is left to serve for.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// What an error while reading a head means: a client that left, or bytes that are no request.
fn unreadable(error: &pingora_core::Error) -> Read {
    use pingora_core::ErrorType::{ConnectionClosed, ReadError, ReadTimedout};
    match error.etype() {
        ConnectionClosed | ReadError | ReadTimedout => Read::Gone,
        _ => Read::Refused(Refusal::NotHttp),
    }
}
