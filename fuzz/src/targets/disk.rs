//! What a volume holds: pages, records, purges, metadata. Bytes come back from a disk as they please.

use crate::Outcome;
use antiphon_cache::ObjMeta;
use antiphon_cache::disk::format::{
    self, Footer, FormatError, Geometry, META_LEN_MAX, PAGE_LEN, PURGE_LEN, PurgeRecord, PurgeScope, Record,
    RecordHeader, SegmentHeader, SnapshotHeader, SuperBlock, VerifyError, parse_log,
};

/// Chunks and segments of the corpus.
fn geometry() -> Geometry {
    match Geometry::new(16, 22) {
        Ok(geometry) => geometry,
        Err(error) => panic!("the smallest volume: {error}"),
    }
}

/// A super block as it comes; then two copies of which one may be better; then summed.
pub fn super_block(data: &[u8]) -> Outcome {
    let (first, second) = data.split_at(data.len() / 2);
    if let Ok(chosen) = format::choose(first, second) {
        let parsed = [SuperBlock::parse(first), SuperBlock::parse(second)];
        assert!(parsed.iter().flatten().all(|block| block.generation <= chosen.generation));
    }
    page(data, SuperBlock::parse, |block| {
        assert!(block.seg_count > 0 && block.offset() <= PAGE_LEN as u64);
        block.to_page()
    })
}

/// The first page of a segment.
pub fn segment_header(data: &[u8]) -> Outcome {
    page(data, SegmentHeader::parse, SegmentHeader::to_page)
}

/// The page in front of an index snapshot.
pub fn snapshot_header(data: &[u8]) -> Outcome {
    page(data, SnapshotHeader::parse, SnapshotHeader::to_page)
}

/// A structure of one page, as it comes; then filled up to a page and summed, to get past the checksum.
fn page<T: PartialEq>(
    data: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, FormatError>,
    write: impl Fn(&T) -> [u8; PAGE_LEN],
) -> Outcome {
    let mut page = data.to_vec();
    page.resize(PAGE_LEN, 0);
    if parse(data).is_ok() {
        let sum = format::crc(&data[..PAGE_LEN - 4]);
        assert_eq!(data[PAGE_LEN - 4..PAGE_LEN], sum.to_le_bytes(), "nobody summed it");
    }
    sum(&mut page, PAGE_LEN - 4, 0..PAGE_LEN - 4);
    match parse(&page) {
        Ok(parsed) => {
            assert!(parse(&write(&parsed)).is_ok_and(|again| again == parsed));
            Outcome::Taken
        }
        Err(error) => {
            assert!(!matches!(error, FormatError::Checksum { .. } | FormatError::Short { .. }), "{error}");
            Outcome::Refused
        }
    }
}

/// A record as it comes; then with its sums made right, the payload's first, as the header's covers it.
pub fn record(data: &[u8]) -> Outcome {
    const HEAD_LEN: usize = 64;
    let seq = data.get(8..16).and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_le_bytes);
    if let Ok(record) = Record::open(data, seq, geometry()) {
        assert_eq!(format::crc(record.payload), record.header.payload_crc);
    }
    let mut bytes = data.to_vec();
    if bytes.len() >= HEAD_LEN {
        let len = bytes[36..40].try_into().map_or(0, u32::from_le_bytes) as usize;
        if let Some(end) = HEAD_LEN.checked_add(len).filter(|end| *end <= bytes.len()) {
            sum(&mut bytes, 48, HEAD_LEN..end);
        }
        sum(&mut bytes, 4, 8..HEAD_LEN);
    }
    match Record::open(&bytes, seq, geometry()) {
        Ok(Record { header, payload }) => {
            assert!(payload.len() == header.len as usize && !payload.is_empty());
            assert!(payload.len() <= geometry().payload_max(header.chunk_no));
            assert!(header.pages() * PAGE_LEN >= HEAD_LEN + payload.len());
            assert!(RecordHeader::parse(&header.to_bytes(), geometry()).is_ok_and(|again| again == header));
            let other = Record::open(&bytes, !seq, geometry());
            assert_eq!(other, Err(VerifyError::Seq { wanted: !seq, found: seq }));
            Outcome::Taken
        }
        Err(error) => {
            let summed = !matches!(error, VerifyError::Format(FormatError::Checksum { .. }));
            assert!(summed, "{error}");
            Outcome::Refused
        }
    }
}

/// A table of contents as it comes; then filled up and summed.
pub fn footer(data: &[u8]) -> Outcome {
    let mut bytes = data.to_vec();
    bytes.resize(geometry().footer_len(), 0);
    let _ = Footer::parse(data, geometry());
    let end = bytes.len();
    sum(&mut bytes, 8, 12..end);
    let footer = match Footer::parse(&bytes, geometry()) {
        Ok(footer) => footer,
        Err(error) => {
            assert!(!matches!(error, FormatError::Checksum { .. } | FormatError::Short { .. }), "{error}");
            return Outcome::Refused;
        }
    };
    let ends = footer.entries.iter().map(|entry| entry.page + entry.pages());
    let next = footer.entries.iter().map(|entry| entry.page).skip(1).chain([footer.used_pages]);
    assert!(ends.zip(next).all(|(end, next)| end <= next));
    assert!(
        footer.entries.iter().all(|entry| entry.page > 0) && footer.used_pages <= geometry().footer_page()
    );
    let written = footer.write(&mut bytes, geometry());
    assert!(written.is_ok() && Footer::parse(&bytes, geometry()).is_ok_and(|again| again == footer));
    Outcome::Taken
}

/// A purge log as it comes; then every slot that looks like a purge summed.
pub fn purge_log(data: &[u8]) -> Outcome {
    purges_hold(data);
    let mut bytes = data.to_vec();
    for slot in bytes.chunks_exact_mut(PURGE_LEN) {
        sum(slot, 4, 8..PURGE_LEN);
    }
    purges_hold(&bytes)
}

/// Every purge that can be read is told, and one of everything where one cannot.
fn purges_hold(bytes: &[u8]) -> Outcome {
    let (records, used) = parse_log(bytes);
    assert!(used <= bytes.len() && used.is_multiple_of(PURGE_LEN));
    let free = bytes[used..].chunks_exact(PURGE_LEN);
    assert!(free.flatten().all(|byte| *byte == 0), "a purge behind the end");
    let slots: Vec<_> = bytes[..used].chunks_exact(PURGE_LEN).map(PurgeRecord::parse).collect();
    assert!(slots.iter().flatten().all(|purge| records.contains(purge)));
    let lost = slots.iter().any(Result::is_err);
    assert!(!lost || records.iter().any(|purge| purge.scope == PurgeScope::Everything && !purge.soft));
    let again: Vec<u8> = records.iter().flat_map(PurgeRecord::to_bytes).collect();
    assert_eq!(parse_log(&again), (records, again.len()));
    if used > 0 && !lost { Outcome::Taken } else { Outcome::Refused }
}

/// Metadata of an object.
pub fn object_meta(data: &[u8]) -> Outcome {
    let Ok(meta) = ObjMeta::decode(data) else { return Outcome::Refused };
    assert!(data.len() <= META_LEN_MAX);
    assert!(meta.encode().is_ok_and(|again| again == data), "a second spelling");
    Outcome::Taken
}

/// Puts the checksum of `range` at `at`.
fn sum(bytes: &mut [u8], at: usize, range: std::ops::Range<usize>) {
    let sum = format::crc(&bytes[range]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}
