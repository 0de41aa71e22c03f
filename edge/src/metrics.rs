//! The edge's counters: one table, help texts for three in the morning.
//!
//! Promises
//! - Every label comes from a fixed set: nothing a client sends can add a time series.
//!
//! Does not know: who reads it.

mod volumes;

use crate::request::Proto;
use antiphon_cache::disk::set::DiskStatus;
use antiphon_cache::{Source, Stats};
use http::StatusCode;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::time::Duration;
use volumes::VolumeGauges;

/// All counters of one edge.
pub struct Metrics {
    registry: Registry,
    /// Resolved once: a hot request pays an addition, not a lookup.
    requests: [[IntCounter; CLASSES.len()]; Proto::ALL.len()],
    ttfb: [Histogram; SOURCES.len()],
    bytes: [IntCounter; SOURCES.len()],
    pub(crate) refusals: IntCounterVec,
    pub(crate) cut_client: IntCounter,
    pub(crate) cut_upstream: IntCounter,
    pub(crate) connections: IntGaugeVec,
    pub(crate) turned_away: IntCounterVec,
    pub(crate) handshakes_failed: IntCounterVec,
    pub(crate) upstream_fetches: IntCounterVec,
    pub(crate) upstream_retries: IntCounter,
    pub(crate) upstream_busy: IntGauge,
    pub(crate) upstream_ttfb: Histogram,
    cache: CacheGauges,
    volumes: VolumeGauges,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const SOURCES: [Source; 7] = [
    Source::Ram,
    Source::Ssd,
    Source::Hdd,
    Source::Flight,
    Source::Upstream,
    Source::Stale,
    Source::Negative,
];
/// Seconds. The promise is music within 0.2 s, so that is where the steps are close.
const TTFB_STEPS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 5.0];

/// The label of a source.
pub(crate) const fn source_name(source: Source) -> &'static str {
    match source {
        Source::Ram => "ram",
        Source::Ssd => "ssd",
        Source::Hdd => "hdd",
        Source::Flight => "flight",
        Source::Upstream => "upstream",
        Source::Stale => "stale",
        Source::Negative => "negative",
    }
}

const fn source_index(source: Source) -> usize {
    match source {
        Source::Ram => 0,
        Source::Ssd => 1,
        Source::Hdd => 2,
        Source::Flight => 3,
        Source::Upstream => 4,
        Source::Stale => 5,
        Source::Negative => 6,
    }
}

/// The state of the cache, copied in when somebody looks.
struct CacheGauges {
    answers: IntCounterVec,
    fetches: IntCounter,
    fetch_failures: IntCounter,
    fetched_bytes: IntCounter,
    evictions: IntCounter,
    abandoned: IntCounter,
    revalidations: IntCounter,
    purges: IntCounter,
    disk_reads: IntCounterVec,
    repairs: IntCounter,
    flights: IntGauge,
    line: IntGaugeVec,
    resident_chunks: IntGauge,
    bytes: IntGaugeVec,
}

impl Metrics {
    /// The table. Fails only if two entries share a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let table = Table { registry: &registry };
        let requests = table.counters(
            "edge_requests_total",
            "Requests answered, by protocol and status class. 5xx is the origin or us, never the listener: look at edge_upstream_fetches_total next. 4xx is explained by edge_refusals_total.",
            &["proto", "class"],
        )?;
        let ttfb = table.histograms(
            "edge_ttfb_seconds",
            "Time until an answer could begin, by where its first bytes came from. ram above 5 ms means the CPU is busy; upstream above 0.2 s means listeners wait for the origin.",
            &["source"],
        )?;
        let bytes = table.counters(
            "edge_bytes_total",
            "Body bytes sent to listeners, by where they came from. The share of upstream is what the origin pays for.",
            &["source"],
        )?;
        let cut = table.counters(
            "edge_answers_cut_total",
            "Answers that ended before their last byte. client: a listener skipped or lost the network, normal. upstream: the origin failed in the middle of a body; the log has the reason.",
            &["by"],
        )?;
        Ok(Self {
            requests: Proto::ALL.map(|proto| CLASSES.map(|class| requests.with_label_values(&[proto.name(), class]))),
            ttfb: SOURCES.map(|source| ttfb.with_label_values(&[source_name(source)])),
            bytes: SOURCES.map(|source| bytes.with_label_values(&[source_name(source)])),
            cut_client: cut.with_label_values(&["client"]),
            cut_upstream: cut.with_label_values(&["upstream"]),
            refusals: table.counters(
                "edge_refusals_total",
                "Requests refused, by reason. A trickle of expired is paused players coming back; a jump on one host and nowhere else means its clock has drifted: check time synchronisation before the signer. unknown_key after a key rotation means url-keys.json did not reach this host. bad_mac in bulk is somebody guessing.",
                &["reason"],
            )?,
            connections: table.gauges(
                "edge_connections",
                "Connections open now, by transport.",
                &["transport"],
            )?,
            turned_away: table.counters(
                "edge_connections_turned_away_total",
                "Connections closed before a request because a limit was reached. node: raise limits.connections_max or add hosts. address: one address is greedy, or many listeners share it (carrier NAT): raise limits.connections_per_address_max.",
                &["limit"],
            )?,
            handshakes_failed: table.counters(
                "edge_handshakes_failed_total",
                "TLS or QUIC handshakes that did not complete. A steady trickle is scanners; a jump after a certificate change means clients do not trust it.",
                &["transport"],
            )?,
            upstream_fetches: table.counters(
                "edge_upstream_fetches_total",
                "Requests to the origin by outcome. unreachable or timed_out: is the origin up, and the network? refused 401: the shared secret differs. malformed: the origin breaks the protocol, nothing of it was served.",
                &["outcome"],
            )?,
            upstream_retries: table.counter(
                "edge_upstream_retries_total",
                "Requests to the origin that were made a second time. More than a few percent of the fetches means connections to the origin break.",
            )?,
            upstream_busy: table.gauge(
                "edge_upstream_busy",
                "Requests to the origin under way now. At upstream.concurrency_max further misses wait in line.",
            )?,
            upstream_ttfb: table.histogram(
                "edge_upstream_ttfb_seconds",
                "Time until the origin's answer began, waiting in line included.",
            )?,
            cache: CacheGauges::new(&table)?,
            volumes: VolumeGauges::new(&table)?,
            registry,
        })
    }

    /// Counts an answer at the moment it can begin.
    pub(crate) fn answered(&self, proto: Proto, status: StatusCode, source: Option<Source>, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1);
        self.requests[proto.index()][class].inc();
        if let Some(source) = source {
            self.ttfb[source_index(source)].observe(took.as_secs_f64());
        }
    }

    /// Counts body bytes that went out.
    pub(crate) fn sent(&self, source: Source, bytes: u64) {
        self.bytes[source_index(source)].inc_by(bytes);
    }

    /// All counters as Prometheus reads them (text format 0.0.4).
    pub fn render(&self, cache: &Stats, volumes: &[DiskStatus]) -> Result<String, prometheus::Error> {
        self.cache.update(cache);
        self.volumes.update(volumes);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl CacheGauges {
    fn new(table: &Table<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            answers: table.counters(
                "edge_cache_answers_total",
                "Questions to the cache by how they began. hit: memory; ssd, hdd: a volume; follow: another listener's fetch or read; miss: a fetch of its own; stale: past its time, because the origin was being asked or is in trouble; negative: a remembered 404; failure: no bytes at all.",
                &["how"],
            )?,
            fetches: table.counter("edge_cache_fetches_total", "Fetches the cache began.")?,
            fetch_failures: table.counter("edge_cache_fetch_failures_total", "Fetches that gave nothing usable.")?,
            fetched_bytes: table.counter("edge_cache_fetched_bytes_total", "Bytes received from the origin.")?,
            evictions: table.counter(
                "edge_cache_evictions_total",
                "Chunks that made room for others. Close to the rate of fetched chunks, the memory is full and works; give it more if the hit rate is low.",
            )?,
            abandoned: table.counter(
                "edge_cache_fetches_abandoned_total",
                "Fetches given up two seconds after the last listener had left. Skipping does that; a jump means listeners give up waiting.",
            )?,
            revalidations: table.counter(
                "edge_cache_revalidations_total",
                "Questions to the origin whether an object has changed. Many means its max-age is short.",
            )?,
            purges: table.counter("edge_cache_purges_total", "Purges, whatever their size.")?,
            disk_reads: table.counters(
                "edge_cache_disk_reads_total",
                "Chunks that a volume seemed to have, by what came of it. All but read cost a fetch. missing: given up, purged or replaced meanwhile, normal. corrupt: the disk changed bytes, look at edge_cache_volume_* for which. failed: errors, the deadline or a full queue.",
                &["outcome"],
            )?,
            repairs: table.counter(
                "edge_cache_repairs_total",
                "Chunks that scrubbing found damaged and that were brought again before anybody asked.",
            )?,
            line: table.gauges(
                "edge_cache_line",
                "Fetches at the origin (busy) and in line for it (waiting) now. Waiting for long: raise cache.fetches_max, or the origin is slow.",
                &["what"],
            )?,
            flights: table.gauge("edge_cache_flights", "Fetches and reads of volumes under way now.")?,
            resident_chunks: table.gauge("edge_cache_resident_chunks", "Chunks in memory now.")?,
            bytes: table.gauges(
                "edge_cache_bytes",
                "Memory for chunks. used counts what is resident, in flight, and still being sent; at capacity new fetches wait, then fail with 503.",
                &["what"],
            )?,
        })
    }

    fn update(&self, now: &Stats) {
        for (how, total) in [
            ("hit", now.hits),
            ("ssd", now.ssd_hits),
            ("hdd", now.hdd_hits),
            ("stale", now.stale),
            ("follow", now.follows),
            ("miss", now.misses),
            ("negative", now.negative_hits),
            ("failure", now.failures),
        ] {
            raise(&self.answers.with_label_values(&[how]), total);
        }
        raise(&self.fetches, now.fetches);
        raise(&self.fetch_failures, now.fetch_failures);
        raise(&self.fetched_bytes, now.fetched_bytes);
        raise(&self.evictions, now.evictions);
        raise(&self.abandoned, now.abandoned);
        raise(&self.revalidations, now.revalidations);
        raise(&self.purges, now.purges);
        raise(&self.repairs, now.repairs);
        for (outcome, total) in [
            ("read", now.disk_reads),
            ("missing", now.disk_missing),
            ("corrupt", now.disk_corrupt),
            ("failed", now.disk_failed),
        ] {
            raise(&self.disk_reads.with_label_values(&[outcome]), total);
        }
        for (what, length) in [("busy", now.fetching), ("waiting", now.queued)] {
            self.line.with_label_values(&[what]).set(signed(length));
        }
        self.flights.set(signed(now.flights));
        self.resident_chunks.set(signed(now.resident_chunks));
        for (what, bytes) in
            [("resident", now.resident_bytes), ("used", now.used_bytes), ("capacity", now.capacity_bytes)]
        {
            self.bytes.with_label_values(&[what]).set(signed(bytes));
        }
    }
}

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Declares entries and registers them.
struct Table<'a> {
    registry: &'a Registry,
}

impl Table<'_> {
    fn add<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        entry: C,
    ) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(entry.clone()))?;
        Ok(entry)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(TTFB_STEPS.to_vec()))?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(TTFB_STEPS.to_vec()), labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_prints_and_counters_from_the_cache_only_rise() {
        let metrics = Metrics::new().unwrap();
        metrics.answered(Proto::H2, StatusCode::PARTIAL_CONTENT, Some(Source::Ram), Duration::from_millis(1));
        let first = metrics.render(&Stats { hits: 5, ..Stats::default() }, &[]).unwrap();
        assert!(first.contains("edge_requests_total{class=\"2xx\",proto=\"h2\"} 1"));
        assert!(first.contains("edge_cache_answers_total{how=\"hit\"} 5"));
        let second = metrics.render(&Stats { hits: 7, ..Stats::default() }, &[]).unwrap();
        assert!(second.contains("edge_cache_answers_total{how=\"hit\"} 7"));
    }
}
