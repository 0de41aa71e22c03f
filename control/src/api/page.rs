//! `GET /`, `/player/*`: the web player and what it must know of this installation.

use super::fresh_json;
use crate::app::App;
use crate::issuer::DemoListener;
use crate::page::{INDEX, PageFile};
use crate::verdict::Failure;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use std::sync::Arc;

/// Scripts and styles of our own only; bytes from any edge; sound from buffers that the page fills.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' https: http://localhost:*; \
    media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

#[derive(Serialize)]
struct PageConfig<'a> {
    edge_url: &'a str,
    demo_listeners: &'a [DemoListener],
}

pub(super) async fn index(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Failure> {
    answer(app.page.file(INDEX), &headers)
}

pub(super) async fn file(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Path(name) = name.map_err(|_| Failure::NoSuchPath)?;
    answer(app.page.file(&name), &headers)
}

pub(super) async fn config(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    fresh_json(&PageConfig { edge_url: &app.edge_url, demo_listeners: &app.demo })
}

fn answer(file: Option<&PageFile>, headers: &HeaderMap) -> Result<Response, Failure> {
    let file = file.ok_or(Failure::NoSuchPath)?;
    let etag = HeaderValue::from_str(&file.etag).map_err(|_| Failure::Defect("an entity tag"))?;
    let mut response = match is_known(headers, &file.etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response(),
    };
    let into = response.headers_mut();
    into.insert(header::ETAG, etag);
    // The tag is asked for each time: a new binary shows its page at once.
    into.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    into.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    Ok(response)
}

/// Whether `If-None-Match` names `etag`; the comparison is weak (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let texts = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
