//! Finding again what is on the disk.
//!
//! After a clean stop the snapshot of the index says it. Otherwise every segment is asked for its header and its
//! footer. A segment that was not sealed is walked from record to record until one fails, and sealed.
//!
//! Promises
//! - Nothing is found that was not written: a footer counts only for the opening its header names, a record of a
//!   segment without one only if all of it passes.
//! - What is found can be read at once, while the rest is still being looked for. Of two records of a key, reads try
//!   the one of the higher (sequence, page) first.
//! - The volume is marked as in use, durably, before anything is written to it.
//!
//! Does not know: which version of an object is current, which tags were purged.

use super::staging::FIRST_PAGE;
use super::{Inner, Phase, Volume, VolumeError};
use crate::disk::aligned::{AlignedBuf, PAGE_LEN};
use crate::disk::format::{Footer, FooterEntry, Record, RecordHeader, SegmentHeader, Stream};
use crate::disk::index::{Marks, Place};
use crate::disk::medium::Part;
use crate::object::ChunkKey;
use serde::Serialize;

/// How far recovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Segments looked at.
    pub segments: u32,
    /// Segments there are.
    pub of: u32,
    /// Records found.
    pub records: u64,
}

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The snapshot of the index was whole and of this volume's last stop; the footers were not read.
    pub by_snapshot: bool,
    /// Records that can be read again.
    pub records: u64,
    /// Segments with records.
    pub segments: u32,
    /// Segments that had no footer and were walked.
    pub walked: u32,
    /// Segments that the disk could not read. They hold nothing now.
    pub unreadable: u32,
}

/// What one segment turned out to be.
enum Segment {
    /// No record of it counts.
    Empty,
    /// Sealed, by its footer.
    Sealed(SegmentHeader, Footer),
    /// Not sealed; the records that are whole.
    Walked(SegmentHeader, Footer),
}

/// Records are walked through a window of so many bytes.
const WINDOW_LEN: usize = 1 << 20;

impl Volume {
    /// Finds what is on the disk, then lets the volume take records. Blocks; call it once, in the background. An
    /// error leaves the volume as it was: what was found can be read, nothing is taken.
    pub fn recover(&self, progress: &dyn Fn(Progress)) -> Result<Recovered, VolumeError> {
        let inner = &self.inner;
        let _writer = inner.writer.lock();
        if inner.phase() != Phase::Reading {
            return Err(VolumeError::NotServing);
        }
        let clean = inner.super_block.lock().clean;
        let by_snapshot = if clean { inner.load_snapshot()? } else { None };
        let recovered = match by_snapshot {
            Some(recovered) => recovered,
            None => inner.ask_segments(progress)?,
        };
        if !inner.terms.read_only {
            inner.mark(false)?;
            inner.enter(Phase::Serving);
        }
        Ok(recovered)
    }
}

impl Inner {
    fn ask_segments(&self, progress: &dyn Fn(Progress)) -> Result<Recovered, VolumeError> {
        let mut recovered = Recovered::default();
        let of = self.segments.count();
        let mut border = Border::new(self);
        for number in 0..of {
            match self.ask_segment(number, &mut border) {
                Ok(Segment::Empty) => {}
                Ok(Segment::Sealed(header, footer)) => self.take_over(&header, &footer, &mut recovered),
                Ok(Segment::Walked(header, footer)) => {
                    recovered.walked += 1;
                    self.take_over(&header, &footer, &mut recovered);
                    if !self.terms.read_only && !footer.entries.is_empty() {
                        // If it cannot be written the segment is walked again next time.
                        let _ = self.sync(Part::Data).and_then(|()| self.write_footer(&footer));
                    }
                }
                // A segment lost, not the volume: the others may well be readable.
                Err(error) => {
                    recovered.unreadable += 1;
                    if recovered.unreadable == of {
                        return Err(error);
                    }
                }
            }
            progress(Progress { segments: number + 1, of, records: recovered.records });
        }
        Ok(recovered)
    }

    fn ask_segment(&self, number: u32, border: &mut Border) -> Result<Segment, VolumeError> {
        let (header, footer) = border.read(self, number)?;
        let Ok(header) = SegmentHeader::parse(header) else { return Ok(Segment::Empty) };
        if header.disk_uuid != self.disk_uuid || header.seg_no != number || header.seq == 0 {
            return Ok(Segment::Empty);
        }
        self.staging.continue_after(header.seq);
        if let Some(footer) = self.footer_of(number, header.seq, footer) {
            return Ok(Segment::Sealed(header, footer));
        }
        let footer = self.walk(number, header.seq)?;
        Ok(Segment::Walked(header, footer))
    }

    /// The footer of a segment, if it is whole and of opening `seq`.
    pub(super) fn read_footer(&self, segment: u32, seq: u64) -> Result<Option<Footer>, VolumeError> {
        let mut bytes = AlignedBuf::new(self.geometry.footer_len());
        self.read_pages(segment, self.geometry.footer_page(), &mut bytes)?;
        Ok(self.footer_of(segment, seq, &bytes))
    }

    fn footer_of(&self, segment: u32, seq: u64, bytes: &[u8]) -> Option<Footer> {
        let footer = Footer::parse(bytes, self.geometry).ok();
        footer.filter(|footer| footer.seq == seq && footer.seg_no == segment)
    }

    /// Makes a footer of the records of opening `seq` that are whole, up to the first that is not.
    pub(super) fn walk(&self, segment: u32, seq: u64) -> Result<Footer, VolumeError> {
        let mut window = AlignedBuf::new(WINDOW_LEN);
        let mut footer =
            Footer { seq, seg_no: segment, used_pages: FIRST_PAGE, sealed_ms: 0, entries: Vec::new() };
        loop {
            let page = footer.used_pages;
            let pages = usize::from(self.geometry.footer_page() - page).min(WINDOW_LEN / PAGE_LEN);
            let bytes = &mut window[..pages * PAGE_LEN];
            if bytes.is_empty() {
                return Ok(footer);
            }
            self.read_pages(segment, page, bytes)?;
            self.walk_window(bytes, seq, &mut footer);
            if footer.used_pages == page || footer.entries.len() >= self.geometry.entries_max() {
                return Ok(footer);
            }
        }
    }

    /// Takes the whole records that `bytes` begin with into the footer.
    fn walk_window(&self, mut bytes: &[u8], seq: u64, footer: &mut Footer) {
        while footer.entries.len() < self.geometry.entries_max()
            && let Ok(Record { header, .. }) = Record::open(bytes, seq, self.geometry)
        {
            footer.entries.push(entry_of(&header, footer.used_pages));
            footer.used_pages += header.pages() as u16;
            bytes = bytes.get(header.pages() * PAGE_LEN..).unwrap_or_default();
        }
    }

    /// Points the index at the records of a segment.
    fn take_over(&self, header: &SegmentHeader, footer: &Footer, recovered: &mut Recovered) {
        let hot = header.stream == Stream::Hot;
        if footer.entries.is_empty() || !self.segments.adopt(header.seg_no, header.seq, header.opened_ms, hot)
        {
            return;
        }
        recovered.segments += 1;
        for entry in &footer.entries {
            if self.is_purged(entry.obj, entry.generation) {
                continue;
            }
            let marks = Marks { freq: entry.freq, hot, ..Marks::default() };
            self.enter_index(key_of(entry), place_of(header.seg_no, entry), marks);
            recovered.records += 1;
        }
    }

    /// Writes the footer of a segment whose records are durable.
    pub(super) fn write_footer(&self, footer: &Footer) -> Result<(), VolumeError> {
        let mut bytes = AlignedBuf::new(self.geometry.footer_len());
        let written = footer.write(&mut bytes, self.geometry);
        debug_assert_eq!(written, Ok(()), "a footer of ours breaks its own rules");
        self.write_pages(footer.seg_no, self.geometry.footer_page(), &bytes)
    }
}

/// Header and footer of a segment. A footer and the header of the next segment lie side by side and are read at once.
struct Border {
    header: AlignedBuf,
    /// A footer, and the header behind it.
    bytes: AlignedBuf,
    /// The segment whose header `bytes` ends with.
    next: Option<u32>,
}

impl Border {
    fn new(inner: &Inner) -> Self {
        let bytes = AlignedBuf::new(inner.geometry.footer_len() + PAGE_LEN);
        Self { header: AlignedBuf::new(PAGE_LEN), bytes, next: None }
    }

    fn read(&mut self, inner: &Inner, number: u32) -> Result<(&[u8], &[u8]), VolumeError> {
        let footer_len = inner.geometry.footer_len();
        if self.next.take() == Some(number) {
            self.header.copy_from_slice(&self.bytes[footer_len..]);
        } else {
            inner.read_pages(number, 0, &mut self.header)?;
        }
        let footer_page = inner.geometry.footer_page();
        let with_next = number + 1 < inner.segments.count();
        if with_next && inner.read_pages(number, footer_page, &mut self.bytes).is_ok() {
            self.next = Some(number + 1);
        } else {
            // The last one, or one of the two cannot be read: this one alone, then.
            inner.read_pages(number, footer_page, &mut self.bytes[..footer_len])?;
        }
        Ok((&self.header, &self.bytes[..footer_len]))
    }
}

/// The chunk an entry names.
pub(super) fn key_of(entry: &FooterEntry) -> ChunkKey {
    ChunkKey { obj: entry.obj, no: entry.chunk_no }
}

/// Where the record of an entry lies.
pub(super) fn place_of(segment: u32, entry: &FooterEntry) -> Place {
    // Volumes whose records may have more pages are not opened.
    Place { segment, page: entry.page, pages: entry.pages() as u8 }
}

fn entry_of(header: &RecordHeader, page: u16) -> FooterEntry {
    FooterEntry {
        obj: header.obj,
        chunk_no: header.chunk_no,
        page,
        len: header.len,
        ver: header.ver,
        crc: header.payload_crc,
        generation: header.generation,
        freq: 0,
    }
}
