//! What the index of a volume costs: bytes for a chunk, and the longest one insert takes, beside a hash map's.
//!
//! Time is CPU time of the thread, the clock's own included: what else runs on the machine does not count.
//!
//! `cargo run --release -p antiphon-bench --bin index`

#![expect(clippy::print_stdout, reason = "results are what this program is for")]

use antiphon_bench::table::{self, Samples};
use antiphon_bench::trace::chance::Chance;
use antiphon_cache::disk::index::{Index, Marks, Place};
use antiphon_cache::{ChunkKey, ObjKey};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::time::Duration;

/// Fill an index and a hash map, insert by insert.
#[derive(Parser)]
struct Arguments {
    /// Chunks: 16 million are 4 TB.
    #[arg(long, default_value_t = 16_000_000)]
    chunks: u32,
    /// Times.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// What one filling came to.
struct Filled {
    bytes: f64,
    mean_ns: f64,
    worst: Duration,
    evicted: u64,
}

fn main() {
    let Arguments { chunks, rounds } = Arguments::parse();
    let mut rows = vec![
        ["table", "bytes per chunk", "mean insert ns", "worst insert ms", "evicted"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, fill) in [("index", index as fn(u32, u64) -> Filled), ("HashMap", map), ("nothing", nothing)] {
        let (mut mean, mut worst) = (Samples::default(), Samples::default());
        let (mut bytes, mut evicted) = (0.0, 0);
        for round in 0..rounds {
            let filled = fill(chunks, u64::from(round));
            mean.push(filled.mean_ns);
            worst.push(filled.worst.as_secs_f64() * 1e3);
            bytes = filled.bytes;
            evicted += filled.evicted;
        }
        let bytes = format!("{bytes:.1}");
        rows.push(vec![name.to_owned(), bytes, mean.to_string(), worst.to_string(), evicted.to_string()]);
    }
    println!("{chunks} chunks, {rounds} rounds, median (least-most):\n");
    table::print(&rows);
}

fn key(chance: &mut Chance) -> ChunkKey {
    let mut obj = [0; 16];
    obj[..8].copy_from_slice(&chance.word().to_le_bytes());
    obj[8..].copy_from_slice(&chance.word().to_le_bytes());
    ChunkKey { obj: ObjKey::from_bytes(obj), no: chance.word() as u32 & 15 }
}

fn place(no: u32) -> Place {
    Place { segment: no / 1008, page: (no % 1008) as u16 * 65 + 1, pages: 65 }
}

fn index(chunks: u32, seed: u64) -> Filled {
    let index = Index::new(chunks as usize, seed);
    let mut evicted = 0;
    let (mean_ns, worst) = fill(chunks, seed, |key, place| {
        evicted += u64::from(index.insert(key, place, Marks::default()).is_some());
    });
    Filled { bytes: index.bytes() as f64 / f64::from(chunks), mean_ns, worst, evicted }
}

fn map(chunks: u32, seed: u64) -> Filled {
    let mut map = HashMap::new();
    let (mean_ns, worst) = fill(chunks, seed, |key, place| {
        map.insert(key, place);
    });
    // Its table has room for eight sevenths of the capacity, and a byte of control for each.
    let slots = map.capacity() as f64 * 8.0 / 7.0;
    let bytes = slots * (size_of::<(ChunkKey, Place)>() + 1) as f64 / f64::from(chunks);
    Filled { bytes, mean_ns, worst, evicted: 0 }
}

/// What the machine alone does to the worst of so many.
fn nothing(chunks: u32, seed: u64) -> Filled {
    let (mean_ns, worst) = fill(chunks, seed, |key, place| {
        std::hint::black_box((key, place));
    });
    Filled { bytes: 0.0, mean_ns, worst, evicted: 0 }
}

/// Mean nanoseconds and the longest insert.
fn fill(chunks: u32, seed: u64, mut insert: impl FnMut(ChunkKey, Place)) -> (f64, Duration) {
    let mut chance = Chance::new(seed);
    let (mut worst, mut total) = (Duration::ZERO, Duration::ZERO);
    for no in 0..chunks {
        let key = key(&mut chance);
        let before = cpu();
        insert(key, place(no));
        let took = cpu() - before;
        worst = worst.max(took);
        total += took;
    }
    (total.as_nanos() as f64 / f64::from(chunks), worst)
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
