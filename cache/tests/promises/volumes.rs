//! Worlds with volumes on simulated disks.

use crate::world::World;
use antiphon_cache::disk::health::State;
use antiphon_cache::disk::medium::{Medium, Part};
use antiphon_cache::disk::set::OpenMedium;
use antiphon_cache::disk::sim::{Dice, SimMedium};
use antiphon_cache::{CacheConfig, DiskStatus, VolumeConfig};
use antiphon_core::ByteSize;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What is plugged in, by the name of the volume.
#[derive(Clone)]
pub struct Drawer(HashMap<String, Arc<SimMedium>>);

/// A disk whose data can only be read once the gate is open.
struct Gated {
    inner: Arc<SimMedium>,
    open: watch::Receiver<bool>,
    runtime: tokio::runtime::Handle,
}

/// Memory of 32 MiB over volumes of these names.
pub fn config(names: &[&str]) -> CacheConfig {
    let volume = |name: &&str| VolumeConfig {
        dwpd: 0.0,
        io_threads: 2,
        read_deadline_ms: 60_000,
        segment_bytes: ByteSize::mib(4),
        scrub_bytes_per_sec: ByteSize(0),
        ..VolumeConfig::at(*name, ByteSize::mib(64))
    };
    CacheConfig {
        capacity_bytes: ByteSize::mib(32),
        volumes: names.iter().map(volume).collect(),
        ..CacheConfig::default()
    }
}

impl Drawer {
    /// New disks for these volumes.
    pub fn new(config: &CacheConfig) -> Self {
        let disk = |volume: &VolumeConfig| (volume.called(), Arc::new(SimMedium::new(1, 1 << 40)));
        Self(config.volumes.iter().map(disk).collect())
    }

    pub fn disk(&self, name: &str) -> &SimMedium {
        &self.0[name]
    }

    /// The disks after the power went.
    pub fn crash(&self, dice: &mut Dice) -> Self {
        Self(self.0.iter().map(|(name, disk)| (name.clone(), Arc::new(disk.crash(dice)))).collect())
    }

    /// The disks after the process was killed.
    pub fn kill(&self) -> Self {
        Self(self.0.iter().map(|(name, disk)| (name.clone(), Arc::new(disk.kill()))).collect())
    }

    pub fn media(&self) -> Box<OpenMedium> {
        let disks = self.0.clone();
        Box::new(move |config, _| {
            let disk = disks.get(&config.called()).cloned();
            disk.map(|disk| disk as Arc<dyn Medium>).ok_or_else(|| "there is no disk".into())
        })
    }

    /// The same, with data that cannot be read before the sender says `true`.
    pub fn gated_media(&self) -> (Box<OpenMedium>, watch::Sender<bool>) {
        let (sender, open) = watch::channel(false);
        let (disks, runtime) = (self.0.clone(), tokio::runtime::Handle::current());
        let media: Box<OpenMedium> = Box::new(move |config, _| {
            let inner = disks.get(&config.called()).cloned().ok_or("there is no disk")?;
            Ok(Arc::new(Gated { inner, open: open.clone(), runtime: runtime.clone() }) as Arc<dyn Medium>)
        });
        (media, sender)
    }
}

impl Medium for Gated {
    fn read(&self, part: Part, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if part == Part::Data {
            let mut open = self.open.clone();
            self.runtime
                .block_on(async { open.wait_for(|open| *open).await.map(drop) })
                .map_err(io::Error::other)?;
        }
        self.inner.read(part, offset, into)
    }

    fn write(&self, part: Part, offset: u64, from: &[u8]) -> io::Result<()> {
        self.inner.write(part, offset, from)
    }

    fn sync(&self, part: Part) -> io::Result<()> {
        self.inner.sync(part)
    }

    fn len(&self, part: Part) -> io::Result<u64> {
        self.inner.len(part)
    }

    fn resize(&self, part: Part, len: u64) -> io::Result<()> {
        self.inner.resize(part, len)
    }
}

impl World {
    /// A world over new disks, ready to write.
    pub async fn on(drawer: &Drawer, config: CacheConfig) -> Self {
        let world = Self::over(config, true, drawer.media());
        world.until_online().await;
        world
    }

    /// The same world after the node came up again with these disks, all of them found again.
    pub async fn reborn_on(&self, drawer: &Drawer) -> Self {
        let world = self.reborn(drawer.media());
        world.until_online().await;
        world
    }

    pub async fn until_online(&self) {
        self.until(|volumes| volumes.iter().all(|volume| volume.state == State::Online)).await;
    }

    /// Waits until the volumes have written all that they were given.
    pub async fn flushed(&self) {
        self.until(|volumes| {
            volumes.iter().filter_map(|volume| volume.stats).all(|stats| stats.staging_bytes == 0)
        })
        .await;
    }

    pub async fn until(&self, holds: impl Fn(&[DiskStatus]) -> bool) {
        let come_true = async {
            while !holds(&self.cache.disks().status()) {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), come_true).await;
        assert!(in_time.is_ok(), "it does not come true: {:#?}", self.cache.disks().status());
    }
}
