//! Stops in order, kills and losses of power.

use super::*;
use crate::disk::volume::purging::LOG_LEN_MIN;

/// Deals with chunks until the volume has gone round once, and some more.
fn filled() -> Shelf {
    let mut shelf = Shelf::of(8);
    shelf.lap(0..700);
    shelf
}

#[test]
fn a_stop_in_order_keeps_everything() {
    let mut shelf = filled();
    shelf.lap(700..705);
    let kept: Vec<u32> = (0..705).filter(|no| shelf.volume.holds(key(*no))).collect();
    let (shelf, recovered) = shelf.restart();
    assert!(recovered.by_snapshot && recovered.records >= kept.len() as u64 - 1);
    let found = kept.iter().filter(|no| shelf.has(**no, 1)).count();
    // One in a thousand was only taken to be there, for its tag.
    assert!(found as f64 >= kept.len() as f64 * 0.995, "{found} of {}", kept.len());
}

#[test]
fn a_kill_costs_what_was_staged_and_no_more() {
    let shelf = filled();
    let kept: Vec<u32> = (0..700).filter(|no| shelf.has(*no, 1)).collect();
    for no in 800..810 {
        shelf.offer(no, 1);
        shelf.offer(no, 1);
    }
    assert!((800..810).all(|no| shelf.has(no, 1)));
    let (shelf, recovered) = shelf.kill();
    assert!(!recovered.by_snapshot && recovered.walked >= 1);
    assert!(kept.iter().all(|no| shelf.has(*no, 1)));
    assert!((800..810).all(|no| !shelf.has(no, 1)));
}

#[test]
fn a_damaged_snapshot_is_not_believed_and_nothing_is_lost() {
    let mut dice = Dice::new(3);
    for _ in 0..20 {
        let mut shelf = Shelf::of(8);
        shelf.lap(0..60);
        shelf.volume.close(shelf.now).unwrap();
        let len = shelf.medium.len(Part::Snapshot).unwrap();
        shelf.medium.flip(Part::Snapshot, dice.roll() % (len * 8));
        let (shelf, _) = Shelf::open(shelf.medium, TERMS);
        let recovered = shelf.recover();
        assert!(!recovered.by_snapshot && recovered.records == 60);
        assert!((0..60).all(|no| shelf.has(no, 1)));
    }
}

#[test]
fn a_snapshot_is_believed_once() {
    let mut shelf = Shelf::of(8);
    shelf.lap(0..30);
    let (mut shelf, recovered) = shelf.restart();
    assert!(recovered.by_snapshot);
    shelf.lap(30..60);
    let (shelf, recovered) = shelf.kill();
    assert!(!recovered.by_snapshot);
    assert!((0..60).all(|no| shelf.has(no, 1)));
}

#[test]
fn a_loss_of_power_never_brings_back_a_wrong_byte_or_a_purged_one() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let mut shelf = Shelf::of(8);
        let mut purged = 0;
        let crash_at = dice.below(900) as u32;
        for no in 0..crash_at {
            if dice.one_in(200) {
                purged += 1;
                shelf.volume.purge(purge_of(PurgeScope::Everything, purged)).unwrap();
            }
            let chunk = key(no % 500);
            let payload = content(chunk, purged);
            if let Offered::Refused(_) = shelf.offer_of(chunk, purged, purged, &payload) {
                shelf.offer_of(chunk, purged, purged, &payload);
            }
            if dice.one_in(8) {
                shelf.now.0 += dice.roll() % 1500;
                shelf.work();
            }
        }
        let crashed = Arc::new(shelf.medium.crash(&mut dice));
        let (shelf, _) = Shelf::open(crashed, TERMS);
        shelf.recover();
        let floor = shelf.volume.purges().iter().map(|purge| purge.generation).max().unwrap_or(0);
        assert_eq!(floor, purged, "seed {seed}: a purge was promised and is gone");
        for no in 0..500 {
            for ver in 0..=purged {
                let want = ReadWant { key: key(no), ver, floor };
                let outcomes = shelf.volume.read(&[want], &mut |_, bytes| {
                    assert!(ver >= floor && bytes == content(key(no), ver), "seed {seed}: chunk {no}");
                });
                let whole = matches!(outcomes[..], [ReadOutcome::Read | ReadOutcome::Missing]);
                assert!(whole, "seed {seed}: chunk {no} was found and is {outcomes:?}");
            }
        }
    }
}

#[test]
fn the_purge_log_is_bounded_and_later_purges_of_the_same_take_little() {
    let shelf = Shelf::of(8);
    for generation in 1..=100 {
        let obj = ObjKey::from_bytes([generation as u8 % 3; 16]);
        shelf.volume.inner.purge(purge_of(PurgeScope::Object(obj), generation), 10).unwrap();
    }
    assert_eq!(shelf.medium.len(Part::PurgeLog).unwrap(), LOG_LEN_MIN);
    assert!(shelf.volume.purges().len() <= 10);
    let (shelf, _) = shelf.kill();
    for obj in 0..3 {
        let scope = PurgeScope::Object(ObjKey::from_bytes([obj; 16]));
        let newest =
            shelf.volume.purges().iter().filter(|purge| purge.scope == scope).map(|p| p.generation).max();
        assert!(newest >= Some(98));
    }
    assert!(!shelf.volume.purges().iter().any(|purge| purge.scope == PurgeScope::Everything));
}

#[test]
fn too_many_purges_become_one_of_everything_older() {
    let shelf = Shelf::of(8);
    for generation in 1..=100 {
        let obj = ObjKey::from_bytes([generation as u8; 16]);
        shelf.volume.inner.purge(purge_of(PurgeScope::Object(obj), generation), 10).unwrap();
    }
    let (shelf, _) = shelf.kill();
    let purges = shelf.volume.purges();
    assert!(purges.len() <= 10);
    for generation in 1..=100_u64 {
        let obj = ObjKey::from_bytes([generation as u8; 16]);
        let covered = purges.iter().any(|purge| {
            purge.generation >= generation
                && (purge.scope == PurgeScope::Object(obj) || purge.scope == PurgeScope::Everything)
        });
        assert!(covered, "purge {generation} is gone");
    }
}

#[test]
fn a_crash_while_the_purge_log_is_shortened_loses_no_purge() {
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let shelf = Shelf::of(8);
        for generation in 1..=9_u64 {
            let obj = ObjKey::from_bytes([generation as u8 % 4; 16]);
            shelf.volume.inner.purge(purge_of(PurgeScope::Object(obj), generation), 100).unwrap();
        }
        // The plug goes at some write, sync or resize of the shortening.
        let op = [crate::disk::sim::Op::Write, crate::disk::sim::Op::Sync, crate::disk::sim::Op::Resize];
        let fail = crate::disk::sim::Fail::Errno(crate::disk::medium::EIO);
        shelf.medium.fail_nth(op[dice.below(3)], dice.below(2) as u64, fail);
        let shortened = shelf.volume.compact_purges();
        if shortened.is_err() && dice.one_in(2) {
            let later = purge_of(PurgeScope::Object(ObjKey::from_bytes([9; 16])), 10);
            shelf.medium.heal();
            shelf.volume.purge(later).unwrap();
        }
        let (shelf, _) = Shelf::open(Arc::new(shelf.medium.crash(&mut dice)), TERMS);
        for obj in 0..4_u8 {
            let newest = (1..=9).filter(|generation| generation % 4 == u64::from(obj)).max().unwrap();
            let covered = shelf.volume.purges().iter().any(|purge| {
                purge.generation >= newest
                    && (purge.scope == PurgeScope::Object(ObjKey::from_bytes([obj; 16]))
                        || purge.scope == PurgeScope::Everything)
            });
            assert!(covered, "seed {seed}: a purge is gone");
        }
    }
}
