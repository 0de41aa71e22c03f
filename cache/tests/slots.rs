//! The life of a slot under every interleaving of those who read it, pass over it and let go.

mod sync {
    pub use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "../src/arena/state.rs"]
mod state;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicI32, Ordering};
use loom::thread;
use state::{Stage, State};

/// A slot in the table and the sum of all detached ones.
struct World {
    slot: State,
    detached: AtomicI32,
}

impl World {
    /// Complete, with so many readers.
    fn with_readers(readers: u32) -> Arc<Self> {
        let slot = State::filling();
        (0..readers).for_each(|_| slot.enter());
        slot.settle();
        Arc::new(Self { slot, detached: AtomicI32::new(0) })
    }

    /// As `Slot::give_up` does.
    fn give_up(&self) {
        self.detached.fetch_add(1, Ordering::Relaxed);
        if !self.slot.detach() {
            self.detached.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// As `View` does on drop.
    fn leave(&self) -> bool {
        let ends = self.slot.leave();
        if ends {
            let before = self.detached.fetch_sub(1, Ordering::Relaxed);
            assert!(before > 0, "what ends had begun");
        }
        ends
    }
}

#[test]
fn the_last_reader_ends_what_was_detached_and_nobody_else_does() {
    loom::model(|| {
        let world = World::with_readers(2);
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || _ = world.leave())
        };
        let evictor = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.give_up())
        };
        world.leave();
        reader.join().unwrap();
        evictor.join().unwrap();
        assert_eq!(world.slot.look(), (Stage::Resident, 0));
        assert_eq!(world.detached.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_reader_who_comes_while_the_last_one_leaves_is_the_one_who_ends_it() {
    loom::model(|| {
        let world = World::with_readers(1);
        world.give_up();
        assert_eq!(world.slot.look(), (Stage::Detached, 1));
        let newcomer = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.slot.enter();
                world.leave()
            })
        };
        let ended = world.leave();
        let ended_by_newcomer = newcomer.join().unwrap();
        assert!(ended || ended_by_newcomer, "somebody wakes who waits for memory");
        assert_eq!(world.slot.look(), (Stage::Resident, 0));
        assert_eq!(world.detached.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn two_who_pass_over_a_slot_detach_it_once() {
    loom::model(|| {
        let world = World::with_readers(1);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.give_up())
        };
        world.give_up();
        other.join().unwrap();
        assert_eq!(world.slot.look(), (Stage::Detached, 1));
        assert_eq!(world.detached.load(Ordering::Relaxed), 1);
        assert!(world.leave());
        assert_eq!(world.detached.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_slot_that_is_given_up_while_it_settles_is_not_lost() {
    loom::model(|| {
        let slot = State::filling();
        slot.enter();
        let world = Arc::new(World { slot, detached: AtomicI32::new(0) });
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || _ = world.leave())
        };
        world.slot.settle();
        world.give_up();
        reader.join().unwrap();
        assert_eq!(world.slot.look(), (Stage::Resident, 0));
        assert_eq!(world.detached.load(Ordering::Relaxed), 0);
    });
}
