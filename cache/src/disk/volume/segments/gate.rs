//! State and pins of one segment in one word, so that nobody pins what has just begun to drain.
//!
//! ```text
//! Free -> Open -> Sealed -> Draining -> Free
//! ```
//!
//! Promises
//! - A pin is had only while the segment is Open or Sealed, and between Draining and Free there is no pin.
//! - Whoever has a pin sees everything that was done to the segment before it was opened.
//!
//! Does not know: segments. `tests/pins.rs` walks through its interleavings with loom.

use super::sync::{AtomicU64, Ordering};

/// What a segment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Holds nothing; the next to be opened is taken from these.
    Free,
    /// Being appended to; can be read.
    Open,
    /// Complete; can be read.
    Sealed,
    /// No longer readable; free as soon as the last reader lets go.
    Draining,
}

/// State in the high half, pins in the low half.
pub(crate) struct Gate(AtomicU64);

const STATE_SHIFT: u32 = 32;

impl Gate {
    /// Free.
    pub fn new() -> Self {
        Self(AtomicU64::new(word_of(State::Free)))
    }

    /// What the segment is doing.
    pub fn state(&self) -> State {
        state_of(self.0.load(Ordering::Acquire))
    }

    /// One more pin, unless the segment cannot be read.
    pub fn enter(&self) -> bool {
        let readable = |word| matches!(state_of(word), State::Open | State::Sealed).then_some(word + 1);
        self.change(readable)
    }

    /// One pin less.
    pub fn leave(&self) {
        // Release: what the reader read, it read before the segment is written again.
        let before = self.0.fetch_sub(1, Ordering::Release);
        debug_assert!(before & u64::from(u32::MAX) > 0, "a pin was dropped twice");
    }

    /// Changes the state and leaves the pins as they are. `false` if the state is another one.
    pub fn turn(&self, from: State, to: State) -> bool {
        self.change(|word| (state_of(word) == from).then(|| word - word_of(from) + word_of(to)))
    }

    /// Frees a draining segment that has no pin.
    pub fn release(&self) -> bool {
        self.change(|word| (word == word_of(State::Draining)).then_some(word_of(State::Free)))
    }

    fn change(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while let Some(new) = next(word) {
            match self.0.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }
}

const fn word_of(state: State) -> u64 {
    (state as u64) << STATE_SHIFT
}

fn state_of(word: u64) -> State {
    match word >> STATE_SHIFT {
        0 => State::Free,
        1 => State::Open,
        2 => State::Sealed,
        _ => State::Draining,
    }
}
