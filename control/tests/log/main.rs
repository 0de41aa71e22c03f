//! What the log says of a whole evening, and what it never says. A binary of its own: one subscriber hears
//! the whole process.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "../control/world.rs"]
mod world;

use http::Method;
use serde_json::{Value as Json, json};
use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;
use world::{Answer, Mood, OPERATOR_SECRET, World, song_id};

thread_local! {
    /// Everything that was logged on this thread.
    static HEARD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

static LISTENING: Once = Once::new();

struct Ear;

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        HEARD.with_borrow_mut(|heard| heard.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged at every level on the thread of one test, where all of its tasks run.
struct Log;

impl Log {
    fn listen() -> Self {
        LISTENING.call_once(|| {
            let subscriber = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE);
            subscriber.with_writer(|| Ear).init();
        });
        HEARD.take();
        Self
    }

    fn text(&self) -> String {
        HEARD.with_borrow(|heard| String::from_utf8(heard.clone()).unwrap())
    }

    /// The access log's lines.
    fn access(&self) -> Vec<Json> {
        let lines = self.text();
        let lines = lines.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        lines.filter(|line| line["target"] == "access").map(|line| line["fields"].clone()).collect()
    }
}

#[tokio::test]
async fn an_evening_leaves_no_secret_in_the_log() {
    let log = Log::listen();
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("premium").await;
    let play = world.play(&access, "high").await;
    let drm_token = play["drm_token"].as_str().unwrap();
    let manifest = play["manifest_url"].as_str().unwrap().strip_prefix("https://localhost:8480").unwrap();
    let st = play["stream_url"].as_str().unwrap().split_once("?st=").unwrap().1;
    Answer::of(world.ask(Method::GET, manifest)).await;
    world.origin.becomes(Mood::Status(500));
    world.wind(40 * 86_400);
    let access_later = world.log_in("premium").await;
    let later = world.play(&access_later, "high").await;
    let path = later["manifest_url"].as_str().unwrap().strip_prefix("https://localhost:8480").unwrap();
    assert_eq!(Answer::of(world.ask(Method::GET, path)).await.status, 502);
    let licence = format!("/api/v1/drm/license?st={drm_token}");
    Answer::of(world.ask(Method::POST, &licence).body("{\"kids\":[]}")).await;
    Answer::of(world.ask(Method::GET, "/api/v1/songs").bearer_auth("an-access-token-of-somebody")).await;

    let text = log.text();

    assert!(text.contains("request failed") && text.contains("origin answered 500"), "failures are logged");
    assert!(text.contains("play granted") && text.contains(play["session_id"].as_str().unwrap()));
    for secret in [
        access.as_str(),
        &access_later,
        drm_token,
        st,
        later["drm_token"].as_str().unwrap(),
        "an-access-token-of-somebody",
        OPERATOR_SECRET,
        "the-origins-own-secret",
        "password=listen",
        "?st=",
    ] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_request_is_one_line_that_cannot_be_forged() {
    let log = Log::listen();
    let world = World::new().await;
    let before = log.access().len();
    let odd = "/x%0a%7b%22target%22:%22access%22%7d?secret=1";
    Answer::of(world.ask(Method::GET, odd)).await;

    let lines = log.access().split_off(before);

    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(
        (&line["method"], &line["status"], &line["code"]),
        (&json!("GET"), &json!(404), &json!("not_found"))
    );
    assert_eq!(line["path"], "/x%0a%7b%22target%22:%22access%22%7d");
    assert_eq!(line["peer"], "127.0.0.1");
    assert!(!log.text().contains("secret=1") && !log.text().contains(song_id()));
}
