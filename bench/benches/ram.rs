//! The RAM tier beside moka, quick_cache, TinyUFO and foyer, in one run: hit ratio, CPU time of a hit, memory over
//! the bound.
//!
//! `cargo bench -p antiphon-bench --bench ram` prints the tables; `-- hits`, `-- ratio` or `-- churn` one of them.
//!
//! Does not know: upstream, volumes.

#![expect(clippy::print_stdout, reason = "results are what this program is for")]

use antiphon_bench::trace::{Terms, Trace};
use antiphon_cache::memory::Memory;
use antiphon_cache::policy::s3fifo::{Capacity, S3Fifo};
use antiphon_cache::{ChunkKey, ObjName};
use anyhow::{Context, Result};
use bytes::Bytes;
use foyer_memory::{Cache as Foyer, CacheBuilder, CacheProperties, S3FifoConfig};
use std::hash::RandomState;
use std::process::Command;
use std::sync::Arc;
use tinyufo::TinyUfo;

/// What the peers have in common.
trait Engine: Send + Sync {
    fn get(&self, key: ChunkKey) -> Option<Bytes>;
    fn put(&self, key: ChunkKey, bytes: &Bytes);
}

/// A value owns its bytes, as it would after a fetch.
fn owned(bytes: &Bytes) -> Bytes {
    Bytes::from(bytes.to_vec())
}

impl Engine for Memory {
    fn get(&self, key: ChunkKey) -> Option<Bytes> {
        self.get(key, 1)
    }
    fn put(&self, key: ChunkKey, bytes: &Bytes) {
        self.put(key, 1, bytes);
    }
}

impl Engine for moka::sync::Cache<ChunkKey, Bytes> {
    fn get(&self, key: ChunkKey) -> Option<Bytes> {
        self.get(&key)
    }
    fn put(&self, key: ChunkKey, bytes: &Bytes) {
        self.insert(key, owned(bytes));
    }
}

#[derive(Clone)]
struct ByLength;

impl quick_cache::Weighter<ChunkKey, Bytes> for ByLength {
    fn weight(&self, _: &ChunkKey, bytes: &Bytes) -> u64 {
        bytes.len() as u64
    }
}

impl Engine for quick_cache::sync::Cache<ChunkKey, Bytes, ByLength> {
    fn get(&self, key: ChunkKey) -> Option<Bytes> {
        self.get(&key)
    }
    fn put(&self, key: ChunkKey, bytes: &Bytes) {
        self.insert(key, owned(bytes));
    }
}

impl Engine for TinyUfo<ChunkKey, Bytes> {
    fn get(&self, key: ChunkKey) -> Option<Bytes> {
        self.get(&key)
    }
    fn put(&self, key: ChunkKey, bytes: &Bytes) {
        // Weights of 16 bits: one per chunk.
        self.put(key, owned(bytes), 1);
    }
}

impl Engine for Foyer<ChunkKey, Bytes, RandomState, CacheProperties> {
    fn get(&self, key: ChunkKey) -> Option<Bytes> {
        Foyer::get(self, &key).map(|entry| entry.value().clone())
    }
    fn put(&self, key: ChunkKey, bytes: &Bytes) {
        self.insert(key, owned(bytes));
    }
}

const NAMES: [&str; 5] = ["antiphon", "quick_cache", "foyer-s3fifo", "TinyUFO", "moka"];
const CHUNK: usize = 256 << 10;

/// An engine for `slots` values of `len` bytes.
fn engine(name: &str, slots: usize, len: usize) -> Result<Arc<dyn Engine>> {
    let bytes = slots * len;
    Ok(match name {
        // A place is a quarter of a chunk at least.
        "antiphon" => Arc::new(Memory::new((slots * len.max(CHUNK / 4)) as u64)?),
        "quick_cache" => Arc::new(quick_cache::sync::Cache::with_weighter(slots, bytes as u64, ByLength)),
        "foyer-s3fifo" => {
            let builder = CacheBuilder::new(bytes).with_hash_builder(RandomState::new());
            let builder = builder.with_eviction_config(S3FifoConfig::default());
            Arc::new(builder.with_weighter(|_, bytes: &Bytes| bytes.len()).build::<CacheProperties>())
        }
        "TinyUFO" => Arc::new(TinyUfo::new(slots, slots)),
        "moka" => {
            let builder = moka::sync::Cache::builder().max_capacity(bytes as u64);
            Arc::new(builder.weigher(|_, bytes: &Bytes| bytes.len() as u32).build())
        }
        other => anyhow::bail!("no engine {other}"),
    })
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("churn-one") => return churn_one(args.get(1).context("which engine")?),
        Some("hits") => hits()?,
        Some("ratio") => ratio()?,
        Some("churn") => churn()?,
        Some(other) => anyhow::bail!("no table {other}"),
        None => {
            hits()?;
            churn()?;
            ratio()?;
        }
    }
    Ok(())
}

/// A generator of chance that is the same everywhere (xorshift64*).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to 1, neither.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// A rank below `n`: density falls with the rank to the power `-slope`, which is not 1.
    fn rank(&mut self, n: usize, slope: f64) -> usize {
        let top = ((n + 1) as f64).powf(1.0 - slope);
        let rank = (1.0 + self.unit() * (top - 1.0)).powf(1.0 / (1.0 - slope));
        (rank as usize - 1).min(n - 1)
    }
}

fn key(no: usize) -> ChunkKey {
    // Twenty chunks an object, as songs have.
    ChunkKey { obj: ObjName::new(&format!("/{}", no / 20)).key(), no: (no % 20) as u32 }
}

/// CPU nanoseconds of this thread.
fn cpu() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").context("read schedstat")?;
    stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).context("schedstat begins with a number")
}

const ROUNDS: usize = 7;
const SLOTS: usize = 11_444;
const GETS: usize = 1_000_000;

/// CPU time of a hit, on one thread and on two at once.
fn hits() -> Result<()> {
    let small = Bytes::from(vec![7; 1024]);
    // As many as surely fit every engine, asked for by a power of the rank.
    let keys: Vec<ChunkKey> = (0..SLOTS / 2).map(key).collect();
    let engines = NAMES.map(|name| engine(name, SLOTS, small.len()));
    let mut took = vec![[Vec::new(), Vec::new()]; NAMES.len()];
    let mut missed = [0; NAMES.len()];
    for engine in &engines {
        let engine = engine.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        keys.iter().for_each(|key| engine.put(*key, &small));
    }
    for round in 0..ROUNDS {
        for (at, engine) in engines.iter().enumerate() {
            let Ok(engine) = engine else { continue };
            for threads in 1..=2 {
                let (ns, misses) = get_all(engine.as_ref(), &keys, threads, round as u64 + 1)?;
                took[at][threads - 1].push(ns);
                missed[at] += misses;
            }
        }
    }
    println!("\nCPU ns of a hit, median of {ROUNDS} rounds (least-most):\n");
    println!("| engine | 1 thread | 2 threads | missed |\n| --- | --- | --- | --- |");
    for (at, name) in NAMES.iter().enumerate() {
        println!("| {name} | {} | {} | {} |", spread(&took[at][0]), spread(&took[at][1]), missed[at]);
    }
    Ok(())
}

/// CPU nanoseconds per get, and how many found nothing.
fn get_all(engine: &dyn Engine, keys: &[ChunkKey], threads: usize, seed: u64) -> Result<(f64, usize)> {
    let work = |thread: usize| -> Result<(u64, usize)> {
        let mut chance = Chance(seed * 1_000 + thread as u64);
        let wanted: Vec<ChunkKey> = (0..1 << 16).map(|_| keys[chance.rank(keys.len(), 0.7)]).collect();
        let mut misses = 0;
        let before = cpu()?;
        for at in 0..GETS {
            let bytes = engine.get(wanted[at & 0xffff]);
            misses += usize::from(std::hint::black_box(bytes).is_none());
        }
        Ok((cpu()? - before, misses))
    };
    let results: Result<Vec<(u64, usize)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().map_err(|_| anyhow::anyhow!("a thread died"))?
        };
        threads.into_iter().map(join).collect()
    });
    let results = results?;
    let ns: u64 = results.iter().map(|(ns, _)| ns).sum();
    Ok((ns as f64 / (threads * GETS) as f64, results.iter().map(|(_, misses)| misses).sum()))
}

fn spread(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.last()) {
        (Some(least), Some(most)) => format!("{:.0} ({least:.0}-{most:.0})", values[values.len() / 2]),
        _ => "none".to_owned(),
    }
}

/// Memory of the churned engine.
const CHURN_SLOTS: usize = 1024;

/// Resident memory over the bound while ten times as much passes through, each engine in a process of its own.
fn churn() -> Result<()> {
    let bound = CHURN_SLOTS * CHUNK;
    println!(
        "\nResident memory at its highest, over a bound of {} MiB, 10x churn by two threads:\n",
        bound >> 20
    );
    println!("| engine | over the bound |\n| --- | --- |");
    for name in NAMES {
        let me = std::env::current_exe().context("find this program")?;
        let out = Command::new(me).args(["churn-one", name]).output().context("run an engine")?;
        let most: f64 = String::from_utf8_lossy(&out.stdout).trim().parse().context("read its figure")?;
        println!("| {name} | {:+.1} % |", (most / bound as f64 - 1.0) * 100.0);
    }
    Ok(())
}

fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM is there")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM is a number")?;
    Ok(kib << 10)
}

fn churn_one(name: &str) -> Result<()> {
    let engine = engine(name, CHURN_SLOTS, CHUNK)?;
    let bytes = Bytes::from(vec![7; CHUNK]);
    let before = resident()?;
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (engine, bytes) = (&engine, &bytes);
            scope.spawn(move || {
                (0..CHURN_SLOTS * 5).for_each(|no| engine.put(key(no * 2 + thread), bytes));
            });
        }
    });
    println!("{}", resident()? - before);
    Ok(())
}

/// The songs of the trace, and how long it is.
const SONGS: usize = 100_000;
const ACCESSES: usize = 15_000_000;

/// Hit ratio on two traces: a city's, as the simulator replays it, and a plain one made here.
fn ratio() -> Result<()> {
    let city = Trace::new(&Terms::default()).accesses.iter().map(|access| access.chunk).collect();
    println!("\nHit ratio in %, {ACCESSES} accesses, {SLOTS} slots:\n");
    println!("| engine | listening | a city |\n| --- | --- | --- |");
    let traces: [Vec<u32>; 2] = [listening(), city];
    let row = |name: &str, hits: [f64; 2]| println!("| {name} | {:.1} | {:.1} |", hits[0], hits[1]);
    row("antiphon", traces.each_ref().map(|trace| percent(trace, &mut Sharded::new(64))));
    row("antiphon, one shard", traces.each_ref().map(|trace| percent(trace, &mut Sharded::new(1))));
    for name in &NAMES[1..] {
        row(name, [percent_of(name, &traces[0])?, percent_of(name, &traces[1])?]);
    }
    Ok(())
}

fn percent_of(name: &str, trace: &[u32]) -> Result<f64> {
    let (engine, value) = (engine(name, SLOTS, 1)?, Bytes::from_static(b"x"));
    let mut hits = 0;
    for no in trace {
        let key = ChunkKey { obj: antiphon_cache::ObjKey::from_bytes(spread_key(*no)), no: *no };
        if engine.get(key).is_some() {
            hits += 1;
        } else {
            engine.put(key, &value);
        }
    }
    Ok(f64::from(hits) * 100.0 / trace.len() as f64)
}

fn spread_key(no: u32) -> [u8; 16] {
    (u128::from(no) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes()
}

/// Songs by a power of the rank, 15 to 25 chunks each, a quarter left at once, a quarter somewhere; 400 listeners at
/// a time, so that songs are heard in turn; every 50,000 plays a song is new.
fn listening() -> Vec<u32> {
    let mut chance = Chance(42);
    let mut songs: Vec<u32> = (0..SONGS as u32).collect();
    let (mut listeners, mut trace, mut born) = (vec![(0_u32, 0_u32); 400], Vec::new(), SONGS as u32);
    for play in 0.. {
        if trace.len() >= ACCESSES {
            break;
        }
        if play % 50_000 == 0 {
            let rank = chance.rank(SONGS, 0.7);
            songs[rank] = born;
            born += 1;
        }
        let who = chance.next() as usize % listeners.len();
        let (next, end) = &mut listeners[who];
        if next < end {
            trace.push(*next);
            *next += 1;
            continue;
        }
        let song = songs[chance.rank(SONGS, 0.85)];
        let chunks = 15 + (song % 11);
        let heard = match chance.unit() {
            dice if dice < 0.25 => 3,
            dice if dice < 0.5 => 1 + (chance.unit() * f64::from(chunks)) as u32,
            _ => chunks,
        };
        (*next, *end) = (song * 32, song * 32 + heard.min(chunks));
    }
    trace
}

/// The shipping policy in shards as the RAM tier has them: the fullest gives first.
struct Sharded {
    shards: Vec<S3Fifo<u32, (), RandomState>>,
    kept: usize,
}

impl Sharded {
    fn new(shards: usize) -> Self {
        let hasher = RandomState::new();
        let part = Capacity { weight: (SLOTS / shards) as u64, entries: SLOTS / shards };
        Self { shards: (0..shards).map(|_| S3Fifo::new(part, hasher.clone())).collect(), kept: 0 }
    }

    fn access(&mut self, no: u32) -> bool {
        let hash = self.shards[0].hash(&no);
        let at = (hash >> 40) as usize & (self.shards.len() - 1);
        if self.shards[at].get(hash, &no).is_some() {
            return true;
        }
        // Room first, as a fill makes it.
        if self.kept == SLOTS {
            let fullest = self.shards.iter_mut().max_by_key(|shard| shard.weight());
            fullest.and_then(|shard| shard.evict(|()| true));
            self.kept -= 1;
        }
        self.shards[at].insert(hash, no, 1, ());
        self.kept += 1;
        false
    }
}

fn percent(trace: &[u32], cache: &mut Sharded) -> f64 {
    let hits = trace.iter().filter(|no| cache.access(**no)).count();
    hits as f64 * 100.0 / trace.len() as f64
}
