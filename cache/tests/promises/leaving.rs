//! What becomes of a fetch when its listeners leave, and who goes first when there are many.

use crate::world::{CHUNK, World, between, body_of};
use antiphon_cache::{ObjName, Priority, RamConfig, Source, Want};
use antiphon_core::{RangeSpec, Span};
use futures_util::FutureExt;
use std::time::Duration;

const WHILE: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn a_fetch_that_nobody_waits_for_is_given_up_after_a_while() {
    let world = World::holding(8 * CHUNK);
    world.upstream.let_pass(CHUNK);
    let (_, body) = body_of(world.get(None).await.unwrap());
    drop(body);
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert_eq!(world.cache.stats().flights, 1);
    tokio::time::sleep(WHILE).await;
    let stats = world.cache.stats();
    assert_eq!((stats.flights, stats.abandoned, stats.fetching), (0, 1, 0));
    assert_eq!(stats.used_bytes, stats.resident_bytes, "what was complete stays, the rest is free");
    world.upstream.let_pass(u64::MAX);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 8 * CHUNK));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_with_one_chunk_to_go_is_finished() {
    let world = World::holding(3 * CHUNK);
    world.upstream.let_pass(2 * CHUNK);
    let (_, body) = body_of(world.get(None).await.unwrap());
    world.settle().await;
    drop(body);
    tokio::time::sleep(WHILE).await;
    world.upstream.let_pass(u64::MAX);
    world.settle().await;
    let stats = world.cache.stats();
    assert_eq!((stats.resident_chunks, stats.flights, stats.abandoned), (3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_of_an_object_that_was_asked_for_twice_is_finished() {
    let world = World::holding(8 * CHUNK);
    world.upstream.let_pass(CHUNK);
    let first = world.get(None).await.unwrap();
    let second = world.get(None).await.unwrap();
    drop((first, second));
    tokio::time::sleep(WHILE).await;
    world.upstream.let_pass(u64::MAX);
    world.settle().await;
    assert_eq!((world.cache.stats().resident_chunks, world.upstream.count()), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn a_listener_who_comes_back_within_the_while_finds_the_fetch_running() {
    let world = World::holding(8 * CHUNK);
    world.upstream.let_pass(CHUNK);
    drop(world.get(None).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reply = world.get(between(3 * CHUNK, 8 * CHUNK - 1));
    let mut reply = Box::pin(reply);
    assert!(reply.as_mut().now_or_never().is_none());
    tokio::time::sleep(WHILE).await;
    world.upstream.let_pass(u64::MAX);
    let (source, _) = body_of(reply.await.unwrap());
    assert_eq!((source, world.upstream.count()), (Source::Flight, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_listener_will_need_next_is_not_given_up_while_it_listens() {
    let world = World::holding(6 * CHUNK);
    world.read(between(0, 2 * CHUNK - 1)).await.unwrap();
    world.upstream.let_pass(1);
    let (_, mut body) = body_of(world.get(None).await.unwrap());
    body.next().await.unwrap().unwrap();
    tokio::time::sleep(WHILE).await;
    assert_eq!((world.cache.stats().flights, world.cache.stats().abandoned), (1, 0));
    world.upstream.let_pass(u64::MAX);
    while let Some(item) = body.next().await {
        item.unwrap();
    }
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_first_contact_that_nobody_waits_for_is_given_up_too() {
    let world = World::holding(8 * CHUNK);
    world.upstream.close();
    assert!(world.get(None).now_or_never().is_none());
    tokio::time::sleep(WHILE).await;
    assert_eq!((world.cache.stats().abandoned, world.cache.stats().used_bytes), (1, 0));
    world.upstream.let_pass(u64::MAX);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 8 * CHUNK));
}

#[tokio::test]
async fn a_prefetch_brings_what_is_missing_and_nothing_past_the_end() {
    let world = World::holding(40 * CHUNK);
    let name = ObjName::new("/a");
    world.read(between(2 * CHUNK, 3 * CHUNK - 1)).await.unwrap();
    let span = Span::new(10, u64::MAX).unwrap();
    world.cache.prefetch(&name, span, Priority::Prefetch).await.unwrap();
    assert_eq!(world.cache.stats().resident_chunks, 40);
    let fetches = world.upstream.count();
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 40 * CHUNK));
    assert_eq!(world.upstream.count(), fetches);
}

#[tokio::test]
async fn listeners_go_before_prefetches_and_no_more_fetch_than_allowed() {
    let config = RamConfig { fetches_max: 1, ..RamConfig::default() };
    let world = World::with(config, true);
    for (name, len) in [("/a", 1), ("/b", 2), ("/c", 3)] {
        world.upstream.put(name, 1, len);
        world.cache.head(&ObjName::new(name)).await.unwrap();
    }
    world.upstream.let_pass(0);
    let names = ["/a", "/b", "/c"].map(ObjName::new);
    let whole = Span::whole(CHUNK).unwrap();
    let mut first = Box::pin(world.cache.prefetch(&names[0], whole, Priority::Prefetch));
    assert!(first.as_mut().now_or_never().is_none());
    world.settle().await;
    let mut second = Box::pin(world.cache.prefetch(&names[1], whole, Priority::Prefetch));
    assert!(second.as_mut().now_or_never().is_none());
    let mut third = Box::pin(world.cache.get(&names[2], None));
    assert!(third.as_mut().now_or_never().is_none());
    world.settle().await;
    assert_eq!((world.cache.stats().fetching, world.cache.stats().queued), (1, 2));
    world.upstream.let_pass(u64::MAX);
    let (first, second, third) = futures_util::future::join3(first, second, third).await;
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    let asked = |len: u64| Want::Range(RangeSpec::Between { first: 0, last: len - 1 });
    assert_eq!(world.upstream.fetches()[3..], [asked(1), asked(3), asked(2)]);
}

#[tokio::test]
async fn an_upstream_without_ranges_is_asked_once_for_a_small_object() {
    let world = World::holding(4 * CHUNK);
    world.upstream.forget_ranges();
    assert!(world.read(between(CHUNK, CHUNK + 9)).await.unwrap().is_of("/a", 1, 4 * CHUNK));
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 4 * CHUNK));
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn the_slice_that_is_wanted_of_a_large_object_is_cut_out_of_the_whole() {
    for len in [3 * CHUNK + 7, 20 * CHUNK + 7] {
        for digests in [true, false] {
            let world = World::with(RamConfig::default(), digests);
            world.upstream.put("/a", 1, len);
            world.upstream.forget_ranges();
            world.cache.head(&ObjName::new("/a")).await.unwrap();
            let from = len - 2 * CHUNK;
            assert!(world.read(between(from, len - 1)).await.unwrap().is_of("/a", 1, len));
            assert!(world.read(between(3, 10)).await.unwrap().is_of("/a", 1, len));
            assert!(world.read(Some(RangeSpec::Last { count: 3 })).await.unwrap().is_of("/a", 1, len));
            assert_eq!(world.upstream.count(), 3, "a head and a fetch for each end");
            assert!(world.upstream.fetches()[1..].iter().all(|want| matches!(want, Want::Range(_))));
        }
    }
}
