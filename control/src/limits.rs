//! How often one client may ask: a leaky bucket per key in a table of fixed size.
//!
//! A bucket is one number, the moment at which it would be empty again (the generic cell rate algorithm). Keys
//! are hashed, with a secret of the process, into two rows of cells; the emptier of a key's two cells counts,
//! so a key is held up for strangers only if it meets a busy one in both rows.
//!
//! Promises
//! - Memory is fixed at the start, however many keys there are.
//! - A key within its rate is never refused for its own requests; one that stays above it is held to the rate.
//! - A clock that jumps back holds nobody longer than a full bucket takes to drain, and five seconds.
//!
//! Does not know: HTTP, what a key names.

use antiphon_core::UnixTime;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Limits how often each key may pass.
pub struct RateLimiter {
    /// Microseconds since 1970 at which the bucket is empty again.
    cells: Box<[AtomicU64]>,
    hashers: [RandomState; ROWS],
    /// Microseconds that one request fills.
    interval_us: u64,
    /// Microseconds of filling that a bucket holds.
    capacity_us: u64,
}

/// Come back in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// At least 1.
    pub retry_secs: u64,
}

const ROWS: usize = 2;
/// Cells of one row; 16 bytes of memory for each.
const CELLS: usize = 1 << 15;
const SECOND_US: u64 = 1_000_000;
/// A bucket this far past its brim was filled by a clock that has jumped back since. Less is two requests that
/// read the clock around the turn of a second.
const JUMP_US: u64 = 5 * SECOND_US;

impl RateLimiter {
    /// Lets each key pass `per_sec` times a second in the long run, and `burst` times at once. 0 counts as 1.
    pub fn new(per_sec: u32, burst: u32) -> Self {
        let interval_us = (SECOND_US / u64::from(per_sec.max(1))).max(1);
        Self {
            cells: (0..ROWS * CELLS).map(|_| AtomicU64::new(0)).collect(),
            hashers: std::array::from_fn(|_| RandomState::new()),
            interval_us,
            capacity_us: interval_us.saturating_mul(u64::from(burst.max(1))),
        }
    }

    /// Counts one request of `key` at `now`, or says when to come back. A refused request is not counted.
    pub fn pass(&self, key: impl Hash, now: UnixTime) -> Result<(), Held> {
        let now_us = now.0.saturating_mul(SECOND_US);
        let latest = now_us.saturating_add(self.capacity_us);
        let cells: [&AtomicU64; ROWS] = std::array::from_fn(|row| self.cell(row, &key));
        let levels = cells.map(|cell| {
            let level = cell.load(Ordering::Relaxed);
            // Filled before the clock jumped back, it says nothing now.
            let stale = level > latest.saturating_add(JUMP_US);
            if stale { now_us } else { level.max(now_us) }
        });
        let filled = levels.into_iter().min().unwrap_or(now_us).saturating_add(self.interval_us);
        if filled > latest {
            return Err(Held { retry_secs: (filled - latest).div_ceil(SECOND_US) });
        }
        for (cell, level) in cells.into_iter().zip(levels) {
            // Two requests at one instant may both read the old level; the limit is then passed by that one.
            cell.store(level.max(filled), Ordering::Relaxed);
        }
        Ok(())
    }

    fn cell(&self, row: usize, key: &impl Hash) -> &AtomicU64 {
        let hash = self.hashers[row].hash_one(key);
        let column = usize::try_from(hash % CELLS as u64).unwrap_or(0);
        &self.cells[row * CELLS + column]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn passes(limiter: &RateLimiter, key: &str, at: UnixTime) -> usize {
        (0..1000).take_while(|_| limiter.pass(key, at).is_ok()).count()
    }

    #[test]
    fn a_key_may_burst_and_is_then_held_to_its_rate() {
        let limiter = RateLimiter::new(2, 10);
        assert_eq!(passes(&limiter, "a", NOW), 10);
        assert_eq!(limiter.pass("a", NOW), Err(Held { retry_secs: 1 }));
        assert_eq!(passes(&limiter, "a", NOW.plus(3)), 6);
        assert_eq!(passes(&limiter, "a", NOW.plus(1000)), 10, "an idle bucket holds one burst, not more");
    }

    #[test]
    fn keys_do_not_share_a_bucket() {
        let limiter = RateLimiter::new(1, 1);
        assert_eq!(passes(&limiter, "a", NOW), 1);
        assert_eq!(passes(&limiter, "b", NOW), 1);
    }

    #[test]
    fn a_clock_that_jumps_back_holds_nobody_for_long() {
        let limiter = RateLimiter::new(1, 3);
        assert_eq!(passes(&limiter, "a", NOW), 3);
        assert_eq!(limiter.pass("a", UnixTime(NOW.0 - 1)), Err(Held { retry_secs: 2 }));
        let yesterday = UnixTime(NOW.0 - 86_400);
        assert_eq!(passes(&limiter, "a", yesterday), 3);
        assert_eq!(passes(&limiter, "a", yesterday.plus(1)), 1);
    }

    #[test]
    fn the_highest_rates_do_not_wrap() {
        let limiter = RateLimiter::new(u32::MAX, u32::MAX);
        assert_eq!(passes(&limiter, "a", NOW), 1000);
        let _ = limiter.pass("a", UnixTime(u64::MAX));
    }
}
