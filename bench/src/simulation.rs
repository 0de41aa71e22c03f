//! One trace through the policies of both tiers, with LRU, S3-FIFO and the bound beside them.
//!
//! Promises: the same terms give the same figures.

use crate::replay::belady::Belady;
use crate::replay::door::Door;
use crate::replay::fifo::Memory;
use crate::replay::log::Log;
use crate::replay::lru::Lru;
use crate::replay::{Outcome, Tier, replay};
use crate::trace::{DISK_WHOLE, Terms, Trace};

/// A policy in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Least recently used.
    Lru,
    /// S3-FIFO, the code that decides in memory.
    S3Fifo,
    /// A log that takes in everything, moves what was hit and gives up the oldest segment.
    PlainLog,
    /// The code that decides on volumes.
    Engine,
    /// LRU behind the volume's admission.
    LruAdmitted,
    /// Belady's bound behind the volume's admission: what better reclaim could come to.
    BoundAdmitted,
    /// Belady's bound.
    Bound,
}

/// A hit ratio at a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Terabytes that the whole point of presence would need.
    pub terabytes: f64,
    /// Percent of the bytes.
    pub hit: f64,
}

/// The policies of the disk's table.
pub const POLICIES: [Policy; 7] = [
    Policy::Lru,
    Policy::S3Fifo,
    Policy::PlainLog,
    Policy::LruAdmitted,
    Policy::Engine,
    Policy::BoundAdmitted,
    Policy::Bound,
];
/// Those of the curve.
const DRAWN: [Policy; 5] = [Policy::Lru, Policy::S3Fifo, Policy::PlainLog, Policy::Engine, Policy::Bound];
/// The sizes of the curve in terabytes; 60 is what a point of presence has.
pub const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 240.0];

/// A segment is one part in so many of the disk, in chunks from [`SEGMENT_MIN`] to [`SEGMENT_MAX`]. (A real one is
/// 1,008 chunks, one part in 220,000 of 60 TB: too few would fit a thinned disk.)
const SEGMENTS: usize = 1000;
const SEGMENT_MIN: usize = 4;
const SEGMENT_MAX: usize = 64;

impl Policy {
    /// How it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lru => "LRU",
            Self::S3Fifo => "S3-FIFO (the RAM tier's code)",
            Self::PlainLog => "log, all admitted, oldest segment goes",
            Self::Engine => "log as it ships",
            Self::LruAdmitted => "LRU behind our admission",
            Self::BoundAdmitted => "Belady behind our admission",
            Self::Bound => "Belady's bound",
        }
    }

    /// Replays `trace` with room for `room` chunks.
    pub fn replay(self, trace: &Trace, room: usize) -> Outcome {
        let (accesses, chunks) = (&trace.accesses, trace.chunks);
        let segment = (room / SEGMENTS).clamp(SEGMENT_MIN, SEGMENT_MAX);
        let mut tier: Box<dyn Tier> = match self {
            Self::Lru => Box::new(Lru::new(chunks, room, Door::open())),
            Self::S3Fifo => Box::new(Memory::new(room)),
            Self::PlainLog => Box::new(Log::plain(chunks, room, segment)),
            Self::Engine => Box::new(Log::new(chunks, room, segment)),
            Self::LruAdmitted => Box::new(Lru::new(chunks, room, Door::of_volume(room))),
            Self::BoundAdmitted => Box::new(Belady::new(accesses, chunks, room, Door::of_volume(room))),
            Self::Bound => Box::new(Belady::new(accesses, chunks, room, Door::open())),
        };
        replay(&mut *tier, accesses)
    }
}

/// The hit ratio of the drawn policies at each of [`SIZES`], on two threads.
pub fn curves(terms: &Terms, trace: &Trace) -> Vec<(Policy, Vec<Point>)> {
    let curve = |policy: Policy| {
        let point = |terabytes: f64| {
            let room = (terms.disk_chunks() as f64 * terabytes * 1e12 / DISK_WHOLE) as usize;
            Point { terabytes, hit: policy.replay(trace, room).byte_hit_percent() }
        };
        (policy, SIZES.map(point).to_vec())
    };
    std::thread::scope(|scope| {
        let (first, second) = DRAWN.split_at(DRAWN.len() / 2);
        let other = scope.spawn(|| second.iter().map(|policy| curve(*policy)).collect::<Vec<_>>());
        let mut curves: Vec<_> = first.iter().map(|policy| curve(*policy)).collect();
        curves.extend(other.join().unwrap_or_default());
        curves
    })
}

/// The table of one tier: policy, byte hit, share of the bound, chunks written per chunk asked for.
pub fn table(policies: &[Policy], trace: &Trace, room: usize) -> Vec<Vec<String>> {
    let outcomes: Vec<(Policy, Outcome)> =
        policies.iter().map(|policy| (*policy, policy.replay(trace, room))).collect();
    let bound = outcomes.iter().map(|(_, outcome)| outcome.byte_hit_percent()).fold(0.0, f64::max);
    let head = ["policy", "chunk hit %", "byte hit %", "% of the bound", "written per chunk"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(outcomes.iter().map(|(policy, outcome)| {
        vec![
            policy.name().to_owned(),
            format!("{:.2}", outcome.hit_percent()),
            format!("{:.2}", outcome.byte_hit_percent()),
            format!("{:.1}", 100.0 * outcome.byte_hit_percent() / bound),
            format!("{:.3}", outcome.written_per_chunk()),
        ]
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(seed: u64) -> (Terms, Trace) {
        let terms = Terms { seed, ..Terms::default().thinned(0.01) };
        let trace = Trace::new(&terms);
        (terms, trace)
    }

    #[test]
    fn the_same_seed_gives_the_same_table_and_another_another() {
        let of = |seed| {
            let (terms, trace) = small(seed);
            table(&POLICIES, &trace, terms.disk_chunks())
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn nobody_beats_the_bound_at_any_size() {
        let (_, trace) = small(3);
        for room in [50, 200, 1000, 5000] {
            let bound = Policy::Bound.replay(&trace, room).hits;
            for policy in POLICIES {
                let hits = policy.replay(&trace, room).hits;
                assert!(hits <= bound, "{policy:?} at {room}: {hits} of {bound}");
            }
        }
    }

    #[test]
    fn the_engine_writes_a_fraction_of_what_others_write_and_hits_more_than_lru() {
        let terms = Terms::default().thinned(0.05);
        let trace = Trace::new(&terms);
        let at_disk = |policy: Policy| policy.replay(&trace, terms.disk_chunks());
        let (lru, fifo, engine) = (at_disk(Policy::Lru), at_disk(Policy::S3Fifo), at_disk(Policy::Engine));
        assert!(engine.written_per_chunk() < 0.4 * fifo.written_per_chunk(), "{engine:?} {fifo:?}");
        assert!(engine.byte_hit_percent() > lru.byte_hit_percent() + 1.0, "{engine:?} {lru:?}");
        let in_memory = |policy: Policy| policy.replay(&trace, terms.memory_chunks()).hit_percent();
        assert!(in_memory(Policy::S3Fifo) > in_memory(Policy::Lru) + 5.0);
    }
}
