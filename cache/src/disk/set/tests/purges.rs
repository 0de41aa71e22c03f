use super::world::{NOW, World, keys, ssds};
use crate::disk::format::{PurgeRecord, PurgeScope};
use crate::disk::health::State;
use crate::disk::medium::EIO;
use crate::disk::set::{DiskOrder, PurgeError};
use crate::disk::sim::{Dice, Op};
use parking_lot::Mutex;
use std::sync::Arc;

fn purge(generation: u64) -> PurgeRecord {
    let scope = PurgeScope::Object(keys(1)[0].obj);
    PurgeRecord { generation, soft: false, scope, at_secs: NOW.0 }
}

#[tokio::test]
async fn a_purge_is_remembered_across_a_loss_of_power() {
    let config = ssds(["a", "b"]);
    let world = World::new(&config);
    assert_eq!(world.disks.purge(purge(9)).await, Ok(()));
    let drawer = super::world::Drawer::default();
    for name in ["a", "b"] {
        let crashed = world.disk(name).crash(&mut Dice::new(3));
        drawer.lock().insert(name.to_owned(), Arc::new(crashed));
    }
    drop(world);
    assert_eq!(World::with(&config, drawer).disks.purges(), [purge(9)]);
}

#[tokio::test]
async fn a_purge_that_no_disk_took_is_no_success_and_one_disk_is_enough() {
    let world = World::new(&ssds(["a", "b"]));
    world.disk("a").fail_always(Op::Sync, EIO);
    assert_eq!(world.disks.purge(purge(1)).await, Ok(()));
    assert_eq!((world.status("a").purges_owed, world.status("b").purges_owed), (1, 0));
    world.disk("b").fail_always(Op::Sync, EIO);
    assert_eq!(world.disks.purge(purge(2)).await, Err(PurgeError::NotDurable { volumes: 2 }));
}

#[tokio::test]
async fn a_volume_that_was_out_learns_what_it_missed_before_it_serves() {
    let config = ssds(["a", "b"]);
    let world = World::new(&config);
    world.command("a", DiskOrder::Fail).await;
    assert_eq!(world.disks.purge(purge(4)).await, Ok(()));
    assert_eq!(world.status("a").purges_owed, 1);
    world.command("a", DiskOrder::PutBack).await;
    world.until(|status| status[0].state == State::Online);
    assert_eq!(world.status("a").stats.unwrap().purges, 1);
    assert_eq!(world.status("a").purges_owed, 0);
}

#[tokio::test]
async fn what_a_volume_brings_back_is_told_before_it_serves() {
    let config = ssds(["a", "b"]);
    let world = World::new(&config);
    world.disks.purge(purge(6)).await.unwrap();
    let old = world.drawer.lock().remove("a").unwrap();
    drop(world);
    // The next node begins without `a`, and with a `b` that is new.
    let world = World::with(&config[1..], super::world::Drawer::default());
    assert!(world.disks.purges().is_empty());
    drop(world);
    let drawer = super::world::Drawer::default();
    let world = World::with(&config, Arc::clone(&drawer));
    world.command("a", DiskOrder::Fail).await;
    drawer.lock().insert("a".to_owned(), old);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    world.disks.hear_purges(Box::new(move |records| ear.lock().extend_from_slice(records)));
    world.command("a", DiskOrder::PutBack).await;
    world.until(|status| status[0].state == State::Online);
    assert_eq!(*heard.lock(), [purge(6)]);
}

#[tokio::test]
async fn volumes_tell_each_other_at_the_start_what_only_one_remembers() {
    let config = ssds(["a", "b"]);
    let world = World::new(&config[..1]);
    world.disks.purge(purge(8)).await.unwrap();
    let drawer = Arc::clone(&world.drawer);
    drop(world);
    let world = World::with(&config, drawer);
    world.until(|status| status[1].stats.is_some_and(|stats| stats.purges == 1));
    assert_eq!(world.disks.purges(), [purge(8)]);
}
