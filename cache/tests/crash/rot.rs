//! One bit, anywhere.

use crate::oracle::object;
use crate::world::World;
use antiphon_cache::ChunkKey;
use antiphon_cache::disk::format::{META_NO, PurgeScope};
use antiphon_cache::disk::medium::Part;
use antiphon_cache::disk::sim::{Dice, SimMedium};

/// A volume with 300 records in several segments, some purges, closed in order.
fn closed() -> World {
    let mut world = World::new(9);
    for no in 0..300 {
        world.offer(ChunkKey { obj: object(no as usize % 7), no: if no < 7 { META_NO } else { no } }, 1, 1);
        world.work(usize::from(no % 16 == 0));
    }
    for no in 0..4 {
        assert!(world.purge(PurgeScope::Object(object(no)), false));
    }
    world.volume.close(world.now).unwrap();
    world.may_be_damaged = true;
    world
}

fn look(world: &mut World, medium: SimMedium) -> usize {
    world.reopen(medium);
    (0..7).for_each(|no| world.read_meta(object(no)));
    world.readable().len()
}

#[test]
fn a_flipped_bit_in_a_record_costs_that_record() {
    let mut world = closed();
    let whole = world.medium.kill();
    let all = look(&mut world, whole.kill());
    let mut dice = Dice::new(1);
    let mut lost = 0;
    for _ in 0..25 {
        let medium = whole.kill();
        let pages = medium.written_pages(Part::Data);
        let bit = pages[dice.below(pages.len())] * 4096 * 8 + dice.below(4096 * 8) as u64;
        medium.flip(Part::Data, bit);
        let left = look(&mut world, medium);
        assert!(left + 1 >= all, "{left} of {all} left");
        lost += all - left;
    }
    assert!(lost > 0, "no flip has hit anything");
}

#[test]
fn a_flipped_bit_in_anything_else_costs_no_record_or_all_of_them() {
    let mut world = closed();
    let whole = world.medium.kill();
    let all = look(&mut world, whole.kill());
    let mut dice = Dice::new(2);
    for part in [Part::Super, Part::Snapshot] {
        for _ in 0..10 {
            let medium = whole.kill();
            let pages = medium.written_pages(part);
            medium.flip(part, pages[dice.below(pages.len())] * 4096 * 8 + dice.below(4096 * 8) as u64);
            assert_eq!(look(&mut world, medium), all, "{part:?}");
        }
    }
    for bit in (0..4 * 64 * 8).step_by(61) {
        let medium = whole.kill();
        medium.flip(Part::PurgeLog, bit);
        assert_eq!(look(&mut world, medium), 0, "a purge is lost, so everything is purged");
    }
}
