//! `antiphon ingest FILE..`: audio files become songs in the store, and the control plane hears of them.
//!
//! Promises
//! - Each file is taken or refused by itself, by name and reason; a refused one does not stop the batch.
//! - The exit code says whether all were taken.

use crate::client::Operator;
use crate::files;
use crate::keys::KeyFolder;
use crate::roles;
use antiphon_core::Clock;
use antiphon_drm::keys::FileKek;
use antiphon_origin::ingest::{Facts, Ingest, Mode, Outcome, Progress, Step};
use antiphon_origin::store::Store;
use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rand::Rng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Which files, what is known about them, and whose store they go to.
#[derive(Args, Debug)]
pub struct Options {
    /// Audio files: WAV, FLAC, MP3, AAC/M4A, Ogg Vorbis, Opus.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Title; only with one file. Without it the file's own tags are read, then its name.
    #[arg(long)]
    title: Option<String>,
    /// Who plays it.
    #[arg(long)]
    artist: Option<String>,
    /// Where it appeared.
    #[arg(long)]
    album: Option<String>,
    /// Store the file's own AAC as it is (M4A), without encoding.
    #[arg(long)]
    as_is: bool,
    /// Folder of a quickstart: its origin.toml and control.toml say where everything is.
    #[arg(long, default_value = "antiphon-data")]
    data_dir: PathBuf,
    /// The origin's configuration, instead of the data directory's.
    #[arg(long)]
    origin_config: Option<PathBuf>,
    /// The control plane's admin listener, such as http://127.0.0.1:9380, instead of the data directory's.
    #[arg(long, requires = "control_token_file")]
    control_admin: Option<String>,
    /// File with the bearer token of that listener.
    #[arg(long)]
    control_token_file: Option<PathBuf>,
    /// Store only; tell no control plane.
    #[arg(long, conflicts_with = "control_admin")]
    store_only: bool,
}

/// Takes all files in.
pub async fn run(options: Options, clock: Arc<dyn Clock>) -> Result<ExitCode> {
    if options.title.is_some() && options.files.len() > 1 {
        bail!("--title names one song, and there are {} files", options.files.len());
    }
    let config_file = options.origin_config.clone().unwrap_or_else(|| options.data_dir.join("origin.toml"));
    let config: antiphon_origin::Config = roles::read(&config_file)
        .context("find the store (start quickstart first, or name --origin-config)")?;
    config.check().with_context(|| format!("check {}", config_file.display()))?;
    let mode = if options.as_is { Mode::AsIs } else { Mode::Auto };
    let ingest = open(&config, clock).await?.with_mode(mode);
    let operator = operator(&options)?;
    let facts =
        Facts { title: options.title.clone(), artist: options.artist.clone(), album: options.album.clone() };
    let bars = MultiProgress::new();
    let mut refused = 0;
    for (number, file) in options.files.iter().enumerate() {
        let bar = bars.add(Bar::over(file, number + 1, options.files.len()));
        let taken = one(&ingest, operator.as_ref(), file, &facts, &Bar(bar.clone())).await;
        bar.finish_and_clear();
        match taken {
            Ok(line) => println!("{line}"),
            Err(error) => {
                refused += 1;
                complain(&error);
            }
        }
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The store of an origin, ready to take files in.
pub async fn open(config: &antiphon_origin::Config, clock: Arc<dyn Clock>) -> Result<Ingest> {
    let kek = KeyFolder::at(&config.keyring_dir).kek;
    let text = files::read_if_there(&kek)?.with_context(|| format!("there is no {}", kek.display()))?;
    let kek = FileKek::from_text(&text).with_context(|| format!("read {}", kek.display()))?;
    let store = Store::open(&config.store).context("open the store")?;
    let random = Arc::new(|bytes: &mut [u8]| rand::rng().fill_bytes(bytes));
    Ok(Ingest::new(store, Arc::new(kek), clock, random, config.ingest.clone()))
}

async fn one(
    ingest: &Ingest,
    operator: Option<&Operator>,
    file: &Path,
    facts: &Facts,
    bar: &Bar,
) -> Result<String> {
    let taken = ingest.file(file, facts, bar).await?;
    let record = &taken.record;
    if let Some(operator) = operator {
        operator
            .put_song(&record.song_id, record)
            .await
            .with_context(|| format!("{}: stored, but not published", file.display()))?;
    }
    let what = match taken.outcome {
        Outcome::New => "new",
        Outcome::Known => "known already",
        Outcome::Renamed => "renamed",
    };
    Ok(format!("{}: {} \"{}\" ({what})", file.display(), record.song_id, record.title))
}

/// Whom to tell: the control plane the options name, or the quickstart's.
fn operator(options: &Options) -> Result<Option<Operator>> {
    if options.store_only {
        return Ok(None);
    }
    if let (Some(base), Some(token_file)) = (&options.control_admin, &options.control_token_file) {
        return Operator::new(base, token_file).map(Some);
    }
    let config: antiphon_control::Config = roles::read(&options.data_dir.join("control.toml"))
        .context("find the control plane (name --control-admin and --control-token-file, or --store-only)")?;
    Operator::new(&format!("http://{}", config.admin.listen), &config.admin.secret_file).map(Some)
}

/// One file's progress.
struct Bar(ProgressBar);

impl Bar {
    fn over(file: &Path, number: usize, of: usize) -> ProgressBar {
        let style = ProgressStyle::with_template("[{prefix}] {bar:24} {percent:>3} % {msg}");
        let bar = ProgressBar::new(1000).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(format!("{number}/{of}"));
        bar.set_message(file.display().to_string());
        bar
    }
}

impl Progress for Bar {
    fn at(&self, step: Step, share: f32) {
        // Encoding takes most of the time, so it has most of the bar.
        let (from, width) = match step {
            Step::Copy => (0.0, 0.05),
            Step::Listen => (0.05, 0.20),
            Step::Encode => (0.25, 0.70),
            Step::Store => (0.95, 0.05),
        };
        self.0.set_position(((from + width * share.clamp(0.0, 1.0)) * 1000.0) as u64);
    }
}

#[expect(clippy::print_stderr, reason = "refusals of a command go to stderr")]
fn complain(error: &anyhow::Error) {
    eprintln!("{error:#}");
}
