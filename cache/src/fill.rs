//! Filling: from a missing chunk to bytes that may be kept.
//!
//! A fetch runs in a task of its own. What comes is checked against what was asked and against the version
//! that the object is known in; bytes are readable as they come, the last of them only after every check.
//!
//! Promises
//! - A fetch reserves its memory first, so it never stops half-way for want of it.
//! - Only complete chunks are kept; if upstream gave a digest, only of a body that matches it.
//!
//! Does not know: listeners.

use crate::arena::{Slot, SlotWriter};
use crate::budget::Held;
use crate::fault::FetchError;
use crate::flight::{ContactLanding, Flight, Landing};
use crate::object::{BodyDigest, ChunkKey, ObjMeta, ObjName};
use crate::tiers::Tiers;
use crate::upstream::{UpstreamError, UpstreamReply, Want};
use antiphon_core::chunk::touched;
use antiphon_core::{ChunkNo, Span};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use tokio::time::timeout;

/// The head of a fitting answer, with memory for its bytes.
struct Arrival {
    span: Span,
    held: Held,
    digest: Option<[u8; 32]>,
    body: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

/// Buffers of a flight while they fill.
struct Pouring<'a> {
    flight: &'a Flight,
    /// One per chunk of the flight, in order.
    writers: Vec<SlotWriter>,
    /// Invariant: buffers before this one are full.
    current: usize,
    /// Invariant: buffers before this one are in memory.
    kept: usize,
    received: u64,
    published: u64,
}

/// Followers are woken each time so many more bytes are there.
const PUBLISH_STEP: u64 = 64 * 1024;

/// The tasks.
impl Tiers {
    /// First contact: fetches `ask`, or only the head, of an object of unknown length.
    pub async fn contact(self: Arc<Self>, object: ObjName, ask: Option<Span>, landing: ContactLanding) {
        let outcome = match ask {
            Some(ask) => self.contact_by_range(&object, ask).await,
            None => self.contact_by_head(&object).await.map(|meta| (meta, None)),
        };
        match outcome {
            Err(error) => {
                self.fetch_failed(&object, &error);
                landing.end(Err(error));
            }
            Ok((meta, None)) => {
                self.metas.learn(object.key(), Arc::clone(&meta));
                landing.end(Ok((meta, None)));
            }
            Ok((meta, Some(arrival))) => {
                // The flight is in the table before the object is known, so nobody can find the object known
                // and its chunks neither here nor on their way.
                let run = touched(arrival.span);
                let flight = self.flights.launch(&mut self.flights.lock(), &object, &meta, run);
                self.metas.learn(object.key(), Arc::clone(&meta));
                landing.end(Ok((meta, flight.as_ref().map(|landing| Arc::clone(&landing.flight)))));
                if let Some(flight) = flight {
                    self.land(flight, arrival).await;
                }
            }
        }
    }

    async fn contact_by_head(&self, object: &ObjName) -> Result<Arc<ObjMeta>, FetchError> {
        let reply = self.ask(object, Want::Head).await?;
        countable(reply.meta)
    }

    async fn contact_by_range(
        &self,
        object: &ObjName,
        ask: Span,
    ) -> Result<(Arc<ObjMeta>, Option<Arrival>), FetchError> {
        let mut held = self.reserve(ask.len()).await?;
        let reply = self.ask(object, Want::Range(ask.as_spec())).await?;
        let Some(got) = reply.span else {
            drop(held);
            return self.contact_by_head(object).await.map(|meta| (meta, None));
        };
        let whole = Span::whole(reply.meta.total_len);
        if whole.and_then(|whole| whole.overlap(ask)) != Some(got) {
            return Err(FetchError::WrongSpan { want: ask, got: Some(got) });
        }
        let UpstreamReply { meta, digest, body, .. } = reply;
        let held = held.split(got.len());
        Ok((countable(meta)?, Some(Arrival { span: got, held, digest, body })))
    }

    /// Fetches the run of a flight.
    pub async fn fill(self: Arc<Self>, landing: Landing) {
        match self.arrive(&landing.flight).await {
            Ok(arrival) => self.land(landing, arrival).await,
            Err(error) => {
                self.fetch_failed(&landing.flight.object, &error);
                landing.end(Err(error));
            }
        }
    }

    /// From the request to the head of a fitting answer.
    async fn arrive(&self, flight: &Flight) -> Result<Arrival, FetchError> {
        let want = flight.span;
        let held = self.reserve(want.len()).await?;
        let reply = self.ask(&flight.object, Want::Range(want.as_spec())).await?;
        let known = &flight.meta;
        if reply.span.is_none() && reply.meta.total_len == known.total_len {
            return Err(FetchError::WrongSpan { want, got: None });
        }
        if reply.meta.ver != known.ver {
            let changed = FetchError::Changed { want_len: known.total_len, got_len: reply.meta.total_len };
            // A 416 says nothing but the length: the object is to be met anew.
            match reply.span {
                Some(_) => self.metas.learn(flight.object.key(), countable(reply.meta)?),
                None => self.metas.forget(flight.object.key()),
            }
            return Err(changed);
        }
        if reply.span != Some(want) {
            return Err(FetchError::WrongSpan { want, got: reply.span });
        }
        Ok(Arrival { span: want, held, digest: reply.digest, body: reply.body })
    }

    /// From the first byte of an answer to chunks in memory.
    async fn land(&self, landing: Landing, arrival: Arrival) {
        let result = timeout(self.terms.fetch, self.pour(&landing.flight, arrival))
            .await
            .unwrap_or(Err(FetchError::TimedOut { waited: self.terms.fetch }));
        if let Err(error) = &result {
            self.fetch_failed(&landing.flight.object, error);
        }
        landing.end(result);
    }

    async fn pour(&self, flight: &Flight, arrival: Arrival) -> Result<(), FetchError> {
        let Arrival { span, held, digest, mut body } = arrival;
        let mut pouring = Pouring::new(flight, held);
        let mut check = digest.map(|want| (BodyDigest::new(), want));
        loop {
            let next = timeout(self.terms.stall, body.next()).await;
            let Some(piece) = next.map_err(|_| FetchError::TimedOut { waited: self.terms.stall })? else {
                break;
            };
            let piece = piece.map_err(FetchError::Upstream)?;
            self.stats.fetched(piece.len());
            if let Some((digest, _)) = &mut check {
                digest.update(&piece);
            }
            pouring.push(&piece)?;
            if check.is_none() {
                pouring.keep_passed(|no, slot| self.keep(flight, no, slot));
            }
        }
        if pouring.received < span.len() {
            return Err(FetchError::Short { want: span, got: pouring.received });
        }
        if check.is_some_and(|(digest, want)| digest.finish() != want) {
            return Err(FetchError::WrongDigest { span });
        }
        pouring.keep_all(|no, slot| self.keep(flight, no, slot));
        Ok(())
    }

    fn keep(&self, flight: &Flight, no: ChunkNo, slot: Arc<Slot>) {
        self.ram.keep(ChunkKey { obj: flight.object.key(), no: no.0 }, flight.meta.ver, slot);
    }

    async fn ask(&self, object: &ObjName, want: Want) -> Result<UpstreamReply, FetchError> {
        self.stats.fetch();
        let reply = timeout(self.terms.stall, self.upstream.fetch(object, want)).await;
        reply.map_err(|_| FetchError::TimedOut { waited: self.terms.stall })?.map_err(FetchError::Upstream)
    }

    async fn reserve(&self, bytes: u64) -> Result<Held, FetchError> {
        let make_room = || {
            let evicted = self.ram.evict_one();
            if evicted {
                self.stats.evicted();
            }
            evicted
        };
        let held = timeout(self.terms.reserve, self.budget.reserve(bytes, make_room)).await;
        held.map_err(|_| FetchError::Crowded { waited: self.terms.reserve })
    }

    fn fetch_failed(&self, object: &ObjName, error: &FetchError) {
        self.stats.fetch_failed();
        if let FetchError::Upstream(error) = error {
            self.metas.learn_failure(object.key(), error);
        }
    }
}

impl<'a> Pouring<'a> {
    fn new(flight: &'a Flight, mut held: Held) -> Self {
        let writers: Vec<_> = flight
            .chunks()
            .filter_map(|no| no.span(flight.meta.total_len))
            .map(|chunk| SlotWriter::new(held.split(chunk.len())))
            .collect();
        debug_assert_eq!(held.bytes(), 0, "what is reserved is what the chunks need");
        flight.furnish(writers.iter().map(|writer| Arc::clone(writer.slot())).collect());
        Self { flight, writers, current: 0, kept: 0, received: 0, published: 0 }
    }

    /// Takes the next bytes of the body and lets followers read as far as a step is full. The last bytes are for
    /// the end of the flight to publish.
    fn push(&mut self, mut piece: &[u8]) -> Result<(), FetchError> {
        let span = self.flight.span;
        if piece.len() as u64 > span.len() - self.received {
            return Err(FetchError::Long { want: span });
        }
        self.received += piece.len() as u64;
        while !piece.is_empty()
            && let Some(writer) = self.writers.get_mut(self.current)
        {
            let taken = writer.push(piece);
            piece = &piece[taken..];
            if writer.slot().is_full() {
                self.current += 1;
            }
        }
        let step = self.received - self.received % PUBLISH_STEP;
        if self.published < step && step < span.len() {
            self.published = step;
            self.flight.publish(step);
        }
        Ok(())
    }

    /// Keeps the full chunks except the last one of the flight, which is not through before the body's end.
    fn keep_passed(&mut self, keep: impl FnMut(ChunkNo, Arc<Slot>)) {
        self.keep_before(self.current.min(self.writers.len() - 1), keep);
    }

    /// Keeps all chunks; the body has ended well.
    fn keep_all(&mut self, keep: impl FnMut(ChunkNo, Arc<Slot>)) {
        self.keep_before(self.writers.len(), keep);
    }

    fn keep_before(&mut self, end: usize, mut keep: impl FnMut(ChunkNo, Arc<Slot>)) {
        let chunks = self.flight.chunks().zip(&self.writers);
        for (no, writer) in chunks.take(end).skip(self.kept) {
            keep(no, Arc::clone(writer.slot()));
        }
        self.kept = self.kept.max(end);
    }
}

/// The description, if its length is one that chunk numbers reach.
fn countable(meta: ObjMeta) -> Result<Arc<ObjMeta>, FetchError> {
    let total_len = meta.total_len;
    ChunkNo::holding(total_len).map(|_| Arc::new(meta)).ok_or(FetchError::TooLong { total_len })
}
