//! Replays listening through the policies of the tiers, with LRU, S3-FIFO and Belady's bound beside them.
//!
//! `cargo run --release -p antiphon-bench --bin simulate` prints the tables of `bench/RESULTS.md`;
//! `-- --curve FILE.svg` draws the hit ratio by size as well.

#![expect(clippy::print_stdout, reason = "results are what this program is for")]

use antiphon_bench::simulation::{POLICIES, Policy, curves, table};
use antiphon_bench::trace::{Terms, Trace};
use antiphon_bench::{curve, table as print};
use anyhow::{Context, Result};
use clap::Parser;
use std::path::PathBuf;

/// Replay listening through the policies of the tiers.
#[derive(Parser)]
struct Arguments {
    /// Chance of the trace.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Songs and accesses as a share of 100,000 and 15 million.
    #[arg(long, default_value_t = 1.0)]
    share: f64,
    /// Share of the catalogue that has 80 % of the plays.
    #[arg(long, default_value_t = Terms::default().popularity.hot_until)]
    hot_until: f64,
    /// Share of the catalogue that has 95 % of the plays.
    #[arg(long, default_value_t = Terms::default().popularity.warm_until)]
    warm_until: f64,
    /// Power of the rank by which plays fall inside the hot band, below 1.
    #[arg(long, default_value_t = Terms::default().popularity.hot_slope)]
    hot_slope: f64,
    /// The same inside the warm band.
    #[arg(long, default_value_t = Terms::default().popularity.warm_slope)]
    warm_slope: f64,
    /// Draw the hit ratio by size into this SVG, of a quarter of the songs and accesses.
    #[arg(long)]
    curve: Option<PathBuf>,
}

/// The curve has nine sizes of five policies: a quarter of the trace is enough, and done in seconds.
const CURVE_SHARE: f64 = 0.25;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let terms = arguments.terms();
    let trace = Trace::new(&terms);
    println!(
        "seed {}: {} accesses to {} chunks by {} plays in {:.0} days",
        terms.seed,
        trace.accesses.len(),
        trace.chunks,
        trace.plays,
        trace.days
    );
    println!("\nMemory, {} chunks:\n", terms.memory_chunks());
    print::print(&table(&[Policy::Lru, Policy::S3Fifo, Policy::Bound], &trace, terms.memory_chunks()));
    println!("\nDisk, {} chunks for 60 TB:\n", terms.disk_chunks());
    print::print(&table(&POLICIES, &trace, terms.disk_chunks()));
    if let Some(file) = arguments.curve {
        let terms = terms.thinned(CURVE_SHARE);
        let curves = curves(&terms, &Trace::new(&terms));
        let lines: Vec<_> = curves.into_iter().map(|(policy, points)| (policy.name(), points)).collect();
        let svg = curve::draw("Bytes found, by size of the tier", &lines);
        std::fs::write(&file, svg).with_context(|| format!("write {}", file.display()))?;
        println!("\nDrawn: {}", file.display());
    }
    Ok(())
}

impl Arguments {
    fn terms(&self) -> Terms {
        let mut terms = Terms { seed: self.seed, ..Terms::default() }.thinned(self.share);
        terms.popularity.hot_until = self.hot_until;
        terms.popularity.warm_until = self.warm_until;
        terms.popularity.hot_slope = self.hot_slope;
        terms.popularity.warm_slope = self.warm_slope;
        terms
    }
}
