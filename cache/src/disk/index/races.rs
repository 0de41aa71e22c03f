//! The table under every interleaving of a few threads, with loom: it is the shipping code over loom's own words, in
//! buckets of two.

use super::slot::{self, Entry, Marks, Place};
use super::table::{Home, Put, Table, Word};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

impl Word for AtomicU64 {
    fn new(word: u64) -> Self {
        Self::new(word)
    }

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

type Small = Table<AtomicU64, 2>;

const HOME: Home = Home { buckets: [0, 1], tag: 5 };
const OTHER: Home = Home { buckets: [0, 1], tag: 9 };

fn place(segment: u32) -> Place {
    Place { segment, page: segment as u16, pages: 65 }
}

fn put(table: &Small, home: Home, segment: u32) -> Put {
    let entry = Entry { place: place(segment), marks: Marks::default() };
    table.put(home, entry.place, slot::pack(home.tag, entry).unwrap())
}

fn replace(table: &Small, home: Home, old: u32, new: u32) -> bool {
    let entry = Entry { place: place(new), marks: Marks::default() };
    let word = slot::pack(home.tag, entry).unwrap();
    table.change(home, place(old), |_| word).is_some()
}

fn remove(table: &Small, home: Home, segment: u32) -> bool {
    table.change(home, place(segment), |_| slot::EMPTY).is_some()
}

fn hit(table: &Small, home: Home, segment: u32) -> Option<u8> {
    table.change(home, place(segment), |word| slot::with_freq(word, slot::freq(word) + 1)).map(slot::freq)
}

/// The segments a reader finds; a place is torn if its page is not its segment's.
fn find(table: &Small, home: Home) -> Vec<u32> {
    let words: Vec<u64> =
        table.home(home).map(Word::load).filter(|word| slot::tagged(*word, home.tag)).collect();
    let places = words.iter().filter_map(|word| slot::unpack(*word)).map(|entry| entry.place);
    places
        .inspect(|found| assert_eq!(*found, place(found.segment), "torn"))
        .map(|found| found.segment)
        .collect()
}

/// Runs `act` beside the caller.
fn beside<T: 'static>(table: &Arc<Small>, act: impl FnOnce(&Small) -> T + 'static) -> thread::JoinHandle<T> {
    let table = Arc::clone(table);
    thread::spawn(move || act(&table))
}

#[test]
fn a_reader_finds_the_old_place_or_the_new_one() {
    loom::model(|| {
        let table = Arc::new(Small::new(2));
        put(&table, HOME, 1);
        let reader = beside(&table, |table| find(table, HOME));
        assert!(replace(&table, HOME, 1, 2));
        let found = reader.join().unwrap();
        assert!(found == [1] || found == [2], "{found:?}");
        assert_eq!(find(&table, HOME), [2]);
    });
}

#[test]
fn what_stays_is_found_while_neighbours_come_and_go() {
    loom::model(|| {
        let table = Arc::new(Small::new(2));
        put(&table, OTHER, 7);
        put(&table, HOME, 1);
        let reader = beside(&table, |table| find(table, HOME));
        assert!(remove(&table, OTHER, 7));
        assert_eq!(put(&table, OTHER, 8), Put::Added);
        hit(&table, HOME, 1);
        assert_eq!(reader.join().unwrap(), [1]);
    });
}

#[test]
fn of_two_who_remove_or_replace_an_entry_one_does() {
    loom::model(|| {
        let table = Arc::new(Small::new(2));
        put(&table, HOME, 1);
        let remover = beside(&table, |table| remove(table, HOME, 1));
        let replaced = replace(&table, HOME, 1, 2);
        assert!(remover.join().unwrap() != replaced);
        assert_eq!(find(&table, HOME), if replaced { vec![2] } else { vec![] });
    });
}

#[test]
fn a_hit_is_counted_or_the_place_is_gone() {
    loom::model(|| {
        let table = Arc::new(Small::new(2));
        put(&table, HOME, 1);
        let hitter = beside(&table, |table| hit(table, HOME, 1));
        let mine = hit(&table, HOME, 1);
        let theirs = hitter.join().unwrap();
        // One came first.
        assert!(mine != theirs && mine.max(theirs) == Some(1));
        let freqs: Vec<u8> = table.home(HOME).map(Word::load).map(slot::freq).collect();
        assert_eq!(freqs.iter().sum::<u8>(), 2);
    });
}

#[test]
fn of_two_who_put_into_the_last_free_slot_nobody_is_lost_unsaid() {
    // All interleavings of two searches for a slot take minutes; every race needs two switches at most.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let table = Arc::new(Small::new(2));
        (1..4).for_each(|segment| assert_eq!(put(&table, OTHER, segment), Put::Added));
        let other = beside(&table, |table| put(table, HOME, 10));
        let puts = [put(&table, HOME, 11), other.join().unwrap()];
        let evicted = puts.iter().filter(|put| matches!(put, Put::Instead(_))).count();
        assert_eq!(evicted, 1, "{puts:?}");
        let left = find(&table, HOME).len() + find(&table, OTHER).len();
        assert_eq!(left, 4);
        assert!(puts.contains(&Put::Added));
    });
}

#[test]
fn a_place_put_in_twice_at_once_is_in_once_or_twice_and_leaves_whole() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let table = Arc::new(Small::new(2));
        let other = beside(&table, |table| put(table, HOME, 1));
        let mine = put(&table, HOME, 1);
        let added = [mine, other.join().unwrap()].iter().filter(|put| **put == Put::Added).count();
        assert_eq!(find(&table, HOME).len(), added);
    });
}
