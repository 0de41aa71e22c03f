//! Records on their way to the disk: copied here by whoever offers them, written from here by the writer.
//!
//! Each stream appends to one open segment, a block of up to 4 MiB at a time. A full block joins the queue of the
//! writer; blocks of a segment are queued between its opening and its sealing, so that the disk sees its header
//! before its records and its footer after them.
//!
//! Promises
//! - A record can be read from here from the moment it is published until it can be read from the disk.
//! - Memory stays within the limit given; what does not fit is refused and nothing waits.
//!
//! Does not know: the disk, the index, what is worth keeping.

use super::segments::Segments;
use crate::disk::aligned::{AlignedBuf, PAGE_LEN};
use crate::disk::format::{FooterEntry, Geometry, RecordHeader, Stream, pages_of};
use crate::disk::index::Place;
use crate::object::ChunkKey;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Everything that is not yet on the disk.
pub(super) struct Staging {
    geometry: Geometry,
    lanes: Mutex<Lanes>,
    /// Invariant: every block that holds a published record that cannot be read from the disk yet.
    staged: RwLock<Vec<Arc<Block>>>,
    spare: Mutex<Vec<AlignedBuf>>,
    /// Invariant: at least [`BLOCKS_MIN`].
    blocks_max: usize,
}

/// Consecutive records of one segment, written at once.
pub(super) struct Block {
    /// The segment they belong to.
    pub segment: u32,
    /// The page in the segment where they begin.
    pub first_page: u16,
    inside: RwLock<Inside>,
}

struct Inside {
    buf: AlignedBuf,
    pages: usize,
    entries: Vec<FooterEntry>,
}

/// What the writer does, in this order.
pub(super) enum Job {
    /// Writes the header of a segment that was just opened.
    Open {
        /// The segment.
        segment: u32,
        /// Its new sequence number.
        seq: u64,
        /// When it was opened, in milliseconds since 1970.
        opened_ms: u64,
        /// Whose records it is for.
        stream: Stream,
    },
    /// Writes a block.
    Flush(Arc<Block>),
    /// Writes the footer of a segment all of whose blocks went before.
    Seal {
        /// The segment.
        segment: u32,
        /// Its sequence number.
        seq: u64,
        /// Pages that are taken, the header's included.
        used_pages: u16,
    },
}

/// A record to append.
pub(super) struct Draft<'a> {
    /// Its key.
    pub key: ChunkKey,
    /// Version of the object.
    pub ver: u64,
    /// Generation of purges at which its fetch began.
    pub generation: u64,
    /// CRC-32C of `payload`.
    pub crc: u32,
    /// When it was received, in seconds since 1970.
    pub written_secs: u32,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Why a record found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// As much is waiting for the disk as may.
    Staging,
    /// No segment is free.
    Segments,
    /// The record is empty or longer than the format allows.
    Length,
    /// The very same record is in an open segment already.
    Same,
    /// The volume is being closed.
    Closed,
}

/// A block is written at once: as much as keeps a disk busy and still fits the memory.
pub(super) const BLOCK_LEN: usize = 4 << 20;

/// Records begin behind the header's page.
pub(super) const FIRST_PAGE: u16 = 1;

/// One block being filled and one being written, for either stream.
const BLOCKS_MIN: usize = 4;

/// Blocks that newcomers leave to records that reclaim moves, so that reclaim always gets on.
const BLOCKS_FOR_HOT: usize = 1;

/// Free segments that newcomers leave to records that reclaim moves, for the same reason.
const SEGMENTS_FOR_HOT: usize = 1;

struct Lanes {
    fresh: Option<Lane>,
    hot: Option<Lane>,
    jobs: VecDeque<Job>,
    /// Blocks that hold memory: being filled, in `jobs` or in the writer's hands.
    blocks: usize,
    /// The sequence number that the next segment gets.
    next_seq: u64,
    /// Nothing is taken any more.
    closed: bool,
}

/// The segment a stream appends to.
struct Lane {
    segment: u32,
    seq: u64,
    next_page: u16,
    entries: usize,
    block: Option<Arc<Block>>,
    block_since_ms: u64,
    /// What lies in this segment, by version and birth.
    recent: HashMap<ChunkKey, (u64, u64)>,
}

impl Staging {
    /// Nothing staged; at most `bytes_max` ever will be, though never fewer than four blocks.
    pub fn new(geometry: Geometry, bytes_max: u64, next_seq: u64) -> Self {
        let blocks_max = usize::try_from(bytes_max).unwrap_or(usize::MAX) / BLOCK_LEN;
        let lanes =
            Lanes { fresh: None, hot: None, jobs: VecDeque::new(), blocks: 0, next_seq, closed: false };
        Self {
            geometry,
            lanes: Mutex::new(lanes),
            staged: RwLock::new(Vec::new()),
            spare: Mutex::new(Vec::new()),
            blocks_max: blocks_max.max(BLOCKS_MIN),
        }
    }

    /// Copies a record to the end of its stream and tells `publish` its place before anybody else can append.
    pub fn append(
        &self,
        stream: Stream,
        draft: &Draft<'_>,
        segments: &Segments,
        now_ms: u64,
        publish: impl FnOnce(Place),
    ) -> Result<Place, NoRoom> {
        if draft.payload.is_empty() || draft.payload.len() > self.geometry.payload_max(draft.key.no) {
            return Err(NoRoom::Length);
        }
        let pages = pages_of(draft.payload.len());
        let mut lanes = self.lanes.lock();
        let lanes = &mut *lanes;
        if lanes.closed {
            return Err(NoRoom::Closed);
        }
        if lanes.knows(draft) {
            return Err(NoRoom::Same);
        }
        if lanes.lane(stream).as_ref().is_some_and(|lane| !lane.fits(self.geometry, pages)) {
            lanes.close(stream);
        }
        self.open_lane(lanes, stream, segments, now_ms)?;
        self.open_block(lanes, stream, pages, now_ms)?;
        let Some(lane) = lanes.lane(stream) else { return Err(NoRoom::Segments) };
        let Some(place) = lane.append(draft, pages) else { return Err(NoRoom::Staging) };
        publish(place);
        Ok(place)
    }

    /// Reads pages that are still staged; `false` if they are on the disk.
    pub fn read(&self, place: Place, into: &mut [u8]) -> bool {
        let block = self.staged.read().iter().find(|block| block.covers(place)).map(Arc::clone);
        block.is_some_and(|block| block.read(place, into))
    }

    /// The next thing for the writer to do.
    pub fn next_job(&self) -> Option<Job> {
        self.lanes.lock().jobs.pop_front()
    }

    /// Whether the writer has something to do.
    pub fn is_ready(&self) -> bool {
        !self.lanes.lock().jobs.is_empty()
    }

    /// Bytes of memory that wait for the disk.
    pub fn bytes(&self) -> u64 {
        (self.lanes.lock().blocks * BLOCK_LEN) as u64
    }

    /// The sequence number of the segment opened last.
    pub fn last_seq(&self) -> u64 {
        self.lanes.lock().next_seq.saturating_sub(1)
    }

    /// Later segments get numbers above `seq`.
    pub fn continue_after(&self, seq: u64) {
        let mut lanes = self.lanes.lock();
        lanes.next_seq = lanes.next_seq.max(seq.saturating_add(1));
    }

    /// Queues blocks that have been waiting since `since_ms` or longer, full or not.
    pub fn queue_aged(&self, since_ms: u64) {
        let mut lanes = self.lanes.lock();
        for stream in STREAMS {
            if lanes.lane(stream).as_ref().is_some_and(|lane| lane.block_since_ms <= since_ms) {
                lanes.queue_block(stream);
            }
        }
    }

    /// Ends the open segments, queues all that belongs to them and takes nothing more.
    pub fn close(&self) {
        let mut lanes = self.lanes.lock();
        lanes.closed = true;
        STREAMS.into_iter().for_each(|stream| lanes.close(stream));
    }

    /// Ends `segment` if it is open: the disk took no more of it.
    pub fn abandon(&self, segment: u32) {
        let mut lanes = self.lanes.lock();
        for stream in STREAMS {
            if lanes.lane(stream).as_ref().is_some_and(|lane| lane.segment == segment) {
                lanes.close(stream);
            }
        }
    }

    /// Forgets a block that was written or given up, and keeps its memory for the next one.
    pub fn settle(&self, block: Arc<Block>) {
        self.staged.write().retain(|staged| !Arc::ptr_eq(staged, &block));
        // A reader may still be copying out of it; then its memory goes with the reader.
        if let Some(block) = Arc::into_inner(block) {
            self.spare.lock().push(block.inside.into_inner().buf);
        }
        self.lanes.lock().blocks -= 1;
    }

    fn open_lane(
        &self,
        lanes: &mut Lanes,
        stream: Stream,
        segments: &Segments,
        now_ms: u64,
    ) -> Result<(), NoRoom> {
        if lanes.lane(stream).is_some() {
            return Ok(());
        }
        let hot = stream == Stream::Hot;
        let seq = lanes.next_seq;
        let reserve = if hot { 0 } else { SEGMENTS_FOR_HOT };
        let segment = segments.open(seq, now_ms, hot, reserve).ok_or(NoRoom::Segments)?;
        lanes.next_seq += 1;
        lanes.jobs.push_back(Job::Open { segment, seq, opened_ms: now_ms, stream });
        *lanes.lane(stream) = Some(Lane::new(segment, seq));
        Ok(())
    }

    fn open_block(&self, lanes: &mut Lanes, stream: Stream, pages: usize, now_ms: u64) -> Result<(), NoRoom> {
        let has_room = |lane: &Lane| lane.block.as_ref().is_some_and(|block| block.room() >= pages);
        if lanes.lane(stream).as_ref().is_some_and(has_room) {
            return Ok(());
        }
        let max = self.blocks_max - if stream == Stream::Hot { 0 } else { BLOCKS_FOR_HOT };
        lanes.queue_block(stream);
        if lanes.blocks >= max {
            return Err(NoRoom::Staging);
        }
        let Some(lane) = lanes.lane(stream) else { return Err(NoRoom::Segments) };
        let buf = self.spare.lock().pop().unwrap_or_else(|| AlignedBuf::new(BLOCK_LEN));
        let block = Arc::new(Block::new(lane.segment, lane.next_page, buf));
        self.staged.write().push(Arc::clone(&block));
        lane.block = Some(block);
        lane.block_since_ms = now_ms;
        lanes.blocks += 1;
        Ok(())
    }
}

const STREAMS: [Stream; 2] = [Stream::Fresh, Stream::Hot];

impl Lanes {
    fn lane(&mut self, stream: Stream) -> &mut Option<Lane> {
        match stream {
            Stream::Fresh => &mut self.fresh,
            Stream::Hot => &mut self.hot,
        }
    }

    fn knows(&self, draft: &Draft<'_>) -> bool {
        let lanes = [&self.fresh, &self.hot];
        lanes
            .into_iter()
            .flatten()
            .any(|lane| lane.recent.get(&draft.key) == Some(&(draft.ver, draft.generation)))
    }

    fn queue_block(&mut self, stream: Stream) {
        if let Some(block) = self.lane(stream).as_mut().and_then(|lane| lane.block.take()) {
            self.jobs.push_back(Job::Flush(block));
        }
    }

    fn close(&mut self, stream: Stream) {
        self.queue_block(stream);
        if let Some(Lane { segment, seq, next_page, .. }) = self.lane(stream).take() {
            self.jobs.push_back(Job::Seal { segment, seq, used_pages: next_page });
        }
    }
}

impl Lane {
    fn new(segment: u32, seq: u64) -> Self {
        Self {
            segment,
            seq,
            next_page: FIRST_PAGE,
            entries: 0,
            block: None,
            block_since_ms: 0,
            recent: HashMap::new(),
        }
    }

    fn fits(&self, geometry: Geometry, pages: usize) -> bool {
        usize::from(self.next_page) + pages <= usize::from(geometry.footer_page())
            && self.entries < geometry.entries_max()
    }

    /// The place of the record, now in the open block.
    fn append(&mut self, draft: &Draft<'_>, pages: usize) -> Option<Place> {
        let place = Place { segment: self.segment, page: self.next_page, pages: u8::try_from(pages).ok()? };
        self.block.as_ref()?.append(draft, place, self.seq)?;
        self.next_page += u16::from(place.pages);
        self.entries += 1;
        self.recent.insert(draft.key, (draft.ver, draft.generation));
        Some(place)
    }
}

impl Block {
    fn new(segment: u32, first_page: u16, buf: AlignedBuf) -> Self {
        Self { segment, first_page, inside: RwLock::new(Inside { buf, pages: 0, entries: Vec::new() }) }
    }

    /// Gives the writer the bytes as they go to the disk, and what is in them.
    pub fn with<R>(&self, write: impl FnOnce(&[u8], &[FooterEntry]) -> R) -> R {
        let inside = self.inside.read();
        write(&inside.buf[..inside.pages * PAGE_LEN], &inside.entries)
    }

    /// Pages that still fit.
    fn room(&self) -> usize {
        let inside = self.inside.read();
        inside.buf.len() / PAGE_LEN - inside.pages
    }

    fn append(&self, draft: &Draft<'_>, place: Place, seq: u64) -> Option<()> {
        let mut inside = self.inside.write();
        let start = inside.pages * PAGE_LEN;
        let end = start + usize::from(place.pages) * PAGE_LEN;
        let header = draft.header(seq).to_bytes();
        let record = inside.buf.get_mut(start..end)?;
        record[..header.len()].copy_from_slice(&header);
        let payload_end = header.len() + draft.payload.len();
        record[header.len()..payload_end].copy_from_slice(draft.payload);
        record[payload_end..].fill(0);
        inside.pages += usize::from(place.pages);
        inside.entries.push(draft.entry(place));
        Some(())
    }

    fn covers(&self, place: Place) -> bool {
        self.segment == place.segment
            && self.first_page <= place.page
            && usize::from(place.page - self.first_page) < self.inside.read().pages
    }

    fn read(&self, place: Place, into: &mut [u8]) -> bool {
        let inside = self.inside.read();
        let start = usize::from(place.page - self.first_page) * PAGE_LEN;
        match inside.buf[..inside.pages * PAGE_LEN].get(start..start + into.len()) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

impl Draft<'_> {
    fn header(&self, seq: u64) -> RecordHeader {
        RecordHeader {
            seq,
            obj: self.key.obj,
            chunk_no: self.key.no,
            len: self.payload.len() as u32,
            ver: self.ver,
            payload_crc: self.crc,
            written_secs: self.written_secs,
            generation: self.generation,
        }
    }

    fn entry(&self, place: Place) -> FooterEntry {
        FooterEntry {
            obj: self.key.obj,
            chunk_no: self.key.no,
            page: place.page,
            len: self.payload.len() as u32,
            ver: self.ver,
            crc: self.crc,
            generation: self.generation,
            freq: 0,
        }
    }
}
