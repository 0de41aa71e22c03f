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

use crate::object::ChunkKey;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
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
    bytes: Bytes,
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
    pub fn get(&self, key: ChunkKey, ver: u64) -> Option<Bytes> {
        let mut shard = self.shard(key).lock();
        let kept = shard.chunks.get_mut(&key).filter(|kept| kept.ver == ver)?;
        kept.asked = (kept.asked + 1).min(ASKED_MAX);
        Some(kept.bytes.clone())
    }

    /// Whether the chunk is here in version `ver`; leaves no trace.
    pub fn holds(&self, key: ChunkKey, ver: u64) -> bool {
        self.shard(key).lock().chunks.get(&key).is_some_and(|kept| kept.ver == ver)
    }

    /// Keeps a complete, checked chunk, in place of any other version of it.
    pub fn keep(&self, key: ChunkKey, ver: u64, bytes: Bytes) {
        let len = bytes.len() as u64;
        let replaced = self.shard(key).lock().keep(key, ver, bytes);
        self.bytes.fetch_add(len, Ordering::Relaxed);
        match replaced {
            Some(old) => self.bytes.fetch_sub(old.len() as u64, Ordering::Relaxed),
            None => self.chunks.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Gives up one chunk; `false` when there is none.
    pub fn evict_one(&self) -> bool {
        let start = self.victim.fetch_add(1, Ordering::Relaxed);
        let evicted = (0..SHARDS).find_map(|step| self.shards[(start + step) % SHARDS].lock().evict());
        let Some(bytes) = evicted else { return false };
        self.bytes.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
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
    fn keep(&mut self, key: ChunkKey, ver: u64, bytes: Bytes) -> Option<Bytes> {
        let len = bytes.len() as u64;
        if let Some(kept) = self.chunks.get_mut(&key) {
            let old = std::mem::replace(&mut kept.bytes, bytes);
            kept.ver = ver;
            let total = match kept.queue {
                Queue::Small => &mut self.small_bytes,
                Queue::Main => &mut self.main_bytes,
            };
            *total = *total + len - old.len() as u64;
            return Some(old);
        }
        let queue = if self.ghosts.forget(key) { Queue::Main } else { Queue::Small };
        self.queue(queue, key, len);
        self.chunks.insert(key, Kept { bytes, ver, asked: 0, queue });
        None
    }

    /// Gives up a chunk. Every step ends it, moves a chunk to the main queue, lowers a count, or passes over a chunk
    /// that is being sent: giving that one up would free nothing.
    fn evict(&mut self) -> Option<Bytes> {
        let mut busy = self.chunks.len();
        while busy > 0 {
            let all = self.small_bytes + self.main_bytes;
            let from_small = self.small_bytes * SMALL_SHARE > all || self.main.is_empty();
            let key = if from_small { self.small.pop_front() } else { self.main.pop_front() }?;
            let Some(kept) = self.chunks.get_mut(&key) else {
                debug_assert!(false, "a queue names a chunk that is not kept");
                continue;
            };
            let len = kept.bytes.len() as u64;
            let worthy = if from_small { kept.asked >= PROMOTE_AT } else { kept.asked > 0 };
            let sending = !kept.bytes.is_unique();
            if worthy {
                kept.asked = if from_small { 0 } else { kept.asked - 1 };
            } else if sending {
                busy -= 1;
            }
            let stays = worthy || sending;
            if stays {
                kept.queue = Queue::Main;
            }
            *(if from_small { &mut self.small_bytes } else { &mut self.main_bytes }) -= len;
            if stays {
                self.queue(Queue::Main, key, len);
                continue;
            }
            if from_small {
                self.ghosts.remember(key, self.chunks.len());
            }
            return self.chunks.remove(&key).map(|kept| kept.bytes);
        }
        None
    }

    fn queue(&mut self, queue: Queue, key: ChunkKey, len: u64) {
        let (keys, bytes) = match queue {
            Queue::Small => (&mut self.small, &mut self.small_bytes),
            Queue::Main => (&mut self.main, &mut self.main_bytes),
        };
        keys.push_back(key);
        *bytes += len;
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
