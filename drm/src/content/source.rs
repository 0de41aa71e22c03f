//! A recording as ingest hands it over: a progressive MP4 with one audio track, as ffmpeg writes it.
//!
//! The file may come from a stranger, so every number in it is doubted until it has been held against the
//! bytes that are there.
//!
//! Promises
//! - Parsing never panics, reads each table once, and takes memory in proportion to the file: no count is
//!   believed that the file's own length does not bear out.
//! - Whatever parses can be laid out: at least one sample, each of them inside the file and lasting some
//!   time, priming and play within the track.
//! - Front or end `moov`, `stco` or `co64`, versions 0 and 1 of the timed boxes, one edit or none.
//!
//! Does not know: renditions, keys, how long a fragment is.

mod entry;
mod tables;

use super::boxes::{BoxError, Boxes, Found, FourCc};
use super::divide_half_even;
pub use entry::Codec;

/// One audio track of a progressive MP4, parsed; samples are borrowed from the file's bytes.
#[derive(Clone, Debug)]
pub struct AudioFile<'a> {
    entry: &'a [u8],
    codec: Codec,
    channels: u8,
    timescale: u32,
    /// Invariant: `priming + play` is at most the sum of all sample durations, and `play > 0`. Upheld by
    /// [`Edit::resolve`].
    priming: u64,
    play: u64,
    /// Invariant: never empty. Upheld by `tables::samples`.
    samples: Vec<Sample<'a>>,
}

/// One access unit: what a decoder takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The coded bytes.
    pub bytes: &'a [u8],
    /// How long it lasts, in units of the timescale; never 0.
    pub duration: u32,
}

/// Why a file is no recording that can be packaged. The text is written for whoever ingests it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing there.
    #[error("the file is empty")]
    Empty,
    /// Another format.
    #[error("not an MP4 file: it does not begin with a `ftyp` box")]
    NotMp4,
    /// The boxes do not fit together.
    #[error(transparent)]
    Boxes(#[from] BoxError),
    /// A box that must be there is not.
    #[error("no `{kind}` box in `{parent}`")]
    Missing {
        /// The missing box.
        kind: FourCc,
        /// Where it should be.
        parent: FourCc,
    },
    /// A box that must be there once is there twice.
    #[error("more than one `{kind}` box in `{parent}`")]
    Repeated {
        /// The box.
        kind: FourCc,
        /// Where it is.
        parent: FourCc,
    },
    /// Fragments instead of sample tables.
    #[error("the MP4 is fragmented (box `{0}`): a progressive one is needed")]
    Fragmented(FourCc),
    /// Pictures or text only.
    #[error("the MP4 has no audio track")]
    NoAudioTrack,
    /// It would be a guess which one is meant.
    #[error("the MP4 has {0} audio tracks: one is needed")]
    SeveralAudioTracks(usize),
    /// Samples in some other file.
    #[error("the samples lie in another file (external data reference)")]
    ExternalData,
    /// Several codec configurations in one track.
    #[error("the track has {0} sample descriptions: one is needed")]
    SampleDescriptions(u32),
    /// Encrypted already.
    #[error("the track is encrypted")]
    Encrypted,
    /// A codec this product does not deliver.
    #[error("codec `{0}` is not delivered: mp4a, Opus or fLaC")]
    Codec(FourCc),
    /// `mp4a`, but not an AAC that browsers decode under EME.
    #[error("MPEG-4 audio of kind {0} is not delivered: AAC-LC (2), HE-AAC (5) or HE-AAC v2 (29)")]
    AacObjectType(u8),
    /// A codec configuration that contradicts itself or the standard.
    #[error("the codec configuration is unusable: {0}")]
    Configuration(&'static str),
    /// A clock that no audio has.
    #[error("the track counts {0} units a second: {TIMESCALE_MIN} to {TIMESCALE_MAX} are possible")]
    Timescale(u32),
    /// Nothing to hear.
    #[error("the track has no samples")]
    NoSamples,
    /// More samples than a day of music has.
    #[error("the track has {0} samples: at most {SAMPLES_MAX} are taken")]
    TooManySamples(u64),
    /// One sample beyond any sense.
    #[error("sample {sample} has {len} bytes: 1 to {SAMPLE_LEN_MAX} are possible")]
    SampleLen {
        /// Which one, from 0.
        sample: u32,
        /// Its length by the table.
        len: u32,
    },
    /// A sample that lasts no time, or for ever.
    #[error("a sample lasts {0} units: 1 to {SAMPLE_DURATION_MAX} are possible")]
    SampleDuration(u32),
    /// A sample past the end: a file cut short, most often.
    #[error("sample {sample} lies at {offset}, {len} bytes, in a file of {file_len}: cut short?")]
    SampleOutside {
        /// Which one, from 0.
        sample: u32,
        /// Where the table puts it.
        offset: u64,
        /// Its length.
        len: u32,
        /// Length of the file.
        file_len: u64,
    },
    /// Tables that share bytes between samples.
    #[error("the samples have {total} bytes together, more than the {file_len} of the file")]
    SamplesOverlap {
        /// Sum of all sample lengths.
        total: u64,
        /// Length of the file.
        file_len: u64,
    },
    /// Sample tables that contradict each other.
    #[error("the sample tables disagree: {0}")]
    Tables(&'static str),
    /// An edit list beyond "skip the priming, play so long".
    #[error("the edit list is not supported: {0}")]
    EditList(&'static str),
    /// A playing time that the samples do not cover.
    #[error("{asked} units cannot be played: after {priming} of priming the track has {left}")]
    Play {
        /// The playing time asked for.
        asked: u64,
        /// Units skipped first.
        priming: u64,
        /// Units there are after that.
        left: u64,
    },
}

/// Slowest clock of an audio track, units a second.
pub const TIMESCALE_MIN: u32 = 8_000;
/// Fastest clock of an audio track, units a second.
pub const TIMESCALE_MAX: u32 = 384_000;
/// Most samples of a track: 27 hours of AAC at 44.1 kHz.
pub const SAMPLES_MAX: u32 = 1 << 22;
/// Longest sample, in bytes: what the sample index can hold.
pub const SAMPLE_LEN_MAX: u32 = 0xff_ffff;
/// Longest time one sample may last, in units of the timescale; the largest FLAC block lasts as long.
pub const SAMPLE_DURATION_MAX: u32 = 0xffff;
/// How long a fragment lasts, in seconds (MEDIA.md §0.1).
pub const FRAGMENT_SECS: u32 = 2;

impl<'a> AudioFile<'a> {
    /// Parses a whole file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SourceError> {
        let moov = find_moov(bytes)?;
        let movie_timescale = timescale(&only(&moov, b"mvhd")?)?;
        let trak = audio_track(&moov)?;
        let mdia = only(&trak, b"mdia")?;
        let timescale = timescale(&only(&mdia, b"mdhd")?)?;
        if !(TIMESCALE_MIN..=TIMESCALE_MAX).contains(&timescale) {
            return Err(SourceError::Timescale(timescale));
        }
        let minf = only(&mdia, b"minf")?;
        refuse_external_data(&minf)?;
        let stbl = only(&minf, b"stbl")?;
        let description = entry::parse(&only(&stbl, b"stsd")?)?;
        let samples = tables::samples(&stbl, bytes)?;
        let total = samples.iter().map(|sample| u64::from(sample.duration)).sum();
        let (priming, play) = Edit::find(&trak)?.resolve(movie_timescale, timescale, total)?;
        let entry::Description { entry, codec, channels } = description;
        Ok(Self { entry, codec, channels, timescale, priming, play, samples })
    }

    /// The sample entry as it stands in `stsd`, box header included.
    pub fn entry(&self) -> &'a [u8] {
        self.entry
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Channels of the audio.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Units a second; for AAC and FLAC the sample rate, for Opus 48,000.
    pub fn timescale(&self) -> u32 {
        self.timescale
    }

    /// Units at the beginning that only prime the decoder and are not heard.
    pub fn priming(&self) -> u64 {
        self.priming
    }

    /// Units that are heard.
    pub fn play(&self) -> u64 {
        self.play
    }

    /// Seconds that are heard.
    pub fn duration_secs(&self) -> f64 {
        self.play as f64 / f64::from(self.timescale)
    }

    /// All access units in order; never empty.
    pub fn samples(&self) -> &[Sample<'a>] {
        &self.samples
    }

    /// How long an ordinary sample lasts: 1024 units for AAC.
    pub fn frame(&self) -> u32 {
        self.samples.first().map_or(1, |sample| sample.duration)
    }

    /// How many samples make a fragment of about [`FRAGMENT_SECS`]: 86 for AAC at 44.1 kHz, 94 at 48 kHz.
    pub fn frames_per_fragment(&self) -> u32 {
        let units = u128::from(FRAGMENT_SECS) * u128::from(self.timescale);
        u32::try_from(divide_half_even(units, u128::from(self.frame()))).unwrap_or(u32::MAX).max(1)
    }
}

/// What the edit list says, before it is held against the track.
enum Edit {
    /// No list: all is played.
    Absent,
    /// One edit: skip so many units of the track, play so many units of the movie.
    One { skip: u64, movie_units: u64 },
}

impl Edit {
    fn find(trak: &Found<'_>) -> Result<Self, SourceError> {
        let Some(edts) = at_most_one(trak, b"edts")? else { return Ok(Self::Absent) };
        let Some(elst) = at_most_one(&edts, b"elst")? else { return Ok(Self::Absent) };
        let version = elst.version()?;
        match elst.u32(4)? {
            0 => return Ok(Self::Absent),
            1 => {}
            _ => return Err(SourceError::EditList("more than one edit")),
        }
        let (movie_units, media_time, rate_at) = match version {
            0 => (u64::from(elst.u32(8)?), i64::from(elst.u32(12)? as i32), 16),
            1 => (elst.u64(8)?, elst.u64(16)? as i64, 24),
            _ => return Err(SourceError::EditList("an unknown version")),
        };
        if elst.u32(rate_at)? != 1 << 16 {
            return Err(SourceError::EditList("a rate other than 1"));
        }
        let skip = u64::try_from(media_time).map_err(|_| SourceError::EditList("an empty edit"))?;
        Ok(Self::One { skip, movie_units })
    }

    /// Priming and play in units of the track, which has `total` of them.
    fn resolve(self, movie_timescale: u32, timescale: u32, total: u64) -> Result<(u64, u64), SourceError> {
        let Self::One { skip, movie_units } = self else { return Ok((0, total)) };
        let left = total.saturating_sub(skip);
        let asked = match movie_units {
            // Zero means "to the end" (ISO/IEC 14496-12 §8.6.6).
            0 => left,
            units => divide_half_even(u128::from(units) * u128::from(timescale), u128::from(movie_timescale)),
        };
        let play = asked.min(left);
        match play {
            0 => Err(SourceError::Play { asked, priming: skip, left }),
            _ => Ok((skip, play)),
        }
    }
}

fn find_moov(bytes: &[u8]) -> Result<Found<'_>, SourceError> {
    match bytes.get(4..8) {
        _ if bytes.is_empty() => return Err(SourceError::Empty),
        Some(b"ftyp" | b"moov") => {}
        _ => return Err(SourceError::NotMp4),
    }
    let mut moov = None;
    for found in Boxes::of_file(bytes) {
        let found = found?;
        match &found.kind.0 {
            b"moov" if moov.is_some() => {
                return Err(SourceError::Repeated { kind: found.kind, parent: FILE });
            }
            b"moov" => moov = Some(found),
            b"moof" => return Err(SourceError::Fragmented(found.kind)),
            _ => {}
        }
    }
    let moov = moov.ok_or(SourceError::Missing { kind: FourCc(*b"moov"), parent: FILE })?;
    match at_most_one(&moov, b"mvex")? {
        Some(mvex) => Err(SourceError::Fragmented(mvex.kind)),
        None => Ok(moov),
    }
}

/// The one track whose handler is `soun`; others (pictures, chapters) are left alone.
fn audio_track<'a>(moov: &Found<'a>) -> Result<Found<'a>, SourceError> {
    let mut tracks = Vec::new();
    for found in moov.inside() {
        let found = found?;
        if found.kind.0 == *b"trak" && only(&only(&found, b"mdia")?, b"hdlr")?.four(8)?.0 == *b"soun" {
            tracks.push(found);
        }
    }
    match tracks.as_slice() {
        [] => Err(SourceError::NoAudioTrack),
        [track] => Ok(*track),
        several => Err(SourceError::SeveralAudioTracks(several.len())),
    }
}

/// Units a second of `mvhd` or `mdhd`, which have it at the same place.
fn timescale(header: &Found<'_>) -> Result<u32, SourceError> {
    let at = if header.version()? == 0 { 12 } else { 20 };
    match header.u32(at)? {
        0 => Err(SourceError::Timescale(0)),
        units => Ok(units),
    }
}

/// ISO/IEC 14496-12 §8.7.2: flag 1 of a data entry says that the media data are in this file.
fn refuse_external_data(minf: &Found<'_>) -> Result<(), SourceError> {
    let Some(dinf) = at_most_one(minf, b"dinf")? else { return Ok(()) };
    let Some(dref) = at_most_one(&dinf, b"dref")? else { return Ok(()) };
    for reference in dref.inside_after(8)? {
        if reference?.u32(0)? & 1 == 0 {
            return Err(SourceError::ExternalData);
        }
    }
    Ok(())
}

/// The box `kind` of `parent`, which must be there exactly once.
fn only<'a>(parent: &Found<'a>, kind: &[u8; 4]) -> Result<Found<'a>, SourceError> {
    at_most_one(parent, kind)?.ok_or(SourceError::Missing { kind: FourCc(*kind), parent: parent.kind })
}

fn at_most_one<'a>(parent: &Found<'a>, kind: &[u8; 4]) -> Result<Option<Found<'a>>, SourceError> {
    let mut one = None;
    for found in parent.inside() {
        let found = found?;
        if found.kind.0 == *kind && one.replace(found).is_some() {
            return Err(SourceError::Repeated { kind: found.kind, parent: parent.kind });
        }
    }
    Ok(one)
}

/// The container of the outermost boxes, as errors name it.
const FILE: FourCc = FourCc(*b"file");
