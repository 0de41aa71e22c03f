//! After a purge nothing of before is served.

use crate::world::{Answer, CHUNK, Terms, World, between, body_of, content, drain};
use antiphon_cache::{FetchError, Freshness, ObjName, Purge, PurgeManner, Source, UpstreamError};
use futures_util::FutureExt;

const LEN: u64 = 3 * CHUNK;

fn tagged(tags: &[&str]) -> Terms {
    Terms { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Terms::default() }
}

/// A purge of `/a`, tagged `asset:1` and `label:x`, by every way there is.
fn every_purge() -> [Purge; 5] {
    [
        Purge::Object(ObjName::new("/a")),
        Purge::Tag("asset:1".into()),
        Purge::Tag("label:x".into()),
        Purge::TagPrefix("label:".into()),
        Purge::Everything,
    ]
}

#[tokio::test]
async fn a_purged_object_is_fetched_anew_even_if_its_tag_is_the_same() {
    for purge in every_purge() {
        let world = World::new();
        world.upstream.put_on("/a", 1, LEN, tagged(&["asset:1", "label:x"]));
        world.read(None).await.unwrap();
        world.purge(purge.clone(), PurgeManner::Hard).await;
        assert!(world.cache.try_ram(&ObjName::new("/a"), None).is_none(), "{purge:?}");
        let answer = world.read(None).await.unwrap();
        assert_eq!((answer.source, world.upstream.count()), (Source::Upstream, 2), "{purge:?}");
        assert!(answer.is_of("/a", 1, LEN));
        assert_eq!(world.read(None).await.unwrap().source, Source::Ram, "{purge:?}: and kept again");
    }
}

#[tokio::test]
async fn a_purge_of_something_else_costs_nothing() {
    let world = World::new();
    world.upstream.put_on("/a", 1, LEN, tagged(&["asset:1"]));
    world.read(None).await.unwrap();
    for purge in [
        Purge::Object(ObjName::new("/b")),
        Purge::Tag("asset:2".into()),
        Purge::TagPrefix("asset:1 ".into()),
        Purge::TagPrefix("label".into()),
    ] {
        world.purge(purge, PurgeManner::Hard).await;
        assert_eq!(world.read(None).await.unwrap().source, Source::Ram);
    }
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_softly_purged_object_is_served_while_upstream_is_asked() {
    for purge in every_purge() {
        let world = World::new();
        world.upstream.put_on("/a", 1, LEN, tagged(&["asset:1", "label:x"]));
        world.read(None).await.unwrap();
        world.purge(purge, PurgeManner::Soft).await;
        let answer = world.read(None).await.unwrap();
        assert_eq!((answer.source, answer.freshness), (Source::Stale, Freshness::Stale));
        world.settle().await;
        let answer = world.read(None).await.unwrap();
        assert_eq!((answer.source, answer.freshness), (Source::Ram, Freshness::Fresh));
        assert_eq!(world.upstream.count(), 2, "one question, no bytes");
    }
}

#[tokio::test]
async fn a_fetch_that_a_purge_overtakes_leaves_nothing_behind() {
    let world = World::holding(LEN);
    world.upstream.allow_twice();
    world.cache.head(&ObjName::new("/a")).await.unwrap();
    world.upstream.let_pass(1);
    let mut before = Box::pin(world.read(None));
    assert!(before.as_mut().now_or_never().is_none());
    world.settle().await;
    world.upstream.put("/a", 2, LEN);
    world.purge(Purge::Object(ObjName::new("/a")), PurgeManner::Hard).await;
    let mut after = Box::pin(world.read(None));
    assert!(after.as_mut().now_or_never().is_none());
    world.upstream.let_pass(u64::MAX);
    let (before, after) = futures_util::future::join(before, after).await;
    assert!(before.unwrap().is_of("/a", 1, LEN), "who came before gets what there was");
    assert!(after.unwrap().is_of("/a", 2, LEN));
    assert!(world.read(None).await.unwrap().is_of("/a", 2, LEN));
    assert_eq!(world.cache.stats().resident_bytes, LEN);
}

#[tokio::test]
async fn a_first_contact_that_a_purge_overtakes_is_not_shared_with_who_comes_after() {
    let world = World::holding(LEN);
    world.upstream.allow_twice();
    world.upstream.let_pass(0);
    let (_, mut before) = body_of({
        world.upstream.let_pass(64 * 1024);
        world.get(None).await.unwrap()
    });
    world.upstream.put("/a", 2, LEN);
    world.purge(Purge::Everything, PurgeManner::Hard).await;
    let mut after = Box::pin(world.read(None));
    assert!(after.as_mut().now_or_never().is_none());
    world.upstream.let_pass(u64::MAX);
    assert!(after.await.unwrap().is_of("/a", 2, LEN));
    assert_eq!(drain(&mut before).await.unwrap(), content("/a", 1, LEN));
    assert!(world.read(None).await.unwrap().is_of("/a", 2, LEN));
}

#[tokio::test]
async fn a_head_that_a_purge_overtakes_is_asked_for_again() {
    let world = World::holding(LEN);
    world.upstream.close();
    let name = ObjName::new("/a");
    let mut before = Box::pin(world.read(None));
    assert!(before.as_mut().now_or_never().is_none());
    world.settle().await;
    world.purge(Purge::Object(name), PurgeManner::Hard).await;
    world.upstream.let_pass(u64::MAX);
    assert!(before.await.unwrap().is_of("/a", 1, LEN));
    assert_eq!(world.upstream.count(), 2, "what was asked before the purge is not used");
}

#[tokio::test]
async fn purges_of_other_objects_do_not_part_those_who_wait_for_a_first_contact() {
    let world = World::holding(LEN);
    world.upstream.close();
    let mut listeners: Vec<_> = (0..50).map(|_| Box::pin(world.read(None))).collect();
    for listener in &mut listeners {
        assert!(listener.as_mut().now_or_never().is_none());
        world.purge(Purge::Object(ObjName::new("/b")), PurgeManner::Hard).await;
    }
    world.upstream.let_pass(u64::MAX);
    let answers = futures_util::future::join_all(listeners).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_of("/a", 1, LEN)));
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_purge_lets_not_found_be_asked_again() {
    let world = World::new();
    assert!(matches!(world.get(None).await, Err(FetchError::Upstream(UpstreamError::Missing))));
    world.upstream.put("/a", 1, LEN);
    assert!(matches!(world.get(None).await, Err(FetchError::Remembered(_))));
    world.purge(Purge::Object(ObjName::new("/b")), PurgeManner::Hard).await;
    assert!(matches!(world.get(None).await, Err(FetchError::Remembered(_))));
    world.purge(Purge::Object(ObjName::new("/a")), PurgeManner::Hard).await;
    assert!(world.read(None).await.unwrap().is_of("/a", 1, LEN));
}

#[tokio::test]
async fn an_answer_that_has_begun_ends_in_the_version_it_began_with() {
    let world = World::holding(LEN);
    world.read(None).await.unwrap();
    let reply = world.get(between(0, LEN - 1)).await.unwrap();
    world.purge(Purge::Everything, PurgeManner::Hard).await;
    assert!(Answer::of(reply).await.unwrap().is_of("/a", 1, LEN));
}
