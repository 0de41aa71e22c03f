//! Connections: accepted up to a number, watched until they have asked something, ended when told to.
//!
//! Promises
//! - At most `connections_max` at once. A connection that has asked nothing after `head_ms` is closed; on HTTP/1.1
//!   so is one that has asked nothing more `idle_secs` after an answer.
//! - Heads are bounded: [`HEADERS_MAX`] fields, [`HEAD_LEN_MAX`] bytes.
//! - A stop lets answers under way end; what is idle is closed at once.
//!
//! Does not know: paths, answers.

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use prometheus::IntGauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Most header fields of a request.
pub const HEADERS_MAX: usize = 64;

/// Most bytes of a request's head.
pub const HEAD_LEN_MAX: usize = 16 * 1024;

/// Requests under way on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// How often a silent HTTP/2 connection is asked whether it lives, and how long it has to say so.
const PING: Duration = Duration::from_secs(20);

/// After an error that is not the connection's own (too many open files), accepting rests this long.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What a listener needs.
pub(crate) struct Listening {
    /// Bound.
    pub listener: TcpListener,
    /// Answers requests.
    pub router: Router,
    /// Connections at once.
    pub connections_max: u32,
    /// Time for the first head.
    pub head: Duration,
    /// Time for each later one, from the answer before it.
    pub idle: Duration,
    /// Connections now.
    pub open: IntGauge,
    /// True from the moment no more connections are wanted.
    pub stopping: watch::Receiver<bool>,
    /// Where connections run.
    pub tasks: TaskTracker,
    /// Cancelled when patience with answers under way has ended.
    pub cut: CancellationToken,
}

impl Listening {
    /// Accepts until told to stop, then lets what is under way end.
    pub async fn run(mut self) {
        let places = Arc::new(Semaphore::new(self.connections_max as usize));
        let graceful = GracefulShutdown::new();
        loop {
            let accept = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => break,
                accepted = accept => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let serve = serve(stream, self.router.clone(), self.head, self.idle, graceful.watcher());
                    let (open, cut) = (self.open.clone(), self.cut.clone());
                    self.tasks.spawn(async move {
                        open.inc();
                        cut.run_until_cancelled(serve).await;
                        open.dec();
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
        self.cut.run_until_cancelled(graceful.shutdown()).await;
    }
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, router: Router, head: Duration, idle: Duration, watcher: Watcher) {
    stream.set_nodelay(true).ok();
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        hyper::service::service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            router.clone().oneshot(request.map(Body::new))
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_LEN_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_LEN_MAX as u32)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let watched = watcher.watch(connection);
    tokio::pin!(watched);
    // hyper's own time-out begins once it knows the version, and is the longer one between requests.
    let silent = tokio::select! {
        ended = &mut watched => return log(ended),
        () = tokio::time::sleep(head) => !asked.load(Ordering::Relaxed),
    };
    if !silent {
        log(watched.await);
    }
}

/// A broken connection is an edge's business: it asks again. Worth a line only for whoever looks.
fn log(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error = &*error as &dyn std::error::Error, "serve a connection");
    }
}
