//! Pouring: from the body of an answer into the buffers of a flight.
//!
//! Promises
//! - Followers read bytes as they come, up to the first that is missing; the last of a body only after every check.
//! - A buffer is written once, from front to back.
//!
//! Does not know: tiers, where bodies come from.

use crate::arena::{Slot, SlotWriter};
use crate::budget::Held;
use crate::fault::FetchError;
use crate::flight::Flight;
use antiphon_core::chunk::run_span;
use antiphon_core::{ChunkNo, Span};
use std::ops::Range;
use std::sync::Arc;

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The bytes that are wanted.
    Exact,
    /// More: upstream knows no ranges. So many come before them.
    Slice { skip: u64 },
}

/// The buffers of a flight, one per chunk, in order.
pub(super) struct Buffers {
    pub flight: Arc<Flight>,
    writers: Vec<SlotWriter>,
}

/// A run of buffers while one body fills them.
pub(super) struct Pouring<'a> {
    buffers: &'a mut Buffers,
    gap: Range<usize>,
    /// The bytes of `gap`.
    span: Span,
    /// Invariant: buffers of `gap` before this one are full.
    current: usize,
    /// Invariant: buffers of `gap` before this one are through.
    passed: usize,
    received: u64,
}

/// Followers are woken each time so many more bytes are there.
const PUBLISH_STEP: u64 = 64 * 1024;

impl Frame {
    /// The part of `piece`, which is at `at` in the body, that belongs to `span`.
    pub fn wanted(self, span: Span, at: u64, piece: &[u8]) -> &[u8] {
        let Self::Slice { skip } = self else { return piece };
        let len = piece.len() as u64;
        let start = skip.saturating_sub(at).min(len) as usize;
        let end = (skip + span.len()).saturating_sub(at).min(len) as usize;
        piece.get(start..end).unwrap_or_default()
    }
}

impl Buffers {
    /// Buffers for a flight out of memory that is reserved for it.
    pub fn new(flight: &Arc<Flight>, mut held: Held) -> Self {
        let writers: Vec<_> = flight
            .chunks()
            .filter_map(|no| no.span(flight.view.meta().total_len))
            .filter_map(|chunk| held.split(chunk.len()).into_writer())
            .collect();
        debug_assert_eq!(held.bytes(), 0, "what is reserved is what the chunks need");
        flight.furnish(writers.iter().map(|writer| Arc::clone(writer.slot())).collect());
        Self { flight: Arc::clone(flight), writers }
    }

    /// The first run of buffers that are not full.
    pub fn gap(&self) -> Option<Range<usize>> {
        let is_full = |writer: &SlotWriter| writer.slot().is_full();
        let start = self.writers.iter().position(|writer| !is_full(writer))?;
        let len = self.writers[start..].iter().take_while(|writer| !is_full(writer)).count();
        Some(start..start + len)
    }

    /// The bytes of a run of buffers.
    pub fn span(&self, run: &Range<usize>) -> Option<Span> {
        let no = |at: usize| self.flight.first().saturating_add(at as u32);
        run_span(no(run.start)..no(run.end), self.flight.view.meta().total_len)
    }

    /// The chunks of `run`, full.
    pub fn slots(&self, run: Range<usize>) -> impl Iterator<Item = (ChunkNo, Arc<Slot>)> + use<'_> {
        let chunks = self.flight.chunks().zip(&self.writers);
        chunks.take(run.end).skip(run.start).map(|(no, writer)| (no, Arc::clone(writer.slot())))
    }

    /// Gives the writers out; [`Buffers::put_back`] brings them back.
    pub fn take(&mut self) -> Vec<SlotWriter> {
        std::mem::take(&mut self.writers)
    }

    pub fn put_back(&mut self, writers: Vec<SlotWriter>) {
        self.writers = writers;
    }

    /// Lets followers read up to the first buffer that is not full.
    pub fn publish(&self) {
        if let Some(span) = self.gap().and_then(|gap| self.span(&gap)) {
            self.flight.publish(span.start() - self.flight.span.start());
        }
    }
}

impl<'a> Pouring<'a> {
    /// Fills `gap`, which has the bytes `span`.
    pub fn new(buffers: &'a mut Buffers, gap: Range<usize>, span: Span) -> Self {
        let (current, passed) = (gap.start, gap.start);
        Self { buffers, gap, span, current, passed, received: 0 }
    }

    /// Bytes that are there.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes of the body and lets followers read as far as a step is full. The last bytes of the
    /// body are not published before its end.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), FetchError> {
        if piece.len() as u64 > self.span.len() - self.received {
            return Err(FetchError::Long { want: self.span });
        }
        let before = self.received;
        self.received += piece.len() as u64;
        while !piece.is_empty()
            && let Some(writer) = self.buffers.writers.get_mut(self.current)
        {
            let taken = writer.push(piece);
            piece = &piece[taken..];
            if writer.slot().is_full() {
                self.current += 1;
            }
        }
        let step = self.received - self.received % PUBLISH_STEP;
        if before < step && step < self.span.len() {
            let flight = &self.buffers.flight;
            flight.publish(self.span.start() - flight.span.start() + step);
        }
        Ok(())
    }

    /// The chunks that have become full since the last call, except the last one of the body, which is not
    /// through before its end.
    pub fn passed(&mut self) -> Vec<(ChunkNo, Arc<Slot>)> {
        self.pass(self.current.min(self.gap.end - 1))
    }

    /// The chunks that are left; the body has ended well.
    pub fn rest(&mut self) -> Vec<(ChunkNo, Arc<Slot>)> {
        self.pass(self.gap.end)
    }

    fn pass(&mut self, end: usize) -> Vec<(ChunkNo, Arc<Slot>)> {
        if end <= self.passed {
            return Vec::new();
        }
        let passed = self.buffers.slots(self.passed..end).collect();
        self.passed = end;
        passed
    }
}
