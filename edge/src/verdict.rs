//! The only place where a refusal or a failure becomes a number that a client sees.
//!
//! Promises
//! - Every way to fail is matched by name: a new one does not compile until it has a status here.
//! - A client's fault is a 4xx, upstream's a 502, 503 or 504. Texts are short and say nothing of the inside.
//!
//! Does not know: how the failure came about.

use crate::account::Account;
use crate::admin::Page;
use crate::deliver::cross_origin;
use crate::reply::{Body, Reply};
use antiphon_cache::{FetchError, UpstreamError};
use antiphon_drm::token::TokenError;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER,
};
use http::{HeaderName, HeaderValue, StatusCode};

/// Why a request is refused: always the client's doing.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no HTTP request.
    #[error("not an HTTP request")]
    NotHttp,
    /// A line of the head ends in a bare CR or LF.
    #[error("a line of the request does not end in CR LF")]
    LineEnding,
    /// The head did not arrive in time.
    #[error("the request did not arrive in time")]
    HeadTimeout,
    /// The head is longer than allowed.
    #[error("the request header is too large")]
    HeadTooLarge,
    /// One field is longer than allowed.
    #[error("a request header field is too large")]
    FieldTooLarge,
    /// The target is longer than allowed.
    #[error("the URL is too long")]
    TargetTooLong,
    /// More request body than anybody needs for a GET.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// No host, several, or an odd one.
    #[error("the request needs exactly one well-formed Host")]
    Host,
    /// The path is outside the grammar.
    #[error("the path has a character, segment or length that no path here has")]
    PathGrammar,
    /// Nothing lives at such a path.
    #[error("no such path")]
    NoSuchPath,
    /// A method that makes no sense here.
    #[error("use GET, HEAD or OPTIONS")]
    Method,
    /// No `st`, several, or one that is no text.
    #[error("the query needs exactly one well-formed st")]
    TokenQuery,
    /// The token says no.
    #[error("the token is not valid for this request")]
    Token(#[source] TokenError),
    /// `If-Match` or `If-Unmodified-Since` does not hold.
    #[error("a condition of the request does not hold")]
    Precondition,
    /// The range starts past the end.
    #[error("the range lies past the end of the object")]
    RangePastEnd {
        /// The object's length, bytes.
        len: u64,
    },
}

impl Refusal {
    /// The label in metrics and in the access log; for tokens also the value of `Edge-Token-Error`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotHttp => "not_http",
            Self::LineEnding => "line_ending",
            Self::HeadTimeout => "head_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::FieldTooLarge => "field_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::BodyTooLarge => "body_too_large",
            Self::Host => "host",
            Self::PathGrammar => "path_grammar",
            Self::NoSuchPath => "no_such_path",
            Self::Method => "http_method",
            Self::TokenQuery => "malformed",
            Self::Token(error) => error.reason(),
            Self::Precondition => "precondition",
            Self::RangePastEnd { .. } => "range",
        }
    }
}

/// A status and a sentence.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) status: StatusCode,
    text: String,
    extra: Option<(HeaderName, HeaderValue)>,
}

/// Names the reason of a refused token (MEDIA.md §6.1).
const EDGE_TOKEN_ERROR: HeaderName = HeaderName::from_static("edge-token-error");
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
/// Seconds after which a client should come back when upstream is busy or unreachable.
const RETRY_SECS: u64 = 1;

impl Verdict {
    /// The verdict on a request that is not granted.
    pub(crate) fn of_refusal(refusal: &Refusal) -> Self {
        let (status, extra) = match refusal {
            Refusal::NotHttp | Refusal::LineEnding | Refusal::Host | Refusal::PathGrammar => {
                (StatusCode::BAD_REQUEST, None)
            }
            Refusal::HeadTimeout => (StatusCode::REQUEST_TIMEOUT, None),
            Refusal::HeadTooLarge | Refusal::FieldTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, None)
            }
            Refusal::TargetTooLong => (StatusCode::URI_TOO_LONG, None),
            Refusal::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Refusal::NoSuchPath => (StatusCode::NOT_FOUND, None),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, ALLOWED))),
            Refusal::TokenQuery | Refusal::Token(_) => {
                let reason = HeaderValue::from_static(refusal.reason());
                (StatusCode::FORBIDDEN, Some((EDGE_TOKEN_ERROR, reason)))
            }
            Refusal::Precondition => (StatusCode::PRECONDITION_FAILED, None),
            Refusal::RangePastEnd { len } => {
                let value = HeaderValue::try_from(format!("bytes */{len}")).ok();
                (StatusCode::RANGE_NOT_SATISFIABLE, value.map(|value| (CONTENT_RANGE, value)))
            }
        };
        Self { status, text: format!("{refusal}\n"), extra }
    }

    /// The verdict on a fetch that gave no bytes.
    pub(crate) fn of_fetch(error: &FetchError) -> Self {
        let (status, text) = match error {
            FetchError::Upstream(cause) | FetchError::Remembered(cause) => Self::of_upstream(cause),
            FetchError::TimedOut { .. } => {
                (StatusCode::GATEWAY_TIMEOUT, "the origin did not answer in time\n")
            }
            FetchError::Changed { .. }
            | FetchError::WrongSpan { .. }
            | FetchError::Short { .. }
            | FetchError::Long { .. }
            | FetchError::WrongDigest { .. }
            | FetchError::TooLong { .. } => BAD_ORIGIN,
            FetchError::Crowded { .. }
            | FetchError::Queued { .. }
            | FetchError::Abandoned
            | FetchError::Purged
            | FetchError::Interrupted => (StatusCode::SERVICE_UNAVAILABLE, "the edge is busy\n"),
        };
        let retry = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
        let extra = retry.then(|| (RETRY_AFTER, HeaderValue::from(RETRY_SECS)));
        Self { status, text: text.to_owned(), extra }
    }

    fn of_upstream(error: &UpstreamError) -> (StatusCode, &'static str) {
        match error {
            UpstreamError::Missing | UpstreamError::Gone => (StatusCode::NOT_FOUND, "no such object\n"),
            // The origin's own "not now" is passed on; every other status is a disagreement between the two of us.
            UpstreamError::Refused { status: 429 | 503 } | UpstreamError::Unreachable { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "the origin is not available\n")
            }
            UpstreamError::Refused { status: 504 } | UpstreamError::TimedOut => {
                (StatusCode::GATEWAY_TIMEOUT, "the origin did not answer in time\n")
            }
            UpstreamError::Refused { .. }
            | UpstreamError::Malformed { .. }
            | UpstreamError::ShortBody { .. } => BAD_ORIGIN,
        }
    }

    /// The answer that says so.
    pub(crate) fn reply(self, mut account: Account) -> Reply {
        let len = self.text.len() as u64;
        let mut headers = Vec::with_capacity(9);
        headers.push((CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")));
        headers.push((CONTENT_LENGTH, HeaderValue::from(len)));
        headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        headers.extend(self.extra);
        cross_origin(&mut headers);
        account.answered(self.status);
        if account.is_head() {
            return Reply::new(self.status, headers, Body::Empty, 0, account);
        }
        Reply::new(self.status, headers, Body::One(Bytes::from(self.text)), len, account)
    }
}

const BAD_ORIGIN: (StatusCode, &str) = (StatusCode::BAD_GATEWAY, "the origin's answer was not usable\n");

/// The answer to a browser's preflight (Fetch §3.2): ranges, conditions and CMCD headers are welcome.
pub(crate) fn preflight(mut account: Account) -> Reply {
    const HEADERS: HeaderValue = HeaderValue::from_static(
        "Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, \
         CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status",
    );
    let mut headers = vec![
        (ALLOW, ALLOWED),
        (ACCESS_CONTROL_ALLOW_METHODS, ALLOWED),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
    ];
    cross_origin(&mut headers);
    account.answered(StatusCode::NO_CONTENT);
    Reply::new(StatusCode::NO_CONTENT, headers, Body::Empty, 0, account)
}

/// The status of an admin page.
pub(crate) fn admin_status(page: Page) -> StatusCode {
    match page {
        Page::Fine | Page::Json => StatusCode::OK,
        Page::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Page::Unknown => StatusCode::NOT_FOUND,
        Page::Forbidden => StatusCode::FORBIDDEN,
        Page::NotNow => StatusCode::CONFLICT,
        Page::Method => StatusCode::METHOD_NOT_ALLOWED,
        Page::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
