//! What is remembered of one request: a line in the access log and a few counters, written once, at its end.
//!
//! Promises
//! - Every request that reached the core leaves exactly one line, however it ended.
//! - No token, MAC, query or address is in it: only the key's name, the listener's pseudonym and the session.
//!
//! Does not know: why the request was answered as it was.

use crate::metrics::Metrics;
use crate::reply::Cut;
use crate::request::Proto;
use crate::verdict::Verdict;
use antiphon_cache::{FetchError, ObjName, Source};
use antiphon_core::{Clock, Span, chain};
use antiphon_drm::token::{Token, Verified};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Instant;

/// The target of access log lines (`tracing`).
pub const ACCESS: &str = "access";

/// One request's entry, written when dropped.
pub struct Account {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    started: Instant,
    proto: Proto,
    /// `None` for what was no request.
    method: Option<Method>,
    status: StatusCode,
    /// Only the path of an object is kept: any other text could be a token in the wrong place.
    path: Option<ObjName>,
    token: Option<Token<Verified>>,
    span: Option<Span>,
    source: Option<Source>,
    refused: Option<&'static str>,
    bytes: u64,
    end: End,
}

/// How far an answer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not to its end: the client left, or was too slow.
    Open,
    /// All bytes were handed to the front.
    Whole,
    /// The bytes ran out.
    Cut,
}

impl Account {
    /// Opens the entry of a request.
    pub(crate) fn open(
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        proto: Proto,
        method: Option<Method>,
    ) -> Self {
        Self {
            metrics,
            clock,
            started: Instant::now(),
            proto,
            method,
            status: StatusCode::OK,
            path: None,
            token: None,
            span: None,
            source: None,
            refused: None,
            bytes: 0,
            end: End::Open,
        }
    }

    /// Notes what was asked for, and by whose leave.
    pub(crate) fn object(&mut self, path: ObjName, token: Token<Verified>) {
        self.path = Some(path);
        self.token = Some(token);
    }

    /// Notes which bytes were granted and where the first come from.
    pub(crate) fn granted(&mut self, span: Option<Span>, source: Source) {
        self.span = span;
        self.source = Some(source);
    }

    /// Notes why the request was refused.
    pub(crate) fn refused(&mut self, reason: &'static str) {
        self.refused = Some(reason);
        self.metrics.refusals.with_label_values(&[reason]).inc();
    }

    /// Notes why there are no bytes. The error dies here, so here it is logged: missing objects are the
    /// listener's affair, the rest is ours.
    pub(crate) fn failed(&mut self, name: &ObjName, error: &FetchError, verdict: &Verdict) {
        if verdict.status.is_server_error() {
            tracing::warn!(
                path = name.as_str(),
                status = verdict.status.as_u16(),
                error = chain(error),
                "answer from upstream"
            );
        }
    }

    /// Whether the answer goes without its body.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Some(Method::HEAD)
    }

    /// Notes the status, at the moment the answer can begin.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status;
        self.metrics.answered(self.proto, status, self.source, self.started.elapsed());
    }

    /// Counts bytes that went out.
    pub(crate) fn sent(&mut self, bytes: u64, source: Option<Source>) {
        self.bytes += bytes;
        if let Some(source) = source {
            self.metrics.sent(source, bytes);
        }
    }

    /// All bytes went out.
    pub(crate) fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Whole;
        }
    }

    /// The bytes ran out. The error dies here, so here it is logged.
    pub(crate) fn cut(&mut self, cut: &Cut) {
        self.end = End::Cut;
        self.metrics.cut_upstream.inc();
        let path = self.path.as_ref().map_or("-", ObjName::as_str);
        match &cut.0 {
            Some(error) => {
                tracing::warn!(path, sent = self.bytes, error = chain(error), "cut an answer short")
            }
            None => tracing::error!(path, sent = self.bytes, "the cache gave another length than it granted"),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.end == End::Open {
            self.metrics.cut_client.inc();
        }
        if !tracing::enabled!(target: ACCESS, tracing::Level::INFO) {
            return;
        }
        let range = self.span.map(|span| format!("{}-{}", span.start(), span.end() - 1));
        let token = self.token.as_ref();
        tracing::info!(
            target: ACCESS,
            time = self.clock.now().0,
            proto = self.proto.name(),
            method = self.method.as_ref().map_or("-", Method::as_str),
            path = self.path.as_ref().map_or("-", ObjName::as_str),
            status = self.status.as_u16(),
            range,
            bytes = self.bytes,
            ms = self.started.elapsed().as_secs_f64() * 1e3,
            source = self.source.map(crate::metrics::source_name),
            refused = self.refused,
            end = match self.end {
                End::Open => "client",
                End::Whole => "whole",
                End::Cut => "cut",
            },
            u = token.and_then(Token::listener),
            s = token.and_then(Token::session),
            key = token.map(Token::key_name),
        );
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("status", &self.status)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
