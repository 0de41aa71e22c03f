//! One listener's way through an object.
//!
//! Promises
//! - Bytes come in order, of one version, each from the nearest place that has it.
//! - Fetches begin at most [`LOOK_AHEAD`] chunks before the listener gets there.
//!
//! Does not know: how bytes are fetched, who the listener is.

use crate::body::{Body, Source};
use crate::fault::FetchError;
use crate::flight::{self, Flight, Progress};
use crate::line::Priority;
use crate::meta::View;
use crate::object::ObjName;
use crate::tiers::{Seat, Tiers};
use antiphon_core::{ChunkNo, Span};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// The bytes of a span, read one item after the other.
pub struct Reader {
    tiers: Arc<Tiers>,
    object: ObjName,
    view: View,
    /// What is still to come; `None` at the end and after an error.
    rest: Option<Span>,
    /// An item that is read already and comes next.
    ready: Option<(Bytes, Source)>,
    leg: Option<Leg>,
    /// The chunk after which fetches have been looked for.
    looked_past: Option<u32>,
    /// Holds the flights that were looked for, so that they are not given up before the listener gets there.
    /// At most [`LOOK_AHEAD`].
    ahead: VecDeque<watch::Receiver<Progress>>,
    begun: bool,
    restarts: u32,
}

/// The flight that the reader sits on.
struct Leg {
    span: Span,
    /// Until its first bytes are read, so that they count as the flight's.
    boarding: Option<Arc<Flight>>,
    /// From then on. A flight that has ended is not kept in memory by slow listeners: its chunks are in memory
    /// in their own right, and make room like any others.
    flight: Weak<Flight>,
    progress: watch::Receiver<Progress>,
    source: Source,
    /// Whether this reader has given out bytes of it.
    tasted: bool,
}

/// Chunks that are fetched before the listener gets to them.
const LOOK_AHEAD: u32 = 2;

/// A reader that is on its way takes so many spoiled fetches in its stride, if it has not given out their bytes.
const RESTARTS_MAX: u32 = 1;

impl Reader {
    pub(crate) fn new(tiers: Arc<Tiers>, object: ObjName, view: View, span: Span) -> Self {
        Self {
            tiers,
            object,
            view,
            rest: Some(span),
            ready: None,
            leg: None,
            looked_past: None,
            ahead: VecDeque::new(),
            begun: false,
            restarts: 0,
        }
    }

    /// Takes a seat on a flight that may bring the first bytes.
    pub(crate) fn sit(&mut self, seat: Seat) {
        self.leg = Some(Leg {
            span: seat.flight.span,
            flight: Arc::downgrade(&seat.flight),
            progress: seat.progress,
            boarding: Some(seat.flight),
            source: seat.source,
            tasted: false,
        });
    }

    /// Waits for the first bytes and makes a body of them and what follows.
    pub(crate) async fn into_body(mut self) -> Result<(Body, Source), FetchError> {
        match self.next().await {
            None => Ok((Body::Empty, Source::Ram)),
            Some(Err(error)) => Err(error),
            Some(Ok((bytes, source))) if self.rest.is_none() => Ok((Body::One(bytes, source), source)),
            Some(Ok((bytes, source))) => {
                self.ready = Some((bytes, source));
                Ok((Body::Stream(Box::new(self)), source))
            }
        }
    }

    /// The next item, at most one chunk; `None` at the end and after an error.
    pub(crate) async fn next(&mut self) -> Option<Result<(Bytes, Source), FetchError>> {
        if let Some(ready) = self.ready.take() {
            return Some(Ok(ready));
        }
        loop {
            let rest = self.rest?;
            if let Some(leg) = &mut self.leg {
                match leg.read(&self.view, rest).await {
                    Ok(Some((bytes, source))) => return Some(Ok(self.give(rest, bytes, source))),
                    Ok(None) => self.leg = None,
                    Err(error) if self.may_restart(&error) => {
                        self.restarts += 1;
                        self.leg = None;
                    }
                    Err(error) => {
                        self.rest = None;
                        return Some(Err(error));
                    }
                }
            } else if let Some(bytes) = self.tiers.resident(&self.object, &self.view, rest) {
                return Some(Ok(self.give(rest, bytes, Source::Ram)));
            } else if let Some(seat) = self.tiers.board(&self.object, &self.view, rest, Priority::Listener) {
                self.sit(seat);
            }
        }
    }

    /// Before its first byte a listener is started anew by [`crate::RangeCache::get`], which also meets the object
    /// in its new version; later only the same version can go on.
    fn may_restart(&self, error: &FetchError) -> bool {
        let untasted = self.leg.as_ref().is_some_and(|leg| !leg.tasted);
        let changed = matches!(error, FetchError::Changed { .. });
        self.begun && untasted && error.is_spoiled() && !changed && self.restarts < RESTARTS_MAX
    }

    /// Once per chunk, when it is at hand: begins fetches of the next ones, unless they are here or on their way.
    fn look_ahead(&mut self, rest: Span) {
        let Some(ChunkNo(no)) = ChunkNo::holding(rest.start()) else { return };
        if self.looked_past.replace(no) == Some(no) {
            return;
        }
        for ahead in no.saturating_add(1)..no.saturating_add(1 + LOOK_AHEAD) {
            let (tiers, view) = (&self.tiers, &self.view);
            let start = ChunkNo(ahead).span(view.meta().total_len).map(Span::start);
            if self.leg.as_ref().zip(start).is_some_and(|(leg, start)| leg.brings(start)) {
                continue;
            }
            let Some(seat) = tiers.look_ahead(&self.object, view, rest, ahead, Priority::Listener) else {
                continue;
            };
            if self.ahead.len() == LOOK_AHEAD as usize {
                self.ahead.pop_front();
            }
            self.ahead.push_back(seat.progress);
        }
    }

    fn give(&mut self, rest: Span, bytes: Bytes, source: Source) -> (Bytes, Source) {
        let bytes = self.tiers.lend(bytes);
        debug_assert!(!bytes.is_empty() && bytes.len() as u64 <= rest.len(), "an item is a part of the rest");
        self.rest = Span::new(rest.start() + bytes.len() as u64, rest.end());
        self.begun = true;
        self.look_ahead(rest);
        self.tiers.stats.served(source, bytes.len());
        (bytes, source)
    }
}

impl Leg {
    /// Whether byte `at` is the flight's to bring.
    fn brings(&self, at: u64) -> bool {
        (self.span.start()..self.span.end()).contains(&at)
    }

    /// The next bytes of the flight; `None` when it does not bring any of `rest`, or has ended and is gone.
    async fn read(&mut self, view: &View, rest: Span) -> Result<Option<(Bytes, Source)>, FetchError> {
        if !self.brings(rest.start()) {
            return Ok(None);
        }
        let bytes = match self.boarding.take().or_else(|| self.flight.upgrade()) {
            Some(flight) => {
                let bytes = flight.read(&mut self.progress, rest).await?;
                if self.source != Source::Flight {
                    self.source = flight.source();
                }
                bytes
            }
            None => {
                flight::verdict(&self.progress)?;
                match flight::left_behind(&self.progress, view, self.span, rest) {
                    Some(bytes) => bytes,
                    None => return Ok(None),
                }
            }
        };
        self.tasted = true;
        Ok(Some((bytes, self.source)))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("object", &self.object)
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}
