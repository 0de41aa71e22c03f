//! From a granted wish to an answer with bytes.
//!
//! Promises
//! - A memory hit is answered without awaiting anything.
//! - The entity tag is the path's own (`ObjectPath::etag`): upstream answers with another one never get here.
//! - The whole object for a range that does not apply; 416 with the length for one past the end.
//!
//! Does not know: tokens, protocols, how the cache gets its bytes.

use crate::account::Account;
use crate::conditions::{Judgement, Validators};
use crate::decide::{Asked, Wish};
use crate::reply::{Body, Reply};
use crate::serve::Edge;
use crate::verdict::{Refusal, Verdict};
use antiphon_cache::{Body as CacheBody, FetchError, Freshness, ObjMeta, ObjName, RangeReply, Source};
use antiphon_core::{RangeSpec, Span};
use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use http::{HeaderName, HeaderValue, StatusCode};

/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Lets a page read the timing of its own requests (W3C Resource Timing).
pub const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// What pages of any origin may read (MEDIA.md §3.1).
pub const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Content-Range, Content-Length, ETag, CMSD-Static, CMSD-Dynamic, Edge-Token-Error, Cache-Status",
);

/// Room for every field below and two of the front's.
const FIELDS: usize = 14;

/// Answers a wish.
pub(crate) async fn deliver(edge: &Edge, wish: &Wish<'_>, name: ObjName, account: Account) -> Reply {
    let mut range = wish.range;
    if let Some(conditions) = &wish.conditions {
        let meta = match edge.cache.head(&name).await {
            Ok(meta) => meta,
            Err(error) => return failed(account, &name, &error),
        };
        let etag = wish.path.etag();
        let object = Validators { etag: &etag, last_modified: meta.last_modified.as_deref() };
        match conditions.judge(&object) {
            Judgement::NotModified => return not_modified(wish, &meta, account),
            Judgement::Failed => return crate::serve::refused(account, &Refusal::Precondition),
            Judgement::Proceed => range = range.filter(|_| conditions.range_applies(&object)),
        }
    }
    match wish.asked {
        Asked::Head => match edge.cache.head(&name).await {
            Ok(meta) => head(wish, &meta, account),
            Err(error) => failed(account, &name, &error),
        },
        Asked::Bytes => bytes(edge, wish, &name, range, account).await,
    }
}

/// The answer to a GET whose conditions hold.
async fn bytes(
    edge: &Edge,
    wish: &Wish<'_>,
    name: &ObjName,
    range: Option<RangeSpec>,
    account: Account,
) -> Reply {
    match edge.cache.get(name, range).await {
        Ok(RangeReply::Granted { meta, span, source, freshness, body }) => {
            let grant = Grant { span, source, freshness, partial: range.and(span) };
            granted(wish, &meta, grant, body, account)
        }
        Ok(RangeReply::Unsatisfiable { meta }) => {
            crate::serve::refused(account, &Refusal::RangePastEnd { len: meta.total_len })
        }
        Err(error) => failed(account, name, &error),
    }
}

/// Which bytes are given.
struct Grant {
    /// The bytes; `None` is an empty object.
    span: Option<Span>,
    /// Where the first come from.
    source: Source,
    /// Whether they are what the origin would say now.
    freshness: Freshness,
    /// The same bytes, if they answer a range.
    partial: Option<Span>,
}

/// 200 or 206.
fn granted(wish: &Wish<'_>, meta: &ObjMeta, grant: Grant, body: CacheBody, mut account: Account) -> Reply {
    let mut headers = object_fields(wish, meta);
    let len = grant.span.map_or(0, Span::len);
    headers.push((CONTENT_LENGTH, HeaderValue::from(len)));
    headers.push((CACHE_STATUS, cache_status(grant.source, grant.freshness)));
    let status = match grant.partial {
        Some(span) => {
            headers.push((CONTENT_RANGE, content_range(span, meta.total_len)));
            StatusCode::PARTIAL_CONTENT
        }
        None => StatusCode::OK,
    };
    account.granted(grant.span, grant.source);
    account.answered(status);
    Reply::new(status, headers, Body::Tiers(body), len, account)
}

/// The head of the whole object.
fn head(wish: &Wish<'_>, meta: &ObjMeta, mut account: Account) -> Reply {
    let mut headers = object_fields(wish, meta);
    headers.push((CONTENT_LENGTH, HeaderValue::from(meta.total_len)));
    headers.push((CACHE_STATUS, HeaderValue::from_static("antiphon")));
    account.answered(StatusCode::OK);
    Reply::new(StatusCode::OK, headers, Body::Empty, 0, account)
}

/// 304: the fields of a 200 that a client may update, no length (RFC 9110 §15.4.5).
fn not_modified(wish: &Wish<'_>, meta: &ObjMeta, mut account: Account) -> Reply {
    let mut headers = object_fields(wish, meta);
    headers.push((CACHE_STATUS, HeaderValue::from_static("antiphon")));
    account.answered(StatusCode::NOT_MODIFIED);
    Reply::new(StatusCode::NOT_MODIFIED, headers, Body::Empty, 0, account)
}

/// The answer when there are no bytes to give.
fn failed(mut account: Account, name: &ObjName, error: &FetchError) -> Reply {
    let verdict = Verdict::of_fetch(error);
    account.failed(name, error, &verdict);
    verdict.reply(account)
}

/// What every answer about an object carries (MEDIA.md §3.1).
fn object_fields(wish: &Wish<'_>, meta: &ObjMeta) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(FIELDS);
    headers.push((CONTENT_TYPE, HeaderValue::from_static("audio/mp4")));
    headers.push((ACCEPT_RANGES, HeaderValue::from_static("bytes")));
    headers.push((CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")));
    if let Ok(etag) = HeaderValue::try_from(wish.path.etag()) {
        headers.push((ETAG, etag));
    }
    if let Some(Ok(date)) = meta.last_modified.as_deref().map(HeaderValue::from_str) {
        headers.push((LAST_MODIFIED, date));
    }
    cross_origin(&mut headers);
    headers
}

/// Leave for pages of any origin: the token is the lock, not the origin.
pub(crate) fn cross_origin(headers: &mut Vec<(HeaderName, HeaderValue)>) {
    headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")));
    headers.push((ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED));
    headers.push((TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*")));
}

/// RFC 9110 §14.4.
fn content_range(span: Span, total_len: u64) -> HeaderValue {
    let text = format!("bytes {}-{}/{total_len}", span.start(), span.end() - 1);
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes */*"))
}

/// RFC 9211: where the first bytes come from, and whether the origin was asked.
fn cache_status(source: Source, freshness: Freshness) -> HeaderValue {
    HeaderValue::from_static(match freshness {
        Freshness::Revalidated => "antiphon; fwd=stale; fwd-status=304",
        Freshness::Stale => "antiphon; hit; detail=stale-while-revalidate",
        Freshness::StaleOnError => "antiphon; fwd=stale; detail=stale-if-error",
        Freshness::Fresh => match source {
            Source::Ram => "antiphon; hit; detail=ram",
            Source::Ssd => "antiphon; hit; detail=ssd",
            Source::Hdd => "antiphon; hit; detail=hdd",
            Source::Flight => "antiphon; fwd=miss; collapsed",
            Source::Upstream => "antiphon; fwd=miss; stored",
            Source::Stale => "antiphon; hit; detail=stale",
            Source::Negative => "antiphon; hit; detail=negative",
        },
    })
}
