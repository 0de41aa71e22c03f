//! The log wraps around, records are moved, and a restart finds them again.

use crate::oracle::{LONG, object, payload};
use crate::world::{SEGMENT_LEN, SEGMENTS, World};
use antiphon_cache::ChunkKey;
use antiphon_cache::disk::volume::{NewRecord, Offered, ReadOutcome, ReadWant};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Has all of `records` taken: newcomers, offered until they are, while a few old ones stay in demand.
fn write(world: &mut World, records: Range<u32>) {
    for no in records {
        let key = chunk(no);
        let mut offers = 0;
        while !world.offer(key, 1, 1) {
            offers += 1;
            assert!(offers < 1000, "{key:?} is never taken");
            world.work(2);
        }
        if no % 8 == 0 {
            world.work(1);
        }
        // Every fifth is read again when it is a fifth of a lap old, and so moves on.
        if no % 5 == 0 {
            world.read(&[(chunk(no.saturating_sub(LAP / 5)), 1)]);
        }
    }
}

/// Chunks of nearly full length.
fn chunk(no: u32) -> ChunkKey {
    ChunkKey { obj: object(usize::from(LONG) + no as usize % 100), no }
}

/// Of those before, how many are there still.
fn kept(before: &[(ChunkKey, u64)], world: &World) -> usize {
    before.iter().filter(|wanted| world.read(&[**wanted]) == 1).count()
}

/// Chunks that fill the volume once: 60 to a segment.
const LAP: u32 = 60 * SEGMENTS as u32;

#[test]
fn three_laps_move_what_is_wanted_and_a_clean_restart_keeps_it_all() {
    let mut world = World::new(1);
    write(&mut world, 0..3 * LAP);
    let stats = world.volume.stats();
    assert!(stats.reclaimed > 2 * SEGMENTS && stats.moved > 100, "{stats:?}");
    assert_eq!((stats.corrupt, stats.damaged, stats.failed), (0, 0, 0));

    let before = world.readable();
    assert!(before.len() as u32 > LAP / 3, "{}", before.len());
    world.restart();
    let after = kept(&before, &world);
    assert!(after * 1000 >= before.len() * 995, "{after} of {}", before.len());
}

#[test]
fn a_killed_process_loses_only_what_waited_for_the_disk() {
    let mut world = World::new(2);
    write(&mut world, 0..LAP);
    world.restart();
    // What was kept at the restart is out of date by now.
    write(&mut world, LAP..2 * LAP);
    world.settle();
    let before = world.readable();
    let killed = world.medium.kill();
    world.reopen(killed);
    let after = kept(&before, &world);
    assert!(after * 100 >= before.len() * 99, "{after} of {}", before.len());
}

#[test]
fn a_snapshot_that_is_lost_costs_time_and_nothing_else() {
    let mut world = World::new(3);
    write(&mut world, 0..2 * LAP);
    world.volume.close(world.now).unwrap();
    let before = world.readable();
    let medium = world.medium.kill();
    medium.flip(antiphon_cache::disk::medium::Part::Snapshot, 8 * 5000);
    world.reopen(medium);
    let after = kept(&before, &world);
    assert!(after * 1000 >= before.len() * 995, "{after} of {}", before.len());
}

#[test]
fn nothing_of_an_older_volume_comes_back_when_a_younger_one_crashes() {
    let mut world = World::new(5);
    write(&mut world, 0..LAP / 4);
    world.settle();
    let old = world.readable();
    assert!(old.len() > 100);
    world.format();
    // Records as long as the old ones, so that old ones begin where these end.
    (0..10).for_each(|no| assert!(world.offer(chunk(LAP + no), 1, 1)));
    world.settle();
    let killed = world.medium.kill();
    world.reopen(killed);
    assert_eq!((kept(&old, &world), world.readable().len()), (0, 10));
}

/// I4: whoever reads a segment reads what was there when it was found, however fast the log wraps around.
#[test]
fn readers_never_see_a_segment_that_is_written_anew() {
    const RECORDS: u32 = 3 * LAP;
    let world = World::new(4);
    let (volume, written, over) = (&world.volume, AtomicU32::new(1), AtomicBool::new(false));
    let read = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for start in 0..2 {
            let (written, over, read) = (&written, &over, &read);
            scope.spawn(move || {
                let mut at: u32 = start;
                while !over.load(Ordering::Relaxed) {
                    at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let known = written.load(Ordering::Relaxed);
                    let key = chunk(known - 1 - (at >> 8) % known.min(LAP));
                    let want = ReadWant { key, ver: 1, floor: 0 };
                    let outcome = volume.read(&[want], &mut |_, bytes| {
                        assert!(bytes == payload(key, 1), "wrong bytes for {key:?}");
                        read.fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(matches!(outcome[0], ReadOutcome::Read | ReadOutcome::Missing), "{outcome:?}");
                }
            });
        }
        let mut now = world.now;
        for no in 0..RECORDS {
            let (key, payload) = (chunk(no), payload(chunk(no), 1));
            let record = NewRecord { key, ver: 1, generation: 1, written_secs: 0, payload: &payload };
            while volume.offer(&record, now) != Offered::Admitted {
                now.0 += 20;
                volume.work(now).unwrap();
            }
            written.store(no + 1, Ordering::Relaxed);
        }
        over.store(true, Ordering::Relaxed);
    });
    let stats = volume.stats();
    assert!(stats.written_bytes > 0 && stats.capacity_bytes == SEGMENTS * SEGMENT_LEN);
    assert!(stats.reclaimed > 2 * SEGMENTS && read.load(Ordering::Relaxed) > 1000, "{stats:?}");
}
