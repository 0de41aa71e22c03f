//! The bound on memory for bytes.
//!
//! Promises
//! - The sum of all [`Held`] never exceeds the capacity: bytes kept, in flight and still being sent.
//! - Who waits is served in order, so a large fetch is not starved by small ones.
//!
//! Does not know: what the memory is for, how to make room.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// A number of bytes that may be in use at a time.
pub(crate) struct Budget {
    capacity: u64,
    /// Invariant: the sum of `bytes` over all living [`Held`], and at most `capacity`.
    used: Mutex<u64>,
    /// Wakes the one waiter that holds `turn`.
    freed: Notify,
    turn: tokio::sync::Mutex<()>,
}

/// Bytes taken from a budget, given back on drop.
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            used: Mutex::new(0),
            freed: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// Bytes in use now.
    pub fn used(&self) -> u64 {
        *self.used.lock()
    }

    /// Takes `bytes`, calling `make_room` as long as it finds something to give up, then waiting for others.
    /// The caller sets the time limit; `bytes` above the capacity would wait for ever.
    pub async fn reserve(self: &Arc<Self>, bytes: u64, mut make_room: impl FnMut() -> bool) -> Held {
        debug_assert!(bytes <= self.capacity, "a reservation fits the budget");
        let _turn = self.turn.lock().await;
        loop {
            if let Some(held) = self.try_take(bytes) {
                return held;
            }
            if !make_room() {
                self.freed.notified().await;
            }
        }
    }

    fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let mut used = self.used.lock();
        if self.capacity - *used < bytes {
            return None;
        }
        *used += bytes;
        Some(Held { budget: Arc::clone(self), bytes })
    }
}

impl Held {
    /// Splits off `bytes` of it; as much as there is, if that is less.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: Arc::clone(&self.budget), bytes }
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        {
            let mut used = self.budget.used.lock();
            debug_assert!(*used >= self.bytes, "more is given back than was taken");
            *used = used.saturating_sub(self.bytes);
        }
        self.budget.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn what_does_not_fit_waits_until_something_is_given_back() {
        let budget = Budget::new(10);
        let first = budget.reserve(7, || false).await;
        let mut second = Box::pin(budget.reserve(4, || false));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await.bytes(), 4);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn room_is_made_before_anyone_waits() {
        let budget = Budget::new(10);
        let mut kept = vec![budget.reserve(6, || false).await, budget.reserve(4, || false).await];
        let held = budget.reserve(5, || kept.pop().is_some()).await;
        assert_eq!((held.bytes(), kept.len(), budget.used()), (5, 0, 5));
    }

    #[tokio::test]
    async fn a_split_holds_what_the_whole_held() {
        let budget = Budget::new(10);
        let mut whole = budget.reserve(9, || false).await;
        let part = whole.split(4);
        let rest = whole.split(100);
        assert_eq!((part.bytes(), rest.bytes(), whole.bytes()), (4, 5, 0));
        drop(part);
        assert_eq!(budget.used(), 5);
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_does_not_block_the_next() {
        let budget = Budget::new(10);
        let all = budget.reserve(10, || false).await;
        let mut impatient = Box::pin(budget.reserve(10, || false));
        assert!(impatient.as_mut().now_or_never().is_none());
        let mut patient = Box::pin(budget.reserve(1, || false));
        assert!(patient.as_mut().now_or_never().is_none());
        drop(impatient);
        drop(all);
        assert_eq!(patient.await.bytes(), 1);
    }
}
