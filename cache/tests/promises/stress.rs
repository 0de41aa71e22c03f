//! Many listeners at once, objects that change under them, an upstream that fails now and then.

use crate::volumes::{Drawer, config};
use crate::world::{Answer, CHUNK, Fault, World};
use antiphon_cache::disk::sim::Dice;
use antiphon_cache::{CacheConfig, FetchError, ObjName, Purge, PurgeManner, UpstreamError};
use antiphon_core::{ByteSize, RangeSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const OBJECTS: u64 = 6;
const LISTENERS: u64 = 16;
const PLAYS: u64 = 60;

/// The length of an object in a version, so that a listener can tell from the tag alone.
fn len_of(version: u32) -> u64 {
    CHUNK * 3 + u64::from(version) * 1000 % CHUNK
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// By object, the oldest version that may still be served: what upstream had when a purge began that is over.
type Floors = Arc<[AtomicU32; OBJECTS as usize]>;

async fn listen(world: Arc<World>, floors: Floors, seed: u64) -> u64 {
    let mut state = seed * 0x9e37_79b9 + 1;
    let mut whole_answers = 0;
    for _ in 0..PLAYS {
        let object = next(&mut state) % OBJECTS;
        let name = format!("/{object}");
        let floor = floors[object as usize].load(Ordering::SeqCst);
        let first = next(&mut state) % (3 * CHUNK);
        let range = RangeSpec::Between { first, last: first + next(&mut state) % (2 * CHUNK) };
        let answer = match world.cache.get(&ObjName::new(&name), Some(range)).await {
            Ok(reply) if next(&mut state).is_multiple_of(8) => {
                drop(reply);
                continue;
            }
            Ok(reply) => Answer::of(reply).await,
            Err(error) => Err(error),
        };
        assert!(world.cache.stats().used_bytes <= world.cache.stats().capacity_bytes);
        match answer {
            Ok(answer) => {
                let version = answer.etag.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
                assert!(version >= floor, "version {version} of {name} was purged with {floor}");
                assert!(answer.is_of(&name, version, len_of(version)), "wrong bytes of {name} {version}");
                whole_answers += 1;
            }
            Err(
                FetchError::Changed { .. }
                | FetchError::Purged
                | FetchError::Short { .. }
                | FetchError::WrongDigest { .. }
                | FetchError::Upstream(UpstreamError::Unreachable { .. }),
            ) => {}
            Err(error) => panic!("{error:?} was not in the script"),
        }
    }
    whole_answers
}

/// Sixteen listeners, while objects change, are purged every third time, and fetches fail.
async fn evening(world: &Arc<World>, floors: &Floors, versions: std::ops::Range<u32>) {
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|seed| tokio::spawn(listen(Arc::clone(world), Arc::clone(floors), seed + 1)))
        .collect();
    for version in versions {
        let object = u64::from(version) % OBJECTS;
        let name = format!("/{object}");
        world.upstream.put(&name, version, len_of(version));
        if version % 3 == 0 {
            world.purge(Purge::Object(ObjName::new(&name)), PurgeManner::Hard).await;
            floors[object as usize].store(version, Ordering::SeqCst);
        }
        let faults = [Fault::DiesAfter(9 * 1024), Fault::EndsAfter(CHUNK), Fault::WrongDigest];
        world.upstream.fail([faults[version as usize % 3]]);
        let fetches = world.upstream.count();
        while world.upstream.count() < fetches + 3 && listeners.iter().any(|listener| !listener.is_finished())
        {
            tokio::task::yield_now().await;
        }
    }
    let mut whole_answers = 0;
    for listener in listeners {
        whole_answers += listener.await.unwrap();
    }
    assert!(whole_answers > LISTENERS * PLAYS / 2, "only {whole_answers} answers came whole");
    while world.cache.stats().flights > 0 {
        tokio::task::yield_now().await;
    }
    let stats = world.cache.stats();
    assert_eq!(stats.used_bytes, stats.resident_bytes, "nothing leaks");
}

fn begin(world: World) -> (Arc<World>, Floors) {
    // Who came before a purge and who comes after it may have the same chunk sent at the same time.
    world.upstream.allow_twice();
    (0..OBJECTS).for_each(|no| world.upstream.put(&format!("/{no}"), 1, len_of(1)));
    (Arc::new(world), Floors::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_listener_ever_gets_a_byte_of_another_version_or_of_before_a_purge() {
    let config = CacheConfig { capacity_bytes: ByteSize::mib(6), ..CacheConfig::default() };
    let (world, floors) = begin(World::with(config, true));
    evening(&world, &floors, 2..40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_from_volumes_across_losses_of_power() {
    let config = CacheConfig { capacity_bytes: ByteSize::mib(4), ..config(&["a", "b"]) };
    let mut drawer = Drawer::new(&config);
    let (mut world, floors) = begin(World::on(&drawer, config).await);
    for night in 0..3 {
        evening(&world, &floors, 2 + night * 20..22 + night * 20).await;
        assert!(world.cache.stats().disk_reads > 0, "the volumes take part");
        drawer = drawer.crash(&mut Dice::new(u64::from(night)));
        world = Arc::new(world.reborn_on(&drawer).await);
    }
    evening(&world, &floors, 70..80).await;
}
