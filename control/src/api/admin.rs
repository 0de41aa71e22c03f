//! The operator's endpoints: catalogue, plays, health, metrics.
//!
//! Promises
//! - `/admin/` asks for the operator's secret, compared in constant time; health and metrics tell no secret.

use super::fresh_json;
use super::songs::{PageQuery, page, song_id_of};
use crate::app::{App, bearer};
use crate::body;
use crate::catalogue::Song;
use crate::verdict::Failure;
use antiphon_core::SongId;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct SongsAnswer {
    songs: Vec<Song>,
    next: Option<SongId>,
}

#[derive(Serialize)]
struct PlaysAnswer {
    song_id: SongId,
    plays: u64,
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Failure> {
    app.state.ready().await?;
    Ok("ready\n")
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let text = app.metrics.text().map_err(|_| Failure::Defect("metrics"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

pub(super) async fn put_song(
    State(app): State<Arc<App>>,
    song_id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let (parts, content) = request.into_parts();
    check(&app, &parts.headers)?;
    let id = song_id_of(song_id)?;
    let song: Song = body::json(&parts.headers, content, app.body).await?;
    if song.song_id != id {
        return Err(Failure::Field("the song_id of the record is not the one of the path"));
    }
    app.state.put_song(&song, app.now()).await?;
    tracing::info!(song = %id, asset = %song.asset, "song kept");
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn song(
    State(app): State<Arc<App>>,
    song_id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    check(&app, &headers)?;
    let id = song_id_of(song_id)?;
    let song = app.state.song(&id).await?.ok_or(Failure::UnknownSong(id))?;
    fresh_json(&song)
}

pub(super) async fn songs(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    check(&app, &headers)?;
    let (songs, more) = page(&app, &PageQuery::parse(query.as_deref())?).await?;
    let next = if more { songs.last().map(|song| song.song_id.clone()) } else { None };
    fresh_json(&SongsAnswer { songs, next })
}

pub(super) async fn plays(
    State(app): State<Arc<App>>,
    song_id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    check(&app, &headers)?;
    let id = song_id_of(song_id)?;
    let plays = app.state.plays(&id).await?;
    fresh_json(&PlaysAnswer { song_id: id, plays })
}

fn check(app: &App, headers: &HeaderMap) -> Result<(), Failure> {
    let secret = bearer(headers)?.ok_or(Failure::NotOperator)?;
    app.operator.matches(secret.as_bytes()).then_some(()).ok_or(Failure::NotOperator)
}
