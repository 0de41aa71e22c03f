//! A listener in a real browser: Debian's Chromium hears a track through the page, over HTTP/3.

use antiphon_e2e::{Evening, needs, output_within};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Longer than any script gives itself.
const SCRIPT_WITHIN: Duration = Duration::from_secs(120);
/// A track of a Debian package: real music, MP3.
const REAL_MUSIC: &str = "/usr/share/games/asc/music/machine_wars.mp3";

#[test]
fn a_listener_hears_a_track_over_http3_and_seeks_far_ahead() {
    let Some(browser) = Browser::found() else { return };
    let heard = browser.run("play.mjs", &Evening::start(), json!({}));
    assert_eq!(heard["ok"], true, "{heard}");
}

#[test]
fn without_a_licence_it_stays_silent() {
    let Some(browser) = Browser::found() else { return };
    let heard = browser.run("nolicence.mjs", &Evening::start(), json!({}));
    assert_eq!(heard["ok"], true, "{heard}");
}

#[test]
fn a_listener_in_trouble_is_told_and_plays_on() {
    let Some(browser) = Browser::found() else { return };
    let heard = browser.run("trouble.mjs", &Evening::start(), json!({}));
    assert_eq!(heard["ok"], true, "{heard}");
}

#[test]
fn shaka_player_plays_the_same_manifest() {
    let Some(browser) = Browser::found() else { return };
    let heard = browser.run("shaka.mjs", &Evening::start(), json!({}));
    assert_eq!(heard["ok"], true, "{heard}");
}

#[test]
fn real_music_that_was_just_ingested_is_heard() {
    let (Some(browser), Some(music)) = (Browser::found(), needs::file(REAL_MUSIC)) else { return };
    let Some(()) = needs::program("ffmpeg") else { return };
    let evening = Evening::start();
    let mut ingest = Command::new(Evening::binary());
    ingest.arg("ingest").arg("--data-dir").arg(evening.data()).args(["--title", "Real music"]).arg(music);
    let output = output_within(ingest, Duration::from_secs(240));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let song = said.split_whitespace().find(|word| word.starts_with("song_")).expect("a song id");
    let access_token = evening.log_in("premium");
    for (quality, bitrate) in [("low", 64), ("normal", 128), ("high", 256), ("premium", 320)] {
        let play = evening.play(&access_token, song, quality);
        assert_eq!(play["bitrate"], bitrate);
        let head = evening.curl(&["--range", "4-11", play["stream_url"].as_str().expect("a stream url")]);
        assert_eq!(head, b"ftypiso6", "{quality}");
    }
    let heard = browser.run("play.mjs", &evening, json!({"track": "Real music"}));
    assert_eq!((&heard["ok"], &heard["track"]), (&json!(true), &json!("Real music")), "{heard}");
}

/// Chromium and the packages that drive it.
struct Browser {
    node_modules: std::path::PathBuf,
}

impl Browser {
    fn found() -> Option<Self> {
        needs::program("chromium")?;
        needs::program("node")?;
        needs::program("curl")?;
        Some(Self { node_modules: needs::tool("ANTIPHON_NODE_MODULES")? })
    }

    /// Runs one script against an evening; gives back what it says in its last line.
    fn run(&self, script: &str, evening: &Evening, more: Json) -> Json {
        let edge = evening.fact("edge_url");
        let port: u16 = edge.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let mut world = json!({
            "pageUrl": evening.fact("player_url"), "edgeUrl": edge, "edgePort": port, "spkiHash": evening.fact("key_hash"),
            "screenshotDir": evening.data(),
        });
        let more = more.as_object().expect("an object").clone();
        world.as_object_mut().expect("an object").extend(more);
        let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/browser")).join(script);
        let mut command = Command::new("node");
        command.arg(file).arg(world.to_string()).env("ANTIPHON_NODE_MODULES", &self.node_modules);
        let output = output_within(command, SCRIPT_WITHIN);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said_wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{script}: {error}: {said} {said_wrong}"))
    }
}
