//! The cache can say why.

use crate::volumes::{Drawer, config};
use crate::world::{CHUNK, Terms, World, between};
use antiphon_cache::{ChunkRun, Explanation, ObjName, Place, Purge, PurgeManner, Verdict};

fn explain(world: &World) -> Explanation {
    world.cache.explain(&ObjName::new("/a"))
}

fn runs(explanation: &Explanation) -> Vec<(u32, u32, Place)> {
    explanation.chunks.iter().map(|ChunkRun { first, last, place }| (*first, *last, *place)).collect()
}

#[tokio::test]
async fn an_object_is_followed_through_memory_volumes_and_purges() {
    let config = config(&["a"]);
    let drawer = Drawer::new(&config);
    let world = World::on(&drawer, config).await;
    assert_eq!((explain(&world).verdict, explain(&world).known), (Verdict::Unknown, None));
    world.upstream.put_on("/a", 1, 9 * CHUNK, Terms { fresh: Some(60), ..Terms::default() });
    world.read(between(2 * CHUNK, 3 * CHUNK - 1)).await.unwrap();
    let seen = explain(&world);
    assert_eq!(seen.verdict, Verdict::Fresh);
    assert_eq!(runs(&seen), [(0, 1, Place::Upstream), (2, 2, Place::Ram), (3, 8, Place::Upstream)]);
    assert_eq!(seen.known.unwrap().answers, 1, "explaining is no answer");
    world.flushed().await;

    let world = world.reborn_on(&drawer.kill()).await;
    world.cache.head(&ObjName::new("/a")).await.unwrap();
    assert_eq!(runs(&explain(&world))[1], (2, 2, Place::Ssd));
    assert_eq!(world.cache.stats().disk_reads, 0);

    world.pass(60);
    assert_eq!(explain(&world).verdict, Verdict::Revalidate);
    world.purge(Purge::Everything, PurgeManner::Hard).await;
    let seen = explain(&world);
    assert_eq!((seen.verdict, runs(&seen)), (Verdict::Unknown, Vec::new()));
    assert_eq!(seen.purged_below, seen.generation);
    world.upstream.remove("/a");
    assert!(world.get(None).await.is_err());
    assert_eq!(explain(&world).verdict, Verdict::Refused);
}
