//! Making room: a sealed segment is given up, and what is worth it is written again.
//!
//! Promises
//! - Records that move can be read all the while: the index points at the old place until the new one is there.
//! - A segment turns unreadable only when the index does not point at it any more, and free only when its last
//!   reader has let go.
//! - A record that moves was checked whole, and takes the sequence number of its new segment.
//!
//! Does not know: how segments and records are chosen; that is policy.

use super::reading::{Fetched, Verdict};
use super::recovery::{key_of, place_of};
use super::segments::State;
use super::staging::{Draft, NoRoom};
use super::writing::{Lost, Writer};
use super::{Inner, NewRecord, UnixMillis, Volume, VolumeError};
use crate::disk::aligned::PAGE_LEN;
use crate::disk::format::{FooterEntry, Record, Stream};
use crate::disk::index::{Marks, Place};
use crate::object::ChunkKey;
use crate::policy::reclaim::{Keep, SegmentFacts, freq_when_moved, pick};
use std::sync::Arc;

/// Takes what a volume gives up while somebody may still want it. Runs on the writer's thread and does not wait.
pub type EvictedSink = Arc<dyn Fn(&NewRecord<'_>) + Send + Sync>;

/// A segment on its way out.
pub(super) struct Reclaim {
    segment: u32,
    entries: Vec<FooterEntry>,
    /// The entry that is next.
    next: usize,
    /// What was decided for it, if it could not be done yet.
    decided: Option<bool>,
    keep: Keep,
}

/// A record of a segment that makes room.
struct Leaving {
    key: ChunkKey,
    ver: u64,
    place: Place,
    marks: Marks,
}

/// What became of a record that was to be moved.
enum Move {
    Done,
    /// As much waits for the disk as may.
    Wait,
}

/// Room is made while fewer segments than this are free.
pub(super) const FREE_MIN: usize = 3;

/// Bytes of records read in one step.
const STEP_BYTES: usize = 1 << 20;

/// Entries looked at in one step.
const STEP_ENTRIES: usize = 4096;

impl Volume {
    /// From now on gives what it gives up while still warm to `sink`.
    pub fn hand_evicted_to(&self, sink: EvictedSink) {
        *self.inner.evicted.write() = Some(sink);
    }
}

impl Inner {
    /// Whether fewer segments are free, or soon will be, than there should be.
    pub(super) fn is_short_of_room(&self, draining: usize) -> bool {
        self.segments.free() + draining < FREE_MIN
    }

    /// Frees what nobody reads any more.
    pub(super) fn free_drained(&self, writer: &mut Writer) {
        writer.draining.retain(|segment| !self.segments.release(*segment));
    }

    /// Makes a sealed segment unreadable; it is freed when nobody reads it. The index must not point at it.
    pub(super) fn retire(&self, writer: &mut Writer, segment: u32) {
        if self.segments.get(segment).is_some_and(|slot| slot.live() > 0) {
            self.sweep(segment);
        }
        if self.segments.drain(segment) {
            writer.draining.push(segment);
        }
        self.free_drained(writer);
    }

    /// A step towards a free segment; `false` if there is none to be had now.
    pub(super) fn reclaim(
        &self,
        writer: &mut Writer,
        now: UnixMillis,
        lost: &mut Vec<Lost>,
    ) -> Result<bool, VolumeError> {
        let mut reclaim = match writer.reclaim.take() {
            Some(reclaim) => reclaim,
            None => match self.begin(writer, now)? {
                Some(reclaim) => reclaim,
                None => return Ok(false),
            },
        };
        let started_at = reclaim.next;
        if self.advance(&mut reclaim, now, lost) {
            self.counters.reclaimed();
            self.retire(writer, reclaim.segment);
            return Ok(true);
        }
        let progress = started_at != reclaim.next;
        writer.reclaim = Some(reclaim);
        Ok(progress)
    }

    fn begin(&self, writer: &mut Writer, now: UnixMillis) -> Result<Option<Reclaim>, VolumeError> {
        let newest = self.staging.last_seq();
        let facts = |slot: &super::segments::Slot| SegmentFacts {
            records: slot.records(),
            hit: slot.hits(),
            age: newest.saturating_sub(slot.seq()),
        };
        let sealed = self.segments.all().filter(|(_, slot)| slot.state() == State::Sealed);
        let Some(segment) = pick(sealed.map(|(segment, slot)| (segment, facts(slot)))) else {
            return Ok(None);
        };
        let entries = match self.contents(segment) {
            Ok(entries) => entries,
            Err(error) => {
                // What is in it cannot be told any more, so nothing of it can be kept.
                self.retire(writer, segment);
                return Err(error);
            }
        };
        let mut by_freq = [0; 4];
        for entry in &entries {
            if let Some(freq) = self.index.freq(key_of(entry), place_of(segment, entry)) {
                by_freq[usize::from(freq.min(3))] += 1;
            }
        }
        let pressure = self.wear.lock().take(0, now.0);
        let keep = Keep::new(entries.len() as u32, by_freq, pressure);
        Ok(Some(Reclaim { segment, entries, next: 0, decided: None, keep }))
    }

    /// The records of a sealed segment, by its footer or, if that is damaged, by themselves.
    pub(super) fn contents(&self, segment: u32) -> Result<Vec<FooterEntry>, VolumeError> {
        let seq = self.segments.get(segment).map_or(0, |slot| slot.seq());
        match self.read_footer(segment, seq)? {
            Some(footer) => Ok(footer.entries),
            None => Ok(self.walk(segment, seq)?.entries),
        }
    }

    /// Deals with some records; whether they were the last.
    fn advance(&self, reclaim: &mut Reclaim, now: UnixMillis, lost: &mut Vec<Lost>) -> bool {
        let mut bytes = 0;
        for _ in 0..STEP_ENTRIES {
            let Some(entry) = reclaim.entries.get(reclaim.next) else { return true };
            if bytes >= STEP_BYTES {
                return false;
            }
            let place = place_of(reclaim.segment, entry);
            if let Some(marks) = self.index.marks(key_of(entry), place) {
                let record = Leaving { key: key_of(entry), ver: entry.ver, place, marks };
                let valid = !self.is_purged(entry.obj, entry.generation);
                let keeps = reclaim.decided.unwrap_or_else(|| valid && reclaim.keep.keeps(marks.freq));
                reclaim.decided = Some(keeps);
                let wanted = valid && record.is_warm() && self.evicted.read().is_some();
                if keeps || wanted {
                    bytes += entry.len as usize;
                    if let Move::Wait = self.read_leaving(&record, keeps, now, lost) {
                        return false;
                    }
                } else {
                    self.forget(record.key, place);
                    self.counters.evicted();
                }
            }
            reclaim.decided = None;
            reclaim.next += 1;
        }
        false
    }

    /// Reads a record that is moved, or handed on because somebody may still want it.
    fn read_leaving(&self, leaving: &Leaving, keeps: bool, now: UnixMillis, lost: &mut Vec<Lost>) -> Move {
        let Leaving { key, ver, place, .. } = *leaving;
        let mut buf = self.buffers.take();
        let mut moved = Move::Done;
        match self.fetch(&[(key, place)], &mut buf) {
            Fetched::Bytes(seq) => {
                let len = usize::from(place.pages) * PAGE_LEN;
                match self.judge(key, &buf[..len], seq, |record| record.header.ver == ver) {
                    Verdict::Good(record) if keeps => moved = self.write_again(leaving, &record, now),
                    Verdict::Good(record) => self.hand_on(leaving, &record),
                    Verdict::Other | Verdict::Stale | Verdict::Damaged => {
                        self.damaged(key, place);
                        lost.push(Lost { key, ver, unreadable: false });
                    }
                }
            }
            // Somebody replaced or forgot it meanwhile.
            Fetched::Moved => {}
            Fetched::Failed(_) => {
                self.forget(key, place);
                self.counters.unreadable();
                lost.push(Lost { key, ver, unreadable: true });
            }
        }
        self.buffers.give(buf);
        moved
    }

    /// Appends a record to the hot stream and points the index there.
    fn write_again(&self, leaving: &Leaving, record: &Record<'_>, now: UnixMillis) -> Move {
        let header = &record.header;
        let draft = Draft {
            key: leaving.key,
            ver: header.ver,
            generation: header.generation,
            crc: header.payload_crc,
            written_secs: header.written_secs,
            payload: record.payload,
        };
        let publish = |new| self.publish_moved(leaving, new);
        match self.staging.append(Stream::Hot, &draft, &self.segments, now.0, publish) {
            Ok(place) => {
                self.wear.lock().take(u64::from(place.pages) * PAGE_LEN as u64, now.0);
                self.counters.moved();
                Move::Done
            }
            Err(NoRoom::Staging) => Move::Wait,
            Err(NoRoom::Segments | NoRoom::Length | NoRoom::Same | NoRoom::Closed) => {
                self.forget(leaving.key, leaving.place);
                self.counters.evicted();
                Move::Done
            }
        }
    }

    /// Points the index from the old place of a record to its new one, unless it left the old one meanwhile.
    fn publish_moved(&self, leaving: &Leaving, new: Place) {
        let freq = freq_when_moved(leaving.marks.freq);
        let marks = Marks { freq, hot: true, ..leaving.marks };
        let slots = (self.segments.get(leaving.place.segment), self.segments.get(new.segment));
        let (Some(from), Some(to)) = slots else { return };
        to.gained(freq > 0);
        if self.index.replace(leaving.key, leaving.place, new, marks) {
            from.lost(leaving.marks.freq > 0);
        } else {
            to.lost(freq > 0);
        }
    }

    fn hand_on(&self, leaving: &Leaving, record: &Record<'_>) {
        if let Some(sink) = self.evicted.read().as_ref() {
            sink(&NewRecord {
                key: leaving.key,
                ver: record.header.ver,
                generation: record.header.generation,
                written_secs: record.header.written_secs,
                payload: record.payload,
            });
            self.counters.handed_on();
        }
        self.forget(leaving.key, leaving.place);
        self.counters.evicted();
    }

    /// Forgets whatever still points into a segment: records that its table of contents does not name.
    fn sweep(&self, segment: u32) {
        self.index.sweep(segment, |entry| {
            if let Some(slot) = self.segments.get(entry.place.segment) {
                slot.lost(entry.marks.freq > 0);
            }
            self.counters.evicted();
        });
    }
}

impl Leaving {
    /// Somebody wanted it not so long ago.
    fn is_warm(&self) -> bool {
        self.marks.freq > 0 || self.marks.hot
    }
}
