//! What an operator may change about a volume while it serves.
//!
//! Does not know: where the values come from.

use super::{Inner, UnixMillis, Volume};
use crate::config::AdmissionRule;
use crate::policy::admission::Room;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The values.
#[derive(Default)]
pub(super) struct Tuning {
    /// Whether a full volume is treated as if it had room.
    takes_everything: AtomicBool,
    /// The scrubber hurries until it has come round so often.
    hurry_until: AtomicU64,
}

/// What a hurried scrub reads in a second: a terabyte in five hours, and an eighth of what a slow SSD can do.
const HURRY_BYTES_PER_SEC: u64 = 64 << 20;

impl Volume {
    /// From now on admits by `rule`. [`AdmissionRule::Nothing`] is for whoever offers to obey.
    pub fn set_admission(&self, rule: AdmissionRule) {
        let everything = rule == AdmissionRule::Everything;
        self.inner.tuning.takes_everything.store(everything, Ordering::Relaxed);
    }

    /// From now on writes as much in a day as the volume holds, times `dwpd`. 0 sets no limit.
    pub fn set_dwpd(&self, dwpd: f64, now: UnixMillis) {
        let inner = &self.inner;
        let capacity = inner.geometry.segment_len() * u64::from(inner.segments.count());
        inner.wear.lock().retune(dwpd, capacity, now.0);
    }

    /// Has every record of a sealed segment checked once from now on, faster than the terms say. [`Volume::work`]
    /// does it.
    pub fn scrub_all(&self) {
        // The round under way began before now, so the one after it counts.
        let until = self.inner.stats().scrub_passes + 2;
        self.inner.tuning.hurry_until.store(until, Ordering::Relaxed);
    }
}

impl Tuning {
    /// How admission is to see a volume that has free segments, or none.
    pub fn room(&self, free: bool) -> Room {
        let room = free || self.takes_everything.load(Ordering::Relaxed);
        if room { Room::Free } else { Room::Full }
    }
}

impl Inner {
    /// Bytes that scrubbing may read in a second just now.
    pub(super) fn scrub_rate(&self) -> u64 {
        let usual = self.terms.scrub_bytes_per_sec;
        if self.scrub_is_hurried() { usual.max(HURRY_BYTES_PER_SEC) } else { usual }
    }

    /// Whether a round that was asked for is not over.
    pub(super) fn scrub_is_hurried(&self) -> bool {
        self.counters.scrub_rounds() < self.tuning.hurry_until.load(Ordering::Relaxed)
    }
}
