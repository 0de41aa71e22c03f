//! The bound on memory for bytes, and the line of those who wait for some.
//!
//! Promises
//! - The places of all [`Held`] and of all slots never exceed the capacity: kept, in flight and still being sent.
//! - Who waits is served in order, so a large fetch is not starved by small ones.
//! - Slow listeners hold up no more than their share by chunks that should make room; beyond it they get copies
//!   of a quarter of a chunk at most, out of the same memory.
//!
//! Does not know: what the memory is for, how to make room.

use crate::arena::{Arena, MapMemoryError, Plot, QUARTER_LEN, SLOT_LEN, SlotWriter};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes that may be in use at a time.
pub(crate) struct Budget {
    arena: Arc<Arena>,
    /// Detached bytes beyond which copies are made.
    detached_max: AtomicU64,
    detached_pct: u32,
    turn: tokio::sync::Mutex<()>,
}

/// Places for a run of chunks, given back on drop.
pub(crate) struct Held {
    /// One per chunk, in order; each but the last is for a whole one.
    plots: VecDeque<Plot>,
    /// Invariant: the sum over `plots` of the bytes that each is for.
    bytes: u64,
}

/// Who does not wait has so many chunks make room; places in the wrong slots may be freed first.
const ATTEMPTS: u32 = 64;

impl Budget {
    /// A budget of as many slots as fit into `capacity` bytes. Readers may hold up `detached_pct` percent of it.
    pub fn new(capacity: u64, detached_pct: u32) -> Result<Arc<Self>, MapMemoryError> {
        let arena = Arena::new(slots(capacity))?;
        let budget = Self {
            detached_max: AtomicU64::new(share(arena.capacity(), detached_pct)),
            arena,
            detached_pct,
            turn: tokio::sync::Mutex::new(()),
        };
        Ok(Arc::new(budget))
    }

    /// Allows another number of bytes from now on. When it is less, the caller evicts while there is an
    /// [`Budget::excess`].
    pub fn resize(&self, capacity: u64) -> Result<(), MapMemoryError> {
        self.arena.resize(slots(capacity))?;
        self.detached_max.store(share(self.arena.capacity(), self.detached_pct), Ordering::Relaxed);
        Ok(())
    }

    /// Bytes in use now, counted by places.
    pub fn used(&self) -> u64 {
        self.arena.used()
    }

    /// Bytes that may be in use.
    pub fn capacity(&self) -> u64 {
        self.arena.capacity()
    }

    /// Bytes in use beyond the capacity since that was lowered.
    pub fn excess(&self) -> u64 {
        self.arena.excess()
    }

    /// Bytes that should make room but are held up by readers.
    pub fn detached(&self) -> u64 {
        self.arena.detached()
    }

    /// Takes `bytes`, calling `make_room` as long as it finds something to give up, then waiting for others.
    /// The caller sets the time limit; `bytes` above the capacity would wait for ever.
    pub async fn reserve(self: &Arc<Self>, bytes: u64, mut make_room: impl FnMut() -> bool) -> Held {
        let _turn = self.turn.lock().await;
        let mut held = Held { plots: VecDeque::new(), bytes: 0 };
        // Whoever has the turn may hold a part while waiting for the rest: nobody who holds memory waits for more.
        while held.bytes < bytes {
            let len = (bytes - held.bytes).min(SLOT_LEN as u64);
            if let Some(plot) = self.arena.take(len as usize) {
                held.plots.push_back(plot);
                held.bytes += len;
            } else if !make_room() {
                self.arena.freed.notified().await;
            }
        }
        held
    }

    /// What a listener may have of `bytes`: all of it as long as slow ones hold up little, else a copy of its start
    /// in place of the chunk, if `make_room` finds a place for one.
    pub fn lend(&self, bytes: Bytes, make_room: impl FnMut() -> bool) -> Bytes {
        if self.arena.detached() <= self.detached_max.load(Ordering::Relaxed) {
            return bytes;
        }
        self.copy(&bytes, make_room).unwrap_or(bytes)
    }

    /// Memory for one chunk of `len` bytes without waiting, if `make_room` finds some within [`ATTEMPTS`].
    pub fn writer(&self, len: usize, mut make_room: impl FnMut() -> bool) -> Option<SlotWriter> {
        let mut attempts = 0;
        loop {
            match self.arena.take(len) {
                Some(plot) => return SlotWriter::new(plot, len),
                None if attempts < ATTEMPTS && make_room() => attempts += 1,
                None => return None,
            }
        }
    }

    fn copy(&self, bytes: &[u8], make_room: impl FnMut() -> bool) -> Option<Bytes> {
        let bytes = &bytes[..bytes.len().min(QUARTER_LEN)];
        let mut writer = self.writer(bytes.len(), make_room)?;
        writer.push(bytes);
        writer.slot().bytes(0, bytes.len())
    }
}

impl Held {
    /// Splits off the places of the first `bytes`; all of them if there are no more. Only the end of the last
    /// chunk may lie inside a place, whose rest is given back.
    pub fn split(&mut self, bytes: u64) -> Self {
        let mut part = Self { plots: VecDeque::new(), bytes: 0 };
        while part.bytes < bytes
            && let Some(mut plot) = self.plots.pop_front()
        {
            let was_for = self.bytes.min(SLOT_LEN as u64);
            let is_for = was_for.min(bytes - part.bytes);
            plot.shrink(is_for as usize);
            self.bytes -= was_for;
            part.bytes += is_for;
            part.plots.push_back(plot);
        }
        part
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the memory of one chunk of it; `None` of nothing.
    pub fn into_writer(mut self) -> Option<SlotWriter> {
        debug_assert!(self.plots.len() <= 1, "one chunk");
        SlotWriter::new(self.plots.pop_front()?, self.bytes as usize)
    }
}

fn slots(capacity: u64) -> usize {
    usize::try_from(capacity).unwrap_or(usize::MAX) / SLOT_LEN
}

fn share(bytes: u64, pct: u32) -> u64 {
    bytes.saturating_mul(u64::from(pct)) / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const SLOT: u64 = SLOT_LEN as u64;
    const QUARTER: u64 = QUARTER_LEN as u64;

    fn budget(slots: u64) -> Arc<Budget> {
        Budget::new(slots * SLOT, 25).unwrap()
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_until_something_is_given_back() {
        let budget = budget(10);
        let first = budget.reserve(7 * SLOT, || false).await;
        let mut second = Box::pin(budget.reserve(4 * SLOT, || false));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await.bytes(), 4 * SLOT);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn room_is_made_before_anyone_waits() {
        let budget = budget(10);
        let mut kept =
            vec![budget.reserve(6 * SLOT, || false).await, budget.reserve(4 * SLOT, || false).await];
        let held = budget.reserve(5 * SLOT, || kept.pop().is_some()).await;
        assert_eq!((held.bytes(), kept.len(), budget.used()), (5 * SLOT, 0, 5 * SLOT));
    }

    #[tokio::test]
    async fn a_split_holds_what_the_whole_held() {
        let budget = budget(10);
        let mut whole = budget.reserve(8 * SLOT + 1, || false).await;
        assert_eq!(budget.used(), 8 * SLOT + QUARTER);
        let part = whole.split(4 * SLOT);
        let rest = whole.split(100 * SLOT);
        assert_eq!((part.bytes(), rest.bytes(), whole.bytes()), (4 * SLOT, 4 * SLOT + 1, 0));
        drop(part);
        assert_eq!(budget.used(), 4 * SLOT + QUARTER);
    }

    #[tokio::test]
    async fn a_part_that_ends_inside_a_chunk_gives_the_rest_of_it_back() {
        let budget = budget(10);
        let mut whole = budget.reserve(5 * SLOT, || false).await;
        let mut object = whole.split(SLOT + 70_000);
        drop(whole);
        assert_eq!((object.bytes(), budget.used()), (SLOT + 70_000, SLOT + 2 * QUARTER));
        let chunk = object.split(SLOT).into_writer().unwrap();
        let tail = object.split(70_000).into_writer().unwrap();
        assert_eq!((chunk.slot().len(), tail.slot().len(), object.bytes()), (SLOT, 70_000, 0));
        assert!(object.into_writer().is_none());
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_does_not_block_the_next() {
        let budget = budget(10);
        let all = budget.reserve(10 * SLOT, || false).await;
        let mut impatient = Box::pin(budget.reserve(10 * SLOT, || false));
        assert!(impatient.as_mut().now_or_never().is_none());
        let mut patient = Box::pin(budget.reserve(1, || false));
        assert!(patient.as_mut().now_or_never().is_none());
        drop(impatient);
        drop(all);
        assert_eq!(patient.await.bytes(), 1);
    }

    #[tokio::test]
    async fn who_waits_is_woken_when_a_reader_lets_go_of_a_chunk_that_should_make_room() {
        let budget = budget(1);
        let mut writer = budget.reserve(SLOT, || false).await.into_writer().unwrap();
        writer.push(&[1; SLOT_LEN]);
        writer.slot().settle();
        let mut kept = Some(Arc::clone(writer.slot()));
        drop(writer);
        let reader = kept.as_ref().and_then(|slot| slot.bytes(0, 10));
        let mut make_room = || {
            let can_leave = kept.as_ref().is_some_and(crate::arena::Slot::can_leave);
            can_leave && kept.take().is_some()
        };
        let mut waiter = Box::pin(budget.reserve(SLOT, &mut make_room));
        assert!(waiter.as_mut().now_or_never().is_none());
        drop(reader);
        assert_eq!(waiter.now_or_never().unwrap().bytes(), SLOT);
    }

    #[tokio::test]
    async fn more_room_wakes_who_waits() {
        let budget = budget(1);
        let _all = budget.reserve(SLOT, || false).await;
        let mut waiter = Box::pin(budget.reserve(SLOT, || false));
        assert!(waiter.as_mut().now_or_never().is_none());
        budget.resize(2 * SLOT).unwrap();
        assert!(waiter.now_or_never().is_some());
    }

    #[tokio::test]
    async fn beyond_their_share_slow_readers_get_copies_of_a_quarter() {
        let budget = budget(4);
        let mut slots = Vec::new();
        for no in 0..3_u8 {
            let mut writer = budget.reserve(SLOT, || false).await.into_writer().unwrap();
            writer.push(&[no; SLOT_LEN]);
            writer.slot().settle();
            slots.push(Arc::clone(writer.slot()));
        }
        let read = |no: usize| budget.lend(slots[no].bytes(0, SLOT_LEN).unwrap(), || false);
        let slow: Vec<Bytes> = (0..2).map(read).collect();
        slots.iter().take(1).for_each(|slot| slot.give_up());
        assert_eq!(read(2).len(), SLOT_LEN, "a quarter of the memory is detached, and no more");
        slots.iter().for_each(|slot| slot.give_up());
        let copy = read(2);
        assert_eq!(copy, [2; QUARTER_LEN][..]);
        assert_eq!(budget.used(), 3 * SLOT + QUARTER, "copies count");
        drop((slow, copy));
        assert_eq!((read(2).len(), budget.detached()), (SLOT_LEN, 0));
    }

    #[tokio::test]
    async fn a_copy_finds_room_or_is_none() {
        let budget = budget(1);
        let mut writer = budget.reserve(SLOT, || false).await.into_writer().unwrap();
        writer.push(&[1; SLOT_LEN]);
        writer.slot().settle();
        let bytes = writer.slot().bytes(0, SLOT_LEN).unwrap();
        writer.slot().give_up();
        let mut calls = 0;
        let lent = budget.lend(bytes, || {
            calls += 1;
            true
        });
        assert_eq!((lent.len(), calls), (SLOT_LEN, ATTEMPTS));
    }
}
