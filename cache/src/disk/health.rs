//! Whether a volume is fit to serve.
//!
//! Promises
//! - Every state but `Recovering` is left by a fault or by command only: a volume that has been taken out does not
//!   creep back by itself. A hang is the exception: it is bypassed while it lasts.
//! - [`ERRORS_MAX`] errors within [`ERRORS_WINDOW`] take a volume out; so does one that says the device is gone.
//! - A device that is full or read-only keeps serving what it has.
//!
//! Does not know: the clock (time is an argument), threads, what was being read or written.

use crate::disk::medium::Failure;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// What a volume may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being opened, or its segments being listed: what has been found is served.
    Recovering,
    /// Serves and takes new chunks.
    Online,
    /// Serves what it has, takes nothing.
    ReadOnly,
    /// Serves what it has, takes nothing, and is about to be removed.
    Draining,
    /// Out: neither read nor written, its keys belong to others.
    Failed,
}

/// Why a volume is in a state that nobody wishes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An operator said so.
    Command,
    /// It could not be opened.
    Open,
    /// Too many I/O errors in too short a time.
    Errors,
    /// The device is gone.
    Gone,
    /// An operation did not return within [`HANG_FAILS`].
    Hung,
    /// No space left.
    Full,
    /// The file system or device takes no writes.
    ReadOnly,
    /// A fault of ours.
    Broken,
}

/// What happened to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was opened anew; recovery begins.
    Opened,
    /// Its segments are all listed.
    Recovered,
    /// It could not be opened.
    OpenFailed,
    /// An operation failed.
    Fault(Failure),
    /// A thread of the volume panicked.
    Broken,
    /// The longest running operation runs this long now. Zero: none does.
    Running(Duration),
    /// An operator wants it out.
    Fail,
    /// An operator wants it to take no more.
    Drain,
    /// An operator wants it to be read only.
    ReadOnly,
    /// An operator wants it back from `ReadOnly` or `Draining`.
    PutBack,
}

/// A change of state, for the log and for whoever keeps keys on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub cause: Option<Cause>,
}

/// The health of one volume.
#[derive(Debug)]
pub struct Health {
    state: State,
    cause: Option<Cause>,
    /// When `state` was entered.
    since: Duration,
    /// Invariant: at most [`ERRORS_MAX`] moments, oldest first, none older than [`ERRORS_WINDOW`] when one is added.
    errors: VecDeque<Duration>,
    /// Invariant: true exactly while the last [`Event::Running`] was longer than [`HANG`].
    hung: bool,
    /// A fault found while recovering, applied once recovery is over: `Recovered` must not wash it away.
    pending: Option<Cause>,
}

/// So many errors ...
pub const ERRORS_MAX: usize = 5;
/// ... within this time take a volume out.
pub const ERRORS_WINDOW: Duration = Duration::from_secs(60);
/// An operation that runs longer than this makes requests go around the volume until it returns.
pub const HANG: Duration = Duration::from_secs(1);
/// An operation that runs longer than this takes the volume out.
pub const HANG_FAILS: Duration = Duration::from_secs(30);

impl State {
    /// Every state, for tables with one row each.
    pub const ALL: [Self; 5] = [Self::Recovering, Self::Online, Self::ReadOnly, Self::Draining, Self::Failed];

    /// The state as it is written in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovering => "recovering",
            Self::Online => "online",
            Self::ReadOnly => "read_only",
            Self::Draining => "draining",
            Self::Failed => "failed",
        }
    }
}

impl Health {
    /// A volume about to be opened.
    pub fn new(now: Duration) -> Self {
        Self {
            state: State::Recovering,
            cause: None,
            since: now,
            errors: VecDeque::with_capacity(ERRORS_MAX),
            hung: false,
            pending: None,
        }
    }

    /// What the volume may be used for.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it is in its state, if for a bad reason.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// How long it has been in its state.
    pub fn lasting(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// Whether requests go around it because an operation does not return.
    pub fn is_bypassed(&self) -> bool {
        self.hung
    }

    /// Whether it may be asked for chunks now.
    pub fn is_readable(&self) -> bool {
        !self.hung && self.state != State::Failed
    }

    /// Whether it may be given chunks now.
    pub fn is_writable(&self) -> bool {
        !self.hung && matches!(self.state, State::Online | State::Recovering)
    }

    /// Errors within [`ERRORS_WINDOW`] before `now`.
    pub fn errors(&self, now: Duration) -> usize {
        self.errors.iter().filter(|&&at| now.saturating_sub(at) < ERRORS_WINDOW).count()
    }

    /// Takes note of `event` and says whether the state changed.
    pub fn note(&mut self, event: Event, now: Duration) -> Option<Change> {
        let before = self.state;
        match event {
            Event::Opened => self.reset(now),
            Event::Recovered if self.state == State::Recovering => {
                let cause = self.pending.take();
                self.enter(if cause.is_some() { State::ReadOnly } else { State::Online }, cause, now);
            }
            Event::OpenFailed => self.enter(State::Failed, Some(Cause::Open), now),
            Event::Fault(failure) => self.fault(failure, now),
            Event::Running(time) => {
                self.hung = time > HANG;
                if time > HANG_FAILS {
                    self.fail(Cause::Hung, now);
                }
            }
            Event::Broken => self.fail(Cause::Broken, now),
            Event::Fail => self.fail(Cause::Command, now),
            Event::Drain if self.is_in() => self.enter(State::Draining, Some(Cause::Command), now),
            Event::ReadOnly if self.is_in() => self.enter(State::ReadOnly, Some(Cause::Command), now),
            Event::PutBack if matches!(self.state, State::ReadOnly | State::Draining) => {
                self.errors.clear();
                self.enter(State::Online, None, now);
            }
            Event::Recovered | Event::Drain | Event::ReadOnly | Event::PutBack => {}
        }
        debug_assert!(self.errors.len() <= ERRORS_MAX, "more errors are kept than count");
        (before != self.state).then_some(Change { from: before, to: self.state, cause: self.cause })
    }

    /// Neither out nor still being listed.
    fn is_in(&self) -> bool {
        matches!(self.state, State::Online | State::ReadOnly | State::Draining)
    }

    fn fault(&mut self, failure: Failure, now: Duration) {
        match failure {
            Failure::Gone => self.fail(Cause::Gone, now),
            Failure::Full => self.stop_writing(Cause::Full, now),
            Failure::ReadOnly => self.stop_writing(Cause::ReadOnly, now),
            Failure::Media | Failure::Short | Failure::Other => {
                while self.errors.front().is_some_and(|&at| now.saturating_sub(at) >= ERRORS_WINDOW) {
                    self.errors.pop_front();
                }
                if self.errors.len() < ERRORS_MAX {
                    self.errors.push_back(now);
                }
                if self.errors.len() == ERRORS_MAX {
                    self.fail(Cause::Errors, now);
                }
            }
        }
    }

    fn fail(&mut self, cause: Cause, now: Duration) {
        if self.state != State::Failed {
            self.enter(State::Failed, Some(cause), now);
        }
    }

    fn stop_writing(&mut self, cause: Cause, now: Duration) {
        match self.state {
            State::Online => self.enter(State::ReadOnly, Some(cause), now),
            State::Recovering => self.pending = Some(cause),
            State::ReadOnly | State::Draining | State::Failed => {}
        }
    }

    fn reset(&mut self, now: Duration) {
        *self = Self::new(now);
    }

    fn enter(&mut self, state: State, cause: Option<Cause>, now: Duration) {
        self.state = state;
        self.cause = cause;
        self.since = now;
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "by command",
            Self::Open => "it could not be opened",
            Self::Errors => "too many I/O errors",
            Self::Gone => "the device is gone",
            Self::Hung => "an operation does not return",
            Self::Full => "no space left",
            Self::ReadOnly => "nothing can be written",
            Self::Broken => "a fault of ours",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ERROR: Event = Event::Fault(Failure::Media);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn online() -> Health {
        let mut health = Health::new(at(0));
        health.note(Event::Recovered, at(0));
        health
    }

    #[test]
    fn five_errors_in_a_minute_take_a_volume_out_and_four_do_not() {
        let mut health = online();
        for second in 0..4 {
            assert_eq!(health.note(ERROR, at(second)), None);
        }
        assert_eq!(health.state(), State::Online);
        let change = health.note(ERROR, at(59)).unwrap();
        assert_eq!((change.to, change.cause), (State::Failed, Some(Cause::Errors)));
        assert!(!health.is_readable() && !health.is_writable());
    }

    #[test]
    fn errors_a_minute_apart_are_forgiven() {
        let mut health = online();
        for n in 0..100 {
            assert_eq!(health.note(ERROR, at(n * 15)), None, "error {n}");
        }
        assert_eq!(health.state(), State::Online);
    }

    #[test]
    fn an_unplugged_device_is_out_at_once() {
        let mut health = online();
        health.note(Event::Fault(Failure::Gone), at(1));
        assert_eq!((health.state(), health.cause()), (State::Failed, Some(Cause::Gone)));
    }

    #[test]
    fn a_full_or_read_only_device_keeps_serving_and_takes_nothing() {
        for (failure, cause) in [(Failure::Full, Cause::Full), (Failure::ReadOnly, Cause::ReadOnly)] {
            let mut health = online();
            health.note(Event::Fault(failure), at(1));
            assert_eq!((health.state(), health.cause()), (State::ReadOnly, Some(cause)));
            assert!(health.is_readable() && !health.is_writable());
        }
    }

    #[test]
    fn a_device_found_full_while_recovering_is_read_only_afterwards() {
        let mut health = Health::new(at(0));
        health.note(Event::Fault(Failure::Full), at(1));
        assert_eq!(health.state(), State::Recovering);
        health.note(Event::Recovered, at(2));
        assert_eq!((health.state(), health.cause()), (State::ReadOnly, Some(Cause::Full)));
    }

    #[test]
    fn a_hang_is_bypassed_while_it_lasts_and_takes_the_volume_out_if_it_stays() {
        let mut health = online();
        health.note(Event::Running(HANG), at(1));
        assert!(health.is_readable());
        health.note(Event::Running(HANG + Duration::from_millis(1)), at(2));
        assert!(!health.is_readable() && !health.is_writable() && health.state() == State::Online);
        health.note(Event::Running(Duration::ZERO), at(3));
        assert!(health.is_readable() && health.is_writable());
        health.note(Event::Running(HANG_FAILS + Duration::from_millis(1)), at(40));
        assert_eq!((health.state(), health.cause()), (State::Failed, Some(Cause::Hung)));
    }

    #[test]
    fn what_was_taken_out_comes_back_by_opening_it_anew_only() {
        let mut health = online();
        health.note(Event::Fail, at(1));
        for event in [Event::PutBack, Event::Recovered, Event::Drain, Event::ReadOnly] {
            assert_eq!(health.note(event, at(2)), None, "{event:?}");
        }
        assert_eq!(health.note(Event::Opened, at(3)).unwrap().to, State::Recovering);
        assert_eq!(health.note(Event::Recovered, at(4)).unwrap().to, State::Online);
        assert_eq!(health.lasting(at(9)), at(5));
    }

    #[test]
    fn a_drained_or_read_only_volume_is_put_back_with_a_clean_sheet() {
        for event in [Event::Drain, Event::ReadOnly] {
            let mut health = online();
            (0..4).for_each(|second| {
                health.note(ERROR, at(second));
            });
            health.note(event, at(5));
            assert!(health.is_readable() && !health.is_writable());
            health.note(Event::PutBack, at(6));
            assert_eq!((health.state(), health.errors(at(6))), (State::Online, 0));
        }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Opened),
            Just(Event::Recovered),
            Just(Event::OpenFailed),
            Just(ERROR),
            Just(Event::Fault(Failure::Full)),
            Just(Event::Fault(Failure::ReadOnly)),
            Just(Event::Fault(Failure::Gone)),
            Just(Event::Broken),
            (0_u64..40).prop_map(|secs| Event::Running(at(secs))),
            Just(Event::Fail),
            Just(Event::Drain),
            Just(Event::ReadOnly),
            Just(Event::PutBack),
        ]
    }

    proptest! {
        #[test]
        fn a_failed_volume_is_never_used_and_only_opening_ends_it(
            events in proptest::collection::vec((any_event(), 0_u64..30), 0..60)
        ) {
            let mut health = Health::new(at(0));
            let mut now = 0;
            for (event, pause) in events {
                now += pause;
                let before = health.state();
                let change = health.note(event, at(now));
                prop_assert_eq!(change.is_some(), before != health.state());
                if before == State::Failed && event != Event::Opened {
                    prop_assert_eq!(health.state(), State::Failed);
                }
                if health.state() == State::Failed {
                    prop_assert!(!health.is_readable() && !health.is_writable());
                }
                if health.is_writable() {
                    prop_assert!(health.is_readable());
                }
                let told = health.cause().is_some();
                prop_assert_eq!(told, !matches!(health.state(), State::Recovering | State::Online));
            }
        }
    }
}
