//! What happens to every request of a player, whatever it asks for.
//!
//! Promises
//! - An address above its rate is held before anything is parsed.
//! - Each request is one line of the access log: never its query, body, tokens or cookies.
//! - Every answer forbids sniffing and sends no referrer.
//!
//! Does not know: what the endpoints do.

use crate::app::{App, Peer};
use crate::body::printable;
use crate::verdict::{Code, Failure};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::time::Instant;

/// What an access log line says of the asker.
const LOG: &str = "access";

/// Checks, answers, counts and logs one request of a player.
pub async fn answer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    let method = request.method().clone();
    let path = printable(request.uri().path());
    let protocol = protocol(request.version());
    let endpoint = endpoint(request.uri().path());
    let mut response = match admit(&app, peer, &request) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if endpoint.is_cross_origin() {
        allow_any_origin(headers);
    }
    let took = began.elapsed();
    let status = response.status().as_u16();
    let code = response.extensions().get::<Code>().map(|code| code.0);
    app.metrics.answered(endpoint.name(), status, code, took);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let method = method_name(&method);
    tracing::info!(target: LOG, peer = %peer.0, protocol, method, path, status, code, millis);
    response
}

fn admit(app: &App, peer: Peer, request: &Request) -> Result<(), Failure> {
    let (network, now) = (peer.network(), app.now());
    app.rates.address.pass(network, now).map_err(Failure::Held)?;
    let mut hosts = request.headers().get_all(header::HOST).iter();
    if request.version() == Version::HTTP_11 && (hosts.next().is_none() || hosts.next().is_some()) {
        return Err(Failure::Host);
    }
    Ok(())
}

/// Endpoints as metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Page,
    Login,
    Songs,
    Play,
    Progress,
    Manifest,
    Licence,
    Other,
}

fn endpoint(path: &str) -> Endpoint {
    match path {
        "/" => Endpoint::Page,
        "/oauth/token" => Endpoint::Login,
        "/api/v1/stream/play" => Endpoint::Play,
        "/api/v1/stream/progress" => Endpoint::Progress,
        "/api/v1/drm/license" => Endpoint::Licence,
        path if path.starts_with("/player/") => Endpoint::Page,
        path if path == "/api/v1/songs" || path.starts_with("/api/v1/songs/") => Endpoint::Songs,
        path if path.starts_with("/m/") => Endpoint::Manifest,
        _ => Endpoint::Other,
    }
}

impl Endpoint {
    const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Login => "login",
            Self::Songs => "songs",
            Self::Play => "play",
            Self::Progress => "progress",
            Self::Manifest => "manifest",
            Self::Licence => "licence",
            Self::Other => "other",
        }
    }

    /// Whether pages of other origins may ask: players live anywhere, and both need a token in the request
    /// itself, never a cookie.
    const fn is_cross_origin(self) -> bool {
        matches!(self, Self::Manifest | Self::Licence)
    }
}

fn allow_any_origin(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After, WWW-Authenticate"),
        (http::HeaderName::from_static("timing-allow-origin"), "*"),
        (http::HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Methods of our own endpoints by name; a client may invent others of any length.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "h2",
        _ => "http/1.1",
    }
}
