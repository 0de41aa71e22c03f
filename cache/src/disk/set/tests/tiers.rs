use super::world::{World, keys, ssds, volume};
use crate::config::{AdmissionRule, Class, VolumeConfig};
use crate::disk::health::State;
use crate::disk::set::{DiskOrder, DiskRead};
use crate::object::{ObjMeta, ObjName};
use antiphon_core::ByteSize;

#[tokio::test]
async fn an_hdd_takes_what_no_ssd_can() {
    let world = World::new(&[volume("fast", Class::Ssd), volume("large", Class::Hdd)]);
    let keys = keys(16);
    assert_eq!(world.offer(&keys[..8]), 8);
    assert_eq!(world.disks.holds(keys[0]), Some(Class::Ssd));
    world.command("fast", DiskOrder::Fail).await;
    assert_eq!(world.offer(&keys[8..]), 8);
    assert_eq!(world.disks.holds(keys[8]), Some(Class::Hdd));
    assert_eq!(world.read_one(keys[8]).await, DiskRead::Read);
}

#[tokio::test]
async fn what_an_ssd_gives_up_while_warm_is_found_on_the_hdd() {
    let small = VolumeConfig { capacity_bytes: ByteSize::mib(32), ..volume("fast", Class::Ssd) };
    let world = World::new(&[small, volume("large", Class::Hdd)]);
    world.disks.set_admission(AdmissionRule::Everything);
    // Three times what it holds. Of each hundred a few are wanted again, soon.
    for (number, key) in keys(5_000).into_iter().enumerate() {
        world.until(|_| world.offer(&[key]) == 1);
        if number % 100 < 5 {
            world.read_one(key).await;
        }
    }
    world.until(|status| status[0].stats.is_some_and(|stats| stats.handed_on > 0));
    let second = keys(5_000).into_iter().find(|key| world.disks.holds(*key) == Some(Class::Hdd));
    assert_eq!(world.read_one(second.unwrap()).await, DiskRead::Read);
}

#[tokio::test]
async fn admission_can_be_stopped_and_begun_again() {
    let world = World::new(&ssds(["a"]));
    let keys = keys(8);
    world.disks.set_admission(AdmissionRule::Nothing);
    assert_eq!(world.offer(&keys), 0);
    world.disks.set_admission(AdmissionRule::SecondHit);
    assert_eq!(world.offer(&keys), 8);
}

#[tokio::test]
async fn what_is_known_of_an_object_is_kept_across_a_restart() {
    let config = ssds(["a", "b"]);
    let world = World::new(&config);
    let mut meta = ObjMeta::new(1 << 20, Some("\"x\"".to_owned()));
    meta.tags = vec!["album-1".to_owned()];
    let obj = ObjName::new("/a/1").key();
    assert!(world.disks.offer_meta(obj, 3, &meta));
    assert_eq!(world.disks.read_meta(obj, 0).await, Some((meta.clone(), 3)));
    world.disks.close().await;
    let drawer = std::sync::Arc::clone(&world.drawer);
    drop(world);
    let world = World::with(&config, drawer);
    assert_eq!(world.disks.read_meta(obj, 3).await, Some((meta, 3)));
    assert_eq!(world.disks.read_meta(obj, 4).await, None);
}

#[tokio::test]
async fn a_closed_set_is_found_again_whole() {
    let config = ssds(["a", "b"]);
    let world = World::new(&config);
    let keys = keys(100);
    assert_eq!(world.offer(&keys), 100);
    world.disks.close().await;
    assert_eq!(world.offer(&keys[..1]), 0, "a closed volume takes nothing");
    let drawer = std::sync::Arc::clone(&world.drawer);
    drop(world);
    let world = World::with(&config, drawer);
    assert!(world.disks.status().iter().all(|volume| volume.state == State::Online));
    assert!(world.read(&keys).await.iter().all(|read| *read == DiskRead::Read));
}
