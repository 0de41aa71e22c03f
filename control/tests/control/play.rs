//! `POST /api/v1/stream/play`.

use crate::world::{Answer, World, asset, record, refused, song_id};
use antiphon_drm::token::{Token, TokenError, TokenRequest};
use http::{Method, header};
use serde_json::{Value as Json, json};

/// The path and the `st` of a stream URL.
fn taken_apart(url: &str) -> (String, String) {
    let (path, st) = url.strip_prefix("https://localhost:8443").unwrap().split_once("?st=").unwrap();
    (path.to_owned(), st.to_owned())
}

fn request(path: &str, kbps: u32) -> TokenRequest<'_> {
    TokenRequest { path, kbps: Some(kbps), country: None, address: None, method: "GET" }
}

async fn refusal(world: &World, access: &str, body: &Json) -> (u16, String) {
    Answer::of(world.ask(Method::POST, "/api/v1/stream/play").bearer_auth(access).json(body)).await.refusal()
}

#[tokio::test]
async fn a_premium_listener_gets_what_was_wished_for() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("premium").await;
    for (quality, kbps) in [("low", 64), ("normal", 128), ("high", 256), ("premium", 320), ("lossless", 320)]
    {
        let play = world.play(&access, quality).await;
        assert_eq!(play["bitrate"], kbps, "{quality}");
        let (path, _) = taken_apart(play["stream_url"].as_str().unwrap());
        assert_eq!(path, format!("/a/c/{}/{}/{kbps}.mp4", world.epoch(), asset()));
    }
}

#[tokio::test]
async fn the_answer_says_all_that_a_player_needs() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("premium").await;

    let play = world.play(&access, "high").await;

    assert_eq!(play["expires_at"], "2027-01-15T09:00:00Z");
    assert_eq!(
        (&play["format"], &play["duration"], &play["duration_ms"]),
        (&"aac".into(), &37.into(), &36_786.into())
    );
    assert_eq!(play["loudness"], record()["loudness"]);
    assert_eq!(play["gapless"], record()["gapless"]);
    assert_eq!(play["license_url"], "https://localhost:8480/api/v1/drm/license");
    let session = play["session_id"].as_str().unwrap();
    // 128 bits are 22 characters of base64url.
    assert!(session.strip_prefix("session_").is_some_and(|name| name.len() == 22), "{session}");
    let drm_token = play["drm_token"].as_str().unwrap();
    let manifest = format!("https://localhost:8480/m/{session}/{}.mpd?st={drm_token}", asset());
    assert_eq!(play["manifest_url"], manifest.as_str());
}

#[tokio::test]
async fn a_free_listener_gets_128_whatever_was_wished_for() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    for (quality, kbps) in [("low", 64), ("normal", 128), ("high", 128), ("premium", 128), ("lossless", 128)]
    {
        assert_eq!(world.play(&access, quality).await["bitrate"], kbps, "{quality}");
    }
}

#[tokio::test]
async fn the_stream_token_opens_the_asset_up_to_the_tier_for_an_hour() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let play = world.play(&access, "high").await;
    let (path, st) = taken_apart(play["stream_url"].as_str().unwrap());
    let verify = |path: &str, kbps, at| {
        Token::parse(&st).unwrap().verify(&world.url_keys, &request(path, kbps), at).map(drop)
    };

    let token =
        Token::parse(&st).unwrap().verify(&world.url_keys, &request(&path, 128), world.now()).ok().unwrap();

    assert_eq!(token.expires(), world.now().plus(3600));
    assert_eq!((token.listener(), token.device()), (Some("demo-free"), Some("device_xyz")));
    assert_eq!(token.session(), play["session_id"].as_str());
    assert_eq!(token.max_kbps(), Some(128));
    let other = path.replace("128.mp4", "64.mp4");
    assert_eq!(verify(&other, 64, world.now()), Ok(()), "a player may switch down");
    let above = path.replace("128.mp4", "256.mp4");
    assert_eq!(verify(&above, 256, world.now()), Err(TokenError::Rendition { max_kbps: 128 }));
    let elsewhere = path.replace("0505", "0506");
    assert_eq!(verify(&elsewhere, 128, world.now()), Err(TokenError::Path));
    assert!(verify(&path, 128, world.now().plus(3600 + 31)).is_err());
}

#[tokio::test]
async fn a_song_above_the_tier_is_refused_with_a_code() {
    let world = World::new().await;
    let mut high = record();
    high["renditions"] = json!(["256", "320"]);
    world.put(&high).await;
    let wish = json!({"song_id": song_id(), "quality": "low", "device_id": "d"});
    assert_eq!(refusal(&world, &world.log_in("free").await, &wish).await, refused(403, "tier"));
    assert_eq!(world.play(&world.log_in("premium").await, "low").await["bitrate"], 256);
}

#[tokio::test]
async fn a_song_that_is_not_there_is_404() {
    let world = World::new().await;
    let access = world.log_in("free").await;
    let wish = json!({"song_id": "song_nobody", "quality": "low", "device_id": "d"});
    assert_eq!(refusal(&world, &access, &wish).await, refused(404, "unknown_song"));
}

#[tokio::test]
async fn every_play_is_a_session_of_its_own() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let first = world.play(&access, "low").await;
    let second = world.play(&access, "low").await;
    assert_ne!(first["session_id"], second["session_id"]);
}

#[tokio::test]
async fn a_play_is_for_this_listener_only() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let body = json!({"song_id": song_id(), "quality": "low", "device_id": "d"});
    let answer =
        Answer::of(world.ask(Method::POST, "/api/v1/stream/play").bearer_auth(&access).json(&body)).await;
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert!(answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
}

#[tokio::test]
async fn the_next_epoch_has_another_path_and_other_keys() {
    let world = World::new().await;
    world.add_song().await;
    let epoch = world.epoch();
    let access = world.log_in("free").await;
    let before = world.play(&access, "low").await;
    let ends = antiphon_drm::keys::epoch_ends(&asset(), &epoch, 0);
    world.wind(ends.since(world.now()));
    let access = world.log_in("free").await;
    let after = world.play(&access, "low").await;
    let folder = |play: &Json| play["stream_url"].as_str().unwrap().split('/').nth(5).unwrap().to_owned();
    assert_eq!(folder(&before), epoch.to_string());
    assert_eq!(folder(&after), (epoch.0 + 1).to_string());
}
