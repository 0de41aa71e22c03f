//! The pins of a segment and its overwriting, under every interleaving.

mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/disk/volume/segments/gate.rs"]
mod gate;

use gate::{Gate, State};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A segment whose bytes may be written only while nobody reads them: loom fails where the two could meet.
struct Segment {
    gate: Gate,
    bytes: UnsafeCell<()>,
}

impl Segment {
    /// Written once, and open.
    fn open() -> Arc<Self> {
        let segment = Arc::new(Self { gate: Gate::new(), bytes: UnsafeCell::new(()) });
        segment.write_anew();
        segment
    }

    fn write_anew(&self) {
        self.bytes.with_mut(|_| ());
        assert!(self.gate.turn(State::Free, State::Open));
    }

    /// Reads under a pin, if there is one to be had.
    fn read(&self) -> bool {
        let pinned = self.gate.enter();
        if pinned {
            self.bytes.with(|_| ());
            self.gate.leave();
        }
        pinned
    }

    fn drain(&self) {
        assert!(self.gate.turn(State::Open, State::Sealed) && self.gate.turn(State::Sealed, State::Draining));
    }

    /// Gives the segment up and, if nobody reads it, writes it anew.
    fn overwrite(&self) -> bool {
        self.drain();
        let free = self.gate.release();
        if free {
            self.write_anew();
        }
        free
    }
}

/// Reads on a thread of its own.
fn reader(segment: &Arc<Segment>) -> thread::JoinHandle<bool> {
    let segment = Arc::clone(segment);
    thread::spawn(move || segment.read())
}

#[test]
fn nobody_reads_what_is_being_written_anew() {
    loom::model(|| {
        let segment = Segment::open();
        let reader = reader(&segment);
        let overwritten = segment.overwrite();
        reader.join().unwrap();
        // Whoever was in the way is gone.
        assert!(overwritten || (segment.gate.state() == State::Draining && segment.gate.release()));
    });
}

#[test]
fn two_readers_keep_a_segment_until_both_let_go() {
    // All interleavings take minutes; two forced switches of threads show every bug that one reader does not.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let segment = Segment::open();
        let readers = [reader(&segment), reader(&segment)];
        let overwritten = segment.overwrite();
        let read = readers.map(|reader| reader.join().unwrap());
        assert!(overwritten || read.contains(&true), "nobody was in the way");
        assert!(overwritten || segment.gate.release());
    });
}

#[test]
fn of_two_who_free_a_segment_one_does() {
    loom::model(|| {
        let segment = Segment::open();
        segment.drain();
        let other = {
            let segment = Arc::clone(&segment);
            thread::spawn(move || segment.gate.release())
        };
        assert!(segment.gate.release() != other.join().unwrap());
    });
}
