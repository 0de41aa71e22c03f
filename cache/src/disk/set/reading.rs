//! Reads, with a deadline and by way of the volume's threads.
//!
//! Promises
//! - A read is answered by its deadline, whatever the disk does; what it brings later is thrown away.
//! - The sink is not called after the read was answered or given up.
//!
//! Does not know: where else the bytes could come from.

use super::Disks;
use super::gate::{Gate, Watch};
use super::life::note_error;
use super::slot::Slot;
use crate::config::Class;
use crate::disk::format::META_NO;
use crate::disk::pool::{PoolError, Urgency};
use crate::disk::volume::{ReadOutcome, ReadWant, VolumeError};
use crate::object::{ChunkKey, ObjKey, ObjMeta};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What became of a chunk that was wanted from the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskRead {
    /// The sink got it.
    Read,
    /// It is not there, or not in this version, or purged.
    Missing,
    /// It was there and its bytes have changed; it is forgotten.
    Corrupt,
    /// The disk failed.
    Failed,
    /// The disk did not answer in time.
    Late,
    /// The disk has more to do than it can.
    Crowded,
}

/// What became of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadReport {
    /// One for each want, in order.
    pub wants: Vec<DiskRead>,
    /// The class of the volume that was asked; none if no volume has the first chunk.
    pub class: Option<Class>,
}

impl Disks {
    /// Reads chunks for a listener and gives each to `sink` with its position, checked whole. One volume is asked:
    /// the one that has the first; chunks that are elsewhere come back as missing.
    pub async fn read(
        &self,
        wants: Vec<ReadWant>,
        sink: impl FnMut(usize, &[u8]) + Send + 'static,
    ) -> ReadReport {
        self.read_for(Urgency::Listener, wants, sink).await
    }

    /// The same for somebody else.
    pub async fn read_for(
        &self,
        urgency: Urgency,
        wants: Vec<ReadWant>,
        mut sink: impl FnMut(usize, &[u8]) + Send + 'static,
    ) -> ReadReport {
        let count = wants.len();
        let Some((slot, live)) = wants.first().and_then(|want| self.inner.holder(want.key)) else {
            return ReadReport { wants: vec![DiskRead::Missing; count], class: None };
        };
        let gate = Gate::new(count);
        let _watch = Watch(Arc::clone(&gate));
        let (volume, place, context) =
            (live.volume.clone(), Arc::clone(slot), Arc::clone(&self.inner.context));
        let through = Arc::clone(&gate);
        let read = live.pool.run(urgency, slot.read_deadline(), move || {
            let outcomes =
                volume.read(&wants, &mut |position, bytes| through.pass(position, || sink(position, bytes)));
            // One read is one error, however many chunks it was for.
            if let Some(error) = outcomes.iter().find_map(failure) {
                note_error(&place, error, context.now());
            }
            outcomes.iter().map(DiskRead::from).collect::<Vec<_>>()
        });
        let wants = match read.await {
            Ok(wants) => wants,
            Err(error) => {
                let rest = slot.gave_up(error);
                gate.shut().into_iter().map(|passed| if passed { DiskRead::Read } else { rest }).collect()
            }
        };
        ReadReport { wants, class: Some(slot.config.class) }
    }

    /// What a volume remembers about an object, fetched at purge generation `floor` or later, with its generation.
    pub async fn read_meta(&self, obj: ObjKey, floor: u64) -> Option<(ObjMeta, u64)> {
        let (slot, live) = self.inner.holder(ChunkKey { obj, no: META_NO })?;
        let (volume, place, context) =
            (live.volume.clone(), Arc::clone(slot), Arc::clone(&self.inner.context));
        let read = live.pool.run(Urgency::Listener, slot.read_deadline(), move || {
            let found = volume.read_meta(obj, floor);
            if let Err(error) = &found {
                note_error(&place, error, context.now());
            }
            found.ok().flatten()
        });
        let found = read.await.map_err(|error| slot.gave_up(error)).ok().flatten()?;
        // What does not parse was written by a version that knew more.
        Some((ObjMeta::decode(&found.bytes).ok()?, found.generation))
    }
}

impl Slot {
    fn read_deadline(&self) -> Duration {
        Duration::from_millis(u64::from(self.config.read_deadline_ms))
    }

    /// Counts a read that the threads did not do, or not in time.
    fn gave_up(&self, error: PoolError) -> DiskRead {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match error {
            PoolError::Late { .. } => {
                count(&self.counters.late);
                DiskRead::Late
            }
            PoolError::Full => {
                count(&self.counters.crowded);
                DiskRead::Crowded
            }
            PoolError::Closed | PoolError::Died => DiskRead::Failed,
        }
    }
}

impl From<&ReadOutcome> for DiskRead {
    fn from(outcome: &ReadOutcome) -> Self {
        match outcome {
            ReadOutcome::Read => Self::Read,
            ReadOutcome::Missing => Self::Missing,
            ReadOutcome::Corrupt => Self::Corrupt,
            ReadOutcome::Failed(_) => Self::Failed,
        }
    }
}

fn failure(outcome: &ReadOutcome) -> Option<&VolumeError> {
    match outcome {
        ReadOutcome::Failed(error) => Some(error),
        ReadOutcome::Read | ReadOutcome::Missing | ReadOutcome::Corrupt => None,
    }
}
