use super::*;
use crate::object::ObjKey;
use proptest::prelude::*;
use std::collections::HashMap;

fn key(obj: u64, no: u32) -> ChunkKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&obj.to_le_bytes());
    ChunkKey { obj: ObjKey::from_bytes(bytes), no }
}

fn place(segment: u32, page: u16) -> Place {
    Place { segment, page, pages: 65 }
}

fn places(index: &Index, key: ChunkKey) -> Vec<Place> {
    index.find(key).iter().map(|entry| entry.place).collect()
}

#[test]
fn filled_as_rated_an_entry_costs_eleven_bytes_and_next_to_none_is_evicted() {
    const ENTRIES: u32 = 200_000;
    let index = Index::new(ENTRIES as usize, 7);
    assert!(index.bytes() as f64 / f64::from(ENTRIES) <= 11.21);
    let evicted = (0..ENTRIES)
        .filter_map(|no| index.insert(key(u64::from(no / 16), no % 16), place(no, 1), Marks::default()))
        .count();
    assert!(evicted == 0, "{evicted} of {ENTRIES} evicted");
    assert_eq!(index.len(), u64::from(ENTRIES));
    let missed = (0..ENTRIES)
        .filter(|no| !places(&index, key(u64::from(no / 16), no % 16)).contains(&place(*no, 1)))
        .count();
    assert_eq!(missed, 0);
}

#[test]
fn a_key_that_was_not_put_in_is_rarely_suspected() {
    const ENTRIES: u32 = 50_000;
    let index = Index::new(ENTRIES as usize, 7);
    assert!((0..ENTRIES).all(|no| index.insert(key(1, no), place(no, 1), Marks::default()).is_none()));
    let suspected = (0..ENTRIES).filter(|no| !index.find(key(2, *no)).is_empty()).count();
    // 16 slots, 71 % full, 2^14 tags: 0.07 %.
    assert!(suspected > 0 && suspected < 80, "{suspected} of {ENTRIES}");
}

#[test]
fn when_both_buckets_are_full_the_coldest_goes_and_is_named() {
    // Two buckets: every key is at home in both.
    let index = Index::new(1, 7);
    assert_eq!(index.slots(), 16);
    for no in 0..16 {
        let marks = Marks { freq: 2, hot: no == 3, pinned: no == 5 };
        assert_eq!(index.insert(key(1, no), place(no, 0), marks), None);
    }
    assert!(index.replace(key(1, 5), place(5, 0), place(5, 1), Marks { freq: 0, hot: false, pinned: true }));
    assert!(index.replace(key(1, 3), place(3, 0), place(3, 1), Marks { freq: 1, hot: true, pinned: false }));
    let hot = Marks { freq: 1, hot: true, pinned: false };
    assert_eq!(
        index.insert(key(1, 16), place(16, 0), Marks { freq: 3, ..Marks::default() }),
        Some(Evicted(Entry { place: place(3, 1), marks: hot })),
    );
    assert_eq!(index.len(), 16);
    assert!(!places(&index, key(1, 3)).contains(&place(3, 1)));
    assert!(places(&index, key(1, 5)).contains(&place(5, 1)));
}

#[test]
fn a_flood_of_keys_that_collide_under_one_seed_spreads_under_another() {
    let (known, secret) = (Index::new(4096, 1), Index::new(4096, 2));
    let buckets = |index: &Index, no| index.home(key(9, no)).buckets;
    let flood: Vec<u32> = (0..2_000_000).filter(|no| buckets(&known, *no)[0] == 5).collect();
    assert!(flood.len() > 1000, "the flood has {}", flood.len());
    let hit = flood.iter().filter(|no| buckets(&secret, **no).contains(&5)).count();
    assert!(hit < 20, "{hit} of {} still collide", flood.len());
}

#[test]
fn hits_stop_at_three_and_halve_to_nothing() {
    let index = Index::new(100, 7);
    let (song, at) = (key(1, 0), place(4, 1));
    index.insert(song, at, Marks::default());
    let counted: Vec<_> = (0..5).map(|_| index.hit(song, at)).collect();
    assert_eq!(counted, [0, 1, 2, 3, 3].map(Some));
    assert_eq!(index.hit(song, place(4, 2)), None);
    let mut cooled = Vec::new();
    assert_eq!(index.decay(0, usize::MAX, |entry| cooled.push(entry.place)), None);
    assert_eq!((index.freq(song, at), cooled.len()), (Some(1), 0));
    let mut next = Some(0);
    while let Some(from) = next {
        next = index.decay(from, 10, |entry| cooled.push(entry.place));
    }
    assert_eq!((index.freq(song, at), cooled), (Some(0), vec![at]));
}

#[test]
fn a_snapshot_of_the_slots_restores_the_index() {
    let (index, again) = (Index::new(1000, 7), Index::new(1000, 7));
    let hit = Marks { freq: 1, ..Marks::default() };
    assert!((0..1000).all(|no| index.insert(key(1, no), place(no, 1), hit).is_none()));
    let restored = (0..index.slots()).filter(|at| again.restore(*at, index.word(*at))).count();
    assert_eq!((restored, again.len()), (1000, 1000));
    assert!((0..1000).all(|no| again.freq(key(1, no), place(no, 1)) == Some(1)));
    assert!(!again.restore(again.slots(), 1) && again.word(again.slots()) == 0);
    assert!(index.entries().eq(again.entries()));
}

#[test]
fn a_place_is_kept_once_however_often_it_is_put_in() {
    let index = Index::new(100, 7);
    index.insert(key(1, 0), place(4, 1), Marks::default());
    index.insert(key(1, 0), place(4, 1), Marks { freq: 2, hot: true, pinned: false });
    index.insert(key(1, 0), place(5, 1), Marks::default());
    let mut found = places(&index, key(1, 0));
    found.sort();
    assert_eq!((found, index.len()), (vec![place(4, 1), place(5, 1)], 2));
    assert_eq!(index.freq(key(1, 0), place(4, 1)), Some(2));
}

#[derive(Clone, Debug)]
enum Act {
    Insert(u32, u32),
    Replace(u32, u32, u32),
    Remove(u32, u32),
    Hit(u32, u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (no, at) = (|| 0..12_u32, || 0..40_u32);
    let act = prop_oneof![
        (no(), at()).prop_map(|(no, at)| Act::Insert(no, at)),
        (no(), at(), at()).prop_map(|(no, old, new)| Act::Replace(no, old, new)),
        (no(), at()).prop_map(|(no, at)| Act::Remove(no, at)),
        (no(), at()).prop_map(|(no, at)| Act::Hit(no, at)),
    ];
    prop::collection::vec(act, 0..200)
}

proptest! {
    /// A place belongs to one key, as on a volume: segment `at`, page `no`.
    #[test]
    fn the_index_answers_like_a_map_of_sets(acts in acts(), seed: u64) {
        let index = Index::new(2000, seed);
        let mut model: HashMap<(u32, Place), u8> = HashMap::new();
        for act in acts {
            match act {
                Act::Insert(no, at) => {
                    let place = place(at, no as u16);
                    prop_assert_eq!(index.insert(key(1, no), place, Marks::default()), None);
                    model.insert((no, place), 0);
                }
                Act::Replace(no, old, new) if !model.contains_key(&(no, place(new, no as u16))) => {
                    let (old, new) = (place(old, no as u16), place(new, no as u16));
                    let marks = Marks { freq: 1, hot: true, pinned: false };
                    let had = model.remove(&(no, old)).is_some();
                    prop_assert_eq!(index.replace(key(1, no), old, new, marks), had);
                    if had {
                        model.insert((no, new), 1);
                    }
                }
                Act::Replace(..) => {}
                Act::Remove(no, at) => {
                    let place = place(at, no as u16);
                    prop_assert_eq!(index.remove(key(1, no), place), model.remove(&(no, place)).is_some());
                }
                Act::Hit(no, at) => {
                    let place = place(at, no as u16);
                    let count = model.get_mut(&(no, place));
                    prop_assert_eq!(index.hit(key(1, no), place), count.as_deref().copied());
                    if let Some(count) = count {
                        *count = (*count + 1).min(FREQ_MAX);
                    }
                }
            }
            prop_assert_eq!(index.len(), model.len() as u64);
        }
        for ((no, place), freq) in &model {
            prop_assert_eq!(index.freq(key(1, *no), *place), Some(*freq));
        }
        prop_assert_eq!(index.entries().count(), model.len());
    }
}
