//! From the copy of a file to renditions in memory: by ffmpeg, or as it is.
//!
//! Promises
//! - What comes out was held against what was heard: nothing is missing at its end, and it is whole.
//! - Every fault names the file as the operator does.
//!
//! Does not know: the store, keys.

use super::ffmpeg::{Declared, Fault, Ffmpeg};
use super::ogg::{self, Pages};
use super::scratch::{Scratch, share};
use super::{Facts, Ingest, IngestError, Progress, Step};
use antiphon_core::{Loudness, Rendition};
use antiphon_drm::content::source::{AudioFile, Codec, SourceError};
use bytes::Bytes;
use std::path::Path;

/// What was made of a file.
pub(super) struct Made {
    pub renditions: Vec<(Rendition, Bytes)>,
    /// What the file's tags say.
    pub tags: Facts,
    pub loudness: Option<Loudness>,
}

impl Ingest {
    pub(super) async fn with_ffmpeg(
        &self,
        file: &str,
        scratch: &Scratch,
        as_is: bool,
        progress: &dyn Progress,
    ) -> Result<Made, IngestError> {
        let ffmpeg = Ffmpeg::new(&self.config);
        let source = scratch.source();
        let fault = |fault| self.fault(file, fault);
        let declared = ffmpeg.declared(&source).await.map_err(fault)?;
        whole_pages(file, &source)?;
        let listening =
            |done| progress.at(Step::Listen, declared.length_us.map_or(0.0, |of| share(done, of)));
        let heard = ffmpeg.listen(&source, &declared, listening).await.map_err(fault)?;
        let renditions = if as_is {
            vec![self.read_ready(file, &source).await?]
        } else {
            let encoding = |done| progress.at(Step::Encode, share(done, heard.length_us));
            ffmpeg.encode(&source, &declared, scratch.folder(), encoding).await.map_err(fault)?;
            self.read_ladder(file, scratch, heard.length_us).await?
        };
        Ok(Made { renditions, tags: tagged(&declared), loudness: heard.loudness })
    }

    pub(super) async fn without_ffmpeg(&self, file: &str, scratch: &Scratch) -> Result<Made, IngestError> {
        let rendition = self.read_ready(file, &scratch.source()).await?;
        Ok(Made { renditions: vec![rendition], tags: Facts::default(), loudness: None })
    }

    /// Reads an M4A that is delivered as it is, and finds its place on the ladder by its bit rate.
    async fn read_ready(&self, file: &str, source: &Path) -> Result<(Rendition, Bytes), IngestError> {
        let bytes = read(file, source).await?;
        let not_ready = |cause| match cause {
            SourceError::NoSamples => IngestError::NoSamples { file: file.to_owned() },
            SourceError::NotMp4 => IngestError::NeedsFfmpeg { file: file.to_owned() },
            cause => IngestError::NotReady { file: file.to_owned(), cause },
        };
        let audio = AudioFile::parse(&bytes).map_err(not_ready)?;
        if !matches!(audio.codec(), Codec::Aac { .. }) {
            return Err(IngestError::NotAac { file: file.to_owned(), codec: audio.codec().to_string() });
        }
        let secs = audio.duration_secs();
        if secs > f64::from(self.config.track_secs_max) {
            return Err(self.fault(file, Fault::TooLong { secs: secs as u64 }));
        }
        let octets: usize = audio.samples().iter().map(|sample| sample.bytes.len()).sum();
        Ok((nearest_rendition(octets as f64 * 8.0 / 1000.0 / secs), bytes))
    }

    /// Reads what ffmpeg made, and holds it against what was heard.
    async fn read_ladder(
        &self,
        file: &str,
        scratch: &Scratch,
        heard_us: u64,
    ) -> Result<Vec<(Rendition, Bytes)>, IngestError> {
        let mut renditions = Vec::new();
        for rendition in Rendition::AAC {
            let bytes = read(file, &scratch.folder().join(format!("{rendition}.m4a"))).await?;
            let not_ready = |cause| IngestError::NotReady { file: file.to_owned(), cause };
            let plays_us = AudioFile::parse(&bytes).map_err(not_ready)?.duration_secs() * 1e6;
            if (plays_us - heard_us as f64).abs() > ENCODED_DRIFT_MAX_US {
                let what = format!("{:.1} s became {:.1} s", heard_us as f64 / 1e6, plays_us / 1e6);
                return Err(IngestError::Damaged { file: file.to_owned(), what });
            }
            renditions.push((rendition, bytes));
        }
        Ok(renditions)
    }

    /// Names the file in what was found wrong with it.
    fn fault(&self, file: &str, fault: Fault) -> IngestError {
        let file = file.to_owned();
        match fault {
            Fault::NotAudio(why) => IngestError::NotAudio { file, why },
            Fault::NoSamples => IngestError::NoSamples { file },
            Fault::Damaged(what) => IngestError::Damaged { file, what },
            Fault::TooLong { secs } => IngestError::TooLong { file, secs, max: self.config.track_secs_max },
            Fault::Child(cause) => IngestError::Tool { file, cause },
        }
    }
}

/// An encoded track may differ by this much from what was heard, microseconds.
const ENCODED_DRIFT_MAX_US: f64 = 200_000.0;

async fn read(file: &str, path: &Path) -> Result<Bytes, IngestError> {
    let scratch = |cause| IngestError::Scratch { file: file.to_owned(), cause };
    tokio::fs::read(path).await.map(Bytes::from).map_err(scratch)
}

/// ffmpeg takes an Ogg file that was cut for a shorter one; its pages know better.
fn whole_pages(file: &str, source: &Path) -> Result<(), IngestError> {
    let look = || {
        let source = std::fs::File::open(source)?;
        let len = source.metadata()?.len();
        ogg::pages(std::io::BufReader::new(source), len)
    };
    match look().map_err(|cause| IngestError::Scratch { file: file.to_owned(), cause })? {
        Pages::Cut => {
            Err(IngestError::Damaged { file: file.to_owned(), what: "it ends inside an Ogg page".into() })
        }
        Pages::Whole | Pages::NotOgg => Ok(()),
    }
}

fn tagged(declared: &Declared) -> Facts {
    let tag = |key: &str| declared.tags.get(key).cloned();
    Facts { title: tag("title"), artist: tag("artist").or_else(|| tag("album_artist")), album: tag("album") }
}

/// The rung of the AAC ladder that `kbps` is nearest to, by ratio.
fn nearest_rendition(kbps: f64) -> Rendition {
    let distance = |rendition: &Rendition| (kbps / f64::from(rendition.kbps())).ln().abs();
    Rendition::AAC.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(Rendition::Aac128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_rate_finds_its_rung() {
        let rungs = [1.0, 60.0, 90.0, 91.0, 128.0, 200.0, 279.0, 290.0, 900.0]
            .map(|kbps| nearest_rendition(kbps).kbps());
        assert_eq!(rungs, [64, 64, 64, 128, 128, 256, 256, 320, 320]);
    }
}
