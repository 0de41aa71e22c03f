//! The writer: one bounded step of background work at a time.
//!
//! Promises
//! - A segment's header is durable before its first record is written, and its records before its footer is written.
//!   One sync does both: that of the next segment's header. A footer becomes durable with the sync after it; one that
//!   is lost until then costs recovery a walk.
//! - A block that could not be written is no longer pointed at; its segment takes nothing more.
//! - A step reads or writes a few MiB at most, so that whoever drives the writer can look up in between; only
//!   making room in a segment whose table of contents is damaged reads all of it at once.
//! - Writing and making room take turns, so that neither starves the other.
//!
//! Does not know: threads. Whoever calls [`Volume::work`] decides how often.

use super::reclaiming::Reclaim;
use super::recovery::{key_of, place_of};
use super::scrubbing::Scrub;
use super::staging::{Block, Job};
use super::transfer::aligned;
use super::{Inner, Phase, UnixMillis, Volume, VolumeError};
use crate::disk::format::{Footer, FooterEntry, SegmentHeader};
use crate::disk::medium::Part;
use crate::object::ChunkKey;
use crate::policy::reclaim::Decay;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a step of background work came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// What was done.
    pub did: Did,
    /// Records that turned out to be gone, for their owner to fetch again.
    pub lost: Vec<Lost>,
}

/// What a step was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Did {
    /// There was nothing to do. Come back in [`FLUSH_AFTER_MS`], or when [`Volume::flush_ready`].
    #[default]
    Nothing,
    /// Wrote the header of a segment.
    Opened,
    /// Wrote records.
    Flushed,
    /// Ended a segment, or wrote the footers of some.
    Sealed,
    /// Moved records out of a segment, or gave it up.
    Reclaimed,
    /// Halved counts of hits.
    Decayed,
    /// Checked records that nobody asked for.
    Scrubbed,
}

/// A record that is gone without having been given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its chunk.
    pub key: ChunkKey,
    /// Version of the object.
    pub ver: u64,
    /// Whether the disk could not read it; otherwise its bytes had changed.
    pub unreadable: bool,
}

/// The memory of the writer.
pub(super) struct Writer {
    /// Records of open segments whose blocks are on the disk.
    written: HashMap<u32, Vec<FooterEntry>>,
    /// Full segments whose footers wait until their records are durable. They count as open until then.
    unsealed: Vec<Footer>,
    /// Open segments that the disk took no more of.
    broken: HashSet<u32>,
    /// Segments that nobody may read any more, until nobody does.
    pub draining: Vec<u32>,
    /// The segment that is making room.
    pub reclaim: Option<Reclaim>,
    /// Where the halving of counts goes on, if one is under way.
    halving: Option<usize>,
    decay: Decay,
    pub scrub: Scrub,
    /// The last step made room, so the next one writes if there is something to write.
    reclaimed_last: bool,
}

/// Records wait so long for others to be written with, in milliseconds: what a crash may cost when there is
/// little to write.
pub const FLUSH_AFTER_MS: u64 = 1_000;

/// Slots of the index halved in a step: about a millisecond.
const HALVED_AT_ONCE: usize = 1 << 18;

impl Volume {
    /// Does one step of background work: writes, makes room, or checks. Blocks on the disk; one call at a time does
    /// something, others wait for it.
    pub fn work(&self, now: UnixMillis) -> Result<Worked, VolumeError> {
        let mut writer = self.inner.writer.lock();
        if self.inner.phase() != Phase::Serving {
            return Err(VolumeError::NotServing);
        }
        let mut worked = Worked::default();
        worked.did = self.inner.step(&mut writer, now, &mut worked.lost)?;
        Ok(worked)
    }

    /// Whether there is something to write, so that [`Volume::work`] should be called soon. No I/O.
    pub fn flush_ready(&self) -> bool {
        self.inner.staging.is_ready()
    }

    /// Writes what is staged, keeps the index for the next start and marks the volume as closed in order. Reads go
    /// on; nothing is taken any more. Blocks on the disk.
    pub fn close(&self, now: UnixMillis) -> Result<(), VolumeError> {
        let inner = &self.inner;
        let mut writer = inner.writer.lock();
        if inner.phase() != Phase::Serving {
            inner.enter(Phase::Closed);
            return Ok(());
        }
        inner.enter(Phase::Closed);
        inner.staging.close();
        let mut result = Ok(());
        while let Some(job) = inner.staging.next_job() {
            result = result.and(inner.carry_out(&mut writer, job, now).map(drop));
        }
        result?;
        inner.make_durable(&mut writer)?;
        inner.write_footers(&mut writer)?;
        inner.sync(Part::Data)?;
        inner.free_drained(&mut writer);
        inner.save_snapshot()?;
        inner.mark(true)
    }
}

impl Writer {
    /// Nothing to do yet.
    pub fn new(capacity: u64, scrub: Scrub) -> Self {
        Self {
            written: HashMap::new(),
            unsealed: Vec::new(),
            broken: HashSet::new(),
            draining: Vec::new(),
            reclaim: None,
            halving: None,
            decay: Decay::new(capacity),
            scrub,
            reclaimed_last: false,
        }
    }
}

impl Inner {
    fn step(&self, writer: &mut Writer, now: UnixMillis, lost: &mut Vec<Lost>) -> Result<Did, VolumeError> {
        self.free_drained(writer);
        self.staging.queue_aged(now.0.saturating_sub(FLUSH_AFTER_MS));
        let short = writer.reclaim.is_some() || self.is_short_of_room(writer.draining.len());
        let turn = !std::mem::take(&mut writer.reclaimed_last);
        if short && turn && self.reclaim(writer, now, lost)? {
            writer.reclaimed_last = true;
            return Ok(Did::Reclaimed);
        }
        if let Some(job) = self.staging.next_job() {
            return self.carry_out(writer, job, now);
        }
        if short && !turn && self.reclaim(writer, now, lost)? {
            return Ok(Did::Reclaimed);
        }
        if !writer.unsealed.is_empty() {
            self.make_durable(writer)?;
            return self.write_footers(writer).map(|()| Did::Sealed);
        }
        if let Some(from) = writer.halving {
            writer.halving = self.halve(from);
            return Ok(Did::Decayed);
        }
        Ok(if self.scrub(writer, now, lost) { Did::Scrubbed } else { Did::Nothing })
    }

    fn carry_out(&self, writer: &mut Writer, job: Job, now: UnixMillis) -> Result<Did, VolumeError> {
        match job {
            Job::Open { segment, seq, opened_ms, stream } => {
                let header =
                    SegmentHeader { stream, seg_no: segment, disk_uuid: self.disk_uuid, seq, opened_ms };
                let written = self.write_pages(segment, 0, &aligned(&header.to_page()));
                let durable = written.and_then(|()| self.make_durable(writer));
                durable.inspect_err(|_| self.break_off(writer, segment))?;
                self.write_footers(writer)?;
                Ok(Did::Opened)
            }
            Job::Flush(block) => self.flush(writer, block).map(|()| Did::Flushed),
            Job::Seal { segment, seq, used_pages } => {
                self.close_segment(writer, segment, seq, used_pages, now);
                Ok(Did::Sealed)
            }
        }
    }

    fn flush(&self, writer: &mut Writer, block: Arc<Block>) -> Result<(), VolumeError> {
        let segment = block.segment;
        let mut result = Ok(());
        block.with(|bytes, entries| {
            if !writer.broken.contains(&segment) {
                result = self.write_pages(segment, block.first_page, bytes);
            }
            if result.is_err() || writer.broken.contains(&segment) {
                self.drop_staged(segment, entries);
            } else {
                writer.written.entry(segment).or_default().extend_from_slice(entries);
                if writer.decay.wrote(bytes.len() as u64) {
                    writer.halving = Some(0);
                }
            }
        });
        if result.is_err() {
            self.break_off(writer, segment);
        }
        self.staging.settle(block);
        result
    }

    fn close_segment(&self, writer: &mut Writer, segment: u32, seq: u64, used_pages: u16, now: UnixMillis) {
        let mut entries = writer.written.remove(&segment).unwrap_or_default();
        writer.broken.remove(&segment);
        for entry in &mut entries {
            entry.freq = self.index.freq(key_of(entry), place_of(segment, entry)).unwrap_or(0);
        }
        if entries.is_empty() {
            self.segments.seal(segment);
            self.retire(writer, segment);
        } else {
            writer.unsealed.push(Footer { seq, seg_no: segment, used_pages, sealed_ms: now.0, entries });
        }
    }

    /// Waits until everything written is durable.
    fn make_durable(&self, writer: &mut Writer) -> Result<(), VolumeError> {
        self.sync(Part::Data).inspect_err(|_| {
            // Nobody knows what the disk has of these now. Without a footer recovery walks them.
            writer.unsealed.drain(..).for_each(|footer| _ = self.segments.seal(footer.seg_no));
        })
    }

    /// Writes the footers of segments whose records are durable by now.
    fn write_footers(&self, writer: &mut Writer) -> Result<(), VolumeError> {
        let mut result = Ok(());
        for footer in writer.unsealed.drain(..) {
            result = result.and(self.write_footer(&footer));
            self.segments.seal(footer.seg_no);
        }
        result
    }

    /// Ends a segment that the disk takes no more of.
    fn break_off(&self, writer: &mut Writer, segment: u32) {
        writer.broken.insert(segment);
        self.staging.abandon(segment);
        self.counters.broke_off();
    }

    fn drop_staged(&self, segment: u32, entries: &[FooterEntry]) {
        for entry in entries {
            self.forget(key_of(entry), place_of(segment, entry));
        }
        self.counters.dropped(entries.len());
    }

    /// Halves some counts; where to go on.
    fn halve(&self, from: usize) -> Option<usize> {
        self.index.decay(from, HALVED_AT_ONCE, |cooled| {
            if let Some(slot) = self.segments.get(cooled.place.segment) {
                slot.cooled();
            }
        })
    }
}
