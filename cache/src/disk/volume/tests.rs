//! A volume as a whole, on a simulated disk.

mod crashes;
mod faults;
mod laps;
mod model;

use super::*;
use crate::disk::format::PurgeScope;
use crate::disk::sim::{Dice, SimMedium};
use crate::object::ObjKey;

/// A volume, its disk, and a clock that is wound by hand.
struct Shelf {
    medium: Arc<SimMedium>,
    volume: Volume,
    now: UnixMillis,
}

const CHUNK_SHIFT: u8 = 16;
const SEGMENT_SHIFT: u8 = 22;
const CHUNK: usize = 1 << CHUNK_SHIFT;
const SEED: u64 = 0x5eed;

const TERMS: VolumeTerms = VolumeTerms {
    class: Class::Ssd,
    dwpd: 0.0,
    staging_max_bytes: 64 << 20,
    scrub_bytes_per_sec: 0,
    read_only: false,
};

impl Shelf {
    /// A new volume of so many segments of 4 MiB, recovered and serving.
    fn of(segments: u64) -> Self {
        let medium = Arc::new(SimMedium::new(SEED, 1 << 40));
        let shape = Shape {
            geometry: Geometry::new(CHUNK_SHIFT, SEGMENT_SHIFT).unwrap(),
            capacity_bytes: segments << SEGMENT_SHIFT,
        };
        let disk: Arc<dyn Medium> = medium.clone();
        Volume::format(&disk, shape, SEED, [7; 16]).unwrap();
        let (shelf, found) = Self::open(medium, TERMS);
        assert_eq!(found, Found::Fresh);
        shelf.recover();
        shelf
    }

    fn open(medium: Arc<SimMedium>, terms: VolumeTerms) -> (Self, Found) {
        let now = UnixMillis(1_000_000);
        let (volume, found) = Volume::open(medium.clone(), terms, now, SEED).unwrap();
        (Self { medium, volume, now }, found)
    }

    fn recover(&self) -> Recovered {
        self.volume.recover(&|_| {}).unwrap()
    }

    /// Closes it in order and opens it again.
    fn restart(self) -> (Self, Recovered) {
        self.volume.close(self.now).unwrap();
        let (shelf, found) = Self::open(self.medium, TERMS);
        assert_eq!(found, Found::Clean);
        let recovered = shelf.recover();
        (shelf, recovered)
    }

    /// Kills the process and opens it again.
    fn kill(self) -> (Self, Recovered) {
        let (shelf, found) = Self::open(Arc::new(self.medium.kill()), TERMS);
        assert_eq!(found, Found::Dirty);
        let recovered = shelf.recover();
        (shelf, recovered)
    }

    fn offer(&self, no: u32, ver: u64) -> Offered {
        self.offer_of(key(no), ver, 0, &content(key(no), ver))
    }

    fn offer_of(&self, key: ChunkKey, ver: u64, generation: u64, payload: &[u8]) -> Offered {
        self.volume.offer(&NewRecord { key, ver, generation, written_secs: 9, payload }, self.now)
    }

    /// Offers until it is taken, letting the writer work in between.
    fn keep(&mut self, no: u32, ver: u64) {
        for _ in 0..100 {
            match self.offer(no, ver) {
                Offered::Admitted => return,
                Offered::Refused(Refusal::Same) => return,
                Offered::Refused(_) => self.settle(),
            }
        }
        panic!("chunk {no} is not taken: {:?}", self.volume.stats());
    }

    fn read(&self, no: u32, ver: u64) -> Option<Vec<u8>> {
        let mut bytes = None;
        let want = ReadWant { key: key(no), ver, floor: 0 };
        let outcomes = self.volume.read(&[want], &mut |at, payload| {
            assert_eq!(at, 0);
            bytes = Some(payload.to_vec());
        });
        assert_eq!(bytes.is_some(), matches!(outcomes[..], [ReadOutcome::Read]), "{outcomes:?}");
        bytes
    }

    /// Whether the chunk is there, its bytes being right.
    fn has(&self, no: u32, ver: u64) -> bool {
        self.read(no, ver).inspect(|bytes| assert!(*bytes == content(key(no), ver), "wrong bytes")).is_some()
    }

    /// Lets the writer work until it finds nothing to do.
    fn settle(&mut self) {
        self.now.0 += FLUSH_AFTER_MS;
        while self.work().did != Did::Nothing {}
    }

    fn work(&self) -> Worked {
        self.volume.work(self.now).unwrap()
    }
}

fn key(no: u32) -> ChunkKey {
    ChunkKey { obj: ObjKey::from_bytes([3; 16]), no }
}

/// What chunk `key` of version `ver` holds: a length and bytes of its own.
fn content(key: ChunkKey, ver: u64) -> Vec<u8> {
    let mut dice = Dice::new(u64::from(key.no) << 32 ^ ver ^ u64::from(key.obj.as_bytes()[0]) << 56);
    let len = if dice.one_in(4) { 1 + dice.below(CHUNK) } else { CHUNK };
    let mut bytes = dice.roll().to_le_bytes().repeat(len.div_ceil(8));
    bytes.truncate(len);
    // No page is like another.
    (0_u32..)
        .zip(bytes.chunks_exact_mut(PAGE_LEN))
        .for_each(|(no, page)| page[..4].copy_from_slice(&no.to_le_bytes()));
    bytes
}

fn purge_of(scope: PurgeScope, generation: u64) -> PurgeRecord {
    PurgeRecord { generation, soft: false, scope, at_secs: 5 }
}

#[test]
fn what_is_taken_can_be_read_at_once_and_when_it_is_written() {
    let mut shelf = Shelf::of(8);
    assert!(!shelf.volume.holds(key(1)) && !shelf.has(1, 1));
    assert_eq!(shelf.offer(1, 1), Offered::Admitted);
    let writes = shelf.medium.asked().writes;
    assert!(shelf.volume.holds(key(1)) && shelf.has(1, 1));
    assert_eq!(shelf.volume.stats().staging_bytes, 4 << 20);
    shelf.settle();
    assert!(shelf.medium.asked().writes > writes);
    assert_eq!(shelf.volume.stats().staging_bytes, 0);
    assert!(shelf.has(1, 1) && !shelf.has(2, 1));
}

#[test]
fn looking_up_and_offering_never_touch_the_disk() {
    let shelf = Shelf::of(8);
    let before = shelf.medium.asked();
    for no in 0..800 {
        shelf.offer(no, 1);
        shelf.volume.holds(key(no));
    }
    assert_eq!(shelf.medium.asked(), before);
    assert!(shelf.volume.stats().refused_admission > 0);
}

#[test]
fn another_version_and_an_older_generation_are_missing() {
    let shelf = Shelf::of(8);
    shelf.offer_of(key(1), 1, 4, &content(key(1), 1));
    let read = |ver, floor| {
        let want = ReadWant { key: key(1), ver, floor };
        matches!(shelf.volume.read(&[want], &mut |_, _| {})[..], [ReadOutcome::Read])
    };
    assert!(read(1, 0) && read(1, 4));
    assert!(!read(1, 5));
    assert!(!shelf.volume.holds(key(1)), "what was purged is forgotten");
    assert_eq!(shelf.volume.stats().stale, 1);
}

#[test]
fn a_newer_version_takes_the_place_of_the_older() {
    let mut shelf = Shelf::of(8);
    shelf.offer(1, 1);
    shelf.offer(1, 2);
    assert_eq!(shelf.volume.stats().records, 1);
    assert!(shelf.has(1, 2));
    shelf.settle();
    assert!(shelf.has(1, 2) && !shelf.has(1, 1));
}

#[test]
fn the_same_record_is_written_once() {
    let shelf = Shelf::of(8);
    assert_eq!(shelf.offer(1, 1), Offered::Admitted);
    assert_eq!(shelf.offer(1, 1), Offered::Refused(Refusal::Same));
}

#[test]
fn a_record_is_one_byte_at_least_and_a_chunk_at_most() {
    let shelf = Shelf::of(8);
    let offer = |len| shelf.offer_of(key(len as u32), 1, 0, &vec![1; len]);
    assert_eq!(offer(0), Offered::Refused(Refusal::Length));
    assert_eq!(offer(1), Offered::Admitted);
    assert_eq!(offer(CHUNK), Offered::Admitted);
    assert_eq!(offer(CHUNK + 1), Offered::Refused(Refusal::Length));
    assert_eq!(shelf.volume.stats().refused_length, 2);
}

#[test]
fn neighbours_are_read_at_once() {
    let mut shelf = Shelf::of(8);
    for no in 0..8 {
        shelf.offer_of(key(no), 1, 0, &[no as u8; CHUNK]);
    }
    shelf.settle();
    shelf.volume.inner.staging.close();
    shelf.settle();
    let before = shelf.medium.asked();
    let wants: Vec<ReadWant> = (0..8).rev().map(|no| ReadWant { key: key(no), ver: 1, floor: 0 }).collect();
    let mut seen = [false; 8];
    let outcomes = shelf.volume.read(&wants, &mut |at, payload| {
        assert!(payload.iter().all(|byte| *byte == 7 - at as u8));
        seen[at] = true;
    });
    assert!(seen.iter().all(|seen| *seen) && outcomes.len() == 8);
    assert_eq!(shelf.medium.asked().reads - before.reads, 2);
}

#[test]
fn the_newest_metadata_is_found() {
    let mut shelf = Shelf::of(8);
    let meta = ChunkKey { obj: key(0).obj, no: META_NO };
    assert_eq!(shelf.volume.read_meta(meta.obj, 0).unwrap(), None);
    shelf.offer_of(meta, 1, 3, b"old");
    shelf.settle();
    shelf.offer_of(meta, 2, 5, b"new");
    let found = shelf.volume.read_meta(meta.obj, 0).unwrap().unwrap();
    assert_eq!((&found.bytes[..], found.ver, found.generation), (&b"new"[..], 2, 5));
    assert_eq!(shelf.volume.read_meta(meta.obj, 6).unwrap(), None);
}

#[test]
fn more_than_staging_holds_is_dropped_and_counted() {
    let medium = Arc::new(SimMedium::new(SEED, 1 << 40));
    let disk: Arc<dyn Medium> = medium.clone();
    let shape = Shape { geometry: Geometry::new(16, 24).unwrap(), capacity_bytes: 16 << 24 };
    Volume::format(&disk, shape, SEED, [7; 16]).unwrap();
    let (mut shelf, _) = Shelf::open(medium, VolumeTerms { staging_max_bytes: 0, ..TERMS });
    shelf.recover();
    let taken = (0..400).filter(|no| shelf.offer(*no, 1) == Offered::Admitted).count();
    assert!((100..300).contains(&taken), "{taken}");
    let stats = shelf.volume.stats();
    assert_eq!(stats.refused_staging, 400 - taken as u64);
    assert!(stats.staging_bytes <= 16 << 20);
    shelf.settle();
    assert_eq!(shelf.offer(399, 1), Offered::Admitted);
}

#[test]
fn nothing_is_taken_before_recovery_and_after_close() {
    let shelf = Shelf::of(8);
    shelf.volume.close(shelf.now).unwrap();
    assert_eq!(shelf.offer(1, 1), Offered::Refused(Refusal::NotServing));
    assert!(matches!(shelf.volume.work(shelf.now), Err(VolumeError::NotServing)));
    let (shelf, found) = Shelf::open(shelf.medium, TERMS);
    assert_eq!(found, Found::Clean);
    assert_eq!(shelf.offer(1, 1), Offered::Refused(Refusal::NotServing));
    shelf.recover();
    assert_eq!(shelf.offer(1, 1), Offered::Admitted);
    assert!(matches!(shelf.volume.recover(&|_| {}), Err(VolumeError::NotServing)));
}

#[test]
fn what_is_opened_for_reading_is_not_written_to() {
    let mut shelf = Shelf::of(8);
    shelf.keep(1, 1);
    shelf.settle();
    let (shelf, _) = Shelf::open(Arc::new(shelf.medium.kill()), VolumeTerms { read_only: true, ..TERMS });
    assert_eq!(shelf.recover().records, 1);
    assert!(shelf.has(1, 1));
    assert_eq!(shelf.offer(2, 1), Offered::Refused(Refusal::NotServing));
    assert!(shelf.volume.purge(purge_of(PurgeScope::Everything, 1)).is_err());
    shelf.volume.close(shelf.now).unwrap();
    assert_eq!((shelf.medium.asked().writes, shelf.medium.asked().syncs), (0, 0));
}

#[test]
fn a_foreign_medium_is_left_alone() {
    let medium = Arc::new(SimMedium::new(SEED, 1 << 40));
    medium.resize(Part::Data, 64 << 20).unwrap();
    let mut page = crate::disk::aligned::AlignedBuf::new(PAGE_LEN);
    page[..8].copy_from_slice(b"EXT4 etc");
    medium.write(Part::Data, 0, &page).unwrap();
    let before = medium.asked().writes;
    let disk: Arc<dyn Medium> = medium.clone();
    let shape = Shape { geometry: Geometry::new(16, 22).unwrap(), capacity_bytes: 64 << 20 };
    let refused = Volume::format(&disk, shape, SEED, [1; 16]);
    assert!(matches!(refused, Err(FormatVolumeError::Foreign { part: Part::Data })), "{refused:?}");
    assert!(matches!(Volume::open(disk, TERMS, UnixMillis(0), 0), Err(OpenVolumeError::Blank)));
    assert_eq!(medium.asked().writes, before);
}

#[test]
fn a_volume_has_enough_segments_and_chunks_that_fit_the_index() {
    let disk: Arc<dyn Medium> = Arc::new(SimMedium::new(SEED, 1 << 40));
    let format = |chunk, segments: u64| {
        let shape = Shape { geometry: Geometry::new(chunk, 22).unwrap(), capacity_bytes: segments << 22 };
        Volume::format(&disk, shape, SEED, [1; 16])
    };
    assert!(matches!(format(16, SEGMENTS_MIN - 1), Err(FormatVolumeError::Segments { segments: 6 })));
    assert!(matches!(format(19, SEGMENTS_MIN), Err(FormatVolumeError::ChunkLength { .. })));
    assert!(format(18, SEGMENTS_MIN).is_ok());
}

#[test]
fn formatting_anew_forgets_all_that_was_there() {
    let mut shelf = Shelf::of(8);
    shelf.keep(1, 1);
    shelf.volume.purge(purge_of(PurgeScope::Everything, 0)).unwrap();
    shelf.settle();
    let shape = Shape { geometry: shelf.volume.geometry(), capacity_bytes: 8 << SEGMENT_SHIFT };
    let disk: Arc<dyn Medium> = shelf.medium.clone();
    // Even under the same name.
    Volume::format(&disk, shape, SEED, [7; 16]).unwrap();
    let (shelf, found) = Shelf::open(shelf.medium, TERMS);
    assert_eq!((found, shelf.recover().records), (Found::Fresh, 0));
    assert!(shelf.volume.purges().is_empty() && !shelf.has(1, 1));
}
