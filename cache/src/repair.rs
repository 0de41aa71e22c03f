//! Repair: what a volume has lost is brought again before a listener misses it.
//!
//! Scrubbing and reclaim find records whose bytes have changed or cannot be read. Those of objects that are known are
//! given to the volumes again: from memory if it has them, from upstream if not, one after the other, behind all
//! listeners.
//!
//! Promises
//! - At most one repair runs at a time, and [`LOST_MAX`] wait; what is beyond is fetched when it is asked for.
//! - Only what the object still is in the same version is brought.
//!
//! Does not know: how volumes find what they have lost.

use crate::disk::format::META_NO;
use crate::disk::volume::Lost;
use crate::line::Priority;
use crate::meta::Look;
use crate::object::ChunkKey;
use crate::tiers::Tiers;
use antiphon_core::ChunkNo;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;

/// Losses that wait for repair.
const LOST_MAX: usize = 1024;

impl Tiers {
    /// Repairs what the volumes lose from now on, for as long as there are tiers.
    pub fn begin_repairs(self: &Arc<Self>) {
        if self.disks.is_none() {
            return;
        }
        let (report, lost) = mpsc::channel(LOST_MAX);
        self.disks.hear_losses(Box::new(move |losses| {
            for lost in losses {
                // A full queue is no reason to hold up a volume.
                let _ = report.try_send(*lost);
            }
        }));
        self.runtime.spawn(repair_all(Arc::downgrade(self), lost));
    }

    async fn repair(self: &Arc<Self>, lost: Lost) {
        let look = self.metas.look(lost.key.obj, self.clock.now());
        let (Look::Serve(view) | Look::ServeAndAsk(view)) = look else { return };
        if view.meta().ver != lost.ver {
            return;
        }
        if lost.key.no == META_NO {
            // The next chunk that is fetched takes the description along.
            view.known.told_disks(false);
            return;
        }
        let key = ChunkKey { obj: lost.key.obj, no: lost.key.no };
        if let Some(slot) = self.ram.get(key, view.chunks())
            && let Some(bytes) = slot.bytes(0, slot.len() as usize)
        {
            // What counts under a floor was fetched in its generation or later.
            if self.disks.offer(key, lost.ver, view.floor, &bytes) {
                self.stats.repaired();
            }
            return;
        }
        let Some(span) = ChunkNo(key.no).span(view.meta().total_len) else { return };
        let name = view.known.name.clone();
        if let Some(mut seat) = self.board(&name, &view, span, Priority::Prefetch)
            && seat.flight.ended(&mut seat.progress).await.is_ok()
        {
            self.stats.repaired();
        }
    }
}

async fn repair_all(tiers: Weak<Tiers>, mut losses: mpsc::Receiver<Lost>) {
    while let Some(lost) = losses.recv().await {
        let Some(tiers) = tiers.upgrade() else { return };
        tiers.repair(lost).await;
    }
}
