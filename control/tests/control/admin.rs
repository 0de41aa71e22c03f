//! The operator's listener.

use crate::world::{Answer, OPERATOR_SECRET, World, record, refused, song_id};
use http::{Method, header};
use serde_json::{Value as Json, json};

async fn put(world: &World, path: &str, body: &Json) -> Answer {
    Answer::of(world.ask_admin(Method::PUT, path).bearer_auth(OPERATOR_SECRET).json(body)).await
}

#[tokio::test]
async fn a_song_is_kept_as_it_was_sent() {
    let world = World::new().await;
    let path = format!("/admin/v1/songs/{}", song_id());
    let mut renamed = record();
    renamed["title"] = "Nocturne, again".into();

    assert_eq!(put(&world, &path, &record()).await.status, 204);
    assert_eq!(put(&world, &path, &record()).await.status, 204, "a second time is the same");
    assert_eq!(put(&world, &path, &renamed).await.status, 204);

    let ask = |path: &str| Answer::of(world.ask_admin(Method::GET, path).bearer_auth(OPERATOR_SECRET));
    assert_eq!(ask(&path).await.json(), renamed);
    assert_eq!(ask("/admin/v1/songs").await.json(), json!({"songs": [renamed], "next": null}));
    assert_eq!(ask(&format!("{path}/plays")).await.json(), json!({"song_id": song_id(), "plays": 0}));
}

#[tokio::test]
async fn the_operators_secret_is_asked_for() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("premium").await;
    let path = format!("/admin/v1/songs/{}", song_id());
    for (method, path) in [
        (Method::PUT, path.clone()),
        (Method::GET, path.clone()),
        (Method::GET, "/admin/v1/songs".to_owned()),
        (Method::GET, format!("{path}/plays")),
    ] {
        let ask = || world.ask_admin(method.clone(), &path).json(&record());
        assert_eq!(Answer::of(ask()).await.refusal(), refused(401, "unauthorized"));
        for wrong in ["the-operators-own-secreT", "the-operators-own-secret-and-more", &access] {
            assert_eq!(
                Answer::of(ask().bearer_auth(wrong)).await.refusal(),
                refused(401, "unauthorized"),
                "{wrong}"
            );
        }
    }
}

#[tokio::test]
async fn records_that_cannot_be_are_refused_and_not_kept() {
    let world = World::new().await;
    let path = format!("/admin/v1/songs/{}", song_id());
    let with = |field: &str, value: Json| {
        let mut record = record();
        record[field] = value;
        record
    };
    for body in [
        with("song_id", "song_other".into()),
        with("title", "".into()),
        with("title", "a\u{0}b".into()),
        with("title", "x".repeat(301).into()),
        with("asset", "xyz".into()),
        with("renditions", json!([])),
        with("duration_ms", 0.into()),
        with("unknown", 1.into()),
        json!([]),
        Json::Null,
    ] {
        assert_eq!(put(&world, &path, &body).await.refusal(), refused(400, "invalid_body"), "{body}");
    }
    let kept = Answer::of(world.ask_admin(Method::GET, &path).bearer_auth(OPERATOR_SECRET)).await;
    assert_eq!(kept.refusal(), refused(404, "unknown_song"));
}

#[tokio::test]
async fn health_and_readiness_answer_without_a_secret() {
    let world = World::new().await;
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = Answer::of(world.ask_admin(Method::GET, path)).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, text));
    }
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_nobody() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("premium").await;
    let play = world.play(&access, "high").await;
    let session = play["session_id"].as_str().unwrap();
    let told = json!({"session_id": session, "song_id": song_id(), "position": 31, "duration_played": 31});
    world.progress(&access, &told).await;
    Answer::of(world.ask(Method::GET, "/api/v1/songs")).await;

    let answer = Answer::of(world.ask_admin(Method::GET, "/metrics")).await;

    assert!(answer.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "control_plays_granted_total{tier=\"premium\"} 1",
        "control_plays_counted_total 1",
        "control_refusals_total{code=\"unauthorized\"} 1",
        "control_requests_total{endpoint=\"play\",status=\"2xx\"} 1",
        "control_requests_total{endpoint=\"songs\",status=\"4xx\"} 1",
    ] {
        assert!(answer.text.lines().any(|each| each == line), "{line} is not in {}", answer.text);
    }
    for secret in [access.as_str(), session, song_id(), "demo-premium", OPERATOR_SECRET] {
        assert!(!answer.text.contains(secret));
    }
}

#[tokio::test]
async fn players_do_not_reach_the_operators_paths() {
    let world = World::new().await;
    for path in ["/admin/v1/songs", "/metrics", "/healthz"] {
        let answer = Answer::of(world.ask(Method::GET, path).bearer_auth(OPERATOR_SECRET)).await;
        assert_eq!(answer.refusal(), refused(404, "not_found"), "{path}");
    }
}
