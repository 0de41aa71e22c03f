//! The index of a clean stop, kept for the next start.
//!
//! After the header's page: 24 bytes for every segment, then the slots of the index as they are.
//!
//! Promises
//! - A snapshot is believed only if it is whole and belongs to the super block that says the volume was closed in
//!   order; on any doubt the footers are read instead, and say the same.
//! - It is checked before the first slot of it is taken.
//!
//! Does not know: what a slot of the index looks like inside.

use super::segments::State;
use super::transfer::aligned;
use super::{Inner, Recovered, VolumeError};
use crate::disk::aligned::{AlignedBuf, PAGE_LEN};
use crate::disk::format::{Checksum, SnapshotHeader};
use crate::disk::index::{Entry, entry_of};
use crate::disk::medium::Part;

/// Bytes for a segment: sequence, time of opening, records, stream and whether it is sealed.
const SEGMENT_LEN: usize = 24;

/// Bytes read or written at once: a multiple of both kinds of item and of a page.
const PIECE_LEN: usize = 768 * 1024;

const _: () = assert!(PIECE_LEN.is_multiple_of(SEGMENT_LEN) && PIECE_LEN.is_multiple_of(PAGE_LEN));

/// Bytes of a slot of the index.
const SLOT_LEN: usize = 8;

impl Inner {
    /// Writes the snapshot that belongs to the next super block.
    pub(super) fn save_snapshot(&self) -> Result<(), VolumeError> {
        self.resize(Part::Snapshot, 0)?;
        let mut sum = Checksum::new();
        let mut at = PAGE_LEN as u64;
        let mut put = |piece: &mut Vec<u8>| -> Result<(), VolumeError> {
            sum.update(piece);
            self.write(Part::Snapshot, at, piece)?;
            at += piece.len() as u64;
            piece.clear();
            Ok(())
        };
        let mut piece = Vec::with_capacity(PIECE_LEN);
        for (_, slot) in self.segments.all() {
            let sealed = slot.state() == State::Sealed;
            piece.extend(slot.seq().to_le_bytes());
            piece.extend(slot.opened_ms().to_le_bytes());
            piece.extend(slot.records().to_le_bytes());
            piece.extend([slot.is_hot().into(), sealed.into(), 0, 0]);
            if piece.len() == PIECE_LEN {
                put(&mut piece)?;
            }
        }
        put(&mut piece)?;
        for slot in 0..self.index.slots() {
            piece.extend(self.index.word(slot).to_le_bytes());
            if piece.len() == PIECE_LEN {
                put(&mut piece)?;
            }
        }
        put(&mut piece)?;
        let header = SnapshotHeader {
            disk_uuid: self.disk_uuid,
            generation: self.super_block.lock().generation + 1,
            last_seq: self.staging.last_seq(),
            entries: self.index.len(),
            payload_len: at - PAGE_LEN as u64,
            payload_crc: sum.finish(),
        };
        self.write(Part::Snapshot, 0, &aligned(&header.to_page()))?;
        self.sync(Part::Snapshot)
    }

    /// Takes the index from the snapshot; none if it cannot be believed.
    pub(super) fn load_snapshot(&self) -> Result<Option<Recovered>, VolumeError> {
        let Some(header) = self.trusted_header() else { return Ok(None) };
        let mut sum = Checksum::new();
        if self.each_piece(&header, |_, piece| sum.update(piece)).is_err()
            || sum.finish() != header.payload_crc
        {
            return Ok(None);
        }
        let mut recovered = Recovered { by_snapshot: true, ..Recovered::default() };
        let table = self.segments_len();
        self.each_piece(&header, |at, piece| {
            let split = table.saturating_sub(at).min(piece.len());
            let (segments, slots) = piece.split_at(split);
            let first = at / SEGMENT_LEN;
            for (number, bytes) in (first..).zip(segments.chunks_exact(SEGMENT_LEN)) {
                recovered.segments += u32::from(self.take_segment(number as u32, bytes));
            }
            let first = (at + split).saturating_sub(table) / SLOT_LEN;
            for (number, bytes) in (first..).zip(slots.chunks_exact(SLOT_LEN)) {
                recovered.records += u64::from(self.take_slot(number, bytes));
            }
        })?;
        self.staging.continue_after(header.last_seq);
        Ok(Some(recovered))
    }

    /// The header, if the snapshot is the one of the last stop.
    fn trusted_header(&self) -> Option<SnapshotHeader> {
        let mut page = AlignedBuf::new(PAGE_LEN);
        self.read(Part::Snapshot, 0, &mut page).ok()?;
        let header = SnapshotHeader::parse(&page).ok()?;
        let block = self.super_block.lock();
        let payload_len = (self.segments_len() + self.index.slots() * SLOT_LEN) as u64;
        let ours = header.disk_uuid == self.disk_uuid
            && header.generation == block.generation
            && header.last_seq == block.last_seq
            && header.payload_len == payload_len;
        ours.then_some(header)
    }

    /// Calls `take` with every piece behind the header and where in the payload it begins.
    fn each_piece(
        &self,
        header: &SnapshotHeader,
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<(), VolumeError> {
        let mut buf = AlignedBuf::new(PIECE_LEN);
        let len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        for at in (0..len).step_by(PIECE_LEN) {
            let piece = &mut buf[..PIECE_LEN.min(len - at)];
            self.read(Part::Snapshot, (PAGE_LEN + at) as u64, piece)?;
            take(at, piece);
        }
        Ok(())
    }

    fn take_segment(&self, number: u32, bytes: &[u8]) -> bool {
        let seq = u64::from_le_bytes(array(&bytes[..8]));
        let opened_ms = u64::from_le_bytes(array(&bytes[8..16]));
        let records = u32::from_le_bytes(array(&bytes[16..20]));
        let (hot, sealed) = (bytes[20] != 0, bytes[21] != 0);
        if !sealed || !self.segments.adopt(number, seq, opened_ms, hot) {
            return false;
        }
        if let Some(slot) = self.segments.get(number) {
            slot.set_records(records);
        }
        true
    }

    fn take_slot(&self, number: usize, bytes: &[u8]) -> bool {
        let word = u64::from_le_bytes(array(bytes));
        let Some(Entry { place, marks }) = entry_of(word) else { return false };
        let end = u32::from(place.page) + u32::from(place.pages);
        let Some(slot) = self.segments.get(place.segment) else { return false };
        if slot.state() != State::Sealed || place.page == 0 || end > u32::from(self.geometry.footer_page()) {
            return false;
        }
        slot.gained_again(marks.freq > 0);
        let taken = self.index.restore(number, word);
        if !taken {
            slot.lost(marks.freq > 0);
        }
        taken
    }

    fn segments_len(&self) -> usize {
        self.segments.count() as usize * SEGMENT_LEN
    }
}

/// The bytes as an array of their length, which the caller knows.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}
