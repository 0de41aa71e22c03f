//! The edge's disk, across processes that are killed while listeners listen.

use antiphon_e2e::{Evening, needs, output_within};
use serde_json::Value as Json;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: usize = 3;

#[test]
fn an_edge_that_is_killed_under_load_plays_from_its_volume_afterwards() {
    let Some(()) = needs::program("curl") else { return };
    let mut evening = Evening::start();
    let object = evening.curl(&[&stream(&evening)]);
    for kill in 0..KILLS {
        wait_until_written(&evening);
        let mut load = load(&evening);
        let folder = evening.pull_the_plug();
        // There is nobody left to ask.
        load.kill().expect("kill curl");
        load.wait().expect("wait for curl");
        evening = Evening::start_in(folder);
        let heard = folder_file(&evening, "heard");
        let url = stream(&evening);
        let source = evening.curl(&["--output", &heard, "--write-out", "%header{cache-status}", &url]);
        assert_eq!(String::from_utf8_lossy(&source), "antiphon; hit; detail=ssd", "after kill {kill}");
        assert!(std::fs::read(&heard).expect("what was heard") == object, "wrong bytes after kill {kill}");
    }
    assert!(evening.stop().success());
    let dir = evening.data().join("cache");
    let verified = cache(&["verify", "--dir", &dir.to_string_lossy()]);
    assert!(verified.contains(" 0 damaged"), "{verified}");
    let inspected = cache(&["inspect", "--dir", &dir.to_string_lossy()]);
    assert!(inspected.contains("closed in order") && inspected.contains("its snapshot"), "{inspected}");
}

#[test]
fn an_operator_takes_a_disk_out_and_puts_it_back_while_music_plays() {
    let Some(()) = needs::program("curl") else { return };
    let mut evening = Evening::start();
    let object = evening.curl(&[&stream(&evening)]);
    let node = evening.fact("edge_admin_url").to_owned();
    let tell = |order: &str| cache(&["tell", "--node", &node, "cache", order]);
    for (order, state) in
        [("fail", "failed"), ("put-back", "online"), ("drain", "draining"), ("put-back", "online")]
    {
        assert_eq!(tell(order), format!("cache: told to {order}\n"));
        wait_until(|| cache(&["inspect", "--node", &node]).contains(state));
        assert!(evening.curl(&[&stream(&evening)]) == object);
    }
    assert!(cache(&["verify", "--node", &node, "--volume", "cache"]).contains(" 0 damaged"));
    assert!(evening.stop().success());
}

/// A signed URL of the first song.
fn stream(evening: &Evening) -> String {
    let access_token = evening.log_in("premium");
    let bearer = format!("Authorization: Bearer {access_token}");
    let songs =
        evening.curl_json(&["--header", &bearer, &format!("{}/api/v1/songs", evening.fact("control_url"))]);
    let song = songs["songs"][0]["song_id"].as_str().expect("a song id").to_owned();
    evening.play(&access_token, &song, "premium")["stream_url"].as_str().expect("a stream url").to_owned()
}

/// Listeners who do not stop by themselves: ranges of the song, again and again.
fn load(evening: &Evening) -> std::process::Child {
    let mut command = Command::new("curl");
    command.args(["--silent", "--cacert", evening.fact("ca"), "--range", "0-99999", "--output", "/dev/null"]);
    command.arg(format!("{}&CMCD=[1-100000]", stream(evening)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("start curl")
}

fn wait_until_written(evening: &Evening) {
    let node = evening.fact("edge_admin_url");
    wait_until(|| {
        let shown = cache(&["inspect", "--node", node, "--json"]);
        let volumes: Json = serde_json::from_str(&shown).expect("JSON");
        let stats = &volumes[0]["stats"];
        stats["records"].as_u64() > Some(0) && stats["staging_bytes"] == 0
    });
}

fn wait_until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not come true");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What `antiphon cache` prints.
fn cache(arguments: &[&str]) -> String {
    let mut command = Command::new(Evening::binary());
    command.arg("cache").args(arguments);
    let output = output_within(command, Duration::from_secs(60));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn folder_file(evening: &Evening, name: &str) -> String {
    evening.data().join(name).to_string_lossy().into_owned()
}
