//! A record: one chunk, or the metadata of one object, behind a header of 64 bytes, from a page boundary on.

use super::{FormatError, Geometry, crc, get, pages_of, put};
use crate::object::ObjKey;

/// First bytes of a record.
pub const MAGIC: [u8; 4] = *b"AREC";

/// Bytes of a record's header.
pub const HEAD_LEN: usize = 64;

/// In place of a chunk number: the payload is the object's metadata.
pub const META_NO: u32 = u32::MAX;

/// Bytes of metadata that a record may have.
pub const META_LEN_MAX: usize = 64 * 1024;

const WHAT: &str = "record";

/// What a record says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// That of the segment, which makes the record part of its present opening.
    pub seq: u64,
    /// The object.
    pub obj: ObjKey,
    /// Which of its chunks; [`META_NO`] for its metadata.
    pub chunk_no: u32,
    /// Bytes of payload, 1 to [`Geometry::payload_max`].
    pub len: u32,
    /// Version of the object.
    pub ver: u64,
    /// CRC-32C of the payload.
    pub payload_crc: u32,
    /// When it was fetched, in seconds since 1970.
    pub written_secs: u32,
    /// The purge generation when its fetch began: a later purge makes it invalid.
    pub generation: u64,
}

/// A record that is whole: header and payload agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says of itself.
    pub header: RecordHeader,
    /// Its bytes, checked.
    pub payload: &'a [u8],
}

/// Why a record is not the one that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is no valid record.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It belongs to another opening of its segment.
    #[error("record of sequence {found} in a segment of sequence {wanted}")]
    Seq {
        /// That of the segment.
        wanted: u64,
        /// That of the record.
        found: u64,
    },
}

impl RecordHeader {
    /// The bytes that store it.
    pub fn to_bytes(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, self.seq.to_le_bytes());
        put(&mut bytes, 16, *self.obj.as_bytes());
        put(&mut bytes, 32, self.chunk_no.to_le_bytes());
        put(&mut bytes, 36, self.len.to_le_bytes());
        put(&mut bytes, 40, self.ver.to_le_bytes());
        put(&mut bytes, 48, self.payload_crc.to_le_bytes());
        put(&mut bytes, 52, self.written_secs.to_le_bytes());
        put(&mut bytes, 56, self.generation.to_le_bytes());
        let sum = crc(&bytes[8..]);
        put(&mut bytes, 4, sum.to_le_bytes());
        bytes
    }

    /// Reads the header that `bytes` begin with.
    pub fn parse(bytes: &[u8], geometry: Geometry) -> Result<Self, FormatError> {
        let short = FormatError::Short { what: WHAT, got: bytes.len(), want: HEAD_LEN };
        let bytes: &[u8; HEAD_LEN] = bytes.first_chunk().ok_or(short)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Magic { what: WHAT });
        }
        if u32::from_le_bytes(get(bytes, 4)) != crc(&bytes[8..]) {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let header = Self {
            seq: u64::from_le_bytes(get(bytes, 8)),
            obj: ObjKey::from_bytes(get(bytes, 16)),
            chunk_no: u32::from_le_bytes(get(bytes, 32)),
            len: u32::from_le_bytes(get(bytes, 36)),
            ver: u64::from_le_bytes(get(bytes, 40)),
            payload_crc: u32::from_le_bytes(get(bytes, 48)),
            written_secs: u32::from_le_bytes(get(bytes, 52)),
            generation: u64::from_le_bytes(get(bytes, 56)),
        };
        if header.len == 0 || header.len as usize > geometry.payload_max(header.chunk_no) {
            return Err(FormatError::Field { what: WHAT, field: "length", value: header.len.into() });
        }
        Ok(header)
    }

    /// Pages of the whole record.
    pub fn pages(&self) -> usize {
        pages_of(self.len as usize)
    }
}

impl<'a> Record<'a> {
    /// The record that `bytes` begin with, header and payload checked, of the opening `seq` of its segment.
    pub fn open(bytes: &'a [u8], seq: u64, geometry: Geometry) -> Result<Self, VerifyError> {
        let header = RecordHeader::parse(bytes, geometry)?;
        if header.seq != seq {
            return Err(VerifyError::Seq { wanted: seq, found: header.seq });
        }
        let want = HEAD_LEN + header.len as usize;
        let short = FormatError::Short { what: WHAT, got: bytes.len(), want };
        let payload = bytes.get(HEAD_LEN..want).ok_or(short)?;
        if crc(payload) != header.payload_crc {
            return Err(FormatError::Checksum { what: "payload of a record" }.into());
        }
        Ok(Self { header, payload })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{any_geometry, no_flipped_bit_passes};
    use super::*;
    use proptest::prelude::*;

    /// A record of a payload of some bytes, and its geometry.
    pub fn any_record() -> impl Strategy<Value = (Geometry, RecordHeader, Vec<u8>)> {
        let payload = proptest::collection::vec(any::<u8>(), 1..6000);
        (any_geometry(), any::<(u64, [u8; 16], u32, u64, u32, u64)>(), any::<bool>(), payload).prop_map(
            |(geometry, (seq, obj, no, ver, written_secs, generation), meta, payload)| {
                let header = RecordHeader {
                    seq,
                    obj: ObjKey::from_bytes(obj),
                    chunk_no: if meta { META_NO } else { no },
                    len: payload.len() as u32,
                    ver,
                    payload_crc: crc(&payload),
                    written_secs,
                    generation,
                };
                (geometry, header, payload)
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_is_read_back_and_no_flipped_bit_passes(
            (geometry, header, payload) in any_record(),
            bits in any::<[u16; 8]>(),
        ) {
            let mut bytes = header.to_bytes().to_vec();
            bytes.extend_from_slice(&payload);
            let seq = header.seq;
            prop_assert_eq!(RecordHeader::parse(&bytes, geometry), Ok(header.clone()));
            no_flipped_bit_passes(&bytes, &bits, |bytes| Record::open(bytes, seq, geometry).is_ok())?;
            no_flipped_bit_passes(&bytes[..HEAD_LEN], &bits, |bytes| RecordHeader::parse(bytes, geometry).is_ok())?;
            prop_assert!(Record::open(&bytes[..bytes.len() - 1], seq, geometry).is_err());
            let stale = VerifyError::Seq { wanted: !seq, found: seq };
            prop_assert_eq!(Record::open(&bytes, !seq, geometry), Err(stale));
            prop_assert_eq!(Record::open(&bytes, seq, geometry), Ok(Record { header, payload: &payload }));
        }

        #[test]
        fn any_bytes_are_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Record::open(&bytes, 1, Geometry::new(18, 28).unwrap()).is_err());
        }
    }

    #[test]
    fn a_payload_is_one_byte_at_least_and_a_chunk_at_most() {
        let geometry = Geometry::new(16, 22).unwrap();
        let header = |chunk_no, len| RecordHeader {
            seq: 1,
            obj: ObjKey::from_bytes([2; 16]),
            chunk_no,
            len,
            ver: 3,
            payload_crc: 4,
            written_secs: 5,
            generation: 6,
        };
        let taken = |no, len, geometry| RecordHeader::parse(&header(no, len).to_bytes(), geometry).is_ok();
        assert!(!taken(0, 0, geometry) && taken(0, 1, geometry));
        assert!(taken(0, 65_536, geometry) && !taken(0, 65_537, geometry));
        let geometry = Geometry::new(20, 28).unwrap();
        assert!(taken(7, 1 << 20, geometry) && !taken(7, (1 << 20) + 1, geometry));
        assert!(taken(META_NO, 65_536, geometry) && !taken(META_NO, 65_537, geometry));
        assert_eq!(header(0, 262_144).pages(), 65);
        assert_eq!((header(0, 4032).pages(), header(0, 4033).pages()), (1, 2));
    }
}
