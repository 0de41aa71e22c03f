//! Which complete chunks are in memory, and which of them makes room next.
//!
//! Eviction is S3-FIFO: newcomers pass a small queue, those asked for again while in it move to the main queue,
//! and a ghost list remembers whom the small queue let go. One scan through an album cannot empty it.
//!
//! Promises
//! - A chunk is found only under the version it was kept for.
//! - Lists and queues are bounded by the number of chunks, which the budget bounds.
//!
//! Does not know: how the bytes got here, how much memory there is.

use crate::arena::Slot;
use crate::object::ChunkKey;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The chunks in memory.
pub(crate) struct Ram {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// The shard that gives up a chunk next.
    victim: AtomicUsize,
    /// Invariant: the sum of `small_bytes + main_bytes` over all shards, up to calls in progress.
    bytes: AtomicU64,
    chunks: AtomicU64,
}

#[derive(Default)]
struct Shard {
    /// Invariant: a key is in here exactly while it is in one of the queues, once.
    chunks: HashMap<ChunkKey, Kept>,
    small: VecDeque<ChunkKey>,
    main: VecDeque<ChunkKey>,
    small_bytes: u64,
    main_bytes: u64,
    ghosts: Ghosts,
}

struct Kept {
    /// Full. Its readers are counted by the `Arc`.
    slot: Arc<Slot>,
    ver: u64,
    /// How often it was asked for since it came or was last passed over, 3 at most.
    asked: u8,
    queue: Queue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Small,
    Main,
}

/// Keys that left the small queue without being asked for again.
#[derive(Default)]
struct Ghosts {
    order: VecDeque<ChunkKey>,
    keys: HashSet<ChunkKey>,
}

const SHARDS: usize = 32;
const ASKED_MAX: u8 = 3;
/// Asked for this often in the small queue: worth a place in the main queue.
const PROMOTE_AT: u8 = 2;
/// The small queue makes room while it holds more than this share of the shard's bytes.
const SMALL_SHARE: u64 = 10;
/// A shard's ghost list is at least this long.
const GHOSTS_MIN: usize = 16;

impl Ram {
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            victim: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            chunks: AtomicU64::new(0),
        }
    }

    /// The chunk, if it is here in version `ver`; counts as asked for.
    pub fn get(&self, key: ChunkKey, ver: u64) -> Option<Arc<Slot>> {
        let mut shard = self.shard(key).lock();
        let kept = shard.chunks.get_mut(&key).filter(|kept| kept.ver == ver)?;
        kept.asked = (kept.asked + 1).min(ASKED_MAX);
        Some(Arc::clone(&kept.slot))
    }

    /// Whether the chunk is here in version `ver`; leaves no trace.
    pub fn holds(&self, key: ChunkKey, ver: u64) -> bool {
        self.shard(key).lock().chunks.get(&key).is_some_and(|kept| kept.ver == ver)
    }

    /// Keeps a complete, checked chunk, in place of any other version of it.
    pub fn keep(&self, key: ChunkKey, ver: u64, slot: Arc<Slot>) {
        debug_assert!(slot.is_full(), "only complete chunks are kept");
        let len = slot.len();
        let replaced = self.shard(key).lock().keep(key, ver, slot);
        self.bytes.fetch_add(len, Ordering::Relaxed);
        match replaced {
            Some(old) => self.bytes.fetch_sub(old.len(), Ordering::Relaxed),
            None => self.chunks.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Gives up one chunk; `false` when there is none.
    pub fn evict_one(&self) -> bool {
        let start = self.victim.fetch_add(1, Ordering::Relaxed);
        let shards = || (0..SHARDS).map(|step| &self.shards[(start.wrapping_add(step)) % SHARDS]);
        let newcomer = shards().find_map(|shard| shard.lock().evict_newcomer());
        let evicted = newcomer.or_else(|| shards().find_map(|shard| shard.lock().evict_any()));
        let Some(slot) = evicted else { return false };
        self.bytes.fetch_sub(slot.len(), Ordering::Relaxed);
        self.chunks.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Bytes and number of the chunks here.
    pub fn size(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.chunks.load(Ordering::Relaxed))
    }

    fn shard(&self, key: ChunkKey) -> &Mutex<Shard> {
        // The high bits: the map inside the shard starts from the low ones.
        &self.shards[(self.hasher.hash_one(key) >> 32) as usize % SHARDS]
    }
}

impl Shard {
    fn keep(&mut self, key: ChunkKey, ver: u64, slot: Arc<Slot>) -> Option<Arc<Slot>> {
        let len = slot.len();
        if let Some(kept) = self.chunks.get_mut(&key) {
            let old = std::mem::replace(&mut kept.slot, slot);
            kept.ver = ver;
            let queue = kept.queue;
            let total = self.bytes_of(queue);
            *total = *total + len - old.len();
            return Some(old);
        }
        let queue = if self.ghosts.forget(key) { Queue::Main } else { Queue::Small };
        self.queue(queue, key, len);
        self.chunks.insert(key, Kept { slot, ver, asked: 0, queue });
        None
    }

    /// Gives up a newcomer, if newcomers have more than their share.
    fn evict_newcomer(&mut self) -> Option<Arc<Slot>> {
        let mut busy = self.small.len();
        while busy > 0 && self.small_bytes * SMALL_SHARE > self.small_bytes + self.main_bytes {
            busy -= 1;
            let key = self.small.pop_front()?;
            let kept = self.chunks.get_mut(&key)?;
            let len = kept.slot.len();
            self.small_bytes -= len;
            if kept.asked >= PROMOTE_AT || kept.is_being_sent() {
                kept.asked = 0;
                kept.queue = Queue::Main;
                self.queue(Queue::Main, key, len);
                continue;
            }
            self.ghosts.remember(key, self.chunks.len());
            return self.chunks.remove(&key).map(|kept| kept.slot);
        }
        None
    }

    /// Gives up a chunk of the main queue, or of the small one if there is no other.
    fn evict_any(&mut self) -> Option<Arc<Slot>> {
        // Every step gives one up, lowers a count or passes over a chunk that is being sent.
        let mut busy = self.chunks.len();
        while busy > 0 {
            let from = if self.main.is_empty() { Queue::Small } else { Queue::Main };
            let key = self.keys_of(from).pop_front()?;
            let kept = self.chunks.get_mut(&key)?;
            let len = kept.slot.len();
            if kept.asked == 0 && !kept.is_being_sent() {
                *self.bytes_of(from) -= len;
                return self.chunks.remove(&key).map(|kept| kept.slot);
            }
            if kept.asked == 0 {
                busy -= 1;
            }
            kept.asked = kept.asked.saturating_sub(1);
            kept.queue = Queue::Main;
            *self.bytes_of(from) -= len;
            self.queue(Queue::Main, key, len);
        }
        None
    }

    fn keys_of(&mut self, queue: Queue) -> &mut VecDeque<ChunkKey> {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    fn bytes_of(&mut self, queue: Queue) -> &mut u64 {
        match queue {
            Queue::Small => &mut self.small_bytes,
            Queue::Main => &mut self.main_bytes,
        }
    }

    fn queue(&mut self, queue: Queue, key: ChunkKey, len: u64) {
        self.keys_of(queue).push_back(key);
        *self.bytes_of(queue) += len;
    }
}

impl Kept {
    /// A chunk that is being sent is not worth giving up: that would free nothing.
    fn is_being_sent(&self) -> bool {
        Arc::strong_count(&self.slot) > 1
    }
}

impl Ghosts {
    /// Remembers `key`, and at most nine tenths of `chunks` in all.
    fn remember(&mut self, key: ChunkKey, chunks: usize) {
        if self.keys.insert(key) {
            self.order.push_back(key);
        }
        while self.order.len() > (chunks * 9 / 10).max(GHOSTS_MIN) {
            if let Some(oldest) = self.order.pop_front() {
                self.keys.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, key: ChunkKey) -> bool {
        self.keys.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::SlotWriter;
    use crate::budget::Budget;
    use crate::object::ObjName;

    fn key(no: u32) -> ChunkKey {
        ChunkKey { obj: ObjName::new("/a").key(), no }
    }

    async fn full_slot(budget: &Arc<Budget>) -> Arc<Slot> {
        let mut writer = SlotWriter::new(budget.reserve(1, || false).await);
        writer.push(b"x");
        Arc::clone(writer.slot())
    }

    #[tokio::test]
    async fn a_chunk_is_found_under_its_own_version_only() {
        let (ram, budget) = (Ram::new(), Budget::new(100));
        ram.keep(key(1), 7, full_slot(&budget).await);
        assert!(ram.get(key(1), 7).is_some() && ram.holds(key(1), 7));
        assert!(ram.get(key(1), 8).is_none() && !ram.holds(key(2), 7));
        ram.keep(key(1), 8, full_slot(&budget).await);
        assert!(ram.get(key(1), 7).is_none() && ram.get(key(1), 8).is_some());
        assert_eq!((ram.size(), budget.used()), ((1, 1), 1));
    }

    #[tokio::test]
    async fn a_scan_does_not_wash_out_what_is_asked_for_again() {
        let (ram, budget) = (Ram::new(), Budget::new(1 << 20));
        for no in 0..100 {
            ram.keep(key(no), 0, full_slot(&budget).await);
            (0..2).for_each(|_| drop(ram.get(key(no), 0)));
        }
        for no in 1000..3000 {
            ram.keep(key(no), 0, full_slot(&budget).await);
            if ram.size().1 > 300 {
                assert!(ram.evict_one());
            }
        }
        let left = (0..100).filter(|no| ram.holds(key(*no), 0)).count();
        assert!(left >= 90, "{left} of 100 are left");
    }

    #[tokio::test]
    async fn a_chunk_that_is_being_sent_does_not_make_room() {
        let (ram, budget) = (Ram::new(), Budget::new(100));
        ram.keep(key(1), 0, full_slot(&budget).await);
        let sending = ram.get(key(1), 0);
        assert!(!ram.evict_one());
        drop(sending);
        while ram.evict_one() {}
        assert_eq!((ram.size(), budget.used()), ((0, 0), 0));
    }

    #[tokio::test]
    async fn a_chunk_that_comes_back_soon_stays_longer() {
        let budget = Budget::new(1 << 20);
        let mut shard = Shard::default();
        (0..20).for_each(|no| shard.ghosts.remember(key(no), 0));
        assert_eq!(shard.ghosts.order.len(), GHOSTS_MIN);
        shard.keep(key(0), 0, full_slot(&budget).await);
        shard.keep(key(19), 0, full_slot(&budget).await);
        let queue = |shard: &Shard, no| shard.chunks.get(&key(no)).map(|kept| kept.queue == Queue::Main);
        assert_eq!((queue(&shard, 0), queue(&shard, 19)), (Some(false), Some(true)));
    }
}
