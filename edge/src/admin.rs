//! `/healthz`, `/readyz` and `/metrics` on a listener of their own, plain HTTP.
//!
//! Promises
//! - Health says that the process runs, readiness that it takes new work: not any more once it is stopping.
//! - The same guard as on the public side: a stuck scraper costs one connection for a limited time.
//!
//! Does not know: TLS, tokens. It is bound to loopback or a private network by configuration.

use crate::front::guard::{Guard, Speaks, Terms, Watch};
use crate::limits::Connections;
use crate::serve::Edge;
use crate::verdict::admin_status;
use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The admin side of an edge.
pub struct Admin {
    edge: Arc<Edge>,
    connections: Arc<Connections>,
    /// True once the edge is stopping.
    stopping: ShutdownWatch,
}

/// What a path of this listener comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// All is well, or the counters.
    Fine,
    /// Not taking new work.
    Stopping,
    /// No such page.
    Unknown,
    /// Only GET and HEAD.
    Method,
    /// The counters cannot be printed: two share a name.
    Broken,
}

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
    /// The admin side of `edge`.
    pub fn new(edge: Arc<Edge>, stopping: ShutdownWatch) -> Arc<Self> {
        Arc::new(Self { edge, connections: Connections::new(CONNECTIONS_MAX, CONNECTIONS_MAX), stopping })
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
            let (visit, end) = (Arc::new(Visit { admin: Arc::clone(&self), watch }), end.clone());
            tasks.spawn(async move {
                let stopping = visit.admin.stopping.clone();
                tokio::select! {
                    _ = visit.process_new(Box::new(stream), &stopping) => {}
                    () = end.cancelled() => {}
                }
            });
        }
    }

    fn page(&self, method: &Method, path: &str) -> (Page, String) {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return (Page::Method, "use GET\n".to_owned());
        }
        match path {
            "/healthz" => (Page::Fine, "ok\n".to_owned()),
            "/readyz" if *self.stopping.borrow() => (Page::Stopping, "stopping\n".to_owned()),
            "/readyz" => (Page::Fine, "ready\n".to_owned()),
            "/metrics" => match self.edge.metrics().render(&self.edge.cache().stats()) {
                Ok(text) => (Page::Fine, text),
                Err(error) => (Page::Broken, format!("{error}\n")),
            },
            _ => (Page::Unknown, "there are /healthz, /readyz and /metrics\n".to_owned()),
        }
    }
}

/// One connection.
struct Visit {
    admin: Arc<Admin>,
    watch: Arc<Watch>,
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
        let (page, text) = self.admin.page(&head.method, head.uri.path());
        if !session.is_body_done() {
            session.set_keepalive(None);
        }
        let mut head = ResponseHeader::build_no_case(admin_status(page), Some(5)).ok()?;
        head.append_header(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8").ok()?;
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
