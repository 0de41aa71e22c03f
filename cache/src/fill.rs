//! Filling: from a missing chunk to bytes that may be kept.
//!
//! A fetch runs in a task of its own. What comes is checked against what was asked and against the version
//! that the object is known in; bytes are readable as they come, the last of them only after every check.
//!
//! Promises
//! - A fetch takes its place in line and reserves its memory first, so it never stops half-way for want of it.
//! - What a volume has is read from it; what it has not after all, or not in time, is fetched from upstream in the
//!   same flight. What is fetched is offered to the volumes, and never waits for them.
//! - Only complete chunks are kept; if upstream gave a digest, only of a body that matches it. Nothing that was
//!   asked for before a purge of its object is kept after it.
//! - A fetch that nobody waits for any more is finished if one chunk is left or the object was asked for twice,
//!   and given up after [`DESERTED`] otherwise.
//!
//! Does not know: listeners.

mod disks;
mod pour;

use crate::arena::Slot;
use crate::body::Source;
use crate::budget::Held;
use crate::fault::FetchError;
use crate::flight::{Contact, ContactLanding, Flight, Kept, Landing};
use crate::line::{Place, Urgency};
use crate::meta::{Freshness, Look};
use crate::object::{BodyDigest, ChunkKey, ObjMeta, ObjName};
use crate::tiers::{Audience, Inquiry, Tiers};
use crate::upstream::{Answer, UpstreamError, UpstreamReply, Want};
use antiphon_core::chunk::touched;
use antiphon_core::{CHUNK_LEN, ChunkNo, Span};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use pour::{Buffers, Frame, Pouring};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The head of a fitting answer.
struct Arrival {
    span: Span,
    digest: Option<[u8; 32]>,
    frame: Frame,
    body: BoxStream<'static, Result<Bytes, UpstreamError>>,
    _place: Place,
}

/// What a contact has found out.
struct Learnt {
    meta: ObjMeta,
    freshness: Freshness,
    /// Bytes that come along, with memory for them.
    arrival: Option<(Arrival, Held)>,
}

/// A fetch that nobody waits for goes on for so long.
const DESERTED: Duration = Duration::from_secs(2);

/// The tasks.
impl Tiers {
    /// Finds out what an object of unknown length is, or whether a known one has changed.
    pub async fn contact(self: Arc<Self>, object: ObjName, mut inquiry: Inquiry, landing: ContactLanding) {
        let asks_in = landing.contact.asks_in;
        if inquiry.known.is_none() {
            match self.recall(&object).await {
                Look::Serve(view) => return landing.end(Ok((view, None))),
                Look::ServeAndAsk(view) => {
                    landing.end(Ok((view.clone(), None)));
                    return self.ask_behind(&object, view);
                }
                Look::Ask(known) => inquiry.known = Some(known),
                Look::Unknown => {}
            }
        }
        let outcome = tokio::select! {
            outcome = self.inquire(&object, &inquiry, &landing.contact.urgency) => outcome,
            () = deserted_contact(&inquiry, &landing.contact) => Err(FetchError::Abandoned),
        };
        let Learnt { meta, freshness, arrival } = match outcome {
            Ok(learnt) => learnt,
            Err(error) => {
                self.fetch_failed(&object, &error, asks_in);
                let known = inquiry.known.filter(|_| error.is_outage());
                let forgiven =
                    known.and_then(|known| self.metas.forgive(object.key(), &known, self.clock.now()));
                return landing.end(forgiven.map(|view| (view, None)).ok_or(error));
            }
        };
        let Some(view) = self.metas.meet(&object, meta, asks_in, freshness) else {
            return landing.end(Err(FetchError::Purged));
        };
        // The flight is in the table before the object is known, so nobody can find the object known and its
        // chunks neither here nor on their way.
        let flight = arrival.and_then(|(arrival, held)| {
            let (run, priority) = (touched(arrival.span), landing.contact.urgency.priority());
            let filler = Source::Upstream;
            let mut running = self.flights.lock();
            let flight = self.flights.launch(&mut running, &object, &view, run, priority, filler)?;
            Some((flight, arrival, held))
        });
        self.metas.learn(object.key(), &view);
        landing.end(Ok((view, flight.as_ref().map(|(landing, ..)| Arc::clone(&landing.flight)))));
        if let Some((landing, arrival, held)) = flight {
            let mut buffers = Buffers::new(&landing.flight, held);
            let all = 0..landing.flight.chunks().count();
            let pour = self.pour(&mut buffers, all, arrival, asks_in);
            let result = self.unless_deserted(&landing.flight, pour).await;
            self.end(landing, result, asks_in);
        }
    }

    async fn inquire(
        &self,
        object: &ObjName,
        inquiry: &Inquiry,
        urgency: &Urgency,
    ) -> Result<Learnt, FetchError> {
        let place = self.place(urgency).await?;
        match (&inquiry.known, inquiry.bytes) {
            (Some(known), _) => {
                self.stats.revalidation();
                match self.ask(object, Want::Head, Some(&known.meta)).await? {
                    Answer::NotModified(meta) if meta.ver == known.meta.ver => {
                        Ok(Learnt { meta, freshness: Freshness::Revalidated, arrival: None })
                    }
                    Answer::NotModified(_) => Err(FetchError::Upstream(UNASKED)),
                    Answer::Found(reply) => Learnt::head(reply),
                }
            }
            (None, Some(bytes)) => self.inquire_by_range(object, bytes, place).await,
            (None, None) => Learnt::head(self.found(object, Want::Head).await?),
        }
    }

    async fn inquire_by_range(
        &self,
        object: &ObjName,
        ask: Span,
        place: Place,
    ) -> Result<Learnt, FetchError> {
        let mut held = self.reserve(ask.len()).await?;
        let reply = self.found(object, Want::Range(ask.as_spec())).await?;
        let total_len = countable(&reply.meta)?;
        let Some(got) = reply.span else {
            drop((held, place));
            return Learnt::head(self.found(object, Want::Head).await?);
        };
        let whole = Span::whole(total_len);
        let Some(wanted) = whole.and_then(|whole| whole.overlap(ask)) else {
            // All of it in answer to a range past its end.
            return if Some(got) == whole { Learnt::head(reply) } else { Err(wrong_span(ask, Some(got))) };
        };
        let (span, frame) = if got == wanted {
            (got, Frame::Exact)
        } else if Some(got) != whole {
            return Err(wrong_span(ask, Some(got)));
        } else if got.len() <= self.terms.fetch_max {
            drop(held);
            held = self.reserve(got.len()).await?;
            (got, Frame::Exact)
        } else {
            (wanted, Frame::Slice { skip: wanted.start() })
        };
        let UpstreamReply { meta, digest, body, .. } = reply;
        let digest = digest.filter(|_| frame == Frame::Exact);
        let arrival = Arrival { span, digest, frame, body, _place: place };
        let arrival = Some((arrival, held.split(span.len())));
        Ok(Learnt { meta, freshness: Freshness::Fresh, arrival })
    }

    /// Brings the run of a flight.
    pub async fn fill(self: Arc<Self>, landing: Landing) {
        let asked_in = self.generations.now();
        let result = self.unless_deserted(&landing.flight, self.bring(&landing.flight, asked_in)).await;
        self.end(landing, result, asked_in);
    }

    async fn bring(&self, flight: &Arc<Flight>, asked_in: u64) -> Result<(), FetchError> {
        if flight.source() != Source::Upstream {
            let mut buffers = Buffers::new(flight, self.reserve(flight.span.len()).await?);
            self.read_disks(&mut buffers).await;
            while let Some(gap) = buffers.gap() {
                let Some(span) = buffers.span(&gap) else { break };
                flight.comes_from_upstream();
                let place = self.place(&flight.urgency).await?;
                let arrival = self.arrive(flight, span, asked_in, place).await?;
                self.pour(&mut buffers, gap, arrival, asked_in).await?;
                buffers.publish();
            }
            return Ok(());
        }
        let place = self.place(&flight.urgency).await?;
        let mut buffers = Buffers::new(flight, self.reserve(flight.span.len()).await?);
        let arrival = self.arrive(flight, flight.span, asked_in, place).await?;
        let all = 0..flight.chunks().count();
        self.pour(&mut buffers, all, arrival, asked_in).await
    }

    fn end(&self, landing: Landing, result: Result<(), FetchError>, asked_in: u64) {
        if let Err(error) = &result {
            self.fetch_failed(&landing.flight.object, error, asked_in);
        }
        let kept = if self.may_keep(&landing.flight) { Kept::InMemory } else { Kept::Nowhere };
        landing.end(result, kept);
    }

    /// From the request to the head of a fitting answer.
    async fn arrive(
        &self,
        flight: &Flight,
        want: Span,
        asked_in: u64,
        place: Place,
    ) -> Result<Arrival, FetchError> {
        let reply = self.found(&flight.object, Want::Range(want.as_spec())).await?;
        let known = flight.view.meta();
        if reply.span.is_none() && reply.meta.total_len == known.total_len {
            return Err(wrong_span(want, None));
        }
        if reply.meta.ver != known.ver {
            let changed = FetchError::Changed { want_len: known.total_len, got_len: reply.meta.total_len };
            // A 416 says nothing but the length: the object is to be met anew.
            let key = flight.object.key();
            match reply.span {
                Some(_) => {
                    countable(&reply.meta)?;
                    let view = self.metas.meet(&flight.object, reply.meta, asked_in, Freshness::Fresh);
                    view.into_iter().for_each(|view| self.metas.learn(key, &view));
                }
                None => self.metas.forget(key),
            }
            return Err(changed);
        }
        let frame = match reply.span {
            Some(got) if got == want => Frame::Exact,
            Some(got) if Some(got) == Span::whole(known.total_len) => Frame::Slice { skip: want.start() },
            got => return Err(wrong_span(want, got)),
        };
        // The digest is that of the whole, and a long whole is not read to its end.
        let is_read = frame == Frame::Exact || known.total_len <= self.terms.fetch_max;
        let digest = reply.digest.filter(|_| is_read);
        Ok(Arrival { span: want, digest, frame, body: reply.body, _place: place })
    }

    /// From the first byte of an answer to chunks in memory.
    async fn pour(
        &self,
        buffers: &mut Buffers,
        gap: Range<usize>,
        arrival: Arrival,
        asked_in: u64,
    ) -> Result<(), FetchError> {
        let timed_out = Err(FetchError::TimedOut { waited: self.terms.fetch });
        let pour = self.pour_body(buffers, gap, arrival, asked_in);
        timeout(self.terms.fetch, pour).await.unwrap_or(timed_out)
    }

    async fn pour_body(
        &self,
        buffers: &mut Buffers,
        gap: Range<usize>,
        arrival: Arrival,
        asked_in: u64,
    ) -> Result<(), FetchError> {
        let Arrival { span, digest, frame, mut body, _place } = arrival;
        let flight = Arc::clone(&buffers.flight);
        let keep = |chunks: Vec<(ChunkNo, Arc<Slot>)>| {
            chunks.into_iter().for_each(|(no, slot)| self.keep_fetched(&flight, no, slot, asked_in));
        };
        let mut pouring = Pouring::new(buffers, gap, span);
        let mut check = digest.map(|want| (BodyDigest::new(), want));
        let mut at = 0;
        while frame == Frame::Exact || check.is_some() || pouring.received() < span.len() {
            let next = timeout(self.terms.stall, body.next()).await;
            let Some(piece) = next.map_err(|_| FetchError::TimedOut { waited: self.terms.stall })? else {
                break;
            };
            let piece = piece.map_err(FetchError::Upstream)?;
            self.stats.fetched(piece.len());
            if let Some((digest, _)) = &mut check {
                digest.update(&piece);
            }
            pouring.push(frame.wanted(span, at, &piece))?;
            at += piece.len() as u64;
            if check.is_none() {
                keep(pouring.passed());
            }
        }
        if pouring.received() < span.len() {
            return Err(FetchError::Short { want: span, got: pouring.received() });
        }
        if check.is_some_and(|(digest, want)| digest.finish() != want) {
            return Err(FetchError::WrongDigest { span });
        }
        keep(pouring.rest());
        Ok(())
    }

    /// Keeps a chunk that upstream was asked for in generation `asked_in`, in memory and maybe on a volume.
    fn keep_fetched(&self, flight: &Flight, no: ChunkNo, slot: Arc<Slot>, asked_in: u64) {
        if self.may_keep(flight) {
            self.offer(flight, no, &slot, asked_in);
            self.keep(flight, no, slot);
        }
    }

    /// Keeps a chunk in memory; whether it may be is known.
    fn keep(&self, flight: &Flight, no: ChunkNo, slot: Arc<Slot>) {
        let key = ChunkKey { obj: flight.object.key(), no: no.0 };
        self.ram.keep(key, flight.view.chunks(), slot);
    }

    /// Whether upstream allows it and no purge has overtaken the flight.
    fn may_keep(&self, flight: &Flight) -> bool {
        flight.view.meta().may_be_kept() && self.metas.counts(flight.object.key(), &flight.view)
    }

    /// An answer to a question without conditions.
    async fn found(&self, object: &ObjName, want: Want) -> Result<UpstreamReply, FetchError> {
        match self.ask(object, want, None).await? {
            Answer::Found(reply) => Ok(reply),
            Answer::NotModified(_) => Err(FetchError::Upstream(UNASKED)),
        }
    }

    async fn ask(&self, object: &ObjName, want: Want, known: Option<&ObjMeta>) -> Result<Answer, FetchError> {
        self.stats.fetch();
        let answer = timeout(self.terms.stall, self.upstream.fetch(object, want, known)).await;
        answer.map_err(|_| FetchError::TimedOut { waited: self.terms.stall })?.map_err(FetchError::Upstream)
    }

    /// Waits in line for upstream.
    async fn place(&self, urgency: &Urgency) -> Result<Place, FetchError> {
        let waited = self.terms.stall;
        let mut turn = self.line.stand(urgency.priority())?;
        let mut turned = pin!(urgency.turned());
        let mut waiting = pin!(sleep(waited));
        let mut is_prefetch = true;
        loop {
            tokio::select! {
                place = turn.come() => return place,
                () = &mut turned, if is_prefetch => {
                    is_prefetch = false;
                    turn.promote();
                }
                () = &mut waiting => return Err(FetchError::Queued { waited }),
            }
        }
    }

    async fn reserve(&self, bytes: u64) -> Result<Held, FetchError> {
        let held = timeout(self.terms.reserve, self.budget.reserve(bytes, || self.make_room())).await;
        held.map_err(|_| FetchError::Crowded { waited: self.terms.reserve })
    }

    /// Runs a fetch unless nobody cares for it any more.
    async fn unless_deserted(
        &self,
        flight: &Flight,
        fetch: impl Future<Output = Result<(), FetchError>>,
    ) -> Result<(), FetchError> {
        tokio::select! {
            result = fetch => result,
            () = deserted_flight(flight) => Err(FetchError::Abandoned),
        }
    }

    fn fetch_failed(&self, object: &ObjName, error: &FetchError, asked_in: u64) {
        self.stats.fetch_failed(error);
        if let FetchError::Upstream(error) = error {
            self.metas.learn_failure(object.key(), error, asked_in);
        }
    }
}

impl Learnt {
    fn head(reply: UpstreamReply) -> Result<Self, FetchError> {
        countable(&reply.meta)?;
        Ok(Self { meta: reply.meta, freshness: Freshness::Fresh, arrival: None })
    }
}

/// Resolves when a flight is to be given up.
async fn deserted_flight(flight: &Flight) {
    loop {
        flight.deserted().await;
        sleep(DESERTED).await;
        if flight.is_followed() {
            continue;
        }
        if flight.outstanding() <= CHUNK_LEN || flight.view.known.is_seen_twice() {
            // Neither changes back.
            std::future::pending::<()>().await;
        }
        return;
    }
}

/// Resolves when a contact is to be given up: never, if it asks for one chunk or less.
async fn deserted_contact(inquiry: &Inquiry, contact: &Contact) {
    let is_small = inquiry.bytes.is_none_or(|bytes| bytes.len() <= CHUNK_LEN);
    if is_small || inquiry.audience == Audience::Posterity {
        std::future::pending::<()>().await;
    }
    loop {
        contact.deserted().await;
        sleep(DESERTED).await;
        if !contact.is_followed() {
            return;
        }
    }
}

/// Upstream said that something is not modified that it had not been asked about.
const UNASKED: UpstreamError = UpstreamError::Malformed { what: "304 to a question without a condition" };

fn wrong_span(want: Span, got: Option<Span>) -> FetchError {
    FetchError::WrongSpan { want, got }
}

/// The length, if it is one that chunk numbers reach.
fn countable(meta: &ObjMeta) -> Result<u64, FetchError> {
    let total_len = meta.total_len;
    ChunkNo::holding(total_len).map(|_| total_len).ok_or(FetchError::TooLong { total_len })
}
