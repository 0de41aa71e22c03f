//! The line for upstream: so many fetches at a time, listeners before prefetches.
//!
//! Promises
//! - Never more [`Place`]s than allowed; a place that is given back goes to the first in line.
//! - The line is bounded. When it is full, a listener takes the place of the last prefetch in it.
//! - Whoever leaves the line leaves no gap.
//!
//! Does not know: what is fetched.

use crate::fault::FetchError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How soon a fetch is wanted. The order is that of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody listens.
    Listener,
    /// Somebody may listen later.
    Prefetch,
}

pub(crate) struct Line {
    state: Mutex<State>,
}

struct State {
    places: usize,
    queue_max: usize,
    /// Invariant: the number of living [`Place`]s. Above `places` only after it was lowered.
    busy: usize,
    /// Invariant: who is in here has a living [`Turn`].
    waiting: BTreeMap<Rank, oneshot::Sender<Place>>,
    next: u64,
}

type Rank = (Priority, u64);

/// How soon a fetch is wanted: a prefetch that meets a listener becomes a listener's.
pub(crate) struct Urgency {
    heard: AtomicBool,
    /// Told when `heard` turns true.
    turned: Notify,
}

/// Leave to fetch, given back on drop.
pub(crate) struct Place {
    line: Arc<Line>,
}

/// A turn that will come.
pub(crate) struct Turn {
    line: Arc<Line>,
    rank: Rank,
    called: oneshot::Receiver<Place>,
}

impl Line {
    pub fn new(places: usize, queue_max: usize) -> Arc<Self> {
        let (waiting, places) = (BTreeMap::new(), places.max(1));
        Arc::new(Self { state: Mutex::new(State { places, queue_max, busy: 0, waiting, next: 0 }) })
    }

    /// Gets in line.
    pub fn stand(self: &Arc<Self>, priority: Priority) -> Result<Turn, FetchError> {
        let (call, called) = oneshot::channel();
        let mut state = self.state.lock();
        let rank = (priority, state.next);
        state.next += 1;
        if state.busy < state.places {
            state.busy += 1;
            drop(state);
            // The receiver is right here.
            let _ = call.send(Place { line: Arc::clone(self) });
            return Ok(Turn { line: Arc::clone(self), rank, called });
        }
        if state.waiting.len() >= state.queue_max {
            let last = state.waiting.last_key_value().map(|(rank, _)| *rank);
            match last {
                Some(last) if last.0 > priority => state.waiting.remove(&last),
                _ => return Err(FetchError::Queued { waited: Duration::ZERO }),
            };
        }
        state.waiting.insert(rank, call);
        Ok(Turn { line: Arc::clone(self), rank, called })
    }

    /// How many fetch, and how many wait for their turn.
    pub fn lengths(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.busy as u64, state.waiting.len() as u64)
    }
}

impl Turn {
    /// Goes before all prefetches from now on.
    pub fn promote(&mut self) {
        let mut state = self.line.state.lock();
        if self.rank.0 > Priority::Listener
            && let Some(call) = state.waiting.remove(&self.rank)
        {
            self.rank.0 = Priority::Listener;
            state.waiting.insert(self.rank, call);
        }
    }

    /// Waits for the turn; an error when a listener took the place.
    pub async fn come(&mut self) -> Result<Place, FetchError> {
        (&mut self.called).await.map_err(|_| FetchError::Queued { waited: Duration::ZERO })
    }
}

impl Urgency {
    pub fn new(priority: Priority) -> Self {
        Self { heard: AtomicBool::new(priority == Priority::Listener), turned: Notify::new() }
    }

    /// How soon the fetch is wanted now.
    pub fn priority(&self) -> Priority {
        if self.heard.load(Ordering::Relaxed) { Priority::Listener } else { Priority::Prefetch }
    }

    /// Somebody with this priority wants it too.
    pub fn add(&self, priority: Priority) {
        if priority == Priority::Listener && !self.heard.swap(true, Ordering::Relaxed) {
            self.turned.notify_one();
        }
    }

    /// Waits until what began as a prefetch meets its first listener.
    pub async fn turned(&self) {
        self.turned.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.line.state.lock().waiting.remove(&self.rank);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let call = {
            let mut state = self.line.state.lock();
            debug_assert!(state.busy > 0, "a place is given back once");
            let next = if state.busy <= state.places { state.waiting.pop_first() } else { None };
            if next.is_none() {
                state.busy -= 1;
            }
            next
        };
        if let Some((_, call)) = call {
            // Whoever has left meanwhile drops the place, which calls the next.
            let _ = call.send(Self { line: Arc::clone(&self.line) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn now(turn: &mut Turn) -> Option<Place> {
        turn.come().now_or_never().and_then(Result::ok)
    }

    #[test]
    fn listeners_go_first_and_each_kind_in_order() {
        let line = Line::new(1, 10);
        let busy = now(&mut line.stand(Priority::Prefetch).unwrap()).unwrap();
        let mut turns: Vec<_> =
            [Priority::Prefetch, Priority::Prefetch, Priority::Listener, Priority::Listener]
                .map(|priority| line.stand(priority).unwrap())
                .into();
        turns[1].promote();
        assert_eq!(line.lengths(), (1, 4));
        drop(busy);
        for next in [1, 2, 3, 0] {
            assert!((0..4).filter(|no| *no != next).all(|no| turns[no].called.try_recv().is_err()));
            drop(now(&mut turns[next]).unwrap());
        }
        assert_eq!(line.lengths(), (0, 0));
    }

    #[test]
    fn a_full_line_turns_prefetches_away_and_lets_a_listener_take_their_place() {
        let line = Line::new(1, 1);
        let _busy = now(&mut line.stand(Priority::Listener).unwrap()).unwrap();
        let mut prefetch = line.stand(Priority::Prefetch).unwrap();
        assert!(line.stand(Priority::Prefetch).is_err());
        let _listener = line.stand(Priority::Listener).unwrap();
        assert!(matches!(prefetch.come().now_or_never(), Some(Err(FetchError::Queued { .. }))));
        assert!(line.stand(Priority::Listener).is_err());
    }

    #[test]
    fn whoever_leaves_takes_no_place_along() {
        let line = Line::new(2, 10);
        let busy = [(); 2].map(|()| now(&mut line.stand(Priority::Listener).unwrap()).unwrap());
        let leaving = line.stand(Priority::Listener).unwrap();
        let called = line.stand(Priority::Listener).unwrap();
        let mut staying = line.stand(Priority::Prefetch).unwrap();
        drop(leaving);
        let [first, second] = busy;
        drop(first);
        drop(called);
        assert!(now(&mut staying).is_some());
        drop(second);
        assert_eq!(line.lengths(), (0, 0));
    }
}
