//! The purge log: what must not be served any more, 64 bytes a purge.
//!
//! A record never crosses a sector of 512 bytes, which disks write whole or not at all, so a crash leaves a record
//! or zeros. Anything else in a slot is a purge that was promised and cannot be read: then everything kept until
//! then is taken as purged, which costs fetches and never serves what was to be gone.

use super::{FormatError, crc, get, put};
use crate::object::ObjKey;

/// First bytes of a record.
pub const MAGIC: [u8; 4] = *b"APRG";

/// Bytes of a record.
pub const PURGE_LEN: usize = 64;

/// What is purged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PurgeScope {
    /// All there is.
    Everything,
    /// One object.
    Object(ObjKey),
    /// All objects with a tag: the first 16 bytes of its SHA-256.
    Tag([u8; 16]),
    /// All objects with a tag that begins so.
    TagPrefix {
        /// Bytes of the prefix.
        len: u16,
        /// The first 16 bytes of its SHA-256.
        hash: [u8; 16],
    },
}

/// One purge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PurgeRecord {
    /// What was fetched under a lower generation and is in the scope is purged.
    pub generation: u64,
    /// Purged things are stale, not gone.
    pub soft: bool,
    /// What is purged.
    pub scope: PurgeScope,
    /// When, in seconds since 1970.
    pub at_secs: u64,
}

/// The generation of a purge that cannot be read is below that of the purge before plus this: no node makes so
/// many purges.
pub const LOST_STRIDE: u64 = 1 << 32;

const WHAT: &str = "purge";

impl PurgeRecord {
    /// The bytes that store it.
    pub fn to_bytes(&self) -> [u8; PURGE_LEN] {
        let (kind, len, hash) = match self.scope {
            PurgeScope::Everything => (0, 0, [0; 16]),
            PurgeScope::Object(key) => (1, 0, *key.as_bytes()),
            PurgeScope::Tag(hash) => (2, 0, hash),
            PurgeScope::TagPrefix { len, hash } => (3, len, hash),
        };
        let mut bytes = [0; PURGE_LEN];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, self.generation.to_le_bytes());
        put(&mut bytes, 16, self.at_secs.to_le_bytes());
        bytes[24] = kind;
        bytes[25] = self.soft.into();
        put(&mut bytes, 26, len.to_le_bytes());
        put(&mut bytes, 32, hash);
        let sum = crc(&bytes[8..]);
        put(&mut bytes, 4, sum.to_le_bytes());
        bytes
    }

    /// Reads the record that `bytes` begin with.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let short = FormatError::Short { what: WHAT, got: bytes.len(), want: PURGE_LEN };
        let bytes: &[u8; PURGE_LEN] = bytes.first_chunk().ok_or(short)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Magic { what: WHAT });
        }
        if u32::from_le_bytes(get(bytes, 4)) != crc(&bytes[8..]) {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let hash = get(bytes, 32);
        let scope = match bytes[24] {
            0 => PurgeScope::Everything,
            1 => PurgeScope::Object(ObjKey::from_bytes(hash)),
            2 => PurgeScope::Tag(hash),
            3 => PurgeScope::TagPrefix { len: u16::from_le_bytes(get(bytes, 26)), hash },
            other => return Err(FormatError::Field { what: WHAT, field: "scope", value: other.into() }),
        };
        let soft = match bytes[25] {
            0 => false,
            1 => true,
            other => return Err(FormatError::Field { what: WHAT, field: "softness", value: other.into() }),
        };
        Ok(Self {
            generation: u64::from_le_bytes(get(bytes, 8)),
            soft,
            scope,
            at_secs: u64::from_le_bytes(get(bytes, 16)),
        })
    }
}

/// All purges of a log, in order, and how many of its bytes are in use: the next one goes there. Slots that hold no
/// purge and are not free become a purge of everything.
pub fn parse_log(bytes: &[u8]) -> (Vec<PurgeRecord>, usize) {
    let slots: Vec<_> = bytes.chunks_exact(PURGE_LEN).collect();
    let used = slots.iter().rposition(|slot| **slot != [0; PURGE_LEN]).map_or(0, |last| last + 1);
    let mut records: Vec<PurgeRecord> = Vec::new();
    // The generation before a run of unreadable slots, inside one.
    let mut lost_after = None;
    for slot in &slots[..used] {
        match PurgeRecord::parse(slot) {
            Ok(record) => {
                if let Some(before) = lost_after.take() {
                    records.push(lost(before, record.generation));
                }
                records.push(record);
            }
            Err(_) => lost_after = lost_after.or_else(|| Some(highest(&records))),
        }
    }
    if let Some(before) = lost_after {
        records.push(lost(before, u64::MAX));
    }
    (records, used * PURGE_LEN)
}

fn highest(records: &[PurgeRecord]) -> u64 {
    records.iter().map(|record| record.generation).max().unwrap_or(0)
}

/// Stands for purges between generation `before` and `next` that cannot be read. Stays the same when the log is
/// read again after more purges, so what was fetched meanwhile is kept.
fn lost(before: u64, next: u64) -> PurgeRecord {
    let generation = before.saturating_add(LOST_STRIDE).min(next.max(before));
    PurgeRecord { generation, soft: false, scope: PurgeScope::Everything, at_secs: 0 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::no_flipped_bit_passes;
    use super::*;
    use proptest::prelude::*;

    fn any_purge() -> impl Strategy<Value = PurgeRecord> {
        let scope = prop_oneof![
            Just(PurgeScope::Everything),
            any::<[u8; 16]>().prop_map(|key| PurgeScope::Object(ObjKey::from_bytes(key))),
            any::<[u8; 16]>().prop_map(PurgeScope::Tag),
            any::<(u16, [u8; 16])>().prop_map(|(len, hash)| PurgeScope::TagPrefix { len, hash }),
        ];
        (any::<(u64, bool, u64)>(), scope).prop_map(|((generation, soft, at_secs), scope)| PurgeRecord {
            generation,
            soft,
            scope,
            at_secs,
        })
    }

    fn object(generation: u64) -> PurgeRecord {
        let scope = PurgeScope::Object(ObjKey::from_bytes([generation as u8; 16]));
        PurgeRecord { generation, soft: false, scope, at_secs: 9 }
    }

    fn log(generations: impl IntoIterator<Item = u64>) -> Vec<u8> {
        generations.into_iter().flat_map(|generation| object(generation).to_bytes()).collect()
    }

    proptest! {
        #[test]
        fn a_purge_is_read_back_and_no_flipped_bit_passes(purge in any_purge(), bits in any::<[u16; 8]>()) {
            let bytes = purge.to_bytes();
            prop_assert_eq!(PurgeRecord::parse(&bytes), Ok(purge));
            no_flipped_bit_passes(&bytes, &bits, |bytes| PurgeRecord::parse(bytes).is_ok())?;
        }

        #[test]
        fn a_log_is_read_back_up_to_its_free_end(
            purges in proptest::collection::vec(any_purge(), 0..20),
            free in 0_usize..1000,
        ) {
            let mut bytes: Vec<u8> = purges.iter().flat_map(PurgeRecord::to_bytes).collect();
            let used = bytes.len();
            bytes.resize(used + free, 0);
            prop_assert_eq!(parse_log(&bytes), (purges, used));
        }

        /// The one thing a damaged log may not do: let something live that a purge in it has ended.
        #[test]
        fn no_flipped_bit_revives_what_was_purged(count in 1_u64..20, bit in any::<prop::sample::Index>()) {
            let mut bytes = log(1..=count);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (records, used) = parse_log(&bytes);
            prop_assert_eq!(used, bytes.len());
            for purged in 1..=count {
                let scope = object(purged).scope;
                let covers = |record: &PurgeRecord| {
                    [PurgeScope::Everything, scope].contains(&record.scope) && record.generation >= purged
                };
                prop_assert!(records.iter().any(covers), "purge {} is gone: {:?}", purged, records);
            }
        }

        #[test]
        fn any_bytes_make_a_log(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
            let (records, used) = parse_log(&bytes);
            prop_assert!(used <= bytes.len() && records.len() <= used.div_ceil(PURGE_LEN));
        }
    }

    #[test]
    fn what_is_fetched_after_a_lost_purge_stays() {
        let mut bytes = log([1, 2]);
        bytes[PURGE_LEN + 9] ^= 1;
        let (records, used) = parse_log(&bytes);
        let everything =
            |generation| PurgeRecord { generation, soft: false, scope: PurgeScope::Everything, at_secs: 0 };
        assert_eq!((&records[..], used), (&[object(1), everything(1 + LOST_STRIDE)][..], 128));
        bytes.extend(log([1 + LOST_STRIDE + 1]));
        let (again, _) = parse_log(&bytes);
        assert_eq!(again[..2], records[..]);
        assert_eq!(again.len(), 3);
    }

    #[test]
    fn a_lost_purge_between_two_others_takes_the_generation_of_the_next() {
        let mut bytes = log([1, 2, 3]);
        bytes[PURGE_LEN..2 * PURGE_LEN].fill(0);
        let (records, _) = parse_log(&bytes);
        assert_eq!(records[1].scope, PurgeScope::Everything);
        assert_eq!(records.iter().map(|record| record.generation).collect::<Vec<_>>(), [1, 3, 3]);
    }

    #[test]
    fn a_scope_or_softness_out_of_range_is_refused() {
        for (at, value) in [(24, 4), (25, 2)] {
            let mut bytes = object(1).to_bytes();
            bytes[at] = value;
            let sum = crc(&bytes[8..]);
            put(&mut bytes, 4, sum.to_le_bytes());
            assert!(matches!(PurgeRecord::parse(&bytes), Err(FormatError::Field { .. })));
        }
    }
}
