//! One slot of the index: eight bytes that say where a chunk is and how it fares.
//!
//! | bits | field |
//! |---|---|
//! | 0 | valid: an empty slot is all zero |
//! | 1 | pinned |
//! | 2 | hot |
//! | 3-4 | freq |
//! | 5-11 | pages |
//! | 12-27 | page |
//! | 28-49 | segment |
//! | 50-63 | tag |

/// Where a record is on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Number of the segment, below [`SEGMENTS_MAX`].
    pub segment: u32,
    /// First 4 KiB page of the record, counted from the start of the segment.
    pub page: u16,
    /// Length of the record in pages, 1 to [`PAGES_MAX`].
    pub pages: u8,
}

/// What the index remembers about a record besides its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// Hits since the last halvings, 0 to [`FREQ_MAX`].
    pub freq: u8,
    /// The record was moved by reclaim: it stands in a segment of the hot stream.
    pub hot: bool,
    /// While another entry can go, this one is not evicted for want of a slot. Not a reader's pin: readers are
    /// many and one bit cannot count them, so they pin the segment.
    pub pinned: bool,
}

/// A record as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where it is.
    pub place: Place,
    /// How it fares.
    pub marks: Marks,
}

/// A volume has fewer segments than this: 22 bits, 1 PiB in segments of 256 MiB.
pub const SEGMENTS_MAX: u32 = 1 << 22;
/// Pages of the longest record: 7 bits. A chunk of 256 KiB and its header are 65 pages.
pub const PAGES_MAX: u8 = 127;
/// The counter of hits stops here: 2 bits.
pub const FREQ_MAX: u8 = 3;

/// A slot without an entry.
pub(super) const EMPTY: u64 = 0;
/// Bits of the key's hash that a slot keeps.
pub(super) const TAG_BITS: u32 = 14;

const VALID: u64 = 1;
const PINNED: u64 = 1 << 1;
const HOT: u64 = 1 << 2;
const FREQ_AT: u32 = 3;
const PAGES_AT: u32 = 5;
const PAGE_AT: u32 = 12;
const SEGMENT_AT: u32 = 28;
const TAG_AT: u32 = 50;

const _: () = assert!(TAG_AT + TAG_BITS == u64::BITS && SEGMENTS_MAX == 1 << (TAG_AT - SEGMENT_AT));

impl Place {
    /// Whether a slot can hold it.
    pub fn fits(self) -> bool {
        self.segment < SEGMENTS_MAX && (1..=PAGES_MAX).contains(&self.pages)
    }
}

/// The slot of `entry`, or none if its place does not fit.
pub(super) fn pack(tag: u64, Entry { place, marks }: Entry) -> Option<u64> {
    debug_assert!(tag >> TAG_BITS == 0, "a tag has {TAG_BITS} bits");
    place.fits().then(|| {
        VALID
            | if marks.pinned { PINNED } else { 0 }
            | if marks.hot { HOT } else { 0 }
            | u64::from(marks.freq.min(FREQ_MAX)) << FREQ_AT
            | u64::from(place.pages) << PAGES_AT
            | u64::from(place.page) << PAGE_AT
            | u64::from(place.segment) << SEGMENT_AT
            | tag << TAG_AT
    })
}

/// The entry of a slot, unless it is empty.
pub(super) fn unpack(word: u64) -> Option<Entry> {
    let bits = |at: u32, count: u32| (word >> at) & ((1 << count) - 1);
    (word & VALID != 0).then(|| Entry {
        place: Place {
            segment: bits(SEGMENT_AT, TAG_AT - SEGMENT_AT) as u32,
            page: bits(PAGE_AT, 16) as u16,
            pages: bits(PAGES_AT, 7) as u8,
        },
        marks: Marks { freq: bits(FREQ_AT, 2) as u8, hot: word & HOT != 0, pinned: word & PINNED != 0 },
    })
}

/// Whether a full slot carries `tag`.
pub(super) fn tagged(word: u64, tag: u64) -> bool {
    word & VALID != 0 && word >> TAG_AT == tag
}

/// Whether a full slot carries `tag` and points at `place`, whatever its marks.
pub(super) fn points_at(word: u64, tag: u64, place: Place) -> bool {
    tagged(word, tag) && unpack(word).is_some_and(|entry| entry.place == place)
}

/// The slot with another count of hits.
pub(super) fn with_freq(word: u64, freq: u8) -> u64 {
    word & !(u64::from(FREQ_MAX) << FREQ_AT) | u64::from(freq.min(FREQ_MAX)) << FREQ_AT
}

/// The count of hits of a slot.
pub(super) fn freq(word: u64) -> u8 {
    ((word >> FREQ_AT) as u8) & FREQ_MAX
}

/// Who goes first when somebody must: not the pinned, then the least hit, then newcomers before the hot.
pub(super) fn warmth(word: u64) -> (bool, u8, bool) {
    (word & PINNED != 0, freq(word), word & HOT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            tag in 0..1_u64 << TAG_BITS, segment in 0..SEGMENTS_MAX, page: u16, pages in 1..=PAGES_MAX,
            freq in 0..=FREQ_MAX, hot: bool, pinned: bool,
        ) {
            let entry = Entry { place: Place { segment, page, pages }, marks: Marks { freq, hot, pinned } };
            let word = pack(tag, entry).unwrap();
            prop_assert_eq!(unpack(word), Some(entry));
            prop_assert!(points_at(word, tag, entry.place) && !tagged(word, tag ^ 1));
            let hit = unpack(with_freq(word, 3)).unwrap();
            prop_assert_eq!((hit.place, hit.marks.freq, hit.marks.hot), (entry.place, 3, hot));
        }
    }

    #[test]
    fn a_place_past_a_limit_is_refused() {
        let packed = |segment, pages| {
            pack(0, Entry { place: Place { segment, page: 0, pages }, marks: Marks::default() }).is_some()
        };
        assert!(packed(SEGMENTS_MAX - 1, PAGES_MAX) && packed(0, 1));
        assert!(!packed(SEGMENTS_MAX, 1) && !packed(0, 0) && !packed(0, PAGES_MAX + 1));
    }
}
