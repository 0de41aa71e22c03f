//! One volume: a log of segments on a disk, an index of what is in them, and a writer.
//!
//! Records are appended to open segments, sealed when full, and given up a segment at a time; records that are
//! read again and again move to a stream of their own. `cache/FORMAT.md` has the bytes and what survives a crash.
//!
//! Promises
//! - What [`Volume::read`] gives out was checked whole: header, checksum, key, version, generation and the opening
//!   of its segment. Anything else is a miss.
//! - A segment is not overwritten while somebody reads it or the index points at it.
//! - [`Volume::holds`] and [`Volume::offer`] never touch the disk. Everything else blocks and belongs on I/O
//!   threads.
//! - A purge is on the disk when [`Volume::purge`] returns `Ok`.
//! - Memory is fixed after open: index, staging, read buffers, the ghosts of admission.
//!
//! Does not know: other volumes, upstream, the clock, threads. Time is an argument, failures are values.

mod opening;
mod purging;
mod reading;
mod reclaiming;
mod recovery;
mod scrubbing;
mod segments;
mod snapshots;
mod staging;
mod stats;
mod transfer;
mod tuning;
mod verifying;
mod writing;

pub use opening::{FormatVolumeError, Found, OpenVolumeError, SEGMENTS_MIN, Shape};
pub use purging::PURGES_MAX;
pub use reading::{FoundMeta, ReadOutcome, ReadWant};
pub use reclaiming::EvictedSink;
pub use recovery::{Progress, Recovered};
pub use segments::State as SegmentState;
pub use stats::VolumeStats;
pub use verifying::Verified;
pub use writing::{Did, FLUSH_AFTER_MS, Lost, Worked};

pub use crate::config::Class;

use crate::disk::aligned::PAGE_LEN;
use crate::disk::format::{Geometry, META_NO, PurgeRecord, Stream, SuperBlock, crc, pages_of};
use crate::disk::index::{Index, Marks, Place};
use crate::disk::medium::{Failure, Medium, Part};
use crate::object::ChunkKey;
use crate::policy::admission::Admission;
use crate::policy::wear::{Pressure, WriteBudget};
use parking_lot::{Mutex, RwLock};
use purging::Purges;
use reclaiming::FREE_MIN;
use segments::Segments;
use staging::{Draft, NoRoom, Staging};
use stats::Counters;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use transfer::Buffers;
use tuning::Tuning;
use writing::Writer;

/// A volume. Clones are the same volume.
#[derive(Clone)]
pub struct Volume {
    inner: Arc<Inner>,
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

/// What the operator decides about a volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VolumeTerms {
    /// The tier it belongs to.
    pub class: Class,
    /// Drive writes per day that the disk is good for: its endurance. 0 sets no limit.
    pub dwpd: f64,
    /// Memory for records that wait for the disk, in bytes. Counts as 16 MiB if it is less.
    pub staging_max_bytes: u64,
    /// Bytes that scrubbing reads in a second. 0 does not scrub.
    pub scrub_bytes_per_sec: u64,
    /// Nothing is written: neither records nor marks. For looking at a volume.
    pub read_only: bool,
}

/// A record that may be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Its chunk; number [`META_NO`] is the object's metadata.
    pub key: ChunkKey,
    /// Version of the object.
    pub ver: u64,
    /// The purge generation when its fetch began.
    pub generation: u64,
    /// When it was fetched, in seconds since 1970.
    pub written_secs: u32,
    /// Its bytes: 1 to the length of a chunk, or of metadata.
    pub payload: &'a [u8],
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is copied and can be read from now on; the disk gets it later.
    Admitted,
    /// It is not kept.
    Refused(Refusal),
}

/// Why an offer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Recovery is not over, or the volume is closed or opened for reading only.
    NotServing,
    /// It was not missed often enough to be worth a write, or the write budget is spent.
    Admission,
    /// As many bytes wait for the disk as may ([`VolumeTerms::staging_max_bytes`]).
    Staging,
    /// No segment is free: reclaim is behind.
    Segments,
    /// It is empty or longer than a record may be.
    Length,
    /// The same record is about to be written already.
    Same,
}

/// Why a volume did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The medium failed.
    #[error("{act:?} {part:?} at byte {offset}")]
    Io {
        /// What was being done.
        act: Act,
        /// To which part.
        part: Part,
        /// Where.
        offset: u64,
        /// What the medium said.
        #[source]
        cause: io::Error,
    },
    /// Recovery is not over, or the volume is closed or opened for reading only.
    #[error("the volume takes no writes")]
    NotServing,
}

/// What was being done to a part of a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Waiting until it is durable.
    Sync,
    /// Asking or changing its length.
    Resize,
}

/// Everything a volume is made of. Its files each add what they are named after.
struct Inner {
    medium: Arc<dyn Medium>,
    terms: VolumeTerms,
    geometry: Geometry,
    disk_uuid: [u8; 16],
    index: Index,
    segments: Segments,
    staging: Staging,
    admission: Mutex<Admission>,
    wear: Mutex<WriteBudget>,
    /// One step of background work at a time; locked before anything else.
    writer: Mutex<Writer>,
    /// Segments in which damage was found.
    suspects: Mutex<Vec<u32>>,
    /// Who gets what is given up while still warm.
    evicted: RwLock<Option<EvictedSink>>,
    /// As it is on the disk.
    super_block: Mutex<SuperBlock>,
    /// Bytes of the purge log in use: the next purge goes there. Locked while the log is written.
    purge_log: Mutex<u64>,
    /// What the log says. Never locked during I/O.
    purges: Mutex<Purges>,
    counters: Counters,
    buffers: Buffers,
    phase: AtomicU8,
    tuning: Tuning,
}

/// What the volume is up to. Kept in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Looked at, or found again piece by piece; nothing is written.
    Reading = 0,
    /// Reads and writes.
    Serving = 1,
    /// Takes no more writes.
    Closed = 2,
}

impl Volume {
    /// Whether the volume may have `key`. Says yes without having it once in a thousand times. No I/O, no lock.
    pub fn holds(&self, key: ChunkKey) -> bool {
        let found = self.inner.index.find(key);
        found.iter().any(|entry| self.inner.segments.is_readable(entry.place.segment))
    }

    /// Copies a record so that it is written later, if it is worth it and there is room. No I/O; waits for other
    /// copies at most.
    pub fn offer(&self, record: &NewRecord<'_>, now: UnixMillis) -> Offered {
        match self.inner.offer(record, now) {
            Ok(()) => Offered::Admitted,
            Err(refusal) => {
                self.inner.counters.refused(refusal);
                Offered::Refused(refusal)
            }
        }
    }

    /// Counters since open and present sizes.
    pub fn stats(&self) -> VolumeStats {
        self.inner.stats()
    }

    /// The shape the volume was formatted with.
    pub fn geometry(&self) -> Geometry {
        self.inner.geometry
    }

    /// The name the volume was given when it was formatted.
    pub fn disk_uuid(&self) -> [u8; 16] {
        self.inner.disk_uuid
    }

    /// The purges of the log, in order.
    pub fn purges(&self) -> Vec<PurgeRecord> {
        self.inner.purges.lock().records().to_vec()
    }
}

impl Inner {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Reading,
            1 => Phase::Serving,
            _ => Phase::Closed,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn offer(&self, record: &NewRecord<'_>, now: UnixMillis) -> Result<(), Refusal> {
        if self.phase() != Phase::Serving {
            return Err(Refusal::NotServing);
        }
        let NewRecord { key, ver, generation, written_secs, payload } = *record;
        if !self.is_worth_writing(key, now) {
            return Err(Refusal::Admission);
        }
        let draft = Draft { key, ver, generation, crc: crc(payload), written_secs, payload };
        let publish = |place| self.publish(key, place);
        self.staging.append(Stream::Fresh, &draft, &self.segments, now.0, publish)?;
        self.wear.lock().take((pages_of(payload.len()) * PAGE_LEN) as u64, now.0);
        self.counters.admitted(payload.len());
        Ok(())
    }

    /// Metadata comes along with chunks that were found worth it, and what a disk of the third tier is offered was
    /// found worth it by the second.
    fn is_worth_writing(&self, key: ChunkKey, now: UnixMillis) -> bool {
        let pressure = self.wear.lock().take(0, now.0);
        if key.no == META_NO || self.terms.class == Class::Hdd {
            return pressure != Pressure::StopAdmission;
        }
        let room = self.tuning.room(self.segments.free() > FREE_MIN);
        let hash = self.index.hash(key).as_u64();
        self.admission.lock().admit(hash, room, pressure)
    }

    /// Points the index at a new record, and at no older one of its key. What has the same tag and is another key's
    /// goes with them: one entry in a thousand, and no more than a miss.
    fn publish(&self, key: ChunkKey, place: Place) {
        let older = self.index.find(key);
        let freq = older.iter().map(|entry| entry.marks.freq).max().unwrap_or(0);
        self.enter_index(key, place, Marks { freq, ..Marks::default() });
        older.iter().for_each(|entry| {
            self.forget(key, entry.place);
        });
    }

    /// Adds an entry to the index and keeps the books of the segments.
    fn enter_index(&self, key: ChunkKey, place: Place, marks: Marks) {
        if let Some(slot) = self.segments.get(place.segment) {
            slot.gained(marks.freq > 0);
        }
        if let Some(evicted) = self.index.insert(key, place, marks)
            && let Some(slot) = self.segments.get(evicted.0.place.segment)
        {
            slot.lost(evicted.0.marks.freq > 0);
            self.counters.index_full();
        }
    }

    /// Takes an entry out of the index, if it is there, and keeps the books of its segment.
    fn forget(&self, key: ChunkKey, place: Place) -> bool {
        let was_hit = self.index.freq(key, place).is_some_and(|freq| freq > 0);
        let removed = self.index.remove(key, place);
        if removed && let Some(slot) = self.segments.get(place.segment) {
            slot.lost(was_hit);
        }
        removed
    }
}

impl VolumeError {
    /// What the failure means for the volume; none if the medium is not to blame.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Io { cause, .. } => Some(Failure::of(cause)),
            Self::NotServing => None,
        }
    }
}

impl From<NoRoom> for Refusal {
    fn from(reason: NoRoom) -> Self {
        match reason {
            NoRoom::Staging => Self::Staging,
            NoRoom::Segments => Self::Segments,
            NoRoom::Length => Self::Length,
            NoRoom::Same => Self::Same,
            NoRoom::Closed => Self::NotServing,
        }
    }
}

impl UnixMillis {
    /// Milliseconds from `earlier` to `self`, 0 if `earlier` is in fact later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests;
