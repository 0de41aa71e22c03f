//! Fetches under way, and who may follow them.
//!
//! Promises
//! - A chunk of an object belongs to at most one running flight; an object has at most one running contact.
//! - A flight that has ended is in no table when its end is told, so whoever hears of a failure and tries
//!   again meets no dead flight.
//! - However a fetch ends (done, failed, task dropped), its followers hear it.
//!
//! Does not know: upstream, memory limits, which listener waits.

use crate::arena::Slot;
use crate::body::Source;
use crate::fault::FetchError;
use crate::line::{Priority, Urgency};
use crate::meta::View;
use crate::object::{ChunkKey, ObjKey, ObjName};
use antiphon_core::chunk::{run_span, touched};
use antiphon_core::{ChunkNo, Span};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// One upstream request for a run of chunks.
pub(crate) struct Flight {
    pub object: ObjName,
    pub view: View,
    /// The chunks `run` of the object, as bytes.
    pub span: Span,
    run: Range<u32>,
    /// One buffer per chunk of `run`; set before the first progress is told.
    slots: OnceLock<Slots>,
    progress: watch::Sender<Progress>,
    pub urgency: Urgency,
    /// Where its bytes come from.
    filler: Source,
    /// Whether upstream had to stand in for a volume.
    fell_back: AtomicBool,
}

/// The buffers of a flight, one per chunk, in order.
pub(crate) type Slots = Arc<[Arc<Slot>]>;

/// How far a flight is.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    /// Bytes from the start of the span that may be read.
    published: u64,
    /// `Ok` comes with all bytes published.
    end: Option<Result<(), FetchError>>,
    /// After a good end, if the chunks are not in memory in their own right: followers alone hold them.
    left_behind: Option<Slots>,
}

/// A request that finds out what an object is, or whether it still is what it was.
pub(crate) struct Contact {
    /// The purge generation it asks in: whoever comes after a later purge must not hear its outcome.
    pub asks_in: u64,
    pub urgency: Urgency,
    outcome: watch::Sender<Option<ContactOutcome>>,
}

/// What a contact finds out, and the flight that brings the bytes asked along with it.
pub(crate) type ContactOutcome = Result<(View, Option<Arc<Flight>>), FetchError>;

/// All that is under way.
#[derive(Default)]
pub(crate) struct Flights {
    running: Mutex<Running>,
}

/// The tables, locked.
#[derive(Default)]
pub(crate) struct Running {
    /// Invariant: a chunk in a version (see [`View::chunks`]) is in here exactly while its flight runs. `launch` puts it in, the end of
    /// [`Landing`] takes it out, and nothing else does.
    chunks: HashMap<(ChunkKey, u64), Arc<Flight>>,
    contacts: HashMap<ObjKey, Arc<Contact>>,
    flights: u64,
}

/// Whether what was fetched is in memory for those who come later.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    Nowhere,
}

/// Held by the task of a flight: whatever becomes of the task, the flight leaves the table and its end is told.
pub(crate) struct Landing {
    flights: Arc<Flights>,
    pub flight: Arc<Flight>,
}

/// Held by the task of a contact, to the same end.
pub(crate) struct ContactLanding {
    flights: Arc<Flights>,
    key: ObjKey,
    pub contact: Arc<Contact>,
}

impl Flights {
    pub fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock()
    }

    /// Puts up a flight for the chunks `run`, which the caller found missing under this very lock. `None` for a
    /// run without bytes.
    pub fn launch(
        self: &Arc<Self>,
        running: &mut Running,
        object: &ObjName,
        view: &View,
        run: Range<u32>,
        priority: Priority,
        filler: Source,
    ) -> Option<Landing> {
        let span = run_span(run.clone(), view.meta().total_len)?;
        let flight = Arc::new(Flight {
            object: object.clone(),
            view: view.clone(),
            span,
            run: run.clone(),
            slots: OnceLock::new(),
            progress: watch::Sender::default(),
            urgency: Urgency::new(priority),
            filler,
            fell_back: AtomicBool::new(false),
        });
        for no in run {
            // A flight for the same chunk can be here only if the object was forgotten and met anew meanwhile.
            let key = ChunkKey { obj: object.key(), no };
            running.chunks.entry((key, view.chunks())).or_insert_with(|| Arc::clone(&flight));
        }
        running.flights += 1;
        Some(Landing { flights: Arc::clone(self), flight })
    }

    /// Puts up a contact for an object that has none of this generation, as seen under this very lock.
    pub fn meet(
        self: &Arc<Self>,
        running: &mut Running,
        key: ObjKey,
        asks_in: u64,
        priority: Priority,
    ) -> ContactLanding {
        let urgency = Urgency::new(priority);
        let contact = Arc::new(Contact { asks_in, urgency, outcome: watch::Sender::new(None) });
        let before = running.contacts.insert(key, Arc::clone(&contact));
        debug_assert!(before.is_none_or(|before| before.asks_in < asks_in), "one contact at a time");
        ContactLanding { flights: Arc::clone(self), key, contact }
    }
}

impl Running {
    /// The flight that brings this chunk in this version.
    pub fn flight(&self, key: ChunkKey, ver: u64) -> Option<&Arc<Flight>> {
        self.chunks.get(&(key, ver))
    }

    /// The contact with this object.
    pub fn contact(&self, key: ObjKey) -> Option<&Arc<Contact>> {
        self.contacts.get(&key)
    }

    /// How many flights run.
    pub fn count(&self) -> u64 {
        self.flights
    }
}

impl Flight {
    /// Hands over the buffers, one per chunk, in order.
    pub fn furnish(&self, slots: Slots) {
        debug_assert_eq!(slots.len(), self.run.len(), "one buffer per chunk");
        let fresh = self.slots.set(slots).is_ok();
        debug_assert!(fresh, "a flight is furnished once");
    }

    /// Where the bytes come from: a volume, or upstream.
    pub fn source(&self) -> Source {
        if self.fell_back.load(Ordering::Relaxed) { Source::Upstream } else { self.filler }
    }

    /// Upstream stands in for a volume from now on.
    pub fn comes_from_upstream(&self) {
        self.fell_back.store(true, Ordering::Relaxed);
    }

    /// The number of the first chunk.
    pub fn first(&self) -> u32 {
        self.run.start
    }

    /// The chunks with their numbers.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkNo> + use<> {
        self.run.clone().map(ChunkNo)
    }

    /// Lets followers read the first `bytes` of the span.
    pub fn publish(&self, bytes: u64) {
        debug_assert!(bytes < self.span.len(), "the last bytes are published by the end");
        self.progress.send_if_modified(|progress| {
            let more = progress.published < bytes;
            progress.published = progress.published.max(bytes);
            more
        });
    }

    pub fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits for the end.
    pub async fn ended(&self, progress: &mut watch::Receiver<Progress>) -> Result<(), FetchError> {
        let end = progress.wait_for(|progress| progress.end.is_some()).await;
        end.ok().and_then(|progress| progress.end.clone()).unwrap_or(Err(FetchError::Interrupted))
    }

    /// Waits until nobody follows.
    pub async fn deserted(&self) {
        self.progress.closed().await;
    }

    /// Whether anybody follows.
    pub fn is_followed(&self) -> bool {
        self.progress.receiver_count() > 0
    }

    /// Bytes of the span that are not published yet.
    pub fn outstanding(&self) -> u64 {
        self.span.len() - self.progress.borrow().published
    }

    /// Waits until bytes at the start of `rest` may be read and gives as many as one chunk holds.
    /// `progress` comes from [`Flight::follow`]; `rest` starts inside the span.
    pub async fn read(
        &self,
        progress: &mut watch::Receiver<Progress>,
        rest: Span,
    ) -> Result<Bytes, FetchError> {
        let behind = rest.start() - self.span.start();
        let seen = progress.wait_for(|progress| progress.published > behind || progress.end.is_some()).await;
        let published = match &*seen.map_err(|_| FetchError::Interrupted)? {
            Progress { end: Some(Err(error)), .. } => return Err(error.clone()),
            progress => progress.published,
        };
        let slots = self.slots.get().ok_or(FetchError::Interrupted)?;
        let there = Span::new(self.span.start(), self.span.start() + published);
        there.and_then(|there| cut(slots, &self.view, there, rest)).ok_or(FetchError::Interrupted)
    }
}

/// The bytes from the start of `rest` to the end of its chunk, of `rest` or of what is `there`. `there` starts
/// where the first of `slots` does.
fn cut(slots: &[Arc<Slot>], view: &View, there: Span, rest: Span) -> Option<Bytes> {
    let no = ChunkNo::holding(rest.start())?;
    let chunk = no.span(view.meta().total_len)?;
    let part = chunk.overlap(rest)?.overlap(there)?;
    debug_assert_eq!(part.start(), rest.start(), "bytes come in order");
    let slot = slots.get((no.0 - ChunkNo::holding(there.start())?.0) as usize)?;
    let at = chunk.offsets_of(part)?;
    slot.bytes(at.start, at.end)
}

/// Bytes of a flight over `span` that has ended well and left its chunks to its followers.
pub(crate) fn left_behind(
    progress: &watch::Receiver<Progress>,
    view: &View,
    span: Span,
    rest: Span,
) -> Option<Bytes> {
    let slots = progress.borrow().left_behind.clone()?;
    cut(&slots, view, span, rest)
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Its chunks may make room from now on: whoever waits for some may look again.
        let arena = self.slots.get().and_then(|slots| slots.first()).map(|slot| Arc::clone(slot.arena()));
        drop(self.slots.take());
        if let Some(arena) = arena {
            arena.freed.notify_one();
        }
    }
}

/// The failure of a flight that has ended with one.
pub(crate) fn verdict(progress: &watch::Receiver<Progress>) -> Result<(), FetchError> {
    progress.borrow().end.clone().unwrap_or(Ok(()))
}

impl Landing {
    /// Ends the flight. What was fetched is in memory already, so that nobody misses it in between; or else it
    /// is left to those who follow.
    pub fn end(self, result: Result<(), FetchError>, kept: Kept) {
        if kept == Kept::Nowhere && result.is_ok() {
            let slots = self.flight.slots.get().cloned();
            self.flight.progress.send_modify(|progress| progress.left_behind = slots);
        }
        self.finish(result);
    }

    fn finish(&self, result: Result<(), FetchError>) {
        {
            let mut running = self.flights.lock();
            for no in touched(self.flight.span) {
                let key = (ChunkKey { obj: self.flight.object.key(), no }, self.flight.view.chunks());
                if running.chunks.get(&key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
                    running.chunks.remove(&key);
                }
            }
            running.flights -= 1;
        }
        self.flight.progress.send_modify(|progress| {
            if result.is_ok() {
                progress.published = self.flight.span.len();
            }
            progress.end = Some(result);
        });
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.flight.progress.borrow().end.is_none() {
            self.finish(Err(FetchError::Interrupted));
        }
    }
}

impl Contact {
    /// Waits until nobody waits for the outcome.
    pub async fn deserted(&self) {
        self.outcome.closed().await;
    }

    /// Whether anybody waits for the outcome.
    pub fn is_followed(&self) -> bool {
        self.outcome.receiver_count() > 0
    }

    pub async fn outcome(&self) -> ContactOutcome {
        let mut outcome = self.outcome.subscribe();
        let seen = outcome.wait_for(Option::is_some).await;
        seen.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(FetchError::Interrupted))
    }
}

impl ContactLanding {
    /// Ends the contact. What was learnt about the object is remembered already.
    pub fn end(self, outcome: ContactOutcome) {
        self.finish(outcome);
    }

    fn finish(&self, outcome: ContactOutcome) {
        {
            // A contact of a later generation may have taken its place.
            let mut running = self.flights.lock();
            if running.contacts.get(&self.key).is_some_and(|there| Arc::ptr_eq(there, &self.contact)) {
                running.contacts.remove(&self.key);
            }
        }
        self.contact.outcome.send_replace(Some(outcome));
    }
}

impl Drop for ContactLanding {
    fn drop(&mut self) {
        if self.contact.outcome.borrow().is_none() {
            self.finish(Err(FetchError::Interrupted));
        }
    }
}
