//! `POST /api/v1/drm/license`: the content keys of one entitlement, as a ClearKey licence (MEDIA.md §5).
//!
//! Promises
//! - Only keys of the entitled asset, epoch and renditions are ever derived.
//! - All of them are given for any of them: players of a form S manifest ask for the lowest only.
//!
//! No database: what may be had is in the entitlement.

use crate::app::{App, bearer};
use crate::body;
use crate::entitlement::Entitlement;
use crate::jwt::JwtError;
use crate::verdict::Failure;
use antiphon_core::{Rendition, Scheme};
use antiphon_drm::keys::KeyId;
use antiphon_drm::licence::{ClearKeyAnswer, ClearKeyRequest};
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, header};
use std::sync::Arc;

pub(super) async fn preflight() -> Response {
    super::preflight("POST, OPTIONS")
}

pub(super) async fn licence(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Failure> {
    let now = app.now();
    let (parts, content) = request.into_parts();
    let text = token(&parts.headers, query.as_deref())?;
    let entitlement = app.entitlements.verify(&text, now).map_err(Failure::Token)?;
    app.rates.listener.pass(&entitlement.listener, now).map_err(Failure::Held)?;
    // Players send text/plain, JSON or octet-stream: the content type says nothing here.
    let bytes = body::read(content, app.body).await?;
    let asked = ClearKeyRequest::parse(&bytes)?;
    check(&asked, &entitlement)?;
    let answer = answer(&app, &entitlement)?;
    app.metrics.licence_given();
    let Entitlement { listener, session, asset, epoch, .. } = &entitlement;
    tracing::info!(target: "decision", %listener, %session, %asset, %epoch, "licence given");
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    // The text is zeroed once it was sent.
    Ok((kind, Bytes::from_owner(answer.to_json())).into_response())
}

/// The entitlement that a request shows: `?st=`, where a manifest's licence address has it, or else a bearer
/// token. A player may send a bearer token of another kind along; the one in the query is meant for us.
pub(super) fn token(headers: &HeaderMap, query: Option<&str>) -> Result<String, Failure> {
    let malformed = || Failure::Token(JwtError::Malformed);
    let fields = body::fields(query.unwrap_or("").as_bytes()).ok_or_else(malformed)?;
    let mut tokens = fields.into_iter().filter(|(name, _)| name == "st").map(|(_, value)| value);
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Ok(token),
        (Some(_), Some(_)) => Err(malformed()),
        (None, _) => bearer(headers)?.map(str::to_owned).ok_or(Failure::NoToken),
    }
}

/// Refuses key ids that the asset does not have in this epoch, and requests for nothing within the tier. Ids
/// above the tier are fine beside one within it: init segments list the ids of all renditions.
fn check(asked: &ClearKeyRequest, entitlement: &Entitlement) -> Result<(), Failure> {
    let kid = |rendition| key_id(entitlement, rendition);
    let all: Vec<KeyId> = Rendition::ALL.into_iter().map(kid).collect();
    if asked.kids().iter().any(|asked| !all.contains(asked)) {
        return Err(Failure::UnknownKey);
    }
    let granted: Vec<KeyId> = entitlement.renditions.iter().copied().map(kid).collect();
    match asked.kids().iter().any(|asked| granted.contains(asked)) {
        true => Ok(()),
        false => Err(Failure::KeyAboveTier),
    }
}

fn answer(app: &App, entitlement: &Entitlement) -> Result<ClearKeyAnswer, Failure> {
    let Entitlement { asset, epoch, renditions, .. } = entitlement;
    let ring = app.keys.ring();
    let key = |rendition: &Rendition| ring.keyring.content_key(asset, Scheme::Cenc, *rendition, *epoch);
    let keys: Result<Vec<_>, _> = renditions.iter().map(key).collect();
    keys.map(ClearKeyAnswer::new).map_err(Failure::Keys)
}

fn key_id(entitlement: &Entitlement, rendition: Rendition) -> KeyId {
    KeyId::derive(&entitlement.asset, Scheme::Cenc, rendition, entitlement.epoch)
}
