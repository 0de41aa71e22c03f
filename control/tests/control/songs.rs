//! `GET /api/v1/songs`, `/api/v1/songs/{song_id}`.

use crate::world::{Answer, World, asset, record, refused, song_id};
use http::Method;
use serde_json::{Value as Json, json};

async fn get(world: &World, access: &str, path: &str) -> Answer {
    Answer::of(world.ask(Method::GET, path).bearer_auth(access)).await
}

#[tokio::test]
async fn a_song_is_told_in_the_seeds_words() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;

    let song = get(&world, &access, &format!("/api/v1/songs/{}", song_id())).await.json();

    assert_eq!((&song["song_id"], &song["title"]), (&song_id().into(), &"Nocturne".into()));
    assert_eq!((&song["artist"]["name"], &song["album"]["title"]), (&"Nobody".into(), &"Nights".into()));
    assert!(song["artist"]["artist_id"].as_str().unwrap().starts_with("artist_"));
    assert!(song["album"]["album_id"].as_str().unwrap().starts_with("album_"));
    assert_eq!((&song["duration"], &song["duration_ms"]), (&37.into(), &36_786.into()));
    assert_eq!(song["renditions"], json!(["64", "128", "256", "320"]));
    assert!(!song.to_string().contains(&asset().to_string()), "assets are named by plays only");
}

#[tokio::test]
async fn what_a_file_did_not_say_is_left_out() {
    let world = World::new().await;
    let mut bare = record();
    bare["artist"] = "".into();
    bare["album"] = Json::Null;
    bare["loudness"] = Json::Null;
    world.put(&bare).await;
    let access = world.log_in("free").await;
    let song = get(&world, &access, &format!("/api/v1/songs/{}", song_id())).await.json();
    assert_eq!((song.get("artist"), song.get("album"), &song["loudness"]), (None, None, &Json::Null));
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let world = World::new().await;
    let access = world.log_in("free").await;
    for number in 0..5 {
        let mut song = record();
        song["song_id"] = format!("song_{number}").into();
        world.put(&song).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/api/v1/songs?limit=2".to_owned());
    for _ in 0..3 {
        let page = get(&world, &access, &path).await.json();
        seen.extend(
            page["songs"].as_array().unwrap().iter().map(|song| song["song_id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/songs?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["song_0", "song_1", "song_2", "song_3", "song_4"]);
    let exact = get(&world, &access, "/api/v1/songs?limit=5").await.json();
    assert_eq!((exact["songs"].as_array().unwrap().len(), &exact["next"]), (5, &Json::Null));
}

#[tokio::test]
async fn an_empty_catalogue_is_an_empty_page() {
    let world = World::new().await;
    let access = world.log_in("free").await;
    assert_eq!(get(&world, &access, "/api/v1/songs").await.json(), json!({"songs": [], "next": null}));
}

#[tokio::test]
async fn odd_names_and_parameters_are_refused() {
    let world = World::new().await;
    let access = world.log_in("free").await;
    assert_eq!(get(&world, &access, "/api/v1/songs/song_x").await.refusal(), refused(404, "unknown_song"));
    for path in [
        "/api/v1/songs/a%20b",
        "/api/v1/songs/%ff",
        "/api/v1/songs/%27%20OR%201=1",
        "/api/v1/songs?limit=0",
        "/api/v1/songs?limit=101",
        "/api/v1/songs?limit=1&limit=2",
        "/api/v1/songs?sort=title",
        "/api/v1/songs?after=%ff",
        "/api/v1/songs?after=a'b",
    ] {
        assert_eq!(get(&world, &access, path).await.refusal(), refused(400, "invalid_parameter"), "{path}");
    }
}
