//! The super block: what a volume is and how it was left.
//!
//! There are two copies, a page each, at 0 and 4096. Generations alternate between them ([`SuperBlock::offset`]),
//! so that a write that is torn leaves the copy before it whole.

use super::{FormatError, Geometry, PAGE_LEN, begin_page, end_page, get, open_page, put};

/// First bytes of a copy.
pub const MAGIC: [u8; 8] = *b"ANTIPHON";

/// Bytes of both copies.
pub const SUPER_LEN: usize = 2 * PAGE_LEN;

const WHAT: &str = "super block";

/// What a volume is and how it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperBlock {
    /// Length of chunks and segments.
    pub geometry: Geometry,
    /// Names the volume; every segment repeats it, so that segments of a disk used before are not taken for ours.
    pub disk_uuid: [u8; 16],
    /// Segments of the volume, one at least.
    pub seg_count: u32,
    /// Key of the index's hash, drawn when formatting: nobody outside can choose keys that collide.
    pub hash_seed: u64,
    /// Counts the writes of the super block; the copy with the higher one is valid.
    pub generation: u64,
    /// The volume was closed in order, and an index snapshot of the same generation may be believed.
    pub clean: bool,
    /// No segment had a higher sequence number when this was written. Ones opened later do.
    pub last_seq: u64,
}

impl SuperBlock {
    /// The page that stores it.
    pub fn to_page(&self) -> [u8; PAGE_LEN] {
        let mut page = begin_page(MAGIC);
        page[10] = self.geometry.chunk_shift();
        page[11] = self.geometry.segment_shift();
        put(&mut page, 12, self.seg_count.to_le_bytes());
        put(&mut page, 16, self.disk_uuid);
        put(&mut page, 32, self.hash_seed.to_le_bytes());
        put(&mut page, 40, self.generation.to_le_bytes());
        put(&mut page, 48, self.last_seq.to_le_bytes());
        page[56] = self.clean.into();
        end_page(&mut page);
        page
    }

    /// Reads the page that `bytes` begin with.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let page = open_page(WHAT, MAGIC, bytes)?;
        let field = |field, value| FormatError::Field { what: WHAT, field, value };
        let clean = match page[56] {
            0 => false,
            1 => true,
            other => return Err(field("clean mark", other.into())),
        };
        let seg_count = u32::from_le_bytes(get(page, 12));
        if seg_count == 0 {
            return Err(field("number of segments", 0));
        }
        Ok(Self {
            geometry: Geometry::new(page[10], page[11])?,
            disk_uuid: get(page, 16),
            seg_count,
            hash_seed: u64::from_le_bytes(get(page, 32)),
            generation: u64::from_le_bytes(get(page, 40)),
            clean,
            last_seq: u64::from_le_bytes(get(page, 48)),
        })
    }

    /// Where the copy of this generation goes.
    pub fn offset(&self) -> u64 {
        self.generation % 2 * PAGE_LEN as u64
    }
}

/// The newest valid one of the two copies; where neither is, what is wrong with the first.
pub fn choose(first: &[u8], second: &[u8]) -> Result<SuperBlock, FormatError> {
    match (SuperBlock::parse(first), SuperBlock::parse(second)) {
        (Ok(first), Ok(second)) => Ok(if second.generation > first.generation { second } else { first }),
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(only),
        // A version that is not ours says more than damage does.
        (Err(_), Err(error @ FormatError::Version { .. })) => Err(error),
        (Err(error), Err(_)) => Err(error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{any_geometry, no_flipped_bit_passes};
    use super::*;
    use proptest::prelude::*;

    pub fn any_super_block() -> impl Strategy<Value = SuperBlock> {
        (any_geometry(), any::<[u8; 16]>(), 1_u32.., any::<u64>(), any::<(u64, bool, u64)>()).prop_map(
            |(geometry, disk_uuid, seg_count, hash_seed, (generation, clean, last_seq))| SuperBlock {
                geometry,
                disk_uuid,
                seg_count,
                hash_seed,
                generation,
                clean,
                last_seq,
            },
        )
    }

    proptest! {
        #[test]
        fn a_super_block_is_read_back_and_no_flipped_bit_passes(block in any_super_block(), bits in any::<[u16; 8]>()) {
            let page = block.to_page();
            prop_assert_eq!(SuperBlock::parse(&page), Ok(block));
            no_flipped_bit_passes(&page, &bits, |bytes| SuperBlock::parse(bytes).is_ok())?;
        }

        #[test]
        fn any_bytes_are_no_super_block(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(SuperBlock::parse(&bytes).is_err());
        }

        #[test]
        fn the_newest_valid_copy_is_chosen(block in any_super_block(), torn in 0..PAGE_LEN) {
            let old = SuperBlock { generation: block.generation / 2, ..block.clone() };
            let new = SuperBlock { generation: old.generation + 1, clean: !old.clean, ..old.clone() };
            prop_assert_ne!(old.offset(), new.offset());
            let (a, b) = (old.to_page(), new.to_page());
            prop_assert_eq!(choose(&a, &b), Ok(new.clone()));
            prop_assert_eq!(choose(&b, &a), Ok(new));
            let mut page = b;
            page[torn..].fill(0xa5);
            prop_assert_eq!(choose(&a, &page), Ok(old));
            prop_assert!(choose(&page, &page).is_err());
        }
    }

    #[test]
    fn a_super_block_of_another_version_is_refused_by_name() {
        let block = SuperBlock {
            geometry: Geometry::new(18, 28).unwrap(),
            disk_uuid: [1; 16],
            seg_count: 4,
            hash_seed: 5,
            generation: 6,
            clean: true,
            last_seq: 7,
        };
        let mut page = block.to_page();
        page[8] = 2;
        end_page(&mut page);
        assert_eq!(SuperBlock::parse(&page), Err(FormatError::Version { what: WHAT, found: 2 }));
        assert_eq!(choose(&[0; PAGE_LEN], &page), Err(FormatError::Version { what: WHAT, found: 2 }));
    }

    #[test]
    fn a_super_block_with_a_right_checksum_and_a_wrong_value_is_refused() {
        let block = SuperBlock {
            geometry: Geometry::new(18, 28).unwrap(),
            disk_uuid: [1; 16],
            seg_count: 1,
            hash_seed: 5,
            generation: 6,
            clean: false,
            last_seq: 7,
        };
        for (at, value) in [(10, 15), (10, 21), (11, 21), (11, 29), (12, 0), (56, 2)] {
            let mut page = block.to_page();
            page[at] = value;
            end_page(&mut page);
            assert!(matches!(SuperBlock::parse(&page), Err(FormatError::Field { .. })), "{at} {value}");
        }
    }
}
