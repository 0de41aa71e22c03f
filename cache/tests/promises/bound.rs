//! Memory stays within its bound, whoever holds it.

use crate::world::{CHUNK, World, between, body_of};
use antiphon_cache::{FetchError, ObjName, RamConfig};
use antiphon_core::ByteSize;

fn small() -> RamConfig {
    RamConfig { capacity_bytes: ByteSize::mib(4), ..RamConfig::default() }
}

#[tokio::test]
async fn ten_times_the_memory_passes_through_it_within_the_bound() {
    let world = World::with(small(), true);
    for no in 0..40 {
        let name = format!("/{no}");
        world.upstream.put(&name, 1, 4 * CHUNK);
        let (_, mut body) = body_of(world.cache.get(&ObjName::new(&name), None).await.unwrap());
        while let Some(item) = body.next().await {
            item.unwrap();
            assert!(world.cache.stats().used_bytes <= 4 << 20);
        }
    }
    let stats = world.cache.stats();
    assert!(stats.resident_bytes > 3 << 20, "the memory is used");
    assert_eq!(stats.resident_bytes, stats.used_bytes, "what is evicted and unread is free");
    assert!(stats.evictions > 100);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_a_listener_still_holds_count_until_it_lets_go() {
    let world = World::with(small(), true);
    world.upstream.put("/a", 1, 17 * CHUNK);
    let mut held = Vec::new();
    for no in 0..16 {
        let (_, mut body) = body_of(world.get(between(no * CHUNK, (no + 1) * CHUNK - 1)).await.unwrap());
        while let Some(item) = body.next().await {
            held.push(item.unwrap().0);
        }
    }
    assert_eq!(world.cache.stats().used_bytes, 4 << 20);
    let last = between(16 * CHUNK, 17 * CHUNK - 1);
    assert!(matches!(world.get(last).await, Err(FetchError::Crowded { .. })));
    assert_eq!(world.cache.stats().evictions, 0, "giving up what is being sent would free nothing");
    held.clear();
    assert!(world.read(last).await.unwrap().is_of("/a", 1, 17 * CHUNK));
    assert_eq!(world.cache.stats().used_bytes, 4 << 20);
}

#[tokio::test]
async fn a_slow_listener_does_not_hold_the_flight_it_came_with() {
    let world = World::with(RamConfig { capacity_bytes: ByteSize::mib(32), ..RamConfig::default() }, true);
    world.upstream.put("/a", 1, 16 * CHUNK);
    let (_, mut slow) = body_of(world.get(None).await.unwrap());
    slow.next().await.unwrap().unwrap();
    while world.cache.stats().resident_chunks < 16 {
        tokio::task::yield_now().await;
    }
    for no in 0..16 {
        let name = format!("/{no}");
        world.upstream.put(&name, 1, 16 * CHUNK);
        let (_, mut body) = body_of(world.cache.get(&ObjName::new(&name), None).await.unwrap());
        while let Some(item) = body.next().await {
            item.unwrap();
        }
    }
    let stats = world.cache.stats();
    assert_eq!(stats.used_bytes, stats.resident_bytes, "nothing is kept for the slow one alone");
    while let Some(item) = slow.next().await {
        item.unwrap();
    }
}
