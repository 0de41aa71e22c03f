//! Which complete chunks are in memory, and which of them makes room next.
//!
//! Eviction is S3-FIFO ([`crate::policy::s3fifo`]) in shards, each behind a lock that is held for a look-up and no
//! longer. The fullest shard gives first, which keeps all equally full.
//!
//! Promises
//! - A chunk is found only under the version it was kept for.
//! - A hit allocates nothing but the handle of the bytes it gives out.
//! - The index is bounded by the number of slots.
//!
//! Does not know: how the bytes got here, when room is needed.

use crate::arena::{SLOT_LEN, Slot};
use crate::object::ChunkKey;
use crate::policy::s3fifo::{Capacity, S3Fifo};
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The chunks in memory.
pub(crate) struct Ram {
    /// A power of two of them.
    shards: Box<[Shard]>,
    /// The weight of each shard, side by side because whoever makes room looks at all of them. Invariant: equals the
    /// shard's own, up to calls in progress.
    weights: Box<[AtomicU64]>,
    hasher: Seed,
    chunks: AtomicU64,
}

/// On cache lines of its own: a lock that is fought over slows no other.
#[repr(align(128))]
struct Shard(Mutex<S3Fifo<ChunkKey, Kept, Seed>>);

struct Kept {
    ver: u64,
    /// Settled. The only reference to it besides those of its readers and of the flight that brought it.
    slot: Arc<Slot>,
}

/// A hasher of keys whose outcome nobody outside can foresee.
#[derive(Clone, Copy)]
struct Seed(u64);

/// Multiplies and folds, word by word: keys are digests already and need mixing with the seed, no more.
struct Folding(u64);

/// So many shards, unless they would be smaller than [`SHARD_SLOTS_MIN`].
const SHARDS: usize = 64;

/// The policy works in a shard of this many slots about as well as in one large one.
const SHARD_SLOTS_MIN: usize = 32;

impl Ram {
    /// For a memory of `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let slots = usize::try_from(capacity).unwrap_or(usize::MAX) / SLOT_LEN;
        let count = (slots / SHARD_SLOTS_MIN).clamp(1, SHARDS);
        let count = if count.is_power_of_two() { count } else { count.next_power_of_two() / 2 };
        let hasher = Seed(RandomState::new().hash_one(count));
        let shard = || Shard(Mutex::new(S3Fifo::new(part(capacity, count), hasher)));
        Self {
            shards: (0..count).map(|_| shard()).collect(),
            weights: (0..count).map(|_| AtomicU64::new(0)).collect(),
            hasher,
            chunks: AtomicU64::new(0),
        }
    }

    /// Suits a memory of `capacity` bytes from now on. Evicts nothing.
    pub fn resize(&self, capacity: u64) {
        for shard in &self.shards {
            shard.0.lock().set_capacity(part(capacity, self.shards.len()));
        }
    }

    /// The chunk, if it is here in version `ver`; counts as asked for.
    pub fn get(&self, key: ChunkKey, ver: u64) -> Option<Arc<Slot>> {
        let (hash, at) = self.locate(key);
        let mut shard = self.shards[at].0.lock();
        let kept = shard.get(hash, &key).filter(|kept| kept.ver == ver)?;
        Some(Arc::clone(&kept.slot))
    }

    /// Whether the chunk is here in version `ver`; leaves no trace.
    pub fn holds(&self, key: ChunkKey, ver: u64) -> bool {
        let (hash, at) = self.locate(key);
        self.shards[at].0.lock().peek(hash, &key).is_some_and(|kept| kept.ver == ver)
    }

    /// Keeps a complete, checked chunk, in place of any other version of it.
    pub fn keep(&self, key: ChunkKey, ver: u64, slot: Arc<Slot>) {
        slot.settle();
        let (hash, at) = self.locate(key);
        let replaced = {
            let mut shard = self.shards[at].0.lock();
            let replaced = shard.insert(hash, key, slot.weight(), Kept { ver, slot });
            self.weights[at].store(shard.weight(), Ordering::Relaxed);
            replaced
        };
        match replaced {
            Some(old) => old.slot.give_up(),
            None => _ = self.chunks.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Gives up one chunk; `false` when there is none that would make room.
    pub fn evict_one(&self) -> bool {
        let weight = |at: &usize| self.weights[*at].load(Ordering::Relaxed);
        let fullest = (0..self.shards.len()).max_by_key(weight).unwrap_or(0);
        (0..self.shards.len()).any(|step| self.evict_from((fullest + step) % self.shards.len()))
    }

    /// Bytes of memory that the chunks here count for, and their number.
    pub fn size(&self) -> (u64, u64) {
        let bytes = self.weights.iter().map(|weight| weight.load(Ordering::Relaxed)).sum();
        (bytes, self.chunks.load(Ordering::Relaxed))
    }

    fn evict_from(&self, at: usize) -> bool {
        let victim = {
            let mut shard = self.shards[at].0.lock();
            let victim = shard.evict(|kept| Slot::can_leave(&kept.slot));
            self.weights[at].store(shard.weight(), Ordering::Relaxed);
            victim
        };
        let Some(victim) = victim else { return false };
        drop(victim);
        self.chunks.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// The key's hash and shard.
    fn locate(&self, key: ChunkKey) -> (u64, usize) {
        let hash = self.hasher.hash_one(key);
        // Bits that neither the index (lowest and highest) nor the ghosts (lowest) of a shard go by.
        (hash, (hash >> 40) as usize & (self.shards.len() - 1))
    }
}

/// One shard's part.
fn part(capacity: u64, shards: usize) -> Capacity {
    let weight = capacity / shards as u64;
    Capacity { weight, entries: (weight / SLOT_LEN as u64) as usize }
}

impl BuildHasher for Seed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding(self.0)
    }
}

impl Folding {
    /// An odd number without pattern: the fraction of the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(Self::FACTOR);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.fold(word.into());
    }

    // The length of a key's digest, always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.fold(self.0.rotate_left(32));
        last.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::arena::SlotWriter;
    use crate::object::ObjName;

    fn key(no: u32) -> ChunkKey {
        ChunkKey { obj: ObjName::new("/a").key(), no }
    }

    fn full_slot(arena: &Arc<Arena>, len: usize) -> Arc<Slot> {
        let mut writer = SlotWriter::new(arena.take(len).unwrap(), len).unwrap();
        writer.push(&vec![1; len]);
        Arc::clone(writer.slot())
    }

    fn world(slots: usize) -> (Ram, Arc<Arena>) {
        (Ram::new((slots * SLOT_LEN) as u64), Arena::new(slots).unwrap())
    }

    #[test]
    fn a_chunk_is_found_under_its_own_version_only() {
        let (ram, arena) = world(4);
        ram.keep(key(1), 7, full_slot(&arena, 1));
        assert!(ram.get(key(1), 7).is_some() && ram.holds(key(1), 7));
        assert!(ram.get(key(1), 8).is_none() && !ram.holds(key(2), 7));
        ram.keep(key(1), 8, full_slot(&arena, 1));
        assert!(ram.get(key(1), 7).is_none() && ram.get(key(1), 8).is_some());
        assert_eq!((ram.size().1, ram.size().0), (1, arena.used()));
    }

    #[test]
    fn a_scan_does_not_wash_out_what_is_asked_for_again() {
        let (ram, arena) = world(300);
        assert!(ram.shards.len() > 1);
        for no in 0..800 {
            ram.keep(key(no), 0, full_slot(&arena, 1));
            (0..2).for_each(|_| drop(ram.get(key(no), 0)));
        }
        for no in 1_000..5_000 {
            while arena.used() >= arena.capacity() {
                assert!(ram.evict_one());
            }
            ram.keep(key(no), 0, full_slot(&arena, 1));
        }
        let left = (0..800).filter(|no| ram.holds(key(*no), 0)).count();
        assert!(left >= 780, "{left} of 800 are left");
    }

    #[test]
    fn a_chunk_that_is_being_sent_does_not_make_room() {
        let (ram, arena) = world(4);
        ram.keep(key(1), 0, full_slot(&arena, 1));
        let sending = ram.get(key(1), 0).and_then(|slot| slot.bytes(0, 1));
        assert!(!ram.evict_one());
        assert!(arena.detached() > 0);
        drop(sending);
        while ram.evict_one() {}
        assert_eq!((ram.size(), arena.used(), arena.detached()), ((0, 0), 0, 0));
    }

    #[test]
    fn an_old_version_that_is_being_sent_is_detached_until_it_is_sent() {
        let (ram, arena) = world(4);
        ram.keep(key(1), 0, full_slot(&arena, SLOT_LEN));
        let sending = ram.get(key(1), 0).and_then(|slot| slot.bytes(0, 1));
        ram.keep(key(1), 1, full_slot(&arena, SLOT_LEN));
        assert_eq!((arena.detached(), arena.used()), (SLOT_LEN as u64, 2 * SLOT_LEN as u64));
        drop(sending);
        assert_eq!((arena.detached(), arena.used()), (0, SLOT_LEN as u64));
    }

    #[test]
    fn shards_fill_evenly() {
        let (ram, arena) = world(2_048);
        for no in 0..20_000 {
            while arena.used() + SLOT_LEN as u64 > arena.capacity() / 8 {
                assert!(ram.evict_one());
            }
            ram.keep(key(no), 0, full_slot(&arena, 1));
        }
        let weights: Vec<_> = ram.weights.iter().map(|weight| weight.load(Ordering::Relaxed)).collect();
        let (least, most) = (weights.iter().min().unwrap(), weights.iter().max().unwrap());
        assert!(*most < least * 3 / 2, "{least} to {most} bytes");
    }

    #[test]
    fn a_smaller_memory_keeps_what_is_asked_for() {
        let (ram, arena) = world(256);
        for no in 0..256 {
            ram.keep(key(no), 0, full_slot(&arena, SLOT_LEN));
            (0..no % 4).for_each(|_| drop(ram.get(key(no), 0)));
        }
        let capacity = 64 * SLOT_LEN as u64;
        arena.resize(64).unwrap();
        ram.resize(capacity);
        while arena.excess() > 0 {
            assert!(ram.evict_one());
        }
        assert_eq!((arena.used(), ram.size().0), (capacity, capacity));
        let asked = (0..256).filter(|no| ram.holds(key(*no), 0) && no % 4 >= 2).count();
        assert!(asked >= 60, "{asked} of 64 were asked for twice and more");
    }
}
