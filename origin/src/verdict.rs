//! The only place where a refusal or a failure becomes a number that an edge sees.
//!
//! Promises
//! - Every way to fail is named here without `_`: a new one does not compile until somebody decides whose
//!   fault it is. 4xx is the asker's, 500 ours, 502 the store's, 503 and 504 a matter of time.
//! - The text says what, never why: causes go to the log, once.
//!
//! Does not know: headers of answers that succeed, sockets.

use crate::metrics::Metrics;
use crate::shelf::ShelfError;
use crate::store::StoreError;
use antiphon_drm::content::encrypt::EncryptError;
use antiphon_drm::keys::KeyError;
use antiphon_drm::manifest::LayoutError;
use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, StatusCode};
use std::sync::Arc;

/// Why a request is not answered with bytes.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No bearer secret, or another.
    #[error("the origin's secret is missing or wrong")]
    Unauthorised,
    /// Neither GET nor HEAD.
    #[error("only GET and HEAD are answered")]
    Method,
    /// A path that nothing here has.
    #[error("the path has a character, segment or length that no path here has")]
    Path,
    /// A well-formed path that names nothing.
    #[error("the path names nothing here")]
    NoSuchPath,
    /// A query that a manifest does not take.
    #[error("the query is not `max_kbps=<number>`")]
    Query,
    /// The scheme is not served.
    #[error("scheme {0} is not served")]
    Scheme(&'static str),
    /// Long past or not yet.
    #[error("epoch {0} is not served now")]
    Epoch(u32),
    /// No rendition within the limit.
    #[error("no rendition has at most {0} kbit/s")]
    NoneWithin(u32),
    /// `If-Match` or `If-Unmodified-Since` does not hold.
    #[error("a condition of the request does not hold")]
    Condition,
    /// The range lies outside.
    #[error("the range lies outside the {len} bytes")]
    Range {
        /// Bytes there are.
        len: u64,
    },
    /// Too many answers under way.
    #[error("too many answers are under way")]
    Busy {
        /// When to come again.
        retry_after_secs: u32,
    },
    /// The recording is not there, or does not open.
    #[error(transparent)]
    Shelf(#[from] Arc<ShelfError>),
    /// No key of that epoch.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Index and key ids do not fit; a defect.
    #[error("encrypt a span")]
    Encrypt(#[from] EncryptError),
    /// Renditions of a stored asset do not fit together.
    #[error("lay out a track")]
    Layout(#[from] LayoutError),
}

impl ServeError {
    /// Whether a stored object was replaced between its opening and its reading.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self, Self::Shelf(error) if matches!(**error, ShelfError::Store(StoreError::Replaced { .. })))
    }
}

/// The number, and the word under which it is counted.
pub fn verdict(error: &ServeError) -> (StatusCode, &'static str) {
    match error {
        ServeError::Unauthorised => (StatusCode::UNAUTHORIZED, "unauthorised"),
        ServeError::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
        ServeError::Path => (StatusCode::BAD_REQUEST, "path"),
        ServeError::Query => (StatusCode::BAD_REQUEST, "query"),
        ServeError::NoSuchPath => (StatusCode::NOT_FOUND, "no_such_path"),
        ServeError::Scheme(_) => (StatusCode::NOT_FOUND, "scheme"),
        ServeError::Epoch(_) => (StatusCode::NOT_FOUND, "epoch"),
        ServeError::NoneWithin(_) => (StatusCode::NOT_FOUND, "none_within"),
        ServeError::Condition => (StatusCode::PRECONDITION_FAILED, "condition"),
        ServeError::Range { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "range"),
        ServeError::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        ServeError::Shelf(error) => of_shelf(error),
        ServeError::Key(KeyError::NoEpoch { .. }) => (StatusCode::INTERNAL_SERVER_ERROR, "no_masters"),
        ServeError::Encrypt(_) => (StatusCode::INTERNAL_SERVER_ERROR, "encrypt"),
        ServeError::Layout(_) => (StatusCode::BAD_GATEWAY, "layout"),
    }
}

fn of_shelf(error: &ShelfError) -> (StatusCode, &'static str) {
    match error {
        ShelfError::NoAsset { .. } => (StatusCode::NOT_FOUND, "no_asset"),
        ShelfError::NoRendition { .. } => (StatusCode::NOT_FOUND, "no_rendition"),
        ShelfError::Store(error) => of_store(error),
        ShelfError::Record { .. } => (StatusCode::BAD_GATEWAY, "record"),
        ShelfError::Sealed { .. } => (StatusCode::BAD_GATEWAY, "sealed"),
        ShelfError::Index { .. } => (StatusCode::BAD_GATEWAY, "index"),
        ShelfError::Unmatched { .. } => (StatusCode::BAD_GATEWAY, "unmatched"),
        ShelfError::Wrap { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "wrap"),
    }
}

fn of_store(error: &StoreError) -> (StatusCode, &'static str) {
    match error {
        // The record says it is there: the store has lost it.
        StoreError::Missing { .. } => (StatusCode::BAD_GATEWAY, "store_missing"),
        StoreError::Replaced { .. } => (StatusCode::BAD_GATEWAY, "store_replaced"),
        StoreError::Lied { .. } => (StatusCode::BAD_GATEWAY, "store_lied"),
        StoreError::TooLarge { .. } => (StatusCode::BAD_GATEWAY, "store_too_large"),
        StoreError::Failed { .. } => (StatusCode::BAD_GATEWAY, "store_failed"),
        StoreError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "store_timed_out"),
    }
}

/// Logs, counts and words a refusal.
pub(crate) fn refuse(error: &ServeError, path: &str, metrics: &Metrics) -> Response {
    let (status, reason) = verdict(error);
    note(error, path, metrics);
    let text = if status.is_server_error() { format!("{reason}\n") } else { format!("{reason}: {error}\n") };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match error {
        ServeError::Unauthorised => {
            drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        }
        ServeError::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"))),
        ServeError::Busy { retry_after_secs } => {
            drop(headers.insert(RETRY_AFTER, (*retry_after_secs).into()))
        }
        ServeError::Range { len } => {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            let outside = HeaderValue::try_from(format!("bytes */{len}"));
            outside.map(|value| headers.insert(CONTENT_RANGE, value)).ok();
        }
        _ => {}
    }
    response
}

/// Counts a failure, and logs it if somebody should look.
pub(crate) fn note(error: &ServeError, path: &str, metrics: &Metrics) {
    let (status, reason) = verdict(error);
    metrics.refused.with_label_values(&[reason]).inc();
    if matches!(error, ServeError::Shelf(error) if matches!(**error, ShelfError::Sealed { .. } | ShelfError::Unmatched { .. }))
    {
        metrics.damaged.inc();
    }
    if matches!(error, ServeError::Busy { .. }) {
        tracing::warn!(path, reason, "refuse");
    } else if status.is_server_error() {
        tracing::error!(path, reason, error = error as &dyn std::error::Error, "answer");
    } else {
        tracing::debug!(path, reason, "refuse");
    }
}

/// What `/readyz` says of an origin that should get no requests now.
pub(crate) fn not_ready(why: &str) -> Response {
    let mut response = Response::new(Body::from(format!("not ready: {why}\n")));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
