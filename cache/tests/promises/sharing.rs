//! One fetch, however many listen.

use crate::world::{Answer, CHUNK, World, between, body_of, content, drain};
use antiphon_cache::{ObjName, RangeReply, Source, Want};
use antiphon_core::RangeSpec;
use futures_util::FutureExt;
use futures_util::future::join_all;

#[tokio::test]
async fn a_thousand_followers_of_an_unknown_object_cost_one_fetch() {
    let world = World::holding(3 * CHUNK);
    world.upstream.close();
    let mut listeners: Vec<_> = (0..1000).map(|_| Box::pin(world.read(between(10, CHUNK + 9)))).collect();
    for listener in &mut listeners {
        assert!(listener.as_mut().now_or_never().is_none(), "nothing can be here yet");
    }
    world.upstream.let_pass(u64::MAX);
    let answers = join_all(listeners).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_of("/a", 1, 3 * CHUNK)));
    assert_eq!(world.upstream.count(), 1);
    let leaders = answers.iter().filter(|answer| answer.as_ref().unwrap().source == Source::Upstream);
    assert_eq!(leaders.count(), 1);
}

#[tokio::test]
async fn a_thousand_followers_of_a_known_object_cost_one_fetch() {
    let world = World::holding(3 * CHUNK);
    world.cache.head(&ObjName::new("/a")).await.unwrap();
    world.upstream.close();
    let mut listeners: Vec<_> = (0..1000).map(|_| Box::pin(world.read(between(CHUNK, CHUNK + 9)))).collect();
    for listener in &mut listeners {
        assert!(listener.as_mut().now_or_never().is_none());
    }
    world.upstream.let_pass(u64::MAX);
    let answers = join_all(listeners).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_of("/a", 1, 3 * CHUNK)));
    assert_eq!(world.upstream.count(), 2, "one head, one fetch");
}

#[tokio::test]
async fn two_hundred_leaders_that_leave_cost_one_fetch() {
    let world = World::holding(2 * CHUNK);
    world.upstream.close();
    for _ in 0..200 {
        assert!(world.get(None).now_or_never().is_none(), "the listener leaves before the answer");
    }
    world.upstream.let_pass(u64::MAX);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 2 * CHUNK));
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_listener_that_leaves_mid_body_spoils_nothing_for_the_others() {
    let world = World::holding(4 * CHUNK);
    world.upstream.let_pass(CHUNK);
    let (_, mut leader) = body_of(world.get(None).await.unwrap());
    let (source, mut follower) = body_of(world.get(None).await.unwrap());
    assert_eq!(source, Source::Flight);
    leader.next().await.unwrap().unwrap();
    drop(leader);
    world.upstream.let_pass(u64::MAX);
    assert_eq!(drain(&mut follower).await.unwrap(), content("/a", 1, 4 * CHUNK));
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn bytes_reach_followers_64_kib_at_a_time_while_the_chunk_is_still_coming() {
    let world = World::holding(CHUNK);
    world.upstream.let_pass(64 * 1024);
    let (_, mut body) = body_of(world.get(None).await.unwrap());
    let (first, _) = body.next().await.unwrap().unwrap();
    assert_eq!(first.len(), 64 * 1024);
    assert!(body.next().now_or_never().is_none(), "no more has come");
    world.upstream.let_pass(u64::MAX);
    assert_eq!(drain(&mut body).await.unwrap(), content("/a", 1, CHUNK)[64 * 1024..]);
}

#[tokio::test]
async fn neighbours_are_fetched_in_one_request_of_at_most_4_mib() {
    let world = World::holding(40 * CHUNK + 1);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 40 * CHUNK + 1));
    let asked = |first: u64, last: u64| Want::Range(RangeSpec::Between { first, last });
    let mut fetches = world.upstream.fetches();
    fetches.sort_by_key(|want| format!("{want:?}").len());
    assert_eq!(world.upstream.count(), 3);
    assert!(fetches.contains(&asked(0, 16 * CHUNK - 1)));
    assert!(fetches.contains(&asked(16 * CHUNK, 32 * CHUNK - 1)));
    assert!(fetches.contains(&asked(32 * CHUNK, 40 * CHUNK)));
}

#[tokio::test]
async fn only_missing_chunks_are_fetched() {
    let world = World::holding(8 * CHUNK);
    world.read(between(3 * CHUNK, 4 * CHUNK - 1)).await.unwrap();
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 8 * CHUNK));
    let asked = |first: u64, last: u64| Want::Range(RangeSpec::Between { first, last });
    assert_eq!(
        world.upstream.fetches(),
        [asked(3 * CHUNK, 4 * CHUNK - 1), asked(0, 3 * CHUNK - 1), asked(4 * CHUNK, 8 * CHUNK - 1)]
    );
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 8 * CHUNK));
    assert_eq!(world.upstream.count(), 3, "all of it is in memory now");
}

#[tokio::test]
async fn the_next_fetch_begins_two_chunks_ahead_and_not_before() {
    let world = World::holding(6 * CHUNK);
    world.read(between(0, 3 * CHUNK - 1)).await.unwrap();
    let (_, mut body) = body_of(world.get(None).await.unwrap());
    // The items are whole chunks; the fetch of chunk 3 is looked for on the way into chunk 1.
    body.next().await.unwrap().unwrap();
    tokio::task::yield_now().await;
    assert_eq!(world.upstream.count(), 1);
    body.next().await.unwrap().unwrap();
    tokio::task::yield_now().await;
    assert_eq!(world.upstream.count(), 2);
    drain(&mut body).await.unwrap();
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn an_unknown_object_asked_from_its_end_costs_one_head_and_one_fetch() {
    let world = World::holding(3 * CHUNK + 5);
    let answer = world.read(Some(RangeSpec::Last { count: 10 })).await.unwrap();
    assert!(answer.is_of("/a", 1, 3 * CHUNK + 5));
    let tail = RangeSpec::Between { first: 2 * CHUNK, last: 3 * CHUNK + 4 };
    assert_eq!(world.upstream.fetches(), [Want::Head, Want::Range(tail)]);
}

#[tokio::test]
async fn a_first_contact_asks_for_the_chunks_around_the_range() {
    let world = World::holding(8 * CHUNK);
    let answer = world.read(between(CHUNK + 1, 2 * CHUNK)).await.unwrap();
    assert!(answer.is_of("/a", 1, 8 * CHUNK));
    let run = RangeSpec::Between { first: CHUNK, last: 3 * CHUNK - 1 };
    assert_eq!(world.upstream.fetches(), [Want::Range(run)]);
}

#[tokio::test]
async fn a_range_past_the_end_is_unsatisfiable_and_the_object_is_known_from_then_on() {
    let world = World::holding(10);
    for _ in 0..2 {
        let reply = world.get(between(CHUNK, CHUNK + 9)).await.unwrap();
        assert!(matches!(reply, RangeReply::Unsatisfiable { meta } if meta.total_len == 10));
    }
    assert!(matches!(world.get(between(u64::MAX, u64::MAX)).await, Ok(RangeReply::Unsatisfiable { .. })));
    assert_eq!(world.upstream.count(), 2, "the range that failed, and the head");
}

#[tokio::test]
async fn an_empty_object_has_a_whole_but_no_range() {
    let world = World::holding(0);
    let reply = world.get(None).await.unwrap();
    assert!(matches!(&reply, RangeReply::Granted { span: None, .. }));
    assert_eq!(Answer::of(reply).await.unwrap().bytes, b"");
    assert!(matches!(world.get(between(0, 0)).await, Ok(RangeReply::Unsatisfiable { .. })));
    let last = Some(RangeSpec::Last { count: 5 });
    assert!(matches!(world.get(last).await, Ok(RangeReply::Unsatisfiable { .. })));
}

#[tokio::test]
async fn memory_answers_without_waiting_once_a_chunk_is_here() {
    let world = World::holding(2 * CHUNK);
    let name = ObjName::new("/a");
    assert!(world.cache.try_ram(&name, None).is_none());
    world.read(None).await.unwrap();
    let (source, mut body) = body_of(world.cache.try_ram(&name, between(5, 9)).unwrap());
    assert_eq!(source, Source::Ram);
    let item = body.next().now_or_never().flatten().unwrap().unwrap();
    assert_eq!(item, (content("/a", 1, 10).slice(5..10), Source::Ram));
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn bytes_from_memory_are_slices_and_not_copies() {
    let world = World::holding(CHUNK);
    world.read(None).await.unwrap();
    let mut pointers = Vec::new();
    for _ in 0..2 {
        let (_, mut body) = body_of(world.get(between(100, 200)).await.unwrap());
        pointers.push(body.next().await.unwrap().unwrap().0.as_ptr());
    }
    assert_eq!(pointers[0], pointers[1]);
    assert_eq!(world.cache.stats().used_bytes, CHUNK);
}

#[tokio::test]
async fn every_answer_is_counted_by_where_its_bytes_came_from() {
    let world = World::holding(CHUNK);
    world.read(None).await.unwrap();
    world.read(between(0, 99)).await.unwrap();
    let stats = world.cache.stats();
    assert_eq!((stats.misses, stats.hits, stats.fetches), (1, 1, 1));
    assert_eq!((stats.upstream_bytes, stats.ram_bytes, stats.fetched_bytes), (CHUNK, 100, CHUNK));
    assert_eq!((stats.resident_chunks, stats.resident_bytes, stats.used_bytes), (1, CHUNK, CHUNK));
    assert_eq!((stats.flights, stats.evictions, stats.fetch_failures), (0, 0, 0));
}
