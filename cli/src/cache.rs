//! `antiphon cache`: look into volumes, check them, and tell a running edge what to do with them.
//!
//! With `--dir` it works on the files of a volume, without it on a running edge through its admin listener.

mod node;
mod offline;

use antiphon_cache::disk::set::DiskOrder;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use node::Node;
use std::path::PathBuf;
use std::process::ExitCode;

/// What can be done with volumes.
#[derive(Subcommand)]
pub enum CacheCommand {
    /// Say what state volumes are in and what they hold.
    Inspect {
        #[command(flatten)]
        place: Place,
        /// Print what the edge answers, as JSON.
        #[arg(long, conflicts_with = "dir")]
        json: bool,
    },
    /// Read every chunk of a volume and say how many are damaged. Changes nothing: exit code 3 if there are any.
    /// On a running edge it has the volume scrubbed and waits.
    Verify {
        #[command(flatten)]
        place: Place,
        /// The volume, on a running edge.
        #[arg(long, conflicts_with = "dir")]
        volume: Option<String>,
    },
    /// Read every chunk of a volume and forget those that are damaged, to be fetched again when wanted. On a running
    /// edge it begins now and goes on in the background.
    Scrub {
        #[command(flatten)]
        place: Place,
        /// The volume, on a running edge.
        #[arg(long, conflicts_with = "dir")]
        volume: Option<String>,
    },
    /// Have a running edge forget what it fetched before now, however much that is. It is on disk, if there is one, when
    /// this returns.
    Purge {
        #[command(flatten)]
        at: At,
        /// Serve it while the origin is asked whether it has changed, instead of not at all.
        #[arg(long)]
        soft: bool,
        #[command(subcommand)]
        scope: PurgeScope,
    },
    /// Say what a running edge knows about an object, and where its chunks are.
    Explain {
        #[command(flatten)]
        at: At,
        /// The object's path, as in its URL, without the query.
        path: String,
    },
    /// Tell a volume of a running edge: drain, read-only, fail, put-back, scrub, format.
    Tell {
        #[command(flatten)]
        at: At,
        /// The volume's name, as `inspect` shows it.
        volume: String,
        /// drain: serve, but take nothing more. read-only: write nothing. fail: take it out at once. put-back: open
        /// it anew, or let it take chunks again. scrub: check every chunk. format: erase it; only once it is out.
        #[arg(value_parser = order)]
        order: &'static str,
    },
}

/// What is purged.
#[derive(Subcommand)]
pub enum PurgeScope {
    /// One object, by its path.
    Object { path: String },
    /// Every object with a tag. The origin gives `asset:ID` and `epoch:NUMBER`.
    Tag { tag: String },
    /// Every object with a tag that starts so.
    Prefix { start: String },
    /// Every object.
    Everything,
}

/// Where the volume is.
#[derive(Args)]
pub struct Place {
    /// The folder of a volume, instead of a running edge.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where its chunks lie, if not in a file in the folder (`data` in the configuration).
    #[arg(long, requires = "dir")]
    data: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Which edge.
#[derive(Args)]
pub struct At {
    /// The admin listener of a running edge.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9180")]
    node: String,
    /// The secret that orders need, if the edge asks for one (`admin_secret_file` in its configuration).
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Damage was found.
const DAMAGED: u8 = 3;

/// Does what was asked.
pub fn run(command: CacheCommand) -> Result<ExitCode> {
    match command {
        CacheCommand::Inspect { place: Place { dir: Some(dir), data, .. }, .. } => {
            print!("{}", offline::inspect(&dir, data.as_deref())?);
            Ok(ExitCode::SUCCESS)
        }
        CacheCommand::Verify { place: Place { dir: Some(dir), data, .. }, .. } => {
            offline::verify(&dir, data.as_deref()).map(exit)
        }
        CacheCommand::Scrub { place: Place { dir: Some(dir), data, .. }, .. } => {
            offline::scrub(&dir, data.as_deref()).map(|_| ExitCode::SUCCESS)
        }
        CacheCommand::Inspect { place, json } => crate::runtime()?.block_on(async {
            let node = Node::new(&place.at)?;
            let shown = if json { node.volumes_text().await? } else { node::table(&node.volumes().await?) };
            print!("{shown}");
            Ok(ExitCode::SUCCESS)
        }),
        CacheCommand::Verify { place, volume } => crate::runtime()?
            .block_on(async { Node::new(&place.at)?.verify(&named(volume)?).await.map(exit) }),
        CacheCommand::Scrub { place, volume } => {
            crate::runtime()?.block_on(async { tell(&place.at, &named(volume)?, "scrub").await })
        }
        CacheCommand::Purge { at, soft, scope } => crate::runtime()?.block_on(async {
            println!("{}", Node::new(&at)?.purge(soft, &scope.to_path()).await?);
            Ok(ExitCode::SUCCESS)
        }),
        CacheCommand::Explain { at, path } => crate::runtime()?.block_on(async {
            print!("{}", Node::new(&at)?.explain(&path).await?);
            Ok(ExitCode::SUCCESS)
        }),
        CacheCommand::Tell { at, volume, order } => crate::runtime()?.block_on(tell(&at, &volume, order)),
    }
}

impl PurgeScope {
    /// As it is written in the path of a purge.
    fn to_path(&self) -> String {
        match self {
            Self::Object { path } => format!("object/{}", path.trim_start_matches('/')),
            Self::Tag { tag } => format!("tag/{tag}"),
            Self::Prefix { start } => format!("prefix/{start}"),
            Self::Everything => "everything".to_owned(),
        }
    }
}

async fn tell(at: &At, volume: &str, order: &str) -> Result<ExitCode> {
    println!("{}", Node::new(at)?.tell(volume, order).await?);
    Ok(ExitCode::SUCCESS)
}

fn named(volume: Option<String>) -> Result<String> {
    let Some(volume) = volume else { bail!("say which: --volume NAME on a running edge, or --dir FOLDER") };
    Ok(volume)
}

fn exit(damaged: u64) -> ExitCode {
    if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) }
}

/// One of the orders a volume knows.
fn order(text: &str) -> Result<&'static str, String> {
    let known = DiskOrder::ALL.iter().map(|(name, _)| *name);
    known
        .clone()
        .find(|name| *name == text)
        .ok_or_else(|| format!("a volume knows: {}", known.collect::<Vec<_>>().join(", ")))
}
