//! The only place where a refusal or a failure becomes a status and a code that a client sees.
//!
//! Promises
//! - Our own errors are matched by name: a new way to fail does not compile until it has a verdict here.
//! - A client's fault is a 4xx, the origin's a 502, 503 or 504, ours a 500 or 503. What went wrong inside is
//!   logged here, once, and never sent.
//! - Codes are stable: clients may match on them (docs/control.md lists them).
//!
//! Does not know: how the failure came about.

use crate::body::BodyError;
use crate::issuer::LoginError;
use crate::jwt::{self, JwtError};
use crate::layouts::LayoutError;
use crate::limits::Held;
use crate::policy::PolicyError;
use crate::state::{ReportError, StateError};
use antiphon_core::{SongId, chain};
use antiphon_drm::keys::KeyError;
use antiphon_drm::licence::LicenceError;
use antiphon_drm::token::SignError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Why a request is not granted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing lives at such a path.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The path is there, the method is not.
    #[error("this path does not take this method")]
    Method,
    /// HTTP/1.1 without exactly one host (RFC 9112 §3.2).
    #[error("an HTTP/1.1 request needs exactly one Host")]
    Host,
    /// A parameter of the query.
    #[error("{0}")]
    Parameter(&'static str),
    /// The body.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A field of the body that is well-formed and yet impossible.
    #[error("{0}")]
    Field(&'static str),
    /// No token at all.
    #[error("send a bearer token")]
    NoToken,
    /// A token that is not good here.
    #[error(transparent)]
    Token(JwtError),
    /// Not the operator's secret.
    #[error("send the operator's secret as a bearer token")]
    NotOperator,
    /// The token is for another session or asset than the path.
    #[error("the token is for another play")]
    OtherPlay,
    /// Too many requests.
    #[error("too many requests: come back in {} s", .0.retry_secs)]
    Held(Held),
    /// No such song.
    #[error("there is no song {0}")]
    UnknownSong(SongId),
    /// The tier says no.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A report that belongs to no play.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A licence request that is none.
    #[error(transparent)]
    Licence(#[from] LicenceError),
    /// A key that this asset does not have in this epoch.
    #[error("the licence request names a key that this play does not have")]
    UnknownKey,
    /// Keys that the tier does not have.
    #[error("the keys asked for are above the listener's tier")]
    KeyAboveTier,
    /// No layout from the origin.
    #[error("fetch the layout of the track")]
    Layout(#[source] Arc<LayoutError>),
    /// No rendition in the layout that the play may have.
    #[error("the origin lists no rendition that this play may have")]
    NothingToList,
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key ring.
    #[error("derive content keys")]
    Keys(#[source] KeyError),
    /// A stream token that could not be signed.
    #[error("sign a stream token")]
    Stream(#[source] SignError),
    /// A token of ours that could not be signed.
    #[error("sign a token")]
    Mint(#[source] jwt::SignError),
    /// A random name that is none, or a header that cannot be written: a defect.
    #[error("write {0}")]
    Defect(&'static str),
}

/// Why no access token is given, in the words of RFC 6749 §5.2.
#[derive(Debug, thiserror::Error)]
pub enum OauthFailure {
    /// The form itself.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A parameter is missing or comes twice.
    #[error("{0}")]
    Parameter(&'static str),
    /// Another grant than the one we know.
    #[error("the only grant_type here is password")]
    GrantType,
    /// Wrong name or password, or our own fault.
    #[error(transparent)]
    Login(#[from] LoginError),
}

/// What a client hears.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    status: StatusCode,
    code: &'static str,
    retry_secs: Option<u64>,
}

/// The code of an answer, for metrics and the access log.
#[derive(Clone, Copy, Debug)]
pub struct Code(pub &'static str);

/// Seconds after which a client should come back when something behind us is away.
const RETRY_SECS: u64 = 2;

/// What a client hears of a fault of ours or of the origin.
const INSIDE: &str = "something on our side went wrong; it is being looked at";
const AWAY: &str = "this is not available just now; come back in a moment";

impl Failure {
    fn verdict(&self) -> Verdict {
        let (status, code) = match self {
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Host => (StatusCode::BAD_REQUEST, "bad_host"),
            Self::Parameter(_) => (StatusCode::BAD_REQUEST, "invalid_parameter"),
            Self::Body(error) => of_body(error),
            Self::Field(_) => (StatusCode::BAD_REQUEST, "invalid_body"),
            Self::NoToken | Self::NotOperator => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Token(JwtError::Expired) => (StatusCode::UNAUTHORIZED, "token_expired"),
            Self::Token(JwtError::Malformed | JwtError::Forged | JwtError::Elsewhere | JwtError::NotYet) => {
                (StatusCode::UNAUTHORIZED, "invalid_token")
            }
            Self::OtherPlay => (StatusCode::FORBIDDEN, "other_play"),
            Self::Held(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::UnknownSong(_) => (StatusCode::NOT_FOUND, "unknown_song"),
            Self::Policy(PolicyError::AboveTier { .. }) | Self::KeyAboveTier => {
                (StatusCode::FORBIDDEN, "tier")
            }
            Self::Report(ReportError::UnknownSession { .. }) => (StatusCode::NOT_FOUND, "unknown_session"),
            Self::Report(ReportError::OtherSong { .. }) => (StatusCode::CONFLICT, "other_song"),
            Self::Licence(LicenceError::TooLong { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::Licence(
                LicenceError::Json(_)
                | LicenceError::NoKids
                | LicenceError::TooManyKids { .. }
                | LicenceError::BadKid { .. }
                | LicenceError::Persistent
                | LicenceError::UnknownType,
            ) => (StatusCode::BAD_REQUEST, "invalid_licence_request"),
            Self::UnknownKey => (StatusCode::NOT_FOUND, "unknown_key"),
            Self::Layout(error) => of_layout(error),
            Self::NothingToList => (StatusCode::BAD_GATEWAY, "origin_failed"),
            Self::State(error) | Self::Report(ReportError::State(error)) => of_state(error),
            Self::Keys(KeyError::NoEpoch { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable"),
            Self::Stream(_) => (StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable"),
            Self::Mint(_) | Self::Defect(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let retry_secs = match self {
            Self::Held(held) => Some(held.retry_secs),
            _ => matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
                .then_some(RETRY_SECS),
        };
        Verdict { status, code, retry_secs }
    }

    /// RFC 6750 §3: what kind of token is wanted, and what was wrong with the one that came.
    fn challenge(&self) -> Option<HeaderValue> {
        match self {
            Self::NoToken | Self::NotOperator => Some(HeaderValue::from_static("Bearer realm=\"antiphon\"")),
            Self::Token(_) => {
                Some(HeaderValue::from_static("Bearer realm=\"antiphon\", error=\"invalid_token\""))
            }
            _ => None,
        }
    }
}

fn of_body(error: &BodyError) -> (StatusCode, &'static str) {
    match error {
        BodyError::TooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        BodyError::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
        BodyError::MediaType { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
        BodyError::CutShort | BodyError::Json { .. } | BodyError::Form => {
            (StatusCode::BAD_REQUEST, "invalid_body")
        }
    }
}

fn of_layout(error: &LayoutError) -> (StatusCode, &'static str) {
    match error {
        LayoutError::Missing { .. } => (StatusCode::NOT_FOUND, "media_missing"),
        LayoutError::Refused { status: 429 | 503, .. } | LayoutError::Unreachable { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "origin_unavailable")
        }
        LayoutError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "origin_unavailable"),
        LayoutError::Refused { .. } | LayoutError::Lie { .. } => (StatusCode::BAD_GATEWAY, "origin_failed"),
    }
}

fn of_state(error: &StateError) -> (StatusCode, &'static str) {
    match error {
        StateError::Database { .. } => (StatusCode::SERVICE_UNAVAILABLE, "state_unavailable"),
        StateError::Migrate(_) | StateError::Damaged { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let verdict = self.verdict();
        let detail = match verdict.status.as_u16() {
            ..500 => self.to_string(),
            503 | 504 => AWAY.to_owned(),
            _ => INSIDE.to_owned(),
        };
        if verdict.status.is_server_error() {
            let chain = chain(&self);
            tracing::error!(code = verdict.code, error = %chain, "request failed");
        } else if let Self::Layout(error) = &self {
            tracing::warn!(code = verdict.code, error = %error, "the catalogue names a track that the origin does not have");
        }
        let mut response = problem(&verdict, &detail);
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl IntoResponse for OauthFailure {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::Body(error) => (of_body(error).0, "invalid_request"),
            Self::Parameter(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::GrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::Login(LoginError::Unknown) => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::Login(LoginError::Sign(_)) => {
                tracing::error!(error = %chain(&self), "log-in failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
            }
        };
        let description = if status.is_server_error() { INSIDE.to_owned() } else { self.to_string() };
        let body = serde_json::json!({"error": error, "error_description": description});
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.extensions_mut().insert(Code(error));
        response
    }
}

/// Problem details (RFC 9457).
fn problem(verdict: &Verdict, detail: &str) -> Response {
    let mut body = Map::new();
    let mut put = |key: &str, value: Json| body.insert(key.to_owned(), value);
    put("title", verdict.status.canonical_reason().unwrap_or("Error").into());
    put("status", verdict.status.as_u16().into());
    put("code", verdict.code.into());
    put("detail", detail.into());
    let kind = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
    let mut response = (verdict.status, kind, Json::Object(body).to_string()).into_response();
    if let Some(secs) = verdict.retry_secs {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response.extensions_mut().insert(Code(verdict.code));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn what_went_wrong_inside_stays_inside() {
        let failure = Failure::State(StateError::Damaged { what: "song \"x\"".into() });
        let response = failure.into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(!text.contains("damaged") && text.contains("\"code\":\"internal\""), "{text}");
    }

    #[test]
    fn whoever_must_wait_is_told_how_long() {
        let held = Failure::Held(Held { retry_secs: 7 }).into_response();
        assert_eq!(
            (held.status(), &held.headers()[header::RETRY_AFTER]),
            (StatusCode::TOO_MANY_REQUESTS, &HeaderValue::from(7))
        );
        let away = Failure::State(StateError::Database { doing: "x", cause: sqlx::Error::PoolTimedOut })
            .into_response();
        assert_eq!(
            (away.status(), &away.headers()[header::RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(RETRY_SECS))
        );
    }
}
