//! Serving edges: objects of an epoch, layouts and manifests.
//!
//! Promises
//! - Nothing is read, and nothing is told, before the bearer secret was held against ours in constant time.
//! - An object's bytes are a function of its path. Epochs before the last, and ahead of the next day, are 404.
//! - Answers under way are bounded in number and each in memory; whoever comes past that hears 503 at once.
//!
//! Does not know: sockets, where the store is, listeners and their tokens.

mod body;
mod conditional;
mod object;
mod target;

use crate::config::ServeConfig;
use crate::keys::{Keys, key_ids};
use crate::metrics::Metrics;
use crate::shelf::Shelf;
use crate::verdict::{self, ServeError};
use antiphon_core::{Clock, ObjectPath, Secret, Span, UnixTime, chunk};
use antiphon_drm::keys::{epoch_at, epoch_ends};
use antiphon_drm::manifest::{MpdOptions, RenditionFacts, TrackLayout, mpd};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use body::{Answer, Digested, Sending};
use conditional::{Decision, Validators, decide};
use data_encoding::{BASE64, HEXLOWER};
use http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use object::Object;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use target::{Target, Track};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// How long before an asset enters an epoch its objects of that epoch are served, for edges that prefetch
/// (MEDIA.md §10).
pub const AHEAD_SECS: u64 = 86_400;

/// How often an asset's keys were changed out of turn; nothing here does that yet.
const KEY_BUMP: u32 = 0;

/// RFC 9530.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// What a cache can purge by besides the path: the recording, and whose keys it is encrypted with.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// An object never changes under its path.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// A layout or manifest changes only with the version of this program.
const A_WHILE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// All that serving needs.
pub(crate) struct Serving {
    /// Recordings.
    pub shelf: Arc<Shelf>,
    /// Keys.
    pub keys: Arc<Keys>,
    /// What edges prove themselves by.
    pub secret: Secret,
    /// Tells the epoch.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Limits.
    pub limits: ServeConfig,
    /// `limits.concurrent_max` places for answers under way.
    pub places: Arc<Semaphore>,
    /// Where bodies are filled.
    pub tasks: TaskTracker,
}

/// The application that a listener of edges runs.
pub(crate) fn router(serving: Arc<Serving>) -> Router {
    Router::new().fallback(answer).with_state(serving)
}

async fn answer(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    // A body that somebody sends with a GET is not looked at.
    let (head, _) = request.into_parts();
    let result = serving.answer(&head).await;
    let response = result.unwrap_or_else(|error| verdict::refuse(&error, head.uri.path(), &serving.metrics));
    serving.metrics.answers.with_label_values(&[response.status().as_str()]).inc();
    response
}

impl Serving {
    async fn answer(&self, request: &Parts) -> Result<Response, ServeError> {
        if !self.knows(&request.headers) {
            return Err(ServeError::Unauthorised);
        }
        let asked = match request.method {
            Method::GET => Asked::Body,
            Method::HEAD => Asked::Head,
            _ => return Err(ServeError::Method),
        };
        let target = Target::parse(&request.uri)?;
        self.check_epoch(target.path())?;
        match target {
            Target::Object(path) => self.object(path, &request.headers, asked).await,
            Target::Layout(track) => {
                let layout = self.layout(track).await?;
                let json = serde_json::to_vec(&layout)
                    .unwrap_or_else(|_| unreachable!("a layout holds texts and finite numbers"));
                Ok(document(json, "application/json", &request.headers, asked)?)
            }
            Target::Manifest { track, max_kbps } => {
                let layout = self.layout(track).await?;
                let options = MpdOptions { max_kbps, ..MpdOptions::default() };
                let text = mpd(&layout, &options).ok_or(ServeError::NoneWithin(max_kbps.unwrap_or(0)))?;
                Ok(document(text.into_bytes(), "application/dash+xml", &request.headers, asked)?)
            }
        }
    }

    /// Whether the request carries our secret (RFC 6750 §2.1).
    fn knows(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        match value.as_bytes().split_at_checked(BEARER.len()) {
            Some((scheme, given)) => scheme.eq_ignore_ascii_case(BEARER) && self.secret.matches(given),
            None => false,
        }
    }

    /// Epoch now, the one before, and the next within [`AHEAD_SECS`] of its start.
    fn check_epoch(&self, path: &ObjectPath) -> Result<(), ServeError> {
        let now = self.clock.now();
        let present = epoch_at(&path.asset, now, KEY_BUMP);
        let ahead = epoch_ends(&path.asset, &present, KEY_BUMP).since(now) <= AHEAD_SECS;
        let newest = present.0.saturating_add(u32::from(ahead));
        let served = present.0.saturating_sub(1)..=newest;
        if served.contains(&path.epoch.0) { Ok(()) } else { Err(ServeError::Epoch(path.epoch.0)) }
    }

    async fn object(
        &self,
        path: ObjectPath,
        headers: &HeaderMap,
        asked: Asked,
    ) -> Result<Response, ServeError> {
        let object = Object::open(&self.shelf, &self.keys, path).await?;
        let (len, etag) = (object.len(), path.etag());
        let modified = self.shelf.asset(path.asset).await?.ingested_at;
        let validators = Validators { etag: &etag, last_modified: Some(modified) };
        let decision = decide(headers, validators, len, asked == Asked::Body);
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        out.insert(CACHE_CONTROL, FOREVER);
        out.insert(CACHE_TAG, text(&format!("asset:{}, epoch:{}", path.asset, path.epoch)));
        out.insert(CONTENT_TYPE, HeaderValue::from_static("audio/mp4"));
        out.insert(ETAG, text(&etag));
        out.insert(LAST_MODIFIED, text(&http_date(modified)));
        let (span, status) = match decision {
            Decision::Failed => return Err(ServeError::Condition),
            Decision::Unsatisfiable => return Err(ServeError::Range { len }),
            Decision::NotModified => {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return Ok(response);
            }
            Decision::Whole => (Span::whole(len), StatusCode::OK),
            Decision::Part(span) => (Some(span), StatusCode::PARTIAL_CONTENT),
        };
        *response.status_mut() = status;
        let out = response.headers_mut();
        out.insert(CONTENT_LENGTH, span.map_or(0, Span::len).into());
        let Some(span) = span.filter(|_| asked == Asked::Body) else { return Ok(response) };
        if status == StatusCode::PARTIAL_CONTENT {
            out.insert(CONTENT_RANGE, text(&format!("bytes {}-{}/{len}", span.start(), span.end() - 1)));
        }
        let busy = ServeError::Busy { retry_after_secs: self.limits.retry_after_secs };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy)?;
        let digested = if chunk::is_aligned(span, len) { Digested::Yes } else { Digested::No };
        let answer = match Answer::begin(object, span, digested, &self.metrics).await {
            // Ingested anew since it was opened: its bytes are the same, its seal is not. Once.
            Err(error) if error.is_replaced() => {
                let object = Object::open(&self.shelf, &self.keys, path).await?;
                Answer::begin(object, span, digested, &self.metrics).await?
            }
            begun => begun?,
        };
        if let Some(digest) = answer.digest {
            out.insert(CONTENT_DIGEST, digest_value(&digest));
        }
        let slow_reader = Duration::from_millis(u64::from(self.limits.slow_reader_ms));
        let (tasks, metrics) = (self.tasks.clone(), Arc::clone(&self.metrics));
        *response.body_mut() = answer.into_body(Sending { tasks, metrics, slow_reader, place, path });
        Ok(response)
    }

    async fn layout(&self, Track(path): Track) -> Result<TrackLayout, ServeError> {
        let record = self.shelf.asset(path.asset).await?;
        let kids = key_ids(&path, record.renditions.iter().map(|entry| entry.rendition));
        let mut opened = Vec::with_capacity(kids.len());
        for entry in &record.renditions {
            opened.push(self.shelf.open(path.asset, entry.rendition).await?);
        }
        let facts: Vec<_> = record
            .renditions
            .iter()
            .zip(&opened)
            .zip(kids)
            .map(|((entry, opened), kid)| RenditionFacts {
                rendition: entry.rendition,
                index: &opened.index,
                kid,
            })
            .collect();
        Ok(TrackLayout::new(path.asset, path.epoch, path.scheme, &facts)?)
    }
}

/// Whether the body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// GET.
    Body,
    /// HEAD.
    Head,
}

/// The scheme and its space.
const BEARER: &[u8] = b"Bearer ";

/// A small text made on the spot, tagged by its own hash.
fn document(
    bytes: Vec<u8>,
    kind: &'static str,
    headers: &HeaderMap,
    asked: Asked,
) -> Result<Response, ServeError> {
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    let etag = format!("\"{}\"", HEXLOWER.encode(&digest[..16]));
    let validators = Validators { etag: &etag, last_modified: None };
    let len = bytes.len() as u64;
    // Never in parts: they are small.
    let decision = decide(headers, validators, len, false);
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    out.insert(CACHE_CONTROL, A_WHILE);
    out.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    out.insert(ETAG, text(&etag));
    match decision {
        Decision::Failed => return Err(ServeError::Condition),
        Decision::NotModified => *response.status_mut() = StatusCode::NOT_MODIFIED,
        Decision::Whole | Decision::Part(_) | Decision::Unsatisfiable => {
            out.insert(CONTENT_DIGEST, digest_value(&digest));
            out.insert(CONTENT_LENGTH, len.into());
            if asked == Asked::Body {
                *response.body_mut() = bytes.into();
            }
        }
    }
    Ok(response)
}

/// RFC 9530 §2: a dictionary of byte sequences.
fn digest_value(digest: &[u8; 32]) -> HeaderValue {
    text(&format!("sha-256=:{}:", BASE64.encode(digest)))
}

fn http_date(time: UnixTime) -> String {
    // Dates end with the year 9999 (RFC 9110 §5.6.7).
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(time.0.min(253_402_300_799)))
}

/// A header value made of our own plain text.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| unreachable!("made of digits, letters and quotes"))
}
