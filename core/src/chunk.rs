//! Chunks: the 256 KiB pieces of an object that the tiers keep and the origin digests.
//!
//! All arithmetic on chunk numbers lives here, so that no other file divides by [`CHUNK_LEN`].

use crate::range::Span;
use std::fmt;
use std::ops::Range;

/// Bytes in a chunk; only the last chunk of an object is shorter. Format constant (CACHE.md, decision 1).
pub const CHUNK_LEN: u64 = 256 * 1024;

const _: () = assert!(CHUNK_LEN.is_multiple_of(4096), "a chunk starts on a page, and so on a cipher block");

/// Number of a chunk inside its object, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkNo(pub u32);

impl ChunkNo {
    /// The chunk that holds byte `offset`; `None` past 1 PiB, where numbers end.
    pub fn holding(offset: u64) -> Option<Self> {
        u32::try_from(offset / CHUNK_LEN).ok().map(Self)
    }

    /// The bytes of this chunk in an object of `object_len` bytes; `None` past the object's end.
    pub fn span(self, object_len: u64) -> Option<Span> {
        let start = u64::from(self.0) * CHUNK_LEN;
        Span::new(start, (start + CHUNK_LEN).min(object_len))
    }
}

impl fmt::Display for ChunkNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk {}", self.0)
    }
}

/// Chunks of a group: 1 MiB of an object that a node, and on it a volume, has as one.
pub const GROUP: u32 = 4;

/// The number after the last chunk of the group that chunk `no` is in.
pub fn group_end(no: u32) -> u32 {
    (no / GROUP + 1).saturating_mul(GROUP)
}

/// The numbers of all chunks that `span` touches; empty only for a span past 1 PiB.
pub fn touched(span: Span) -> Range<u32> {
    match (ChunkNo::holding(span.start()), ChunkNo::holding(span.end() - 1)) {
        (Some(first), Some(last)) => first.0..last.0.saturating_add(1),
        _ => 0..0,
    }
}

/// The span of the chunks `run` in an object of `object_len` bytes, ends on chunk borders or on the
/// object's end.
pub fn run_span(run: Range<u32>, object_len: u64) -> Option<Span> {
    let start = u64::from(run.start) * CHUNK_LEN;
    Span::new(start, (u64::from(run.end) * CHUNK_LEN).min(object_len))
}

/// Whether `span` starts on a chunk border and ends on one or on the object's end.
pub fn is_aligned(span: Span, object_len: u64) -> bool {
    span.start().is_multiple_of(CHUNK_LEN)
        && (span.end().is_multiple_of(CHUNK_LEN) || span.end() == object_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_chunk_ends_where_the_object_ends() {
        assert_eq!(ChunkNo(0).span(10), Span::new(0, 10));
        assert_eq!(ChunkNo(1).span(CHUNK_LEN + 1), Span::new(CHUNK_LEN, CHUNK_LEN + 1));
        assert_eq!(ChunkNo(1).span(CHUNK_LEN), None);
    }

    proptest! {
        #[test]
        fn the_touched_chunks_cover_the_span_and_no_more(
            start in 0_u64..1 << 32, len in 1_u64..1 << 24, more in 0_u64..1 << 20,
        ) {
            let span = Span::new(start, start + len).unwrap();
            let object_len = start + len + more;
            let run = touched(span);
            let covered = run_span(run.clone(), object_len).unwrap();
            prop_assert!(covered.start() <= span.start() && span.end() <= covered.end());
            prop_assert!(is_aligned(covered, object_len));
            prop_assert!(span.start() - covered.start() < CHUNK_LEN);
            prop_assert!(covered.end() - span.end() < CHUNK_LEN);
        }
    }
}
