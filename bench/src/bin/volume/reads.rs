//! Chunks of 256 KiB: a hit on the volume beside a bare O_DIRECT read of as many bytes, in
//! the order of dice.

use crate::shelf::{CHUNK_LEN, Shelf, fill_chunk, key, mix};
use antiphon_bench::table::{self, Samples};
use antiphon_cache::disk::aligned::{AlignedBuf, PAGE_LEN};
use antiphon_cache::disk::medium::Part;
use antiphon_cache::disk::volume::{ReadOutcome, ReadWant};
use anyhow::{Result, bail, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

/// Reads of each kind in a round by each thread, about.
const READS: u64 = 1500;

const THREADS: [u64; 3] = [1, 2, 4];

pub fn measure(dir: &Path, gib: u64, rounds: u32) -> Result<()> {
    let shelf = Shelf::new(&dir.join("reads"), gib << 30)?;
    // Four segments stay free; nothing is given up.
    let chunks = (gib * 4 - 5) * 1000;
    shelf.fill(chunks, fill_chunk, |_| {})?;
    let mut rows = vec![
        ["threads", "volume p50 ms", "bare p50 ms", "ratio of p50", "volume p99 ms", "bare p99 ms"]
            .map(String::from)
            .to_vec(),
    ];
    for threads in THREADS {
        let mut columns: [Samples; 5] = std::array::from_fn(|_| Samples::default());
        for round in 0..rounds {
            let (mut volume, mut bare) = round_of(&shelf, chunks, threads, u64::from(round))?;
            let [v50, b50] = [&mut volume, &mut bare].map(|times| share(times, 0.5));
            let [v99, b99] = [&mut volume, &mut bare].map(|times| share(times, 0.99));
            for (column, figure) in columns.iter_mut().zip([v50, b50, v50 / b50, v99, b99]) {
                column.push(figure);
            }
        }
        let mut row = vec![threads.to_string()];
        row.extend(columns.iter().map(Samples::to_string));
        rows.push(row);
    }
    println!("\nReads of 256 KiB, {rounds} rounds of about {READS} reads of each kind by each thread:\n");
    table::print(&rows);
    let stats = shelf.volume.stats();
    ensure!(stats.damaged == 0 && stats.unreadable == 0, "the disk lost something: {stats:?}");
    std::fs::remove_dir_all(dir.join("reads"))?;
    Ok(())
}

type Times = Vec<Duration>;

fn round_of(shelf: &Shelf, chunks: u64, threads: u64, round: u64) -> Result<(Times, Times)> {
    let mut all = (Vec::new(), Vec::new());
    let parts: Vec<Result<(Times, Times)>> = std::thread::scope(|scope| {
        let run = |thread| scope.spawn(move || alternate(shelf, chunks, round << 8 | thread));
        let running: Vec<_> = (0..threads).map(run).collect();
        running
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panicked"))))
            .collect()
    });
    for part in parts {
        let (volume, bare) = part?;
        all.0.extend(volume);
        all.1.extend(bare);
    }
    Ok(all)
}

fn alternate(shelf: &Shelf, chunks: u64, seed: u64) -> Result<(Times, Times)> {
    let mut times = (Vec::new(), Vec::new());
    // Page-aligned, as the slots of the memory tier are.
    let mut slot = AlignedBuf::new(CHUNK_LEN);
    let mut buf = AlignedBuf::new(CHUNK_LEN);
    let pages = (shelf.medium.len(Part::Data)? - CHUNK_LEN as u64) / PAGE_LEN as u64;
    for read in 0..2 * READS {
        let chance = mix(seed << 32 | read);
        // By chance: whatever comes right after another read is faster here.
        if chance & 1 == 0 {
            let want = ReadWant { key: key((chance >> 8) % chunks), ver: 1, floor: 0 };
            let began = Instant::now();
            let outcomes = shelf.volume.read(&[want], &mut |_, bytes| slot.copy_from_slice(bytes));
            let took = began.elapsed();
            match outcomes[..] {
                [ReadOutcome::Read] => times.0.push(took),
                // One in a thousand made room for another of the same tag.
                [ReadOutcome::Missing] => {}
                _ => bail!("{outcomes:?}"),
            }
        } else {
            // Where it was written: an unwritten extent is not read from the disk.
            let page = (chance >> 8) % (pages / 5 * 4).min(chunks * 65);
            let began = Instant::now();
            shelf.medium.read(Part::Data, page * PAGE_LEN as u64, &mut buf)?;
            times.1.push(began.elapsed());
        }
    }
    Ok(times)
}

/// The time that `share` of the reads stayed below, in milliseconds.
fn share(times: &mut Times, share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
