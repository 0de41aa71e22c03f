//! What a restart keeps: a real process fills a volume, and is asked to stop or killed in the middle of it.

use crate::shelf::{CHUNK_LEN, Shelf, fill_chunk, key, medium};
use antiphon_bench::table;
use antiphon_cache::disk::medium::Medium;
use antiphon_cache::disk::volume::{ReadOutcome, ReadWant};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Chunks that fit, three segments and two half-filled ones left free.
fn chunks(gib: u64) -> u64 {
    (gib * 4 - 5) * 1000
}

pub fn measure(dir: &Path, gib: u64) -> Result<()> {
    let mut rows = vec![["stop", "taken", "found, every byte right", "kept %"].map(String::from).to_vec()];
    for kill in [false, true] {
        let taken = run(dir, gib, kill)?;
        let (found, by_snapshot) = count(&dir.join("kept"), taken)?;
        ensure!(by_snapshot != kill, "a killed process leaves no snapshot");
        let name = if kill { "kill -9 while writing" } else { "in order" };
        rows.push(vec![
            name.into(),
            taken.to_string(),
            found.to_string(),
            format!("{:.2}", found as f64 / taken as f64 * 100.0),
        ]);
    }
    println!("\nWhat a restart of a volume of {gib} GiB keeps:\n");
    table::print(&rows);
    std::fs::remove_dir_all(dir.join("kept"))?;
    Ok(())
}

/// Fills a volume in a process of its own; how many chunks that said it had taken.
fn run(dir: &Path, gib: u64, kill: bool) -> Result<u64> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["fill", "--gib", &gib.to_string(), "--dir"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .context("start the process that fills")?;
    let output = child.stdout.take().context("its output")?;
    let mut taken = 0;
    for line in BufReader::new(output).lines() {
        taken = line?.parse().context("a number of chunks")?;
        // The rest of its output does not count: it is written after this.
        if kill && taken >= chunks(gib) * 9 / 10 {
            child.kill()?;
            break;
        }
    }
    let status = child.wait()?;
    ensure!(status.success() != kill, "{status}");
    Ok(taken)
}

/// Fills the volume and says how many chunks are taken, then closes it.
pub fn fill(dir: &Path, gib: u64) -> Result<()> {
    let shelf = Shelf::new(&dir.join("kept"), gib << 30)?;
    let mut out = std::io::stdout().lock();
    let mut failed = None;
    shelf.fill(chunks(gib), fill_chunk, |taken| {
        if taken % 100 == 0 {
            failed = writeln!(out, "{taken}").and_then(|()| out.flush()).err();
        }
    })?;
    failed.map_or(Ok(()), Err)?;
    shelf.volume.close(shelf.now())?;
    Ok(())
}

/// How many of the first `taken` chunks are found with the right bytes, and whether by the snapshot.
fn count(dir: &Path, taken: u64) -> Result<(u64, bool)> {
    let medium: Arc<dyn Medium> = Arc::new(medium(dir)?);
    let (shelf, _) = Shelf::open(medium)?;
    let recovered = shelf.volume.recover(&|_| {})?;
    let mut expected = vec![0; CHUNK_LEN];
    let mut found = 0;
    for no in 0..taken {
        fill_chunk(no, &mut expected);
        let want = ReadWant { key: key(no), ver: 1, floor: 0 };
        let mut right = true;
        let outcomes = shelf.volume.read(&[want], &mut |_, bytes| right = *bytes == expected[..]);
        ensure!(right, "chunk {no} has wrong bytes");
        found += u64::from(matches!(outcomes[..], [ReadOutcome::Read]));
    }
    Ok((found, recovered.by_snapshot))
}
