//! One volume beside the bare disk: reads, writes, restarts, and what a restart keeps.
//!
//! `cargo run --release -p antiphon-bench --bin volume -- --dir <a directory on the disk to be measured>`

#![expect(clippy::print_stdout, reason = "results are what this program is for")]

mod kept;
mod reads;
mod restarts;
mod shelf;
mod writes;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
struct Args {
    /// Where the volumes are made. They take up to `--gib` + 1 GiB and are deleted afterwards.
    #[arg(long, default_value = "target/volume-bench", global = true)]
    dir: PathBuf,
    /// Size of the volumes that are really written, in GiB.
    #[arg(long, default_value_t = 4, global = true)]
    gib: u64,
    /// How often each thing is measured.
    #[arg(long, default_value_t = 5, global = true)]
    rounds: u32,
    /// Measure only this.
    #[command(subcommand)]
    only: Option<What>,
}

#[derive(Clone, Copy, Subcommand)]
enum What {
    /// Chunks of 256 KiB from a volume and from the bare disk, in turn.
    Reads,
    /// Chunks into a volume and 4 MiB at a time onto the bare disk, in turn.
    Writes,
    /// How long a volume of 100 GB takes to be found again. Its file is sparse: headers and footers alone are real.
    Restarts,
    /// What is found again after a stop in order and after kill -9.
    Kept,
    /// Fills a volume until it is killed, or is full and closed. Used by `kept`.
    #[command(hide = true)]
    Fill,
}

fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.dir)?;
    let Args { dir, gib, rounds, only } = &args;
    match only {
        Some(What::Reads) => reads::measure(dir, *gib, *rounds)?,
        Some(What::Writes) => writes::measure(dir, *rounds)?,
        Some(What::Restarts) => restarts::measure(dir, *rounds)?,
        Some(What::Kept) => kept::measure(dir, *gib)?,
        Some(What::Fill) => return kept::fill(dir, *gib),
        None => {
            reads::measure(dir, *gib, *rounds)?;
            writes::measure(dir, *rounds)?;
            restarts::measure(dir, *rounds)?;
            kept::measure(dir, *gib)?;
        }
    }
    std::fs::remove_dir_all(&args.dir)?;
    Ok(())
}
