//! The origin, over Pingora's connector.
//!
//! Promises
//! - Connections are pooled, requests limited in number, every wait in time. A request that brought no byte is
//!   made once more, if it failed on the way, within the time for the first byte.
//! - Nothing but an answer that fits the question gets through: status, `Content-Range`, length and entity tag
//!   are checked before the first byte, the length again at the last.
//! - The token of a listener never gets here: all that is sent is a path, a range and our own secret.
//!
//! Does not know: listeners, chunks, what is cached.

mod answer;
mod authority;
mod terms;

pub use authority::Authority;

use crate::config::{UpstreamConfig, millis, secs};
use crate::metrics::Metrics;
use answer::{Question, Said, check};
use antiphon_cache::{Answer, ObjMeta, ObjName, Upstream, UpstreamError, UpstreamReply, Want};
use antiphon_core::{Clock, Secret};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::{ACCEPT, AUTHORIZATION, HOST, IF_NONE_MATCH, RANGE};
use http::{HeaderValue, Method};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use prometheus::IntGauge;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// The origin as the cache sees it.
pub struct Origin {
    pool: Arc<Pool>,
    authority: Authority,
    /// `Bearer <secret>`, marked sensitive: `http` prints it as such.
    bearer: HeaderValue,
    terms: UpstreamConfig,
    line: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

/// Connections to the origin.
struct Pool {
    connector: Connector,
    config: UpstreamConfig,
}

/// A request under way: its place in line, its connection.
struct Exchange {
    session: HttpSession,
    peer: HttpPeer,
    pool: Arc<Pool>,
    _busy: Busy,
}

/// Why an attempt failed, and whether another one may fare better.
enum Attempt {
    /// On the way: a pooled connection had been closed, the peer reset it.
    Broken(UpstreamError),
    /// By the origin's answer, or for lack of time.
    Final(UpstreamError),
}

/// Attempts for one request.
const ATTEMPTS: usize = 2;

impl Origin {
    /// The origin at the URL of `config`, which has been checked. `trust` is a certificate file that can be
    /// read: Pingora wants one even if the origin speaks plain HTTP.
    pub fn new(
        config: UpstreamConfig,
        secret: &Secret,
        trust: &Path,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OriginError> {
        let authority = Authority::parse(&config.url).map_err(OriginError::Url)?;
        let mut bearer = Vec::from(b"Bearer ");
        bearer.extend_from_slice(secret.expose());
        let mut bearer = HeaderValue::try_from(bearer).map_err(|_| OriginError::Secret)?;
        bearer.set_sensitive(true);
        let mut options = ConnectorOptions::new(config.concurrency_max as usize);
        options.ca_file = Some(trust.to_str().ok_or(OriginError::Trust)?.to_owned());
        Ok(Self {
            pool: Arc::new(Pool { connector: Connector::new(Some(options)), config: config.clone() }),
            authority,
            bearer,
            line: Arc::new(Semaphore::new(config.concurrency_max as usize)),
            terms: config,
            metrics,
            clock,
        })
    }

    /// Waits for a place in line, then asks, twice if need be, all within the time for the first byte.
    async fn ask(&self, asked: &Question<'_>) -> Result<(Exchange, Said), UpstreamError> {
        let deadline = Instant::now() + millis(self.terms.first_byte_ms);
        let place = timeout_at(deadline, Arc::clone(&self.line).acquire_owned());
        let place = place.await.ok().and_then(Result::ok).ok_or(UpstreamError::TimedOut)?;
        let mut busy = Some(Busy::new(place, self.metrics.upstream_busy.clone()));
        let mut attempt = 0;
        loop {
            let answer = timeout_at(deadline, self.attempt(asked, attempt, &mut busy));
            match answer.await.unwrap_or(Err(Attempt::Final(UpstreamError::TimedOut))) {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Broken(_)) if attempt + 1 < ATTEMPTS => {
                    attempt += 1;
                    self.metrics.upstream_retries.inc();
                }
                Err(Attempt::Broken(error) | Attempt::Final(error)) => return Err(error),
            }
        }
    }

    /// Asks once. `busy` is taken when the answer is good.
    async fn attempt(
        &self,
        asked: &Question<'_>,
        attempt: usize,
        busy: &mut Option<Busy>,
    ) -> Result<(Exchange, Said), Attempt> {
        let address =
            self.authority.resolve(attempt).await.map_err(|cause| Attempt::Broken(unreachable(cause)))?;
        let mut peer = HttpPeer::new(address, self.authority.is_tls(), self.authority.host().to_owned());
        peer.options.connection_timeout = Some(millis(self.terms.connect_ms));
        peer.options.total_connection_timeout = Some(millis(self.terms.connect_ms));
        peer.options.idle_timeout = Some(secs(self.terms.idle_secs));
        let connected = self.pool.connector.get_http_session(&peer).await;
        let (mut session, _) = connected.map_err(|cause| Attempt::Broken(broken(cause)))?;
        session.set_read_timeout(Some(millis(self.terms.first_byte_ms)));
        let request = self.request(asked).map_err(Attempt::Final)?;
        let sent = session.write_request_header(Box::new(request)).await;
        sent.map_err(|cause| Attempt::Broken(broken(cause)))?;
        session.finish_request_body().await.map_err(|cause| Attempt::Broken(broken(cause)))?;
        loop {
            session.read_response_header().await.map_err(|cause| Attempt::Broken(broken(cause)))?;
            let head = session.response_header().ok_or(Attempt::Final(MALFORMED_HEAD))?;
            if !head.status.is_informational() {
                let said = check(head.status, &head.headers, asked).map_err(Attempt::Final)?;
                let busy = busy.take().ok_or(Attempt::Final(MALFORMED_HEAD))?;
                return Ok((Exchange { session, peer, pool: Arc::clone(&self.pool), _busy: busy }, said));
            }
        }
    }

    fn request(&self, asked: &Question<'_>) -> Result<RequestHeader, UpstreamError> {
        let fault = |_| UpstreamError::Malformed { what: "our own request cannot be written" };
        let method = if asked.want == Want::Head { Method::HEAD } else { Method::GET };
        let path = asked.object.as_str().as_bytes();
        let mut request = RequestHeader::build_no_case(method, path, Some(5)).map_err(fault)?;
        request.insert_header(HOST, self.authority.as_str()).map_err(fault)?;
        request.insert_header(AUTHORIZATION, self.bearer.clone()).map_err(fault)?;
        request.insert_header(ACCEPT, "*/*").map_err(fault)?;
        if let Want::Range(spec) = asked.want {
            request.insert_header(RANGE, spec.to_string()).map_err(fault)?;
        }
        if let Some(etag) = asked.known.and_then(|known| known.etag.as_deref()) {
            request.insert_header(IF_NONE_MATCH, etag).map_err(fault)?;
        }
        Ok(request)
    }
}

#[async_trait]
impl Upstream for Origin {
    async fn fetch(
        &self,
        object: &ObjName,
        want: Want,
        known: Option<&ObjMeta>,
    ) -> Result<Answer, UpstreamError> {
        let started = Instant::now();
        let question = Question { object, want, known, at: self.clock.now() };
        let asked = self.ask(&question).await;
        self.metrics.upstream_ttfb.observe(started.elapsed().as_secs_f64());
        let outcome = asked.as_ref().map_or_else(outcome, |_| "ok");
        self.metrics.upstream_fetches.with_label_values(&[outcome]).inc();
        let (exchange, said) = asked?;
        let head = match said {
            Said::Found(head) => head,
            Said::NotModified(meta) => {
                exchange.release().await;
                return Ok(Answer::NotModified(meta));
            }
        };
        let len = head.span.map_or(0, antiphon_core::Span::len);
        let body = match head.span {
            Some(_) => exchange.into_body(len),
            None => {
                exchange.release().await;
                stream::empty().boxed()
            }
        };
        Ok(Answer::Found(UpstreamReply { meta: head.meta, span: head.span, digest: head.digest, body }))
    }
}

impl Exchange {
    /// The body, exactly `len` bytes, or an error.
    fn into_body(mut self, len: u64) -> BoxStream<'static, Result<Bytes, UpstreamError>> {
        self.session.set_read_timeout(Some(millis(self.pool.config.stall_ms)));
        stream::unfold(Some((self, 0_u64)), move |state| async move {
            let (mut exchange, got) = state?;
            match exchange.read(len, got).await {
                Ok(Some(bytes)) => {
                    let got = got + bytes.len() as u64;
                    Some((Ok(bytes), Some((exchange, got))))
                }
                Ok(None) => {
                    exchange.release().await;
                    None
                }
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// The next bytes; `None` after the last.
    async fn read(&mut self, want: u64, got: u64) -> Result<Option<Bytes>, UpstreamError> {
        let limit = millis(self.pool.config.stall_ms);
        loop {
            let read = timeout(limit, self.session.read_response_body()).await;
            // A connection that breaks here has promised more than it gave.
            let read = read.map_err(|_| UpstreamError::TimedOut)?.map_err(|cause| match broken(cause) {
                UpstreamError::Unreachable { .. } => UpstreamError::ShortBody { got, want },
                other => other,
            });
            match read? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) if got + bytes.len() as u64 > want => {
                    return Err(UpstreamError::Malformed { what: "more bytes than promised" });
                }
                Some(bytes) => return Ok(Some(bytes)),
                None if got < want => return Err(UpstreamError::ShortBody { got, want }),
                None => return Ok(None),
            }
        }
    }

    /// Gives the connection back, fit for the next request.
    async fn release(mut self) {
        if self.session.response_done() {
            let idle = Some(secs(self.pool.config.idle_secs));
            self.pool.connector.release_http_session(self.session, &self.peer, idle).await;
        } else {
            self.session.shutdown().await;
        }
    }
}

/// A place among the requests to the origin.
struct Busy {
    gauge: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Busy {
    fn new(place: OwnedSemaphorePermit, gauge: IntGauge) -> Self {
        gauge.inc();
        Self { gauge, _place: place }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Why there is no origin to ask.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The URL is none.
    #[error("upstream.url: {0}")]
    Url(String),
    /// The secret cannot be a header value.
    #[error("the origin's secret has characters that no header may have")]
    Secret,
    /// The name of the certificate file is no text.
    #[error("the name of the certificate file is not UTF-8")]
    Trust,
}

const MALFORMED_HEAD: UpstreamError = UpstreamError::Malformed { what: "no head" };

fn unreachable(cause: std::io::Error) -> UpstreamError {
    UpstreamError::Unreachable { cause: Arc::new(cause) }
}

/// What a connection's error means.
fn broken(cause: Box<pingora_core::Error>) -> UpstreamError {
    use pingora_core::ErrorType::{
        ConnectTimedout, InvalidHTTPHeader, ReadTimedout, TLSHandshakeTimedout, WriteTimedout,
    };
    match cause.etype() {
        ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout => UpstreamError::TimedOut,
        InvalidHTTPHeader => UpstreamError::Malformed { what: "the head is no HTTP" },
        _ => {
            UpstreamError::Unreachable { cause: Arc::from(cause as Box<dyn std::error::Error + Send + Sync>) }
        }
    }
}

/// The label of a failed fetch.
fn outcome(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::Missing | UpstreamError::Gone => "missing",
        UpstreamError::Refused { .. } => "refused",
        UpstreamError::Unreachable { .. } => "unreachable",
        UpstreamError::TimedOut => "timed_out",
        UpstreamError::Malformed { .. } | UpstreamError::ShortBody { .. } => "malformed",
    }
}
