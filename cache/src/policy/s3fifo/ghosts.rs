//! Whom the small queue let go a short while ago, by a fingerprint of four bytes.
//!
//! The fingerprints lie in buckets of one cache line, each a queue of its own: together they behave like one long
//! queue, at 4 bytes per ghost instead of the 20 and more of a list with an index.
//!
//! Promises: a stranger passes for a ghost with a chance of at most 16 in 2^32.

/// A bounded memory of hashes.
pub(super) struct Ghosts {
    /// Newest first, [`EMPTY`] behind the last.
    buckets: Box<[Bucket]>,
}

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket([u32; BUCKET_LEN]);

const BUCKET_LEN: usize = 16;

/// No fingerprint.
const EMPTY: u32 = 0;

/// As long as nine tenths of what is kept.
const PART: (usize, usize) = (9, 10);

impl Ghosts {
    /// A memory that suits `entries` kept ones.
    pub fn for_entries(entries: usize) -> Self {
        let ghosts = entries.saturating_mul(PART.0) / PART.1;
        Self { buckets: vec![Bucket([EMPTY; BUCKET_LEN]); ghosts.div_ceil(BUCKET_LEN).max(1)].into() }
    }

    /// Remembers a hash in place of the oldest of its bucket.
    pub fn remember(&mut self, hash: u64) {
        let ghost = fingerprint(hash);
        let bucket = self.bucket(ghost);
        let from = bucket.iter().position(|other| *other == ghost).unwrap_or(BUCKET_LEN - 1);
        bucket[..=from].rotate_right(1);
        bucket[0] = ghost;
    }

    /// Whether the hash was remembered; it is not any more.
    pub fn forget(&mut self, hash: u64) -> bool {
        let ghost = fingerprint(hash);
        let bucket = self.bucket(ghost);
        let Some(at) = bucket.iter().position(|other| *other == ghost) else { return false };
        bucket[at..].rotate_left(1);
        bucket[BUCKET_LEN - 1] = EMPTY;
        true
    }

    /// Suits another number of kept ones; the newest ghosts stay.
    pub fn resize(&mut self, entries: usize) {
        let mut resized = Self::for_entries(entries);
        if resized.buckets.len() == self.buckets.len() {
            return;
        }
        for age in (0..BUCKET_LEN).rev() {
            for ghost in self.buckets.iter().map(|bucket| bucket.0[age]).filter(|ghost| *ghost != EMPTY) {
                let bucket = resized.bucket(ghost);
                bucket.rotate_right(1);
                bucket[0] = ghost;
            }
        }
        *self = resized;
    }

    /// Bytes.
    pub fn memory(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    fn bucket(&mut self, ghost: u32) -> &mut [u32; BUCKET_LEN] {
        let at = (u64::from(ghost) * self.buckets.len() as u64) >> u32::BITS;
        &mut self.buckets[at as usize].0
    }
}

fn fingerprint(hash: u64) -> u32 {
    (hash as u32).max(EMPTY + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(no: u64) -> u64 {
        no.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }

    #[test]
    fn a_ghost_is_told_once() {
        let mut ghosts = Ghosts::for_entries(100);
        ghosts.remember(hash(1));
        ghosts.remember(hash(1));
        assert!(ghosts.forget(hash(1)));
        assert!(!ghosts.forget(hash(1)) && !ghosts.forget(hash(2)));
    }

    #[test]
    fn the_oldest_of_a_full_bucket_is_forgotten_and_no_other() {
        let mut ghosts = Ghosts::for_entries(1);
        (1..=BUCKET_LEN as u64 + 1).for_each(|no| ghosts.remember(no));
        assert!(!ghosts.forget(1));
        assert!((2..=BUCKET_LEN as u64 + 1).all(|no| ghosts.forget(no)));
    }

    #[test]
    fn nine_tenths_of_the_entries_are_remembered_more_or_less() {
        let mut ghosts = Ghosts::for_entries(10_000);
        assert_eq!(ghosts.memory(), 9_000_usize.next_multiple_of(BUCKET_LEN) * 4);
        (0..100_000).for_each(|no| ghosts.remember(hash(no)));
        let known = (0..100_000).filter(|no| ghosts.forget(hash(*no))).count();
        assert!((8_900..=9_008).contains(&known), "{known}");
    }

    #[test]
    fn growing_keeps_all_ghosts_and_shrinking_the_newest() {
        let mut ghosts = Ghosts::for_entries(1_000);
        (0..500).for_each(|no| ghosts.remember(hash(no)));
        ghosts.resize(10_000);
        ghosts.resize(2_000);
        (0..500).for_each(|no| assert!(ghosts.forget(hash(no)), "{no}"));
        (0..500).for_each(|no| ghosts.remember(hash(no)));
        ghosts.resize(1);
        let left: Vec<u64> = (0..500).filter(|no| ghosts.forget(hash(*no))).collect();
        assert_eq!(left.len(), BUCKET_LEN);
        assert!(left.iter().sum::<u64>() / BUCKET_LEN as u64 > 250, "{left:?}");
    }
}
