//! `POST /api/v1/stream/progress` and the count of plays.

use crate::world::{World, refused, song_id};
use futures_util::future::join_all;
use serde_json::{Value as Json, json};

fn report(session: &Json, heard: f64) -> Json {
    json!({
        "session_id": session, "song_id": song_id(), "position": heard, "duration_played": heard,
        "buffering_events": 0, "quality_switches": 1,
    })
}

#[tokio::test]
async fn a_play_counts_once_when_30_seconds_were_heard() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let session = world.play(&access, "low").await["session_id"].clone();
    for (heard, plays) in [(0.0, 0), (29.9, 0), (30.0, 1), (30.0, 1), (45.0, 1), (10.0, 1), (300.0, 1)] {
        assert_eq!(world.progress(&access, &report(&session, heard)).await.status, 204);
        assert_eq!(world.plays().await, plays, "after {heard} s");
    }
}

#[tokio::test]
async fn reports_at_the_same_moment_count_once() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let session = world.play(&access, "low").await["session_id"].clone();
    let told = report(&session, 31.0);
    let answers = join_all((0..20).map(|_| world.progress(&access, &told))).await;
    assert!(answers.iter().all(|answer| answer.status == 204));
    assert_eq!(world.plays().await, 1);
}

#[tokio::test]
async fn two_plays_count_twice_and_a_restart_forgets_neither() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("premium").await;
    let mut last = Json::Null;
    for _ in 0..2 {
        let session = world.play(&access, "low").await["session_id"].clone();
        world.progress(&access, &report(&session, 31.0)).await;
        last = session;
    }
    let world = world.restart().await;
    assert_eq!(world.plays().await, 2);
    world.progress(&access, &report(&last, 60.0)).await;
    assert_eq!(world.plays().await, 2);
}

#[tokio::test]
async fn a_late_report_does_not_unhear_what_was_heard() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let session = world.play(&access, "low").await["session_id"].clone();
    world.progress(&access, &report(&session, 20.0)).await;
    world.progress(&access, &report(&session, 5.0)).await;
    assert_eq!(world.plays().await, 0);
    world.progress(&access, &report(&session, 30.0)).await;
    assert_eq!(world.plays().await, 1);
}

#[tokio::test]
async fn a_session_belongs_to_its_listener_and_its_song() {
    let world = World::new().await;
    world.add_song().await;
    let (free, premium) = (world.log_in("free").await, world.log_in("premium").await);
    let session = world.play(&free, "low").await["session_id"].clone();
    let told = report(&session, 31.0);
    let mut other_song = told.clone();
    other_song["song_id"] = "song_other".into();

    assert_eq!(world.progress(&premium, &told).await.refusal(), refused(404, "unknown_session"));
    assert_eq!(world.progress(&free, &other_song).await.refusal(), refused(409, "other_song"));
    assert_eq!(world.plays().await, 0, "a refused report leaves nothing");
}

#[tokio::test]
async fn impossible_reports_are_refused() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let session = world.play(&access, "low").await["session_id"].clone();
    for (field, value) in [
        ("position", json!(-1)),
        ("position", json!("45")),
        ("position", json!(1e300)),
        ("duration_played", json!(604_800.5)),
        ("duration_played", Json::Null),
        ("buffering_events", json!(-1)),
        ("buffering_events", json!(4_294_967_296_u64)),
        ("quality_switches", json!(0.5)),
        ("session_id", json!("a b")),
        ("session_id", json!("x'; DROP TABLE sessions; --")),
        ("volume", json!(11)),
    ] {
        let mut told = report(&session, 31.0);
        told[field] = value.clone();
        assert_eq!(
            world.progress(&access, &told).await.refusal(),
            refused(400, "invalid_body"),
            "{field} = {value}"
        );
    }
    assert_eq!(world.plays().await, 0);
}
