//! The log of purges, shortened while the power goes.

use crate::oracle::object;
use crate::world::World;
use antiphon_cache::disk::format::PurgeScope;
use antiphon_cache::disk::medium::{Medium, Part};

const SEEDS: u64 = 60;

/// More than a sector of 512 bytes holds, before and after.
const PURGES: usize = 60;
const OBJECTS: usize = 40;

#[test]
fn a_log_that_is_shortened_forgets_no_purge_wherever_the_power_goes() {
    let mut crashes = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..PURGES {
            let scope = PurgeScope::Object(object(world.dice.below(OBJECTS)));
            assert!(world.purge(scope, false));
        }
        let crashed = world.crash_during(seed % 6, |world| world.volume.compact_purges().unwrap());
        crashes += usize::from(crashed);
        assert!(crashed || world.volume.purges().len() <= OBJECTS);
        world.oracle.check_purges(&world.volume.purges());
    }
    assert!(crashes > 40, "{crashes} of {SEEDS} times the power went");
}

#[test]
fn a_full_file_system_takes_hundreds_of_purges_still() {
    let mut world = World::new(1);
    let len = |part| world.medium.len(part).unwrap();
    let full = [Part::Super, Part::Data, Part::PurgeLog, Part::Snapshot].map(len).iter().sum();
    world.medium.set_space(full);
    for round in 0..2 {
        for no in 0..900 {
            assert!(world.purge(PurgeScope::Object(object(no % 100)), false), "{no} of round {round}");
        }
        world.volume.compact_purges().unwrap();
    }
    let killed = world.medium.kill();
    world.reopen(killed);
    assert_eq!(world.volume.purges().len(), 100);
}
