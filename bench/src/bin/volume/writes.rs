//! Chunks offered to a volume until it is closed and they are durable, beside bare O_DIRECT writes of 4 MiB and a sync every 256 MiB.

use crate::shelf::{CHUNK_LEN, Shelf, fill_chunk, medium};
use antiphon_bench::table::{self, Samples};
use antiphon_cache::disk::aligned::AlignedBuf;
use antiphon_cache::disk::medium::{Medium, Part};
use anyhow::Result;
use std::path::Path;
use std::time::Instant;

/// Written in a round: a bit less than four segments.
const CHUNKS: u64 = 4 * 1000;
const BYTES: u64 = CHUNKS * CHUNK_LEN as u64;
const WRITE_LEN: usize = 4 << 20;
const SYNC_EVERY: u64 = 256 << 20;

pub fn measure(dir: &Path, rounds: u32) -> Result<()> {
    let mut columns: [Samples; 3] = std::array::from_fn(|_| Samples::default());
    for _ in 0..rounds {
        let (volume, bare) = (to_volume(&dir.join("writes"))?, to_disk(&dir.join("bare"))?);
        for (column, figure) in columns.iter_mut().zip([volume, bare, volume / bare]) {
            column.push(figure);
        }
    }
    println!("\nWrites of {} MiB until they are durable, {rounds} rounds in turn:\n", BYTES >> 20);
    table::print(&[
        ["volume MiB/s", "bare MiB/s", "ratio"].map(String::from).to_vec(),
        columns.iter().map(Samples::to_string).collect(),
    ]);
    Ok(())
}

fn to_volume(dir: &Path) -> Result<f64> {
    let shelf = Shelf::new(dir, 12 << 28)?;
    let began = Instant::now();
    // Chunks come from memory, as they do from upstream; making them up is not measured.
    shelf.fill(CHUNKS, |no, payload| payload[..8].copy_from_slice(&no.to_le_bytes()), |_| {})?;
    shelf.volume.close(shelf.now())?;
    let rate = per_second(began);
    drop(shelf);
    std::fs::remove_dir_all(dir)?;
    Ok(rate)
}

fn to_disk(dir: &Path) -> Result<f64> {
    let _ = std::fs::remove_dir_all(dir);
    let medium = medium(dir)?;
    medium.resize(Part::Data, 12 << 28)?;
    let mut buf = AlignedBuf::new(WRITE_LEN);
    fill_chunk(1, &mut buf);
    let began = Instant::now();
    for offset in (0..BYTES).step_by(WRITE_LEN) {
        medium.write(Part::Data, offset, &buf)?;
        if offset % SYNC_EVERY == 0 {
            medium.sync(Part::Data)?;
        }
    }
    medium.sync(Part::Data)?;
    let rate = per_second(began);
    drop(medium);
    std::fs::remove_dir_all(dir)?;
    Ok(rate)
}

fn per_second(began: Instant) -> f64 {
    BYTES as f64 / f64::from(1 << 20) / began.elapsed().as_secs_f64()
}
