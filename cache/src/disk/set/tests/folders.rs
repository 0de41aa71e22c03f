//! The same on real folders.

use super::world::{NOW, content, keys};
use crate::config::VolumeConfig;
use crate::disk::health::{Cause, State};
use crate::disk::set::{DiskCommand, DiskOrder, Disks};
use crate::disk::volume::ReadWant;
use antiphon_core::ByteSize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

fn volume(dir: &Path) -> VolumeConfig {
    VolumeConfig { segment_bytes: ByteSize::mib(4), ..VolumeConfig::at(dir, ByteSize::mib(32)) }
}

fn open(config: &[VolumeConfig]) -> Disks {
    Disks::open(config, Arc::new(|| NOW), &Handle::current(), 1).unwrap()
}

fn until(disks: &Disks, holds: impl Fn(&Disks) -> bool) {
    let began = Instant::now();
    while !holds(disks) {
        assert!(began.elapsed() < Duration::from_secs(60), "{:#?}", disks.status());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_made_used_closed_and_found_again() {
    let scratch = tempfile::tempdir().unwrap();
    let config = [volume(&scratch.path().join("v"))];
    let keys = keys(40);
    for round in 0..2 {
        let disks = open(&config);
        until(&disks, |disks| disks.status()[0].state == State::Online);
        for key in &keys {
            if round == 0 {
                assert!(disks.offer(*key, 1, 1, &content(*key)));
            }
            let expected = content(*key);
            let sink = move |_, bytes: &[u8]| assert!(bytes == expected);
            let report = disks.read(vec![ReadWant { key: *key, ver: 1, floor: 1 }], sink).await;
            assert_eq!(report.wants, [crate::disk::set::DiskRead::Read]);
        }
        disks.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_somebody_elses_files_is_left_alone_and_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("v");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("data"), b"the only copy of a dissertation").unwrap();
    let disks = open(&[volume(&dir)]);
    let status = &disks.status()[0];
    assert_eq!((status.state, status.cause), (State::Failed, Some(Cause::Open)));
    assert!(status.last_error.is_some());
    assert_eq!(std::fs::read(dir.join("data")).unwrap(), b"the only copy of a dissertation");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_have_the_same_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let config = [volume(&scratch.path().join("v"))];
    let first = open(&config);
    let second = open(&config);
    assert_eq!(second.status()[0].state, State::Failed);
    until(&first, |disks| disks.status()[0].state == State::Online);
    first.close().await;
    drop(first);
    let put_back = || DiskCommand { volume: "v".to_owned(), order: DiskOrder::PutBack };
    let began = Instant::now();
    // The threads of the first let go of the folder when they have ended.
    while second.status()[0].state != State::Online {
        second.command(put_back()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "{:#?}", second.status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_another_size_than_configured_keeps_its_own_and_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = [volume(&scratch.path().join("v"))];
    for (capacity, remarks) in [(32, 0), (64, 1)] {
        config[0].capacity_bytes = ByteSize::mib(capacity);
        let disks = open(&config);
        until(&disks, |disks| disks.status()[0].state == State::Online);
        let status = &disks.status()[0];
        let said = status.remarks.iter().filter(|remark| remark.contains("format it"));
        assert_eq!(said.count(), remarks, "{:?}", status.remarks);
        assert_eq!(status.stats.unwrap().capacity_bytes, 32 << 20);
        disks.close().await;
    }
}
