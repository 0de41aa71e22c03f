//! An upstream that breaks its word never breaks ours.

use crate::world::{CHUNK, Fault, World, between, body_of, content, drain, etag};
use antiphon_cache::{FetchError, ObjName, RamConfig, RangeReply, UpstreamError};
use futures_util::FutureExt;
use futures_util::future::join_all;

/// One fault for a listener who has seen nothing is made good by a second fetch; two in a row are told.
async fn is_made_good_once(fault: Fault, told: fn(&FetchError) -> bool) {
    let world = World::holding(3 * CHUNK);
    world.upstream.fail([fault]);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 3 * CHUNK), "{fault:?} is made good");
    assert_eq!(world.upstream.count(), 2);

    let world = World::holding(3 * CHUNK);
    world.upstream.fail([fault, fault]);
    let error = world.get(None).await.err().unwrap();
    assert!(told(&error), "{fault:?} is told as {error:?}");
    assert_eq!(world.upstream.count(), 2);
    assert_eq!(world.cache.stats().resident_chunks, 0, "nothing of a spoiled body is kept");
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 3 * CHUNK), "and the next listener is served");
}

#[tokio::test]
async fn a_body_that_ends_early_is_fetched_once_more() {
    is_made_good_once(Fault::EndsAfter(1000), |error| matches!(error, FetchError::Short { got: 1000, .. }))
        .await;
}

#[tokio::test]
async fn an_answer_for_other_bytes_is_fetched_once_more() {
    is_made_good_once(Fault::WrongSpan, |error| matches!(error, FetchError::WrongSpan { .. })).await;
}

#[tokio::test]
async fn a_body_that_is_too_long_ends_in_an_error_and_leaves_nothing() {
    let world = World::holding(1000);
    world.upstream.fail([Fault::OneTooMany, Fault::OneTooMany]);
    assert!(matches!(world.get(None).await, Err(FetchError::Long { .. })));
    assert_eq!(world.cache.stats().resident_chunks, 0);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 1000));
}

#[tokio::test]
async fn the_last_bytes_of_a_body_with_a_wrong_digest_are_never_given() {
    let world = World::holding(2 * CHUNK);
    world.upstream.fail([Fault::WrongDigest]);
    world.upstream.let_pass(CHUNK);
    let (_, mut body) = body_of(world.get(None).await.unwrap());
    let mut got = Vec::new();
    let error = loop {
        match body.next().await.unwrap() {
            Ok((bytes, _)) => got.extend_from_slice(&bytes),
            Err(error) => break error,
        }
        world.upstream.let_pass(u64::MAX);
    };
    assert!(matches!(error, FetchError::WrongDigest { .. }));
    assert!(body.next().await.is_none());
    assert!((got.len() as u64) < 2 * CHUNK);
    assert_eq!(world.cache.stats().resident_chunks, 0);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 2 * CHUNK));
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_small_body_with_a_wrong_digest_is_fetched_once_more() {
    let world = World::holding(1000);
    world.upstream.fail([Fault::WrongDigest]);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 1000));
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_connection_that_breaks_mid_body_ends_the_answer_and_keeps_no_part_of_a_chunk() {
    let world = World::with(RamConfig::default(), false);
    world.upstream.put("/a", 1, 3 * CHUNK);
    world.upstream.fail([Fault::DiesAfter(CHUNK + 70_000)]);
    world.upstream.let_pass(CHUNK);
    let (_, mut body) = body_of(world.get(None).await.unwrap());
    world.upstream.let_pass(u64::MAX);
    let error = drain(&mut body).await.unwrap_err();
    assert!(matches!(error, FetchError::Upstream(UpstreamError::Unreachable { .. })));
    let stats = world.cache.stats();
    assert_eq!((stats.resident_chunks, stats.resident_bytes), (1, CHUNK), "the complete chunk stays");
    assert_eq!((stats.flights, stats.used_bytes), (0, CHUNK));
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 3 * CHUNK));
}

#[tokio::test]
async fn all_followers_of_a_failed_fetch_hear_the_same() {
    let world = World::holding(CHUNK);
    world.upstream.close();
    world.upstream.fail([Fault::Status(503)]);
    let mut listeners: Vec<_> = (0..100).map(|_| Box::pin(world.get(None))).collect();
    for listener in &mut listeners {
        assert!(listener.as_mut().now_or_never().is_none());
    }
    world.upstream.let_pass(u64::MAX);
    for answer in join_all(listeners).await {
        assert!(matches!(answer, Err(FetchError::Upstream(UpstreamError::Refused { status: 503 }))));
    }
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_is_given_up_after_the_configured_time() {
    let world = World::holding(CHUNK);
    world.upstream.fail([Fault::Silent]);
    let before = tokio::time::Instant::now();
    assert!(matches!(world.get(None).await, Err(FetchError::TimedOut { .. })));
    assert_eq!(before.elapsed().as_secs(), 5);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, CHUNK));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_stalls_mid_body_ends_the_answer_after_the_configured_time() {
    let world = World::holding(CHUNK);
    world.upstream.fail([Fault::StallsAfter(128 * 1024)]);
    let (_, mut body) = body_of(world.get(None).await.unwrap());
    assert!(matches!(drain(&mut body).await, Err(FetchError::TimedOut { .. })));
    assert_eq!(world.cache.stats().used_bytes, 0);
}

#[tokio::test]
async fn an_object_that_changed_before_the_first_byte_is_served_in_its_new_version() {
    let world = World::holding(4 * CHUNK);
    world.read(between(0, 9)).await.unwrap();
    world.upstream.put("/a", 2, 3 * CHUNK);
    let answer = world.read(between(2 * CHUNK, 2 * CHUNK + 9)).await.unwrap();
    assert!(answer.is_of("/a", 2, 3 * CHUNK));
    assert!(
        world.read(None).await.unwrap().is_of("/a", 2, 3 * CHUNK),
        "chunks of the old version are not used"
    );
}

#[tokio::test]
async fn an_object_that_changes_under_an_answer_ends_it() {
    let world = World::holding(3 * CHUNK);
    world.read(between(0, 9)).await.unwrap();
    world.upstream.put("/a", 2, 3 * CHUNK);
    let RangeReply::Granted { meta, mut body, .. } = world.get(None).await.unwrap() else { panic!("bytes") };
    assert_eq!(meta.etag, Some(etag(1)));
    assert_eq!(body.next().await.unwrap().unwrap().0, content("/a", 1, CHUNK));
    assert!(matches!(drain(&mut body).await, Err(FetchError::Changed { .. })));
    assert!(world.read(None).await.unwrap().is_of("/a", 2, 3 * CHUNK));
}

#[tokio::test]
async fn an_object_that_shrank_below_the_range_is_unsatisfiable_in_its_new_version() {
    let world = World::holding(4 * CHUNK);
    world.read(between(0, 9)).await.unwrap();
    world.upstream.put("/a", 2, CHUNK);
    let reply = world.get(between(2 * CHUNK, 3 * CHUNK)).await.unwrap();
    assert!(matches!(reply, RangeReply::Unsatisfiable { meta } if meta.etag == Some(etag(2))));
}

#[tokio::test]
async fn followers_of_a_changed_object_share_one_second_fetch() {
    let world = World::holding(4 * CHUNK);
    world.cache.head(&ObjName::new("/a")).await.unwrap();
    world.upstream.put("/a", 2, 4 * CHUNK);
    world.upstream.close();
    let mut listeners: Vec<_> = (0..100).map(|_| Box::pin(world.read(None))).collect();
    for listener in &mut listeners {
        assert!(listener.as_mut().now_or_never().is_none());
    }
    world.upstream.let_pass(u64::MAX);
    for answer in join_all(listeners).await {
        assert!(answer.unwrap().is_of("/a", 2, 4 * CHUNK));
    }
    assert_eq!(world.upstream.count(), 3, "the head, the old version's fetch, the new version's");
}

#[tokio::test]
async fn a_fetch_that_spoils_later_in_an_answer_is_made_good_if_none_of_it_was_given() {
    let world = World::holding(20 * CHUNK);
    world.upstream.fail([Fault::None, Fault::EndsAfter(10)]);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 20 * CHUNK));
    assert_eq!(world.upstream.count(), 3, "{:?}", world.upstream.fetches());
}

#[tokio::test]
async fn a_fetch_that_panics_is_told_to_its_followers_and_blocks_nobody() {
    let world = World::holding(3 * CHUNK);
    world.upstream.fail([Fault::Panics]);
    assert!(matches!(world.get(None).await, Err(FetchError::Interrupted)), "a first contact");
    world.read(between(0, 9)).await.unwrap();
    world.upstream.fail([Fault::Panics]);
    let further = between(CHUNK, 2 * CHUNK);
    assert!(matches!(world.get(further).await, Err(FetchError::Interrupted)), "a fetch of a known object");
    assert!(world.read(further).await.unwrap().is_of("/a", 1, 3 * CHUNK));
    let stats = world.cache.stats();
    assert_eq!((stats.flights, stats.used_bytes), (0, stats.resident_bytes));
}
