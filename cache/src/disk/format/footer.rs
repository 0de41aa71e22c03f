//! The footer: the table of contents in the last pages of a sealed segment.

use super::{FormatError, Geometry, META_NO, crc, get, known_version, pages_of, put};
use crate::object::ObjKey;

/// First bytes of a footer.
pub const MAGIC: [u8; 8] = *b"ANTIFOOT";

/// Bytes before the first entry.
pub const HEAD_LEN: usize = 64;

/// Bytes of an entry.
pub const ENTRY_LEN: usize = 48;

const WHAT: &str = "segment footer";

/// Everything from here to the end of the footer's last page is summed; the magic before is compared.
const SUMMED_FROM: usize = 12;

/// Names a record of the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FooterEntry {
    /// The object.
    pub obj: ObjKey,
    /// Which of its chunks; [`META_NO`] for its metadata.
    pub chunk_no: u32,
    /// The page of the segment where the record begins.
    pub page: u16,
    /// Bytes of payload.
    pub len: u32,
    /// Version of the object.
    pub ver: u64,
    /// CRC-32C of the payload.
    pub crc: u32,
    /// The purge generation when its fetch began.
    pub generation: u64,
    /// How often it had been hit when the segment was sealed, as the index counts.
    pub freq: u8,
}

/// The table of contents of a segment. Counts only where its `seq` is that of the segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The opening it belongs to.
    pub seq: u64,
    /// The segment's number.
    pub seg_no: u32,
    /// Pages of header and records: the first page that is free.
    pub used_pages: u16,
    /// When it was sealed, in milliseconds since 1970.
    pub sealed_ms: u64,
    /// The records, in the order of their pages, [`Geometry::entries_max`] at most.
    pub entries: Vec<FooterEntry>,
}

impl FooterEntry {
    /// Pages of the record.
    pub fn pages(&self) -> u16 {
        // A record is a chunk or metadata: 257 pages at most.
        pages_of(self.len as usize) as u16
    }

    fn write(&self, into: &mut [u8]) {
        put(into, 0, *self.obj.as_bytes());
        put(into, 16, self.generation.to_le_bytes());
        put(into, 24, self.ver.to_le_bytes());
        put(into, 32, self.chunk_no.to_le_bytes());
        put(into, 36, self.len.to_le_bytes());
        put(into, 40, self.crc.to_le_bytes());
        put(into, 44, self.page.to_le_bytes());
        into[46] = self.freq;
    }

    fn read(bytes: &[u8]) -> Self {
        Self {
            obj: ObjKey::from_bytes(get(bytes, 0)),
            generation: u64::from_le_bytes(get(bytes, 16)),
            ver: u64::from_le_bytes(get(bytes, 24)),
            chunk_no: u32::from_le_bytes(get(bytes, 32)),
            len: u32::from_le_bytes(get(bytes, 36)),
            crc: u32::from_le_bytes(get(bytes, 40)),
            page: u16::from_le_bytes(get(bytes, 44)),
            freq: bytes[46],
        }
    }
}

impl Footer {
    /// Writes the footer into all of `into`, which has [`Geometry::footer_len`] bytes. Refuses what could not be
    /// read back.
    pub fn write(&self, into: &mut [u8], geometry: Geometry) -> Result<(), FormatError> {
        self.check(geometry)?;
        let want = geometry.footer_len();
        if into.len() != want {
            return Err(FormatError::Short { what: WHAT, got: into.len(), want });
        }
        into.fill(0);
        put(into, 0, MAGIC);
        put(into, 12, (self.entries.len() as u32).to_le_bytes());
        put(into, 16, self.seq.to_le_bytes());
        put(into, 24, self.sealed_ms.to_le_bytes());
        put(into, 32, self.seg_no.to_le_bytes());
        put(into, 36, self.used_pages.to_le_bytes());
        put(into, 38, super::VERSION.to_le_bytes());
        for (entry, bytes) in self.entries.iter().zip(into[HEAD_LEN..].chunks_exact_mut(ENTRY_LEN)) {
            entry.write(bytes);
        }
        let sum = crc(&into[SUMMED_FROM..]);
        put(into, 8, sum.to_le_bytes());
        Ok(())
    }

    /// Reads the footer that `bytes` begin with.
    pub fn parse(bytes: &[u8], geometry: Geometry) -> Result<Self, FormatError> {
        let want = geometry.footer_len();
        let short = FormatError::Short { what: WHAT, got: bytes.len(), want };
        let bytes = bytes.get(..want).ok_or(short)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Magic { what: WHAT });
        }
        if u32::from_le_bytes(get(bytes, 8)) != crc(&bytes[SUMMED_FROM..]) {
            return Err(FormatError::Checksum { what: WHAT });
        }
        known_version(WHAT, u16::from_le_bytes(get(bytes, 38)))?;
        let count = u32::from_le_bytes(get(bytes, 12)) as usize;
        if count > geometry.entries_max() {
            return Err(field("number of records", count as u64));
        }
        let entries = bytes[HEAD_LEN..].chunks_exact(ENTRY_LEN).take(count).map(FooterEntry::read).collect();
        let footer = Self {
            seq: u64::from_le_bytes(get(bytes, 16)),
            seg_no: u32::from_le_bytes(get(bytes, 32)),
            used_pages: u16::from_le_bytes(get(bytes, 36)),
            sealed_ms: u64::from_le_bytes(get(bytes, 24)),
            entries,
        };
        footer.check(geometry)?;
        Ok(footer)
    }

    /// Records lie one after the other between the header and the footer, and each may be as long as it is.
    fn check(&self, geometry: Geometry) -> Result<(), FormatError> {
        if self.entries.len() > geometry.entries_max() {
            return Err(field("number of records", self.entries.len() as u64));
        }
        if self.used_pages == 0 || self.used_pages > geometry.footer_page() {
            return Err(field("used pages", self.used_pages.into()));
        }
        let mut free = 1;
        for entry in &self.entries {
            if entry.len == 0 || entry.len as usize > geometry.payload_max(entry.chunk_no) {
                return Err(field("length of a record", entry.len.into()));
            }
            let end = u32::from(entry.page) + u32::from(entry.pages());
            if u32::from(entry.page) < free || end > self.used_pages.into() {
                return Err(field("page of a record", entry.page.into()));
            }
            free = end;
        }
        Ok(())
    }
}

fn field(field: &'static str, value: u64) -> FormatError {
    FormatError::Field { what: WHAT, field, value }
}

const _: () = assert!(HEAD_LEN >= 40 && ENTRY_LEN >= 47 && META_NO == u32::MAX);

#[cfg(test)]
mod tests {
    use super::super::tests::{any_geometry, no_flipped_bit_passes};
    use super::*;
    use proptest::prelude::*;

    /// Footers of records that lie with gaps of up to two pages between them.
    fn any_footer() -> impl Strategy<Value = (Geometry, Footer)> {
        let entry = any::<([u8; 16], u32, u32, u64, u32, u64, u8, u8)>();
        let entries = proptest::collection::vec(entry, 0..30);
        (any_geometry(), any::<(u64, u32, u64)>(), entries).prop_map(
            |(geometry, (seq, seg_no, sealed_ms), raw)| {
                let mut page = 1;
                let mut entries = Vec::new();
                for (obj, chunk_no, len, ver, crc, generation, freq, gap) in raw {
                    let len = len % geometry.payload_max(chunk_no) as u32 + 1;
                    let obj = ObjKey::from_bytes(obj);
                    page += u16::from(gap % 3);
                    let entry = FooterEntry { obj, chunk_no, page, len, ver, crc, generation, freq };
                    if u32::from(page) + u32::from(entry.pages()) > geometry.footer_page().into() {
                        break;
                    }
                    page += entry.pages();
                    entries.push(entry);
                }
                let used_pages = page.min(geometry.footer_page());
                (geometry, Footer { seq, seg_no, used_pages, sealed_ms, entries })
            },
        )
    }

    proptest! {
        #[test]
        fn a_footer_is_read_back_and_no_flipped_bit_passes(
            (geometry, footer) in any_footer(),
            bits in any::<[u16; 8]>(),
        ) {
            let mut bytes = vec![0xee; geometry.footer_len()];
            prop_assert_eq!(footer.write(&mut bytes, geometry), Ok(()));
            prop_assert_eq!(Footer::parse(&bytes, geometry), Ok(footer));
            no_flipped_bit_passes(&bytes, &bits, |bytes| Footer::parse(bytes, geometry).is_ok())?;
            prop_assert!(Footer::parse(&bytes[1..], geometry).is_err());
        }

        #[test]
        fn any_bytes_are_no_footer(bytes in proptest::collection::vec(any::<u8>(), 4096..5000)) {
            prop_assert!(Footer::parse(&bytes, Geometry::new(18, 22).unwrap()).is_err());
        }
    }

    fn entry(page: u16, len: u32) -> FooterEntry {
        let obj = ObjKey::from_bytes([1; 16]);
        FooterEntry { obj, chunk_no: 2, page, len, ver: 3, crc: 4, generation: 5, freq: 6 }
    }

    fn written(used_pages: u16, entries: Vec<FooterEntry>) -> Result<(), FormatError> {
        let geometry = Geometry::new(18, 22).unwrap();
        let footer = Footer { seq: 1, seg_no: 2, used_pages, sealed_ms: 3, entries };
        footer.write(&mut vec![0; geometry.footer_len()], geometry)
    }

    #[test]
    fn records_lie_between_header_and_footer_and_do_not_overlap() {
        assert!(written(1023, vec![entry(1, 262_144), entry(66, 10), entry(1022, 4032)]).is_ok());
        assert!(written(1024, vec![]).is_err(), "the footer's own page");
        assert!(written(0, vec![]).is_err(), "the header's own page");
        assert!(written(9, vec![entry(0, 10)]).is_err(), "on the header");
        assert!(written(66, vec![entry(1, 262_144), entry(65, 10)]).is_err(), "on the record before");
        assert!(written(3, vec![entry(2, 4033)]).is_err(), "past the used pages");
        assert!(written(9, vec![entry(1, 0)]).is_err(), "of nothing");
        assert!(written(99, vec![entry(1, 262_145)]).is_err(), "longer than a chunk");
    }

    #[test]
    fn a_footer_is_full_at_its_last_entry() {
        let geometry = Geometry::new(18, 22).unwrap();
        let many = |count: usize| (0..count).map(|at| entry(at as u16 + 1, 1)).collect::<Vec<_>>();
        let max = geometry.entries_max();
        assert!(written(max as u16 + 1, many(max)).is_ok());
        let error = FormatError::Field { what: WHAT, field: "number of records", value: max as u64 + 1 };
        assert_eq!(written(max as u16 + 2, many(max + 1)), Err(error));
    }
}
