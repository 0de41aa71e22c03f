//! A process that writes to volumes is killed without warning, again and again, and the volumes opened after it.
//!
//! The test starts itself as the process to be killed: see [`writer`].

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use antiphon_cache::disk::format::{PurgeRecord, PurgeScope};
use antiphon_cache::disk::health::State;
use antiphon_cache::disk::set::{DiskRead, Disks};
use antiphon_cache::disk::volume::ReadWant;
use antiphon_cache::{AdmissionRule, ChunkKey, ObjName, VolumeConfig};
use antiphon_core::{ByteSize, UnixTime};
use bytes::Bytes;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Tells the test that it is the process to be killed, and where to write.
const FOLDER: &str = "ANTIPHON_TEST_KILL_FOLDER";
/// Where it goes on.
const FROM: &str = "ANTIPHON_TEST_KILL_FROM";
const ROUNDS: u64 = 6;
/// Chunks between two reports of the writer.
const BATCH: u64 = 16;
/// Reports after which it is killed at the latest.
const REPORTS_MAX: u64 = 3;
const CHUNK: usize = 256 * 1024;
/// The kill comes at any moment within this time after a report, in milliseconds.
const SPREAD_MS: u64 = 200;

fn volumes(folder: &Path) -> [VolumeConfig; 2] {
    ["a", "b"].map(|name| VolumeConfig {
        segment_bytes: ByteSize::mib(4),
        dwpd: 0.0,
        read_deadline_ms: 60_000,
        ..VolumeConfig::at(folder.join(name), ByteSize::mib(256))
    })
}

/// The volumes in `folder`, recovered.
fn open(folder: &Path) -> Disks {
    let clock = Arc::new(|| UnixTime(1_800_000_000));
    let disks = Disks::open(&volumes(folder), clock, &Handle::current(), 11).unwrap();
    until(&disks, |disks| disks.status().iter().all(|volume| volume.state == State::Online));
    disks.set_admission(AdmissionRule::Everything);
    disks
}

fn until(disks: &Disks, holds: impl Fn(&Disks) -> bool) {
    let began = Instant::now();
    while !holds(disks) {
        assert!(began.elapsed() < Duration::from_secs(60), "{:#?}", disks.status());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn key(number: u64) -> ChunkKey {
    ChunkKey { obj: ObjName::new(&format!("/a/{}", number / 4)).key(), no: (number % 4) as u32 }
}

fn purge(number: u64) -> PurgeRecord {
    let scope = PurgeScope::Object(ObjName::new(&format!("/purged/{number}")).key());
    PurgeRecord { generation: number + 1, soft: false, scope, at_secs: number }
}

/// Bytes that differ between any two chunks.
fn content(number: u64) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(CHUNK);
    while bytes.len() < CHUNK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

async fn read(disks: &Disks, number: u64) -> DiskRead {
    let got = Arc::new(Mutex::new(None));
    let sink = Arc::clone(&got);
    let want = ReadWant { key: key(number), ver: 1, floor: 0 };
    let report =
        disks.read(vec![want], move |_, bytes| *sink.lock().unwrap() = Some(Bytes::copy_from_slice(bytes)));
    let outcome = report.await.wants[0];
    if let Some(bytes) = got.lock().unwrap().take() {
        assert!(bytes == content(number), "wrong bytes of chunk {number}");
    }
    outcome
}

/// The process to be killed: nothing unless it is told to be one. It writes chunks and purges without end and reports
/// each batch once it is on the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let disks = open(Path::new(&folder));
    for number in from.. {
        while !disks.offer(key(number), 1, 1, &content(number)) {
            std::thread::yield_now();
        }
        if number % 7 == 0 {
            assert_ne!(read(&disks, number / 2).await, DiskRead::Corrupt);
        }
        if (number + 1) % BATCH == 0 {
            disks.purge(purge(number)).await.unwrap();
            let staged = |disks: &Disks| {
                disks
                    .status()
                    .iter()
                    .filter_map(|volume| volume.stats)
                    .map(|stats| stats.staging_bytes)
                    .sum::<u64>()
            };
            until(&disks, |disks| staged(disks) == 0);
            println!("\nwritten {}", number + 1);
            std::io::stdout().flush().unwrap();
        }
    }
}

/// Kills what it holds, in whatever way the test ends.
struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        // Already dead is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the writer at `from` and kills it in the middle of its work, some time after `reports` reports; what it had
/// written.
fn written_before_the_kill(folder: &Path, from: u64, reports: u64, later: Duration) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "writer", "--nocapture", "--test-threads", "1"]);
    command.env(FOLDER, folder).env(FROM, from.to_string());
    let mut doomed = Doomed(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(doomed.0.stdout.take().unwrap()).lines();
    let written = lines.filter_map(|line| line.unwrap().strip_prefix("written ").map(|n| n.parse().unwrap()));
    let last = written.take(reports as usize).last();
    std::thread::sleep(later);
    drop(doomed);
    last.expect("the writer ended by itself")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_right_bytes_every_purge_and_nearly_every_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let (mut written, mut dice) = (0, 7_u64);
    for round in 0..ROUNDS {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (reports, later) =
            (1 + (dice >> 33) % REPORTS_MAX, Duration::from_millis((dice >> 40) % SPREAD_MS));
        written = written_before_the_kill(folder.path(), written, reports, later);

        let disks = open(folder.path());
        let mut found = 0;
        for number in 0..written {
            match read(&disks, number).await {
                DiskRead::Read => found += 1,
                DiskRead::Missing => {}
                other => panic!("chunk {number} in round {round}: {other:?}"),
            }
        }
        assert!(found * 100 >= written * 99, "round {round}: {found} of {written} chunks are left");
        let purges = disks.purges();
        for number in (0..written).filter(|number| (number + 1) % BATCH == 0) {
            assert!(purges.contains(&purge(number)), "round {round}: purge {number} is forgotten");
        }
    }
}
