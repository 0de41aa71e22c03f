//! The log of purges, shortened while the power goes.

use crate::oracle::object;
use crate::world::World;
use antiphon_cache::disk::format::PurgeScope;

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
