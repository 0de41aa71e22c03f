//! S3-FIFO as it ships in memory: `antiphon_cache::policy::s3fifo`, one shard.

use super::Tier;
use antiphon_cache::policy::s3fifo::{Capacity, S3Fifo};
use std::hash::{BuildHasherDefault, DefaultHasher};

/// The memory tier.
pub struct Memory {
    kept: S3Fifo<u32, (), BuildHasherDefault<DefaultHasher>>,
    room: u64,
    written: u64,
}

impl Memory {
    /// Keeps `room` chunks.
    pub fn new(room: usize) -> Self {
        let capacity = Capacity { weight: room as u64, entries: room };
        Self { kept: S3Fifo::new(capacity, BuildHasherDefault::default()), room: room as u64, written: 0 }
    }
}

impl Tier for Memory {
    fn access(&mut self, chunk: u32) -> bool {
        let hash = self.kept.hash(&chunk);
        if self.kept.get(hash, &chunk).is_some() {
            return true;
        }
        while self.kept.weight() >= self.room && self.kept.evict(|()| true).is_some() {}
        self.kept.insert(hash, chunk, 1, ());
        self.written += 1;
        false
    }

    fn written(&self) -> u64 {
        self.written
    }
}
