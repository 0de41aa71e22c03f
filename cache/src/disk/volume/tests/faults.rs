//! Disks that lie, refuse, fill up and hang.

use super::*;
use crate::disk::medium::{EIO, ENOSPC, EROFS};
use crate::disk::sim::{Fail, Op};

/// Works until an error comes or nothing is left to do.
fn work_until_error(shelf: &mut Shelf) -> Option<VolumeError> {
    shelf.now.0 += FLUSH_AFTER_MS;
    for _ in 0..1000 {
        match shelf.volume.work(shelf.now) {
            Ok(Worked { did: Did::Nothing, .. }) => return None,
            Ok(_) => {}
            Err(error) => return Some(error),
        }
    }
    panic!("the writer does not come to an end");
}

fn all(wanted: std::ops::Range<u32>) -> Vec<ReadWant> {
    wanted.map(|no| ReadWant { key: key(no), ver: 1, floor: 0 }).collect()
}

/// Full chunks side by side in a sealed segment.
fn neighbours(count: u32) -> Shelf {
    let mut shelf = Shelf::of(8);
    for no in 0..count {
        shelf.offer_of(key(no), 1, 0, &[no as u8; CHUNK]);
    }
    shelf.volume.inner.staging.abandon(0);
    shelf.settle();
    shelf
}

#[test]
fn a_flipped_bit_anywhere_is_a_miss_and_is_forgotten() {
    let mut dice = Dice::new(1);
    for _ in 0..60 {
        let mut shelf = Shelf::of(8);
        shelf.keep(1, 1);
        shelf.settle();
        let len = 64 + content(key(1), 1).len() as u64;
        shelf.medium.flip(Part::Data, (PAGE_LEN as u64) * 8 + dice.roll() % (len * 8));
        let outcomes = shelf.volume.read(&all(1..2), &mut |_, _| panic!("wrong bytes"));
        assert!(matches!(outcomes[..], [ReadOutcome::Corrupt]));
        assert!(!shelf.volume.holds(key(1)));
        assert_eq!((shelf.volume.stats().corrupt, shelf.volume.stats().damaged), (1, 1));
    }
}

#[test]
fn damage_beside_a_record_does_not_spoil_it() {
    let shelf = neighbours(4);
    // In the middle of the second record.
    shelf.medium.flip(Part::Data, (1 + 17 + 5) * PAGE_LEN as u64 * 8);
    let mut seen = Vec::new();
    let outcomes = shelf.volume.read(&all(0..4), &mut |at, _| seen.push(at));
    assert_eq!(seen, [0, 2, 3]);
    assert!(matches!(outcomes[1], ReadOutcome::Corrupt));
}

#[test]
fn a_read_error_spoils_one_chunk_of_a_run() {
    let shelf = neighbours(4);
    // The run, then its second record alone.
    shelf.medium.fail_nth(Op::Read, 0, Fail::Errno(EIO));
    shelf.medium.fail_nth(Op::Read, 2, Fail::Errno(EIO));
    let outcomes = shelf.volume.read(&all(0..4), &mut |_, _| {});
    let failed: Vec<_> = outcomes.iter().map(|outcome| matches!(outcome, ReadOutcome::Failed(_))).collect();
    assert_eq!(failed.iter().filter(|failed| **failed).count(), 1, "{outcomes:?}");
    assert_eq!((shelf.volume.stats().unreadable, shelf.volume.stats().records), (1, 3));
}

#[test]
fn records_that_could_not_be_written_are_gone_and_the_next_ones_are_kept() {
    for (errno, failure) in [(EIO, Failure::Media), (ENOSPC, Failure::Full), (EROFS, Failure::ReadOnly)] {
        let mut shelf = Shelf::of(8);
        shelf.keep(1, 1);
        // The header passes, the records do not.
        shelf.medium.fail_nth(Op::Write, 1, Fail::Errno(errno));
        let error = work_until_error(&mut shelf).unwrap();
        assert_eq!(error.failure(), Some(failure));
        assert!(!shelf.volume.holds(key(1)) && !shelf.has(1, 1));
        assert_eq!((shelf.volume.stats().dropped, shelf.volume.stats().broken_segments), (1, 1));
        shelf.settle();
        shelf.keep(2, 1);
        shelf.settle();
        assert!(shelf.has(2, 1));
        let (shelf, recovered) = shelf.kill();
        assert_eq!(recovered.records, 1);
        assert!(shelf.has(2, 1));
    }
}

#[test]
fn a_header_that_could_not_be_written_costs_its_segment_only() {
    for op in [Op::Write, Op::Sync] {
        let mut shelf = Shelf::of(8);
        shelf.keep(1, 1);
        shelf.medium.fail_nth(op, 0, Fail::Errno(EIO));
        assert!(work_until_error(&mut shelf).is_some());
        shelf.settle();
        assert!(!shelf.has(1, 1));
        shelf.keep(2, 1);
        shelf.settle();
        assert!(shelf.has(2, 1));
        assert_eq!(shelf.volume.stats().segments, [7, 1, 0, 0]);
    }
}

#[test]
fn an_unplugged_disk_fails_every_call_and_panics_none() {
    let mut shelf = Shelf::of(8);
    shelf.keep(1, 1);
    shelf.settle();
    shelf.keep(2, 1);
    shelf.medium.unplug();
    let outcomes = shelf.volume.read(&all(1..2), &mut |_, _| {});
    assert!(matches!(&outcomes[..], [ReadOutcome::Failed(error)] if error.failure() == Some(Failure::Gone)));
    assert!(work_until_error(&mut shelf).is_some());
    assert!(shelf.volume.purge(purge_of(PurgeScope::Everything, 1)).is_err());
    assert!(shelf.volume.close(shelf.now).is_err());
    shelf.medium.heal();
    let (shelf, _) = shelf.kill();
    assert!(shelf.has(1, 1) && !shelf.has(2, 1));
}

#[test]
fn a_purge_that_is_not_durable_is_not_promised() {
    let shelf = Shelf::of(8);
    for op in [Op::Write, Op::Sync] {
        shelf.medium.fail_nth(op, 0, Fail::Errno(EIO));
        assert!(shelf.volume.purge(purge_of(PurgeScope::Everything, 1)).is_err());
        assert!(shelf.volume.purges().is_empty());
    }
    let purge = purge_of(PurgeScope::Object(key(1).obj), 2);
    shelf.volume.purge(purge).unwrap();
    let (shelf, _) = shelf.kill();
    assert_eq!(shelf.volume.purges(), [purge]);
}

#[test]
fn scrubbing_finds_what_nobody_read_and_keeps_to_its_rate() {
    const RATE: u64 = 256 * 1024;
    let mut shelf = Shelf::of(8);
    for no in 0..150 {
        shelf.keep(no, 1);
    }
    shelf.settle();
    let scrubbed = VolumeTerms { scrub_bytes_per_sec: RATE, ..TERMS };
    let (mut shelf, _) = Shelf::open(Arc::new(shelf.medium.kill()), scrubbed);
    assert_eq!(shelf.recover().records, 150);
    let victim = shelf.volume.inner.index.find(key(140)).iter().next().unwrap().place;
    let at =
        shelf.volume.geometry().segment_offset(victim.segment) + u64::from(victim.page) * PAGE_LEN as u64;
    shelf.medium.flip(Part::Data, (at + 30) * 8);
    let mut lost = Vec::new();
    let mut seconds = 0;
    while shelf.volume.stats().scrub_passes < 2 {
        shelf.now.0 += 1000;
        seconds += 1;
        lost.extend(shelf.work().lost);
        assert!(shelf.volume.stats().scrubbed_bytes <= seconds * RATE + (1 << 20));
        assert!(seconds < 10_000, "{:?}", shelf.volume.stats());
    }
    assert_eq!(lost, [Lost { key: key(140), ver: 1, unreadable: false }]);
    assert_eq!(shelf.volume.stats().records, 149);
    assert!(!shelf.volume.holds(key(140)));
}

#[test]
fn a_segment_is_not_overwritten_while_a_reader_hangs_in_it() {
    let mut shelf = Shelf::of(8);
    shelf.lap(0..70);
    let inner = Arc::clone(&shelf.volume.inner);
    let oldest = inner.index.find(key(0)).iter().next().unwrap().place.segment;
    let on_disk = || {
        let mut page = crate::disk::aligned::AlignedBuf::new(PAGE_LEN);
        inner.read_pages(oldest, 0, &mut page).unwrap();
        crate::disk::format::SegmentHeader::parse(&page).unwrap().seq
    };
    let pin = inner.segments.pin(oldest).unwrap();
    let seq = pin.slot().seq();
    shelf.lap(70..1500);
    assert_eq!((pin.slot().seq(), pin.slot().state()), (seq, SegmentState::Draining));
    assert_eq!(on_disk(), seq);
    drop(pin);
    shelf.lap(1500..3000);
    assert!(on_disk() > seq);
}
