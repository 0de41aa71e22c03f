//! Which places of the memory are free: slots of one chunk, and quarters of them for the tails of objects.
//!
//! Promises
//! - A place is given to one at a time.
//! - Slots in service never grow beyond the target, and shrink towards it as fast as they become free.
//! - Free quarters of a slot that is in use are given out before a whole slot is broken.
//!
//! Does not know: addresses, who waits, what is in a place.

use std::ops::Range;

/// The slots and who may have them.
#[derive(Default)]
pub(super) struct Space {
    slots: Vec<Slot>,
    /// Slots in service that are free as a whole; the last one given back is the first to be given out, because its
    /// memory is warm and present.
    free: Vec<u32>,
    /// Slots out of service, their memory given back to the system.
    retired: Vec<u32>,
    /// Slots with some quarters free, by the longest run of free quarters (1, 2, 3).
    broken: [Vec<u32>; QUARTERS as usize - 1],
    /// Invariant: the number of quarters in use over all slots.
    used: u64,
    /// Invariant: the number of slots that are not retired, nor on their way there.
    in_service: usize,
    /// Slots in service at most, once those above it are free.
    target: usize,
}

/// A run of quarters of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub slot: u32,
    first: u8,
    quarters: u8,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// One bit per quarter in use.
    used: u8,
    /// Where it is in its list of broken slots.
    at: u32,
}

/// A slot is given out in so many parts.
pub(super) const QUARTERS: u8 = 4;

const WHOLE: u8 = (1 << QUARTERS) - 1;

impl Place {
    /// Quarters of a slot that lie before it, and those that it has.
    pub fn quarters(self) -> (usize, usize) {
        (usize::from(self.first), usize::from(self.quarters))
    }

    fn is_whole(self) -> bool {
        self.quarters == QUARTERS
    }

    fn bits(self) -> u8 {
        (WHOLE >> (QUARTERS - self.quarters)) << self.first
    }
}

impl Space {
    /// Slots may be in service up to `target`. The memory of those in `retire` is to be given back, then they are
    /// [`Space::retired`]. Returns how many slots have to be [`Space::add`]ed to get there.
    pub fn aim(&mut self, target: usize, retire: &mut Vec<u32>) -> usize {
        self.target = target;
        while self.excess() > 0
            && let Some(slot) = self.free.pop()
        {
            self.in_service -= 1;
            retire.push(slot);
        }
        while self.in_service < target
            && let Some(slot) = self.retired.pop()
        {
            self.in_service += 1;
            self.free.push(slot);
        }
        target.saturating_sub(self.in_service)
    }

    /// Puts new slots into service; they carry the next numbers.
    pub fn add(&mut self, count: usize) -> Range<u32> {
        let first = self.slots.len() as u32;
        self.slots.resize(self.slots.len() + count, Slot::default());
        self.in_service += count;
        let added = first..self.slots.len() as u32;
        self.free.extend(added.clone().rev());
        added
    }

    /// The memory of these slots has been given back.
    pub fn retired(&mut self, slots: &[u32]) {
        debug_assert!(slots.iter().all(|slot| self.slots[*slot as usize].used == 0), "nobody is in them");
        self.retired.extend(slots);
    }

    /// A run of `quarters` free quarters, 4 at most.
    pub fn take(&mut self, quarters: u8) -> Option<Place> {
        debug_assert!((1..=QUARTERS).contains(&quarters), "a place is a part of a slot");
        let slot = self.fitting(quarters)?;
        let used = self.slots[slot as usize].used;
        let place = (0..=QUARTERS - quarters)
            .map(|first| Place { slot, first, quarters })
            .find(|place| used & place.bits() == 0)?;
        self.mark(slot, used | place.bits());
        self.used += u64::from(quarters);
        Some(place)
    }

    /// Takes a place back. A slot that is free and above the target is to be retired by the caller.
    pub fn give(&mut self, place: Place) -> Option<u32> {
        let used = self.slots[place.slot as usize].used;
        debug_assert_eq!(used & place.bits(), place.bits(), "a place is given back once");
        let excess = self.excess();
        self.used -= u64::from(place.quarters);
        if used & !place.bits() == 0 && excess > 0 {
            self.leave_list(place.slot);
            self.slots[place.slot as usize].used = 0;
            self.in_service -= 1;
            return Some(place.slot);
        }
        self.mark(place.slot, used & !place.bits());
        None
    }

    /// A smaller place instead of `place`, in which nothing is yet: in a broken slot if one fits, so that the rest
    /// of the whole slot does not lie idle. The slot to be retired, as in [`Space::give`].
    pub fn shrink(&mut self, place: Place, quarters: u8) -> (Place, Option<u32>) {
        debug_assert!((1..=place.quarters).contains(&quarters), "smaller, and not nothing");
        if quarters == place.quarters {
            return (place, None);
        }
        if place.is_whole()
            && self.broken[usize::from(quarters) - 1..].iter().any(|list| !list.is_empty())
            && let Some(packed) = self.take(quarters)
        {
            return (packed, self.give(place));
        }
        let rest = Place { first: place.first + quarters, quarters: place.quarters - quarters, ..place };
        let retire = self.give(rest);
        debug_assert!(retire.is_none(), "the slot is still in use");
        (Place { quarters, ..place }, retire)
    }

    /// Quarters in use.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Slots in service at most.
    pub fn target(&self) -> usize {
        self.target
    }

    /// Slots in service above the target: they were in use when it was lowered.
    pub fn excess(&self) -> usize {
        self.in_service.saturating_sub(self.target)
    }

    /// How many slots there are, in service or not; new ones carry the numbers from here on.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    fn fitting(&self, quarters: u8) -> Option<u32> {
        let broken = self.broken.iter().skip(usize::from(quarters) - 1).find_map(|list| list.last());
        broken.or_else(|| self.free.last()).copied()
    }

    /// Gives a slot its new quarters in use and puts it into the list where it belongs.
    fn mark(&mut self, slot: u32, used: u8) {
        self.leave_list(slot);
        self.slots[slot as usize].used = used;
        if let Some(list) = self.list_of(used) {
            let at = list.len() as u32;
            list.push(slot);
            self.slots[slot as usize].at = at;
        }
    }

    fn leave_list(&mut self, slot: u32) {
        let Slot { used, at } = self.slots[slot as usize];
        let Some(list) = self.list_of(used) else { return };
        // A free slot leaves from the end of its list, where it was found, or is not in it any more.
        if used == 0 {
            if list.last() == Some(&slot) {
                list.pop();
            }
            return;
        }
        debug_assert_eq!(list.get(at as usize), Some(&slot), "a broken slot is in its list");
        list.swap_remove(at as usize);
        if let Some(moved) = list.get(at as usize).copied() {
            self.slots[moved as usize].at = at;
        }
    }

    /// Where a slot belongs; nowhere if it has nothing to give.
    fn list_of(&mut self, used: u8) -> Option<&mut Vec<u32>> {
        match longest_free_run(used) {
            0 => None,
            run if run == usize::from(QUARTERS) => Some(&mut self.free),
            run => Some(&mut self.broken[run - 1]),
        }
    }
}

fn longest_free_run(used: u8) -> usize {
    // The bits above the quarters count as used.
    let (mut free, mut run) = (!used & WHOLE, 0);
    while free != 0 {
        free &= free << 1;
        run += 1;
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn space(slots: usize) -> Space {
        let mut space = Space::default();
        let missing = space.aim(slots, &mut Vec::new());
        assert_eq!(space.add(missing), 0..slots as u32);
        space
    }

    #[test]
    fn tails_share_a_slot() {
        let mut space = space(2);
        let tails: Vec<_> = (0..4).map(|_| space.take(1).unwrap()).collect();
        assert!(tails.iter().all(|tail| tail.slot == tails[0].slot));
        assert!(space.take(4).is_some() && space.take(1).is_none());
        assert_eq!(space.used(), 8);
        space.give(tails[1]);
        space.give(tails[2]);
        assert_eq!(space.take(2).map(Place::quarters), Some((1, 2)));
    }

    #[test]
    fn a_tail_that_turns_out_small_moves_to_a_broken_slot() {
        let mut space = space(2);
        let first = space.take(4).unwrap();
        let (first, _) = space.shrink(first, 1);
        let second = space.take(4).unwrap();
        let (second, _) = space.shrink(second, 3);
        assert_eq!(second.slot, first.slot);
        assert!(space.take(4).is_some(), "the other slot is whole again");
    }

    #[test]
    fn slots_above_the_target_leave_service_when_they_are_free() {
        let mut space = space(3);
        let held: Vec<_> = (0..2).map(|_| space.take(4).unwrap()).collect();
        let mut retire = Vec::new();
        assert_eq!(space.aim(1, &mut retire), 0);
        assert_eq!((retire.len(), space.excess()), (1, 1));
        space.retired(&retire);
        assert_eq!((space.take(1), space.excess()), (None, 1));
        let gone = space.give(held[0]).unwrap();
        space.retired(&[gone]);
        assert_eq!(space.give(held[1]), None);
        assert_eq!(space.aim(5, &mut Vec::new()), 2, "two come back, two are new");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u8),
        Give(usize),
        Shrink(usize, u8),
        Aim(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1..=4_u8).prop_map(Step::Take),
            4 => any::<usize>().prop_map(Step::Give),
            2 => (any::<usize>(), 1..=4_u8).prop_map(|(at, quarters)| Step::Shrink(at, quarters)),
            1 => (0..12_usize).prop_map(Step::Aim),
        ]
    }

    proptest! {
        #[test]
        fn no_two_places_ever_overlap_and_nothing_is_lost(steps in prop::collection::vec(any_step(), 1..200)) {
            let (mut space, mut held) = (space(8), Vec::<Place>::new());
            for step in steps {
                match step {
                    Step::Take(quarters) => match space.take(quarters) {
                        Some(place) => held.push(place),
                        None => prop_assert!(quarters < 4 || space.free.is_empty()),
                    },
                    Step::Give(_) | Step::Shrink(..) if held.is_empty() => {}
                    Step::Give(at) => {
                        let gone = space.give(held.swap_remove(at % held.len()));
                        gone.into_iter().for_each(|slot| space.retired(&[slot]));
                    }
                    Step::Shrink(at, quarters) => {
                        let at = at % held.len();
                        let (place, gone) = space.shrink(held[at], quarters.min(held[at].quarters));
                        gone.into_iter().for_each(|slot| space.retired(&[slot]));
                        held[at] = place;
                    }
                    Step::Aim(target) => {
                        let mut retire = Vec::new();
                        let missing = space.aim(target, &mut retire);
                        space.retired(&retire);
                        space.add(missing);
                    }
                }
                prop_assert_eq!(space.used(), held.iter().map(|place| u64::from(place.quarters)).sum::<u64>());
                for (at, place) in held.iter().enumerate() {
                    prop_assert!(!space.retired.contains(&place.slot) && !space.free.contains(&place.slot));
                    let overlaps = |other: &Place| other.slot == place.slot && other.bits() & place.bits() != 0;
                    prop_assert!(!held[at + 1..].iter().any(overlaps));
                }
                let in_use = held.iter().map(|place| place.slot).collect::<std::collections::HashSet<_>>();
                prop_assert_eq!(in_use.len() + space.free.len() + space.retired.len(), space.slots.len());
                prop_assert!(space.excess() == 0 || space.free.is_empty(), "what is free and too much is retired");
            }
        }
    }
}
