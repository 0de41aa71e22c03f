//! What memory has given up is on the volumes, across restarts, and never wrong.

use crate::volumes::{Drawer, config};
use crate::world::{Answer, CHUNK, Terms, World, between};
use antiphon_cache::disk::medium::Part;
use antiphon_cache::disk::sim::Dice;
use antiphon_cache::{CacheConfig, DiskCommand, DiskOrder, ObjName, Purge, PurgeManner, Source};
use antiphon_core::ByteSize;
use futures_util::future::join_all;

const LEN: u64 = 5 * CHUNK + 77;

/// A node that has heard `/a` once and written it to its volumes.
async fn heard(drawer: &Drawer, config: CacheConfig) -> World {
    let world = World::on(drawer, config).await;
    world.upstream.put_on("/a", 1, LEN, Terms { tags: vec!["label:x".into()], ..Terms::default() });
    assert!(world.read(None).await.unwrap().is_of("/a", 1, LEN));
    world.flushed().await;
    world
}

#[tokio::test]
async fn a_node_that_was_closed_serves_from_its_volumes_and_asks_upstream_nothing() {
    let config = config(&["a", "b"]);
    let drawer = Drawer::new(&config);
    let world = heard(&drawer, config).await;
    world.cache.shutdown().await;
    let world = world.reborn_on(&drawer).await;
    let answer = world.read(None).await.unwrap();
    assert_eq!((answer.source, world.upstream.count()), (Source::Ssd, 1));
    assert!(answer.is_of("/a", 1, LEN));
    assert_eq!(world.read(None).await.unwrap().source, Source::Ram);
    let stats = world.cache.stats();
    assert_eq!((stats.ssd_hits, stats.disk_reads, stats.fetches), (1, 6, 0));
    assert_eq!(stats.ssd_bytes + stats.flight_bytes + stats.ram_bytes, 2 * LEN);
}

#[tokio::test]
async fn a_node_that_was_killed_serves_what_was_written() {
    let config = config(&["a"]);
    let drawer = Drawer::new(&config);
    let world = heard(&drawer, config).await;
    let world = world.reborn_on(&drawer.kill()).await;
    let answer = world.read(None).await.unwrap();
    assert!(answer.is_of("/a", 1, LEN));
    assert_eq!((answer.source, world.upstream.count()), (Source::Ssd, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_at_once_while_its_volumes_are_being_found_again() {
    let config = config(&["a"]);
    let drawer = Drawer::new(&config);
    let world = heard(&drawer, config).await;
    let (media, open) = drawer.kill().gated_media();
    let world = world.reborn(media);
    let answer = world.read(None).await.unwrap();
    assert_eq!(answer.source, Source::Upstream);
    assert!(answer.is_of("/a", 1, LEN));
    open.send_replace(true);
    world.until_online().await;
}

#[tokio::test]
async fn a_thousand_listeners_of_a_chunk_on_a_volume_cost_one_read() {
    let config = config(&["a"]);
    let drawer = Drawer::new(&config);
    let world = heard(&drawer, config).await;
    let world = world.reborn_on(&drawer.kill()).await;
    world.cache.head(&ObjName::new("/a")).await.unwrap();
    let answers = join_all((0..1000).map(|_| world.read(between(10, 99)))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_of("/a", 1, LEN)));
    assert_eq!((world.cache.stats().disk_reads, world.upstream.count()), (1, 1));
    let led = answers.iter().filter(|answer| answer.as_ref().unwrap().source == Source::Ssd);
    assert_eq!(led.count(), 1);
}

#[tokio::test]
async fn a_chunk_that_has_changed_on_its_disk_is_fetched_and_never_served() {
    let config = config(&["a"]);
    let drawer = Drawer::new(&config);
    let world = heard(&drawer, config).await;
    let drawer = drawer.kill();
    let reborn = world.reborn_on(&drawer).await;
    reborn.cache.head(&ObjName::new("/a")).await.unwrap();
    let disk = drawer.disk("a");
    for page in disk.written_pages(Part::Data) {
        disk.flip(Part::Data, (page * 4096 + 70) * 8);
    }
    let answer = reborn.read(None).await.unwrap();
    assert!(answer.is_of("/a", 1, LEN));
    assert_eq!((answer.source, reborn.upstream.count()), (Source::Upstream, 3));
    assert_eq!(reborn.cache.stats().disk_corrupt, 6);
}

#[tokio::test]
async fn a_disk_that_hangs_is_passed_over_within_its_deadline() {
    let mut config = config(&["a"]);
    config.volumes[0].read_deadline_ms = 50;
    let drawer = Drawer::new(&config);
    let world = heard(&drawer, config).await;
    let world = world.reborn_on(&drawer).await;
    world.cache.head(&ObjName::new("/a")).await.unwrap();
    drawer.disk("a").hang();
    let answer = world.read(between(0, CHUNK - 1)).await.unwrap();
    assert!(answer.is_of("/a", 1, LEN));
    assert_eq!((answer.source, world.upstream.count()), (Source::Upstream, 2));
    assert_eq!(world.cache.stats().disk_failed, 1);
    drawer.disk("a").heal();
}

#[tokio::test]
async fn a_disk_that_is_unplugged_costs_fetches_and_nothing_else() {
    let config = config(&["a", "b"]);
    let drawer = Drawer::new(&config);
    let world = heard(&drawer, config).await;
    let world = world.reborn_on(&drawer).await;
    world.cache.head(&ObjName::new("/a")).await.unwrap();
    drawer.disk("a").unplug();
    drawer.disk("b").unplug();
    assert!(world.read(None).await.unwrap().is_of("/a", 1, LEN));
}

#[tokio::test]
async fn a_purge_holds_across_a_loss_of_power() {
    let purges = [
        Purge::Object(ObjName::new("/a")),
        Purge::Tag("label:x".into()),
        Purge::TagPrefix("label:".into()),
        Purge::Everything,
    ];
    for (seed, purge) in purges.into_iter().cycle().take(12).enumerate() {
        let config = config(&["a", "b"]);
        let drawer = Drawer::new(&config);
        let world = heard(&drawer, config).await;
        world.purge(purge.clone(), PurgeManner::Hard).await;
        let crashed = drawer.crash(&mut Dice::new(seed as u64));
        let world = world.reborn_on(&crashed).await;
        let before = world.upstream.count();
        let answer = world.read(None).await.unwrap();
        assert_eq!(answer.source, Source::Upstream, "{seed} {purge:?}");
        assert!(answer.is_of("/a", 1, LEN) && world.upstream.count() > before);
        world.flushed().await;
        let again = world.reborn_on(&crashed.kill()).await;
        let answer = again.read(None).await.unwrap();
        assert!(answer.is_of("/a", 1, LEN));
    }
}

#[tokio::test]
async fn what_was_fetched_after_a_purge_stays() {
    let config = config(&["a"]);
    let drawer = Drawer::new(&config);
    let world = World::on(&drawer, config).await;
    world.upstream.put("/a", 1, LEN);
    world.purge(Purge::Everything, PurgeManner::Hard).await;
    world.read(None).await.unwrap();
    world.flushed().await;
    let world = world.reborn_on(&drawer.kill()).await;
    assert_eq!(world.read(None).await.unwrap().source, Source::Ssd);
    world.purge(Purge::Object(ObjName::new("/b")), PurgeManner::Hard).await;
    let world = world.reborn_on(&drawer.kill()).await;
    assert_eq!((world.read(None).await.unwrap().source, world.upstream.count()), (Source::Ssd, 1));
}

#[tokio::test]
async fn an_object_whose_time_is_over_keeps_its_chunks_on_the_volume_if_it_has_not_changed() {
    let config = config(&["a"]);
    let drawer = Drawer::new(&config);
    let world = World::on(&drawer, config).await;
    let terms = Terms { fresh: Some(60), ..Terms::default() };
    world.upstream.put_on("/a", 1, LEN, terms.clone());
    world.read(None).await.unwrap();
    world.flushed().await;
    world.pass(61);
    let world = world.reborn_on(&drawer.kill()).await;
    let answer = world.read(None).await.unwrap();
    assert_eq!((answer.source, world.upstream.count()), (Source::Ssd, 2), "one question");
    assert!(answer.is_of("/a", 1, LEN));
    world.pass(61);
    world.upstream.put_on("/a", 2, LEN, terms);
    let world = world.reborn_on(&drawer.kill()).await;
    assert!(world.read(None).await.unwrap().is_of("/a", 2, LEN), "chunks of the old version are not used");
}

#[tokio::test]
async fn what_one_volume_has_is_read_from_it_and_the_rest_is_fetched_in_one_answer() {
    let config = config(&["a"]);
    let drawer = Drawer::new(&config);
    let world = World::on(&drawer, config).await;
    world.upstream.put("/a", 1, 12 * CHUNK);
    world.read(between(5 * CHUNK, 7 * CHUNK - 1)).await.unwrap();
    world.flushed().await;
    let world = world.reborn_on(&drawer.kill()).await;
    let answer = Answer::of(world.get(None).await.unwrap()).await.unwrap();
    assert!(answer.is_of("/a", 1, 12 * CHUNK));
    let stats = world.cache.stats();
    assert_eq!((stats.disk_reads, stats.fetches), (2, 2), "five before, five after");
}

#[tokio::test]
async fn what_memory_gives_up_is_read_from_the_volume_and_not_fetched_again() {
    let config = CacheConfig { capacity_bytes: ByteSize::mib(4), ..config(&["a", "b"]) };
    let drawer = Drawer::new(&config);
    let world = World::on(&drawer, config).await;
    let len = 24 * CHUNK;
    world.upstream.put("/a", 1, len);
    assert!(world.read(None).await.unwrap().is_of("/a", 1, len));
    world.flushed().await;
    let fetches = world.upstream.count();
    for _ in 0..3 {
        assert!(world.read(None).await.unwrap().is_of("/a", 1, len));
    }
    let stats = world.cache.stats();
    assert_eq!(world.upstream.count(), fetches);
    assert!(stats.evictions > 24 && stats.disk_reads > 24, "{stats:?}");
    assert!(stats.used_bytes <= 4 << 20);
}

#[tokio::test]
async fn what_scrubbing_finds_lost_is_brought_again_before_anybody_asks() {
    let mut config = config(&["a"]);
    config.volumes[0].scrub_bytes_per_sec = ByteSize::mib(1024);
    let drawer = Drawer::new(&config);
    let world = heard(&drawer, config).await;
    world.cache.shutdown().await;
    let world = world.reborn_on(&drawer).await;
    world.cache.head(&ObjName::new("/a")).await.unwrap();
    let disk = drawer.disk("a");
    // Segments of 4 MiB: a header before the records, a footer behind them.
    let of_records = |page: &u64| (1..900).contains(&(page % 1024));
    for page in disk.written_pages(Part::Data).into_iter().filter(of_records) {
        disk.flip(Part::Data, (page * 4096 + 70) * 8);
    }
    let scrub = DiskCommand { volume: "a".to_owned(), order: DiskOrder::Scrub };
    world.cache.disks().command(scrub).await.unwrap();
    world.until(|_| world.cache.stats().repairs == 6).await;
    let fetches = world.upstream.count();
    assert!(fetches > 1, "the chunks came from upstream");
    world.flushed().await;
    let world = world.reborn_on(&drawer.kill()).await;
    assert!(world.read(None).await.unwrap().is_of("/a", 1, LEN));
    let stats = world.cache.stats();
    assert_eq!((stats.disk_reads, stats.disk_corrupt), (6, 0));
}
