//! Which chunks a volume takes in: all until it is full, from then on those that were missed before.
//!
//! Most of a long tail is asked for once. A ghost list of fingerprints remembers what was missed lately; only
//! what is missed again while in it is written. That is what keeps writes at a few hundredths per chunk served.
//!
//! Promises
//! - Memory is fixed: two bytes a ghost. A ghost is forgotten after about as many newer ones as the list is long.
//! - A chunk that was never missed is taken for one that was in fewer than one of 1,000 cases.
//!
//! Does not know: keys (it is told a hash under the volume's seed), bytes, how writing is paid for.

use super::wear::Pressure;

/// What a volume remembers of the chunks it did not take in.
pub struct Admission {
    /// Sets of fingerprints, the newest first; 0 is no fingerprint. One cache line each.
    sets: Box<[Set]>,
}

/// Whether the volume still has segments that were never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does: writing a chunk costs nobody their place.
    Free,
    /// Every write reclaims a segment in the end.
    Full,
}

/// The list is this share of the volume's chunks.
pub const GHOSTS_PER_CHUNK: f64 = 0.5;

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Set([u16; SET_LEN]);

const SET_LEN: usize = 32;
/// Set once a ghost was missed again and still not taken in.
const AGAIN: u16 = 1 << 15;
const NOBODY: u16 = 0;

impl Admission {
    /// Remembers about `ghosts` chunks: [`GHOSTS_PER_CHUNK`] of those the volume holds.
    pub fn new(ghosts: usize) -> Self {
        Self { sets: vec![Set([NOBODY; SET_LEN]); ghosts.div_ceil(SET_LEN).max(1)].into() }
    }

    /// Whether to write a chunk that was just fetched; `hash` is its key's. Under pressure it takes a third miss,
    /// under more pressure nothing is enough; misses are remembered all the same.
    pub fn admit(&mut self, hash: u64, room: Room, pressure: Pressure) -> bool {
        let (set, fingerprint) = self.home(hash);
        let needed = match (room, pressure) {
            (_, Pressure::StopAdmission) => None,
            (Room::Free, Pressure::None) => Some(0),
            (Room::Full, Pressure::None) | (Room::Free, Pressure::RaiseAdmission) => Some(1),
            (Room::Full, Pressure::RaiseAdmission) => Some(2),
        };
        let admitted = needed.is_some_and(|needed| set.missed(fingerprint) >= needed);
        if admitted {
            set.forget(fingerprint);
        } else {
            set.remember(fingerprint);
        }
        admitted
    }

    /// Memory in bytes. Fixed.
    pub fn bytes(&self) -> u64 {
        size_of_val(&*self.sets) as u64
    }

    fn home(&mut self, hash: u64) -> (&mut Set, u16) {
        let set = (u128::from(hash) * self.sets.len() as u128) >> 64;
        // Low bits: the set is chosen by the high ones.
        let fingerprint = (hash as u16 & !AGAIN).max(NOBODY + 1);
        (&mut self.sets[set as usize], fingerprint)
    }
}

impl Set {
    /// How often a chunk was missed as far as is remembered: 2 stands for more, too.
    fn missed(&self, fingerprint: u16) -> u8 {
        match self.find(fingerprint) {
            None => 0,
            Some(at) if self.0[at] & AGAIN == 0 => 1,
            Some(_) => 2,
        }
    }

    /// Counts one more miss. A ghost that is known grows no younger.
    fn remember(&mut self, fingerprint: u16) {
        match self.find(fingerprint) {
            Some(at) => self.0[at] |= AGAIN,
            None => {
                self.0.copy_within(..SET_LEN - 1, 1);
                self.0[0] = fingerprint;
            }
        }
    }

    fn forget(&mut self, fingerprint: u16) {
        if let Some(at) = self.find(fingerprint) {
            self.0.copy_within(at + 1.., at);
            self.0[SET_LEN - 1] = NOBODY;
        }
    }

    fn find(&self, fingerprint: u16) -> Option<usize> {
        self.0.iter().position(|ghost| ghost & !AGAIN == fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Spreads small numbers over 64 bits.
    fn hash(no: u64) -> u64 {
        let mut hash = no.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        hash ^ (hash >> 32)
    }

    #[test]
    fn a_volume_with_room_takes_everything_and_a_full_one_what_is_missed_twice() {
        let mut admission = Admission::new(1000);
        assert!(admission.admit(hash(1), Room::Free, Pressure::None));
        assert!(!admission.admit(hash(1), Room::Full, Pressure::None));
        assert!(admission.admit(hash(1), Room::Full, Pressure::None));
        assert!(!admission.admit(hash(1), Room::Full, Pressure::None), "it starts anew once taken in");
    }

    #[test]
    fn pressure_asks_for_one_more_miss_and_then_for_more_than_there_are() {
        let mut admission = Admission::new(1000);
        let mut admit = |room, pressure| admission.admit(hash(1), room, pressure);
        assert!(!admit(Room::Free, Pressure::RaiseAdmission));
        assert!(admit(Room::Free, Pressure::RaiseAdmission));
        assert!(!admit(Room::Full, Pressure::RaiseAdmission));
        assert!(!admit(Room::Full, Pressure::RaiseAdmission));
        assert!(admit(Room::Full, Pressure::RaiseAdmission));
        (0..9).for_each(|_| assert!(!admit(Room::Free, Pressure::StopAdmission)));
        assert!(admit(Room::Full, Pressure::RaiseAdmission), "what was missed meanwhile is remembered");
    }

    #[test]
    fn a_chunk_that_was_never_missed_is_hardly_ever_taken_for_one_that_was() {
        let mut admission = Admission::new(20_000);
        let taken = (0..40_000).filter(|no| admission.admit(hash(*no), Room::Full, Pressure::None)).count();
        assert!(taken < 60, "{taken} of 40000");
    }

    #[test]
    fn the_list_is_about_as_long_as_asked_for_and_takes_two_bytes_a_ghost() {
        const GHOSTS: u64 = 32_000;
        let remembered = |newer: u64| {
            let mut admission = Admission::new(GHOSTS as usize);
            assert_eq!(admission.bytes(), GHOSTS * 2);
            for no in 0..1000 + newer {
                admission.admit(hash(no), Room::Full, Pressure::None);
            }
            (0..1000).filter(|no| admission.admit(hash(*no), Room::Full, Pressure::None)).count()
        };
        assert!(remembered(GHOSTS / 2) > 990);
        assert!(remembered(GHOSTS * 2) < 10);
    }

    proptest! {
        /// While no set runs over, misses are counted exactly.
        #[test]
        fn a_short_list_of_misses_is_counted_like_by_a_map(
            misses in prop::collection::vec((0..20_u64, any::<bool>(), 0..3_usize), 0..100)
        ) {
            let mut admission = Admission::new(SET_LEN * 64);
            let mut model = std::collections::HashMap::<u64, u8>::new();
            for (no, full, pressure) in misses {
                let room = if full { Room::Full } else { Room::Free };
                let (pressure, more) = [
                    (Pressure::None, 0), (Pressure::RaiseAdmission, 1), (Pressure::StopAdmission, 9),
                ][pressure];
                let missed = model.entry(no).or_default();
                let expected = *missed >= u8::from(full) + more;
                *missed = if expected { 0 } else { (*missed + 1).min(2) };
                prop_assert_eq!(admission.admit(hash(no), room, pressure), expected);
            }
        }
    }
}
