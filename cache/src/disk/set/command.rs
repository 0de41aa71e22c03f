//! What an operator can say to a volume while the node runs.
//!
//! Promises
//! - A command changes one volume; the others are served as before.
//! - What is on a disk is erased by `Format` only, and only from a volume that is out.
//!
//! Does not know: how the command came here, who may give it.

use super::life::begin;
use super::{Disks, Doing};
use crate::disk::health::{Event, State};

/// An order to a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCommand {
    /// The volume's name.
    pub volume: String,
    /// What it is to do.
    pub order: DiskOrder,
}

/// What a volume can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOrder {
    /// Take nothing more, serve what is there: before a disk is removed.
    Drain,
    /// Take nothing more, write nothing.
    ReadOnly,
    /// Out, at once: neither read nor written.
    Fail,
    /// Serve again: from out, by opening the disk anew.
    PutBack,
    /// Check every chunk once, as fast as `scrub_bytes_per_sec` allows, beginning now.
    Scrub,
    /// Erase the disk and begin with an empty volume. Only a volume that is out can be told.
    Format,
}

/// Why a command was not carried out. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no volume of this name.
    #[error("there is no volume {name:?}; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Not in this state.
    #[error("volume {name} is {state}: {hint}")]
    NotNow {
        /// The volume.
        name: String,
        /// Its state.
        state: State,
        /// What would help.
        hint: &'static str,
    },
}

impl DiskOrder {
    /// Every order, as it is written in a path or on a command line.
    pub const ALL: [(&'static str, Self); 6] = [
        ("drain", Self::Drain),
        ("read-only", Self::ReadOnly),
        ("fail", Self::Fail),
        ("put-back", Self::PutBack),
        ("scrub", Self::Scrub),
        ("format", Self::Format),
    ];

    /// The order that is written `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, order)| order)
    }
}

impl Disks {
    /// Gives an order to a volume. Returns when it holds, which for `PutBack` and `Format` is when the disk is
    /// being opened: its state tells how that goes.
    pub async fn command(&self, command: DiskCommand) -> Result<(), CommandError> {
        let DiskCommand { volume: name, order } = command;
        let inner = &self.inner;
        let Some(slot) = inner.slot(&name) else {
            let known = inner.slots.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(CommandError::Unknown { name, known });
        };
        let now = inner.context.now();
        let state = slot.health(|health| health.state());
        let not_now = |hint| Err(CommandError::NotNow { name: name.clone(), state, hint });
        match (order, state) {
            (DiskOrder::Fail, _) => drop(slot.note(Event::Fail, now)),
            (DiskOrder::Drain | DiskOrder::ReadOnly | DiskOrder::Scrub, State::Failed) => {
                return not_now("put it back first");
            }
            (DiskOrder::Drain | DiskOrder::ReadOnly | DiskOrder::Scrub, State::Recovering) => {
                return not_now("wait until it is online");
            }
            (DiskOrder::Scrub, State::ReadOnly) => {
                return not_now("its writer rests, and the scrub with it: put it back first");
            }
            (DiskOrder::Drain, _) => drop(slot.note(Event::Drain, now)),
            (DiskOrder::ReadOnly, _) => drop(slot.note(Event::ReadOnly, now)),
            (DiskOrder::Scrub, _) => {
                if let Some(live) = slot.live() {
                    live.volume.scrub_all();
                    slot.wake();
                }
            }
            (DiskOrder::PutBack, State::Online | State::Recovering) => {}
            (DiskOrder::PutBack, State::ReadOnly | State::Draining) => drop(slot.note(Event::PutBack, now)),
            (DiskOrder::PutBack | DiskOrder::Format, State::Failed) => {
                slot.note(Event::Opened, now);
                let doing = if order == DiskOrder::Format { Doing::Format } else { Doing::Open };
                begin(slot, &inner.context, doing);
            }
            (DiskOrder::Format, _) => return not_now("fail it first: a format erases it"),
        }
        Ok(())
    }
}
