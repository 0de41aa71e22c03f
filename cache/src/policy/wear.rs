//! What writing to a volume may cost: a budget in drive writes per day.
//!
//! A drive is sold for so many full writes a day over its years. The budget is a bucket that fills evenly at that
//! rate; a busy evening draws it down, the night fills it up.
//!
//! Promises
//! - Over any span of time no more is taken with [`Pressure::None`] or [`Pressure::RaiseAdmission`] than the rate
//!   times the span plus one bucket and one write.
//! - A clock that goes backwards gives nothing.
//!
//! Does not know: who writes. Taking never fails; whoever takes under pressure is asked to take less.

/// How much may still be written to one volume.
#[derive(Clone, Debug)]
pub struct WriteBudget {
    /// Bytes a day; none is no limit.
    rate: Option<f64>,
    /// Bytes. Invariant: between `-depth` and `depth`.
    left: f64,
    depth: f64,
    /// Milliseconds since 1970 up to which the bucket has been filled.
    filled_ms: u64,
}

/// What the budget asks of those who write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Write as usual.
    #[default]
    None,
    /// Less than a quarter is left: write only what was missed once more than usual.
    RaiseAdmission,
    /// Nothing is left: write nothing new. What reclaim moves is still written, the hottest of it.
    StopAdmission,
}

/// The bucket holds what flows in within this many hours.
pub const DEPTH_HOURS: u32 = 6;

/// Below this share of the bucket admission is raised.
const RAISED_BELOW: f64 = 0.25;
const DAY_MS: f64 = 86_400_000.0;

impl WriteBudget {
    /// A full bucket for a volume of `capacity` bytes that may be written `dwpd` times a day; 0 (or less, or no
    /// number) sets no limit. Time is in milliseconds since 1970.
    pub fn new(dwpd: f64, capacity: u64, now_ms: u64) -> Self {
        let rate = (dwpd > 0.0).then_some(dwpd * capacity as f64);
        let depth = rate.map_or(0.0, |rate| rate * f64::from(DEPTH_HOURS) / 24.0);
        Self { rate, left: depth, depth, filled_ms: now_ms }
    }

    /// Takes `bytes` that are about to be written and says what that leaves. Debt stops at one bucket.
    pub fn take(&mut self, bytes: u64, now_ms: u64) -> Pressure {
        self.fill(now_ms);
        if self.rate.is_some() {
            self.left = (self.left - bytes as f64).max(-self.depth);
        }
        self.pressure()
    }

    /// Sets another rate, for this and the time since the last call; the bucket stays as full as it is.
    pub fn retune(&mut self, dwpd: f64, capacity: u64, now_ms: u64) {
        let share = if self.depth > 0.0 { self.left / self.depth } else { 1.0 };
        *self = Self::new(dwpd, capacity, self.filled_ms);
        self.left = self.depth * share;
        self.fill(now_ms);
    }

    /// Bytes that may be written before admission stops; none without a limit.
    pub fn left(&self) -> Option<u64> {
        self.rate.map(|_| self.left.max(0.0) as u64)
    }

    fn fill(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = self.filled_ms.max(now_ms);
        let gained = self.rate.unwrap_or(0.0) * passed_ms as f64 / DAY_MS;
        self.left = (self.left + gained).min(self.depth);
    }

    fn pressure(&self) -> Pressure {
        match self.rate {
            None => Pressure::None,
            Some(_) if self.left <= 0.0 => Pressure::StopAdmission,
            Some(_) if self.left < self.depth * RAISED_BELOW => Pressure::RaiseAdmission,
            Some(_) => Pressure::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000;

    #[test]
    fn pressure_rises_as_the_bucket_empties_and_falls_as_it_fills() {
        // 400 bytes a day: the bucket holds 100.
        let mut budget = WriteBudget::new(2.0, 200, 0);
        assert_eq!((budget.left(), budget.take(75, 0)), (Some(100), Pressure::None));
        assert_eq!(budget.take(1, 0), Pressure::RaiseAdmission);
        assert_eq!(budget.take(23, 0), Pressure::RaiseAdmission);
        assert_eq!((budget.take(1, 0), budget.left()), (Pressure::StopAdmission, Some(0)));
        assert_eq!(budget.take(0, DAY / 40), Pressure::RaiseAdmission);
        assert_eq!(budget.take(0, DAY / 8), Pressure::None);
        assert_eq!((budget.take(0, DAY * 9), budget.left()), (Pressure::None, Some(100)));
    }

    #[test]
    fn debt_stops_at_one_bucket() {
        let mut budget = WriteBudget::new(2.0, 200, 0);
        assert_eq!(budget.take(1 << 40, 0), Pressure::StopAdmission);
        assert_eq!(budget.take(0, DAY / 4), Pressure::StopAdmission);
        assert_eq!(budget.take(0, DAY / 2), Pressure::None);
    }

    #[test]
    fn no_rate_is_no_limit_and_a_clock_that_goes_back_gives_nothing() {
        let mut free = WriteBudget::new(0.0, 200, 0);
        assert_eq!((free.take(u64::MAX, 0), free.left()), (Pressure::None, None));
        let mut budget = WriteBudget::new(2.0, 200, DAY);
        budget.take(100, DAY);
        assert_eq!(budget.take(0, 0), Pressure::StopAdmission);
        assert_eq!(budget.take(0, DAY), Pressure::StopAdmission);
    }

    #[test]
    fn a_new_rate_keeps_the_bucket_as_full_as_it_was() {
        let mut budget = WriteBudget::new(2.0, 200, 0);
        budget.take(50, 0);
        budget.retune(4.0, 200, 0);
        assert_eq!(budget.left(), Some(100));
        budget.retune(0.0, 200, 0);
        assert_eq!(budget.left(), None);
        budget.retune(1.0, 200, 0);
        assert_eq!(budget.left(), Some(50));
    }

    proptest! {
        #[test]
        fn no_more_is_taken_unstopped_than_the_rate_allows(
            takes in prop::collection::vec((0..50_u64, 0..DAY / 50), 1..300)
        ) {
            let mut budget = WriteBudget::new(2.0, 200, 0);
            let (mut now, mut taken) = (0, 0);
            for (bytes, wait) in takes {
                now += wait;
                if budget.take(bytes, now) < Pressure::StopAdmission {
                    taken += bytes;
                    prop_assert!(taken as f64 <= 100.0 + 400.0 * now as f64 / DAY as f64 + 1.0);
                }
            }
        }
    }
}
