//! The purge log of a volume.
//!
//! Promises
//! - A purge is durable when `append` returns `Ok`; one that failed may or may not be there after a crash.
//! - The log holds [`PURGES_MAX`] purges at most. When it is full, purges that later ones cover go; if that is not
//!   enough, the older half becomes one purge of everything, which costs fetches after a restart and serves nothing
//!   that was to be gone.
//! - A crash in the middle of shortening leaves a log that purges too much, never too little.
//!
//! Does not know: who holds a tag; objects by tag are the tiers' to check.

use super::{Inner, Phase, Volume, VolumeError};
use crate::disk::format::{PURGE_LEN, PurgeRecord, PurgeScope, parse_log};
use crate::disk::medium::Part;
use crate::object::ObjKey;
use std::collections::HashMap;

/// The purges of a volume, as its log has them.
pub(super) struct Purges {
    records: Vec<PurgeRecord>,
    /// What was fetched below is gone, whatever it is.
    everything: u64,
    /// What was fetched below is gone, by object.
    objects: HashMap<ObjKey, u64>,
}

/// The log has so many bytes from the start, for a thousand purges: data may take all other space of a file system,
/// and a purge must not fail for want of it.
pub(super) const LOG_LEN_MIN: u64 = 64 * 1024;

/// A log has so many purges at most: 4 MiB.
pub const PURGES_MAX: usize = 65_536;

impl Volume {
    /// Makes a purge durable. Blocks on the disk.
    pub fn purge(&self, record: PurgeRecord) -> Result<(), VolumeError> {
        if self.inner.phase() == Phase::Closed || self.inner.terms.read_only {
            return Err(VolumeError::NotServing);
        }
        self.inner.purge(record, PURGES_MAX)
    }

    /// Shortens the purge log to the purges that still mean something. Blocks on the disk.
    pub fn compact_purges(&self) -> Result<(), VolumeError> {
        if self.inner.phase() == Phase::Closed || self.inner.terms.read_only {
            return Err(VolumeError::NotServing);
        }
        let mut used = self.inner.purge_log.lock();
        self.inner.compact(&mut used, PURGES_MAX)
    }
}

impl Inner {
    pub(super) fn purge(&self, record: PurgeRecord, max: usize) -> Result<(), VolumeError> {
        let mut used = self.purge_log.lock();
        if *used >= (max * PURGE_LEN) as u64 {
            self.compact(&mut used, max)?;
        }
        self.append(*used, &record.to_bytes())?;
        *used += PURGE_LEN as u64;
        self.purges.lock().add(record);
        Ok(())
    }

    /// Whether a purge of the log covers a record. Purges by tag are not looked at.
    pub(super) fn is_purged(&self, obj: ObjKey, generation: u64) -> bool {
        generation < self.purges.lock().floor(obj)
    }

    /// A purge of everything stands at the end of the log while the rest of it is rewritten.
    fn compact(&self, used: &mut u64, max: usize) -> Result<(), VolumeError> {
        let records = self.purges.lock().records().to_vec();
        let Some(newest) = records.iter().max_by_key(|record| record.generation) else { return Ok(()) };
        let barrier = PurgeRecord { soft: false, scope: PurgeScope::Everything, ..*newest };
        let kept = shortened(&records, max / 2);
        self.append(*used, &barrier.to_bytes())?;
        // If the rest fails, the barrier stays until the next attempt and later purges go behind it.
        *used += PURGE_LEN as u64;
        let bytes: Vec<u8> = kept.iter().flat_map(PurgeRecord::to_bytes).collect();
        self.append(0, &bytes)?;
        self.resize(Part::PurgeLog, bytes.len() as u64)?;
        self.sync(Part::PurgeLog)?;
        if (bytes.len() as u64) < LOG_LEN_MIN {
            self.resize(Part::PurgeLog, LOG_LEN_MIN)?;
        }
        *used = bytes.len() as u64;
        *self.purges.lock() = Purges::of(kept);
        Ok(())
    }

    fn append(&self, offset: u64, bytes: &[u8]) -> Result<(), VolumeError> {
        self.write(Part::PurgeLog, offset, bytes)?;
        self.sync(Part::PurgeLog)
    }
}

impl Purges {
    /// Reads a log; the second is how many bytes of it are in use.
    pub fn parse(log: &[u8]) -> (Self, u64) {
        let (records, used) = parse_log(log);
        (Self::of(records), used as u64)
    }

    fn of(records: Vec<PurgeRecord>) -> Self {
        let mut purges = Self { records: Vec::new(), everything: 0, objects: HashMap::new() };
        records.into_iter().for_each(|record| purges.add(record));
        purges
    }

    /// The purges in order.
    pub fn records(&self) -> &[PurgeRecord] {
        &self.records
    }

    fn add(&mut self, record: PurgeRecord) {
        if !record.soft {
            match record.scope {
                PurgeScope::Everything => self.everything = self.everything.max(record.generation),
                PurgeScope::Object(obj) => {
                    let floor = self.objects.entry(obj).or_default();
                    *floor = record.generation.max(*floor);
                }
                PurgeScope::Tag(_) | PurgeScope::TagPrefix { .. } => {}
            }
        }
        self.records.push(record);
    }

    fn floor(&self, obj: ObjKey) -> u64 {
        self.objects.get(&obj).copied().unwrap_or(0).max(self.everything)
    }
}

/// The purges that are not covered by others, `max` at most, in order of their generations.
fn shortened(records: &[PurgeRecord], max: usize) -> Vec<PurgeRecord> {
    let all = |soft: bool| {
        let everything =
            |record: &&PurgeRecord| record.scope == PurgeScope::Everything && record.soft == soft;
        records.iter().filter(everything).map(|record| record.generation).max()
    };
    let hard_all = all(false);
    let mut newest: HashMap<(PurgeScope, bool), PurgeRecord> = HashMap::new();
    for record in records {
        let is_everything = record.scope == PurgeScope::Everything;
        if !is_everything && hard_all.is_some_and(|floor| record.generation <= floor) {
            continue;
        }
        let kept = newest.entry((record.scope, record.soft)).or_insert(*record);
        if record.generation > kept.generation {
            *kept = *record;
        }
    }
    let mut kept: Vec<PurgeRecord> = newest.into_values().collect();
    kept.sort_by_key(|record| (record.generation, record.scope, record.soft));
    if kept.len() > max {
        let later = kept.split_off(kept.len() - max.saturating_sub(1));
        let Some(last) = kept.last() else { return later };
        let folded = PurgeRecord { soft: false, scope: PurgeScope::Everything, ..*last };
        return std::iter::once(folded).chain(later).collect();
    }
    kept
}
