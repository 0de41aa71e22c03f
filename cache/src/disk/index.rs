//! Where chunks are on a volume: a fixed table of eight-byte slots.
//!
//! A slot keeps a tag of 14 bits, not the key: what is found are candidates, and the record's own header decides.
//! A key has two buckets of eight slots; among 16 slots a foreign tag fits once in 1,400 look-ups.
//!
//! Promises
//! - Memory is fixed when the index is made: 11.2 bytes an entry at the fill it is made for ([`FILL`]).
//! - Looking up takes no lock. An entry that stays is found, and what is found was put in so.
//! - Inserting touches two cache lines and never grows the table; when both buckets are full the coldest entry
//!   goes, and the caller hears which.
//! - Who cannot know the seed cannot choose keys that collide: the hash is SipHash-1-3 under it.
//!
//! Does not know: what is in a record, which of two records of a key is newer, who reads which segment.

mod slot;
mod table;

pub use slot::{Entry, FREQ_MAX, Marks, PAGES_MAX, Place, SEGMENTS_MAX};

use crate::object::ChunkKey;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use table::{Home, Put, Table};

/// The index of one volume.
pub struct Index {
    table: Table<AtomicU64>,
    seed: u64,
    /// Invariant: the full slots, up to calls in progress.
    len: AtomicU64,
}

/// The hash of a key under the volume's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash {
    first: u64,
    second: u64,
}

/// The entries that may be a key's, at most 16, in no order: the caller knows which segment is newer.
#[derive(Clone, Copy, Debug)]
pub struct Candidates {
    found: [u64; CANDIDATES_MAX],
    len: usize,
}

/// An entry that had to go because no slot of another key's buckets was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted(pub Entry);

/// The share of slots that are full when the index holds the entries it was made for. Two buckets of eight
/// run over for about one key in a million there.
pub const FILL: f64 = 1.0 / 1.4;
/// More entries than this are never found for one key: two buckets of eight.
pub const CANDIDATES_MAX: usize = 16;

impl Index {
    /// An empty index for `entries` records; `seed` is the volume's, from chance.
    pub fn new(entries: usize, seed: u64) -> Self {
        let buckets = (entries as f64 / FILL / 8.0).ceil() as usize;
        Self { table: Table::new(buckets), seed, len: AtomicU64::new(0) }
    }

    /// The hash of `key`; everything below that takes a key computes it anew.
    pub fn hash(&self, key: ChunkKey) -> KeyHash {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(key.obj.as_bytes());
        bytes[16..].copy_from_slice(&key.no.to_le_bytes());
        let mut hasher = SipHasher13::new_with_keys(self.seed, !self.seed);
        hasher.write(&bytes);
        let hash = hasher.finish128();
        KeyHash { first: hash.h1, second: hash.h2 }
    }

    /// Whatever may be `key`'s. Takes no lock.
    pub fn find(&self, key: ChunkKey) -> Candidates {
        let home = self.home(key);
        let mut candidates = Candidates { found: [slot::EMPTY; CANDIDATES_MAX], len: 0 };
        for word in self.table.home(home).map(table::Word::load) {
            if slot::tagged(word, home.tag) {
                candidates.found[candidates.len] = word;
                candidates.len += 1;
            }
        }
        candidates
    }

    /// Counts a hit, up to [`FREQ_MAX`]; the count before, or none if `place` is not `key`'s any more. A record
    /// whose count was 0 is one more that its segment's share of hit records speaks of.
    pub fn hit(&self, key: ChunkKey, place: Place) -> Option<u8> {
        let more = |word| slot::with_freq(word, slot::freq(word) + 1);
        self.table.change(self.home(key), place, more).map(slot::freq)
    }

    /// Keeps `place` for `key`, beside other places of it. Where that very place is known, its marks change. A
    /// place that does not [fit](Place::fits) is not kept.
    pub fn insert(&self, key: ChunkKey, place: Place, marks: Marks) -> Option<Evicted> {
        let home = self.home(key);
        let word = slot::pack(home.tag, Entry { place, marks });
        debug_assert!(word.is_some(), "{place:?} does not fit a slot");
        match self.table.put(home, place, word?) {
            Put::Added => {
                self.len.fetch_add(1, Ordering::Relaxed);
                None
            }
            Put::Renewed => None,
            Put::Instead(word) => slot::unpack(word).map(Evicted),
        }
    }

    /// Points `key` at `new` with `marks` in place of `old`; `false`, and nothing changed, if `old` is not its
    /// place any more. A reader finds the one or the other.
    pub fn replace(&self, key: ChunkKey, old: Place, new: Place, marks: Marks) -> bool {
        let home = self.home(key);
        let Some(word) = slot::pack(home.tag, Entry { place: new, marks }) else { return false };
        self.table.change(home, old, |_| word).is_some()
    }

    /// Forgets `place`; `false` if it is not `key`'s any more.
    pub fn remove(&self, key: ChunkKey, place: Place) -> bool {
        let removed = self.table.change(self.home(key), place, |_| slot::EMPTY).is_some();
        if removed {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }

    /// The count of hits of `key`'s record at `place`.
    pub fn freq(&self, key: ChunkKey, place: Place) -> Option<u8> {
        self.marks(key, place).map(|marks| marks.freq)
    }

    /// How `key`'s record at `place` fares.
    pub fn marks(&self, key: ChunkKey, place: Place) -> Option<Marks> {
        self.find(key).iter().find(|entry| entry.place == place).map(|entry| entry.marks)
    }

    /// Halves the counts of up to `count` slots from slot `from` on; calls `cooled` with each entry that has no
    /// hit left. Returns where to go on, or none at the end of the table. A million slots take milliseconds.
    pub fn decay(&self, from: usize, count: usize, mut cooled: impl FnMut(Entry)) -> Option<usize> {
        let end = from.saturating_add(count).min(self.slots());
        (from..end).filter_map(|at| self.table.halve(at)).for_each(&mut cooled);
        (end < self.slots()).then_some(end)
    }

    /// Every entry, in the order of the table. What is inserted or removed meanwhile may be in it or not.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..self.slots()).filter_map(|at| slot::unpack(self.word(at)))
    }

    /// Slot `at` as it is, for a snapshot; 0 when empty. Means something only to an index of the same seed and
    /// number of slots.
    pub fn word(&self, at: usize) -> u64 {
        self.table.slot(at).map_or(slot::EMPTY, table::Word::load)
    }

    /// Fills slot `at` from a snapshot, if it is empty and there is such a slot; whether it did.
    pub fn restore(&self, at: usize, word: u64) -> bool {
        let put = slot::unpack(word).is_some_and(|entry| entry.place.fits())
            && self.table.slot(at).is_some_and(|slot| table::Word::exchange(slot, slot::EMPTY, word).is_ok());
        if put {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        put
    }

    /// Forgets every entry of a segment and tells `gone` each. Reads the whole table: for a segment whose records are
    /// not known.
    pub fn sweep(&self, segment: u32, mut gone: impl FnMut(Entry)) {
        for slot in (0..self.slots()).filter_map(|at| self.table.slot(at)) {
            let mut word = table::Word::load(slot);
            // Again if a hit was counted meanwhile.
            while let Some(entry) = slot::unpack(word).filter(|entry| entry.place.segment == segment) {
                match table::Word::exchange(slot, word, slot::EMPTY) {
                    Ok(_) => {
                        self.len.fetch_sub(1, Ordering::Relaxed);
                        gone(entry);
                        break;
                    }
                    Err(now) => word = now,
                }
            }
        }
    }

    /// Slots, full or not. Fixed.
    pub fn slots(&self) -> usize {
        self.table.slots()
    }

    /// Memory of the table in bytes. Fixed.
    pub fn bytes(&self) -> u64 {
        self.slots() as u64 * 8
    }

    /// Entries.
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn home(&self, key: ChunkKey) -> Home {
        home(self.hash(key), self.table.buckets())
    }
}

impl KeyHash {
    /// 64 bits for tables of another size, like the ghosts of admission.
    pub fn as_u64(self) -> u64 {
        self.first ^ self.second.rotate_left(32)
    }
}

impl Candidates {
    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        self.found[..self.len].iter().filter_map(|word| slot::unpack(*word))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none: the key is not on the volume.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The entry in a slot's word, unless it is empty.
pub fn entry_of(word: u64) -> Option<Entry> {
    slot::unpack(word)
}

/// Buckets from the high bits of either half, the tag from low bits of the first: they say nothing about each
/// other as long as there are fewer than 2^50 buckets.
fn home(hash: KeyHash, buckets: usize) -> Home {
    let among = |half: u64, count: usize| ((u128::from(half) * count as u128) >> 64) as usize;
    let first = among(hash.first, buckets);
    // One of the others, so that there are always two.
    let second = among(hash.second, buckets - 1);
    let second = if second < first { second } else { second + 1 };
    Home { buckets: [first, second], tag: hash.first & ((1 << slot::TAG_BITS) - 1) }
}

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;
