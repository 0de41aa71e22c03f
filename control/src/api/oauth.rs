//! `POST /oauth/token`: name and password for an access token (RFC 6749 §4.3).

use super::fresh_json;
use crate::app::{App, Peer};
use crate::body;
use crate::verdict::{Failure, OauthFailure};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

#[derive(Serialize)]
struct TokenAnswer {
    access_token: String,
    token_type: &'static str,
    expires_in: u32,
}

pub(super) async fn token(State(app): State<Arc<App>>, request: Request) -> Result<Response, Response> {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    let held = app.rates.login.pass(peer.network(), app.now()).map_err(Failure::Held);
    held.map_err(IntoResponse::into_response)?;
    let answer = exchange(&app, request).await.map_err(IntoResponse::into_response)?;
    let mut response = fresh_json(&answer).map_err(IntoResponse::into_response)?;
    // RFC 6749 §5.1 asks for both.
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

async fn exchange(app: &App, request: Request) -> Result<TokenAnswer, OauthFailure> {
    let (parts, content) = request.into_parts();
    let fields = body::form(&parts.headers, content, app.body).await?;
    let grant = only(&fields, "grant_type", "grant_type is missing or comes twice")?;
    if grant != "password" {
        return Err(OauthFailure::GrantType);
    }
    let name = only(&fields, "username", "username is missing or comes twice")?;
    let password = only(&fields, "password", "password is missing or comes twice")?;
    let access = app.issuer.log_in(name, password, app.now())?;
    Ok(TokenAnswer { access_token: access.token, token_type: "Bearer", expires_in: access.expires_in })
}

/// RFC 6749 §3.2: a parameter comes once; those we do not know are ignored.
fn only<'a>(
    fields: &'a [(String, String)],
    name: &str,
    missing: &'static str,
) -> Result<&'a str, OauthFailure> {
    let mut values = fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(OauthFailure::Parameter(missing)),
    }
}
