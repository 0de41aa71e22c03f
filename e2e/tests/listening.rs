//! An evening with curl, the HTTP/3 clients and ffmpeg: what is served is what was stored, on every protocol.

use antiphon_e2e::{Evening, needs, output_within};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// An evening with a listener logged in and a song playing.
struct Playing {
    evening: Evening,
    song: String,
    play: Json,
    access_token: String,
}

impl Playing {
    fn premium() -> Self {
        Self::as_listener("premium", "premium")
    }

    fn as_listener(listener: &str, quality: &str) -> Self {
        let evening = Evening::start();
        let access_token = evening.log_in(listener);
        let song = songs(&evening, &access_token)[0]["song_id"].as_str().expect("a song id").to_owned();
        let play = evening.play(&access_token, &song, quality);
        Self { evening, song, play, access_token }
    }

    fn url(&self) -> &str {
        self.play["stream_url"].as_str().expect("a stream url")
    }

    /// The whole object, over HTTP/1.1.
    fn object(&self) -> Vec<u8> {
        self.evening.curl(&["--http1.1", self.url()])
    }

    /// Key id and key of the rendition that plays, asked as a browser asks.
    fn content_key(&self) -> (String, Vec<u8>) {
        let manifest = self.evening.curl(&[self.play["manifest_url"].as_str().expect("a manifest url")]);
        let manifest = String::from_utf8(manifest).expect("text");
        let rendition = format!("/{}.mp4", self.play["bitrate"]);
        let representation =
            manifest.split("<Representation").find(|part| part.contains(&rendition)).expect("the rendition");
        let kid = representation
            .split("default_KID=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a key id");
        let kid = kid.replace('-', "");
        let wanted = base64url(&hex(&kid));
        let answer = self.licence(&wanted);
        let keys = answer["keys"].as_array().expect("keys");
        let key = keys.iter().find(|key| key["kid"] == wanted.as_str()).expect("the key asked for");
        (kid, unbase64url(key["k"].as_str().expect("a key")))
    }

    fn licence(&self, kid: &str) -> Json {
        let body = json!({"kids": [kid], "type": "temporary"}).to_string();
        let bearer =
            format!("Authorization: Bearer {}", self.play["drm_token"].as_str().expect("a drm token"));
        let url = self.play["license_url"].as_str().expect("a licence url");
        self.evening.curl_json(&["--header", &bearer, "--data", &body, url])
    }
}

fn songs(evening: &Evening, access_token: &str) -> Vec<Json> {
    let url = format!("{}/api/v1/songs", evening.fact("control_url"));
    let bearer = format!("Authorization: Bearer {access_token}");
    evening.curl_json(&["--header", &bearer, &url])["songs"].as_array().expect("songs").clone()
}

#[test]
fn ranges_over_http1_http2_and_http3_are_slices_of_one_object() {
    let (Some(()), Some(python)) = (needs::program("curl"), needs::tool("ANTIPHON_PYTHON")) else { return };
    let playing = Playing::premium();
    let object = playing.object();
    let len = object.len();
    assert!(len > 1_000_000, "a premium track has more than {len} bytes");
    let ranges = [(0, 0), (0, 65_535), (262_143, 262_144), (700_000, 1_000_000), (len - 1, len - 1)];
    for (first, last) in ranges {
        let range = format!("{first}-{last}");
        for protocol in ["--http1.1", "--http2"] {
            let got = playing.evening.curl(&[protocol, "--fail", "--range", &range, playing.url()]);
            assert!(got == object[first..=last], "{protocol} {range}");
        }
    }
    let asked: Vec<Json> = ranges.iter().map(|(first, last)| json!([first, last])).collect();
    let argument =
        json!({"url": playing.url(), "ca": playing.evening.fact("ca"), "ranges": asked}).to_string();
    for client in ["h3_range.py", "h3_curl_cffi.py"] {
        let mut command = Command::new(&python);
        command.arg(root().join("e2e/clients").join(client)).arg(&argument);
        let output = output_within(command, Duration::from_secs(60));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{client}: {text} {}", String::from_utf8_lossy(&output.stderr));
        let answer: Json = serde_json::from_str(text.lines().last().unwrap_or("")).expect("a line of JSON");
        let answers = answer["answers"].as_array().expect("answers");
        assert_eq!(answers.len(), ranges.len(), "{client}");
        for (answer, (first, last)) in answers.iter().zip(ranges) {
            assert_eq!(
                (&answer["status"], &answer["http_version"]),
                (&json!(206), &json!("3")),
                "{client} {answer}"
            );
            assert_eq!(answer["sha256"], sha256(&object[first..=last]).as_str(), "{client} {first}-{last}");
        }
    }
}

#[test]
fn what_is_served_decrypts_to_the_samples_that_were_stored() {
    let (Some(()), Some(())) = (needs::program("ffmpeg"), needs::program("curl")) else { return };
    let playing = Playing::premium();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let served = scratch.path().join("served.mp4");
    std::fs::write(&served, playing.object()).expect("write the object");
    let (_, key) = playing.content_key();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let heard = decode(&["-decryption_key", &key], &served);
    // The demo track the song was made of: the one whose samples it is.
    let matches = demo_tracks("320.m4a").iter().any(|source| {
        let source = decode(&[], source);
        // ffmpeg keeps the encoder's 1,024 priming samples of a fragmented file: two channels of two bytes.
        heard
            .get(1024 * 4..)
            .is_some_and(|heard| heard.len() >= source.len() && heard[..source.len()] == source)
    });
    assert!(matches, "the decrypted samples are those of no demo track");
    let silent = decode_loosely(&["-decryption_key", &"00".repeat(16)], &served);
    assert_ne!(silent, heard, "a wrong key does not decrypt");
}

#[test]
fn a_free_listener_gets_128_kbps_and_no_key_above() {
    let Some(()) = needs::program("curl") else { return };
    let playing = Playing::as_listener("free", "premium");
    assert_eq!(playing.play["bitrate"], 128);
    let manifest = playing.evening.curl(&[playing.play["manifest_url"].as_str().expect("a manifest url")]);
    let manifest = String::from_utf8(manifest).expect("text");
    assert!(
        manifest.contains("/128.mp4") && !manifest.contains("/256.mp4") && !manifest.contains("/320.mp4")
    );
    // The token is good for the asset, but not for a better rendition of it.
    let better = playing.url().replace("/128.mp4", "/320.mp4");
    let answer = playing.evening.curl(&["--include", "--http1.1", &better]);
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.starts_with("http/1.1 403") && answer.contains("edge-token-error: rendition"), "{answer}");
    let keys = {
        let (kid, _) = playing.content_key();
        playing.licence(&base64url(&hex(&kid)))["keys"].as_array().expect("keys").len()
    };
    assert_eq!(keys, 2, "64 and 128 only");
}

#[test]
fn a_play_counts_once_after_thirty_seconds() {
    let Some(()) = needs::program("curl") else { return };
    let playing = Playing::premium();
    let song = &playing.song;
    let report = |seconds: u32| {
        let body = json!({"session_id": playing.play["session_id"], "song_id": song, "position": seconds,
            "duration_played": seconds, "buffering_events": 0, "quality_switches": 0});
        let bearer = format!("Authorization: Bearer {}", playing.access_token);
        let url = format!("{}/api/v1/stream/progress", playing.evening.fact("control_url"));
        let status = playing.evening.curl(&[
            "--header",
            &bearer,
            "--json",
            &body.to_string(),
            "--write-out",
            "%{http_code}",
            &url,
        ]);
        assert_eq!(status, b"204");
    };
    let plays = || {
        let admin = std::fs::read_to_string(playing.evening.fact("control_admin_token_file"))
            .expect("the admin token");
        let bearer = format!("Authorization: Bearer {}", admin.trim());
        let url = format!("{}/admin/v1/songs/{song}/plays", playing.evening.fact("control_admin_url"));
        playing.evening.curl_json(&["--header", &bearer, &url])["plays"].as_u64().expect("a count")
    };
    report(29);
    assert_eq!(plays(), 0);
    report(31);
    report(40);
    assert_eq!(plays(), 1);
}

#[test]
fn the_line_quickstart_prints_works_as_pasted() {
    let Some(()) = needs::program("curl") else { return };
    let evening = Evening::start();
    let printed = evening.printed();
    let line = printed.lines().map(str::trim).find(|line| line.starts_with("curl ")).expect("a curl line");
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir("/");
    let output = output_within(command, Duration::from_secs(60));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("206"),
        "{line}: {text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn no_token_key_or_query_is_written_anywhere() {
    let Some(()) = needs::program("curl") else { return };
    let playing = Playing::premium();
    let (_, key) = playing.content_key();
    playing.object();
    let token = playing.url().split("st=").nth(1).expect("a token").to_owned();
    let mac = token.rsplit('.').next().expect("a mac").to_owned();
    let drm_token = playing.play["drm_token"].as_str().expect("a drm token").to_owned();
    let demo_token = playing.evening.fact("signed_url").split("st=").nth(1).expect("a token").to_owned();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut written = vec![("metrics", metrics(&playing.evening))];
    // What quickstart prints on purpose is its own signed URL, for an hour, to its own user.
    written.push(("terminal", playing.evening.printed().replace(&demo_token, "")));
    written.push(("log", playing.evening.log()));
    for (place, text) in written {
        assert!(!text.is_empty(), "{place}");
        for (what, secret) in [
            ("a token's mac", &mac),
            ("a drm token", &drm_token),
            ("an access token", &playing.access_token),
            ("a key", &key),
        ] {
            assert!(!text.contains(secret.as_str()), "{what} is in the {place}");
        }
    }
    assert!(playing.evening.log().contains("/a/c/"), "the access log is where the test looks");
}

#[test]
fn a_killed_evening_starts_again_with_the_same_keys_and_songs() {
    let Some(()) = needs::program("curl") else { return };
    let first = Playing::premium();
    let (object, authority) = (first.object(), std::fs::read(first.evening.fact("ca")).expect("ca.pem"));
    let folder = first.evening.pull_the_plug();
    let mut second = Evening::start_in(folder);
    let access_token = second.log_in("premium");
    let songs = songs(&second, &access_token);
    assert_eq!(songs.len(), 2);
    let play = second.play(&access_token, songs[0]["song_id"].as_str().expect("a song id"), "premium");
    assert!(second.curl(&[play["stream_url"].as_str().expect("a stream url")]) == object);
    assert_eq!(std::fs::read(second.fact("ca")).expect("ca.pem"), authority);
    assert!(second.stop().success());
}

fn metrics(evening: &Evening) -> String {
    let all = ["edge_admin_url", "origin_admin_url", "control_admin_url"]
        .map(|admin| evening.curl(&[&format!("{}/metrics", evening.fact(admin))]));
    all.map(|text| String::from_utf8(text).expect("text")).concat()
}

/// PCM, 16 bit, as stored; an error of the decoder fails the test.
fn decode(input: &[&str], file: &Path) -> Vec<u8> {
    let output = ffmpeg(input, file);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn decode_loosely(input: &[&str], file: &Path) -> Vec<u8> {
    ffmpeg(input, file).stdout
}

fn ffmpeg(input: &[&str], file: &Path) -> std::process::Output {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]).args(input).arg("-i").arg(file).args(["-f", "s16le", "-"]);
    output_within(command, Duration::from_secs(60))
}

/// The committed demo tracks.
fn demo_tracks(rendition: &str) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root().join("origin/tracks")).expect("the demo tracks");
    folders
        .map(|folder| folder.expect("a folder").path().join(rendition))
        .filter(|file| file.exists())
        .collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).expect("hexadecimal digits")
}

fn base64url(bytes: &[u8]) -> String {
    data_encoding::BASE64URL_NOPAD.encode(bytes)
}

fn unbase64url(text: &str) -> Vec<u8> {
    data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url")
}
