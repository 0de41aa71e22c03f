//! The tiers behind one answer: what is in memory, what is on its way, and how to get on board.
//!
//! Promises
//! - Between "it is missing" and "its fetch is in the table" nobody else can begin the same fetch: both happen
//!   under one lock.
//! - What arrives is in memory before it leaves the table, and known before its contact does.
//!
//! Does not know: what upstream's answers look like.

use crate::arena::MapMemoryError;
use crate::body::{Body, RangeReply, Source};
use crate::budget::Budget;
use crate::config::{RamConfig, Terms};
use crate::disk::set::{Disks, PurgeError};
use crate::fault::FetchError;
use crate::flight::{Contact, Flight, Flights, Progress};
use crate::line::{Line, Priority};
use crate::meta::{Known, Look, Metas, View};
use crate::object::{ChunkKey, ObjName};
use crate::purge::{Generations, Purge, PurgeManner};
use crate::ram::Ram;
use crate::reader::Reader;
use crate::stats::{Counters, Stats};
use crate::upstream::Upstream;
use crate::{Resolved, resolve};
use antiphon_core::chunk::{self, run_span, touched};
use antiphon_core::{ChunkNo, Clock, RangeSpec, Span};
use bytes::Bytes;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Memory, upstream and what is under way between them.
pub(crate) struct Tiers {
    pub metas: Metas,
    pub generations: Arc<Generations>,
    pub stats: Counters,
    pub ram: Ram,
    pub flights: Arc<Flights>,
    pub line: Arc<Line>,
    pub budget: Arc<Budget>,
    pub disks: Disks,
    pub upstream: Arc<dyn Upstream>,
    pub clock: Arc<dyn Clock>,
    pub runtime: Handle,
    pub terms: Terms,
    /// Chunks in one fetch at most.
    run_max: u32,
    /// Held by the purge under way: generations are given out one after the other.
    purging: tokio::sync::Mutex<()>,
}

/// A place on a flight.
pub(crate) struct Seat {
    pub flight: Arc<Flight>,
    pub progress: watch::Receiver<Progress>,
    pub source: Source,
}

/// What a contact is to find out.
pub(crate) struct Inquiry {
    /// Bytes that are fetched by the way, if nothing is known of the object.
    pub bytes: Option<Span>,
    /// The object as it was, if the question is whether it still is.
    pub known: Option<Arc<Known>>,
    /// Whether somebody waits for the outcome.
    pub audience: Audience,
}

/// For whom something is found out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Whoever follows it; without any it is given up.
    Followers,
    /// Those who come later.
    Posterity,
}

enum Joined {
    Known(View),
    Contact(Arc<Contact>, Source),
}

impl Tiers {
    pub fn new(
        config: &RamConfig,
        upstream: Arc<dyn Upstream>,
        runtime: Handle,
        clock: Arc<dyn Clock>,
        disks: Disks,
    ) -> Result<Arc<Self>, MapMemoryError> {
        let terms = config.terms();
        let budget = Budget::new(terms.capacity, config.max_detached_pct)?;
        let run_max = Span::whole(terms.fetch_max).map_or(1, |span| touched(span).end);
        let generations = Arc::new(Generations::default());
        // What volumes remember of purges holds before anything on them is found.
        let told = Arc::clone(&generations);
        disks.hear_purges(Box::new(move |records| records.iter().for_each(|record| told.apply(record))));
        let tiers = Arc::new(Self {
            metas: Metas::new(config, Arc::clone(&generations)),
            generations,
            stats: Counters::default(),
            ram: Ram::new(budget.capacity()),
            flights: Arc::default(),
            line: Line::new(config.fetches_max as usize, config.fetch_queue_max as usize),
            budget,
            disks,
            upstream,
            clock,
            runtime,
            terms,
            run_max,
            purging: tokio::sync::Mutex::default(),
        });
        tiers.begin_repairs();
        Ok(tiers)
    }

    /// Applies another capacity, in bytes: at once if it is more, by evicting if it is less. What others hold at
    /// that moment leaves when they let go.
    pub fn resize(&self, capacity: u64) -> Result<(), MapMemoryError> {
        self.budget.resize(capacity)?;
        self.ram.resize(self.budget.capacity());
        while self.budget.excess() > 0 && self.make_room() {}
        Ok(())
    }

    /// Gives up a chunk in memory; `false` if there is none that would make room.
    pub fn make_room(&self) -> bool {
        let evicted = self.ram.evict_one();
        if evicted {
            self.stats.evicted();
        }
        evicted
    }

    /// Bytes as they may go to a listener: fewer of them, in a place of their own, while slow listeners hold up too
    /// much memory.
    pub fn lend(&self, bytes: Bytes) -> Bytes {
        self.budget.lend(bytes, || self.make_room())
    }

    /// The object as it may be served now; if upstream is to be asked behind the answer, that begins here. What
    /// is known of it otherwise, for upstream to be asked first.
    pub fn view(self: &Arc<Self>, object: &ObjName) -> Result<View, Option<Arc<Known>>> {
        match self.metas.look(object.key(), self.clock.now()) {
            Look::Serve(view) => Ok(view),
            Look::ServeAndAsk(view) => {
                self.ask_behind(object, view.clone());
                Ok(view)
            }
            Look::Ask(known) => Err(Some(known)),
            Look::Unknown => Err(None),
        }
    }

    /// Asks upstream whether an object has changed, for those who come later.
    pub fn ask_behind(self: &Arc<Self>, object: &ObjName, view: View) {
        let inquiry = Inquiry { bytes: None, known: Some(view.known), audience: Audience::Posterity };
        self.join_contact(object, inquiry, Priority::Prefetch);
    }

    /// The start of `span` as far as its first chunk goes, if that is in memory.
    pub fn resident(&self, object: &ObjName, view: &View, span: Span) -> Option<Bytes> {
        let no = ChunkNo::holding(span.start())?;
        let chunk = no.span(view.meta().total_len)?;
        let at = chunk.offsets_of(chunk.overlap(span)?)?;
        let slot = self.ram.get(ChunkKey { obj: object.key(), no: no.0 }, view.chunks())?;
        debug_assert_eq!(slot.len(), chunk.len(), "a kept chunk is complete");
        slot.bytes(at.start, at.end)
    }

    /// One attempt at an answer, up to its first bytes.
    pub async fn begin(
        self: &Arc<Self>,
        object: &ObjName,
        range: Option<RangeSpec>,
    ) -> Result<RangeReply, FetchError> {
        let (view, seat) = match self.view(object) {
            Ok(view) => (view, None),
            Err(known) => {
                let bytes = self.first_run(range).filter(|_| known.is_none());
                let inquiry = Inquiry { bytes, known, audience: Audience::Followers };
                self.describe(object, inquiry, Priority::Listener).await?
            }
        };
        view.known.answered();
        let (meta, freshness) = (Arc::clone(view.meta()), view.freshness);
        let span = match resolve(range, &meta) {
            Resolved::Bytes(span) => span,
            Resolved::PastEnd => return Ok(RangeReply::Unsatisfiable { meta }),
            Resolved::EmptyObject => {
                let source = Source::Upstream.with(freshness);
                return Ok(RangeReply::Granted { meta, span: None, source, freshness, body: Body::Empty });
            }
        };
        let mut reader = Reader::new(Arc::clone(self), object.clone(), view, span);
        if let Some(seat) = seat {
            reader.sit(seat);
        }
        let (body, source) = reader.into_body().await?;
        let source = source.with(freshness);
        Ok(RangeReply::Granted { meta, span: Some(span), source, freshness, body })
    }

    /// Asks upstream about an object, or joins whoever does.
    pub async fn describe(
        self: &Arc<Self>,
        object: &ObjName,
        inquiry: Inquiry,
        priority: Priority,
    ) -> Result<(View, Option<Seat>), FetchError> {
        if let Some(error) = self.metas.negative(object.key()) {
            return Err(FetchError::Remembered(error));
        }
        let (contact, source) = match self.join_contact(object, inquiry, priority) {
            Joined::Known(view) => return Ok((view, None)),
            Joined::Contact(contact, source) => (contact, source),
        };
        let (view, flight) = contact.outcome().await?;
        Ok((view, flight.map(|flight| Seat { progress: flight.follow(), flight, source })))
    }

    /// Joins the running contact of an object or starts one.
    fn join_contact(self: &Arc<Self>, object: &ObjName, inquiry: Inquiry, priority: Priority) -> Joined {
        let mut running = self.flights.lock();
        let now = self.generations.now();
        // What a contact will say must not be older than a purge that may hit the object.
        let counts =
            |contact: &&Arc<Contact>| self.generations.counts_untagged(object.key(), contact.asks_in);
        if let Some(contact) = running.contact(object.key()).filter(counts) {
            contact.urgency.add(priority);
            return Joined::Contact(Arc::clone(contact), Source::Flight);
        }
        // A contact remembers what it learnt before it leaves the table.
        if inquiry.audience == Audience::Followers
            && let Look::Serve(view) | Look::ServeAndAsk(view) =
                self.metas.look(object.key(), self.clock.now())
        {
            return Joined::Known(view);
        }
        let landing = self.flights.meet(&mut running, object.key(), now, priority);
        let contact = Arc::clone(&landing.contact);
        drop(running);
        let (tiers, object) = (Arc::clone(self), object.clone());
        self.runtime.spawn(async move { tiers.contact(object, inquiry, landing).await });
        Joined::Contact(contact, Source::Upstream)
    }

    /// A seat on the flight that brings the first chunk of `rest`: a running one, or a new one for the run of
    /// missing chunks from there. `None` if the chunk has come into memory meanwhile.
    pub fn board(
        self: &Arc<Self>,
        object: &ObjName,
        view: &View,
        rest: Span,
        priority: Priority,
    ) -> Option<Seat> {
        let wanted = touched(rest);
        let ver = view.chunks();
        let key = |no| ChunkKey { obj: object.key(), no };
        let mut running = self.flights.lock();
        if let Some(flight) = running.flight(key(wanted.start), ver) {
            flight.urgency.add(priority);
            let (flight, progress) = (Arc::clone(flight), flight.follow());
            return Some(Seat { flight, progress, source: Source::Flight });
        }
        let missing = |no: &u32| !self.ram.holds(key(*no), ver) && running.flight(key(*no), ver).is_none();
        let class = self.disks.holds(key(wanted.start));
        let reach = match class {
            Some(_) => chunk::group_end(wanted.start),
            None => wanted.start.saturating_add(self.run_max),
        };
        let alike = |no: &u32| self.disks.holds(key(*no)) == class;
        let run = wanted.start..wanted.end.min(reach);
        let end = run.take_while(missing).take_while(alike).last()? + 1;
        let filler = class.map_or(Source::Upstream, Source::from);
        let landing = self.flights.launch(&mut running, object, view, wanted.start..end, priority, filler)?;
        let flight = Arc::clone(&landing.flight);
        let progress = flight.follow();
        drop(running);
        let tiers = Arc::clone(self);
        self.runtime.spawn(async move { tiers.fill(landing).await });
        Some(Seat { flight, progress, source: filler })
    }

    /// A seat on the flight of the chunk `no`, as far as it is in `rest` and missing.
    pub fn look_ahead(
        self: &Arc<Self>,
        object: &ObjName,
        view: &View,
        rest: Span,
        no: u32,
        priority: Priority,
    ) -> Option<Seat> {
        let ahead = ChunkNo(no).span(view.meta().total_len)?.overlap(rest)?;
        if self.ram.holds(ChunkKey { obj: object.key(), no }, view.chunks()) {
            return None;
        }
        self.board(object, view, Span::new(ahead.start(), rest.end())?, priority)
    }

    /// Fetches what neither memory nor a volume has of `span`, one flight after the other.
    pub async fn prefetch(
        self: &Arc<Self>,
        object: &ObjName,
        span: Span,
        priority: Priority,
    ) -> Result<(), FetchError> {
        let view = match self.view(object) {
            Ok(view) => view,
            Err(known) => {
                let inquiry = Inquiry { bytes: None, known, audience: Audience::Followers };
                self.describe(object, inquiry, priority).await?.0
            }
        };
        let mut rest = Span::whole(view.meta().total_len).and_then(|whole| whole.overlap(span));
        while let Some(missing) = rest {
            let Some(no) = ChunkNo::holding(missing.start()) else { break };
            let mut reached = no.span(view.meta().total_len).map_or(missing.end(), Span::end);
            let on_disk = self.disks.holds(ChunkKey { obj: object.key(), no: no.0 }).is_some();
            if !on_disk && let Some(mut seat) = self.look_ahead(object, &view, missing, no.0, priority) {
                seat.flight.ended(&mut seat.progress).await?;
                reached = seat.flight.span.end();
            }
            rest = Span::new(reached, missing.end());
        }
        Ok(())
    }

    /// Purges, and holds it against everything that was asked for before. On an error it holds all the same,
    /// until the process ends.
    pub async fn purge(&self, purge: &Purge, manner: PurgeManner) -> Result<(), PurgeError> {
        let _one_at_a_time = self.purging.lock().await;
        let record = self.generations.next(purge.scope(), manner, self.clock.now());
        // Durable before it is seen: no chunk is written under a generation that a crash could take back.
        let durable = self.disks.purge(record).await;
        self.generations.apply(&record);
        self.stats.purged();
        durable
    }

    /// Sizes and counters.
    pub fn snapshot(&self) -> Stats {
        let (resident_bytes, resident_chunks) = self.ram.size();
        let (fetching, queued) = self.line.lengths();
        Stats {
            fetching,
            queued,
            flights: self.flights.lock().count(),
            resident_chunks,
            resident_bytes,
            used_bytes: self.budget.used(),
            detached_bytes: self.budget.detached(),
            capacity_bytes: self.budget.capacity(),
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
