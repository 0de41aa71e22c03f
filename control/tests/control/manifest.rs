//! `GET /m/<session>/<asset>.mpd`.

use crate::world::{Answer, Mood, World, asset, layout, refused};
use antiphon_core::{AssetId, Epoch};
use antiphon_drm::token::{Token, TokenRequest};
use futures_util::future::join_all;
use http::{Method, header};
use serde_json::Value as Json;

/// Path and query of a play's manifest.
async fn manifest_path(world: &World, listener: &str) -> (Json, String) {
    let access = world.log_in(listener).await;
    let play = world.play(&access, "premium").await;
    let path =
        play["manifest_url"].as_str().unwrap().strip_prefix("https://localhost:8480").unwrap().to_owned();
    (play, path)
}

async fn get(world: &World, path: &str) -> Answer {
    Answer::of(world.ask(Method::GET, path)).await
}

#[tokio::test]
async fn a_manifest_lists_what_the_play_may_have() {
    let world = World::new().await;
    world.add_song().await;
    for (listener, renditions) in [("free", 2), ("premium", 4)] {
        let (play, path) = manifest_path(&world, listener).await;

        let answer = get(&world, &path).await;

        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/dash+xml");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(answer.text.matches("<Representation ").count(), renditions);
        let licence =
            format!("{}?st={}", play["license_url"].as_str().unwrap(), play["drm_token"].as_str().unwrap());
        assert!(answer.text.contains(&format!("<dashif:Laurl>{licence}</dashif:Laurl>")), "{}", answer.text);
    }
}

#[tokio::test]
async fn its_media_urls_open_until_the_play_ends() {
    let world = World::new().await;
    world.add_song().await;
    let (play, path) = manifest_path(&world, "premium").await;
    world.wind(600);

    let answer = get(&world, &path).await;

    let url = answer.text.split("<BaseURL>").nth(1).unwrap().split('<').next().unwrap();
    let (object, st) = url.strip_prefix("https://localhost:8443").unwrap().split_once("?st=").unwrap();
    assert_eq!(object, format!("/a/c/{}/{}/64.mp4", world.epoch(), asset()));
    let request = TokenRequest { path: object, kbps: Some(64), country: None, address: None, method: "GET" };
    let token = Token::parse(st).unwrap().verify(&world.url_keys, &request, world.now()).ok().unwrap();
    assert_eq!(token.expires(), world.now().plus(3000));
    assert_eq!(token.session(), play["session_id"].as_str());
}

#[tokio::test]
async fn a_session_is_no_key_to_its_manifest() {
    let world = World::new().await;
    world.add_song().await;
    let (_, path) = manifest_path(&world, "premium").await;
    let (bare, token) = path.split_once("?st=").unwrap();
    let (_, other) = manifest_path(&world, "premium").await;
    let (_, other_token) = other.split_once("?st=").unwrap();
    let access = world.log_in("premium").await;

    assert_eq!(get(&world, bare).await.refusal(), refused(401, "unauthorized"));
    assert_eq!(get(&world, &format!("{bare}?st={other_token}")).await.refusal(), refused(403, "other_play"));
    assert_eq!(get(&world, &format!("{bare}?st={access}")).await.refusal(), refused(401, "invalid_token"));
    let other_asset =
        path.replace(&format!("/{}.mpd", asset()), &format!("/{}.mpd", AssetId::from_bytes([6; 16])));
    assert_eq!(get(&world, &other_asset).await.refusal(), refused(403, "other_play"));
    for odd in ["/m/x", "/m/x/y", "/m/x/y.mpd", "/m/%00/y.mpd", "/m/x/%ff.mpd"] {
        assert_eq!(
            get(&world, &format!("{odd}?st={token}")).await.refusal(),
            refused(404, "not_found"),
            "{odd}"
        );
    }
    // In the leeway after its end a token is read, but opens nothing that would be dead on arrival.
    for wound in [3600, 30] {
        world.wind(wound);
        assert_eq!(get(&world, &path).await.refusal(), refused(401, "token_expired"));
    }
}

#[tokio::test]
async fn many_players_cost_the_origin_one_layout() {
    let world = World::new().await;
    world.add_song().await;
    let (_, path) = manifest_path(&world, "free").await;
    let answers = join_all((0..20).map(|_| get(&world, &path))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!((world.origin.asked(), world.origin.strangers()), (1, 0));
}

#[tokio::test]
async fn an_origin_that_fails_is_named_and_asked_again() {
    let world = World::with(|config| config.origin.answer_ms = 50).await;
    world.add_song().await;
    let (_, path) = manifest_path(&world, "free").await;
    for (mood, refusal) in [
        (Mood::Status(404), refused(404, "media_missing")),
        (Mood::Status(401), refused(502, "origin_failed")),
        (Mood::Status(500), refused(502, "origin_failed")),
        (Mood::Status(302), refused(502, "origin_failed")),
        (Mood::Status(503), refused(503, "origin_unavailable")),
        (Mood::Silent, refused(504, "origin_unavailable")),
    ] {
        world.origin.becomes(mood.clone());
        assert_eq!(get(&world, &path).await.refusal(), refusal, "{mood:?}");
    }
    world.origin.becomes(Mood::Honest);
    assert_eq!(get(&world, &path).await.status, 200);
}

#[tokio::test]
async fn an_origin_that_lies_is_not_believed() {
    let world = World::new().await;
    world.add_song().await;
    let (_, path) = manifest_path(&world, "free").await;
    let told = |edit: fn(&mut Json)| {
        let mut json = serde_json::to_value(layout(asset(), world.epoch())).unwrap();
        edit(&mut json);
        Mood::Says(json.to_string())
    };
    let other_asset = serde_json::to_string(&layout(AssetId::from_bytes([6; 16]), world.epoch())).unwrap();
    let other_epoch = serde_json::to_string(&layout(asset(), Epoch(world.epoch().0 + 1))).unwrap();
    for mood in [
        Mood::Says(String::new()),
        Mood::Says("[]".into()),
        Mood::Says(" ".repeat(70_000)),
        Mood::Says(other_asset),
        Mood::Says(other_epoch),
        told(|json| json["renditions"] = Json::Array(Vec::new())),
        told(|json| json["renditions"].as_array_mut().unwrap().reverse()),
        told(|json| json["renditions"][0]["path"] = "/a/c/1/x/64.mp4".into()),
        told(|json| json["renditions"][0]["kid"] = "00".repeat(16).into()),
        told(|json| json["scheme"] = "cbcs".into()),
    ] {
        world.origin.becomes(mood.clone());
        let answer = get(&world, &path).await;
        assert_eq!(answer.refusal(), refused(502, "origin_failed"), "{mood:?}");
    }
}

#[tokio::test]
async fn an_origin_without_a_rendition_for_the_tier_gives_no_manifest() {
    let world = World::new().await;
    world.add_song().await;
    let (_, path) = manifest_path(&world, "free").await;
    let mut only_high = layout(asset(), world.epoch());
    only_high.renditions.drain(..2);
    world.origin.becomes(Mood::Says(serde_json::to_string(&only_high).unwrap()));
    assert_eq!(get(&world, &path).await.refusal(), refused(502, "origin_failed"));
}
