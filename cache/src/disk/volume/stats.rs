//! What a volume counts.

use super::reading::ReadOutcome;
use super::segments::State;
use super::{Inner, Refusal};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since open and present sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VolumeStats {
    /// Chunks read and given out.
    pub reads: u64,
    /// Bytes of them.
    pub read_bytes: u64,
    /// Chunks that were looked for on the disk and not found, or not valid.
    pub missing: u64,
    /// Chunks whose bytes had changed when somebody wanted them.
    pub corrupt: u64,
    /// Chunks that the disk failed to read when somebody wanted them.
    pub failed: u64,
    /// Records that were found under another key's tag.
    pub other_key: u64,
    /// Records that were found in another version, or purged.
    pub stale: u64,
    /// Records taken in.
    pub admitted: u64,
    /// Bytes of them.
    pub admitted_bytes: u64,
    /// Offers refused because the volume takes no writes.
    pub refused_not_serving: u64,
    /// Offers refused because the chunk was not missed often enough, or the write budget is spent.
    pub refused_admission: u64,
    /// Offers dropped because too much is waiting for the disk.
    pub refused_staging: u64,
    /// Offers dropped because no segment is free.
    pub refused_segments: u64,
    /// Offers of an impossible length.
    pub refused_length: u64,
    /// Offers of what is about to be written already.
    pub refused_same: u64,
    /// Bytes written to the data part, headers and footers included.
    pub written_bytes: u64,
    /// Records dropped because their block could not be written.
    pub dropped: u64,
    /// Segments that the disk took no more of.
    pub broken_segments: u64,
    /// Segments reclaimed.
    pub reclaimed: u64,
    /// Records moved by reclaim.
    pub moved: u64,
    /// Records given up by reclaim.
    pub evicted: u64,
    /// Of those, records handed to the next tier.
    pub handed_on: u64,
    /// Entries given up because the index had no slot for another.
    pub index_full: u64,
    /// Records found damaged, by whomever.
    pub damaged: u64,
    /// Records that the disk could not read, found by whomever.
    pub unreadable: u64,
    /// Bytes read by scrubbing.
    pub scrubbed_bytes: u64,
    /// Times that scrubbing has come round.
    pub scrub_passes: u64,
    /// Records in the index now.
    pub records: u64,
    /// Memory of the index.
    pub index_bytes: u64,
    /// Memory that waits for the disk now.
    pub staging_bytes: u64,
    /// Bytes of all segments.
    pub capacity_bytes: u64,
    /// Segments that are free, open, sealed, and on their way to be free, now.
    pub segments: [u32; 4],
    /// Purges in the log.
    pub purges: u64,
}

/// Declares counters, and how they are read.
macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// The counters among [`VolumeStats`].
        #[derive(Default)]
        pub(super) struct Counters {
            $($name: AtomicU64,)*
        }

        impl Counters {
            fn read_all(&self) -> VolumeStats {
                VolumeStats {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    ..VolumeStats::default()
                }
            }
        }
    };
}

counters!(
    reads,
    read_bytes,
    missing,
    corrupt,
    failed,
    other_key,
    stale,
    admitted,
    admitted_bytes,
    refused_not_serving,
    refused_admission,
    refused_staging,
    refused_segments,
    refused_length,
    refused_same,
    written_bytes,
    dropped,
    broken_segments,
    reclaimed,
    moved,
    evicted,
    handed_on,
    index_full,
    damaged,
    unreadable,
    scrubbed_bytes,
    scrub_passes,
);

impl Counters {
    pub fn read(&self, outcome: &ReadOutcome) {
        match outcome {
            ReadOutcome::Read => add(&self.reads, 1),
            ReadOutcome::Missing => add(&self.missing, 1),
            ReadOutcome::Corrupt => add(&self.corrupt, 1),
            ReadOutcome::Failed(_) => add(&self.failed, 1),
        }
    }

    pub fn served(&self, bytes: usize) {
        add(&self.read_bytes, bytes);
    }

    pub fn other_key(&self) {
        add(&self.other_key, 1);
    }

    pub fn stale(&self) {
        add(&self.stale, 1);
    }

    pub fn admitted(&self, bytes: usize) {
        add(&self.admitted, 1);
        add(&self.admitted_bytes, bytes);
    }

    pub fn refused(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::NotServing => &self.refused_not_serving,
            Refusal::Admission => &self.refused_admission,
            Refusal::Staging => &self.refused_staging,
            Refusal::Segments => &self.refused_segments,
            Refusal::Length => &self.refused_length,
            Refusal::Same => &self.refused_same,
        };
        add(counter, 1);
    }

    pub fn wrote(&self, bytes: usize) {
        add(&self.written_bytes, bytes);
    }

    pub fn dropped(&self, records: usize) {
        add(&self.dropped, records);
    }

    pub fn broke_off(&self) {
        add(&self.broken_segments, 1);
    }

    pub fn reclaimed(&self) {
        add(&self.reclaimed, 1);
    }

    pub fn moved(&self) {
        add(&self.moved, 1);
    }

    pub fn evicted(&self) {
        add(&self.evicted, 1);
    }

    pub fn handed_on(&self) {
        add(&self.handed_on, 1);
    }

    pub fn index_full(&self) {
        add(&self.index_full, 1);
    }

    pub fn damaged(&self) {
        add(&self.damaged, 1);
    }

    pub fn unreadable(&self) {
        add(&self.unreadable, 1);
    }

    pub fn scrubbed(&self, bytes: usize) {
        add(&self.scrubbed_bytes, bytes);
    }

    pub fn scrub_rounds(&self) -> u64 {
        self.scrub_passes.load(Ordering::Relaxed)
    }

    pub fn scrubbed_all(&self) {
        add(&self.scrub_passes, 1);
    }
}

impl Inner {
    /// Counters and present sizes.
    pub(super) fn stats(&self) -> VolumeStats {
        let mut segments = [0; 4];
        for (_, slot) in self.segments.all() {
            segments[match slot.state() {
                State::Free => 0,
                State::Open => 1,
                State::Sealed => 2,
                State::Draining => 3,
            }] += 1;
        }
        VolumeStats {
            records: self.index.len(),
            index_bytes: self.index.bytes(),
            staging_bytes: self.staging.bytes(),
            capacity_bytes: u64::from(self.segments.count()) << self.geometry.segment_shift(),
            segments,
            purges: self.purges.lock().records().len() as u64,
            ..self.counters.read_all()
        }
    }
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
