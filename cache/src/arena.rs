//! Memory of chunks: slots that are written once from front to back, read while they are written, shared without
//! copies.
//!
//! One mapping of slots of one chunk each ([`map`]), given out whole or by quarters ([`space`]). A slot lives
//! through a few states ([`state`]); its place is free again when its last reader has let go.
//!
//! Promises
//! - A reader sees only bytes that were written before, and they never change.
//! - Places in use, whoever holds them and why, never exceed the capacity (I3); lowered, it is reached as fast as
//!   places become free, and their memory goes back to the system.
//!
//! Does not know: which chunk a slot holds, who waits for a place.

#![expect(unsafe_code, reason = "the one place where memory is shared while its end is still being written")]

mod map;
mod space;
mod state;
mod sync {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}

pub use map::MapMemoryError;

use antiphon_core::CHUNK_LEN;
use bytes::Bytes;
use map::Region;
use parking_lot::{Mutex, RwLock};
use space::{Place, QUARTERS, Space};
use state::{Stage, State};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Bytes of a slot.
pub(crate) const SLOT_LEN: usize = CHUNK_LEN as usize;

/// Bytes of the smallest place.
pub(crate) const QUARTER_LEN: usize = SLOT_LEN / QUARTERS as usize;

/// Slots are counted up to here: 256 TiB.
pub(crate) const SLOTS_MAX: usize = 1 << 30;

/// All slots.
pub(crate) struct Arena {
    space: Mutex<Space>,
    /// Invariant: every slot that `space` knows lies in one of them. They are unmapped with the arena, which every
    /// [`Plot`] keeps alive.
    regions: RwLock<Vec<Region>>,
    resizing: Mutex<()>,
    /// Invariant: the bytes of all Detached slots, up to calls in progress.
    detached: AtomicI64,
    /// Told whenever places may have become free, or chunks such that giving them up frees places.
    pub freed: Notify,
}

/// A place in the arena, given back on drop.
pub(crate) struct Plot {
    arena: Arc<Arena>,
    place: Place,
}

/// The memory of one chunk.
pub(crate) struct Slot {
    /// The first byte of `plot`'s place, which has at least `len` initialised bytes.
    base: NonNull<u8>,
    len: usize,
    /// Invariant: bytes below `filled` are written and never written again; only the one [`SlotWriter`]
    /// raises it, after writing.
    filled: AtomicUsize,
    /// Its readers are the living [`View`]s.
    state: State,
    plot: Plot,
}

/// The right to fill a slot. There is one per slot, made with it.
pub(crate) struct SlotWriter {
    slot: Arc<Slot>,
}

/// A part of a slot that is written already.
struct View {
    slot: Arc<Slot>,
    start: u32,
    end: u32,
    /// Below `slot`, so that it is dropped after it.
    _wake: Wake,
}

/// Tells that the slot can make room now.
struct Wake(Option<Arc<Arena>>);

impl Arena {
    /// An arena of `slots` slots.
    pub fn new(slots: usize) -> Result<Arc<Self>, MapMemoryError> {
        let arena = Self {
            space: Mutex::default(),
            regions: RwLock::default(),
            resizing: Mutex::default(),
            detached: AtomicI64::new(0),
            freed: Notify::new(),
        };
        arena.resize(slots)?;
        Ok(Arc::new(arena))
    }

    /// Has `slots` slots from now on, [`SLOTS_MAX`] at most. Fewer: those in use leave service when they become
    /// free. More: on an error there are at least as many as before.
    pub fn resize(&self, slots: usize) -> Result<(), MapMemoryError> {
        let slots = slots.min(SLOTS_MAX);
        let _one_at_a_time = self.resizing.lock();
        let mut retire = Vec::new();
        let (missing, next) = {
            let mut space = self.space.lock();
            (space.aim(slots, &mut retire), space.slots() as u32)
        };
        self.retire(&mut retire);
        if missing > 0 {
            match Region::map(next..next + missing as u32, SLOT_LEN) {
                Ok(region) => self.regions.write().push(region),
                Err(error) => {
                    self.space.lock().aim(slots - missing, &mut Vec::new());
                    return Err(error);
                }
            }
            let added = self.space.lock().add(missing);
            debug_assert_eq!(added.start, next, "slots are added by one at a time");
        }
        self.freed.notify_one();
        Ok(())
    }

    /// A place for `len` bytes, at most [`SLOT_LEN`].
    pub fn take(self: &Arc<Self>, len: usize) -> Option<Plot> {
        let place = self.space.lock().take(quarters(len))?;
        Some(Plot { arena: Arc::clone(self), place })
    }

    /// Bytes of the places in use.
    pub fn used(&self) -> u64 {
        self.space.lock().used() * QUARTER_LEN as u64
    }

    /// Bytes of all places there may be.
    pub fn capacity(&self) -> u64 {
        self.space.lock().target() as u64 * SLOT_LEN as u64
    }

    /// Bytes beyond the capacity that are in use since it was lowered.
    pub fn excess(&self) -> u64 {
        self.space.lock().excess() as u64 * SLOT_LEN as u64
    }

    /// Bytes that are wanted no more, but held up by readers.
    pub fn detached(&self) -> u64 {
        self.detached.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// Gives the memory of free slots back to the system.
    fn retire(&self, slots: &mut [u32]) {
        slots.sort_unstable();
        let regions = self.regions.read();
        for run in slots.chunk_by(|slot, next| slot + 1 == *next) {
            let run = run[0]..run[0] + run.len() as u32;
            // SAFETY: `space` gave these slots out for retirement: they are in no list and in no `Place`, so no
            // `Slot` exists for them, and none can before `retired` below puts them back into a list.
            regions.iter().for_each(|region| unsafe { region.release(run.clone()) });
        }
        self.space.lock().retired(slots);
    }

    fn base(&self, place: Place) -> Option<NonNull<u8>> {
        let slot = self.regions.read().iter().find_map(|region| region.slot(place.slot))?;
        let (before, _) = place.quarters();
        // SAFETY: a place lies inside its slot of `SLOT_LEN` bytes.
        Some(unsafe { slot.add(before * QUARTER_LEN) })
    }
}

impl Plot {
    /// Bytes that it counts for.
    pub fn len(&self) -> usize {
        self.place.quarters().1 * QUARTER_LEN
    }

    /// Makes do with a place for `len` bytes, if that is less.
    pub fn shrink(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let (place, retire) = self.arena.space.lock().shrink(self.place, quarters(len));
        self.place = place;
        retire.into_iter().for_each(|slot| self.arena.retire(&mut [slot]));
        self.arena.freed.notify_one();
    }
}

impl Drop for Plot {
    fn drop(&mut self) {
        let retire = self.arena.space.lock().give(self.place);
        retire.into_iter().for_each(|slot| self.arena.retire(&mut [slot]));
        self.arena.freed.notify_one();
    }
}

impl SlotWriter {
    /// A slot of exactly `len` bytes at `plot`; as many as that has, if it is less.
    pub fn new(plot: Plot, len: usize) -> Option<Self> {
        debug_assert!(len <= plot.len(), "a slot fits its place");
        let len = len.min(plot.len());
        let base = plot.arena.base(plot.place);
        debug_assert!(base.is_some(), "every place is mapped");
        let (filled, state) = (AtomicUsize::new(0), State::filling());
        Some(Self { slot: Arc::new(Slot { base: base?, len, filled, state, plot }) })
    }

    /// The slot, for readers.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Appends as much of `bytes` as fits and tells how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let filled = self.slot.filled.load(Ordering::Relaxed);
        let taken = bytes.len().min(self.slot.len - filled);
        // SAFETY: `filled + taken <= len`, so the target lies inside the slot's place, which is the slot's alone
        // (`Space` gives a place to one `Plot` at a time, which the slot owns). Nobody else writes: there is one
        // writer per slot (`new` is the only maker, no `Clone`) and `push` borrows it exclusively. Nobody reads
        // here either: a `View` ends at or below the `filled` it saw, which this writer has not raised past the
        // target yet. `bytes` cannot overlap the target: only views give out references into the slot.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.slot.base.as_ptr().add(filled), taken);
        }
        self.slot.filled.store(filled + taken, Ordering::Release);
        taken
    }
}

impl Drop for SlotWriter {
    fn drop(&mut self) {
        if self.slot.state.look().0 == Stage::Filling {
            self.slot.state.settle();
            self.slot.give_up();
        }
    }
}

impl Slot {
    /// How many bytes it holds when it is full.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Bytes of the arena that it counts for.
    pub fn weight(&self) -> u32 {
        self.plot.len() as u32
    }

    /// Whether every byte is there.
    pub fn is_full(&self) -> bool {
        self.filled.load(Ordering::Acquire) == self.len
    }

    /// The bytes `start..end` without a copy; `None` if they are not all there.
    pub fn bytes(self: &Arc<Self>, start: usize, end: usize) -> Option<Bytes> {
        if start > end || end > self.filled.load(Ordering::Acquire) {
            return None;
        }
        self.state.enter();
        // Offsets fit: they are at most `SLOT_LEN`.
        let (start, end) = (start as u32, end as u32);
        Some(Bytes::from_owner(View { slot: Arc::clone(self), start, end, _wake: Wake(None) }))
    }

    /// The slot is complete and may be found from now on. Its chunk is kept by whoever calls this.
    pub fn settle(&self) {
        debug_assert!(self.is_full(), "only complete chunks are kept");
        self.state.settle();
    }

    /// Its chunk is to make room. `false`: that would free nothing just now, because others hold it; if they are
    /// readers, it counts as detached until they let go. `slot` is the only reference through which it can be
    /// found.
    pub fn can_leave(slot: &Arc<Self>) -> bool {
        // Every reader has a reference of its own and leaves before it drops it.
        if Arc::strong_count(slot) == 1 {
            debug_assert_eq!(slot.state.look(), (Stage::Resident, 0), "nobody reads it");
            return true;
        }
        slot.give_up();
        false
    }

    /// Nobody will find it any more, or nobody should.
    pub fn give_up(&self) {
        let bytes = i64::from(self.weight());
        // First the sum: whoever ends the state takes away what was added before.
        self.plot.arena.detached.fetch_add(bytes, Ordering::Relaxed);
        if !self.state.detach() {
            self.plot.arena.detached.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// The arena it lies in.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.plot.arena
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Slot::bytes` made this view with `start <= end <= filled` and saw `filled` by an acquire load
        // that pairs with the release store in `push`, so these bytes are written and, by the invariant of
        // `filled`, never written again. The `Arc` keeps the place, and with it the mapping, as long as the
        // reference.
        unsafe {
            let start = self.slot.base.as_ptr().add(self.start as usize);
            std::slice::from_raw_parts(start, (self.end - self.start) as usize)
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.slot.state.leave() {
            let arena = &self.slot.plot.arena;
            arena.detached.fetch_sub(i64::from(self.slot.weight()), Ordering::Relaxed);
            self._wake.0 = Some(Arc::clone(arena));
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        if let Some(arena) = &self.0 {
            arena.freed.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (stage, readers) = self.state.look();
        debug_assert!(
            readers == 0 && stage == Stage::Resident,
            "a slot ends after its writer and its readers"
        );
    }
}

/// The quarters that `len` bytes take.
fn quarters(len: usize) -> u8 {
    len.div_ceil(QUARTER_LEN).clamp(1, QUARTERS.into()) as u8
}

// SAFETY: a slot is plain memory with an atomic fill mark. Parts that several threads read are written before
// and never again; the part that is written is reached by the one `SlotWriter` only (see `push`).
unsafe impl Send for Slot {}
// SAFETY: as above; `&Slot` gives out nothing but views of finished bytes.
unsafe impl Sync for Slot {}

#[cfg(test)]
mod tests;
