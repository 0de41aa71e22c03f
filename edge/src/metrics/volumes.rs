//! The state of the volumes, copied in when somebody looks.
//!
//! Does not know: what is done about it. `docs/cache.md` does.

use super::{Table, signed};
use antiphon_cache::disk::health::State;
use antiphon_cache::disk::set::DiskStatus;
use antiphon_cache::disk::volume::VolumeStats;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

/// One row for each volume; their names come from the configuration.
pub(super) struct VolumeGauges {
    state: IntGaugeVec,
    bypassed: IntGaugeVec,
    errors: IntCounterVec,
    reads: IntCounterVec,
    read_bytes: IntCounterVec,
    queued: IntGaugeVec,
    offers: IntCounterVec,
    written_bytes: IntCounterVec,
    dropped: IntCounterVec,
    lost: IntCounterVec,
    scrubbed_bytes: IntCounterVec,
    reclaimed: IntCounterVec,
    records: IntGaugeVec,
    segments: IntGaugeVec,
    bytes: IntGaugeVec,
    purges_owed: IntGaugeVec,
}

impl VolumeGauges {
    pub fn new(table: &Table<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            state: table.gauges(
                "edge_cache_volume_state",
                "1 for the state a volume is in. failed: it is out, its music comes from the origin; read_only: the disk is full or takes no writes. `antiphon cache inspect` says why, docs/cache.md what to type. Nobody needs to get up for one volume of many.",
                &["volume", "class", "state"],
            )?,
            bypassed: table.gauges(
                "edge_cache_volume_bypassed",
                "1 while requests go around a volume because the disk has not answered for a second. After 30 s it is failed. Look at dmesg and SMART.",
                &["volume"],
            )?,
            errors: table.counters(
                "edge_cache_volume_errors_total",
                "Operations of the disk that failed. Five within a minute take it out. Any at all on an SSD: plan to replace it.",
                &["volume"],
            )?,
            reads: table.counters(
                "edge_cache_volume_reads_total",
                "Chunks asked of a volume, by outcome. late and crowded: the disk is slower than what is asked of it; they went to the origin. corrupt: the bytes had changed, nothing of them was served.",
                &["volume", "outcome"],
            )?,
            read_bytes: table.counters("edge_cache_volume_read_bytes_total", "Bytes given out of a volume.", &["volume"])?,
            queued: table.gauges(
                "edge_cache_volume_queued",
                "Reads that wait for one of the volume's threads now. Near io_queue_max further ones go to the origin.",
                &["volume"],
            )?,
            offers: table.counters(
                "edge_cache_volume_offers_total",
                "Chunks offered to a volume, by what became of them. admission: not wanted often enough, or the write budget (dwpd) is spent; staging and segments: the disk writes too slowly; not_serving: it is recovering or out.",
                &["volume", "outcome"],
            )?,
            written_bytes: table.counters(
                "edge_cache_volume_written_bytes_total",
                "Bytes written to the disk. Per day and divided by the size of the volume this is what dwpd limits.",
                &["volume"],
            )?,
            dropped: table.counters(
                "edge_cache_volume_dropped_total",
                "Chunks that had been taken and could not be written. Rises together with edge_cache_volume_errors_total.",
                &["volume"],
            )?,
            lost: table.counters(
                "edge_cache_volume_lost_total",
                "Stored chunks that turned out damaged (their bytes had changed) or unreadable, found by listeners or by scrubbing. They are fetched again when wanted. More than a few: replace the disk.",
                &["volume", "how"],
            )?,
            scrubbed_bytes: table.counters("edge_cache_volume_scrubbed_bytes_total", "Bytes read to find damage before listeners do.", &["volume"])?,
            reclaimed: table.counters(
                "edge_cache_volume_reclaimed_total",
                "Room made: segments given up, and of their chunks those moved because they are wanted, evicted, or handed on to an hdd volume. moved above evicted means that the volume is too small for what is hot.",
                &["volume", "what"],
            )?,
            records: table.gauges("edge_cache_volume_records", "Chunks and descriptions on a volume now.", &["volume"])?,
            segments: table.gauges(
                "edge_cache_volume_segments",
                "Segments of a volume by what they are. free stays near 3 on a volume that is full, and that is well; at 0 chunks are not taken.",
                &["volume", "what"],
            )?,
            bytes: table.gauges(
                "edge_cache_volume_bytes",
                "capacity on the disk, index in memory, staging: memory that waits to be written.",
                &["volume", "what"],
            )?,
            purges_owed: table.gauges(
                "edge_cache_volume_purges_owed",
                "Purges that a volume could not write down. It is told before it serves again; do not move its disk to another host.",
                &["volume"],
            )?,
        })
    }

    pub fn update(&self, volumes: &[DiskStatus]) {
        for status in volumes {
            self.update_one(status);
        }
    }

    fn update_one(&self, status: &DiskStatus) {
        let name = status.name.as_str();
        for state in State::ALL {
            let is = i64::from(state == status.state);
            self.state.with_label_values(&[name, status.class.name(), state.name()]).set(is);
        }
        self.bypassed.with_label_values(&[name]).set(i64::from(status.bypassed));
        self.queued.with_label_values(&[name]).set(signed(status.queued as u64));
        self.purges_owed.with_label_values(&[name]).set(signed(status.purges_owed as u64));
        follow(&self.errors.with_label_values(&[name]), status.errors);
        follow(&self.reads.with_label_values(&[name, "late"]), status.late);
        follow(&self.reads.with_label_values(&[name, "crowded"]), status.crowded);
        if let Some(stats) = &status.stats {
            self.update_stats(name, stats);
        }
    }

    fn update_stats(&self, name: &str, stats: &VolumeStats) {
        for (outcome, total) in [
            ("read", stats.reads),
            ("missing", stats.missing),
            ("corrupt", stats.corrupt),
            ("failed", stats.failed),
        ] {
            follow(&self.reads.with_label_values(&[name, outcome]), total);
        }
        for (outcome, total) in [
            ("admitted", stats.admitted),
            ("not_serving", stats.refused_not_serving),
            ("admission", stats.refused_admission),
            ("staging", stats.refused_staging),
            ("segments", stats.refused_segments),
            ("length", stats.refused_length),
            ("same", stats.refused_same),
        ] {
            follow(&self.offers.with_label_values(&[name, outcome]), total);
        }
        for (what, total) in [
            ("segments", stats.reclaimed),
            ("moved", stats.moved),
            ("evicted", stats.evicted),
            ("handed_on", stats.handed_on),
        ] {
            follow(&self.reclaimed.with_label_values(&[name, what]), total);
        }
        for (how, total) in [("damaged", stats.damaged), ("unreadable", stats.unreadable)] {
            follow(&self.lost.with_label_values(&[name, how]), total);
        }
        for (counter, total) in [
            (&self.read_bytes, stats.read_bytes),
            (&self.written_bytes, stats.written_bytes),
            (&self.dropped, stats.dropped),
            (&self.scrubbed_bytes, stats.scrubbed_bytes),
        ] {
            follow(&counter.with_label_values(&[name]), total);
        }
        self.records.with_label_values(&[name]).set(signed(stats.records));
        for (what, count) in ["free", "open", "sealed", "draining"].into_iter().zip(stats.segments) {
            self.segments.with_label_values(&[name, what]).set(i64::from(count));
        }
        for (what, bytes) in [
            ("capacity", stats.capacity_bytes),
            ("index", stats.index_bytes),
            ("staging", stats.staging_bytes),
        ] {
            self.bytes.with_label_values(&[name, what]).set(signed(bytes));
        }
    }
}

/// Brings a counter to a total that is counted elsewhere. A volume that was put back counts from 0 again, and so does
/// the counter: that is how Prometheus expects it.
fn follow(counter: &IntCounter, total: u64) {
    if total < counter.get() {
        counter.reset();
    }
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_of_a_volume_that_was_put_back_starts_again() {
        let counter = IntCounter::new("a", "b").unwrap();
        follow(&counter, 5);
        follow(&counter, 5);
        assert_eq!(counter.get(), 5);
        follow(&counter, 2);
        assert_eq!(counter.get(), 2);
    }
}
