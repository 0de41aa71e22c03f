//! The tiers behind one answer: what is in memory, what is on its way, and how to get on board.
//!
//! Promises
//! - Between "it is missing" and "its fetch is in the table" nobody else can begin the same fetch: both happen
//!   under one lock.
//! - What arrives is in memory before it leaves the table, and known before its contact does.
//!
//! Does not know: what upstream's answers look like.

use crate::body::{Body, RangeReply, Source};
use crate::budget::Budget;
use crate::config::{RamConfig, Terms};
use crate::fault::FetchError;
use crate::flight::{Contact, Flight, Flights};
use crate::meta::Metas;
use crate::object::{ChunkKey, ObjMeta, ObjName};
use crate::ram::Ram;
use crate::reader::Reader;
use crate::stats::{Counters, Stats};
use crate::upstream::Upstream;
use crate::{Resolved, resolve};
use antiphon_core::chunk::{run_span, touched};
use antiphon_core::{ChunkNo, RangeSpec, Span};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Memory, upstream and what is under way between them.
pub(crate) struct Tiers {
    pub metas: Metas,
    pub stats: Counters,
    pub ram: Ram,
    pub flights: Arc<Flights>,
    pub budget: Arc<Budget>,
    pub upstream: Arc<dyn Upstream>,
    runtime: Handle,
    pub terms: Terms,
    /// Chunks in one fetch at most.
    run_max: u32,
}

/// A place on a flight.
pub(crate) struct Seat {
    pub flight: Arc<Flight>,
    pub source: Source,
}

enum Joined {
    Known(Arc<ObjMeta>),
    Contact(Arc<Contact>, Source),
}

impl Tiers {
    pub fn new(config: &RamConfig, upstream: Arc<dyn Upstream>, runtime: Handle) -> Arc<Self> {
        let terms = config.terms();
        let run_max = Span::whole(terms.fetch_max).map_or(1, |span| touched(span).end);
        Arc::new(Self {
            metas: Metas::new(config),
            stats: Counters::default(),
            ram: Ram::new(),
            flights: Arc::default(),
            budget: Budget::new(terms.capacity),
            upstream,
            runtime,
            terms,
            run_max,
        })
    }

    /// The start of `span` as far as its first chunk goes, if that is in memory.
    pub fn resident(&self, object: &ObjName, meta: &ObjMeta, span: Span) -> Option<Bytes> {
        let no = ChunkNo::holding(span.start())?;
        let chunk = no.span(meta.total_len)?;
        let at = chunk.offsets_of(chunk.overlap(span)?)?;
        let slot = self.ram.get(ChunkKey { obj: object.key(), no: no.0 }, meta.ver)?;
        debug_assert_eq!(slot.len(), chunk.len(), "a kept chunk is complete");
        slot.bytes(at.start, at.end)
    }

    /// One attempt at an answer, up to its first bytes.
    pub async fn begin(
        self: &Arc<Self>,
        object: &ObjName,
        range: Option<RangeSpec>,
    ) -> Result<RangeReply, FetchError> {
        let (meta, seat) = match self.metas.known(object.key()) {
            Some(meta) => (meta, None),
            None => self.describe(object, self.first_run(range)).await?,
        };
        let span = match resolve(range, &meta) {
            Resolved::Bytes(span) => span,
            Resolved::PastEnd => return Ok(RangeReply::Unsatisfiable { meta }),
            Resolved::EmptyObject => {
                return Ok(RangeReply::Granted {
                    meta,
                    span: None,
                    source: Source::Upstream,
                    body: Body::Empty,
                });
            }
        };
        let mut reader = Reader::new(Arc::clone(self), object.clone(), Arc::clone(&meta), span);
        if let Some(seat) = seat {
            reader.sit(seat);
        }
        let (body, source) = reader.into_body().await?;
        Ok(RangeReply::Granted { meta, span: Some(span), source, body })
    }

    /// Finds out about an object nothing is known of; `ask` is fetched by the way if it is this call that asks.
    pub async fn describe(
        self: &Arc<Self>,
        object: &ObjName,
        ask: Option<Span>,
    ) -> Result<(Arc<ObjMeta>, Option<Seat>), FetchError> {
        if let Some(error) = self.metas.negative(object.key()) {
            return Err(FetchError::Remembered(error));
        }
        let (contact, source) = match self.join_contact(object, ask) {
            Joined::Known(meta) => return Ok((meta, None)),
            Joined::Contact(contact, source) => (contact, source),
        };
        let (meta, flight) = contact.outcome().await?;
        Ok((meta, flight.map(|flight| Seat { flight, source })))
    }

    /// Joins the running contact of an object or starts one.
    fn join_contact(self: &Arc<Self>, object: &ObjName, ask: Option<Span>) -> Joined {
        let mut running = self.flights.lock();
        if let Some(contact) = running.contact(object.key()) {
            return Joined::Contact(Arc::clone(contact), Source::Flight);
        }
        // A contact remembers what it learnt before it leaves the table.
        if let Some(meta) = self.metas.known(object.key()) {
            return Joined::Known(meta);
        }
        let landing = self.flights.meet(&mut running, object.key());
        let contact = Arc::clone(landing.contact());
        drop(running);
        let (tiers, object) = (Arc::clone(self), object.clone());
        self.runtime.spawn(async move { tiers.contact(object, ask, landing).await });
        Joined::Contact(contact, Source::Upstream)
    }

    /// A seat on the flight that brings the first chunk of `rest`: a running one, or a new one for the run of
    /// missing chunks from there. `None` if the chunk has come into memory meanwhile.
    pub fn board(self: &Arc<Self>, object: &ObjName, meta: &Arc<ObjMeta>, rest: Span) -> Option<Seat> {
        let wanted = touched(rest);
        let key = |no| ChunkKey { obj: object.key(), no };
        let mut running = self.flights.lock();
        if let Some(flight) = running.flight(key(wanted.start), meta.ver) {
            return Some(Seat { flight: Arc::clone(flight), source: Source::Flight });
        }
        let reach = wanted.end.min(wanted.start.saturating_add(self.run_max));
        let missing =
            |no: &u32| !self.ram.holds(key(*no), meta.ver) && running.flight(key(*no), meta.ver).is_none();
        let end = (wanted.start..reach).take_while(missing).last()? + 1;
        let landing = self.flights.launch(&mut running, object, meta, wanted.start..end)?;
        drop(running);
        let flight = Arc::clone(&landing.flight);
        let tiers = Arc::clone(self);
        self.runtime.spawn(async move { tiers.fill(landing).await });
        Some(Seat { flight, source: Source::Upstream })
    }

    /// Lets fetches of the chunks `nos` begin, as far as they are in `rest` and missing.
    pub fn look_ahead(self: &Arc<Self>, object: &ObjName, meta: &Arc<ObjMeta>, rest: Span, nos: Range<u32>) {
        for no in nos {
            let Some(ahead) = ChunkNo(no).span(meta.total_len).and_then(|chunk| chunk.overlap(rest)) else {
                return;
            };
            if !self.ram.holds(ChunkKey { obj: object.key(), no }, meta.ver)
                && let Some(ahead) = Span::new(ahead.start(), rest.end())
            {
                // The seat is given up at once: the fetch goes on, and the reader finds it when it gets there.
                self.board(object, meta, ahead);
            }
        }
    }

    /// Sizes and counters.
    pub fn snapshot(&self) -> Stats {
        let (resident_bytes, resident_chunks) = self.ram.size();
        Stats {
            flights: self.flights.lock().count(),
            resident_chunks,
            resident_bytes,
            used_bytes: self.budget.used(),
            capacity_bytes: self.terms.capacity,
            ..self.stats.snapshot()
        }
    }

    /// What a first contact asks for: the chunks of the range up to one fetch; only the head if the range is
    /// counted from an unknown end or lies beyond all chunk numbers.
    fn first_run(&self, range: Option<RangeSpec>) -> Option<Span> {
        let (first, last) = match range {
            None => (0, u64::MAX),
            Some(RangeSpec::From { first }) => (first, u64::MAX),
            Some(RangeSpec::Between { first, last }) => (first, last),
            Some(RangeSpec::Last { .. }) => return None,
        };
        let start = ChunkNo::holding(first)?.0;
        let reach = start.checked_add(self.run_max)?;
        let end = ChunkNo::holding(last).map_or(reach, |last| last.0.saturating_add(1).min(reach));
        run_span(start..end, u64::MAX)
    }
}
