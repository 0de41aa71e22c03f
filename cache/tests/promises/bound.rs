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

/// Listeners who ask for one chunk of `/a` each and do not read on.
async fn hold(world: &World, chunks: std::ops::Range<u64>) -> Vec<bytes::Bytes> {
    let mut held = Vec::new();
    for no in chunks {
        let (_, mut body) = body_of(world.get(between(no * CHUNK, (no + 1) * CHUNK - 1)).await.unwrap());
        while let Some(item) = body.next().await {
            held.push(item.unwrap().0);
        }
    }
    held
}

/// Listeners who take their chunk of `/a` and go.
async fn pass(world: &World, chunks: std::ops::Range<u64>) {
    for no in chunks {
        drop(hold(world, no..no + 1).await);
    }
}

#[tokio::test]
async fn slow_listeners_who_hold_up_too_much_are_sent_small_copies_of_the_same_bytes() {
    let world = World::with(small(), true);
    world.upstream.put("/a", 1, 40 * CHUNK);
    let slow = hold(&world, 0..8).await;
    // What passes through the other half finds the slow ones in its way, and they are counted from then on.
    pass(&world, 8..40).await;
    let stats = world.cache.stats();
    assert!(stats.detached_bytes > stats.capacity_bytes / 4, "{stats:?}");
    assert!(stats.used_bytes <= stats.capacity_bytes);
    let copies = hold(&world, 0..1).await;
    assert_eq!(copies.iter().map(|copy| copy.len()).collect::<Vec<_>>(), [64 * 1024; 4]);
    assert!(copies.iter().all(|copy| copy.as_ptr() != slow[0].as_ptr()));
    assert_eq!(copies.concat(), slow[0]);
    assert!(world.cache.stats().used_bytes <= stats.capacity_bytes, "copies count");
    drop((slow, copies));
    assert_eq!(world.cache.stats().detached_bytes, 0);
    assert_eq!(hold(&world, 39..40).await[0].len() as u64, CHUNK);
}

#[tokio::test]
async fn memory_shrinks_and_grows_without_a_restart() {
    let world = World::with(RamConfig { capacity_bytes: ByteSize::mib(16), ..RamConfig::default() }, true);
    world.upstream.put("/a", 1, 64 * CHUNK);
    pass(&world, 0..64).await;
    assert_eq!(world.cache.stats().used_bytes, 16 << 20);
    let held = hold(&world, 60..64).await;
    world.cache.resize_ram(ByteSize(1)).unwrap();
    let stats = world.cache.stats();
    assert_eq!((stats.capacity_bytes, stats.used_bytes), (4 << 20, 4 << 20), "the least there may be");
    pass(&world, 0..64).await;
    assert_eq!(world.cache.stats().used_bytes, 4 << 20);
    world.cache.resize_ram(ByteSize::mib(32)).unwrap();
    pass(&world, 0..64).await;
    assert_eq!(world.cache.stats().used_bytes, 16 << 20, "all of it fits");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_waits_for_memory_gets_it_when_a_listener_lets_go() {
    let world = World::with(small(), true);
    world.upstream.put("/a", 1, 17 * CHUNK);
    let held = hold(&world, 0..16).await;
    let wanted = between(16 * CHUNK, 17 * CHUNK - 1);
    let (answer, ()) = tokio::join!(world.read(wanted), async {
        tokio::task::yield_now().await;
        drop(held);
    });
    assert!(answer.unwrap().is_of("/a", 1, 17 * CHUNK));
}
