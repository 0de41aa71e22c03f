//! How the volumes are, for those who look after them.

use super::slot::{Live, Slot};
use super::{Disks, Inner};
use crate::config::Class;
use crate::disk::health::{Cause, State};
use crate::disk::volume::{Progress, VolumeStats};
use antiphon_core::ByteSize;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a volume is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiskStatus {
    /// Its name in commands, metrics and the log.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// What kind of disk it is on.
    pub class: Class,
    /// What it may be used for.
    pub state: State,
    /// Why it is in its state, if for a bad reason.
    pub cause: Option<Cause>,
    /// Seconds since it entered its state.
    pub state_secs: u64,
    /// Whether requests go around it because an operation does not return.
    pub bypassed: bool,
    /// What failed last, if anything has since the start.
    pub last_error: Option<String>,
    /// I/O errors within the last minute; five take it out.
    pub errors_last_minute: usize,
    /// Operations that failed, since the start.
    pub errors: u64,
    /// Reads given up at the deadline, since the start.
    pub late: u64,
    /// Reads refused because the queue was full, since the start.
    pub crowded: u64,
    /// Reads waiting for a thread now.
    pub queued: usize,
    /// Purges that it has yet to be told.
    pub purges_owed: usize,
    /// How far its recovery is, or was when it ended.
    pub recovery: Option<Progress>,
    /// What works, but not as it should.
    pub remarks: Vec<String>,
    /// What the volume itself counts; none while it is out.
    pub stats: Option<VolumeStats>,
}

impl Disks {
    /// How each volume is, in the order of the configuration. Takes no disk's time.
    pub fn status(&self) -> Vec<DiskStatus> {
        self.inner.slots.iter().map(|slot| self.inner.status(slot)).collect()
    }
}

impl Inner {
    fn status(&self, slot: &Slot) -> DiskStatus {
        let now = self.context.now();
        let live = slot.live();
        let stats = live.as_ref().map(|live| live.volume.stats());
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (state, cause, lasting, bypassed, errors_last_minute) = slot.health(|health| {
            (health.state(), health.cause(), health.lasting(now), health.is_bypassed(), health.errors(now))
        });
        DiskStatus {
            name: slot.name.clone(),
            dir: slot.config.dir.clone(),
            class: slot.config.class,
            state,
            cause,
            state_secs: lasting.as_secs(),
            bypassed,
            last_error: slot.last_error.lock().clone(),
            errors_last_minute,
            errors: read(&slot.counters.errors),
            late: read(&slot.counters.late),
            crowded: read(&slot.counters.crowded),
            queued: live.as_ref().map_or(0, |live| live.pool.queued()),
            purges_owed: slot.owed.lock().len(),
            recovery: *slot.progress.lock(),
            remarks: live.iter().zip(&stats).flat_map(|(live, stats)| remarks(slot, live, stats)).collect(),
            stats,
        }
    }
}

/// What the medium says, and whether the volume is another one than the configuration speaks of.
fn remarks(slot: &Slot, live: &Live, stats: &VolumeStats) -> Vec<String> {
    let mut remarks = live.medium.remarks();
    let segment = live.volume.geometry().segment_len();
    let (made, asked) = (stats.capacity_bytes, slot.config.capacity_bytes.0);
    let other_size = asked > 0 && asked / segment != made / segment;
    if other_size || segment != slot.config.segment_bytes.0 {
        let (made, segment) = (ByteSize(made), ByteSize(segment));
        remarks.push(format!(
            "it was made with {made} in segments of {segment}, the configuration says otherwise: format it to change that"
        ));
    }
    remarks
}
