//! Replays a trace through one tier and counts.
//!
//! Every policy sees the same accesses one after another, keeps at most the same number of chunks, and is asked
//! the same question: is this chunk here? What it does about a miss is its own affair.

pub mod belady;
pub mod door;
pub mod fifo;
pub mod log;
pub mod lru;

use crate::trace::Access;

/// A cache of chunks as far as decisions go.
pub trait Tier {
    /// One chunk is asked for; whether it was there. A chunk that was not may be kept from now on.
    fn access(&mut self, chunk: u32) -> bool;

    /// Chunks written to the medium since the start, re-written ones too.
    fn written(&self) -> u64;
}

/// What came of a replay, after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Chunks asked for.
    pub chunks: u64,
    /// Chunks found.
    pub hits: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Bytes found.
    pub hit_bytes: u64,
    /// Chunks written.
    pub written: u64,
}

/// The first part of a trace fills the caches and is not counted.
pub const WARM_UP: f64 = 1.0 / 3.0;

/// Replays `accesses`.
pub fn replay(tier: &mut dyn Tier, accesses: &[Access]) -> Outcome {
    let (warm_up, counted) = accesses.split_at((accesses.len() as f64 * WARM_UP) as usize);
    for access in warm_up {
        tier.access(access.chunk);
    }
    let before = tier.written();
    let mut outcome = Outcome::default();
    for access in counted {
        let hit = u64::from(tier.access(access.chunk));
        outcome.chunks += 1;
        outcome.hits += hit;
        outcome.bytes += u64::from(access.bytes);
        outcome.hit_bytes += hit * u64::from(access.bytes);
    }
    outcome.written = tier.written() - before;
    outcome
}

impl Outcome {
    /// Percent of the chunks that were found.
    pub fn hit_percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.chunks.max(1) as f64
    }

    /// Percent of the bytes that were found.
    pub fn byte_hit_percent(&self) -> f64 {
        100.0 * self.hit_bytes as f64 / self.bytes.max(1) as f64
    }

    /// Chunks written for each one asked for.
    pub fn written_per_chunk(&self) -> f64 {
        self.written as f64 / self.chunks.max(1) as f64
    }
}
