//! Real folders that are taken out, overwritten, cut short, emptied and put back while listeners listen.

use crate::world::{Answer, CHUNK, World};
use antiphon_cache::disk::health::State;
use antiphon_cache::disk::medium::Medium;
use antiphon_cache::disk::os::OsMedium;
use antiphon_cache::{CacheConfig, DiskCommand, DiskOrder, ObjName, VolumeConfig};
use antiphon_core::{ByteSize, RangeSpec};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const OBJECTS: u64 = 16;
const LISTENERS: u64 = 6;
const LEN: u64 = 4 * CHUNK + 1_000;
/// Answers that are heard between two deeds.
const BETWEEN: u64 = 30;

/// What is done to a disk.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Taken out and put back.
    Pull,
    /// Overwritten while it serves.
    Overwrite,
    /// Cut short while it serves.
    Cut,
    /// Taken out, its files removed, put back as a new one.
    Replace,
    /// Taken out and erased.
    Format,
}

const DEEDS: [Deed; 7] =
    [Deed::Pull, Deed::Overwrite, Deed::Replace, Deed::Overwrite, Deed::Format, Deed::Cut, Deed::Format];

fn world(folder: &Path) -> World {
    let volume = |name: &str| VolumeConfig {
        segment_bytes: ByteSize::mib(4),
        dwpd: 0.0,
        ..VolumeConfig::at(folder.join(name), ByteSize::mib(48))
    };
    let config = CacheConfig {
        capacity_bytes: ByteSize::mib(4),
        volumes: vec![volume("a"), volume("b")],
        ..CacheConfig::default()
    };
    let open = |config: &VolumeConfig, mode| {
        let medium: Arc<dyn Medium> = Arc::new(OsMedium::open(&config.dir, None, mode)?);
        Ok(medium)
    };
    World::over(config, true, Box::new(open))
}

async fn in_state(world: &World, volume: &str, states: &[State]) {
    let began = Instant::now();
    loop {
        let status = world.cache.disks().status();
        if status.iter().any(|status| status.name == volume && states.contains(&status.state)) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{status:#?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn tell(world: &World, volume: &str, order: DiskOrder) {
    let command = DiskCommand { volume: volume.to_owned(), order };
    world.cache.disks().command(command).await.unwrap();
}

async fn out_and_in(world: &World, volume: &str, order: DiskOrder) {
    tell(world, volume, DiskOrder::Fail).await;
    in_state(world, volume, &[State::Failed]).await;
    tell(world, volume, order).await;
    in_state(world, volume, &[State::Online]).await;
}

async fn carry_out(world: &World, folder: &Path, volume: &str, deed: Deed) {
    let data = folder.join(volume).join("data");
    let open = || std::fs::OpenOptions::new().write(true).open(&data).unwrap();
    match deed {
        Deed::Pull => out_and_in(world, volume, DiskOrder::PutBack).await,
        Deed::Format => out_and_in(world, volume, DiskOrder::Format).await,
        Deed::Overwrite => {
            let len = data.metadata().unwrap().len() as usize;
            open().write_all_at(&vec![0xa5; len], 0).unwrap();
        }
        Deed::Cut => open().set_len(4096).unwrap(),
        Deed::Replace => {
            tell(world, volume, DiskOrder::Fail).await;
            std::fs::remove_dir_all(folder.join(volume)).unwrap();
            tell(world, volume, DiskOrder::PutBack).await;
            in_state(world, volume, &[State::Online]).await;
        }
    }
}

/// Listens until told to stop. Upstream is well, so every answer has to come, whole and right.
async fn listen(world: Arc<World>, heard: Arc<AtomicU64>, enough: Arc<AtomicBool>, seed: u64) {
    let mut dice = antiphon_cache::disk::sim::Dice::new(seed);
    while !enough.load(Ordering::Relaxed) {
        let name = format!("/{}", dice.roll() % OBJECTS);
        let first = dice.roll() % LEN;
        let range = RangeSpec::Between { first, last: first + dice.roll() % (2 * CHUNK) };
        let reply = world.cache.get(&ObjName::new(&name), Some(range)).await.unwrap();
        let answer = Answer::of(reply).await.unwrap();
        assert!(answer.is_of(&name, 1, LEN), "wrong bytes of {name}");
        heard.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_done_to_the_disks_listeners_hear_every_byte_and_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(world(folder.path()));
    (0..OBJECTS).for_each(|no| world.upstream.put(&format!("/{no}"), 1, LEN));
    for volume in ["a", "b"] {
        in_state(&world, volume, &[State::Online]).await;
    }
    let (heard, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|seed| tokio::spawn(listen(Arc::clone(&world), Arc::clone(&heard), Arc::clone(&enough), seed)))
        .collect();
    for (number, deed) in DEEDS.into_iter().enumerate() {
        let volume = ["a", "b"][number % 2];
        let before = heard.load(Ordering::Relaxed);
        while heard.load(Ordering::Relaxed) < before + BETWEEN
            && listeners.iter().all(|one| !one.is_finished())
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        carry_out(&world, folder.path(), volume, deed).await;
    }
    enough.store(true, Ordering::Relaxed);
    for listener in listeners {
        listener.await.unwrap();
    }
    let stats = world.cache.stats();
    assert!(stats.disk_reads > 0 && stats.disk_corrupt > 0, "{stats:?}");
}
