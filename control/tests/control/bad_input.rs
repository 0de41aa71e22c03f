//! Bodies and headers that no player sends: always a precise 4xx, never a 5xx.

use crate::world::{Answer, World, refused, song_id};
use http::{Method, header};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value as Json, json};

const POSTS: [&str; 2] = ["/api/v1/stream/play", "/api/v1/stream/progress"];

async fn post(world: &World, access: &str, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    let ask = world.ask(Method::POST, path).bearer_auth(access).header(header::CONTENT_TYPE, kind);
    Answer::of(ask.body(body)).await
}

#[tokio::test]
async fn bodies_that_are_no_such_json_are_named() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let deep = "[".repeat(8000);
    let deep_field = format!("{{\"song_id\":{deep}");
    for body in [
        &b""[..],
        b"{",
        b"null",
        b"[]",
        b"\"x\"",
        b"{\"song_id\":\"\xff\xfe\"}",
        b"{\"song_id\":\"\\ud800\"}",
        b"{\"song_id\":1,\"song_id\":2}",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b"NaN",
        deep.as_bytes(),
        deep_field.as_bytes(),
    ] {
        for path in POSTS {
            let answer = post(&world, &access, path, "application/json", body.to_vec()).await;
            assert_eq!(answer.refusal(), refused(400, "invalid_body"), "{}", String::from_utf8_lossy(body));
            assert!(answer.text.len() < 600, "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn fields_of_a_play_are_held_to_their_types() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let good = json!({"song_id": song_id(), "quality": "low", "device_id": "d"});
    for (field, value) in [
        ("song_id", json!(7)),
        ("song_id", json!("")),
        ("song_id", json!("a/../b")),
        ("song_id", json!("x' OR '1'='1")),
        ("song_id", json!("song\n{\"level\":\"ERROR\"}")),
        ("song_id", json!("x".repeat(65))),
        ("quality", json!("HIGH")),
        ("quality", json!("loud")),
        ("quality", json!(["low"])),
        ("device_id", json!(null)),
        ("device_id", json!("a~b")),
        ("device_id", json!({"id": "d"})),
        ("tier", json!("premium")),
    ] {
        let mut wish = good.clone();
        wish[field] = value.clone();
        let answer = post(&world, &access, POSTS[0], "application/json", wish.to_string()).await;
        assert_eq!(answer.refusal(), refused(400, "invalid_body"), "{field} = {value}");
    }
    for field in ["song_id", "quality", "device_id"] {
        let mut wish = good.clone();
        wish.as_object_mut().unwrap().remove(field);
        let answer = post(&world, &access, POSTS[0], "application/json", wish.to_string()).await;
        assert!(answer.code() == "invalid_body" && answer.text.contains(field), "{}", answer.text);
    }
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let world = World::new().await;
    let access = world.log_in("free").await;
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", "application/json+x"]
    {
        for path in POSTS {
            let answer = post(&world, &access, path, kind, "{}").await;
            assert_eq!(answer.refusal(), refused(415, "unsupported_media_type"), "{kind}");
        }
    }
}

#[tokio::test]
async fn nothing_is_asked_of_a_body_before_the_token_is_good() {
    let world = World::new().await;
    for path in POSTS {
        let answer = post(&world, "x.y.z", path, "text/plain", vec![0xff; 20_000]).await;
        assert_eq!(answer.refusal(), refused(401, "invalid_token"));
    }
}

/// Any JSON, and bodies that look like ours with a field gone wrong.
fn any_body() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,40}".prop_map(Json::from),
        Just(Json::from(song_id())),
        Just(Json::from("low")),
        Just(Json::from(31.0)),
    ];
    let tree = leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::hash_map(".{0,8}", inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    });
    let names = vec![
        "song_id",
        "quality",
        "device_id",
        "session_id",
        "position",
        "duration_played",
        "buffering_events",
        "quality_switches",
        "kids",
        "type",
        "extra",
    ];
    let ours = prop::collection::hash_map(prop::sample::select(names), tree.clone(), 0..8)
        .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    prop_oneof![tree, ours]
}

#[test]
fn no_json_body_is_a_5xx() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, access, drm_token) = runtime.block_on(async {
        let world = World::new().await;
        world.add_song().await;
        let access = world.log_in("premium").await;
        let drm_token = world.play(&access, "low").await["drm_token"].as_str().unwrap().to_owned();
        (world, access, drm_token)
    });
    let mut runner = TestRunner::new(Runs { cases: 300, failure_persistence: None, ..Runs::default() });
    let outcome = runner.run(&any_body(), |body| {
        runtime.block_on(async {
            for (path, token) in
                [(POSTS[0], &access), (POSTS[1], &access), ("/api/v1/drm/license", &drm_token)]
            {
                let answer = post(&world, token, path, "application/json", body.to_string()).await;
                prop_assert!(
                    answer.status < 500,
                    "{path} answered {} to {body}: {}",
                    answer.status,
                    answer.text
                );
                if answer.status >= 400 {
                    let _ = answer.code();
                }
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

#[test]
fn no_bytes_are_a_5xx() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, access) = runtime.block_on(async {
        let world = World::new().await;
        let access = world.log_in("premium").await;
        (world, access)
    });
    let mut runner = TestRunner::new(Runs { cases: 200, failure_persistence: None, ..Runs::default() });
    let outcome = runner.run(&prop::collection::vec(any::<u8>(), 0..200), |bytes| {
        runtime.block_on(async {
            let form = "application/x-www-form-urlencoded";
            for (path, kind) in
                [(POSTS[0], "application/json"), (POSTS[1], "application/json"), ("/oauth/token", form)]
            {
                let answer = post(&world, &access, path, kind, bytes.clone()).await;
                prop_assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
            }
            Ok(())
        })
    });
    outcome.unwrap();
}
