//! What the cache counts.

use crate::body::{RangeReply, Source};
use crate::disk::set::DiskRead;
use crate::fault::FetchError;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start, and the present size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Answers that began with bytes from memory.
    pub hits: u64,
    /// Answers that began with bytes from an SSD.
    pub ssd_hits: u64,
    /// Answers that began with bytes from an HDD.
    pub hdd_hits: u64,
    /// Answers that began with bytes of another listener's fetch.
    pub follows: u64,
    /// Answers that had to begin a fetch.
    pub misses: u64,
    /// Answers about objects whose time was over, given all the same.
    pub stale: u64,
    /// Questions to upstream whether an object has changed.
    pub revalidations: u64,
    /// Refusals from memory of an earlier "not found".
    pub negative_hits: u64,
    /// Answers that could not begin.
    pub failures: u64,
    /// Requests made to upstream.
    pub fetches: u64,
    /// Fetches that failed, whatever the cause.
    pub fetch_failures: u64,
    /// Fetches given up because everybody who waited had left.
    pub abandoned: u64,
    /// Purges that hold.
    pub purges: u64,
    /// Bytes received from upstream.
    pub fetched_bytes: u64,
    /// Bytes given out from memory.
    pub ram_bytes: u64,
    /// Bytes given out from SSDs, to those for whom they were read.
    pub ssd_bytes: u64,
    /// Bytes given out from HDDs, to those for whom they were read.
    pub hdd_bytes: u64,
    /// Chunks read from volumes.
    pub disk_reads: u64,
    /// Chunks that a volume seemed to have and had not, or not any more: fetched from upstream.
    pub disk_missing: u64,
    /// Chunks whose bytes had changed on a volume: fetched from upstream.
    pub disk_corrupt: u64,
    /// Chunks that a volume failed to read, was too slow or too busy for: fetched from upstream.
    pub disk_failed: u64,
    /// Chunks that volumes had lost and were given again, or fetched for them.
    pub repairs: u64,
    /// Bytes given out of fetches that others began.
    pub flight_bytes: u64,
    /// Bytes given out of fetches made for the answer.
    pub upstream_bytes: u64,
    /// Chunks that made room for others.
    pub evictions: u64,
    /// Fetches under way now.
    pub flights: u64,
    /// Fetches that upstream is busy with now, at most `fetches_max`.
    pub fetching: u64,
    /// Fetches that wait in line for upstream now.
    pub queued: u64,
    /// Chunks in memory now.
    pub resident_chunks: u64,
    /// Bytes of the chunks in memory now.
    pub resident_bytes: u64,
    /// Bytes counted against `capacity_bytes` now: resident, in flight, and evicted but still being sent.
    pub used_bytes: u64,
    /// Bytes of `used_bytes` that should make room and do not, because slow listeners hold them.
    pub detached_bytes: u64,
    /// `capacity_bytes` as it is applied.
    pub capacity_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    ssd_hits: AtomicU64,
    hdd_hits: AtomicU64,
    ssd_bytes: AtomicU64,
    hdd_bytes: AtomicU64,
    disk_reads: AtomicU64,
    disk_missing: AtomicU64,
    disk_corrupt: AtomicU64,
    disk_failed: AtomicU64,
    repairs: AtomicU64,
    follows: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
    revalidations: AtomicU64,
    abandoned: AtomicU64,
    purges: AtomicU64,
    negative_hits: AtomicU64,
    failures: AtomicU64,
    fetches: AtomicU64,
    fetch_failures: AtomicU64,
    fetched_bytes: AtomicU64,
    ram_bytes: AtomicU64,
    flight_bytes: AtomicU64,
    upstream_bytes: AtomicU64,
    evictions: AtomicU64,
}

impl Counters {
    /// An answer has begun.
    pub fn answered(&self, reply: &RangeReply) {
        if let RangeReply::Granted { source, .. } = reply {
            let counter = match source {
                Source::Ram => &self.hits,
                Source::Ssd => &self.ssd_hits,
                Source::Hdd => &self.hdd_hits,
                Source::Flight => &self.follows,
                Source::Upstream => &self.misses,
                Source::Stale => &self.stale,
                Source::Negative => &self.negative_hits,
            };
            add(counter, 1);
        }
    }

    pub fn failed(&self, error: &FetchError) {
        match error {
            FetchError::Remembered(_) => add(&self.negative_hits, 1),
            _ => add(&self.failures, 1),
        }
    }

    pub fn served(&self, source: Source, bytes: usize) {
        let counter = match source {
            Source::Ram => &self.ram_bytes,
            Source::Ssd => &self.ssd_bytes,
            Source::Hdd => &self.hdd_bytes,
            Source::Flight => &self.flight_bytes,
            Source::Upstream => &self.upstream_bytes,
            // Answers are stale or negative, bytes are not.
            Source::Stale | Source::Negative => return,
        };
        add(counter, bytes as u64);
    }

    pub fn fetch(&self) {
        add(&self.fetches, 1);
    }

    pub fn fetch_failed(&self, error: &FetchError) {
        match error {
            FetchError::Abandoned => add(&self.abandoned, 1),
            _ => add(&self.fetch_failures, 1),
        }
    }

    /// What became of one chunk that a volume seemed to have.
    pub fn disk_read(&self, outcome: DiskRead) {
        let counter = match outcome {
            DiskRead::Read => &self.disk_reads,
            DiskRead::Missing => &self.disk_missing,
            DiskRead::Corrupt => &self.disk_corrupt,
            DiskRead::Failed | DiskRead::Late | DiskRead::Crowded => &self.disk_failed,
        };
        add(counter, 1);
    }

    pub fn repaired(&self) {
        add(&self.repairs, 1);
    }

    pub fn revalidation(&self) {
        add(&self.revalidations, 1);
    }

    pub fn purged(&self) {
        add(&self.purges, 1);
    }

    pub fn fetched(&self, bytes: usize) {
        add(&self.fetched_bytes, bytes as u64);
    }

    pub fn evicted(&self) {
        add(&self.evictions, 1);
    }

    /// The counters; sizes are the caller's to fill in.
    pub fn snapshot(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: read(&self.hits),
            ssd_hits: read(&self.ssd_hits),
            hdd_hits: read(&self.hdd_hits),
            ssd_bytes: read(&self.ssd_bytes),
            hdd_bytes: read(&self.hdd_bytes),
            disk_reads: read(&self.disk_reads),
            disk_missing: read(&self.disk_missing),
            disk_corrupt: read(&self.disk_corrupt),
            disk_failed: read(&self.disk_failed),
            repairs: read(&self.repairs),
            follows: read(&self.follows),
            misses: read(&self.misses),
            stale: read(&self.stale),
            revalidations: read(&self.revalidations),
            abandoned: read(&self.abandoned),
            purges: read(&self.purges),
            negative_hits: read(&self.negative_hits),
            failures: read(&self.failures),
            fetches: read(&self.fetches),
            fetch_failures: read(&self.fetch_failures),
            fetched_bytes: read(&self.fetched_bytes),
            ram_bytes: read(&self.ram_bytes),
            flight_bytes: read(&self.flight_bytes),
            upstream_bytes: read(&self.upstream_bytes),
            evictions: read(&self.evictions),
            ..Stats::default()
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
