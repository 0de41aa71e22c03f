//! A full volume: what makes room, what stays, who gets the rest.

use super::*;
use std::sync::atomic::AtomicU32;

impl Shelf {
    /// Offers each chunk twice, for the second miss counts once the volume is full.
    pub(super) fn lap(&mut self, chunks: std::ops::Range<u32>) {
        for no in chunks {
            for _ in 0..2 {
                match self.offer(no, 1) {
                    Offered::Admitted => break,
                    Offered::Refused(Refusal::Admission) => {}
                    Offered::Refused(_) => self.settle(),
                }
            }
        }
        self.settle();
    }
}

#[test]
fn after_three_laps_the_newest_are_there_and_every_byte_is_right() {
    let mut shelf = Shelf::of(10);
    let a_lap = 10 * 75;
    let empty = shelf.volume.stats();
    shelf.lap(0..3 * a_lap);
    let stats = shelf.volume.stats();
    assert_eq!((stats.index_bytes, stats.staging_bytes), (empty.index_bytes, 0));
    assert!(stats.reclaimed >= 20, "{stats:?}");
    assert!(stats.segments[0] >= 3 && stats.segments[3] == 0, "{stats:?}");
    let kept = (0..3 * a_lap).filter(|no| shelf.has(*no, 1)).count();
    assert!(kept as u32 > a_lap / 2, "{kept}");
    assert!(shelf.has(3 * a_lap - 1, 1) && !shelf.has(0, 1));
    assert_eq!(shelf.volume.stats().damaged, 0);
}

#[test]
fn what_is_read_again_and_again_stays() {
    let mut shelf = Shelf::of(10);
    shelf.lap(0..20);
    for round in 0..12 {
        for no in 0..20 {
            assert!(shelf.has(no, 1), "chunk {no} in round {round}: {:?}", shelf.volume.stats());
        }
        shelf.lap(1000 + round * 200..1000 + (round + 1) * 200);
    }
    let stats = shelf.volume.stats();
    assert!(stats.moved >= 20 && stats.evicted > 500, "{stats:?}");
}

#[test]
fn what_was_moved_is_found_after_both_kinds_of_restart() {
    let mut shelf = Shelf::of(10);
    shelf.lap(0..20);
    for round in 0..6 {
        assert!((0..20).all(|no| shelf.has(no, 1)));
        shelf.lap(1000 + round * 200..1000 + (round + 1) * 200);
    }
    let before = shelf.volume.stats().records;
    let (shelf, recovered) = shelf.restart();
    assert!(recovered.by_snapshot);
    assert_eq!(recovered.records, before);
    assert!((0..20).all(|no| shelf.has(no, 1)));
    let (shelf, recovered) = shelf.kill();
    assert!(!recovered.by_snapshot);
    // What was reclaimed and not overwritten yet comes back, too.
    assert!(recovered.records >= before);
    assert!((0..20).all(|no| shelf.has(no, 1)));
}

#[test]
fn a_volume_recovered_without_a_free_segment_makes_room() {
    let mut shelf = Shelf::of(8);
    shelf.lap(0..1000);
    let (mut shelf, _) = shelf.kill();
    let free = shelf.volume.stats().segments[0];
    shelf.settle();
    assert!(shelf.volume.stats().segments[0] >= 3, "{free} free before, {:?}", shelf.volume.stats());
    shelf.lap(2000..2010);
    assert!((2000..2010).all(|no| shelf.has(no, 1)));
}

#[test]
fn a_full_volume_takes_what_was_missed_before() {
    let mut shelf = Shelf::of(8);
    assert_eq!(shelf.offer(0, 1), Offered::Admitted);
    shelf.lap(0..600);
    assert_eq!(shelf.offer(5000, 1), Offered::Refused(Refusal::Admission));
    assert_eq!(shelf.offer(5000, 1), Offered::Admitted);
}

#[test]
fn a_spent_write_budget_stops_what_is_new() {
    let medium = Shelf::of(8).medium;
    // An eighth of the volume a day: the bucket holds 1 MiB.
    let (shelf, _) = Shelf::open(Arc::new(medium.kill()), VolumeTerms { dwpd: 0.125, ..TERMS });
    shelf.recover();
    let taken = (0..100).filter(|no| shelf.offer(*no, 1) == Offered::Admitted).count();
    assert!((8..=20).contains(&taken), "{taken}");
    let later = UnixMillis(shelf.now.0 + 86_400_000);
    let record = NewRecord { key: key(500), ver: 1, generation: 0, written_secs: 0, payload: b"x" };
    assert_eq!(shelf.volume.offer(&record, later), Offered::Admitted);
}

#[test]
fn what_is_given_up_while_warm_is_handed_on() {
    let mut shelf = Shelf::of(8);
    let handed = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&handed);
    shelf.volume.hand_evicted_to(Arc::new(move |record: &NewRecord<'_>| {
        assert!(*record.payload == content(record.key, record.ver));
        seen.fetch_add(1, Ordering::Relaxed);
    }));
    shelf.lap(0..150);
    assert!((0..150).all(|no| shelf.has(no, 1)));
    // Moved once, never read again, and so given up in the end.
    shelf.lap(1000..4000);
    assert!((0..40).all(|no| !shelf.has(no, 1)));
    let handed = handed.load(Ordering::Relaxed);
    assert!((40..=150).contains(&handed), "{handed}");
    assert_eq!(shelf.volume.stats().handed_on, u64::from(handed));
}

#[test]
fn what_was_purged_is_not_moved() {
    let mut shelf = Shelf::of(8);
    shelf.lap(0..20);
    assert!((0..20).all(|no| shelf.has(no, 1)));
    shelf.volume.purge(purge_of(PurgeScope::Everything, 1)).unwrap();
    let moved = shelf.volume.stats().moved;
    shelf.lap(1000..1600);
    assert_eq!(shelf.volume.stats().moved, moved);
    assert!(!shelf.volume.holds(key(0)));
}

#[test]
fn readers_writers_and_reclaim_at_once_never_see_a_wrong_byte() {
    const THREADS: u32 = 3;
    const ROUNDS: u32 = 1500;
    const KEYS: usize = 700;
    let shelf = Shelf::of(8);
    let volume = &shelf.volume;
    let left = AtomicU32::new(THREADS);
    let read = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut now = shelf.now;
            while left.load(Ordering::Relaxed) > 0 {
                now.0 += 1;
                volume.work(now).unwrap();
            }
        });
        for thread in 0..THREADS {
            let (left, read, now) = (&left, &read, shelf.now);
            scope.spawn(move || {
                let mut dice = Dice::new(u64::from(thread));
                for _ in 0..ROUNDS {
                    // Most reads go to few chunks, which therefore move.
                    let few = if dice.one_in(2) { 20 } else { KEYS };
                    let chunk = key(dice.below(few) as u32);
                    let want = ReadWant { key: chunk, ver: 1, floor: 0 };
                    let expected = content(chunk, 1);
                    let outcomes = volume.read(&[want], &mut |_, bytes| assert!(bytes == expected));
                    match &outcomes[..] {
                        [ReadOutcome::Read] => {
                            read.fetch_add(1, Ordering::Relaxed);
                        }
                        [ReadOutcome::Missing] => {
                            let record = NewRecord {
                                key: chunk,
                                ver: 1,
                                generation: 0,
                                written_secs: 0,
                                payload: &expected,
                            };
                            volume.offer(&record, now);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                left.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    let stats = volume.stats();
    assert_eq!((stats.damaged, stats.corrupt), (0, 0), "{stats:?}");
    assert!(stats.reclaimed > 5 && read.load(Ordering::Relaxed) > ROUNDS, "{stats:?}");
}
