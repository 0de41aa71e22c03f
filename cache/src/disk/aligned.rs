//! Memory that a disk reads into and writes from without a copy by the kernel.
//!
//! Promises
//! - The first byte lies on a page boundary and the length is whole pages, as `O_DIRECT` wants it; all bytes are
//!   set before anybody sees them.
//! - No `unsafe`: a buffer is a page longer than asked for and starts at the boundary inside.
//!
//! Does not know: what is in it.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes of a page: what a disk reads and writes at least, and the alignment it wants. Every offset and length on
/// `Part::Data` and `Part::Super` is a multiple.
pub const PAGE_LEN: usize = 4096;

/// Whole pages of memory that begin on a page boundary.
pub struct AlignedBuf {
    /// Invariant: never moved or resized after `new`, so `start` keeps pointing at a page boundary.
    memory: Box<[u8]>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` bytes, rounded up to whole pages, all zero.
    pub fn new(len: usize) -> Self {
        let len = len.next_multiple_of(PAGE_LEN);
        let memory = vec![0; len + PAGE_LEN].into_boxed_slice();
        let address = memory.as_ptr().addr();
        let start = address.next_multiple_of(PAGE_LEN) - address;
        debug_assert!((address + start).is_multiple_of(PAGE_LEN) && start + len <= memory.len());
        Self { memory, start, len }
    }

    /// Whether `bytes` may go to a disk as they lie: on a page boundary, whole pages long.
    pub fn fits(bytes: &[u8]) -> bool {
        bytes.as_ptr().addr().is_multiple_of(PAGE_LEN) && bytes.len().is_multiple_of(PAGE_LEN)
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_whole_zeroed_pages_on_a_page_boundary() {
        for (asked, got) in [(0, 0), (1, PAGE_LEN), (PAGE_LEN, PAGE_LEN), (PAGE_LEN + 1, 2 * PAGE_LEN)] {
            let buf = AlignedBuf::new(asked);
            assert_eq!(buf.len(), got);
            assert!(AlignedBuf::fits(&buf) && buf.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_buffer_stays_where_it_is_when_its_owner_moves() {
        let mut buf = AlignedBuf::new(2 * PAGE_LEN);
        buf[PAGE_LEN] = 7;
        let moved = Box::new(buf);
        assert!(AlignedBuf::fits(&moved));
        assert_eq!(moved[PAGE_LEN], 7);
    }

    #[test]
    fn a_slice_off_the_boundary_does_not_fit() {
        let buf = AlignedBuf::new(2 * PAGE_LEN);
        assert!(!AlignedBuf::fits(&buf[1..=PAGE_LEN]) && !AlignedBuf::fits(&buf[..100]));
    }
}
