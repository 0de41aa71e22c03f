use super::*;

fn writer(arena: &Arc<Arena>, len: usize) -> SlotWriter {
    SlotWriter::new(arena.take(len).unwrap(), len).unwrap()
}

fn full(arena: &Arc<Arena>, len: usize, byte: u8) -> Arc<Slot> {
    let mut writer = writer(arena, len);
    writer.push(&vec![byte; len]);
    writer.slot().settle();
    Arc::clone(writer.slot())
}

#[test]
fn only_written_bytes_can_be_read() {
    let arena = Arena::new(1).unwrap();
    let mut writer = writer(&arena, 4);
    assert_eq!(writer.push(b"ab"), 2);
    assert_eq!(writer.slot().bytes(0, 2).as_deref(), Some(&b"ab"[..]));
    assert_eq!(writer.slot().bytes(0, 3), None);
    assert!(!writer.slot().is_full());
    assert_eq!(writer.push(b"cde"), 2);
    assert_eq!(writer.push(b"e"), 0);
    assert!(writer.slot().is_full());
    assert_eq!(writer.slot().bytes(0, 4).as_deref(), Some(&b"abcd"[..]));
    assert_eq!(writer.slot().bytes(3, 2), None);
}

#[test]
fn memory_counts_until_the_last_reader_lets_go() {
    let arena = Arena::new(1).unwrap();
    let mut writer = writer(&arena, QUARTER_LEN + 1);
    writer.push(b"abcd");
    let bytes = writer.slot().bytes(1, 3);
    let held = 2 * QUARTER_LEN as u64;
    assert_eq!((arena.used(), arena.detached()), (held, 0));
    drop(writer);
    assert_eq!((arena.used(), arena.detached()), (held, held), "nobody but a reader holds it");
    drop(bytes);
    assert_eq!((arena.used(), arena.detached()), (0, 0));
}

#[test]
fn a_slot_that_is_read_is_passed_over_and_can_leave_when_its_reader_has_gone() {
    let arena = Arena::new(1).unwrap();
    let slot = full(&arena, 10, 7);
    let bytes = slot.bytes(0, 10);
    assert!(!Slot::can_leave(&slot) && !Slot::can_leave(&slot));
    assert_eq!(arena.detached(), QUARTER_LEN as u64, "counted once");
    drop(bytes);
    assert_eq!(arena.detached(), 0);
    assert!(Slot::can_leave(&slot));
}

#[test]
fn a_slot_that_a_flight_holds_is_passed_over_and_is_not_detached() {
    let arena = Arena::new(1).unwrap();
    let slot = full(&arena, 10, 7);
    let flight = Arc::clone(&slot);
    assert!(!Slot::can_leave(&slot));
    assert_eq!(arena.detached(), 0);
    drop(flight);
    assert!(Slot::can_leave(&slot));
}

#[test]
fn places_are_bounded_and_used_again() {
    let arena = Arena::new(2).unwrap();
    let first = full(&arena, SLOT_LEN, 1);
    let second = full(&arena, SLOT_LEN, 2);
    assert!(arena.take(1).is_none());
    let bytes = first.bytes(0, SLOT_LEN).unwrap();
    drop(first);
    assert!(arena.take(1).is_none(), "the reader still has it");
    drop(bytes);
    let third = full(&arena, SLOT_LEN, 3);
    assert!(second.bytes(0, SLOT_LEN).unwrap().iter().all(|byte| *byte == 2));
    assert!(third.bytes(0, SLOT_LEN).unwrap().iter().all(|byte| *byte == 3));
}

#[test]
fn a_plot_that_needs_less_gives_the_rest_back() {
    let arena = Arena::new(1).unwrap();
    let mut plot = arena.take(SLOT_LEN).unwrap();
    plot.shrink(QUARTER_LEN);
    assert_eq!((plot.len(), arena.used()), (QUARTER_LEN, QUARTER_LEN as u64));
    assert!(arena.take(3 * QUARTER_LEN).is_some());
}

#[test]
fn capacity_goes_down_as_places_become_free_and_up_at_once() {
    let arena = Arena::new(4).unwrap();
    let slots: Vec<_> = (0..4).map(|no| full(&arena, SLOT_LEN, no)).collect();
    let bytes = slots[3].bytes(0, SLOT_LEN).unwrap();
    arena.resize(1).unwrap();
    assert_eq!((arena.capacity(), arena.excess()), (SLOT_LEN as u64, 3 * SLOT_LEN as u64));
    drop(slots);
    assert_eq!((arena.excess(), arena.used()), (0, SLOT_LEN as u64));
    assert!(arena.take(1).is_none());
    arena.resize(6).unwrap();
    let more: Vec<_> = (0..5).map(|no| full(&arena, SLOT_LEN, 10 + no)).collect();
    assert!(arena.take(1).is_none());
    assert!(bytes.iter().all(|byte| *byte == 3), "what a reader holds is not touched");
    for (no, slot) in more.iter().enumerate() {
        assert!(slot.bytes(0, SLOT_LEN).unwrap().iter().all(|byte| usize::from(*byte) == 10 + no));
    }
}

#[test]
fn memory_that_leaves_service_goes_back_to_the_system() {
    let arena = Arena::new(2).unwrap();
    drop(full(&arena, SLOT_LEN, 9));
    arena.resize(0).unwrap();
    arena.resize(2).unwrap();
    for _ in 0..2 {
        // What is read here is what the system has put there: zeroes.
        let slot = writer(&arena, SLOT_LEN);
        // SAFETY: the slot is `SLOT_LEN` initialised bytes and nobody writes to it now.
        let memory = unsafe { std::slice::from_raw_parts(slot.slot().base.as_ptr(), SLOT_LEN) };
        assert!(memory.iter().all(|byte| *byte == 0));
        drop(slot);
        std::mem::forget(arena.take(SLOT_LEN));
    }
}

#[test]
fn more_memory_than_an_address_space_has_is_an_error() {
    let error = Arena::new((1 << 48) / SLOT_LEN).map(|_| ()).unwrap_err();
    assert_eq!(error.bytes, 1 << 48);
    let arena = Arena::new(1).unwrap();
    assert!(arena.resize((1 << 48) / SLOT_LEN).is_err());
    assert_eq!(arena.capacity(), SLOT_LEN as u64, "as before");
    assert!(arena.take(SLOT_LEN).is_some());
}

#[test]
fn readers_on_other_threads_see_what_was_written() {
    const LEN: usize = 1 << 16;
    let arena = Arena::new(1).unwrap();
    let mut writer = writer(&arena, LEN);
    let slot = Arc::clone(writer.slot());
    let reader = std::thread::spawn(move || {
        let mut at = 0;
        while at < LEN {
            let end = slot.filled.load(Ordering::Acquire);
            let bytes = slot.bytes(at, end).unwrap();
            assert!(bytes.iter().zip(at..).all(|(byte, at)| *byte == at as u8));
            at = end;
        }
    });
    for at in 0..LEN {
        assert_eq!(writer.push(&[at as u8]), 1);
    }
    reader.join().unwrap();
}

/// Threads that fill, read, pass over and drop slots while the capacity goes up and down: every slot keeps its
/// bytes, and in the end every place is free.
#[test]
fn a_crowd_on_a_changing_arena_never_shares_a_place() {
    const ROUNDS: u32 = 3_000;
    let arena = Arena::new(16).unwrap();
    let work = |seed: u32| {
        let arena = &arena;
        move || {
            let (mut state, mut kept) = (seed, Vec::new());
            for _ in 0..ROUNDS {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let len = 1 + (state >> 8) as usize % SLOT_LEN;
                if let Some(mut plot) = arena.take(SLOT_LEN) {
                    plot.shrink(len);
                    let byte = (state >> 16) as u8;
                    let mut writer = SlotWriter::new(plot, len).unwrap();
                    writer.push(&vec![byte; len.min(512)]);
                    kept.push((writer.slot().bytes(0, len.min(512)).unwrap(), byte));
                }
                if kept.len() > 6 || state.is_multiple_of(3) {
                    let at = state as usize % kept.len().max(1);
                    if at < kept.len() {
                        let (bytes, byte) = kept.swap_remove(at);
                        assert!(bytes.iter().all(|other| *other == byte));
                    }
                }
                if state >> 24 == 0 {
                    arena.resize((state >> 4) as usize % 24).unwrap();
                }
            }
        }
    };
    std::thread::scope(|scope| {
        (1..5).for_each(|seed| drop(scope.spawn(work(seed))));
    });
    assert_eq!((arena.used(), arena.detached(), arena.excess()), (0, 0, 0));
    arena.resize(16).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| arena.take(SLOT_LEN)).collect();
    assert_eq!(all.len(), 16);
}
