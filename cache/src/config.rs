//! `[cache]`: what the operator decides about the tiers.

use antiphon_core::{ByteSize, CHUNK_LEN};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Memory for chunks and the terms of a fetch from upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RamConfig {
    /// Memory for the bytes of chunks: kept, on their way from upstream, and still being written to a
    /// listener. A hard bound; the index comes on top (about 200 bytes per chunk). Leave a quarter of the
    /// host unclaimed. Less than 4MiB counts as 4MiB.
    pub capacity_bytes: ByteSize,
    /// Neighbouring missing chunks are fetched in one upstream request of at most this many bytes. Larger
    /// saves requests to the origin, smaller wastes less when listeners skip. At most an eighth of
    /// `capacity_bytes` is used.
    pub fetch_max_bytes: ByteSize,
    /// An upstream that is silent for this long, before its answer or in the middle of it, has failed. Too
    /// short gives up on a busy origin; too long lets listeners stare at a dead one.
    pub stall_ms: u32,
    /// A fetch that is not complete after this long has failed, however steadily it drips.
    pub fetch_ms: u32,
    /// A fetch waits this long for memory that others hold before its listeners hear "crowded" (503).
    pub reserve_ms: u32,
    /// How long "not found" and "gone" are remembered. Longer spares the origin, shorter shows a new object
    /// sooner. 0 remembers nothing.
    pub negative_secs: u32,
    /// How many "not found" answers are remembered at a time, about 150 bytes each.
    pub negative_max: u32,
    /// How many objects are known by length and entity tag, about 500 bytes each. An object that is forgotten
    /// is asked for once more although its chunks may still be in memory.
    pub objects_max: u32,
}

/// Smallest memory that the engine works with.
pub const CAPACITY_MIN: ByteSize = ByteSize::mib(4);

/// A single fetch takes at most this share of the memory, so that several can run.
const FETCH_SHARE: u64 = 8;

impl Default for RamConfig {
    fn default() -> Self {
        Self {
            capacity_bytes: ByteSize::mib(512),
            fetch_max_bytes: ByteSize::mib(4),
            stall_ms: 5_000,
            fetch_ms: 30_000,
            reserve_ms: 5_000,
            negative_secs: 10,
            negative_max: 100_000,
            objects_max: 200_000,
        }
    }
}

/// The same decisions in the units of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub capacity: u64,
    pub fetch_max: u64,
    pub stall: Duration,
    pub fetch: Duration,
    pub reserve: Duration,
}

impl RamConfig {
    pub(crate) fn terms(&self) -> Terms {
        let capacity = self.capacity_bytes.max(CAPACITY_MIN).0;
        let millis = |ms: u32| Duration::from_millis(u64::from(ms.max(1)));
        Terms {
            capacity,
            fetch_max: self.fetch_max_bytes.0.min(capacity / FETCH_SHARE).max(CHUNK_LEN),
            stall: millis(self.stall_ms),
            fetch: millis(self.fetch_ms),
            reserve: millis(self.reserve_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_memory_still_holds_a_chunk_per_fetch() {
        let tiny =
            RamConfig { capacity_bytes: ByteSize(1), fetch_max_bytes: ByteSize(0), ..RamConfig::default() };
        assert_eq!(tiny.terms().capacity, CAPACITY_MIN.0);
        assert_eq!(tiny.terms().fetch_max, CHUNK_LEN);
    }

    #[test]
    fn every_key_is_read_back_as_it_is_printed() {
        let text = antiphon_core::config::render(&RamConfig::default()).unwrap();
        assert_eq!(antiphon_core::config::parse::<RamConfig>(&text, "cache.toml"), Ok(RamConfig::default()));
        assert!(antiphon_core::config::parse::<RamConfig>("capacity = 1", "cache.toml").is_err());
    }
}
