//! An operator brings music: real files become songs, broken ones are refused by name, and nothing is half-visible.

use antiphon_e2e::{Evening, needs, output_within};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

#[test]
fn a_batch_goes_on_past_broken_files_and_names_each() {
    let Some(()) = needs::program("ffmpeg") else { return };
    let evening = Evening::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let good = folder.path().join("tone.flac");
    synthesise(&good, "sine=frequency=440:duration=3");
    let empty = file(folder.path(), "empty.mp3", b"");
    let text = file(folder.path(), "letter.mp3", b"Dear listener, this is not music.\n");
    let cut = damaged_copy(&good, &folder.path().join("damaged.flac"));
    let missing = folder.path().join("missing.wav");
    let output = ingest(&evening, &[&empty, &text, &cut, &missing, folder.path(), &good]);
    assert!(!output.status.success());
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    for refused in ["empty.mp3", "letter.mp3", "damaged.flac", "missing.wav"] {
        assert_eq!(
            said.lines().filter(|line| line.contains(refused)).count(),
            1,
            "one line names {refused}: {said}"
        );
    }
    assert!(said.lines().any(|line| line.contains("tone.flac") && line.contains("song_")), "{said}");
    assert_eq!(titles(&evening).len(), 3, "two demo tracks and the one good file");
}

#[test]
fn the_same_file_twice_is_one_song() {
    let Some(()) = needs::program("ffmpeg") else { return };
    let evening = Evening::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let tone = folder.path().join("tone.wav");
    synthesise(&tone, "sine=frequency=330:duration=3");
    assert!(ingest(&evening, &[&tone]).status.success());
    let stored = files_below(&evening.data().join("store"));
    let again = ingest(&evening, &[&tone]);
    assert!(again.status.success());
    assert_eq!(files_below(&evening.data().join("store")), stored);
    assert_eq!(titles(&evening).len(), 3);
}

#[test]
fn an_ingest_killed_in_the_middle_leaves_nothing_visible() {
    let Some(()) = needs::program("ffmpeg") else { return };
    let evening = Evening::start();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let long = folder.path().join("long.wav");
    synthesise(&long, "sine=frequency=220:duration=60");
    let mut child = command(&evening, &[&long]).spawn().expect("start antiphon ingest");
    while !has_children(child.id()) {
        assert!(child.try_wait().expect("wait").is_none(), "it ended before it encoded anything");
        std::thread::yield_now();
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(titles(&evening).len(), 2);
    assert!(ingest(&evening, &[&long]).status.success(), "and the same file is taken afterwards");
    assert_eq!(titles(&evening).len(), 3);
}

fn ingest(evening: &Evening, files: &[&Path]) -> Output {
    output_within(command(evening, files), Duration::from_secs(240))
}

fn command(evening: &Evening, files: &[&Path]) -> Command {
    let mut command = Command::new(Evening::binary());
    command.arg("ingest").arg("--data-dir").arg(evening.data()).args(files);
    command
}

/// What the catalogue shows a listener.
fn titles(evening: &Evening) -> Vec<String> {
    let bearer = format!("Authorization: Bearer {}", evening.log_in("premium"));
    let url = format!("{}/api/v1/songs", evening.fact("control_url"));
    let songs = evening.curl_json(&["--header", &bearer, &url]);
    songs["songs"].as_array().expect("songs").iter().map(|song| song["title"].to_string()).collect()
}

fn synthesise(file: &Path, source: &str) {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", source, "-ac", "2", "-ar", "44100"])
        .arg(file);
    assert!(output_within(command, Duration::from_secs(60)).status.success());
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, bytes).expect("write a file");
    file
}

/// A copy with a stretch in the middle overwritten.
fn damaged_copy(file: &Path, copy: &Path) -> PathBuf {
    let mut bytes = std::fs::read(file).expect("read a file");
    let middle = bytes.len() / 2;
    let end = (middle + 4000).min(bytes.len());
    bytes[middle..end].fill(0xA5);
    std::fs::write(copy, bytes).expect("write a file");
    copy.to_owned()
}

/// Whether a process has started another one: ffmpeg, while a file is encoded.
fn has_children(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .any(|list| !list.trim().is_empty())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![folder.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() { ahead.push(entry) } else { found.push(entry) }
        }
    }
    found.sort();
    found
}
