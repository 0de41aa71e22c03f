//! Which volume a chunk belongs to: weighted rendezvous of its object and group.
//!
//! Promises
//! - Every volume gets its share by weight. When one goes, only its own chunks move; when it is back, they are its
//!   own again.
//! - Neighbours within a group of 1 MiB are on one volume, so that they can be read at once.
//!
//! Does not know: what state a volume is in.

use crate::object::ChunkKey;
use antiphon_core::Dice;
use antiphon_core::chunk::GROUP;

/// A volume as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seat {
    /// Made of its name, so that another order in the configuration moves nothing.
    id: u64,
    /// In proportion to what it holds. Above zero.
    weight: f64,
}

impl Seat {
    /// The seat of the volume called `name` with `bytes` of room.
    pub fn new(name: &str, bytes: u64) -> Self {
        Self { id: mix_name(0, name, 0), weight: bytes.max(1) as f64 }
    }

    /// How strongly the volume wants the chunk: the highest bid has it.
    pub fn bid(&self, key: ChunkKey) -> f64 {
        let (low, high) = key.obj.as_bytes().split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let hash = mix(mix(mix(self.id ^ word(low)) ^ word(high)) ^ u64::from(key.no / GROUP));
        // 53 bits, in (0, 1): the logarithm is finite and below zero.
        let share = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -self.weight / share.ln()
    }
}

/// Numbers that differ by seed, name and purpose.
pub(super) fn mix_name(seed: u64, name: &str, purpose: u64) -> u64 {
    name.bytes().fold(mix(seed ^ purpose), |hash, byte| mix(hash ^ u64::from(byte)))
}

fn mix(word: u64) -> u64 {
    Dice::new(word).roll()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjName;

    fn keys(count: u32) -> impl Iterator<Item = ChunkKey> {
        (0..count).map(|n| ChunkKey { obj: ObjName::new(&format!("/a/{}", n / 8)).key(), no: n % 8 })
    }

    fn home(seats: &[Seat], key: ChunkKey) -> usize {
        (0..seats.len()).max_by(|a, b| seats[*a].bid(key).total_cmp(&seats[*b].bid(key))).unwrap()
    }

    #[test]
    fn chunks_fall_on_volumes_in_proportion_to_their_size() {
        let seats = [Seat::new("a", 1 << 40), Seat::new("b", 1 << 40), Seat::new("c", 2 << 40)];
        let mut counts = [0_u32; 3];
        keys(40_000).for_each(|key| counts[home(&seats, key)] += 1);
        for (count, expected) in counts.iter().zip([10_000, 10_000, 20_000]) {
            assert!(count.abs_diff(expected) < 800, "{counts:?}");
        }
    }

    #[test]
    fn only_the_chunks_of_a_volume_that_goes_move() {
        let seats = ["a", "b", "c", "d"].map(|name| Seat::new(name, 1 << 40));
        let left = [seats[0], seats[1], seats[3]];
        for key in keys(4_000) {
            let (before, after) = (home(&seats, key), home(&left, key));
            assert!(before == 2 || seats[before] == left[after]);
        }
    }

    #[test]
    fn a_megabyte_stays_together_and_an_object_does_not() {
        let seats = ["a", "b", "c", "d"].map(|name| Seat::new(name, 1 << 40));
        let obj = ObjName::new("/a/long").key();
        let homes: Vec<usize> = (0..64).map(|no| home(&seats, ChunkKey { obj, no })).collect();
        assert!(homes.chunks(4).all(|group| group.iter().all(|home| *home == group[0])));
        assert!(homes.iter().any(|home| *home != homes[0]));
    }

    #[test]
    fn the_order_in_the_file_moves_nothing() {
        let (one, two) = ([Seat::new("a", 1), Seat::new("b", 1)], [Seat::new("b", 1), Seat::new("a", 1)]);
        assert!(keys(100).all(|key| one[home(&one, key)] == two[home(&two, key)]));
    }
}
