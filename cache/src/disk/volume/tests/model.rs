//! A volume beside a map that never forgets: whatever the volume still has, it has right.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Clone, Debug)]
enum Step {
    Offer { no: u32, ver: u64 },
    Read { first: u32, count: u32 },
    Purge { no: Option<u32> },
    Work { ms: u64 },
    Close,
    Kill,
}

const OBJECTS: u32 = 4;

/// Chunks of several objects, so that purges by object mean something.
fn chunk(no: u32) -> ChunkKey {
    ChunkKey { obj: ObjKey::from_bytes([(no % OBJECTS) as u8; 16]), no }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0_u32..80, 0_u64..3).prop_map(|(no, ver)| Step::Offer { no, ver }),
        6 => (0_u32..80, 1_u32..6).prop_map(|(first, count)| Step::Read { first, count }),
        1 => prop::option::of(0..OBJECTS).prop_map(|no| Step::Purge { no }),
        4 => (0_u64..1500).prop_map(|ms| Step::Work { ms }),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
    ]
}

/// What was offered last of each chunk, and what is purged.
#[derive(Default)]
struct Model {
    offered: HashMap<ChunkKey, (u64, u64)>,
    generation: u64,
    everything: u64,
    objects: HashMap<ObjKey, u64>,
}

impl Model {
    fn floor(&self, obj: ObjKey) -> u64 {
        self.objects.get(&obj).copied().unwrap_or(0).max(self.everything)
    }
}

fn read(shelf: &Shelf, model: &Model, first: u32, count: u32) {
    let wants: Vec<ReadWant> = (first..first + count)
        .map(|no| {
            let key = chunk(no);
            let ver = model.offered.get(&key).map_or(0, |(ver, _)| *ver);
            ReadWant { key, ver, floor: model.floor(key.obj) }
        })
        .collect();
    let outcomes = shelf.volume.read(&wants, &mut |at, bytes| {
        let want = wants[at];
        let (ver, generation) = model.offered[&want.key];
        assert!(generation >= want.floor, "a purged chunk came back");
        assert!(bytes == content(want.key, ver), "wrong bytes");
    });
    for outcome in outcomes {
        assert!(matches!(outcome, ReadOutcome::Read | ReadOutcome::Missing), "{outcome:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_a_volume_has_it_has_right(steps in prop::collection::vec(any_step(), 1..250)) {
        let mut shelf = Shelf::of(7);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Offer { no, ver } => {
                    let key = chunk(no);
                    shelf.offer_of(key, ver, model.generation, &content(key, ver));
                    model.offered.insert(key, (ver, model.generation));
                }
                Step::Read { first, count } => read(&shelf, &model, first, count),
                Step::Purge { no } => {
                    model.generation += 1;
                    let scope = match no {
                        Some(no) => PurgeScope::Object(chunk(no).obj),
                        None => PurgeScope::Everything,
                    };
                    shelf.volume.purge(purge_of(scope, model.generation)).unwrap();
                    match no {
                        Some(no) => drop(model.objects.insert(chunk(no).obj, model.generation)),
                        None => model.everything = model.generation,
                    }
                }
                Step::Work { ms } => {
                    shelf.now.0 += ms;
                    for _ in 0..8 {
                        shelf.work();
                    }
                }
                Step::Close => shelf = shelf.restart().0,
                Step::Kill => {
                    let medium = Arc::new(shelf.medium.kill());
                    shelf = Shelf::open(medium, TERMS).0;
                    shelf.recover();
                }
            }
        }
        read(&shelf, &model, 0, 80);
    }
}
