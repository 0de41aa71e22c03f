//! "Not found" is remembered for a while; trouble is not.

use crate::world::{CHUNK, Fault, World, between};
use antiphon_cache::{FetchError, ObjName, RamConfig, UpstreamError};

#[tokio::test]
async fn a_missing_object_is_asked_for_once() {
    let world = World::new();
    assert!(matches!(world.get(None).await, Err(FetchError::Upstream(UpstreamError::Missing))));
    for _ in 0..10 {
        assert!(matches!(world.get(None).await, Err(FetchError::Remembered(UpstreamError::Missing))));
    }
    let head = world.cache.head(&ObjName::new("/a")).await;
    assert!(matches!(head, Err(FetchError::Remembered(UpstreamError::Missing))));
    assert_eq!((world.upstream.count(), world.cache.stats().negative_hits), (1, 10));
}

#[tokio::test]
async fn a_gone_object_is_remembered_as_gone() {
    let world = World::holding(CHUNK);
    world.upstream.fail([Fault::Status(410)]);
    assert!(matches!(world.get(None).await, Err(FetchError::Upstream(UpstreamError::Gone))));
    assert!(matches!(world.get(None).await, Err(FetchError::Remembered(UpstreamError::Gone))));
}

#[tokio::test]
async fn an_object_that_vanishes_is_missing_as_a_whole() {
    let world = World::holding(4 * CHUNK);
    world.read(between(0, 9)).await.unwrap();
    world.upstream.remove("/a");
    let further = world.get(between(3 * CHUNK, 3 * CHUNK + 1)).await;
    assert!(matches!(further, Err(FetchError::Upstream(UpstreamError::Missing))));
    assert!(matches!(world.get(between(0, 9)).await, Err(FetchError::Remembered(UpstreamError::Missing))));
}

#[tokio::test]
async fn trouble_upstream_is_never_remembered() {
    let world = World::holding(CHUNK);
    world.upstream.fail([Fault::Status(503), Fault::Status(500), Fault::Status(403)]);
    for want in [503, 500, 403] {
        let answer = world.get(None).await;
        assert!(
            matches!(answer, Err(FetchError::Upstream(UpstreamError::Refused { status })) if status == want)
        );
    }
    assert!(world.read(None).await.unwrap().is_of("/a", 1, CHUNK));
}

#[tokio::test]
async fn zero_seconds_remember_nothing() {
    let world = World::with(RamConfig { negative_secs: 0, ..RamConfig::default() }, true);
    assert!(world.get(None).await.is_err());
    world.upstream.put("/a", 1, 10);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, 10));
}
