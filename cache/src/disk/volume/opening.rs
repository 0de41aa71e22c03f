//! Making a volume, and opening one.
//!
//! Promises
//! - A medium that holds anything but a volume is not touched: [`Volume::format`] refuses it, and so does open.
//! - A crash while a volume is made leaves none, never an older one with half of its purges.
//! - Opening reads the super block and the purge log, nothing else; look-ups are answered at once, as misses.
//!
//! Does not know: how what is on the disk is found again; that is recovery's.

use super::purging::{LOG_LEN_MIN, PURGES_MAX, Purges};
use super::reading::MERGE_MAX;
use super::scrubbing::Scrub;
use super::segments::Segments;
use super::staging::Staging;
use super::stats::Counters;
use super::transfer::{Buffers, aligned, failed};
use super::tuning::Tuning;
use super::writing::Writer;
use super::{Act, Inner, Phase, UnixMillis, Volume, VolumeError, VolumeTerms};
use crate::disk::aligned::{AlignedBuf, PAGE_LEN};
use crate::disk::format::segment::MAGIC as SEGMENT_MAGIC;
use crate::disk::format::super_block::SUPER_LEN;
use crate::disk::format::{
    FormatError, Geometry, META_LEN_MAX, PURGE_LEN, SegmentHeader, Stream, SuperBlock, choose, pages_of,
};
use crate::disk::index::{Index, PAGES_MAX, SEGMENTS_MAX};
use crate::disk::medium::{Content, Medium, Part, foreign_part, judge};
use crate::policy::admission::{Admission, GHOSTS_PER_CHUNK};
use crate::policy::wear::WriteBudget;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// The size and the shape of a volume that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Length of chunks and segments.
    pub geometry: Geometry,
    /// Bytes for segments; what is left of the last one is not used.
    pub capacity_bytes: u64,
}

/// How a volume was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Formatted and never used.
    Fresh,
    /// Closed in order: a snapshot of its index is there.
    Clean,
    /// Not closed in order: recovery reads every segment's footer.
    Dirty,
}

/// Why no volume could be made.
#[derive(Debug, thiserror::Error)]
pub enum FormatVolumeError {
    /// There is something on the medium that is not ours.
    #[error("{part:?} of the medium holds something else than a volume")]
    Foreign {
        /// Which part.
        part: Part,
    },
    /// The shape asked for has too few segments, or too many.
    #[error("a volume has {SEGMENTS_MIN} to {SEGMENTS_MAX} segments, not {segments}")]
    Segments {
        /// What was asked for.
        segments: u64,
    },
    /// Chunks of this length do not fit the index.
    #[error("chunks of {chunk_len} bytes do not fit the index")]
    ChunkLength {
        /// What was asked for.
        chunk_len: usize,
    },
    /// The medium failed.
    #[error("make the volume")]
    Medium(#[from] VolumeError),
}

/// Why a volume could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenVolumeError {
    /// There is no volume yet; make one.
    #[error("the medium is blank")]
    Blank,
    /// There is something else. It is left as it is.
    #[error("the medium holds something else than a volume")]
    Foreign,
    /// The super block is damaged, or of another version.
    #[error("read the super block")]
    SuperBlock(#[from] FormatError),
    /// The data part ends before the last segment.
    #[error("the data has {found} bytes, the super block speaks of {expected}")]
    Short {
        /// What the super block says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Longer chunks, or more segments, than this program's index can hold.
    #[error("{segments} segments with chunks of {chunk_len} bytes do not fit the index")]
    Shape {
        /// Segments of the volume.
        segments: u32,
        /// Bytes of its chunks.
        chunk_len: usize,
    },
    /// The medium failed.
    #[error("open the volume")]
    Medium(#[from] VolumeError),
}

/// Two open ones, three free ones, and two to hold something.
pub const SEGMENTS_MIN: u64 = 7;

/// A log that was being shortened when the power went may be longer than it ever gets otherwise by this.
const LOG_LEN_MAX: u64 = ((PURGES_MAX + 2) * PURGE_LEN) as u64;

impl Volume {
    /// Makes a volume on a medium that is blank or holds an older one, which is gone then. `seed` comes from chance
    /// and keys the index; `disk_uuid` names the volume and is new for each.
    pub fn format(
        medium: &Arc<dyn Medium>,
        shape: Shape,
        seed: u64,
        disk_uuid: [u8; 16],
    ) -> Result<(), FormatVolumeError> {
        let geometry = shape.geometry;
        let segments = shape.capacity_bytes >> geometry.segment_shift();
        let Some(seg_count) = u32::try_from(segments).ok().filter(|_| segments >= SEGMENTS_MIN) else {
            return Err(FormatVolumeError::Segments { segments });
        };
        if seg_count >= SEGMENTS_MAX {
            return Err(FormatVolumeError::Segments { segments });
        }
        if !fits_index(geometry) {
            return Err(FormatVolumeError::ChunkLength { chunk_len: geometry.chunk_len() });
        }
        refuse_foreign(medium.as_ref())?;
        let block = SuperBlock {
            geometry,
            disk_uuid,
            seg_count,
            hash_seed: seed,
            generation: 0,
            clean: false,
            last_seq: first_seq(seed, &disk_uuid),
        };
        lay_out(medium.as_ref(), &block)?;
        Ok(())
    }

    /// Opens a volume. `seed` comes from chance. Look-ups miss until [`Volume::recover`] has found something, and
    /// nothing is taken until it is through.
    pub fn open(
        medium: Arc<dyn Medium>,
        terms: VolumeTerms,
        now: UnixMillis,
        seed: u64,
    ) -> Result<(Self, Found), OpenVolumeError> {
        let block = read_super(medium.as_ref())?;
        check(medium.as_ref(), &block)?;
        let log = Purges::parse(&read_log(medium.as_ref())?);
        let found = match block {
            SuperBlock { clean: true, .. } => Found::Clean,
            SuperBlock { generation: 0, .. } => Found::Fresh,
            _ => Found::Dirty,
        };
        let inner = Inner::new(medium, terms, block, log, now, seed);
        Ok((Self { inner: Arc::new(inner) }, found))
    }
}

impl Inner {
    fn new(
        medium: Arc<dyn Medium>,
        terms: VolumeTerms,
        block: SuperBlock,
        (purges, log_used): (Purges, u64),
        now: UnixMillis,
        seed: u64,
    ) -> Self {
        let geometry = block.geometry;
        let full_chunks = (usize::from(geometry.footer_page()) - 1) / pages_of(geometry.chunk_len());
        let entries = full_chunks * block.seg_count as usize;
        let capacity = u64::from(block.seg_count) << geometry.segment_shift();
        // Not always the same one first, however short the volume is open each time.
        let scrub = Scrub::new((seed % u64::from(block.seg_count)) as u32, now);
        let run = MERGE_MAX * pages_of(geometry.chunk_len().max(META_LEN_MAX));
        Self {
            medium,
            terms,
            geometry,
            disk_uuid: block.disk_uuid,
            index: Index::new(entries, block.hash_seed),
            segments: Segments::new(block.seg_count),
            staging: Staging::new(geometry, terms.staging_max_bytes, block.last_seq.saturating_add(1)),
            admission: Mutex::new(Admission::new((entries as f64 * GHOSTS_PER_CHUNK) as usize)),
            wear: Mutex::new(WriteBudget::new(terms.dwpd, capacity, now.0)),
            writer: Mutex::new(Writer::new(capacity, scrub)),
            suspects: Mutex::new(Vec::new()),
            evicted: RwLock::new(None),
            super_block: Mutex::new(block),
            purge_log: Mutex::new(log_used),
            purges: Mutex::new(purges),
            counters: Counters::default(),
            buffers: Buffers::new(run * PAGE_LEN),
            phase: AtomicU8::new(Phase::Reading as u8),
            tuning: Tuning::default(),
        }
    }

    /// Writes the super block anew, as the next generation, and waits until it is durable.
    pub(super) fn mark(&self, clean: bool) -> Result<(), VolumeError> {
        let mut block = self.super_block.lock();
        let next = SuperBlock {
            generation: block.generation + 1,
            clean,
            last_seq: self.staging.last_seq().max(block.last_seq),
            ..block.clone()
        };
        self.write(Part::Super, next.offset(), &aligned(&next.to_page()))?;
        self.sync(Part::Super)?;
        *block = next;
        Ok(())
    }
}

/// Where a new volume begins to count its segments. Records name no volume, only the opening of their segment:
/// were two volumes on the same disk to count alike, a crash in the younger one could bring back what the older
/// one had in the same pages, though its purges are gone.
fn first_seq(seed: u64, disk_uuid: &[u8; 16]) -> u64 {
    let (chance, _) = disk_uuid.split_at(8);
    let chance = chance.iter().fold(seed, |chance, byte| chance.rotate_left(8) ^ u64::from(*byte));
    // Leaves more openings than any disk lives to see.
    chance >> 8
}

/// Whether the index can hold the length of a full chunk, and of the longest metadata.
fn fits_index(geometry: Geometry) -> bool {
    pages_of(geometry.chunk_len()).max(pages_of(META_LEN_MAX)) <= usize::from(PAGES_MAX)
}

fn refuse_foreign(medium: &dyn Medium) -> Result<(), FormatVolumeError> {
    let judged = |part| judge(medium, part).map_err(|cause| failed(Act::Read, part, 0, cause));
    match foreign_part(judged)? {
        None => Ok(()),
        Some(part) => Err(FormatVolumeError::Foreign { part }),
    }
}

/// The super block goes first and comes last: a volume that was made half-way is none.
fn lay_out(medium: &dyn Medium, block: &SuperBlock) -> Result<(), VolumeError> {
    let act = |act, part, result: std::io::Result<()>| result.map_err(|cause| failed(act, part, 0, cause));
    let empty = |part| {
        act(Act::Resize, part, medium.resize(part, 0))?;
        act(Act::Sync, part, medium.sync(part))
    };
    let write = |part, offset, page: &[u8]| {
        act(Act::Write, part, medium.write(part, offset, &aligned(page)))?;
        act(Act::Sync, part, medium.sync(part))
    };
    empty(Part::Super)?;
    empty(Part::Snapshot)?;
    empty(Part::PurgeLog)?;
    act(Act::Resize, Part::PurgeLog, medium.resize(Part::PurgeLog, LOG_LEN_MIN))?;
    act(Act::Sync, Part::PurgeLog, medium.sync(Part::PurgeLog))?;
    let len = u64::from(block.seg_count) << block.geometry.segment_shift();
    act(Act::Resize, Part::Data, medium.resize(Part::Data, len))?;
    let highest = erase_headers(medium, block)?;
    let block = &SuperBlock { last_seq: block.last_seq.max(highest), ..block.clone() };
    // Never opened: it shows whose the data is, nothing else.
    let first =
        SegmentHeader { stream: Stream::Fresh, seg_no: 0, disk_uuid: block.disk_uuid, seq: 0, opened_ms: 0 };
    write(Part::Data, 0, &first.to_page())?;
    act(Act::Resize, Part::Super, medium.resize(Part::Super, SUPER_LEN as u64))?;
    write(Part::Super, block.offset(), &block.to_page())
}

/// Makes sure that no segment of an older volume is found again, even if it had the same name; the highest sequence
/// number among them.
fn erase_headers(medium: &dyn Medium, block: &SuperBlock) -> Result<u64, VolumeError> {
    let blank = AlignedBuf::new(PAGE_LEN);
    let mut page = AlignedBuf::new(PAGE_LEN);
    let mut highest = 0;
    for number in 0..block.seg_count {
        let offset = block.geometry.segment_offset(number);
        let io = |act| move |cause| failed(act, Part::Data, offset, cause);
        medium.read(Part::Data, offset, &mut page).map_err(io(Act::Read))?;
        if page.starts_with(&SEGMENT_MAGIC) {
            highest = SegmentHeader::parse(&page).map_or(highest, |header| header.seq.max(highest));
            medium.write(Part::Data, offset, &blank).map_err(io(Act::Write))?;
        }
    }
    Ok(highest)
}

fn read_super(medium: &dyn Medium) -> Result<SuperBlock, OpenVolumeError> {
    let io = |cause| OpenVolumeError::Medium(failed(Act::Read, Part::Super, 0, cause));
    match judge(medium, Part::Super).map_err(io)? {
        Content::Blank => return Err(OpenVolumeError::Blank),
        Content::Foreign => return Err(OpenVolumeError::Foreign),
        Content::Ours => {}
    }
    let mut pages = AlignedBuf::new(SUPER_LEN);
    medium.read(Part::Super, 0, &mut pages).map_err(io)?;
    let (first, second) = pages.split_at(PAGE_LEN);
    Ok(choose(first, second)?)
}

fn check(medium: &dyn Medium, block: &SuperBlock) -> Result<(), OpenVolumeError> {
    if !fits_index(block.geometry) || block.seg_count >= SEGMENTS_MAX {
        let chunk_len = block.geometry.chunk_len();
        return Err(OpenVolumeError::Shape { segments: block.seg_count, chunk_len });
    }
    let expected = u64::from(block.seg_count) << block.geometry.segment_shift();
    let found = medium.len(Part::Data).map_err(|cause| failed(Act::Resize, Part::Data, 0, cause))?;
    if found < expected { Err(OpenVolumeError::Short { expected, found }) } else { Ok(()) }
}

fn read_log(medium: &dyn Medium) -> Result<Vec<u8>, VolumeError> {
    let io = |cause| failed(Act::Read, Part::PurgeLog, 0, cause);
    let len = medium.len(Part::PurgeLog).map_err(io)?.min(LOG_LEN_MAX);
    let mut log = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    if !log.is_empty() {
        medium.read(Part::PurgeLog, 0, &mut log).map_err(io)?;
    }
    Ok(log)
}
