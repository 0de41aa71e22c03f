//! The table behind the index: buckets of atomic words, each key at home in two of them.
//!
//! Promises
//! - A word is written by one atomic exchange and never moved: a reader sees it whole, and sees it as long as it
//!   stays.
//! - Reading takes no lock; writing does not wait for readers.
//!
//! Does not know: keys. It is told two buckets and a tag.

use super::slot::{self, EMPTY, Entry, Place};
use std::sync::atomic::{AtomicU64, Ordering};

/// An atomic word. A trait, so that the model checker can put its own in.
pub(super) trait Word: Send + Sync {
    fn new(word: u64) -> Self;
    fn load(&self) -> u64;
    fn exchange(&self, old: u64, new: u64) -> Result<u64, u64>;
    fn swap(&self, new: u64) -> u64;
}

/// Where a key may be: two buckets and the tag it carries there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub buckets: [usize; 2],
    pub tag: u64,
}

/// What became of a word that was to be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It took an empty slot.
    Added,
    /// The place was there already; its marks are the new ones now.
    Renewed,
    /// It took the slot of this word.
    Instead(u64),
}

/// `WIDTH` words in one cache line if `WIDTH` is 8.
#[repr(align(64))]
struct Bucket<W, const WIDTH: usize>([W; WIDTH]);

pub(super) struct Table<W, const WIDTH: usize = 8> {
    buckets: Box<[Bucket<W, WIDTH>]>,
}

/// A put that loses this many races takes a slot by force.
const TRIES_MAX: u32 = 32;

impl<W: Word, const WIDTH: usize> Table<W, WIDTH> {
    pub fn new(buckets: usize) -> Self {
        let bucket = |_| Bucket(std::array::from_fn(|_| W::new(EMPTY)));
        Self { buckets: (0..buckets.max(2)).map(bucket).collect() }
    }

    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    pub fn slots(&self) -> usize {
        self.buckets.len() * WIDTH
    }

    /// The slot numbered `at`, in the order of the table.
    pub fn slot(&self, at: usize) -> Option<&W> {
        self.buckets.get(at / WIDTH)?.0.get(at % WIDTH)
    }

    /// The slots of both buckets.
    pub fn home(&self, home: Home) -> impl Iterator<Item = &W> {
        home.buckets.into_iter().flat_map(|bucket| &self.buckets[bucket].0)
    }

    /// Puts `word` into one of its buckets: over the same place, else where there is more room, else over the
    /// coldest.
    pub fn put(&self, home: Home, place: Place, word: u64) -> Put {
        for _ in 0..TRIES_MAX {
            let (slot, old) = self.seat(home, place);
            if slot.exchange(old, word).is_ok() {
                return put(old, home, place);
            }
        }
        let (slot, _) = self.seat(home, place);
        put(slot.swap(word), home, place)
    }

    /// Exchanges the word that points at `place` for what `change` makes of it; hands back the old one.
    pub fn change(&self, home: Home, place: Place, change: impl Fn(u64) -> u64) -> Option<u64> {
        for slot in self.home(home) {
            let mut old = slot.load();
            while slot::points_at(old, home.tag, place) {
                let new = change(old);
                if new == old {
                    return Some(old);
                }
                match slot.exchange(old, new) {
                    Ok(_) => return Some(old),
                    Err(now) => old = now,
                }
            }
        }
        None
    }

    /// Halves the count of the slot numbered `at`; hands back the entry if that took its last hit away.
    pub fn halve(&self, at: usize) -> Option<Entry> {
        let slot = self.slot(at)?;
        let mut old = slot.load();
        while slot::freq(old) > 0 {
            let freq = slot::freq(old) / 2;
            match slot.exchange(old, slot::with_freq(old, freq)) {
                Ok(_) => return slot::unpack(old).filter(|_| freq == 0),
                Err(now) => old = now,
            }
        }
        None
    }

    /// The slot that a word goes into, and what it holds.
    fn seat(&self, home: Home, place: Place) -> (&W, u64) {
        let mut free: [Option<&W>; 2] = [None; 2];
        let mut room = [0_usize; 2];
        let mut coldest = None;
        for (side, bucket) in home.buckets.into_iter().enumerate() {
            for slot in &self.buckets[bucket].0 {
                let word = slot.load();
                if slot::points_at(word, home.tag, place) {
                    return (slot, word);
                }
                if word == EMPTY {
                    room[side] += 1;
                    free[side] = free[side].or(Some(slot));
                } else if coldest.is_none_or(|(_, least)| slot::warmth(word) < slot::warmth(least)) {
                    coldest = Some((slot, word));
                }
            }
        }
        let roomier = usize::from(room[1] > room[0]);
        match (free[roomier], coldest) {
            (Some(slot), _) => (slot, EMPTY),
            (None, Some(coldest)) => coldest,
            (None, None) => unreachable!("a bucket has slots, and each is free or full"),
        }
    }
}

/// What it means that `old` stood where a word for `place` went.
fn put(old: u64, home: Home, place: Place) -> Put {
    match old {
        EMPTY => Put::Added,
        old if slot::points_at(old, home.tag, place) => Put::Renewed,
        old => Put::Instead(old),
    }
}

impl Word for AtomicU64 {
    fn new(word: u64) -> Self {
        Self::new(word)
    }

    // Acquire and release: whoever reads a place also sees what was written before it was put in (the staging
    // buffer, the segment's number).
    fn load(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn exchange(&self, old: u64, new: u64) -> Result<u64, u64> {
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
    }

    fn swap(&self, new: u64) -> u64 {
        self.swap(new, Ordering::AcqRel)
    }
}
