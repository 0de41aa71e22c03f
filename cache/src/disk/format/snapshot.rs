//! The page in front of an index snapshot.
//!
//! A snapshot saves reading every footer after a clean stop. It is believed only if it belongs to the super block
//! that says so, and thrown away on any doubt: the footers hold the same.

use super::{FormatError, PAGE_LEN, begin_page, end_page, get, open_page, put};

/// First bytes of a snapshot.
pub const MAGIC: [u8; 8] = *b"ANTISNAP";

const WHAT: &str = "index snapshot";

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The volume it belongs to.
    pub disk_uuid: [u8; 16],
    /// That of the super block that was written, clean, after it. Another one: not valid any more.
    pub generation: u64,
    /// The highest sequence number of a segment in it.
    pub last_seq: u64,
    /// Things in it, as its writer counts.
    pub entries: u64,
    /// Bytes after this page.
    pub payload_len: u64,
    /// CRC-32C of them.
    pub payload_crc: u32,
}

impl SnapshotHeader {
    /// The page that stores it.
    pub fn to_page(&self) -> [u8; PAGE_LEN] {
        let mut page = begin_page(MAGIC);
        put(&mut page, 12, self.payload_crc.to_le_bytes());
        put(&mut page, 16, self.disk_uuid);
        put(&mut page, 32, self.generation.to_le_bytes());
        put(&mut page, 40, self.last_seq.to_le_bytes());
        put(&mut page, 48, self.entries.to_le_bytes());
        put(&mut page, 56, self.payload_len.to_le_bytes());
        end_page(&mut page);
        page
    }

    /// Reads the page that `bytes` begin with.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let page = open_page(WHAT, MAGIC, bytes)?;
        Ok(Self {
            disk_uuid: get(page, 16),
            generation: u64::from_le_bytes(get(page, 32)),
            last_seq: u64::from_le_bytes(get(page, 40)),
            entries: u64::from_le_bytes(get(page, 48)),
            payload_len: u64::from_le_bytes(get(page, 56)),
            payload_crc: u32::from_le_bytes(get(page, 12)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::no_flipped_bit_passes;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_snapshot_header_is_read_back_and_no_flipped_bit_passes(
            (disk_uuid, generation, last_seq, entries, payload_len, payload_crc)
                in any::<([u8; 16], u64, u64, u64, u64, u32)>(),
            bits in any::<[u16; 8]>(),
        ) {
            let header = SnapshotHeader { disk_uuid, generation, last_seq, entries, payload_len, payload_crc };
            let page = header.to_page();
            prop_assert_eq!(SnapshotHeader::parse(&page), Ok(header));
            no_flipped_bit_passes(&page, &bits, |bytes| SnapshotHeader::parse(bytes).is_ok())?;
        }

        #[test]
        fn any_bytes_are_no_snapshot_header(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(SnapshotHeader::parse(&bytes).is_err());
        }
    }
}
