//! `POST /oauth/token`.

use crate::world::{Answer, World};
use http::{Method, header};
use serde_json::Value as Json;

async fn exchange(world: &World, form: &str) -> Answer {
    let ask = world.ask(Method::POST, "/oauth/token");
    Answer::of(ask.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.to_owned()))
        .await
}

#[tokio::test]
async fn a_demo_listener_logs_in() {
    let world = World::new().await;

    let answer = exchange(&world, "grant_type=password&username=free&password=listen&client_id=web").await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers[header::PRAGMA], "no-cache");
    let json: Json = answer.json();
    assert_eq!((&json["token_type"], &json["expires_in"]), (&"Bearer".into(), &3600.into()));
    assert_eq!(json["access_token"].as_str().unwrap().split('.').count(), 3);
}

#[tokio::test]
async fn refusals_use_the_words_of_rfc_6749() {
    let world = World::new().await;
    for (form, error) in [
        ("grant_type=password&username=free&password=wrong", "invalid_grant"),
        ("grant_type=password&username=nobody&password=listen", "invalid_grant"),
        ("grant_type=password&username=free&password=listen%00", "invalid_grant"),
        ("grant_type=password&username=free&username=premium&password=listen", "invalid_request"),
        ("grant_type=password&username=free", "invalid_request"),
        ("grant_type=password&username=%ff&password=listen", "invalid_request"),
        ("username=free&password=listen", "invalid_request"),
        ("", "invalid_request"),
        ("grant_type=client_credentials&username=free&password=listen", "unsupported_grant_type"),
    ] {
        let answer = exchange(&world, form).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &error.into()), "{form}");
    }
}

#[tokio::test]
async fn a_name_and_a_password_are_refused_alike() {
    let world = World::new().await;
    let name = exchange(&world, "grant_type=password&username=nobody&password=listen").await;
    let password = exchange(&world, "grant_type=password&username=free&password=guess").await;
    assert_eq!((name.status, name.text), (password.status, password.text));
}

#[tokio::test]
async fn a_log_in_is_a_form() {
    let world = World::new().await;
    let ask = world.ask(Method::POST, "/oauth/token").body(r#"{"grant_type":"password"}"#);
    let answer = Answer::of(ask.header(header::CONTENT_TYPE, "application/json")).await;
    assert_eq!((answer.status, &answer.json()["error"]), (415, &"invalid_request".into()));
}

#[tokio::test]
async fn without_demo_listeners_nobody_logs_in() {
    let world = World::with(|config| config.demo.listeners = false).await;
    let answer = exchange(&world, "grant_type=password&username=free&password=listen").await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &"invalid_grant".into()));
    let page = Answer::of(world.ask(Method::GET, "/player/config.json")).await;
    assert_eq!(page.json()["demo_listeners"], serde_json::json!([]));
}
