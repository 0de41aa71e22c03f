//! What the volumes have, and what they are given.
//!
//! Promises
//! - Nothing here waits for a volume longer than its deadline, and nothing for a write.
//! - What a volume gives is of the version and the purge generation that are wanted, and as long as it must be.
//!
//! Does not know: upstream.

use super::pour::Buffers;
use crate::arena::{Slot, SlotWriter};
use crate::disk::format::META_NO;
use crate::disk::pool::Urgency;
use crate::disk::volume::ReadWant;
use crate::flight::Flight;
use crate::line::Priority;
use crate::meta::Look;
use crate::object::{ChunkKey, ObjName};
use crate::tiers::Tiers;
use antiphon_core::ChunkNo;
use parking_lot::Mutex;
use std::sync::Arc;

impl Tiers {
    /// What volumes remember about an object, as it may be served now.
    pub(super) async fn recall(&self, object: &ObjName) -> Look {
        let key = object.key();
        if self.disks.holds(ChunkKey { obj: key, no: META_NO }).is_none() {
            return Look::Unknown;
        }
        let floor = self.generations.floor(key, &[]).hard;
        let Some((meta, generation)) = self.disks.read_meta(key, floor).await else { return Look::Unknown };
        self.metas.recall(object, meta, generation);
        self.metas.look(key, self.clock.now())
    }

    /// Reads as many chunks of a flight as the volume has that has the first. The rest stays empty.
    pub(super) async fn read_disks(&self, buffers: &mut Buffers) {
        let flight = Arc::clone(&buffers.flight);
        let wants = flight.chunks().map(|no| ReadWant {
            key: ChunkKey { obj: flight.object.key(), no: no.0 },
            ver: flight.view.meta().ver,
            floor: flight.view.floor,
        });
        let urgency = match flight.urgency.priority() {
            Priority::Listener => Urgency::Listener,
            Priority::Prefetch => Urgency::Background,
        };
        let writers = Arc::new(Mutex::new(buffers.take()));
        let sink = {
            let writers = Arc::clone(&writers);
            move |position: usize, bytes: &[u8]| {
                // Another length than the chunk has in its version is not the chunk.
                let fits = |writer: &&mut SlotWriter| writer.slot().len() == bytes.len() as u64;
                if let Some(writer) = writers.lock().get_mut(position).filter(fits) {
                    writer.push(bytes);
                }
            }
        };
        let report = self.disks.read_for(urgency, wants.collect(), sink).await;
        // The sink is not called any more.
        buffers.put_back(std::mem::take(&mut *writers.lock()));
        for outcome in report.wants {
            self.stats.disk_read(outcome);
        }
        buffers.publish();
        if self.may_keep(&flight) {
            let full = buffers.slots(0..flight.chunks().count()).filter(|(_, slot)| slot.is_full());
            full.for_each(|(no, slot)| self.keep(&flight, no, slot));
        }
    }

    /// Offers a chunk to the volumes, and with the first one they take what is known about its object.
    pub(super) fn offer(&self, flight: &Flight, no: ChunkNo, slot: &Arc<Slot>, asked_in: u64) {
        if self.disks.is_none() {
            return;
        }
        let key = ChunkKey { obj: flight.object.key(), no: no.0 };
        let meta = flight.view.meta();
        let Some(bytes) = slot.bytes(0, slot.len() as usize) else { return };
        if self.disks.offer(key, meta.ver, asked_in, &bytes) && flight.view.known.is_news_to_disks() {
            let kept = self.disks.offer_meta(key.obj, asked_in, meta);
            flight.view.known.told_disks(kept);
        }
    }
}
