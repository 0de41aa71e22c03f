//! The states of all segments of a volume, and the pins that keep a segment from being overwritten.
//!
//! Promises
//! - A pinned segment is not overwritten: only a segment that is [`State::Draining`] becomes free, in one step that
//!   succeeds only while nobody pins it, and a draining or free segment cannot be pinned.
//! - Pinning neither waits nor locks.
//!
//! Does not know: what is in a segment, where the index points.

mod gate;

pub use gate::State;

use gate::Gate;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What the gate counts with; the model checker has its own.
mod sync {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}

/// All segments of a volume.
pub(super) struct Segments {
    slots: Box<[Slot]>,
    /// Invariant: the numbers of exactly the segments whose state is `Free`, the longest free first, except in
    /// the middle of [`Segments::open`] and [`Segments::release`].
    free: Mutex<VecDeque<u32>>,
}

/// What is known in memory of one segment.
pub(super) struct Slot {
    gate: Gate,
    /// Sequence number of the present opening. Stable while pinned.
    seq: AtomicU64,
    /// Index entries that point here.
    live: AtomicU32,
    /// Records that were written here.
    records: AtomicU32,
    /// Records that count hits. A count may be off by a few: hits race with the removal of entries.
    hits: AtomicU32,
    /// When it was opened, in milliseconds since 1970.
    opened_ms: AtomicU64,
    /// Whether it belongs to the stream of records that were kept.
    hot: AtomicBool,
}

/// Keeps a segment from being overwritten.
pub(super) struct Pin<'a> {
    slot: &'a Slot,
}

impl Segments {
    /// `count` free segments.
    pub fn new(count: u32) -> Self {
        Self { slots: (0..count).map(|_| Slot::new()).collect(), free: Mutex::new((0..count).collect()) }
    }

    /// How many segments there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// How many segments are free.
    pub fn free(&self) -> usize {
        self.free.lock().len()
    }

    /// What is known of a segment; `None` past the end of the volume.
    pub fn get(&self, segment: u32) -> Option<&Slot> {
        self.slots.get(segment as usize)
    }

    /// All segments with their numbers.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(self.slots.iter())
    }

    /// Keeps a segment from being overwritten until the pin is dropped; `None` if it cannot be read.
    pub fn pin(&self, segment: u32) -> Option<Pin<'_>> {
        let slot = self.get(segment)?;
        slot.gate.enter().then(|| Pin { slot })
    }

    /// Whether a segment can be read at this moment.
    pub fn is_readable(&self, segment: u32) -> bool {
        self.get(segment).is_some_and(|slot| matches!(slot.state(), State::Open | State::Sealed))
    }

    /// Opens the segment that has been free for longest, unless that would leave fewer than `reserve` free ones.
    pub fn open(&self, seq: u64, opened_ms: u64, hot: bool, reserve: usize) -> Option<u32> {
        let mut free = self.free.lock();
        if free.len() <= reserve {
            return None;
        }
        let segment = free.pop_front()?;
        let slot = self.get(segment)?;
        slot.begin(seq, opened_ms, hot);
        slot.gate.turn(State::Free, State::Open);
        Some(segment)
    }

    /// Takes a free segment for what recovery found in it.
    pub fn adopt(&self, segment: u32, seq: u64, opened_ms: u64, hot: bool) -> bool {
        let mut free = self.free.lock();
        let Some(slot) = self.get(segment).filter(|slot| slot.state() == State::Free) else { return false };
        free.retain(|number| *number != segment);
        slot.begin(seq, opened_ms, hot);
        slot.gate.turn(State::Free, State::Sealed)
    }

    /// Ends the writing of an open segment.
    pub fn seal(&self, segment: u32) -> bool {
        self.get(segment).is_some_and(|slot| slot.gate.turn(State::Open, State::Sealed))
    }

    /// Makes a sealed segment unreadable.
    pub fn drain(&self, segment: u32) -> bool {
        self.get(segment).is_some_and(|slot| slot.gate.turn(State::Sealed, State::Draining))
    }

    /// Frees a draining segment, if nobody reads it any more.
    pub fn release(&self, segment: u32) -> bool {
        let Some(slot) = self.get(segment) else { return false };
        if !slot.gate.release() {
            return false;
        }
        debug_assert_eq!(slot.live(), 0, "a segment was freed while the index pointed at it");
        self.free.lock().push_back(segment);
        true
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            gate: Gate::new(),
            seq: AtomicU64::new(0),
            live: AtomicU32::new(0),
            records: AtomicU32::new(0),
            hits: AtomicU32::new(0),
            opened_ms: AtomicU64::new(0),
            hot: AtomicBool::new(false),
        }
    }

    /// What the segment is doing.
    pub fn state(&self) -> State {
        self.gate.state()
    }

    /// Sequence number of the present opening.
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Index entries that point here.
    pub fn live(&self) -> u32 {
        self.live.load(Ordering::Acquire)
    }

    /// Records that were written here.
    pub fn records(&self) -> u32 {
        self.records.load(Ordering::Relaxed)
    }

    /// Records that count hits.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }

    /// When it was opened, in milliseconds since 1970.
    pub fn opened_ms(&self) -> u64 {
        self.opened_ms.load(Ordering::Relaxed)
    }

    /// Whether it belongs to the stream of records that were kept.
    pub fn is_hot(&self) -> bool {
        self.hot.load(Ordering::Relaxed)
    }

    /// One more record lies here and the index is about to point at it.
    pub fn gained(&self, hit: bool) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.live.fetch_add(1, Ordering::AcqRel);
        if hit {
            self.warmed();
        }
    }

    /// The index is about to point at a record here that was counted already.
    pub fn gained_again(&self, hit: bool) {
        self.gained(hit);
        self.records.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets how many records were written here, from a snapshot.
    pub fn set_records(&self, records: u32) {
        self.records.store(records, Ordering::Relaxed);
    }

    /// The index no longer points at one of the records here.
    pub fn lost(&self, hit: bool) {
        let before = self.live.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a segment lost more records than it had");
        if hit {
            self.cooled();
        }
    }

    /// A record here that counted no hits counts one.
    pub fn warmed(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// A record here that counted hits counts none any more, or is gone.
    pub fn cooled(&self) {
        // A hit may come between the look at a count and the end of its entry; then this would be one too many.
        let _ = self.hits.try_update(Ordering::Relaxed, Ordering::Relaxed, |hits| hits.checked_sub(1));
    }

    fn begin(&self, seq: u64, opened_ms: u64, hot: bool) {
        debug_assert_eq!(self.live(), 0, "a segment was opened while the index pointed at it");
        self.seq.store(seq, Ordering::Release);
        self.opened_ms.store(opened_ms, Ordering::Relaxed);
        self.hot.store(hot, Ordering::Relaxed);
        self.records.store(0, Ordering::Relaxed);
        self.hits.store(0, Ordering::Relaxed);
    }
}

impl Pin<'_> {
    /// The pinned segment.
    pub fn slot(&self) -> &Slot {
        self.slot
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.slot.gate.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn sealed(segments: &Segments) -> u32 {
        let segment = segments.open(1, 0, false, 0).unwrap();
        assert!(segments.seal(segment));
        segment
    }

    #[test]
    fn only_what_is_open_or_sealed_can_be_pinned() {
        let segments = Segments::new(1);
        assert!(segments.pin(0).is_none());
        assert!(segments.pin(1).is_none());
        assert_eq!(segments.open(7, 0, false, 0), Some(0));
        assert_eq!(segments.pin(0).map(|pin| pin.slot().seq()), Some(7));
        segments.seal(0);
        assert!(segments.pin(0).is_some());
        segments.drain(0);
        assert!(segments.pin(0).is_none());
    }

    #[test]
    fn a_pinned_segment_is_not_freed() {
        let segments = Segments::new(1);
        let segment = sealed(&segments);
        let pin = segments.pin(segment);
        segments.drain(segment);
        assert!(!segments.release(segment));
        drop(pin);
        assert!(segments.release(segment));
        assert!(!segments.release(segment));
        assert_eq!(segments.free(), 1);
    }

    #[test]
    fn the_reserve_is_not_opened() {
        let segments = Segments::new(2);
        assert!(segments.open(1, 0, false, 2).is_none());
        assert!(segments.open(1, 0, false, 1).is_some());
        assert!(segments.open(2, 0, false, 1).is_none());
        assert!(segments.open(2, 0, true, 0).is_some());
        assert!(segments.open(3, 0, true, 0).is_none());
    }

    #[test]
    fn what_recovery_found_is_no_longer_free() {
        let segments = Segments::new(2);
        assert!(segments.adopt(1, 9, 5, true));
        assert!(!segments.adopt(1, 9, 5, true));
        assert_eq!(segments.free(), 1);
        assert_eq!(segments.get(1).map(|slot| (slot.state(), slot.seq())), Some((State::Sealed, 9)));
    }

    #[test]
    fn readers_never_see_a_segment_change_under_their_pin() {
        const ROUNDS: u64 = 20_000;
        let segments = Arc::new(Segments::new(1));
        let content = Arc::new(AtomicU64::new(0));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (segments, content) = (Arc::clone(&segments), Arc::clone(&content));
                std::thread::spawn(move || {
                    while content.load(Ordering::Relaxed) < ROUNDS {
                        let Some(pin) = segments.pin(0) else { continue };
                        let seq = pin.slot().seq();
                        assert_eq!(content.load(Ordering::Relaxed), seq);
                        std::hint::spin_loop();
                        assert_eq!(content.load(Ordering::Relaxed), seq);
                    }
                })
            })
            .collect();
        for seq in 1..=ROUNDS {
            // Free: nobody may look while the content changes.
            content.store(seq, Ordering::Relaxed);
            assert_eq!(segments.open(seq, 0, false, 0), Some(0));
            segments.seal(0);
            segments.drain(0);
            while !segments.release(0) {
                std::hint::spin_loop();
            }
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }
}
