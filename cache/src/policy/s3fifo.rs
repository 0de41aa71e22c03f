//! S3-FIFO: the order in which memory is given up.
//!
//! Newcomers pass a small queue; who is asked for again while in it moves to the main queue, and a ghost list
//! remembers whom the small queue let go, so that who comes back soon goes to the main queue at once. A scan
//! through an album passes the small queue and empties nothing else. (Yang et al., SOSP 2023.)
//!
//! Promises
//! - A hit moves nothing and allocates nothing: it raises a counter.
//! - The order depends on the calls and the hasher's seed alone.
//! - Besides the entry (key, value, 12 bytes) an entry costs 5 bytes of index over its load factor and 3.6 bytes
//!   of ghosts.
//!
//! Does not know: what is kept, in which unit it weighs, when room is needed. One shard; whoever shares it between
//! threads brings the lock.

mod ghosts;
mod queue;

use ghosts::Ghosts;
use hashbrown::HashTable;
use queue::{Link, NIL, Queue};
use std::hash::{BuildHasher, Hash};

/// What is kept, and who leaves next. Insertion never evicts: the owner calls [`S3Fifo::evict`] until it has room.
pub struct S3Fifo<K, V, S> {
    hasher: S,
    /// Invariant: holds the place of every living entry, once, and nothing else.
    index: HashTable<u32>,
    /// Invariant: an entry has a value exactly while it is in one of the queues; the others form the list `vacant`.
    entries: Vec<Entry<K, V>>,
    vacant: u32,
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
    capacity: Capacity,
    /// Nothing has had to leave yet, so newcomers beyond the small queue's share may fill the main queue.
    filling: bool,
}

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Sum of the weights, in the owner's unit (bytes, slots).
    pub weight: u64,
    /// Entries that come to about as much; the ghost list is nine tenths as long.
    pub entries: usize,
}

/// Who had to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// Its weight as inserted.
    pub weight: u32,
}

struct Entry<K, V> {
    value: Option<V>,
    key: K,
    link: Link,
    tally: Tally,
}

/// Weight, queue and counter of an entry in one word: `weight << 3 | in main << 2 | asked`.
#[derive(Clone, Copy)]
struct Tally(u32);

/// An entry weighs at most this much, in the owner's unit.
pub const WEIGHT_MAX: u32 = (1 << 29) - 1;

/// The small queue makes room while it holds more than one such part of the weight.
const SMALL_PART: u64 = 10;

/// Asked for this often in the small queue: worth a place in the main queue.
const PROMOTE_AT: u32 = 2;

/// The counter of an entry goes up to here; so often the main queue passes over it.
const ASKED_MAX: u32 = 3;

impl<K: Copy + Eq + Hash, V, S: BuildHasher> S3Fifo<K, V, S> {
    /// Keeps nothing yet. `hasher` should be seeded with chance if keys come from outside.
    pub fn new(capacity: Capacity, hasher: S) -> Self {
        Self {
            hasher,
            index: HashTable::new(),
            entries: Vec::new(),
            vacant: NIL,
            small: Queue::EMPTY,
            main: Queue::EMPTY,
            ghosts: Ghosts::for_entries(capacity.entries),
            capacity,
            filling: true,
        }
    }

    /// The hash under which `key` is looked up.
    pub fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The value of `key`; counts as asked for. `hash` is [`S3Fifo::hash`] of `key`.
    pub fn get(&mut self, hash: u64, key: &K) -> Option<&V> {
        let at = self.find(hash, key)?;
        let entry = &mut self.entries[at as usize];
        entry.tally.ask();
        entry.value.as_ref()
    }

    /// The value of `key`; leaves no trace. `hash` is [`S3Fifo::hash`] of `key`.
    pub fn peek(&self, hash: u64, key: &K) -> Option<&V> {
        self.find(hash, key).and_then(|at| self.entries[at as usize].value.as_ref())
    }

    /// Keeps `value`, of a weight of at most [`WEIGHT_MAX`]. An older value of the same key is handed back; the
    /// new one takes its place in the queue. `hash` is [`S3Fifo::hash`] of `key`.
    pub fn insert(&mut self, hash: u64, key: K, weight: u32, value: V) -> Option<V> {
        debug_assert!(weight <= WEIGHT_MAX, "a weight fits its field");
        debug_assert_eq!(hash, self.hash(&key), "the hash is the key's");
        if let Some(at) = self.find(hash, &key) {
            return self.replace(at, weight, value);
        }
        let to_main = self.ghosts.forget(hash) || (self.filling && self.small_is_full(weight));
        let at = self.place(Entry { value: Some(value), key, link: Link::NONE, tally: Tally::new(weight) });
        self.push(at, to_main);
        let (hasher, entries) = (&self.hasher, &self.entries);
        self.index.insert_unique(hash, at, |at| hasher.hash_one(entries[*at as usize].key));
        None
    }

    /// Drops `key`, if it is here. It leaves no ghost. `hash` is [`S3Fifo::hash`] of `key`.
    pub fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let at = self.find(hash, key)?;
        self.unlink(at);
        self.take(at, hash).map(|victim| victim.value)
    }

    /// Gives up the entry that is worth least. Those for which `may_leave` says no (giving them up would free
    /// nothing just now) are passed over; `None` if there is no other.
    pub fn evict(&mut self, mut may_leave: impl FnMut(&V) -> bool) -> Option<Victim<K, V>> {
        self.filling = false;
        self.evict_newcomer(&mut may_leave)
            .or_else(|| self.evict_main(&mut may_leave))
            .or_else(|| self.evict_any_newcomer(&mut may_leave))
    }

    /// Keeps more or less from now on. The owner evicts until [`S3Fifo::weight`] suits it.
    pub fn set_capacity(&mut self, capacity: Capacity) {
        self.filling |= capacity.weight > self.capacity.weight;
        self.ghosts.resize(capacity.entries);
        self.capacity = capacity;
    }

    /// As set.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Sum of the weights of what is kept; above the capacity while the owner has not evicted.
    pub fn weight(&self) -> u64 {
        self.small.weight() + self.main.weight()
    }

    /// How many entries are kept.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Memory for entries, index and ghosts, in bytes; what values point at comes on top.
    pub fn memory(&self) -> usize {
        self.index.allocation_size()
            + self.entries.capacity() * size_of::<Entry<K, V>>()
            + self.ghosts.memory()
    }

    /// Gives up a newcomer, if newcomers have more than their share.
    fn evict_newcomer(&mut self, may_leave: &mut impl FnMut(&V) -> bool) -> Option<Victim<K, V>> {
        // Every step takes one out of the small queue.
        while self.small.weight() * SMALL_PART > self.weight() {
            let at = self.pop(false)?;
            let Entry { tally, value, key, .. } = &self.entries[at as usize];
            let is_busy = !value.as_ref().is_some_and(&mut *may_leave);
            if tally.asked() >= PROMOTE_AT || is_busy {
                self.entries[at as usize].tally.forget_asked();
                self.push(at, true);
                continue;
            }
            let hash = self.hasher.hash_one(key);
            self.ghosts.remember(hash);
            return self.take(at, hash);
        }
        None
    }

    fn evict_main(&mut self, may_leave: &mut impl FnMut(&V) -> bool) -> Option<Victim<K, V>> {
        // Every round but the last lowers counters, which takes at most [`ASKED_MAX`] rounds; in the last one all
        // are busy.
        let mut busy = 0;
        while busy < self.main.len() {
            let at = self.pop(true)?;
            let entry = &mut self.entries[at as usize];
            if entry.tally.asked() > 0 {
                entry.tally.lower();
                busy = 0;
            } else if entry.value.as_ref().is_some_and(&mut *may_leave) {
                let hash = self.hasher.hash_one(entry.key);
                return self.take(at, hash);
            } else {
                busy += 1;
            }
            self.push(at, true);
        }
        None
    }

    /// The main queue has nobody to give up, so any newcomer must do.
    fn evict_any_newcomer(&mut self, may_leave: &mut impl FnMut(&V) -> bool) -> Option<Victim<K, V>> {
        for _ in 0..self.small.len() {
            let at = self.pop(false)?;
            let entry = &self.entries[at as usize];
            if entry.value.as_ref().is_some_and(&mut *may_leave) {
                let hash = self.hasher.hash_one(entry.key);
                return self.take(at, hash);
            }
            self.push(at, false);
        }
        None
    }

    fn replace(&mut self, at: u32, weight: u32, value: V) -> Option<V> {
        let tally = self.entries[at as usize].tally;
        let queue = if tally.in_main() { &mut self.main } else { &mut self.small };
        queue.reweigh(tally.weight(), weight);
        let entry = &mut self.entries[at as usize];
        entry.tally.set_weight(weight);
        entry.value.replace(value)
    }

    fn small_is_full(&self, weight: u32) -> bool {
        (self.small.weight() + u64::from(weight)) * SMALL_PART > self.capacity.weight
    }

    fn find(&self, hash: u64, key: &K) -> Option<u32> {
        self.index.find(hash, |at| self.entries[*at as usize].key == *key).copied()
    }

    fn pop(&mut self, from_main: bool) -> Option<u32> {
        let at = if from_main { self.main.oldest() } else { self.small.oldest() }?;
        self.unlink(at);
        Some(at)
    }

    fn unlink(&mut self, at: u32) {
        let tally = self.entries[at as usize].tally;
        let queue = if tally.in_main() { &mut self.main } else { &mut self.small };
        queue.unlink(&mut Links(&mut self.entries), at, tally.weight());
    }

    fn push(&mut self, at: u32, to_main: bool) {
        let tally = &mut self.entries[at as usize].tally;
        tally.set_in_main(to_main);
        let weight = tally.weight();
        let queue = if to_main { &mut self.main } else { &mut self.small };
        queue.push(&mut Links(&mut self.entries), at, weight);
    }

    /// Puts an entry into the slab.
    fn place(&mut self, entry: Entry<K, V>) -> u32 {
        let at = self.vacant;
        if let Some(vacant) = self.entries.get_mut(at as usize) {
            self.vacant = vacant.link.newer;
            *vacant = entry;
            return at;
        }
        self.entries.push(entry);
        // NIL is never a place: so many entries of 256 KiB would be a PiB.
        debug_assert!(self.entries.len() < NIL as usize, "places are counted in 32 bits");
        (self.entries.len() - 1) as u32
    }

    /// Takes an entry that is in no queue out of index and slab.
    fn take(&mut self, at: u32, hash: u64) -> Option<Victim<K, V>> {
        let indexed = self.index.find_entry(hash, |other| *other == at);
        debug_assert!(indexed.is_ok(), "whoever is in a queue is in the index");
        if let Ok(indexed) = indexed {
            indexed.remove();
        }
        let entry = &mut self.entries[at as usize];
        entry.link.newer = self.vacant;
        self.vacant = at;
        let (key, weight) = (entry.key, entry.tally.weight());
        entry.value.take().map(|value| Victim { key, value, weight })
    }
}

/// The links of the entries, as the queues see them.
struct Links<'a, K, V>(&'a mut [Entry<K, V>]);

impl<K, V> queue::Links for Links<'_, K, V> {
    fn link(&mut self, at: u32) -> &mut Link {
        &mut self.0[at as usize].link
    }
}

impl Tally {
    const ASKED: u32 = 0b11;
    const IN_MAIN: u32 = 0b100;
    const WEIGHT_SHIFT: u32 = 3;

    fn new(weight: u32) -> Self {
        Self(weight.min(WEIGHT_MAX) << Self::WEIGHT_SHIFT)
    }

    fn weight(self) -> u32 {
        self.0 >> Self::WEIGHT_SHIFT
    }

    fn set_weight(&mut self, weight: u32) {
        self.0 = Self::new(weight).0 | (self.0 & (Self::IN_MAIN | Self::ASKED));
    }

    fn in_main(self) -> bool {
        self.0 & Self::IN_MAIN != 0
    }

    fn set_in_main(&mut self, in_main: bool) {
        self.0 = if in_main { self.0 | Self::IN_MAIN } else { self.0 & !Self::IN_MAIN };
    }

    fn asked(self) -> u32 {
        self.0 & Self::ASKED
    }

    fn ask(&mut self) {
        self.0 += u32::from(self.asked() < ASKED_MAX);
    }

    fn lower(&mut self) {
        self.0 -= u32::from(self.asked() > 0);
    }

    fn forget_asked(&mut self) {
        self.0 &= !Self::ASKED;
    }
}

#[cfg(test)]
mod tests;
