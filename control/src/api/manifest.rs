//! `GET /m/<session>/<asset>.mpd?st=<drm_token>`: the DASH manifest of one entitlement.
//!
//! The session's name alone opens nothing: it is in the logs of edges. The entitlement in the query does.

use super::play::{licence_url, stream_token};
use crate::app::App;
use crate::entitlement::Entitlement;
use crate::verdict::Failure;
use antiphon_core::{AssetId, SessionId};
use antiphon_drm::manifest::{MpdOptions, mpd};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use std::sync::Arc;
use tokio::time::Instant;

pub(super) async fn preflight() -> Response {
    super::preflight("GET, HEAD, OPTIONS")
}

pub(super) async fn manifest(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let now = app.now();
    let (session, asset) = path.ok().and_then(|Path(names)| named(&names)).ok_or(Failure::NoSuchPath)?;
    let text = super::licence::token(&headers, query.as_deref())?;
    let entitlement = app.entitlements.verify(&text, now).map_err(Failure::Token)?;
    app.rates.listener.pass(&entitlement.listener, now).map_err(Failure::Held)?;
    if entitlement.session != session || entitlement.asset != asset {
        return Err(Failure::OtherPlay);
    }
    let manifest = write(&app, &entitlement, &text).await?;
    let kind = [(header::CONTENT_TYPE, "application/dash+xml"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, manifest).into_response())
}

async fn write(app: &App, entitlement: &Entitlement, drm_token: &str) -> Result<String, Failure> {
    let began = Instant::now();
    let layout = app.layouts.layout(entitlement.asset, entitlement.epoch).await;
    app.metrics.layout_waited(began.elapsed());
    let layout = layout.map_err(Failure::Layout)?;
    let query = format!("st={}", stream_token(app, entitlement, app.now())?);
    let licence = format!("{}?st={drm_token}", licence_url(app));
    let options = MpdOptions {
        base_url: &app.edge_url,
        query: Some(&query),
        licence_url: Some(&licence),
        max_kbps: Some(entitlement.max_kbps),
    };
    mpd(&layout, &options).ok_or(Failure::NothingToList)
}

/// Session and asset of a manifest's path.
fn named((session, file): &(String, String)) -> Option<(SessionId, AssetId)> {
    Some((session.parse().ok()?, file.strip_suffix(".mpd")?.parse().ok()?))
}
