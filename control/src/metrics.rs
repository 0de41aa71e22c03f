//! Counters for whoever is woken at night; the one file that says `prometheus`.
//!
//! Promises
//! - Labels come from fixed sets: endpoints, status classes, codes, tiers. Never a listener, session or token.
//!
//! Does not know: how anything is done.

use crate::policy::Tier;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use std::time::Duration;

/// All figures of one control plane.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    refusals: IntCounterVec,
    plays: IntCounterVec,
    counted: IntCounter,
    licences: IntCounter,
    layout_seconds: Histogram,
    connections: IntGauge,
    handshakes_failed: IntCounter,
}

/// Upper ends of the buckets of answers, seconds.
const SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

impl Metrics {
    /// Figures at zero.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(None, None)?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let requests = counters(
            "control_requests_total",
            "Requests by endpoint and status class. 5xx above a trickle: read the log for \"request failed\", it \
             names what is away (database, origin, keys). 4xx alone are clients.",
            &["endpoint", "status"],
        )?;
        let refusals = counters(
            "control_refusals_total",
            "Refused requests by code. token_expired in a trickle is players coming back; a jump of invalid_token \
             on one replica means that it has another data_dir, and so other keys, than the rest.",
            &["code"],
        )?;
        let plays = counters(
            "control_plays_granted_total",
            "Plays granted by tier. Flat while requests grow: look at control_refusals_total.",
            &["tier"],
        )?;
        let counted = counter(
            "control_plays_counted_total",
            "Plays that were heard for 30 s and counted. Far below plays granted: listeners skip, or hear nothing; \
             compare with the edges' error rates.",
        )?;
        let licences = counter(
            "control_licences_total",
            "Licences given. It follows plays granted; far below means that players fail before they ask.",
        )?;
        let handshakes_failed = counter(
            "control_tls_handshakes_failed_total",
            "TLS handshakes that failed or took too long. Scanners cause some; a jump after a certificate change \
             means that clients do not trust it.",
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "control_request_seconds",
                "Time to answer, by endpoint. Slow play or progress: the disk of data_dir. Slow manifest: the origin.",
            )
            .buckets(SECONDS.to_vec()),
            &["endpoint"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let layout_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "control_layout_seconds",
                "Time to have a layout, memory and origin together. The upper buckets are the origin's doing.",
            )
            .buckets(SECONDS.to_vec()),
        )?;
        registry.register(Box::new(layout_seconds.clone()))?;
        let connections = IntGauge::new(
            "control_connections",
            "Open connections of players. At limits.connections_max new ones wait in the kernel.",
        )?;
        registry.register(Box::new(connections.clone()))?;
        Ok(Self {
            registry,
            requests,
            seconds,
            refusals,
            plays,
            counted,
            licences,
            layout_seconds,
            connections,
            handshakes_failed,
        })
    }

    /// One request was answered.
    pub fn answered(&self, endpoint: &'static str, status: u16, code: Option<&'static str>, took: Duration) {
        let class = match status {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        self.requests.with_label_values(&[endpoint, class]).inc();
        self.seconds.with_label_values(&[endpoint]).observe(took.as_secs_f64());
        if let Some(code) = code {
            self.refusals.with_label_values(&[code]).inc();
        }
    }

    /// A play was granted.
    pub fn play_granted(&self, tier: Tier) {
        self.plays.with_label_values(&[tier.name()]).inc();
    }

    /// A play was counted.
    pub fn play_counted(&self) {
        self.counted.inc();
    }

    /// A licence was given.
    pub fn licence_given(&self) {
        self.licences.inc();
    }

    /// A layout was had, or not, after this long.
    pub fn layout_waited(&self, took: Duration) {
        self.layout_seconds.observe(took.as_secs_f64());
    }

    /// A connection was opened.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// A connection was closed.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// A handshake failed.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// All figures in Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
