//! The endpoints: which path is answered by whom.
//!
//! Does not know: how sockets are opened, what tokens and rows look like.

mod admin;
mod licence;
mod manifest;
mod oauth;
mod page;
mod play;
mod progress;
mod songs;

use crate::app::App;
use crate::front;
use crate::verdict::Failure;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::sync::Arc;

/// What players reach.
pub fn players(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/player/config.json", get(page::config))
        .route("/player/{file}", get(page::file))
        .route("/oauth/token", post(oauth::token))
        .route("/api/v1/songs", get(songs::list))
        .route("/api/v1/songs/{song_id}", get(songs::detail))
        .route("/api/v1/stream/play", post(play::play))
        .route("/api/v1/stream/progress", post(progress::report))
        .route("/api/v1/drm/license", post(licence::licence).options(licence::preflight))
        .route("/m/{session}/{file}", get(manifest::manifest).options(manifest::preflight))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), front::answer))
        .with_state(app)
}

/// What operators and their machines reach.
pub fn operators(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(admin::metrics))
        .route("/admin/v1/songs", get(admin::songs))
        .route("/admin/v1/songs/{song_id}", put(admin::put_song).get(admin::song))
        .route("/admin/v1/songs/{song_id}/plays", get(admin::plays))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn no_such_path() -> Failure {
    Failure::NoSuchPath
}

async fn wrong_method() -> Failure {
    Failure::Method
}

/// An answer in JSON that is for this listener and this moment only.
fn fresh_json(body: &impl Serialize) -> Result<Response, Failure> {
    let text = serde_json::to_string(body).map_err(|_| Failure::Defect("an answer"))?;
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, text).into_response())
}

/// The answer to a browser's preflight (Fetch §3.2).
fn preflight(methods: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        (header::ALLOW, methods),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
