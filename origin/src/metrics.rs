//! What the origin counts. Help texts are for whoever is woken by a number.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// All counters of one origin.
pub struct Metrics {
    registry: Registry,
    /// Answers by status.
    pub answers: IntCounterVec,
    /// Refusals and failures by reason.
    pub refused: IntCounterVec,
    /// Sealed objects that did not open.
    pub damaged: IntCounter,
    /// Body bytes handed to connections.
    pub sent_bytes: IntCounter,
    /// Answers with a body under way.
    pub under_way: IntGauge,
    /// Answers broken off in the middle.
    pub broken_off: IntCounterVec,
    /// Time to read and encrypt one piece.
    pub piece_seconds: Histogram,
    /// Connections of edges open.
    pub connections: IntGauge,
    /// Connections of operators open.
    pub admin_connections: IntGauge,
}

impl Metrics {
    /// Fresh counters, all at 0.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            answers: IntCounterVec::new(
                Opts::new("origin_answers_total", "Answers by status. 4xx is the edges' doing, 5xx is ours or the store's."),
                &["status"],
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    "origin_refused_total",
                    "Requests not answered with bytes, by reason. `epoch` in a trickle is prefetch running ahead; a jump of \
                     `unauthorised` is an edge with an old secret; `no_masters` means keyring.json lacks the present epoch.",
                ),
                &["reason"],
            )?,
            damaged: IntCounter::new(
                "origin_sealed_damaged_total",
                "Stored objects whose seal does not match: bit rot, a mixed-up restore or forgery. No byte of them was \
                 served. The log names the object; ingest its source again.",
            )?,
            sent_bytes: IntCounter::new("origin_sent_bytes_total", "Body bytes handed to connections.")?,
            under_way: IntGauge::new(
                "origin_answers_under_way",
                "Answers with a body under way. At serve.concurrent_max the next edge hears 503.",
            )?,
            broken_off: IntCounterVec::new(
                Opts::new(
                    "origin_broken_off_total",
                    "Answers broken off after their head was sent: `slow` readers took longer than serve.slow_reader_ms, \
                     `failed` could not be read to the end (the log says why), `left` is an edge that hung up.",
                ),
                &["why"],
            )?,
            piece_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "origin_piece_seconds",
                    "Time to read and encrypt one piece of at most 1 MiB. The store's latency, nearly all of it.",
                )
                .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]),
            )?,
            connections: IntGauge::new("origin_connections", "Connections of edges open now.")?,
            admin_connections: IntGauge::new("origin_admin_connections", "Connections of operators open now.")?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let Self {
            registry,
            answers,
            refused,
            damaged,
            sent_bytes,
            under_way,
            broken_off,
            piece_seconds,
            ..
        } = self;
        registry.register(Box::new(answers.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(damaged.clone()))?;
        registry.register(Box::new(sent_bytes.clone()))?;
        registry.register(Box::new(under_way.clone()))?;
        registry.register(Box::new(broken_off.clone()))?;
        registry.register(Box::new(piece_seconds.clone()))?;
        registry.register(Box::new(self.connections.clone()))?;
        registry.register(Box::new(self.admin_connections.clone()))
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(error = &error as &dyn std::error::Error, "render metrics");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
