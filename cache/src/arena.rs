//! Buffers of chunks: written once from front to back, read while they are written, shared without copies.
//!
//! Promises
//! - A reader sees only bytes that were written before, and they never change.
//! - A buffer's bytes count against the budget until the last reader has let go.
//!
//! Does not know: which chunk it holds.

#![expect(unsafe_code, reason = "the one place where memory is shared while its end is still being written")]

use crate::budget::Held;
use bytes::Bytes;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The buffer of one chunk.
pub(crate) struct Slot {
    /// From `Box::into_raw` of `len` initialised bytes.
    base: NonNull<u8>,
    len: usize,
    /// Invariant: bytes below `filled` are written and never written again; only the one [`SlotWriter`]
    /// raises it, after writing.
    filled: AtomicUsize,
    _held: Held,
}

/// The right to fill a slot. There is one per slot, made with it.
pub(crate) struct SlotWriter {
    slot: Arc<Slot>,
}

/// A part of a slot that is written already.
struct View {
    slot: Arc<Slot>,
    start: usize,
    end: usize,
}

impl SlotWriter {
    /// A buffer of exactly the bytes that `held` stands for.
    pub fn new(held: Held) -> Self {
        let len = usize::try_from(held.bytes()).unwrap_or(usize::MAX);
        let memory = Box::into_raw(vec![0_u8; len].into_boxed_slice());
        // SAFETY: `Box::into_raw` never returns null.
        let base = unsafe { NonNull::new_unchecked(memory.cast::<u8>()) };
        Self { slot: Arc::new(Slot { base, len, filled: AtomicUsize::new(0), _held: held }) }
    }

    /// The buffer, for readers.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Appends as much of `bytes` as fits and tells how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let filled = self.slot.filled.load(Ordering::Relaxed);
        let taken = bytes.len().min(self.slot.len - filled);
        // SAFETY: `filled + taken <= len`, so the target lies inside the allocation. Nobody else writes: there is
        // one writer per slot (`new` is the only maker, no `Clone`) and `push` borrows it exclusively. Nobody reads
        // here either: a `View` ends at or below the `filled` it saw, which this writer has not raised past the
        // target yet. `bytes` cannot overlap the target: only views give out references into the slot.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.slot.base.as_ptr().add(filled), taken);
        }
        self.slot.filled.store(filled + taken, Ordering::Release);
        taken
    }
}

impl Slot {
    /// How many bytes it holds when it is full.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether every byte is there.
    pub fn is_full(&self) -> bool {
        self.filled.load(Ordering::Acquire) == self.len
    }

    /// The bytes `start..end` without a copy; `None` if they are not all there.
    pub fn bytes(self: &Arc<Self>, start: usize, end: usize) -> Option<Bytes> {
        let there = start <= end && end <= self.filled.load(Ordering::Acquire);
        there.then(|| Bytes::from_owner(View { slot: Arc::clone(self), start, end }))
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Slot::bytes` made this view with `start <= end <= filled` and saw `filled` by an acquire load
        // that pairs with the release store in `push`, so these bytes are written and, by the invariant of
        // `filled`, never written again. The `Arc` keeps the allocation alive as long as the reference.
        unsafe { std::slice::from_raw_parts(self.slot.base.as_ptr().add(self.start), self.end - self.start) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let memory = std::ptr::slice_from_raw_parts_mut(self.base.as_ptr(), self.len);
        // SAFETY: `base` and `len` are those of the box that `SlotWriter::new` took apart, and this drop runs
        // once, when neither writer nor view is left (both hold the `Arc`).
        drop(unsafe { Box::from_raw(memory) });
    }
}

// SAFETY: a slot is plain memory with an atomic fill mark. Parts that several threads read are written before
// and never again; the part that is written is reached by the one `SlotWriter` only (see `push`).
unsafe impl Send for Slot {}
// SAFETY: as above; `&Slot` gives out nothing but views of finished bytes.
unsafe impl Sync for Slot {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    async fn writer(len: u64) -> (Arc<Budget>, SlotWriter) {
        let budget = Budget::new(1 << 20);
        let held = budget.reserve(len, || false).await;
        (budget, SlotWriter::new(held))
    }

    #[tokio::test]
    async fn only_written_bytes_can_be_read() {
        let (_, mut writer) = writer(4).await;
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

    #[tokio::test]
    async fn memory_counts_until_the_last_reader_lets_go() {
        let (budget, mut writer) = writer(4).await;
        writer.push(b"abcd");
        let bytes = writer.slot().bytes(1, 3);
        drop(writer);
        assert_eq!(budget.used(), 4);
        drop(bytes);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn readers_on_other_threads_see_what_was_written() {
        const LEN: usize = 1 << 16;
        let (_, mut writer) = writer(LEN as u64).await;
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
}
