//! Volumes on simulated disks.

use crate::config::{Class, VolumeConfig};
use crate::disk::health::State;
use crate::disk::medium::Medium;
use crate::disk::set::{DiskCommand, DiskOrder, DiskRead, DiskStatus, Disks};
use crate::disk::sim::SimMedium;
use crate::disk::volume::ReadWant;
use crate::object::{ChunkKey, ObjName};
use antiphon_core::{ByteSize, CHUNK_LEN, UnixTime};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const NOW: UnixTime = UnixTime(1_800_000_000);
pub const VER: u64 = 7;
pub const GENERATION: u64 = 1;

/// A disk drawer: by volume name, what is plugged in.
pub type Drawer = Arc<Mutex<HashMap<String, Arc<SimMedium>>>>;

pub struct World {
    pub disks: Disks,
    pub drawer: Drawer,
}

pub fn volume(name: &str, class: Class) -> VolumeConfig {
    VolumeConfig {
        class,
        dwpd: 0.0,
        io_threads: 2,
        read_deadline_ms: 60_000,
        segment_bytes: ByteSize::mib(4),
        scrub_bytes_per_sec: ByteSize(0),
        ..VolumeConfig::at(name, ByteSize::mib(64))
    }
}

pub fn ssds<const N: usize>(names: [&str; N]) -> [VolumeConfig; N] {
    names.map(|name| volume(name, Class::Ssd))
}

impl World {
    /// New disks for these volumes, recovered.
    pub fn new(config: &[VolumeConfig]) -> Self {
        Self::with(config, Drawer::default())
    }

    /// The same on disks that may have been used before.
    pub fn with(config: &[VolumeConfig], drawer: Drawer) -> Self {
        for volume in config {
            let mut drawer = drawer.lock();
            drawer.entry(volume.called()).or_insert_with(|| Arc::new(SimMedium::new(1, 1 << 40)));
        }
        let plugged = Arc::clone(&drawer);
        let open = move |config: &VolumeConfig, _mode| {
            let medium = plugged.lock().get(&config.called()).cloned();
            let medium: Arc<dyn Medium> = medium.ok_or("there is no disk")?;
            Ok(medium)
        };
        let disks = Disks::start(config, Box::new(open), Arc::new(|| NOW), 5).unwrap();
        let world = Self { disks, drawer };
        world.until(|status| status.iter().all(|volume| volume.state != State::Recovering));
        world
    }

    pub fn disk(&self, name: &str) -> Arc<SimMedium> {
        Arc::clone(&self.drawer.lock()[name])
    }

    pub fn status(&self, name: &str) -> DiskStatus {
        self.disks.status().into_iter().find(|status| status.name == name).unwrap()
    }

    pub fn state(&self, name: &str) -> State {
        self.status(name).state
    }

    /// Waits for threads of ours.
    pub fn until(&self, holds: impl Fn(&[DiskStatus]) -> bool) {
        let began = Instant::now();
        while !holds(&self.disks.status()) {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it does not come true: {:#?}",
                self.disks.status()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the volumes that can write have written what they were given.
    pub fn flushed(&self) {
        self.until(|status| {
            status.iter().filter_map(|volume| volume.stats).all(|stats| stats.staging_bytes == 0)
        });
    }

    pub async fn command(&self, volume: &str, order: DiskOrder) {
        self.disks.command(DiskCommand { volume: volume.to_owned(), order }).await.unwrap();
    }

    /// Offers chunks until each of `keys` that somebody takes is kept.
    pub fn offer(&self, keys: &[ChunkKey]) -> usize {
        keys.iter().filter(|key| self.disks.offer(**key, VER, GENERATION, &content(**key))).count()
    }

    /// Reads each chunk and says what became of it; every byte that comes is checked.
    pub async fn read(&self, keys: &[ChunkKey]) -> Vec<DiskRead> {
        let mut outcomes = Vec::new();
        for key in keys {
            outcomes.push(self.read_one(*key).await);
        }
        outcomes
    }

    pub async fn read_one(&self, key: ChunkKey) -> DiskRead {
        let got = Arc::new(Mutex::new(None));
        let sink = Arc::clone(&got);
        let want = ReadWant { key, ver: VER, floor: GENERATION };
        let report = self
            .disks
            .read(vec![want], move |_, bytes| *sink.lock() = Some(Bytes::copy_from_slice(bytes)))
            .await;
        let got = got.lock().take();
        assert_eq!(got.is_some(), report.wants == [DiskRead::Read]);
        if let Some(bytes) = got {
            assert!(bytes == content(key), "wrong bytes of {key:?}");
        }
        report.wants[0]
    }

    /// Which of `keys` are on the volume `name`.
    pub fn on(&self, name: &str, keys: &[ChunkKey]) -> Vec<ChunkKey> {
        let slot = self.disks.inner.slot(name).unwrap();
        let live = slot.live().unwrap();
        keys.iter().copied().filter(|key| live.volume.holds(*key)).collect()
    }
}

/// Chunks of several objects.
pub fn keys(count: u32) -> Vec<ChunkKey> {
    (0..count).map(|n| ChunkKey { obj: ObjName::new(&format!("/a/{}", n / 8)).key(), no: n % 8 }).collect()
}

/// Bytes that differ between any two chunks. Short, so that tests are quick; the last of its object as it were.
pub fn content(key: ChunkKey) -> Bytes {
    let mut state = u64::from(key.no) + 1;
    key.obj
        .as_bytes()
        .iter()
        .for_each(|byte| state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut bytes = Vec::new();
    while bytes.len() < (CHUNK_LEN / 16) as usize {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}
