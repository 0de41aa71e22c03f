//! What upstream said holds as long as it said; then it is asked whether anything has changed.

use crate::world::{CHUNK, Fault, Terms, World, between};
use antiphon_cache::{FetchError, Freshness, ObjName, Source, UpstreamError, Want};

const LEN: u64 = 2 * CHUNK;

fn terms(fresh: u64, while_revalidate: u64, if_error: u64) -> Terms {
    Terms { fresh: Some(fresh), while_revalidate, if_error, ..Terms::default() }
}

async fn world(terms: Terms) -> World {
    let world = World::new();
    world.upstream.put_on("/a", 1, LEN, terms);
    world.read(None).await.unwrap();
    world
}

#[tokio::test]
async fn a_fresh_object_is_served_without_asking() {
    let world = world(terms(60, 0, 0)).await;
    world.pass(59);
    let answer = world.read(None).await.unwrap();
    assert_eq!((answer.source, answer.freshness), (Source::Ram, Freshness::Fresh));
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn an_object_whose_time_is_over_is_asked_about_first_and_keeps_its_chunks_if_unchanged() {
    let world = world(terms(60, 0, 0)).await;
    world.pass(60);
    assert!(world.cache.try_ram(&ObjName::new("/a"), None).is_none());
    let answer = world.read(None).await.unwrap();
    assert_eq!((answer.source, answer.freshness), (Source::Ram, Freshness::Revalidated));
    assert!(answer.is_of("/a", 1, LEN));
    assert_eq!(world.upstream.fetches()[1..], [Want::Head]);
    world.pass(59);
    assert_eq!(world.read(None).await.unwrap().freshness, Freshness::Fresh, "the terms are new");
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_hundred_listeners_of_an_object_whose_time_is_over_ask_once() {
    let world = world(terms(60, 0, 0)).await;
    world.pass(60);
    let answers = futures_util::future::join_all((0..100).map(|_| world.read(None))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_of("/a", 1, LEN)));
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn an_object_that_has_changed_is_served_in_its_new_version() {
    let world = world(terms(60, 0, 0)).await;
    world.pass(60);
    world.upstream.put_on("/a", 2, LEN - 1, terms(60, 0, 0));
    let answer = world.read(None).await.unwrap();
    assert!(answer.is_of("/a", 2, LEN - 1));
    assert_eq!(answer.freshness, Freshness::Fresh);
}

#[tokio::test]
async fn a_stale_object_is_served_at_once_while_one_request_asks_behind_it() {
    let world = world(terms(60, 30, 0)).await;
    world.pass(60);
    world.upstream.put_on("/a", 2, LEN, terms(60, 30, 0));
    for _ in 0..10 {
        let answer = world.read(None).await.unwrap();
        if answer.freshness == Freshness::Fresh {
            break;
        }
        assert!(answer.is_of("/a", 1, LEN));
        assert_eq!((answer.source, answer.freshness), (Source::Stale, Freshness::Stale));
    }
    world.settle().await;
    assert_eq!(world.upstream.fetches()[1..], [Want::Head]);
    assert!(world.read(None).await.unwrap().is_of("/a", 2, LEN));
    assert!(world.cache.stats().stale > 0);
}

#[tokio::test]
async fn a_question_behind_an_answer_that_fails_is_not_asked_again_at_once() {
    let world = world(terms(60, 30, 0)).await;
    world.pass(60);
    world.upstream.fail([Fault::Status(500)]);
    for _ in 0..10 {
        assert_eq!(world.read(None).await.unwrap().freshness, Freshness::Stale);
        world.settle().await;
    }
    assert_eq!(world.upstream.count(), 2);
    world.pass(5);
    world.read(None).await.unwrap();
    world.settle().await;
    assert_eq!(world.upstream.count(), 3);
    assert_eq!(world.read(None).await.unwrap().freshness, Freshness::Fresh);
}

#[tokio::test]
async fn an_upstream_in_trouble_leaves_what_is_known_in_use_as_long_as_allowed() {
    let world = world(terms(60, 0, 30)).await;
    world.pass(60);
    world.upstream.fail([Fault::Status(503), Fault::Status(500)]);
    for _ in 0..10 {
        let answer = world.read(None).await.unwrap();
        assert_eq!((answer.source, answer.freshness), (Source::Stale, Freshness::StaleOnError));
        assert!(answer.is_of("/a", 1, LEN));
    }
    assert_eq!(world.upstream.count(), 2, "upstream is left alone for a while");
    world.pass(30);
    let refused = world.get(None).await;
    assert!(matches!(refused, Err(FetchError::Upstream(UpstreamError::Refused { status: 500 }))));
    assert!(world.read(None).await.unwrap().is_of("/a", 1, LEN));
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_counts_as_trouble() {
    let world = world(terms(60, 0, 30)).await;
    world.pass(60);
    world.upstream.fail([Fault::Silent]);
    let answer = world.read(None).await.unwrap();
    assert_eq!(answer.freshness, Freshness::StaleOnError);
    assert!(answer.is_of("/a", 1, LEN));
}

#[tokio::test]
async fn a_no_is_no_trouble() {
    let world = world(terms(60, 30, 30)).await;
    world.pass(90);
    world.upstream.fail([Fault::Status(410)]);
    assert!(matches!(world.get(None).await, Err(FetchError::Upstream(UpstreamError::Gone))));
    assert!(matches!(world.get(None).await, Err(FetchError::Remembered(UpstreamError::Gone))));
}

#[tokio::test]
async fn what_may_not_be_kept_is_passed_on_and_forgotten() {
    let world = world(Terms { no_store: true, ..Terms::default() }).await;
    assert_eq!(world.cache.stats().resident_bytes, 0);
    let answer = world.read(None).await.unwrap();
    assert!(answer.is_of("/a", 1, LEN));
    assert_eq!(answer.source, Source::Upstream);
    assert_eq!(world.upstream.count(), 2);
    world.settle().await;
    assert_eq!(world.cache.stats().used_bytes, 0);
}

#[tokio::test]
async fn a_slow_listener_of_what_may_not_be_kept_costs_one_fetch() {
    let world = World::new();
    world.upstream.put_on("/a", 1, 8 * CHUNK, Terms { no_store: true, ..Terms::default() });
    let answer = world.read(between(0, 8 * CHUNK - 1)).await.unwrap();
    assert!(answer.is_of("/a", 1, 8 * CHUNK));
    assert_eq!(world.upstream.count(), 1);
}
