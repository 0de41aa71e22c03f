//! Many listeners at once, objects that change under them, an upstream that fails now and then.

use crate::world::{Answer, CHUNK, Fault, World};
use antiphon_cache::{FetchError, ObjName, RamConfig, UpstreamError};
use antiphon_core::{ByteSize, RangeSpec};
use std::sync::Arc;

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

async fn listen(world: Arc<World>, seed: u64) -> u64 {
    let mut state = seed * 0x9e37_79b9 + 1;
    let mut whole_answers = 0;
    for _ in 0..PLAYS {
        let name = format!("/{}", next(&mut state) % OBJECTS);
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
                assert!(answer.is_of(&name, version, len_of(version)), "wrong bytes of {name} {version}");
                whole_answers += 1;
            }
            Err(
                FetchError::Changed { .. }
                | FetchError::Short { .. }
                | FetchError::WrongDigest { .. }
                | FetchError::Upstream(UpstreamError::Unreachable { .. }),
            ) => {}
            Err(error) => panic!("{error:?} was not in the script"),
        }
    }
    whole_answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_listener_ever_gets_a_byte_of_another_version() {
    let config = RamConfig { capacity_bytes: ByteSize::mib(6), ..RamConfig::default() };
    let world = Arc::new(World::with(config, true));
    (0..OBJECTS).for_each(|no| world.upstream.put(&format!("/{no}"), 1, len_of(1)));
    let listeners: Vec<_> =
        (0..LISTENERS).map(|seed| tokio::spawn(listen(Arc::clone(&world), seed + 1))).collect();
    for version in 2..40 {
        world.upstream.put(&format!("/{}", u64::from(version) % OBJECTS), version, len_of(version));
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
