//! What the medium forgets, tears and refuses.

use super::super::medium::{EIO, Failure};
use super::part::SECTOR_LEN;
use super::*;
use std::sync::Arc;

const SPACE: u64 = 1 << 20;

fn pages(count: usize, byte: u8) -> AlignedBuf {
    let mut buf = AlignedBuf::new(count * PAGE_LEN);
    buf.fill(byte);
    buf
}

fn content(medium: &SimMedium, part: Part) -> Vec<u8> {
    let mut bytes = AlignedBuf::new(medium.len(part).unwrap() as usize);
    medium.read(part, 0, &mut bytes).unwrap();
    bytes.to_vec()
}

#[test]
fn what_is_synced_survives_every_crash() {
    let medium = SimMedium::new(1, SPACE);
    medium.write(Part::Data, 0, &pages(8, 1)).unwrap();
    medium.sync(Part::Data).unwrap();
    medium.write(Part::Data, 8 * PAGE_LEN as u64, &pages(8, 2)).unwrap();
    for seed in 0..100 {
        let found = content(&medium.crash(&mut Dice::new(seed)), Part::Data);
        assert!(found[..8 * PAGE_LEN].iter().all(|byte| *byte == 1));
    }
}

#[test]
fn what_is_not_synced_is_kept_lost_and_torn_page_by_page() {
    let medium = SimMedium::new(1, SPACE);
    medium.write(Part::Data, 0, &pages(16, 1)).unwrap();
    medium.sync(Part::Data).unwrap();
    medium.write(Part::Data, 0, &pages(16, 2)).unwrap();
    medium.write(Part::Data, 0, &pages(16, 3)).unwrap();
    let mut seen = [0; 4];
    for seed in 0..50 {
        let found = content(&medium.crash(&mut Dice::new(seed)), Part::Data);
        for page in found.chunks(PAGE_LEN) {
            let torn = page.iter().any(|byte| *byte != page[0]);
            seen[if torn { 0 } else { usize::from(page[0]) }] += 1;
            assert!(page.chunks(SECTOR_LEN).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        }
    }
    assert!(seen.iter().all(|times| *times > 20), "torn, first, second, third: {seen:?}");
}

#[test]
fn the_same_seed_makes_the_same_crash() {
    let medium = SimMedium::new(1, SPACE);
    medium.resize(Part::Data, 32 * PAGE_LEN as u64).unwrap();
    medium.sync(Part::Data).unwrap();
    medium.write(Part::Data, 0, &pages(32, 1)).unwrap();
    let crash = |seed| {
        let crashed = medium.crash(&mut Dice::new(seed));
        (crashed.len(Part::Data).unwrap(), content(&crashed, Part::Data))
    };
    assert_eq!(crash(5), crash(5));
    assert_ne!(crash(5), crash(6));
}

#[test]
fn a_sync_that_failed_is_not_made_up_for_by_the_next() {
    let medium = SimMedium::new(1, SPACE);
    medium.resize(Part::Data, 2 * PAGE_LEN as u64).unwrap();
    medium.sync(Part::Data).unwrap();
    medium.write(Part::Data, 0, &pages(1, 1)).unwrap();
    medium.fail_nth(Op::Sync, 0, Fail::Errno(EIO));
    assert_eq!(Failure::of(&medium.sync(Part::Data).unwrap_err()), Failure::Media);
    medium.write(Part::Data, PAGE_LEN as u64, &pages(1, 2)).unwrap();
    medium.sync(Part::Data).unwrap();
    let crashes = || (0..50).map(|seed| content(&medium.crash(&mut Dice::new(seed)), Part::Data));
    assert!(crashes().all(|found| found[PAGE_LEN] == 2));
    assert!(crashes().any(|found| found[0] == 0));
    medium.write(Part::Data, 0, &pages(1, 3)).unwrap();
    medium.sync(Part::Data).unwrap();
    assert!(crashes().all(|found| found[0] == 3));
}

#[test]
fn faults_come_when_they_are_ordered() {
    let medium = SimMedium::new(1, SPACE);
    medium.resize(Part::Data, 4 * PAGE_LEN as u64).unwrap();
    medium.fail_nth(Op::Read, 1, Fail::ShortRead);
    medium.fail_nth(Op::Write, 0, Fail::Errno(ENOSPC));
    let mut page = AlignedBuf::new(PAGE_LEN);
    let mut read = || medium.read(Part::Data, 0, &mut page).map_err(|error| Failure::of(&error));
    assert_eq!([read(), read(), read()], [Ok(()), Err(Failure::Short), Ok(())]);
    let write = || medium.write(Part::Data, 0, &pages(1, 1)).map_err(|error| Failure::of(&error));
    assert_eq!([write(), write()], [Err(Failure::Full), Ok(())]);
    medium.set_read_only();
    assert_eq!((write(), read()), (Err(Failure::ReadOnly), Ok(())));
    medium.unplug();
    assert_eq!((write(), read()), (Err(Failure::Gone), Err(Failure::Gone)));
    medium.heal();
    medium.fail_always(Op::Read, EIO);
    assert_eq!((write(), read(), read()), (Ok(()), Err(Failure::Media), Err(Failure::Media)));
    assert_eq!(
        medium.asked(),
        Asked {
            reads: 7,
            writes: 5,
            syncs: 0,
            bytes_read: 7 * PAGE_LEN as u64,
            bytes_written: 5 * PAGE_LEN as u64,
        }
    );
}

#[test]
fn what_is_full_takes_no_more_and_overwrites_still() {
    let medium = SimMedium::new(1, 4 * PAGE_LEN as u64);
    medium.resize(Part::Data, 4 * PAGE_LEN as u64).unwrap();
    medium.write(Part::Data, 0, &pages(4, 1)).unwrap();
    let error = medium.write(Part::PurgeLog, 0, &[1; 64]).unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Full);
    assert!(medium.resize(Part::Data, 5 * PAGE_LEN as u64).is_err());
}

#[test]
fn what_hangs_goes_on_when_it_is_healed() {
    let medium = Arc::new(SimMedium::new(1, SPACE));
    medium.hang();
    let hung = Arc::clone(&medium);
    let thread = std::thread::spawn(move || hung.write(Part::PurgeLog, 0, &[1; 64]));
    while medium.waiting() == 0 {
        std::thread::yield_now();
    }
    assert!(!thread.is_finished());
    medium.heal();
    thread.join().unwrap().unwrap();
    assert_eq!(medium.len(Part::PurgeLog).unwrap(), 64);
}

#[test]
fn a_cut_that_is_not_synced_may_be_undone() {
    let medium = SimMedium::new(1, SPACE);
    medium.write(Part::PurgeLog, 0, &[7; 200]).unwrap();
    medium.sync(Part::PurgeLog).unwrap();
    medium.resize(Part::PurgeLog, 64).unwrap();
    let lens = || (0..50).map(|seed| medium.crash(&mut Dice::new(seed)).len(Part::PurgeLog).unwrap());
    assert!(lens().any(|len| len == 200) && lens().any(|len| len == 64));
    medium.sync(Part::PurgeLog).unwrap();
    assert!(lens().all(|len| len == 64));
}

#[test]
fn an_ordered_loss_of_power_comes_just_before_its_change() {
    let medium = SimMedium::new(1, SPACE);
    medium.crash_at(2, Dice::new(3));
    for byte in 1..=2 {
        medium.write(Part::PurgeLog, 0, &pages(1, byte)).unwrap();
        medium.sync(Part::PurgeLog).unwrap();
    }
    let crashed = medium.crashed().unwrap();
    assert_eq!((content(&crashed, Part::PurgeLog)[0], content(&medium, Part::PurgeLog)[0]), (1, 2));
    medium.crash_at(1, Dice::new(3));
    medium.sync(Part::PurgeLog).unwrap();
    assert!(medium.crashed().is_none());
    medium.sync(Part::PurgeLog).unwrap();
    assert!(medium.crashed().is_none(), "it was called off");
}

#[test]
fn writes_off_the_page_and_cuts_are_kept_to_the_byte() {
    let medium = SimMedium::new(1, SPACE);
    medium.write(Part::PurgeLog, 4000, &[7; 200]).unwrap();
    let mut bytes = [1; 4200];
    medium.read(Part::PurgeLog, 0, &mut bytes).unwrap();
    assert!(bytes[..4000].iter().all(|byte| *byte == 0) && bytes[4000..].iter().all(|byte| *byte == 7));
    medium.resize(Part::PurgeLog, 4100).unwrap();
    medium.resize(Part::PurgeLog, 4200).unwrap();
    medium.read(Part::PurgeLog, 0, &mut bytes).unwrap();
    assert!(bytes[4000..4100].iter().all(|byte| *byte == 7) && bytes[4100..].iter().all(|byte| *byte == 0));
    medium.flip(Part::PurgeLog, 4050 * 8 + 3);
    medium.read(Part::PurgeLog, 0, &mut bytes).unwrap();
    assert_eq!(bytes[4050], 7 ^ 8);
}
