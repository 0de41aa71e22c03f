//! `POST /api/v1/drm/license`.

use crate::world::{Answer, World, asset, refused};
use antiphon_core::{Rendition, Scheme};
use antiphon_drm::keys::KeyId;
use data_encoding::BASE64URL_NOPAD;
use http::{Method, header};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

fn asking(kids: &[KeyId]) -> String {
    let kids: Vec<String> = kids.iter().map(|kid| BASE64URL_NOPAD.encode(kid.as_bytes())).collect();
    json!({"kids": kids, "type": "temporary"}).to_string()
}

async fn ask(world: &World, drm_token: &str, body: &str) -> Answer {
    let ask = world.ask(Method::POST, "/api/v1/drm/license").bearer_auth(drm_token).body(body.to_owned());
    Answer::of(ask).await
}

async fn drm_token(world: &World, listener: &str) -> String {
    let access = world.log_in(listener).await;
    world.play(&access, "premium").await["drm_token"].as_str().unwrap().to_owned()
}

/// Keys of an answer by key id, both in base64url.
fn keys(answer: &Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["type"], "temporary");
    let text = |key: &Json, name: &str| key[name].as_str().unwrap().to_owned();
    let keys = json["keys"].as_array().unwrap().iter();
    keys.map(|key| {
        assert_eq!(key["kty"], "oct");
        (text(key, "kid"), text(key, "k"))
    })
    .collect()
}

/// What drm derives for these renditions.
fn derived(world: &World, renditions: &[Rendition]) -> BTreeMap<String, String> {
    let pair = |rendition: &Rendition| {
        let (kid, key) =
            world.keyring.content_key(&asset(), Scheme::Cenc, *rendition, world.epoch()).unwrap();
        (BASE64URL_NOPAD.encode(kid.as_bytes()), BASE64URL_NOPAD.encode(key.expose()))
    };
    renditions.iter().map(pair).collect()
}

#[tokio::test]
async fn a_premium_licence_has_every_key_for_any_key_asked_for() {
    let world = World::new().await;
    world.add_song().await;
    let token = drm_token(&world, "premium").await;
    for rendition in Rendition::AAC {
        let answer = ask(&world, &token, &asking(&[world.kid(rendition)])).await;
        assert_eq!(keys(&answer), derived(&world, &Rendition::AAC), "{rendition}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn a_free_licence_has_the_keys_of_64_and_128_only() {
    let world = World::new().await;
    world.add_song().await;
    let token = drm_token(&world, "free").await;
    let granted = derived(&world, &[Rendition::Aac64, Rendition::Aac128]);

    let lowest = ask(&world, &token, &asking(&[world.kid(Rendition::Aac64)])).await;
    // Init segments list the key ids of all renditions, and browsers ask for all that are listed.
    let all = ask(&world, &token, &asking(&Rendition::AAC.map(|rendition| world.kid(rendition)))).await;
    let above = ask(&world, &token, &asking(&[world.kid(Rendition::Aac256)])).await;

    assert_eq!((keys(&lowest), keys(&all)), (granted.clone(), granted));
    assert_eq!(above.refusal(), refused(403, "tier"));
}

#[tokio::test]
async fn a_key_of_another_asset_or_epoch_is_unknown() {
    let world = World::new().await;
    world.add_song().await;
    let token = drm_token(&world, "premium").await;
    let other_epoch =
        KeyId::derive(&asset(), Scheme::Cenc, Rendition::Aac64, antiphon_core::Epoch(world.epoch().0 - 1));
    let other_asset = antiphon_core::AssetId::from_bytes([6; 16]);
    let other_asset = KeyId::derive(&other_asset, Scheme::Cenc, Rendition::Aac64, world.epoch());
    let other_scheme = KeyId::derive(&asset(), Scheme::Cbcs, Rendition::Aac64, world.epoch());
    for kid in [other_epoch, other_asset, other_scheme, KeyId::from_bytes([0; 16])] {
        let alone = ask(&world, &token, &asking(&[kid])).await;
        let beside = ask(&world, &token, &asking(&[world.kid(Rendition::Aac64), kid])).await;
        assert_eq!(alone.refusal(), refused(404, "unknown_key"));
        assert_eq!(beside.refusal(), refused(404, "unknown_key"));
    }
}

#[tokio::test]
async fn the_token_may_come_in_the_query_and_the_content_type_is_anything() {
    let world = World::new().await;
    world.add_song().await;
    let token = drm_token(&world, "free").await;
    let body = asking(&[world.kid(Rendition::Aac64)]);
    let granted = derived(&world, &[Rendition::Aac64, Rendition::Aac128]);
    let path = format!("/api/v1/drm/license?st={token}");
    for kind in ["text/plain;charset=UTF-8", "application/json", "application/octet-stream", "x"] {
        let ask = world.ask(Method::POST, &path).header(header::CONTENT_TYPE, kind).body(body.clone());
        assert_eq!(keys(&Answer::of(ask).await), granted, "{kind}");
    }
    // A player's own bearer token beside it does not matter.
    let access = world.log_in("premium").await;
    let both = Answer::of(world.ask(Method::POST, &path).bearer_auth(access).body(body.clone())).await;
    assert_eq!(keys(&both), granted);
    let encoded = path.replace('.', "%2E");
    assert_eq!(keys(&Answer::of(world.ask(Method::POST, &encoded).body(body)).await), granted);
}

#[tokio::test]
async fn a_licence_needs_an_entitlement() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("premium").await;
    let token = drm_token(&world, "premium").await;
    let body = asking(&[world.kid(Rendition::Aac64)]);

    let nothing = Answer::of(world.ask(Method::POST, "/api/v1/drm/license").body(body.clone())).await;
    assert_eq!(nothing.refusal(), refused(401, "unauthorized"));
    assert_eq!(ask(&world, &access, &body).await.refusal(), refused(401, "invalid_token"));
    let mut forged = token.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    assert_eq!(ask(&world, &forged, &body).await.refusal(), refused(401, "invalid_token"));
    let twice = format!("/api/v1/drm/license?st={token}&st={token}");
    assert_eq!(
        Answer::of(world.ask(Method::POST, &twice).body(body.clone())).await.refusal(),
        refused(401, "invalid_token")
    );
    world.wind(3600 + 30);
    assert_eq!(ask(&world, &token, &body).await.refusal(), refused(401, "token_expired"));
}

#[tokio::test]
async fn odd_licence_requests_are_named() {
    let world = World::new().await;
    world.add_song().await;
    let token = drm_token(&world, "premium").await;
    let kid = BASE64URL_NOPAD.encode(world.kid(Rendition::Aac64).as_bytes());
    let many: Vec<&str> = vec![&kid; 65];
    for body in [
        String::new(),
        "[]".into(),
        "null".into(),
        r#"{"kids":[]}"#.into(),
        r#"{"kids":"x"}"#.into(),
        r#"{"kids":[1]}"#.into(),
        r#"{"kids":["AA"]}"#.into(),
        json!({"kids": [format!("{kid}=")], "type": "temporary"}).to_string(),
        json!({"kids": [kid], "type": "persistent-license"}).to_string(),
        json!({"kids": many, "type": "temporary"}).to_string(),
    ] {
        assert_eq!(
            ask(&world, &token, &body).await.refusal(),
            refused(400, "invalid_licence_request"),
            "{body}"
        );
    }
    let long = format!("{{\"kids\":[\"{kid}\"],\"pad\":\"{}\"}}", "x".repeat(9000));
    assert_eq!(ask(&world, &token, &long).await.refusal(), refused(413, "body_too_large"));
}

#[tokio::test]
async fn pages_of_other_origins_may_ask() {
    let world = World::new().await;
    let preflight = Answer::of(
        world
            .ask(Method::OPTIONS, "/api/v1/drm/license")
            .header(header::ORIGIN, "https://player.example")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type"),
    )
    .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(preflight.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "POST, OPTIONS");
    assert_eq!(preflight.headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization, content-type");
    let refusal = Answer::of(world.ask(Method::POST, "/api/v1/drm/license")).await;
    assert_eq!(
        (refusal.status, &refusal.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN]),
        (401, &"*".parse().unwrap())
    );
}

#[tokio::test]
async fn an_epoch_without_masters_is_our_fault_and_says_nothing_of_it() {
    let world = World::new().await;
    world.add_song().await;
    world.wind(400 * 86_400);
    let token = drm_token(&world, "free").await;
    let answer = ask(&world, &token, &asking(&[world.kid(Rendition::Aac64)])).await;
    assert_eq!(answer.refusal(), refused(503, "keys_unavailable"));
    assert!(
        answer.headers.contains_key(header::RETRY_AFTER) && !answer.text.contains("epoch"),
        "{}",
        answer.text
    );
}
