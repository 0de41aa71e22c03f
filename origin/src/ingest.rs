//! Taking in recordings: from an audio file to stored, sealed renditions and a song record.
//!
//! A file is copied and hashed, listened to (is it whole, how long, how loud), encoded to the AAC ladder by
//! ffmpeg, laid out and sealed, and stored: objects first, `asset.json` after them, the song's records last.
//!
//! Promises
//! - Idempotent: the same file gives the same song, and the second time costs one hash and two small reads.
//! - Interrupted anywhere, nothing is visible that was not complete; the next run finishes it.
//! - A file that is refused is refused by name and reason, and nothing was written for it.
//! - Scratch files and child processes are gone when [`Ingest::file`] has returned or its future was dropped.
//!
//! Does not know: command lines, progress bars, the catalogue, HTTP.

mod child;
mod ffmpeg;
mod make;
mod ogg;
mod publish;
mod scratch;

pub use child::ChildError;
pub use publish::SealError;

use crate::config::IngestConfig;
use crate::demo::DemoTrack;
use crate::records::{self, RECORD_LEN_MAX, SongRecord};
use crate::store::{Store, StoreError};
use antiphon_core::{Clock, Loudness, Rendition};
use antiphon_drm::content::source::SourceError;
use antiphon_drm::keys::KeyWrap;
use bytes::Bytes;
use ffmpeg::Ffmpeg;
use make::Made;
use scratch::Scratch;
use std::path::Path;
use std::sync::Arc;

/// Takes in audio files.
pub struct Ingest {
    store: Store,
    wrap: Arc<dyn KeyWrap + Send + Sync>,
    clock: Arc<dyn Clock>,
    random: Random,
    config: IngestConfig,
    mode: Mode,
}

/// Fills a buffer with random bytes fit for keys.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What is made of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The ladder when ffmpeg is there, else as it is.
    #[default]
    Auto,
    /// 64, 128, 256 and 320 kbit/s AAC, by ffmpeg.
    Ladder,
    /// The file's own AAC, not touched; it must be an M4A of one audio track.
    AsIs,
}

/// What the operator says about a song; it wins over the file's tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Title of the song.
    pub title: Option<String>,
    /// Who plays it.
    pub artist: Option<String>,
    /// Where it appeared.
    pub album: Option<String>,
}

/// A song that is in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingested {
    /// What to tell the catalogue.
    pub record: SongRecord,
    /// What this run did for it.
    pub outcome: Outcome,
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored it.
    New,
    /// Found it, as it is.
    Known,
    /// Found it, and wrote down what the operator now says about it.
    Renamed,
}

/// Where an ingest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Copying and hashing the file.
    Copy,
    /// Decoding all of it.
    Listen,
    /// Encoding the renditions.
    Encode,
    /// Sealing and storing.
    Store,
}

/// Is told how an ingest gets on.
pub trait Progress: Send + Sync {
    /// `share` of `step`, from 0 to 1, is done.
    fn at(&self, step: Step, share: f32);
}

/// Tells nobody.
impl Progress for () {
    fn at(&self, _: Step, _: f32) {}
}

/// Why a file was not taken in: one line, the file first.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Not there, or not ours to read.
    #[error("{file}: cannot be read")]
    Unreadable {
        /// As the operator named it.
        file: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A folder.
    #[error("{file}: is a folder, name the files in it")]
    Folder {
        /// As the operator named it.
        file: String,
    },
    /// A device, a pipe, a socket.
    #[error("{file}: is not a regular file")]
    NotAFile {
        /// As the operator named it.
        file: String,
    },
    /// 0 bytes.
    #[error("{file}: is empty")]
    Empty {
        /// As the operator named it.
        file: String,
    },
    /// Past `ingest.source_bytes_max`.
    #[error("{file}: has {bytes} bytes, at most {max} are taken (ingest.source_bytes_max)")]
    TooLarge {
        /// As the operator named it.
        file: String,
        /// Its length, as far as it was read.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Not sound, or none that is known here.
    #[error("{file}: is no audio file of a known kind: {why}")]
    NotAudio {
        /// As the operator named it.
        file: String,
        /// What was found instead.
        why: String,
    },
    /// Headers and no sound.
    #[error("{file}: holds not one audio sample")]
    NoSamples {
        /// As the operator named it.
        file: String,
    },
    /// It cannot be decoded to its end without a fault.
    #[error("{file}: is damaged: {what}")]
    Damaged {
        /// As the operator named it.
        file: String,
        /// The first fault.
        what: String,
    },
    /// Past `ingest.track_secs_max`.
    #[error("{file}: plays {secs} s or more, at most {max} s are taken (ingest.track_secs_max)")]
    TooLong {
        /// As the operator named it.
        file: String,
        /// How long it plays, as far as it was followed.
        secs: u64,
        /// The limit.
        max: u32,
    },
    /// Only ffmpeg could make something of it.
    #[error("{file}: needs ffmpeg and ffprobe: without them only ready AAC in M4A files is taken")]
    NeedsFfmpeg {
        /// As the operator named it.
        file: String,
    },
    /// No M4A that can be delivered as it is.
    #[error("{file}: cannot be taken as it is")]
    NotReady {
        /// As the operator named it.
        file: String,
        /// Why not.
        #[source]
        cause: SourceError,
    },
    /// Another codec in an MP4.
    #[error("{file}: cannot be taken as it is: it holds {codec}, not AAC")]
    NotAac {
        /// As the operator named it.
        file: String,
        /// What it holds.
        codec: String,
    },
    /// Renditions of different recordings.
    #[error("{file}: its renditions differ in length or rate")]
    Uneven {
        /// As the operator named it.
        file: String,
    },
    /// ffmpeg or ffprobe did not run to its end.
    #[error("{file}: was not worked through")]
    Tool {
        /// As the operator named it.
        file: String,
        /// What happened to the program.
        #[source]
        cause: ChildError,
    },
    /// The scratch folder refused.
    #[error("{file}: the scratch folder cannot be written")]
    Scratch {
        /// As the operator named it.
        file: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// It could not be laid out or sealed.
    #[error("{file}: cannot be sealed")]
    Seal {
        /// As the operator named it.
        file: String,
        /// Why not.
        #[source]
        cause: SealError,
    },
    /// The object store refused or broke.
    #[error("{file}: cannot be stored")]
    Store {
        /// As the operator named it.
        file: String,
        /// Why not.
        #[source]
        cause: StoreError,
    },
}

/// Longest title, artist or album, in characters.
pub const FACT_LEN_MAX: usize = 300;

/// Who plays a song that nobody told the artist of.
pub const UNKNOWN_ARTIST: &str = "Unknown artist";

/// All that a song is published from.
struct Ready<'a> {
    /// Stands in errors.
    file: &'a str,
    renditions: Vec<(Rendition, Bytes)>,
    title: String,
    artist: String,
    album: String,
    loudness: Option<Loudness>,
    sha256: &'a str,
}

impl Ingest {
    /// Takes files into `store`, sealed under `wrap`; `random` fills buffers for data keys and nonces.
    pub fn new(
        store: Store,
        wrap: Arc<dyn KeyWrap + Send + Sync>,
        clock: Arc<dyn Clock>,
        random: Random,
        config: IngestConfig,
    ) -> Self {
        Self { store, wrap, clock, random, config, mode: Mode::Auto }
    }

    /// The same, making something else of files.
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Whether ffmpeg and ffprobe can be run: without them only ready AAC is taken.
    pub async fn has_ffmpeg(&self) -> bool {
        Ffmpeg::new(&self.config).is_there().await
    }

    /// Takes in one file.
    pub async fn file(
        &self,
        path: &Path,
        facts: &Facts,
        progress: &dyn Progress,
    ) -> Result<Ingested, IngestError> {
        let file = path.display().to_string();
        let scratch =
            Scratch::copy_of(path, self.config.source_bytes_max.0, &self.config.scratch_dir, progress)
                .await?;
        let with_ffmpeg = self.has_ffmpeg().await;
        let as_is = match self.mode {
            Mode::Auto => !with_ffmpeg,
            Mode::Ladder if !with_ffmpeg => return Err(IngestError::NeedsFfmpeg { file }),
            Mode::Ladder => false,
            Mode::AsIs => true,
        };
        let wanted = if as_is { 1 } else { Rendition::AAC.len() };
        if let Some(known) = self.known(&file, &scratch.sha256, wanted).await? {
            return self.renamed(&file, known, facts).await;
        }
        let Made { renditions, tags, loudness } = if with_ffmpeg {
            self.with_ffmpeg(&file, &scratch, as_is, progress).await?
        } else {
            self.without_ffmpeg(&file, &scratch).await?
        };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let ready = Ready {
            file: &file,
            renditions,
            title: first_of([&facts.title, &tags.title, &stem, &Some("Untitled".into())]),
            artist: first_of([&facts.artist, &tags.artist, &Some(UNKNOWN_ARTIST.into())]),
            album: first_of([&facts.album, &tags.album]),
            loudness,
            sha256: &scratch.sha256,
        };
        self.publish(ready, progress).await
    }

    /// Takes in renditions that were encoded before, such as the demo tracks: no ffmpeg is asked.
    ///
    /// `name` stands in errors for the file; `sha256` is the hash of the recording they were made from.
    pub async fn encoded(
        &self,
        name: &str,
        renditions: Vec<(Rendition, Bytes)>,
        facts: &Facts,
        loudness: Option<Loudness>,
        sha256: &str,
    ) -> Result<Ingested, IngestError> {
        if let Some(known) = self.known(name, sha256, renditions.len()).await? {
            return self.renamed(name, known, facts).await;
        }
        let ready = Ready {
            file: name,
            renditions,
            title: first_of([&facts.title, &Some(name.to_owned())]),
            artist: first_of([&facts.artist, &Some(UNKNOWN_ARTIST.into())]),
            album: first_of([&facts.album]),
            loudness,
            sha256,
        };
        self.publish(ready, &()).await
    }

    /// Takes in one of the demo tracks.
    pub async fn demo(&self, track: &DemoTrack) -> Result<Ingested, IngestError> {
        let (facts, loudness) = (track.facts(), Some(track.loudness()));
        self.encoded(track.name, track.renditions(), &facts, loudness, &track.source_sha256()).await
    }

    /// The song this file became before, if all of it is there.
    async fn known(
        &self,
        file: &str,
        sha256: &str,
        wanted: usize,
    ) -> Result<Option<SongRecord>, IngestError> {
        let Some(bytes) = self.read_record(file, &records::source_name(sha256)).await? else {
            return Ok(None);
        };
        // A record that no longer reads is made anew.
        let Ok(record) = SongRecord::from_json(&bytes) else { return Ok(None) };
        let asset = self.read_record(file, &records::asset_name(record.asset)).await?;
        Ok(asset.filter(|_| record.renditions.len() >= wanted).map(|_| record))
    }

    async fn read_record(&self, file: &str, name: &str) -> Result<Option<Bytes>, IngestError> {
        match self.store.read_small(name, RECORD_LEN_MAX).await {
            Ok((_, bytes)) => Ok(Some(bytes)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(cause) => Err(IngestError::Store { file: file.to_owned(), cause }),
        }
    }

    /// Writes down what the operator says about a song that is there, if that is news.
    async fn renamed(&self, file: &str, known: SongRecord, facts: &Facts) -> Result<Ingested, IngestError> {
        let record = SongRecord {
            title: first_of([&facts.title, &Some(known.title.clone())]),
            artist: first_of([&facts.artist, &Some(known.artist.clone())]),
            album: first_of([&facts.album, &Some(known.album.clone())]),
            ..known.clone()
        };
        if record == known {
            return Ok(Ingested { record, outcome: Outcome::Known });
        }
        self.write_song(file, &record).await?;
        Ok(Ingested { record, outcome: Outcome::Renamed })
    }
}

/// The first text that says something, fit for a record: one line of at most [`FACT_LEN_MAX`] characters.
fn first_of<const N: usize>(texts: [&Option<String>; N]) -> String {
    let tidy = |text: &String| {
        let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let short: String = printable.trim().chars().take(FACT_LEN_MAX).collect();
        short.trim_end().to_owned()
    };
    texts.into_iter().flatten().map(tidy).find(|text| !text.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_text_that_says_something_counts() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(first_of([&None, &some(" \n"), &some(" a\tb\u{7f} "), &some("c")]), "a b");
        assert_eq!(first_of([&None]), "");
        let long = "\u{e4}".repeat(FACT_LEN_MAX);
        assert_eq!(first_of([&Some(long.clone() + "x")]), long);
    }
}
