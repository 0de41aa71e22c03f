//! Which segment makes room, and which of its records are worth writing again.
//!
//! Cost-benefit as in log-structured file systems: `(1 - u) * age / (1 + u)`, where `u` is the share of the
//! segment that would have to be written again. A segment of cold records goes early; one with many hits waits
//! until age has made it worth the copying. What is moved goes to segments of its own (the hot stream), so that
//! segments become all hot or all cold and reclaim finds cheap ones.
//!
//! Promises
//! - Pure: the answer depends on the arguments alone.
//! - Reclaiming a segment frees at least a quarter of it, whatever was hit: [`Keep`] counts.
//!
//! Does not know: where segments are, who reads them, bytes.

use super::wear::Pressure;

/// What is known of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Records it was sealed with, valid or not.
    pub records: u32,
    /// Of those the valid ones hit since the counters were last halved (whose count is not 0).
    pub hit: u32,
    /// Segments opened since it was (the difference of the sequence numbers).
    pub age: u64,
}

/// Which records of a segment that makes room are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Records with at least this many hits are moved.
    at: u8,
    /// So many may still be moved.
    left: u32,
}

/// Tells when the counts of hits are to be halved.
#[derive(Clone, Debug)]
pub struct Decay {
    written: u64,
    every: u64,
}

/// At most this share of a segment's records is moved.
pub const MOVED_MAX: f64 = 0.75;
/// Counts of hits are halved after this share of the volume has been written.
pub const DECAY_SHARE: f64 = 0.5;

/// How much good it does to reclaim the segment: more is better, 0 is none.
pub fn score(facts: SegmentFacts) -> f64 {
    let used = f64::from(facts.hit.min(facts.records)) / f64::from(facts.records.max(1));
    (1.0 - used) * facts.age as f64 / (1.0 + used)
}

/// The segment to reclaim: the highest score, the first of equals.
pub fn pick<T>(segments: impl IntoIterator<Item = (T, SegmentFacts)>) -> Option<T> {
    let mut best: Option<(T, f64)> = None;
    for (segment, facts) in segments {
        let score = score(facts);
        if best.as_ref().is_none_or(|(_, most)| score > *most) {
            best = Some((segment, score));
        }
    }
    best.map(|(segment, _)| segment)
}

/// The count of hits a record starts with in the segment it is moved to.
pub fn freq_when_moved(freq: u8) -> u8 {
    freq / 2
}

impl Keep {
    /// Decides for a segment of `records` records, of whose valid ones `by_freq[n]` were hit `n` times. When more
    /// were hit than may be moved, or the budget for writing is spent, more hits are asked for.
    pub fn new(records: u32, by_freq: [u32; 4], pressure: Pressure) -> Self {
        let left = (f64::from(records) * MOVED_MAX) as u32;
        let least = if pressure == Pressure::StopAdmission { 2 } else { 1 };
        let moved = |at: u8| by_freq[usize::from(at)..].iter().sum::<u32>();
        let at = (least..3).find(|at| moved(*at) <= left).unwrap_or(3);
        Self { at, left }
    }

    /// Whether to move a valid record with this count of hits. Ask once for each.
    pub fn keeps(&mut self, freq: u8) -> bool {
        let keeps = freq >= self.at && self.left > 0;
        self.left -= u32::from(keeps);
        keeps
    }
}

impl Decay {
    /// For a volume of `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        Self { written: 0, every: ((capacity as f64 * DECAY_SHARE) as u64).max(1) }
    }

    /// Counts `bytes` written; whether the counts of hits are to be halved now.
    pub fn wrote(&mut self, bytes: u64) -> bool {
        self.written += bytes;
        let due = self.written >= self.every;
        if due {
            self.written %= self.every;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(hit: u32, age: u64) -> SegmentFacts {
        SegmentFacts { records: 100, hit, age }
    }

    #[test]
    fn cold_goes_before_hot_and_old_before_young() {
        assert_eq!(pick([("hot", facts(90, 10)), ("cold", facts(5, 10))]), Some("cold"));
        assert_eq!(pick([("young", facts(5, 2)), ("old", facts(5, 10))]), Some("old"));
        assert_eq!(
            pick([("cold", facts(5, 10)), ("hot, but much older", facts(60, 100))]),
            Some("hot, but much older")
        );
        assert_eq!(pick::<u32>([]), None);
    }

    #[test]
    fn all_hot_still_gives_one_up() {
        assert_eq!(pick([(1, facts(100, 5)), (2, facts(100, 9))]), Some(1));
        assert_eq!(score(SegmentFacts { records: 0, hit: 0, age: 3 }), 3.0);
    }

    #[test]
    fn what_was_hit_is_moved_and_more_hits_are_asked_for_when_that_is_too_much() {
        let kept = |by_freq, pressure| {
            let mut keep = Keep::new(100, by_freq, pressure);
            [0, 1, 2, 3].map(|freq| keep.keeps(freq))
        };
        assert_eq!(kept([50, 30, 10, 10], Pressure::None), [false, true, true, true]);
        assert_eq!(kept([10, 30, 30, 30], Pressure::None), [false, false, true, true]);
        assert_eq!(kept([0, 0, 20, 80], Pressure::None), [false, false, false, true]);
        assert_eq!(kept([50, 30, 10, 10], Pressure::RaiseAdmission), [false, true, true, true]);
        assert_eq!(kept([50, 30, 10, 10], Pressure::StopAdmission), [false, false, true, true]);
    }

    #[test]
    fn counts_are_halved_each_time_half_the_volume_is_written() {
        let mut decay = Decay::new(1000);
        assert_eq!(
            [499, 1, 499, 2, 498, 1].map(|bytes| decay.wrote(bytes)),
            [false, true, false, true, false, true]
        );
    }

    proptest! {
        #[test]
        fn a_quarter_is_freed_at_least(by_freq in prop::array::uniform4(0..2000_u32), stopped: bool) {
            let records = by_freq.iter().sum();
            let pressure = if stopped { Pressure::StopAdmission } else { Pressure::None };
            let mut keep = Keep::new(records, by_freq, pressure);
            let all = (0..4_u8).flat_map(|freq| std::iter::repeat_n(freq, by_freq[usize::from(freq)] as usize));
            let moved = all.filter(|freq| keep.keeps(*freq)).count();
            prop_assert!(moved as f64 <= f64::from(records) * MOVED_MAX);
        }

        #[test]
        fn more_hits_never_raise_the_score_and_more_age_never_lowers_it(
            records in 1..4000_u32, hit in 0..4000_u32, age in 0..1_000_000_u64
        ) {
            let hit = hit.min(records - 1);
            let of = |hit, age| score(SegmentFacts { records, hit, age });
            let now = of(hit, age);
            prop_assert!(of(hit + 1, age) <= now && of(hit, age + 1) >= now);
            prop_assert!(now.is_finite() && now >= 0.0);
        }
    }
}
