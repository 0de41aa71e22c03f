//! What a cold start costs: listeners of one cold chunk, a cold range of 1 MiB, leaders that leave.
//!
//! `cargo run --release -p antiphon-bench --bin fills`
//!
//! The cache is the library of the edge; its upstream is in this process and begins every answer `--latency-ms` after
//! the question. Times are from the question to the last byte, without TLS and HTTP in front.

#![expect(clippy::print_stdout, reason = "results are what this program is for")]

use antiphon_bench::table::{Samples, print};
use antiphon_cache::{
    Answer, CacheConfig, Disks, ObjMeta, ObjName, RangeCache, RangeReply, Upstream, UpstreamError,
    UpstreamReply, Want,
};
use antiphon_core::{CHUNK_LEN, RangeSpec, Span, UnixTime};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Parser;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use futures_util::{FutureExt, TryFutureExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

#[derive(Parser)]
struct Args {
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Listeners of one cold chunk, leader included.
    #[arg(long, default_value_t = 1_000)]
    listeners: usize,
    /// Leaders that leave before the answer.
    #[arg(long, default_value_t = 200)]
    leavers: usize,
    /// How long upstream thinks before it answers.
    #[arg(long, default_value_t = 120)]
    latency_ms: u64,
}

/// An upstream that has every object, 8 MiB each, and answers after a while.
struct Slow {
    latency: Duration,
    bytes: Bytes,
    asked: AtomicUsize,
}

/// A cold cache in front of a slow upstream.
struct World {
    upstream: Arc<Slow>,
    cache: RangeCache,
}

const LEN: u64 = 8 << 20;
/// As a socket would give them.
const PIECE: usize = 16 * 1024;

#[async_trait::async_trait]
impl Upstream for Slow {
    async fn fetch(&self, _: &ObjName, want: Want, _: Option<&ObjMeta>) -> Result<Answer, UpstreamError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.latency).await;
        let meta = ObjMeta::new(LEN, Some("\"1\"".to_owned()));
        let span = match want {
            Want::Head => None,
            Want::Whole => Span::whole(LEN),
            Want::Range(range) => range.resolve(LEN),
        };
        let bytes =
            span.map_or_else(Bytes::new, |span| self.bytes.slice(span.start() as usize..span.end() as usize));
        let pieces =
            (0..bytes.len()).step_by(PIECE).map(move |at| Ok(bytes.slice(at..bytes.len().min(at + PIECE))));
        let body = stream::iter(pieces).boxed();
        Ok(Answer::Found(UpstreamReply { meta, span, digest: None, body }))
    }
}

impl World {
    fn cold(latency: Duration) -> Result<Self> {
        let bytes = (0..LEN).map(|at| ((at * 31) >> 8) as u8).collect();
        let upstream = Arc::new(Slow { latency, bytes, asked: AtomicUsize::new(0) });
        let clock = Arc::new(|| UnixTime(1_800_000_000));
        let cache = RangeCache::over(
            Disks::none(clock.clone()),
            &CacheConfig::default(),
            Arc::clone(&upstream) as Arc<dyn Upstream>,
            Handle::current(),
            clock,
        )?;
        Ok(Self { upstream, cache })
    }

    /// Seconds until the last byte of the range is there; then the bytes are checked to be right.
    async fn listen(&self, first: u64, len: u64) -> Result<f64> {
        let began = Instant::now();
        let range = RangeSpec::Between { first, last: first + len - 1 };
        let reply = self.cache.get(&ObjName::new("/a"), Some(range)).await?;
        let RangeReply::Granted { mut body, .. } = reply else { anyhow::bail!("the range is refused") };
        let mut items = Vec::new();
        while let Some(item) = body.next().await {
            items.push(item?.0);
        }
        let took = began.elapsed();
        let mut at = first as usize;
        for bytes in items {
            ensure!(self.upstream.bytes[at..at + bytes.len()] == bytes, "wrong bytes at {at}");
            at += bytes.len();
        }
        ensure!(at as u64 == first + len, "the answer ends at {at}");
        Ok(took.as_secs_f64())
    }

    fn asked(&self) -> usize {
        self.upstream.asked.load(Ordering::Relaxed)
    }
}

/// Figures of one kind of round, in milliseconds; and requests to upstream.
#[derive(Default)]
struct Row {
    leader: Samples,
    median: Samples,
    last: Samples,
    behind: Samples,
    asked: Samples,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let latency = Duration::from_millis(args.latency_ms);
    let (mut cold, mut range, mut left) = (Row::default(), Row::default(), Row::default());
    for _ in 0..args.rounds {
        let world = Arc::new(World::cold(latency)?);
        let listeners = (0..args.listeners).map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.listen(0, CHUNK_LEN).await }).map_err(anyhow::Error::from)
        });
        let times = join_all(listeners).await.into_iter().map(|time| time.and_then(|time| time));
        let times = times.collect::<Result<Vec<_>>>()?;
        cold.add(&times, world.asked())?;

        let world = World::cold(latency)?;
        range.add(&[world.listen(0, 1 << 20).await?], world.asked())?;

        let world = World::cold(latency)?;
        for _ in 0..args.leavers {
            let leaver = world.listen(0, CHUNK_LEN).now_or_never();
            ensure!(leaver.is_none(), "the leaver was served before it could leave");
        }
        left.add(&[world.listen(0, CHUNK_LEN).await?], world.asked())?;
    }
    let head = ["", "leader ms", "median ms", "last ms", "last - leader ms", "upstream requests"];
    print(&[
        head.map(str::to_owned).to_vec(),
        cold.print(&format!("{} listeners of a cold chunk", args.listeners)),
        range.print("a cold range of 1 MiB"),
        left.print(&format!("one who stays after {} who left", args.leavers)),
    ]);
    println!("\nUpstream answers after {} ms. {} rounds, median (least-most).", args.latency_ms, args.rounds);
    Ok(())
}

impl Row {
    /// Adds the times of a round, the leader's first.
    fn add(&mut self, times: &[f64], asked: usize) -> Result<()> {
        let leader = *times.first().context("nobody listened")?;
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted[sorted.len() - 1];
        self.leader.push(leader * 1e3);
        self.median.push(sorted[sorted.len() / 2] * 1e3);
        self.last.push(last * 1e3);
        self.behind.push((last - leader) * 1e3);
        self.asked.push(asked as f64);
        Ok(())
    }

    fn print(&self, name: &str) -> Vec<String> {
        let figures = [&self.leader, &self.median, &self.last, &self.behind, &self.asked];
        std::iter::once(name.to_owned()).chain(figures.map(ToString::to_string)).collect()
    }
}
