//! Where a slot is in its life, in one word: its state and the number of those who read it.
//!
//! ```text
//! Free -> Filling -> Resident <-> Detached -> Free
//! ```
//!
//! Free is a place without a slot. A slot is Detached while it is unwanted (its chunk made room, was replaced or
//! never got complete) and yet held up by readers; the last of them makes it Resident again, for whoever can still
//! find it to give up, or it ceases to be.
//!
//! Promises: whoever makes a slot Detached is told, and so is whoever ends it; each exactly once.
//!
//! Does not know: bytes, threads. `tests/slots.rs` walks through its interleavings with loom.

use super::sync::{AtomicU32, Ordering};

/// State and readers of one slot.
pub(crate) struct State(AtomicU32);

/// The state without the readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its one writer is not done.
    Filling,
    /// Complete, or given up by its writer, and not held up.
    Resident,
    /// Unwanted and held up by readers.
    Detached,
}

const FILLING: u32 = 0;
const RESIDENT: u32 = 1;
const DETACHED: u32 = 2;
const STAGE: u32 = 0b11;
const READER: u32 = 0b100;

impl State {
    pub fn filling() -> Self {
        Self(AtomicU32::new(FILLING))
    }

    /// One more reader.
    pub fn enter(&self) {
        // The caller holds the slot by a reference of its own, which orders everything that matters.
        let before = self.0.fetch_add(READER, Ordering::Relaxed);
        debug_assert!(before < u32::MAX - READER, "readers are counted in 30 bits");
    }

    /// One reader less. `true`: it was the last one and the slot is Detached no longer.
    pub fn leave(&self) -> bool {
        let before = self.0.fetch_sub(READER, Ordering::AcqRel);
        debug_assert!(before >= READER, "a reader leaves once");
        // If a reader has come meanwhile, it is the one who ends it.
        before == READER | DETACHED
            && self.0.compare_exchange(DETACHED, RESIDENT, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The writer is done, if it was not before.
    pub fn settle(&self) {
        let mut word = self.0.load(Ordering::Acquire);
        while word & STAGE == FILLING {
            let settled = word - FILLING + RESIDENT;
            match self.0.compare_exchange_weak(word, settled, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// The slot is wanted no more. `true`: readers hold it up and it is Detached from now on.
    pub fn detach(&self) -> bool {
        let mut word = self.0.load(Ordering::Acquire);
        while word >= READER && word & STAGE == RESIDENT {
            let detached = word - RESIDENT + DETACHED;
            match self.0.compare_exchange_weak(word, detached, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// State and number of readers.
    pub fn look(&self) -> (Stage, u32) {
        let word = self.0.load(Ordering::Acquire);
        let stage = match word & STAGE {
            FILLING => Stage::Filling,
            DETACHED => Stage::Detached,
            _ => Stage::Resident,
        };
        (stage, word / READER)
    }
}
