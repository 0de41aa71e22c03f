//! `/healthz`, `/readyz`, `/metrics`, `/cache/volumes`, `/cache/objects` and `/cache/purge` on a listener of their own,
//! plain HTTP.
//!
//! Promises
//! - Health says that the process runs, readiness that it takes new work: not any more once it is stopping.
//! - The same guard as on the public side: a stuck scraper costs one connection for a limited time.
//!
//! - Everything but an order to a volume and a purge can be read by whoever reaches the listener, and changes
//!   nothing; who may give orders is in [`volumes`].
//!
//! Does not know: TLS, tokens. It is bound to loopback or a private network by configuration.

mod objects;
pub mod volumes;

use crate::front::guard::{Guard, Speaks, Terms, Watch};
use crate::limits::Connections;
use crate::serve::Edge;
use crate::verdict::admin_status;
use antiphon_core::Secret;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The admin side of an edge.
pub struct Admin {
    edge: Arc<Edge>,
    connections: Arc<Connections>,
    /// What an order needs, if anything.
    secret: Option<Secret>,
    /// True once the edge is stopping.
    stopping: ShutdownWatch,
}

/// What a path of this listener comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// All is well, or the counters.
    Fine,
    /// The same, for a program.
    Json,
    /// Not taking new work.
    Stopping,
    /// No such page.
    Unknown,
    /// Another method.
    Method,
    /// Whoever asks may not.
    Forbidden,
    /// Not in the present state.
    NotNow,
    /// The counters cannot be printed: two share a name.
    Broken,
}

/// What there is.
const PAGES: &str =
    "there are /healthz, /readyz, /metrics, /cache/volumes, /cache/objects/<path> and POST /cache/purge\n";
/// Connections at a time: a few scrapers and a person.
const CONNECTIONS_MAX: usize = 64;
const TERMS: Terms = Terms {
    head: Duration::from_secs(5),
    head_bytes: 8 * 1024,
    idle: Duration::from_secs(120),
    write_stall: Duration::from_secs(10),
    linger_bytes: 16 * 1024,
};

impl Admin {
    /// The admin side of `edge`. Orders to volumes need `secret`, or come from this host if there is none.
    pub fn new(edge: Arc<Edge>, secret: Option<Secret>, stopping: ShutdownWatch) -> Arc<Self> {
        let connections = Connections::new(CONNECTIONS_MAX, CONNECTIONS_MAX);
        Arc::new(Self { edge, connections, secret, stopping })
    }

    /// Accepts connections until `end` is cancelled.
    pub async fn run(self: Arc<Self>, listener: TcpListener, tasks: TaskTracker, end: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = end.cancelled() => return,
            };
            let Ok((tcp, peer)) = accepted else {
                // Out of file descriptors, most likely: the public side pauses and logs.
                tokio::task::yield_now().await;
                continue;
            };
            let Ok(seat) = self.connections.admit(peer.ip()) else { continue };
            let watch = Arc::new(Watch::default());
            let gauge = self.edge.metrics().connections.with_label_values(&["admin"]);
            let stream = Guard::new(tcp, Speaks::H1, TERMS, Arc::clone(&watch), Some(seat), gauge);
            let visit = Visit { admin: Arc::clone(&self), watch, peer: peer.ip() };
            let (visit, end) = (Arc::new(visit), end.clone());
            tasks.spawn(async move {
                let stopping = visit.admin.stopping.clone();
                tokio::select! {
                    _ = visit.process_new(Box::new(stream), &stopping) => {}
                    () = end.cancelled() => {}
                }
            });
        }
    }

    async fn page(&self, method: &Method, path: &str, headers: &HeaderMap, peer: IpAddr) -> (Page, String) {
        if let Some(rest) =
            path.strip_prefix(volumes::PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        {
            return volumes::answer(&self.edge, (method, rest), headers, (peer, self.secret.as_ref())).await;
        }
        if let Some(rest) = path.strip_prefix(objects::PURGE).filter(|_| method == Method::POST) {
            return match volumes::may_order(headers, peer, self.secret.as_ref()) {
                Ok(()) => objects::purge(&self.edge, rest).await,
                Err(why) => (Page::Forbidden, format!("{why}\n")),
            };
        }
        if !matches!(*method, Method::GET | Method::HEAD) || path.starts_with(objects::PURGE) {
            return (Page::Method, "use GET, and POST to purge\n".to_owned());
        }
        if let Some(rest) = path.strip_prefix(objects::OBJECTS) {
            return objects::explain(&self.edge, rest);
        }
        match path {
            "/healthz" => (Page::Fine, "ok\n".to_owned()),
            "/readyz" if *self.stopping.borrow() => (Page::Stopping, "stopping\n".to_owned()),
            "/readyz" => (Page::Fine, "ready\n".to_owned()),
            "/metrics" => match self.counters() {
                Ok(text) => (Page::Fine, text),
                Err(error) => (Page::Broken, format!("{error}\n")),
            },
            _ => (Page::Unknown, PAGES.to_owned()),
        }
    }

    fn counters(&self) -> Result<String, prometheus::Error> {
        let cache = self.edge.cache();
        self.edge.metrics().render(&cache.stats(), &cache.disks().status())
    }
}

/// One connection.
struct Visit {
    admin: Arc<Admin>,
    watch: Arc<Watch>,
    peer: IpAddr,
}

#[async_trait]
impl HttpServerApp for Visit {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        session.set_keepalive(Some(0));
        self.watch.expect_head();
        if !session.read_request().await.ok()? {
            return None;
        }
        let head = session.req_header();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let (page, text) = self.admin.page(&method, &path, &head.headers, self.peer).await;
        if !session.is_body_done() {
            session.set_keepalive(None);
        }
        let mut head = ResponseHeader::build_no_case(admin_status(page), Some(5)).ok()?;
        let text_type = match page {
            Page::Json => "application/json",
            _ => "text/plain; version=0.0.4; charset=utf-8",
        };
        head.append_header(CONTENT_TYPE, text_type).ok()?;
        head.append_header(CONTENT_LENGTH, text.len()).ok()?;
        head.append_header(CACHE_CONTROL, "no-store").ok()?;
        session.write_response_header(Box::new(head)).await.ok()?;
        if session.req_header().method != Method::HEAD {
            session.write_response_body(Bytes::from(text), true).await.ok()?;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }
}
