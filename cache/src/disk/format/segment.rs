//! The first page of a segment.

use super::{FormatError, PAGE_LEN, begin_page, end_page, get, open_page, put};

/// First bytes of a segment.
pub const MAGIC: [u8; 8] = *b"ANTISEGM";

const WHAT: &str = "segment header";

/// What a segment is filled with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stream {
    /// Chunks on their first way to the disk.
    Fresh,
    /// Chunks that were kept when their segment was reclaimed.
    Hot,
}

/// The first page of a segment. Written, and synced, before any record of the same opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What it is filled with.
    pub stream: Stream,
    /// Its number, from 0.
    pub seg_no: u32,
    /// The volume it belongs to.
    pub disk_uuid: [u8; 16],
    /// New for every opening and higher than all before. Records and footers of other openings carry another one
    /// and do not count. 0: never opened.
    pub seq: u64,
    /// When it was opened, in milliseconds since 1970.
    pub opened_ms: u64,
}

impl SegmentHeader {
    /// The page that stores it.
    pub fn to_page(&self) -> [u8; PAGE_LEN] {
        let mut page = begin_page(MAGIC);
        page[10] = match self.stream {
            Stream::Fresh => 0,
            Stream::Hot => 1,
        };
        put(&mut page, 12, self.seg_no.to_le_bytes());
        put(&mut page, 16, self.disk_uuid);
        put(&mut page, 32, self.seq.to_le_bytes());
        put(&mut page, 40, self.opened_ms.to_le_bytes());
        end_page(&mut page);
        page
    }

    /// Reads the page that `bytes` begin with.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let page = open_page(WHAT, MAGIC, bytes)?;
        let stream = match page[10] {
            0 => Stream::Fresh,
            1 => Stream::Hot,
            other => {
                return Err(FormatError::Field { what: WHAT, field: "stream", value: other.into() });
            }
        };
        Ok(Self {
            stream,
            seg_no: u32::from_le_bytes(get(page, 12)),
            disk_uuid: get(page, 16),
            seq: u64::from_le_bytes(get(page, 32)),
            opened_ms: u64::from_le_bytes(get(page, 40)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::no_flipped_bit_passes;
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = SegmentHeader> {
        any::<(bool, u32, [u8; 16], u64, u64)>().prop_map(|(hot, seg_no, disk_uuid, seq, opened_ms)| {
            let stream = if hot { Stream::Hot } else { Stream::Fresh };
            SegmentHeader { stream, seg_no, disk_uuid, seq, opened_ms }
        })
    }

    proptest! {
        #[test]
        fn a_segment_header_is_read_back_and_no_flipped_bit_passes(header in any_header(), bits in any::<[u16; 8]>()) {
            let page = header.to_page();
            prop_assert_eq!(SegmentHeader::parse(&page), Ok(header));
            no_flipped_bit_passes(&page, &bits, |bytes| SegmentHeader::parse(bytes).is_ok())?;
        }

        #[test]
        fn any_bytes_are_no_segment_header(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(SegmentHeader::parse(&bytes).is_err());
        }
    }

    #[test]
    fn a_third_stream_is_refused() {
        let header =
            SegmentHeader { stream: Stream::Hot, seg_no: 1, disk_uuid: [2; 16], seq: 3, opened_ms: 4 };
        let mut page = header.to_page();
        page[10] = 2;
        end_page(&mut page);
        let error = FormatError::Field { what: WHAT, field: "stream", value: 2 };
        assert_eq!(SegmentHeader::parse(&page), Err(error));
    }
}
