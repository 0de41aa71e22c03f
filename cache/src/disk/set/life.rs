//! The life of a volume on its own thread: opened, listed, then written to until it fails or the node stops.
//!
//! Promises
//! - What the volume remembers of purges is told before anybody finds a chunk of it, and what it has missed is
//!   written to it.
//! - A panic in here takes the volume out, not the node.
//!
//! Does not know: listeners. Everything here blocks.

use super::opening::AnyError;
use super::slot::{Live, Slot};
use super::{Context, Doing};
use crate::config::Class;
use crate::disk::format::{PurgeRecord, PurgeScope};
use crate::disk::health::{Event, State};
use crate::disk::os::OpenMediumError;
use crate::disk::pool::{Next, Pool, Worker};
use crate::disk::volume::{Did, Volume, VolumeError};
use antiphon_core::chain;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where a life is.
enum Stage {
    Open,
    Recover(Volume),
    Work(Volume),
}

/// One life.
struct Life {
    slot: Arc<Slot>,
    context: Arc<Context>,
    number: u64,
    doing: Doing,
    stage: Stage,
    /// Times that the medium was found locked.
    locked: u32,
}

/// The writer looks for work this often even if nobody wakes it: scrubbing and ageing go on.
const IDLE: Duration = Duration::from_millis(250);
/// After an error of the disk it pauses.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// A lock may still be held by threads of an earlier life that are about to end.
const LOCKED_MAX: u32 = 30;
const LOCKED_PAUSE: Duration = Duration::from_millis(100);

/// Starts a thread that brings the volume of `slot` to life.
pub(super) fn begin(slot: &Arc<Slot>, context: &Arc<Context>, doing: Doing) {
    let number = slot.begin_life();
    let (place, around) = (Arc::clone(slot), Arc::clone(context));
    let mut life = Life { slot: place, context: around, number, doing, stage: Stage::Open, locked: 0 };
    match Worker::start(&format!("disk-{}", slot.name), move || life.step()) {
        Ok(worker) => slot.employ(worker),
        Err(error) => {
            slot.failed(Event::OpenFailed, &error, context.now());
        }
    }
}

impl Life {
    fn step(&mut self) -> Next {
        if !self.slot.is_life(self.number) {
            return Next::End;
        }
        catch_unwind(AssertUnwindSafe(|| self.advance())).unwrap_or_else(|_| {
            *self.slot.last_error.lock() = Some("a fault of ours: its writer panicked".to_owned());
            self.slot.note(Event::Broken, self.context.now());
            Next::End
        })
    }

    fn advance(&mut self) -> Next {
        match &self.stage {
            Stage::Open => match self.open() {
                Ok(Some(volume)) => {
                    self.stage = Stage::Recover(volume);
                    Next::Again
                }
                Ok(None) => Next::End,
                Err(error) if is_locked(&error) && self.locked < LOCKED_MAX => {
                    self.locked += 1;
                    Next::Wait(LOCKED_PAUSE)
                }
                Err(error) => {
                    self.slot.failed(Event::OpenFailed, error.as_ref(), self.context.now());
                    self.context.opened();
                    Next::End
                }
            },
            Stage::Recover(volume) => self.recover(volume.clone()),
            Stage::Work(volume) => self.work(&volume.clone()),
        }
    }

    /// Opens the volume and puts it into its place; `None` if nobody wants it any more.
    fn open(&self) -> Result<Option<Volume>, AnyError> {
        let Self { slot, context, .. } = self;
        let (volume, medium) = context.open(&slot.config_now(), self.doing)?;
        context.learned(&volume.purges());
        pay(slot, &volume)?;
        if slot.config.class == Class::Ssd {
            volume.hand_evicted_to(context.next_tier());
        }
        volume.set_admission(context.admission());
        let threads = slot.config.io_threads as usize;
        let pool = Pool::open(&format!("read-{}", slot.name), threads, slot.config.io_queue_max as usize)?;
        let installed = slot.install(self.number, Live { volume: volume.clone(), medium, pool });
        if installed {
            // Those of the moments in which it was told what it owed and not yet in its place.
            pay(slot, &volume)?;
        }
        context.opened();
        Ok(installed.then_some(volume))
    }

    fn recover(&mut self, volume: Volume) -> Next {
        let slot = Arc::clone(&self.slot);
        match volume.recover(&move |progress| *slot.progress.lock() = Some(progress)) {
            Ok(_) => {
                self.slot.note(Event::Recovered, self.context.now());
                self.stage = Stage::Work(volume);
                Next::Again
            }
            Err(error) => {
                self.slot.failed(Event::OpenFailed, &error, self.context.now());
                Next::End
            }
        }
    }

    fn work(&self, volume: &Volume) -> Next {
        if self.slot.closing.load(Ordering::Acquire) {
            if let Err(error) = volume.close(self.context.millis()) {
                *self.slot.last_error.lock() = Some(chain(&error));
            }
            self.slot.closed.notify_one();
            return Next::End;
        }
        if self.slot.health(|health| health.state() == State::ReadOnly) {
            return Next::Wait(IDLE);
        }
        match volume.work(self.context.millis()) {
            Ok(worked) => {
                self.context.lost(&worked.lost);
                if worked.did == Did::Nothing { Next::Wait(IDLE) } else { Next::Again }
            }
            Err(error) => {
                note_error(&self.slot, &error, self.context.now());
                Next::Wait(AFTER_ERROR)
            }
        }
    }
}

fn is_locked(error: &AnyError) -> bool {
    matches!(error.downcast_ref(), Some(OpenMediumError::Locked { .. }))
}

/// Takes note of what an operation of the volume failed by.
pub(super) fn note_error(slot: &Slot, error: &VolumeError, now: Duration) {
    if let Some(failure) = error.failure() {
        slot.failed(Event::Fault(failure), error, now);
    }
}

/// Tells `volume` what is owed to it, until nothing is. Purges that come meanwhile do not wait for the disk.
fn pay(slot: &Slot, volume: &Volume) -> Result<(), VolumeError> {
    loop {
        let owed = slot.owed.lock().clone();
        if owed.is_empty() {
            return Ok(());
        }
        catch_up(volume, &owed)?;
        slot.owed.lock().retain(|record| !owed.contains(record));
    }
}

/// Tells `volume` those of `owed` that it does not know yet.
pub(super) fn catch_up(volume: &Volume, owed: &[PurgeRecord]) -> Result<(), VolumeError> {
    let name = |record: &PurgeRecord| (record.generation, record.scope);
    let known: HashSet<(u64, PurgeScope)> = volume.purges().iter().map(name).collect();
    let missed = owed.iter().filter(|record| !known.contains(&name(record)));
    missed.copied().try_for_each(|record| volume.purge(record))
}
