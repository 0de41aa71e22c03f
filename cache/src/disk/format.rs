//! The bytes on a volume: made and read here, nowhere else. `cache/FORMAT.md` lists them.
//!
//! Promises
//! - What is read back is what was written, or an error that says which structure was wrong in what way: every bit
//!   of every structure is covered by a CRC-32C or compared. No input makes a parser panic.
//! - A structure of another format version is refused by name ([`FormatError::Version`]).
//! - All numbers are little endian; what is reserved is zero.
//!
//! Does not know: media, when something is written, what payloads mean.

pub mod footer;
pub mod meta;
pub mod purge_log;
pub mod record;
pub mod segment;
pub mod snapshot;
pub mod super_block;

pub use super::aligned::PAGE_LEN;
pub use footer::{Footer, FooterEntry};
pub use purge_log::{PURGE_LEN, PurgeRecord, PurgeScope, parse_log};
pub use record::{META_LEN_MAX, META_NO, Record, RecordHeader, VerifyError};
pub use segment::{SegmentHeader, Stream};
pub use snapshot::SnapshotHeader;
pub use super_block::{SuperBlock, choose};

use super::medium::Part;

/// The version of everything below. Another one is refused: a cache refills, and a reader of two layouts is the
/// place where a wrong byte would get in.
pub const VERSION: u16 = 1;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the structure has.
    #[error("{what} is cut short: {got} of {want} bytes")]
    Short {
        /// The structure.
        what: &'static str,
        /// Bytes there are.
        got: usize,
        /// Bytes there should be.
        want: usize,
    },
    /// It does not begin as ours do.
    #[error("this is no {what}")]
    Magic {
        /// The structure.
        what: &'static str,
    },
    /// Its checksum disagrees with its bytes.
    #[error("{what} fails its checksum")]
    Checksum {
        /// The structure.
        what: &'static str,
    },
    /// It was written by another version of this program.
    #[error("{what} has format version {found}, this program reads {VERSION}")]
    Version {
        /// The structure.
        what: &'static str,
        /// The version it has.
        found: u16,
    },
    /// The checksum holds and yet a value is out of its range.
    #[error("{what} says {value} for its {field}")]
    Field {
        /// The structure.
        what: &'static str,
        /// Which of its values.
        field: &'static str,
        /// What it says.
        value: u64,
    },
}

/// Shape of a volume: how long its chunks and its segments are. Fixed when the volume is formatted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Invariant: inside `CHUNK_SHIFTS`; checked by `new`, as the other one is.
    chunk_shift: u8,
    segment_shift: u8,
}

/// Chunks are 64 KiB to 1 MiB.
const CHUNK_SHIFTS: std::ops::RangeInclusive<u8> = 16..=20;

/// Segments are 4 MiB to 256 MiB: a page number fits 16 bits. The small ones are for tests and small volumes.
const SEGMENT_SHIFTS: std::ops::RangeInclusive<u8> = 22..=28;

/// The footer has room for so many times the records that fit a segment of full chunks, in sixteenths: the rest is
/// for the short last chunks of objects and for metadata.
const FOOTER_SIXTEENTHS: usize = 23;

impl Geometry {
    /// Chunks of `1 << chunk_shift` bytes (16 to 20) in segments of `1 << segment_shift` bytes (22 to 28).
    pub fn new(chunk_shift: u8, segment_shift: u8) -> Result<Self, FormatError> {
        let what = "shape of a volume";
        if !CHUNK_SHIFTS.contains(&chunk_shift) {
            return Err(FormatError::Field { what, field: "chunk shift", value: chunk_shift.into() });
        }
        if !SEGMENT_SHIFTS.contains(&segment_shift) {
            return Err(FormatError::Field { what, field: "segment shift", value: segment_shift.into() });
        }
        Ok(Self { chunk_shift, segment_shift })
    }

    /// The binary logarithm of the bytes of a chunk.
    pub fn chunk_shift(self) -> u8 {
        self.chunk_shift
    }

    /// The binary logarithm of the bytes of a segment.
    pub fn segment_shift(self) -> u8 {
        self.segment_shift
    }

    /// Bytes of a full chunk.
    pub fn chunk_len(self) -> usize {
        1 << self.chunk_shift
    }

    /// Bytes of a segment.
    pub fn segment_len(self) -> u64 {
        1 << self.segment_shift
    }

    /// Pages of a segment, header and footer included.
    pub fn segment_pages(self) -> u32 {
        1 << (self.segment_shift - PAGE_LEN.trailing_zeros() as u8)
    }

    /// Where segment `no` begins on [`Part::Data`].
    pub fn segment_offset(self, no: u32) -> u64 {
        u64::from(no) << self.segment_shift
    }

    /// Bytes of a footer: whole pages, 17 of them for chunks of 256 KiB in segments of 256 MiB.
    pub fn footer_len(self) -> usize {
        let entries = self.segment_pages() as usize * FOOTER_SIXTEENTHS / 16 / pages_of(self.chunk_len());
        (footer::HEAD_LEN + entries * footer::ENTRY_LEN).next_multiple_of(PAGE_LEN)
    }

    /// The first page of the footer: records end here at the latest, and begin at page 1.
    pub fn footer_page(self) -> u16 {
        // At most 65,536 pages, of which the footer has at least one.
        (self.segment_pages() as usize - self.footer_len() / PAGE_LEN) as u16
    }

    /// Records that a footer has room for. A segment is full when these or its pages have run out.
    pub fn entries_max(self) -> usize {
        (self.footer_len() - footer::HEAD_LEN) / footer::ENTRY_LEN
    }

    /// Bytes of payload that a record of chunk `no` may have: 1 to this.
    pub fn payload_max(self, chunk_no: u32) -> usize {
        if chunk_no == META_NO { META_LEN_MAX } else { self.chunk_len() }
    }
}

/// Pages of a record with `payload` bytes, its header included.
pub fn pages_of(payload: usize) -> usize {
    (record::HEAD_LEN + payload).div_ceil(PAGE_LEN)
}

/// Whether the first bytes of a part (two pages, or all there is) are ours.
pub fn is_ours(part: Part, head: &[u8]) -> bool {
    match part {
        // Either copy may be torn.
        Part::Super => head.chunks(PAGE_LEN).any(|page| page.starts_with(&super_block::MAGIC)),
        Part::Data => head.starts_with(&segment::MAGIC),
        Part::PurgeLog => head.starts_with(&purge_log::MAGIC),
        Part::Snapshot => head.starts_with(&snapshot::MAGIC),
    }
}

/// CRC-32C (Castagnoli) of `bytes`.
pub fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC-32C over bytes that come in pieces.
pub struct Checksum(crc_fast::Digest);

impl Checksum {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }

    /// Continues with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum; that of [`crc`] over all pieces together.
    pub fn finish(&self) -> u32 {
        // The digest of a 32-bit sum has its upper half zero.
        self.0.finalize() as u32
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the checksum of a structure of one page lies: over all bytes before.
const PAGE_CRC_AT: usize = PAGE_LEN - 4;

/// Begins a page: magic and version.
fn begin_page(magic: [u8; 8]) -> [u8; PAGE_LEN] {
    let mut page = [0; PAGE_LEN];
    put(&mut page, 0, magic);
    put(&mut page, 8, VERSION.to_le_bytes());
    page
}

/// Ends a page with its checksum.
fn end_page(page: &mut [u8; PAGE_LEN]) {
    let sum = crc(&page[..PAGE_CRC_AT]);
    put(page, PAGE_CRC_AT, sum.to_le_bytes());
}

/// The page that `bytes` begin with, its magic, checksum and version being right.
fn open_page<'a>(
    what: &'static str,
    magic: [u8; 8],
    bytes: &'a [u8],
) -> Result<&'a [u8; PAGE_LEN], FormatError> {
    let short = FormatError::Short { what, got: bytes.len(), want: PAGE_LEN };
    let page: &[u8; PAGE_LEN] = bytes.first_chunk().ok_or(short)?;
    if !page.starts_with(&magic) {
        return Err(FormatError::Magic { what });
    }
    if u32::from_le_bytes(get(page, PAGE_CRC_AT)) != crc(&page[..PAGE_CRC_AT]) {
        return Err(FormatError::Checksum { what });
    }
    known_version(what, u16::from_le_bytes(get(page, 8)))?;
    Ok(page)
}

fn known_version(what: &'static str, found: u16) -> Result<(), FormatError> {
    if found == VERSION { Ok(()) } else { Err(FormatError::Version { what, found }) }
}

/// The `N` bytes at `at`, which the caller knows to be there.
fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Writes `value` at `at`, where the caller knows room to be.
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn any_geometry() -> impl Strategy<Value = Geometry> {
        (CHUNK_SHIFTS, SEGMENT_SHIFTS).prop_map(|(chunk, segment)| Geometry::new(chunk, segment).unwrap())
    }

    /// Flips some bits of `bytes`, one at a time, and asks `taken` about each outcome.
    pub fn no_flipped_bit_passes(
        bytes: &[u8],
        bits: &[u16],
        taken: impl Fn(&[u8]) -> bool,
    ) -> Result<(), TestCaseError> {
        let mut spoilt = bytes.to_vec();
        for bit in bits.iter().map(|bit| usize::from(*bit) * 8191 % (bytes.len() * 8)) {
            spoilt[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!taken(&spoilt), "bit {} of {}", bit, bytes.len() * 8);
            spoilt[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_segment_has_room_for_records_and_a_footer_that_names_them(geometry in any_geometry()) {
            let full_chunks = usize::from(geometry.footer_page() - 1) / pages_of(geometry.chunk_len());
            prop_assert!(full_chunks >= 3 && geometry.entries_max() > full_chunks);
            let end = usize::from(geometry.footer_page()) * PAGE_LEN + geometry.footer_len();
            prop_assert_eq!(end as u64, geometry.segment_len());
            prop_assert_eq!(geometry.segment_offset(3), 3 * geometry.segment_len());
            prop_assert_eq!(u64::from(geometry.segment_pages()) * PAGE_LEN as u64, geometry.segment_len());
        }

        #[test]
        fn a_checksum_of_pieces_is_that_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..3000),
            cut in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut sum = Checksum::new();
            sum.update(head);
            sum.update(tail);
            prop_assert_eq!(sum.finish(), crc(&bytes));
        }
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720 appendix B.4.
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_segment_of_256_mib_ends_in_17_pages_of_footer() {
        let geometry = Geometry::new(18, 28).unwrap();
        assert_eq!((geometry.segment_pages(), geometry.footer_len()), (65_536, 17 * PAGE_LEN));
        assert_eq!((geometry.footer_page(), geometry.entries_max()), (65_519, 1449));
        assert_eq!(pages_of(geometry.chunk_len()), 65);
    }

    #[test]
    fn a_shape_out_of_range_is_refused() {
        assert!(Geometry::new(15, 28).is_err() && Geometry::new(21, 28).is_err());
        assert!(Geometry::new(18, 21).is_err() && Geometry::new(18, 29).is_err());
    }

    #[test]
    fn a_part_is_ours_by_its_first_bytes() {
        let mut two = [0; 2 * PAGE_LEN];
        assert!(!is_ours(Part::Super, &two));
        put(&mut two, PAGE_LEN, super_block::MAGIC);
        assert!(is_ours(Part::Super, &two) && !is_ours(Part::Data, &two));
        assert!(is_ours(Part::Data, b"ANTISEGM...") && is_ours(Part::PurgeLog, b"APRG"));
        assert!(is_ours(Part::Snapshot, b"ANTISNAP") && !is_ours(Part::Snapshot, b"ANTI"));
    }
}
