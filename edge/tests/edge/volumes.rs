//! Volumes behind a running edge: seen, told, and lost without a listener noticing.

use crate::admin::{page, page_with};
use crate::client::{Via, get};
use crate::world::{TRACK, World, track};
use antiphon_cache::{AdmissionRule, VolumeConfig};
use antiphon_core::ByteSize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const ORDER: (&str, &str) = ("antiphon-order", "yes");

fn volume(dir: &Path) -> VolumeConfig {
    VolumeConfig {
        segment_bytes: ByteSize::mib(4),
        read_deadline_ms: 10_000,
        ..VolumeConfig::at(dir, ByteSize::mib(32))
    }
}

async fn in_state(world: &World, state: &str) {
    let began = Instant::now();
    let expected = format!("\"state\": \"{state}\"");
    loop {
        let (_, shown) = page(world, "GET", "/cache/volumes").await;
        if shown.contains(&expected) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{shown}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_volume_is_shown_told_and_counted() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::with(|config| config.cache.volumes.push(volume(&scratch.path().join("nvme0")))).await;
    in_state(&world, "online").await;
    let tell = |order: &'static str| page_with(&world, "POST", order, &[ORDER]);

    assert_eq!(tell("/cache/volumes/nvme0/fail").await, (200, "nvme0: told to fail\n".to_owned()));
    in_state(&world, "failed").await;
    let (_, metrics) = page(&world, "GET", "/metrics").await;
    let line = "edge_cache_volume_state{class=\"ssd\",state=\"failed\",volume=\"nvme0\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(tell("/cache/volumes/nvme0/put-back").await.0, 200);
    in_state(&world, "online").await;

    for (order, status, said) in [
        ("/cache/volumes/nvme0/format", 409, "fail it first"),
        ("/cache/volumes/nvme0/dance", 404, "a volume knows: drain"),
        ("/cache/volumes/hdd7/fail", 404, "there are: nvme0"),
        ("/cache/volumes/nvme0", 404, "POST /cache/volumes"),
    ] {
        let (got, text) = tell(order).await;
        assert!(got == status && text.contains(said), "{order}: {got} {text}");
    }
    world.edge.stop().await;
}

#[tokio::test]
async fn orders_are_refused_to_those_who_may_not_give_them() {
    let scratch = tempfile::tempdir().unwrap();
    let secret = scratch.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let world = World::with(|config| {
        config.cache.volumes.push(volume(&scratch.path().join("nvme0")));
        config.admin_secret_file = secret;
    })
    .await;
    let fail = "/cache/volumes/nvme0/fail";
    assert_eq!(page(&world, "GET", fail).await.0, 405);
    assert_eq!(page(&world, "POST", fail).await.0, 403);
    assert_eq!(page_with(&world, "POST", fail, &[ORDER]).await.0, 403);
    let wrong = ("authorization", "Bearer 0123456789abcdef0123456789abcdee");
    assert_eq!(page_with(&world, "POST", fail, &[ORDER, wrong]).await.0, 403);
    let right = ("authorization", "Bearer 0123456789abcdef0123456789abcdef");
    assert_eq!(page_with(&world, "POST", fail, &[ORDER, right]).await.0, 200);
    assert_eq!(page_with(&world, "POST", fail, &[right]).await.0, 403);
}

#[tokio::test]
async fn live_keys_are_applied_and_others_wait_for_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::with(|config| config.cache.volumes.push(volume(&scratch.path().join("nvme0")))).await;
    let mut changed = world.config.clone();
    changed.cache.admission = AdmissionRule::Nothing;
    changed.cache.volumes[0].dwpd = 9.0;
    for capacity in [ByteSize::mib(64), ByteSize::mib(16), ByteSize::mib(32)] {
        changed.cache.capacity_bytes = capacity;
        assert_eq!(world.edge.reconfigure(&changed).unwrap(), Vec::<String>::new());
        assert_eq!(world.edge.edge().cache().stats().capacity_bytes, capacity.0);
    }
    changed.cache.stall_ms += 1;
    assert_eq!(world.edge.reconfigure(&changed).unwrap(), ["cache.stall_ms"]);
    changed.cache.volumes[0].dwpd = -1.0;
    assert!(world.edge.reconfigure(&changed).is_err());
}

#[tokio::test]
async fn what_was_heard_before_a_restart_comes_from_the_volume_after_it() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("nvme0");
    let first = World::with(|config| config.cache.volumes.push(volume(&dir))).await;
    in_state(&first, "online").await;
    assert_eq!(get(&first, Via::H2, &first.signed(TRACK), &[]).await.body, track());
    first.edge.stop().await;

    let second = World::with(|config| config.cache.volumes.push(volume(&dir))).await;
    in_state(&second, "online").await;
    let again = get(&second, Via::H2, &second.signed(TRACK), &[]).await;
    assert_eq!(again.body, track());
    assert_eq!(again.header("cache-status"), Some("antiphon; hit; detail=ssd"));
    assert_eq!(second.origin.reads(), 0);
}

#[tokio::test]
async fn a_disk_that_is_overwritten_or_cut_short_while_it_serves_never_yields_a_wrong_byte() {
    let overwrite = |data: &Path| {
        let len = std::fs::metadata(data).unwrap().len() as usize;
        std::fs::OpenOptions::new()
            .write(true)
            .open(data)
            .unwrap()
            .write_all_at(&vec![0x5a; len], 0)
            .unwrap();
    };
    let cut = |data: &Path| {
        std::fs::OpenOptions::new().write(true).open(data).unwrap().set_len(4096).unwrap();
    };
    for damage in [&overwrite as &dyn Fn(&Path), &cut] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("nvme0");
        let first = World::with(|config| config.cache.volumes.push(volume(&dir))).await;
        in_state(&first, "online").await;
        get(&first, Via::H2, &first.signed(TRACK), &[]).await;
        first.edge.stop().await;
        let second = World::with(|config| config.cache.volumes.push(volume(&dir))).await;
        in_state(&second, "online").await;
        damage(&dir.join("data"));
        let again = get(&second, Via::H2, &second.signed(TRACK), &[]).await;
        assert!(again.whole && again.body == track());
        assert!(second.origin.reads() > 0, "it had to be fetched anew");
    }
}
