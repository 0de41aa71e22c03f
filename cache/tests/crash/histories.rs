//! Random histories: offers, work, reads, purges, restarts, and what goes wrong between them.

use crate::oracle::{LONG, object};
use crate::world::World;
use antiphon_cache::disk::format::{META_NO, PurgeScope};
use antiphon_cache::disk::medium::{EIO, ENOSPC, EROFS, Medium, Part};
use antiphon_cache::disk::sim::{Fail, Op};
use antiphon_cache::{ChunkKey, ObjKey};

/// What goes wrong in a history besides loss of power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    /// Nothing.
    None,
    /// Operations fail.
    Faults,
    /// Bits flip.
    Rot,
}

const SEEDS: u64 = 70;
const STEPS: usize = 200;
const OBJECTS: usize = 40;
const CHUNKS: usize = 12;

/// Says which history failed.
struct Told(u64, Trouble);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("history {:?}: ANTIPHON_CRASH_SEED={} replays it", self.1, self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn histories(trouble: Trouble) {
    let seeds = match number("ANTIPHON_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANTIPHON_CRASH_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let _told = Told(seed, trouble);
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            step(&mut world, trouble);
        }
        world.medium.heal();
        let crashed = world.medium.crash(&mut world.dice);
        world.reopen(crashed);
        world.readable();
    }
}

#[test]
fn no_crash_brings_back_what_was_purged_or_shows_what_was_not_written_whole() {
    histories(Trouble::None);
}

#[test]
fn no_failing_disk_makes_a_wrong_byte() {
    histories(Trouble::Faults);
}

#[test]
fn no_rotten_bit_makes_a_wrong_byte() {
    histories(Trouble::Rot);
}

/// A few are wanted far more often than the rest, so that some are moved and not given up. Half of them have
/// chunks of nearly full length, so that the log wraps around.
fn any_object(world: &mut World) -> ObjKey {
    let no = if world.dice.one_in(3) { world.dice.below(4) } else { world.dice.below(OBJECTS) };
    object(if no % 2 == 0 { no } else { usize::from(LONG) + no })
}

fn any_key(world: &mut World) -> ChunkKey {
    let obj = any_object(world);
    let no = world.dice.below(CHUNKS) as u32;
    ChunkKey { obj, no: if world.dice.one_in(12) { META_NO } else { no } }
}

fn step(world: &mut World, trouble: Trouble) {
    match world.dice.below(100) {
        0..45 => {
            for _ in 0..world.dice.below(24) {
                offer(world);
            }
        }
        45..70 => {
            let steps = 1 + world.dice.below(4);
            world.work(steps);
        }
        70..85 => read(world),
        85..87 => {
            let obj = any_object(world);
            world.read_meta(obj);
        }
        87..91 => purge(world),
        91 => {
            world.now.0 += 2000;
            let _ = world.volume.compact_purges();
        }
        92..95 => disturb(world, trouble),
        95..98 => crash_in_the_middle(world),
        _ => start_anew(world),
    }
}

fn offer(world: &mut World) {
    let key = any_key(world);
    let ver = 1 + world.dice.below(3) as u64;
    // Some fetches began before the last purge.
    let late = u64::from(world.dice.one_in(8));
    world.offer(key, ver, world.generation.saturating_sub(late));
}

fn read(world: &mut World) {
    let first = any_key(world);
    let wanted: Vec<_> = (0..1 + world.dice.below(6) as u32)
        .map(|next| ChunkKey { no: first.no.saturating_add(next), ..first })
        .filter(|key| key.no != META_NO)
        .filter_map(|key| world.oracle.pick(key, &mut world.dice).map(|ver| (key, ver)))
        .collect();
    world.read(&wanted);
}

fn purge(world: &mut World) {
    let scope = match world.dice.below(8) {
        0 => PurgeScope::Everything,
        1 => PurgeScope::Tag([7; 16]),
        2 => PurgeScope::TagPrefix { len: 3, hash: [8; 16] },
        _ => PurgeScope::Object(any_object(world)),
    };
    let soft = world.dice.one_in(4);
    world.purge(scope, soft);
}

fn disturb(world: &mut World, trouble: Trouble) {
    match trouble {
        Trouble::None => world.work(1),
        Trouble::Faults => fail(world),
        Trouble::Rot => rot(world),
    }
}

fn fail(world: &mut World) {
    let nth = world.dice.below(4) as u64;
    let errno = [EIO, ENOSPC, EROFS][world.dice.below(3)];
    match world.dice.below(7) {
        0 => world.medium.fail_nth(Op::Read, nth, Fail::Errno(EIO)),
        1 => world.medium.fail_nth(Op::Read, nth, Fail::ShortRead),
        2 | 3 => world.medium.fail_nth(Op::Write, nth, Fail::Errno(errno)),
        4 => world.medium.fail_nth(Op::Resize, nth, Fail::Errno(errno)),
        5 => {
            world.medium.fail_nth(Op::Sync, nth, Fail::Errno(EIO));
            world.may_be_damaged = true;
        }
        _ => {
            world.medium.unplug();
            // What is being synced meanwhile may be lost.
            world.may_be_damaged = true;
            world.work(3);
            read(world);
            purge(world);
            world.medium.heal();
        }
    }
}

fn rot(world: &mut World) {
    let part = [Part::Data, Part::Data, Part::Data, Part::PurgeLog, Part::Super, Part::Snapshot];
    let part = part[world.dice.below(part.len())];
    let pages = world.medium.written_pages(part);
    if pages.is_empty() || world.medium.len(part).unwrap_or(0) == 0 {
        return;
    }
    let page = pages[world.dice.below(pages.len())];
    world.medium.flip(part, (page * 4096 + world.dice.below(4096) as u64) * 8 + world.dice.below(8) as u64);
    world.may_be_damaged = true;
}

fn crash_in_the_middle(world: &mut World) {
    let nth = world.dice.below(5) as u64;
    match world.dice.below(5) {
        0 => world.crash_during(nth, purge),
        1 => world.crash_during(nth, |world| {
            let _ = world.volume.compact_purges();
        }),
        2 => {
            // Closing may fail on a failing disk: then it is a crash like any other.
            let close = |world: &mut World| drop(world.volume.close(world.now));
            world.crash_during(nth, close) || {
                let closed = world.medium.kill();
                world.reopen(closed);
                true
            }
        }
        _ => world.crash_during(nth, |world| {
            for _ in 0..4 {
                offer(world);
                world.work(3);
            }
        }),
    };
}

fn start_anew(world: &mut World) {
    let medium = match world.dice.below(6) {
        0 => world.medium.kill(),
        1 if world.dice.one_in(4) => return world.format(),
        _ => {
            let mut dice = world.dice.clone();
            world.dice.roll();
            world.medium.crash(&mut dice)
        }
    };
    world.reopen(medium);
}
