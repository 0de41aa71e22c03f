//! Boxes of ISO/IEC 14496-12 §4.2: walked with bounds, written with their sizes filled in.
//!
//! Promises
//! - Walking consumes at least eight bytes a step and [`BOXES_MAX`] boxes a container, so it ends.
//! - A box handed out lies inside its container.
//!
//! Does not know: what any box means.

use std::fmt;

/// The four characters that name a box, a codec or a handler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FourCc(pub [u8; 4]);

/// Why a run of bytes is no run of boxes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    /// Fewer bytes than a box header has.
    #[error("{left} stray bytes at offset {offset} are too few for a box")]
    Stray {
        /// Where they begin in the file.
        offset: u64,
        /// How many there are.
        left: u64,
    },
    /// A size smaller than the header it stands in.
    #[error("box `{kind}` at offset {offset} says it has {len} bytes, fewer than its own header")]
    Small {
        /// The box.
        kind: FourCc,
        /// Where it begins in the file.
        offset: u64,
        /// What its header says.
        len: u64,
    },
    /// A size past the end of the container: a file cut short, most often.
    #[error("box `{kind}` at offset {offset} says it has {len} bytes, but only {left} are left: cut short?")]
    Overrun {
        /// The box.
        kind: FourCc,
        /// Where it begins in the file.
        offset: u64,
        /// What its header says.
        len: u64,
        /// Bytes left in the container.
        left: u64,
    },
    /// More boxes than any honest container has.
    #[error("more than {BOXES_MAX} boxes before offset {offset}")]
    TooMany {
        /// Where the walk stopped.
        offset: u64,
    },
    /// A box that ends inside one of its fields.
    #[error("box `{kind}` at offset {offset} ends inside its fields")]
    Short {
        /// The box.
        kind: FourCc,
        /// Where it begins in the file.
        offset: u64,
    },
}

/// Most boxes in one container.
pub const BOXES_MAX: usize = 4096;

/// One box of a container.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub kind: FourCc,
    /// Where the box begins in the file.
    pub offset: u64,
    /// Where its body begins in the file.
    pub body_offset: u64,
    /// What follows the header.
    pub body: &'a [u8],
    /// Header and body.
    pub whole: &'a [u8],
}

/// Walks the boxes of one container; stops after the first error.
pub(super) struct Boxes<'a> {
    rest: &'a [u8],
    offset: u64,
    seen: usize,
    /// How long a box is that gives its size as 0. Only at the outermost level does that mean "to the end"
    /// (ISO/IEC 14496-12 §4.2.2); further in, a copied box would swallow whatever is put behind it.
    open: OpenSize,
}

enum OpenSize {
    ToTheEnd,
    Refused,
}

impl<'a> Boxes<'a> {
    /// The outermost boxes of a file.
    pub(super) fn of_file(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0, seen: 0, open: OpenSize::ToTheEnd }
    }

    /// The boxes in the body of another, which begins at `offset` of the file.
    fn within(bytes: &'a [u8], offset: u64) -> Self {
        Self { rest: bytes, offset, seen: 0, open: OpenSize::Refused }
    }

    fn step(&mut self) -> Result<Found<'a>, BoxError> {
        let offset = self.offset;
        if self.seen == BOXES_MAX {
            return Err(BoxError::TooMany { offset });
        }
        let left = self.rest.len() as u64;
        let (Some(small), Some(kind)) = (be_u32(self.rest, 0), self.rest.get(4..8).and_then(four)) else {
            return Err(BoxError::Stray { offset, left });
        };
        let (header, len) = match (small, &self.open) {
            (0, OpenSize::ToTheEnd) => (8, left),
            (1, _) => (16, be_u64(self.rest, 8).ok_or(BoxError::Stray { offset, left })?),
            (small, _) => (8, u64::from(small)),
        };
        if len < header {
            return Err(BoxError::Small { kind, offset, len });
        }
        if len > left {
            return Err(BoxError::Overrun { kind, offset, len, left });
        }
        // Both fit a usize: they are at most the length of a slice.
        let (whole, rest) = self.rest.split_at(len as usize);
        (self.rest, self.offset, self.seen) = (rest, offset + len, self.seen + 1);
        Ok(Found { kind, offset, body_offset: offset + header, body: &whole[header as usize..], whole })
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<Found<'a>, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.rest = &[];
        }
        Some(step)
    }
}

impl<'a> Found<'a> {
    /// The boxes inside this one.
    pub(super) fn inside(&self) -> Boxes<'a> {
        Boxes::within(self.body, self.body_offset)
    }

    /// The boxes inside this one, after its first `skip` bytes of fields.
    pub(super) fn inside_after(&self, skip: usize) -> Result<Boxes<'a>, BoxError> {
        let rest = self.body.get(skip..).ok_or_else(|| self.short())?;
        Ok(Boxes::within(rest, self.body_offset + skip as u64))
    }

    /// The bytes `at..at + len` of the body.
    pub(super) fn bytes(&self, at: usize, len: usize) -> Result<&'a [u8], BoxError> {
        at.checked_add(len).and_then(|end| self.body.get(at..end)).ok_or_else(|| self.short())
    }

    pub(super) fn u8(&self, at: usize) -> Result<u8, BoxError> {
        self.body.get(at).copied().ok_or_else(|| self.short())
    }

    pub(super) fn u16(&self, at: usize) -> Result<u16, BoxError> {
        self.bytes(at, 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    pub(super) fn u32(&self, at: usize) -> Result<u32, BoxError> {
        be_u32(self.body, at).ok_or_else(|| self.short())
    }

    pub(super) fn u64(&self, at: usize) -> Result<u64, BoxError> {
        be_u64(self.body, at).ok_or_else(|| self.short())
    }

    /// Four characters at `at`.
    pub(super) fn four(&self, at: usize) -> Result<FourCc, BoxError> {
        self.bytes(at, 4).and_then(|bytes| four(bytes).ok_or_else(|| self.short()))
    }

    /// The version of a full box.
    pub(super) fn version(&self) -> Result<u8, BoxError> {
        self.u8(0)
    }

    /// `count` records of `len` bytes from `at` on.
    pub(super) fn records(
        &self,
        at: usize,
        count: u32,
        len: usize,
    ) -> Result<impl Iterator<Item = &'a [u8]>, BoxError> {
        let total = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(len))
            .ok_or_else(|| self.short())?;
        Ok(self.bytes(at, total)?.chunks_exact(len))
    }

    fn short(&self) -> BoxError {
        BoxError::Short { kind: self.kind, offset: self.offset }
    }
}

/// Appends a box to `out`; `fill` writes its body.
pub(super) fn put_box(out: &mut Vec<u8>, kind: &[u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(kind);
    fill(out);
    let len = out.len() - start;
    debug_assert!(u32::try_from(len).is_ok(), "the caller bounds every box below 4 GiB");
    set_u32(out, start, len as u32);
}

/// Appends a full box: version, flags, then what `fill` writes.
pub(super) fn put_full_box(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    put_box(out, kind, |out| {
        put_u32(out, u32::from(version) << 24 | flags);
        fill(out);
    });
}

/// Appends big-endian words.
pub(super) fn put_u32s<const N: usize>(out: &mut Vec<u8>, words: [u32; N]) {
    words.into_iter().for_each(|word| put_u32(out, word));
}

/// Appends one big-endian word.
pub(super) fn put_u32(out: &mut Vec<u8>, word: u32) {
    out.extend(word.to_be_bytes());
}

/// Overwrites the word at `at`, which has been written before.
pub(super) fn set_u32(out: &mut [u8], at: usize, word: u32) {
    out[at..at + 4].copy_from_slice(&word.to_be_bytes());
}

/// A big-endian word at `at`.
pub(super) fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

/// A big-endian double word at `at`.
pub(super) fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_be_bytes)
}

fn four(bytes: &[u8]) -> Option<FourCc> {
    bytes.try_into().ok().map(FourCc)
}

impl fmt::Display for FourCc {
    /// Printable characters as they are, others escaped: the text comes from a stranger's file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> Result<Vec<(FourCc, usize)>, BoxError> {
        Boxes::of_file(bytes).map(|found| found.map(|found| (found.kind, found.body.len()))).collect()
    }

    #[test]
    fn all_three_spellings_of_a_size_are_read() {
        let mut bytes = Vec::new();
        put_box(&mut bytes, b"free", |out| out.extend([1, 2, 3]));
        bytes.extend(1_u32.to_be_bytes());
        bytes.extend(b"wide");
        bytes.extend(18_u64.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(b"last....");
        let kinds = walk(&bytes).unwrap();
        assert_eq!(kinds, [(FourCc(*b"free"), 3), (FourCc(*b"wide"), 2), (FourCc(*b"last"), 4)]);
    }

    #[test]
    fn a_size_that_lies_is_refused() {
        let kind = FourCc(*b"moov");
        assert_eq!(walk(b"\0\0\0\x07moov"), Err(BoxError::Small { kind, offset: 0, len: 7 }));
        assert_eq!(walk(b"\0\0\0\x09moov"), Err(BoxError::Overrun { kind, offset: 0, len: 9, left: 8 }));
        assert_eq!(
            walk(b"\0\0\0\x01moov\0\0\0\0\0\0\0\x0f"),
            Err(BoxError::Small { kind, offset: 0, len: 15 })
        );
        assert_eq!(walk(b"\0\0\0\x01moov"), Err(BoxError::Stray { offset: 0, left: 8 }));
        assert_eq!(walk(b"\0\0\0"), Err(BoxError::Stray { offset: 0, left: 3 }));
    }

    #[test]
    fn only_an_outermost_box_may_go_on_to_the_end() {
        let mut bytes = Vec::new();
        put_box(&mut bytes, b"moov", |out| out.extend(b"\0\0\0\0free"));
        let moov = Boxes::of_file(&bytes).next().unwrap().unwrap();
        let refused = BoxError::Small { kind: FourCc(*b"free"), offset: 8, len: 0 };
        assert_eq!(moov.inside().next().unwrap().err(), Some(refused));
    }

    #[test]
    fn a_walk_ends_after_so_many_boxes() {
        let mut bytes = b"\0\0\0\x08free".repeat(BOXES_MAX);
        assert_eq!(walk(&bytes).unwrap().len(), BOXES_MAX);
        bytes.extend(b"\0\0\0\x08free");
        assert_eq!(walk(&bytes), Err(BoxError::TooMany { offset: BOXES_MAX as u64 * 8 }));
    }

    #[test]
    fn a_name_of_unprintable_characters_prints_plainly() {
        assert_eq!(FourCc(*b"\x00\x1b[a").to_string(), "\\x00\\x1b[a");
    }
}
