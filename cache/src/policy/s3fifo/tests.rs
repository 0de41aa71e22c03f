use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};

type Fixed = BuildHasherDefault<DefaultHasher>;
type Cache = S3Fifo<u16, u32, Fixed>;

fn cache(weight: u64) -> Cache {
    S3Fifo::new(Capacity { weight, entries: weight as usize }, Fixed::default())
}

trait ByKey {
    fn ask(&mut self, key: u16) -> Option<u32>;
    fn has(&self, key: u16) -> bool;
    fn put(&mut self, key: u16, weight: u32, value: u32) -> Option<u32>;
}

impl ByKey for Cache {
    fn ask(&mut self, key: u16) -> Option<u32> {
        self.get(self.hash(&key), &key).copied()
    }
    fn has(&self, key: u16) -> bool {
        self.peek(self.hash(&key), &key).is_some()
    }
    fn put(&mut self, key: u16, weight: u32, value: u32) -> Option<u32> {
        self.insert(self.hash(&key), key, weight, value)
    }
}

/// The same policy, from its description, with plain lists.
#[derive(Default)]
struct Model {
    capacity: u64,
    small: VecDeque<u16>,
    main: VecDeque<u16>,
    kept: HashMap<u16, (u32, u32, u32)>,
    ghosts: VecDeque<u16>,
    has_evicted: bool,
}

impl Model {
    fn weight_of(&self, queue: &VecDeque<u16>) -> u64 {
        queue.iter().map(|key| u64::from(self.kept[key].1)).sum()
    }

    fn put(&mut self, key: u16, weight: u32, value: u32) -> Option<u32> {
        if let Some((old, old_weight, _)) = self.kept.get_mut(&key) {
            *old_weight = weight;
            return Some(std::mem::replace(old, value));
        }
        let was_ghost = self.ghosts.contains(&key);
        self.ghosts.retain(|ghost| *ghost != key);
        let small_full = (self.weight_of(&self.small) + u64::from(weight)) * 10 > self.capacity;
        let to_main = was_ghost || (!self.has_evicted && small_full);
        self.kept.insert(key, (value, weight, 0));
        if to_main {
            self.main.push_back(key)
        } else {
            self.small.push_back(key)
        }
        None
    }

    fn ask(&mut self, key: u16) -> Option<u32> {
        let (value, _, asked) = self.kept.get_mut(&key)?;
        *asked = (*asked + 1).min(3);
        Some(*value)
    }

    fn remove(&mut self, key: u16) -> Option<u32> {
        self.small.retain(|other| *other != key);
        self.main.retain(|other| *other != key);
        self.kept.remove(&key).map(|(value, _, _)| value)
    }

    fn evict(&mut self, busy: &HashSet<u32>) -> Option<u16> {
        self.has_evicted = true;
        let is_busy = |model: &Self, key: &u16| busy.contains(&model.kept[key].0);
        while self.weight_of(&self.small) * 10 > self.weight_of(&self.small) + self.weight_of(&self.main) {
            let key = self.small.pop_front()?;
            if self.kept[&key].2 >= 2 || is_busy(self, &key) {
                self.kept.get_mut(&key).unwrap().2 = 0;
                self.main.push_back(key);
            } else {
                self.ghosts.retain(|ghost| *ghost != key);
                self.ghosts.push_front(key);
                self.ghosts.truncate(16);
                self.kept.remove(&key);
                return Some(key);
            }
        }
        let mut passed_over = 0;
        while passed_over < self.main.len() {
            let key = self.main.pop_front()?;
            if self.kept[&key].2 > 0 {
                self.kept.get_mut(&key).unwrap().2 -= 1;
                passed_over = 0;
            } else if !is_busy(self, &key) {
                self.kept.remove(&key);
                return Some(key);
            } else {
                passed_over += 1;
            }
            self.main.push_back(key);
        }
        let at = self.small.iter().position(|key| !is_busy(self, key));
        self.small.rotate_left(at.unwrap_or(0));
        let key = at.and_then(|_| self.small.pop_front())?;
        self.kept.remove(&key);
        Some(key)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u16),
    Put(u16, u32),
    Remove(u16),
    Evict(HashSet<u32>),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40_u16).prop_map(Step::Ask),
        4 => (0..40_u16, 1..5_u32).prop_map(|(key, weight)| Step::Put(key, weight)),
        1 => (0..40_u16).prop_map(Step::Remove),
        2 => Just(Step::Evict(HashSet::new())),
        1 => prop::collection::hash_set(0..40_u32, 0..40).prop_map(Step::Evict),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn whoever_the_description_gives_up_is_given_up(steps in prop::collection::vec(any_step(), 1..200)) {
        // One bucket of ghosts, so that their order is that of a plain list.
        let mut cache = S3Fifo::new(Capacity { weight: 30, entries: 16 }, Fixed::default());
        let mut model = Model { capacity: 30, ..Model::default() };
        for step in steps {
            match step {
                Step::Ask(key) => prop_assert_eq!(cache.ask(key), model.ask(key)),
                Step::Put(key, weight) => {
                    let value = u32::from(key);
                    prop_assert_eq!(cache.put(key, weight, value), model.put(key, weight, value));
                }
                Step::Remove(key) => prop_assert_eq!(cache.remove(cache.hash(&key), &key), model.remove(key)),
                Step::Evict(busy) => {
                    let victim = cache.evict(|value| !busy.contains(value));
                    prop_assert_eq!(victim.map(|victim| victim.key), model.evict(&busy));
                }
            }
            prop_assert_eq!(cache.len(), model.kept.len());
            prop_assert_eq!(cache.weight(), model.weight_of(&model.small) + model.weight_of(&model.main));
            prop_assert!(model.kept.keys().all(|key| cache.has(*key)));
        }
    }
}

#[test]
fn a_victim_says_all_that_was_inserted() {
    let mut cache = cache(10);
    cache.put(7, 3, 70);
    assert_eq!(cache.put(7, 4, 71), Some(70), "a new value takes the place of the old one");
    assert_eq!((cache.len(), cache.weight()), (1, 4));
    assert_eq!(cache.evict(|_| true), Some(Victim { key: 7, value: 71, weight: 4 }));
    assert_eq!((cache.evict(|_| true), cache.is_empty(), cache.weight()), (None, true, 0));
}

#[test]
fn a_scan_does_not_wash_out_what_is_asked_for_again() {
    let mut cache = cache(300);
    for key in 0..100 {
        cache.put(key, 1, 0);
        (0..2).for_each(|_| assert!(cache.ask(key).is_some()));
    }
    for key in 1_000..3_000 {
        cache.put(key, 1, 0);
        while cache.weight() > cache.capacity().weight {
            assert!(cache.evict(|_| true).is_some());
        }
    }
    let left = (0..100).filter(|key| cache.has(*key)).count();
    assert_eq!(left, 100);
}

#[test]
fn whoever_comes_back_soon_goes_to_the_main_queue() {
    let mut cache = cache(10);
    (0..11).for_each(|key| assert_eq!(cache.put(key, 1, 0), None));
    let first = cache.evict(|_| true).map(|victim| victim.key);
    assert_eq!(first, Some(1), "the small queue has no more than its tenth: the main queue gives");
    (11..13).for_each(|key| assert_eq!(cache.put(key, 1, 0), None));
    let gone = cache.evict(|_| true).unwrap().key;
    cache.put(gone, 1, 0);
    let at = cache.find(cache.hash(&gone), &gone).unwrap();
    assert!(cache.entries[at as usize].tally.in_main());
}

#[test]
fn a_busy_crowd_hides_nobody_who_may_leave() {
    let mut cache = cache(100);
    (0..50).for_each(|key| _ = cache.put(key, 1, u32::from(key)));
    (0..3).for_each(|_| _ = cache.ask(49));
    assert_eq!(cache.evict(|value| *value == 49).map(|victim| victim.key), Some(49));
    assert_eq!(cache.evict(|_| false), None);
    assert_eq!(cache.len(), 49);
}

#[test]
fn places_are_used_again() {
    let mut cache = cache(100);
    for key in 0..10_000 {
        cache.put(key, 1, 0);
        while cache.weight() > 100 {
            cache.evict(|_| true);
        }
    }
    assert_eq!((cache.len(), cache.entries.len()), (100, 101));
}

#[test]
fn an_entry_of_a_chunk_costs_at_most_64_bytes_in_all() {
    // As in ram.rs: a key of 20 bytes; a version and a pointer.
    type Kept = (u64, std::sync::Arc<()>);
    assert_eq!(size_of::<Entry<([u8; 16], u32), Kept>>(), 48);
    let entries = 11_444 / 64;
    let mut cache =
        S3Fifo::<u64, [u64; 2], Fixed>::new(Capacity { weight: entries, entries: 178 }, Fixed::default());
    for key in 0..entries {
        cache.insert(cache.hash(&key), key, 1, [0; 2]);
    }
    let beside = cache.index.allocation_size() + cache.ghosts.memory();
    assert!(beside / 178 <= 16, "{beside}");
}

#[test]
fn more_room_is_filled_before_anyone_has_to_go() {
    let mut cache = cache(10);
    (0..20).for_each(|key| _ = cache.put(key, 1, 0));
    (0..10).for_each(|_| _ = cache.evict(|_| true));
    cache.set_capacity(Capacity { weight: 100, entries: 100 });
    (100..190).for_each(|key| _ = cache.put(key, 1, 0));
    assert!(cache.small.weight() <= 10, "{}", cache.small.weight());
    cache.set_capacity(Capacity { weight: 5, entries: 5 });
    while cache.weight() > cache.capacity().weight {
        cache.evict(|_| true).unwrap();
    }
    assert_eq!(cache.len(), 5);
}
