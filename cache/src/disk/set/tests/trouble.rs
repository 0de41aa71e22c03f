use super::world::{World, content, keys, ssds};
use crate::disk::health::{Cause, State};
use crate::disk::medium::{EIO, Part};
use crate::disk::set::{CommandError, DiskCommand, DiskOrder, DiskRead};
use crate::disk::sim::{Op, SimMedium};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn chunks_are_spread_over_the_volumes_and_read_back() {
    let world = World::new(&ssds(["a", "b", "c"]));
    let keys = keys(120);
    assert_eq!(world.offer(&keys), 120);
    world.flushed();
    assert!(world.read(&keys).await.iter().all(|read| *read == DiskRead::Read));
    for name in ["a", "b", "c"] {
        assert!(world.on(name, &keys).len() > 15, "{name}");
    }
}

#[tokio::test]
async fn a_volume_that_returns_errors_is_taken_out_and_the_others_go_on() {
    let world = World::new(&ssds(["a", "b"]));
    let keys = keys(64);
    world.offer(&keys);
    world.flushed();
    let (lost, left) = (world.on("a", &keys), world.on("b", &keys));
    world.disk("a").fail_always(Op::Read, EIO);

    for _ in 0..2 {
        world.read(&lost).await;
    }
    assert_eq!((world.state("a"), world.status("a").cause), (State::Failed, Some(Cause::Errors)));
    let said = world.status("a").last_error.unwrap();
    assert!(said.contains("Read Data"), "{said}");
    assert!(lost.iter().all(|key| world.disks.holds(*key).is_none()));
    assert!(world.read(&left).await.iter().all(|read| *read == DiskRead::Read));
    assert_eq!(world.offer(&lost), lost.len(), "its keys belong to the other now");
    assert!(world.read(&lost).await.iter().all(|read| *read == DiskRead::Read));
}

#[tokio::test]
async fn a_volume_that_failed_is_put_back_with_what_it_had() {
    let world = World::new(&ssds(["a", "b"]));
    let keys = keys(64);
    world.offer(&keys);
    world.flushed();
    let lost = world.on("a", &keys);
    world.disk("a").unplug();
    world.read_one(lost[0]).await;
    assert_eq!((world.state("a"), world.status("a").cause), (State::Failed, Some(Cause::Gone)));

    world.disk("a").heal();
    world.command("a", DiskOrder::PutBack).await;
    world.until(|status| status[0].state == State::Online);
    assert!(world.read(&lost).await.iter().all(|read| *read == DiskRead::Read));
    assert!(
        world.offer(&super::world::keys(100)[64..]) == 36
            && !world.on("a", &super::world::keys(100)[64..]).is_empty()
    );
}

#[tokio::test]
async fn a_volume_that_cannot_be_opened_is_shown_and_stops_nobody() {
    let world = World::new(&ssds(["a", "b"]));
    world.drawer.lock().remove("a");
    world.command("a", DiskOrder::Fail).await;
    world.command("a", DiskOrder::PutBack).await;
    world.until(|status| status[0].state == State::Failed);
    assert_eq!(world.status("a").cause, Some(Cause::Open));
    assert_eq!(world.status("a").last_error.as_deref(), Some("there is no disk"));
    let keys = keys(16);
    assert_eq!(world.offer(&keys), 16);
    assert!(world.read(&keys).await.iter().all(|read| *read == DiskRead::Read));

    world.drawer.lock().insert("a".to_owned(), Arc::new(SimMedium::new(2, 1 << 40)));
    world.command("a", DiskOrder::PutBack).await;
    world.until(|status| status[0].state == State::Online);
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_serves_what_it_has() {
    let world = World::new(&ssds(["a", "b"]));
    let keys = keys(128);
    world.offer(&keys[..64]);
    world.flushed();
    let old = world.on("a", &keys[..64]);
    world.disk("a").set_read_only();
    world.offer(&keys[64..]);
    world.until(|status| status[0].state == State::ReadOnly);

    assert_eq!(world.status("a").cause, Some(Cause::ReadOnly));
    assert!(world.read(&old).await.iter().all(|read| *read == DiskRead::Read));
    assert!(world.on("b", &keys[64..]).len() < 64, "some had gone to the other");
    assert_eq!(world.offer(&super::world::keys(200)[128..]), 72, "all belong to the one that takes them");
}

#[tokio::test]
async fn a_disk_that_hangs_is_gone_around_until_it_returns() {
    let mut config = ssds(["a", "b"]);
    config[0].read_deadline_ms = 20;
    let world = World::new(&config);
    let keys = keys(64);
    world.offer(&keys);
    world.flushed();
    let (stuck, left) = (world.on("a", &keys), world.on("b", &keys));
    let slot = Arc::clone(world.disks.inner.slot("a").unwrap());
    world.disk("a").hang();

    assert_eq!(world.read_one(stuck[0]).await, DiskRead::Late);
    let at = Duration::from_secs;
    slot.look(at(10));
    slot.look(at(12));
    assert!(world.status("a").bypassed);
    assert_eq!((world.state("a"), world.status("a").late), (State::Online, 1));
    assert!(stuck.iter().all(|key| world.disks.holds(*key).is_none()), "nobody waits for it");
    assert!(world.read(&left).await.iter().all(|read| *read == DiskRead::Read));
    assert_eq!(world.offer(&stuck[..4]), 4);

    world.disk("a").heal();
    let pulses_rest = || {
        slot.look(at(13));
        !world.status("a").bypassed
    };
    world.until(|_| pulses_rest());
    assert_eq!(world.disks.holds(stuck[5]).map(|class| class.name()), Some("ssd"));
}

#[tokio::test]
async fn a_disk_that_never_returns_is_taken_out() {
    let mut config = ssds(["a"]);
    config[0].read_deadline_ms = 20;
    let world = World::new(&config);
    let keys = keys(4);
    world.offer(&keys);
    world.flushed();
    world.disk("a").hang();
    assert_eq!(world.read_one(keys[0]).await, DiskRead::Late);
    let slot = world.disks.inner.slot("a").unwrap();
    slot.look(Duration::from_secs(10));
    slot.look(Duration::from_secs(41));
    assert_eq!((world.state("a"), world.status("a").cause), (State::Failed, Some(Cause::Hung)));
    world.disk("a").unplug();
}

#[tokio::test]
async fn bytes_that_rotted_are_a_miss() {
    let world = World::new(&ssds(["a"]));
    let keys = keys(64);
    world.offer(&keys);
    world.flushed();
    let disk = world.disk("a");
    for page in disk.written_pages(Part::Data) {
        disk.flip(Part::Data, page * 4096 * 8 + 12_345);
    }
    let reads = world.read(&keys).await;
    assert!(reads.contains(&DiskRead::Corrupt));
    assert!(world.read(&keys).await.iter().all(|read| matches!(read, DiskRead::Missing | DiskRead::Read)));
    assert_eq!(world.state("a"), State::Online);
}

#[tokio::test]
async fn a_drained_volume_serves_and_takes_nothing_until_it_is_put_back() {
    let world = World::new(&ssds(["a", "b"]));
    let keys = keys(128);
    world.offer(&keys[..64]);
    let had = world.on("a", &keys[..64]);
    world.command("a", DiskOrder::Drain).await;
    assert_eq!(world.offer(&keys[64..]), 64);
    assert!(world.on("a", &keys[64..]).is_empty());
    assert!(world.read(&had).await.iter().all(|read| *read == DiskRead::Read));
    world.command("a", DiskOrder::PutBack).await;
    assert_eq!(world.state("a"), State::Online);
}

#[tokio::test]
async fn only_a_volume_that_is_out_is_formatted_and_it_comes_back_empty() {
    let world = World::new(&ssds(["a"]));
    let keys = keys(16);
    world.offer(&keys);
    world.flushed();
    let command = |order| world.disks.command(DiskCommand { volume: "a".to_owned(), order });
    let refused = command(DiskOrder::Format).await.unwrap_err();
    assert_eq!(refused.to_string(), "volume a is online: fail it first: a format erases it");
    command(DiskOrder::Fail).await.unwrap();
    assert!(matches!(command(DiskOrder::Drain).await, Err(CommandError::NotNow { .. })));
    command(DiskOrder::Format).await.unwrap();
    world.until(|status| status[0].state == State::Online);
    assert!(world.read(&keys).await.iter().all(|read| *read == DiskRead::Missing));
    assert_eq!(world.offer(&keys), 16);
}

#[tokio::test]
async fn a_volume_nobody_has_is_named_in_the_refusal() {
    let world = World::new(&ssds(["a", "b"]));
    let order = DiskCommand { volume: "c".to_owned(), order: DiskOrder::Fail };
    let refused = world.disks.command(order).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no volume \"c\"; there are: a, b");
}

#[tokio::test]
async fn a_read_that_spans_volumes_brings_what_the_first_one_has() {
    let world = World::new(&ssds(["a", "b"]));
    let keys = keys(64);
    world.offer(&keys);
    let (here, there) = (world.on("a", &keys)[0], world.on("b", &keys)[0]);
    let wants =
        [here, there].map(|key| crate::disk::volume::ReadWant { key, ver: super::world::VER, floor: 1 });
    let report = world.disks.read(wants.to_vec(), move |position, bytes| {
        assert_eq!((position, bytes), (0, &content(here)[..]));
    });
    assert_eq!(report.await.wants, [DiskRead::Read, DiskRead::Missing]);
}

#[tokio::test]
async fn a_scrub_by_command_looks_at_everything_once() {
    let world = World::new(&ssds(["a"]));
    let keys = super::world::keys(512);
    world.offer(&keys);
    world.flushed();
    world.command("a", DiskOrder::Scrub).await;
    world.until(|status| status[0].stats.is_some_and(|stats| stats.scrub_passes >= 2));
    assert!(world.status("a").stats.unwrap().scrubbed_bytes > 0);
}

#[tokio::test]
async fn a_scrub_of_a_volume_with_nothing_sealed_ends() {
    let world = World::new(&ssds(["a"]));
    world.offer(&keys(1));
    world.command("a", DiskOrder::Scrub).await;
    world.until(|status| status[0].stats.is_some_and(|stats| stats.scrub_passes >= 2));
}
