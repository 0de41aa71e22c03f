//! Purges, on every disk that takes them.
//!
//! Promises
//! - `Ok` means that at least one disk has the purge durably. A disk that was out, or refused, is told before its
//!   chunks are found again.
//! - What a disk remembers is told to the tiers before its chunks are found.
//!
//! Does not know: which objects a purge hits.

use super::life::{catch_up, note_error};
use super::slot::{OWED_MAX, Slot};
use super::{Context, Disks, Inner};
use crate::disk::format::{PurgeRecord, PurgeScope};
use crate::disk::pool::Urgency;
use futures_util::future::join_all;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Hears of purges that a volume remembers, before anything on that volume can be found.
pub type PurgeHook = Box<dyn Fn(&[PurgeRecord]) + Send + Sync>;

/// Why a purge is not durable. It holds until the node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// No disk could write it down.
    #[error("none of {volumes} volumes could write the purge down; it holds until this node stops")]
    NotDurable {
        /// Volumes in the configuration.
        volumes: usize,
    },
}

/// What volumes remember of purges.
#[derive(Default)]
pub(super) struct Learned {
    records: Vec<PurgeRecord>,
    hook: Option<PurgeHook>,
}

/// A disk that does not write a purge down in this time is told again later.
const PURGE_WAIT: Duration = Duration::from_secs(5);

impl Disks {
    /// Writes a purge down on every volume that takes it. `Ok` if there is no volume at all.
    pub async fn purge(&self, record: PurgeRecord) -> Result<(), PurgeError> {
        let inner = &self.inner;
        let written = join_all(inner.slots.iter().map(|slot| inner.purge_one(slot, record))).await;
        if inner.slots.is_empty() || written.contains(&true) {
            return Ok(());
        }
        Err(PurgeError::NotDurable { volumes: inner.slots.len() })
    }

    /// Every purge that the volumes opened so far remember.
    pub fn purges(&self) -> Vec<PurgeRecord> {
        self.inner.context.purged.lock().records.clone()
    }

    /// Has `hook` told what volumes remember of purges: at once what is known, and later what a volume that is put
    /// back brings, before its chunks are found.
    pub fn hear_purges(&self, hook: PurgeHook) {
        let mut learned = self.inner.context.purged.lock();
        hook(&learned.records);
        learned.hook = Some(hook);
    }
}

impl Inner {
    /// Whether the volume in `slot` has it durably.
    async fn purge_one(&self, slot: &Arc<Slot>, record: PurgeRecord) -> bool {
        let Some(live) = slot.live() else {
            owe(slot, record);
            return false;
        };
        let (volume, place, context) = (live.volume.clone(), Arc::clone(slot), Arc::clone(&self.context));
        let job = move || {
            let written = volume.purge(record);
            if let Err(error) = &written {
                note_error(&place, error, context.now());
            }
            written.is_ok()
        };
        let written = live.pool.run(Urgency::Listener, PURGE_WAIT, job).await == Ok(true);
        if !written {
            owe(slot, record);
        }
        written
    }

    /// Tells each volume what only others remember: a disk that is left alone later must not bring back the purged.
    pub(super) fn share_purges(&self) {
        let all = self.context.purged.lock().records.clone();
        for slot in self.slots.iter().filter(|_| !all.is_empty()) {
            let Some(live) = slot.live() else { continue };
            let (volume, place, context) = (live.volume.clone(), Arc::clone(slot), Arc::clone(&self.context));
            let all = all.clone();
            // Refused only by a pool that has just ended: its volume is told when it is put back.
            let _ = live.pool.submit(Urgency::Background, move || {
                if let Err(error) = catch_up(&volume, &all) {
                    note_error(&place, &error, context.now());
                }
            });
        }
    }
}

impl Context {
    /// A volume remembers these.
    pub fn learned(&self, records: &[PurgeRecord]) {
        let mut learned = self.purged.lock();
        let known: HashSet<(u64, PurgeScope)> =
            learned.records.iter().map(|record| (record.generation, record.scope)).collect();
        let new: Vec<PurgeRecord> = records
            .iter()
            .filter(|record| !known.contains(&(record.generation, record.scope)))
            .copied()
            .collect();
        if let Some(hook) = &learned.hook {
            hook(&new);
        }
        learned.records.extend(new);
    }
}

/// Keeps `record` for a volume that did not take it.
fn owe(slot: &Slot, record: PurgeRecord) {
    let mut owed = slot.owed.lock();
    if owed.len() < OWED_MAX {
        owed.push(record);
        return;
    }
    // More than is worth remembering: everything before is purged. Nothing can be served too long by that.
    let generation = owed.iter().map(|owed| owed.generation).max().unwrap_or(0).max(record.generation);
    *owed = vec![PurgeRecord { generation, soft: false, scope: PurgeScope::Everything, ..record }];
}
