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
use crate::fault::FetchError;
use crate::object::{ChunkKey, ObjKey, ObjMeta, ObjName};
use antiphon_core::chunk::{run_span, touched};
use antiphon_core::{ChunkNo, Span};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// One upstream request for a run of chunks.
pub(crate) struct Flight {
    pub object: ObjName,
    pub meta: Arc<ObjMeta>,
    /// The chunks `run` of the object, as bytes.
    pub span: Span,
    run: Range<u32>,
    /// One buffer per chunk of `run`; set before the first progress is told.
    slots: OnceLock<Box<[Arc<Slot>]>>,
    progress: watch::Sender<Progress>,
}

/// How far a flight is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Bytes from the start of the span that may be read.
    published: u64,
    /// `Ok` comes with all bytes published.
    end: Option<Result<(), FetchError>>,
}

/// The first request for an object of which nothing is known.
pub(crate) struct Contact {
    outcome: watch::Sender<Option<ContactOutcome>>,
}

/// What a contact finds out, and the flight that brings the bytes asked along with it.
pub(crate) type ContactOutcome = Result<(Arc<ObjMeta>, Option<Arc<Flight>>), FetchError>;

/// All that is under way.
#[derive(Default)]
pub(crate) struct Flights {
    running: Mutex<Running>,
}

/// The tables, locked.
#[derive(Default)]
pub(crate) struct Running {
    /// Invariant: a chunk in a version is in here exactly while its flight runs. `launch` puts it in, the end of
    /// [`Landing`] takes it out, and nothing else does.
    chunks: HashMap<(ChunkKey, u64), Arc<Flight>>,
    contacts: HashMap<ObjKey, Arc<Contact>>,
    flights: u64,
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
    contact: Arc<Contact>,
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
        meta: &Arc<ObjMeta>,
        run: Range<u32>,
    ) -> Option<Landing> {
        let span = run_span(run.clone(), meta.total_len)?;
        let flight = Arc::new(Flight {
            object: object.clone(),
            meta: Arc::clone(meta),
            span,
            run: run.clone(),
            slots: OnceLock::new(),
            progress: watch::Sender::default(),
        });
        for no in run {
            // A flight for the same chunk can be here only if the object was forgotten and met anew meanwhile.
            let key = ChunkKey { obj: object.key(), no };
            running.chunks.entry((key, meta.ver)).or_insert_with(|| Arc::clone(&flight));
        }
        running.flights += 1;
        Some(Landing { flights: Arc::clone(self), flight })
    }

    /// Puts up a contact for an object that has none, as seen under this very lock.
    pub fn meet(self: &Arc<Self>, running: &mut Running, key: ObjKey) -> ContactLanding {
        let contact = Arc::new(Contact { outcome: watch::Sender::new(None) });
        let before = running.contacts.insert(key, Arc::clone(&contact));
        debug_assert!(before.is_none(), "an object has one contact at a time");
        ContactLanding { flights: Arc::clone(self), key, contact }
    }
}

impl Running {
    /// The flight that brings this chunk in this version.
    pub fn flight(&self, key: ChunkKey, ver: u64) -> Option<&Arc<Flight>> {
        self.chunks.get(&(key, ver))
    }

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
    pub fn furnish(&self, slots: Box<[Arc<Slot>]>) {
        debug_assert_eq!(slots.len(), self.run.len(), "one buffer per chunk");
        let fresh = self.slots.set(slots).is_ok();
        debug_assert!(fresh, "a flight is furnished once");
    }

    /// The chunks with their numbers.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkNo> + use<> {
        self.run.clone().map(ChunkNo)
    }

    /// Lets followers read the first `bytes` of the span.
    pub fn publish(&self, bytes: u64) {
        debug_assert!(bytes < self.span.len(), "the last bytes are published by the end");
        self.progress.send_modify(|progress| progress.published = bytes);
    }

    pub fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
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
        self.slice(rest, published).ok_or(FetchError::Interrupted)
    }

    /// The bytes from the start of `rest` to the end of its chunk, of `rest` or of what is published.
    fn slice(&self, rest: Span, published: u64) -> Option<Bytes> {
        let no = ChunkNo::holding(rest.start())?;
        let chunk = no.span(self.meta.total_len)?;
        let there = Span::new(self.span.start(), self.span.start() + published)?;
        let part = chunk.overlap(rest)?.overlap(there)?;
        debug_assert_eq!(part.start(), rest.start(), "bytes come in order");
        let slot = self.slots.get()?.get((no.0 - self.run.start) as usize)?;
        let at = chunk.offsets_of(part)?;
        slot.bytes(at.start, at.end)
    }
}

/// The failure of a flight that has ended with one.
pub(crate) fn verdict(progress: &watch::Receiver<Progress>) -> Result<(), FetchError> {
    progress.borrow().end.clone().unwrap_or(Ok(()))
}

impl Landing {
    /// Ends the flight. What was fetched is in memory already, so that nobody misses it in between.
    pub fn end(self, result: Result<(), FetchError>) {
        self.finish(result);
    }

    fn finish(&self, result: Result<(), FetchError>) {
        {
            let mut running = self.flights.lock();
            for no in touched(self.flight.span) {
                let key = (ChunkKey { obj: self.flight.object.key(), no }, self.flight.meta.ver);
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
    pub async fn outcome(&self) -> ContactOutcome {
        let mut outcome = self.outcome.subscribe();
        let seen = outcome.wait_for(Option::is_some).await;
        seen.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(FetchError::Interrupted))
    }
}

impl ContactLanding {
    /// The contact that others may wait for.
    pub fn contact(&self) -> &Arc<Contact> {
        &self.contact
    }

    /// Ends the contact. What was learnt about the object is remembered already.
    pub fn end(self, outcome: ContactOutcome) {
        self.finish(outcome);
    }

    fn finish(&self, outcome: ContactOutcome) {
        let removed = self.flights.lock().contacts.remove(&self.key);
        debug_assert!(removed.is_some(), "a contact found its entry already gone");
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
