//! What ffmpeg and ffprobe are asked, and how their answers are read.
//!
//! Promises
//! - A file is opened by demuxers and protocols of a short list only: a playlist cannot make ffmpeg read another
//!   file or the network.
//! - Any error ffmpeg reports while it decodes, and any shortfall against the declared length, is damage.
//!
//! Does not know: the store, keys, what becomes of the renditions.

use super::child::{self, ChildError, Said};
use crate::config::IngestConfig;
use antiphon_core::{Loudness, Rendition};
use futures_util::future::try_join_all;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Containers that are looked into.
const DEMUXERS: &str = "wav,w64,aiff,flac,mp3,aac,mov,ogg";

/// A decoded track may be this much shorter than declared, microseconds: encoder delays are counted differently.
const SHORTFALL_MAX_US: u64 = 200_000;

/// What a file declares to be, before anything was decoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Declared {
    /// How long, microseconds, when the file says so and it is no estimate.
    pub length_us: Option<u64>,
    /// Sample frames a second.
    pub sample_rate: u32,
    /// Tags, keys in lower case.
    pub tags: BTreeMap<String, String>,
}

/// What was heard when all of it was decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Heard {
    /// How long, microseconds.
    pub length_us: u64,
    /// How loud; `None` for a track too short to measure.
    pub loudness: Option<Loudness>,
}

/// What is wrong with a file. The file is named by whoever asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    NotAudio(String),
    #[error("no samples")]
    NoSamples,
    #[error("{0}")]
    Damaged(String),
    #[error("{secs} s")]
    TooLong { secs: u64 },
    #[error(transparent)]
    Child(#[from] ChildError),
}

/// ffmpeg and ffprobe within the limits of a configuration.
pub(super) struct Ffmpeg<'a> {
    config: &'a IngestConfig,
}

impl<'a> Ffmpeg<'a> {
    pub fn new(config: &'a IngestConfig) -> Self {
        Self { config }
    }

    /// Whether both programs start.
    pub async fn is_there(&self) -> bool {
        let version = ["-version".into()];
        for program in [&self.config.ffmpeg, &self.config.ffprobe] {
            if !child::run(program, &version, self.limit(), |_| ()).await.is_ok_and(|said| said.success) {
                return false;
            }
        }
        true
    }

    /// Asks ffprobe what `file` declares to be.
    pub async fn declared(&self, file: &Path) -> Result<Declared, Fault> {
        let mut arguments = words("-hide_banner -loglevel repeat+level+warning");
        arguments.extend(input(file));
        arguments.extend(words("-select_streams a -show_format -show_streams -of json"));
        let said = child::run(&self.config.ffprobe, &arguments, self.limit(), |_| ()).await?;
        if !said.success {
            return Err(Fault::NotAudio(complaint(&said).unwrap_or_else(|| "unknown format".into())));
        }
        let answer: ProbeAnswer = serde_json::from_slice(&said.out)
            .map_err(|_| Fault::NotAudio("ffprobe describes it in no known way".into()))?;
        let estimated = said.err.contains("Estimating duration from bitrate");
        let declared = answer.into_declared(estimated)?;
        let limit = u64::from(self.config.track_secs_max);
        match declared.length_us.map(|length| length / 1_000_000) {
            Some(secs) if secs > limit => Err(Fault::TooLong { secs }),
            _ => Ok(declared),
        }
    }

    /// Decodes all of `file`: is it whole, how long is it, how loud?
    pub async fn listen(
        &self,
        file: &Path,
        declared: &Declared,
        progress: impl FnMut(u64) + Send,
    ) -> Result<Heard, Fault> {
        let mut arguments = words("-nostdin -hide_banner -nostats -loglevel repeat+level+info");
        arguments.extend(words("-xerror -err_detect explode"));
        arguments.extend(input(file));
        arguments.extend(self.all_of_it());
        arguments.extend(words("-af ebur128=peak=true:framelog=verbose -f null -progress pipe:1 -"));
        let (said, length_us) = self.decode(&arguments, progress).await?;
        if let Some(what) = complaint(&said) {
            return Err(Fault::Damaged(what));
        }
        if !said.success || said.err_cut {
            return Err(Fault::Damaged("it cannot be decoded to its end".into()));
        }
        if length_us == 0 {
            return Err(Fault::NoSamples);
        }
        if length_us > u64::from(self.config.track_secs_max) * 1_000_000 {
            return Err(Fault::TooLong { secs: length_us.div_ceil(1_000_000) });
        }
        match declared.length_us {
            Some(want) if length_us.saturating_add(SHORTFALL_MAX_US) < want => {
                Err(Fault::Damaged(format!("it holds {} of the {} it declares", secs(length_us), secs(want))))
            }
            _ => Ok(Heard { length_us, loudness: loudness(&said.err) }),
        }
    }

    /// Encodes `file` into `<folder>/<rendition>.m4a` for each rendition of the AAC ladder, all at once: ffmpeg
    /// encodes on one core. The first that fails ends the others.
    pub async fn encode(
        &self,
        file: &Path,
        declared: &Declared,
        folder: &Path,
        progress: impl Fn(u64) + Sync,
    ) -> Result<(), Fault> {
        let done = Rendition::AAC.map(|_| AtomicU64::new(0));
        let slowest = || done.iter().map(|done| done.load(Ordering::Relaxed)).min().unwrap_or(0);
        let encoding = Rendition::AAC.into_iter().zip(&done).map(|(rendition, mine)| {
            let heard = |us| {
                mine.store(us, Ordering::Relaxed);
                progress(slowest());
            };
            self.encode_one(file, declared, folder, rendition, heard)
        });
        try_join_all(encoding).await.map(drop)
    }

    async fn encode_one(
        &self,
        file: &Path,
        declared: &Declared,
        folder: &Path,
        rendition: Rendition,
        progress: impl FnMut(u64) + Send,
    ) -> Result<(), Fault> {
        let rate = ladder_rate(declared.sample_rate).to_string();
        let mut arguments = words("-nostdin -hide_banner -nostats -loglevel repeat+level+error -y");
        arguments.extend(words("-xerror -err_detect explode"));
        arguments.extend(input(file));
        arguments.extend(words("-progress pipe:1"));
        arguments.extend(self.all_of_it());
        // One schedule of frames for all renditions: same rate, stereo. Nothing of the file but its sound,
        // nothing of the encoder's version or of the day: the same file gives the same bytes.
        arguments.extend(words("-vn -sn -dn -map_metadata -1 -map_chapters -1 -ac 2 -c:a aac"));
        arguments.extend(words("-fflags +bitexact -flags:a +bitexact -f ipod"));
        arguments.extend(["-ar".into(), rate.clone().into(), "-movie_timescale".into(), rate.into()]);
        arguments.extend(["-b:a".into(), format!("{}k", rendition.kbps()).into()]);
        arguments.push(folder.join(format!("{rendition}.m4a")).into_os_string());
        let (said, _) = self.decode(&arguments, progress).await?;
        match complaint(&said) {
            Some(what) => Err(Fault::Damaged(what)),
            None if !said.success => Err(Fault::Damaged("it cannot be encoded to its end".into())),
            None => Ok(()),
        }
    }

    /// Runs ffmpeg and follows `-progress`; the number is how many microseconds came out.
    async fn decode(
        &self,
        arguments: &[OsString],
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<(Said, u64), Fault> {
        let said = child::run(&self.config.ffmpeg, arguments, self.limit(), |piece| {
            if let Some(done) = out_time_us(piece) {
                progress(done);
            }
        })
        .await?;
        let length = out_time_us(&said.out).unwrap_or(0);
        Ok((said, length))
    }

    /// The first audio stream, a second past the longest track at most: enough to notice, not to drown.
    fn all_of_it(&self) -> Vec<OsString> {
        let mut arguments = words("-map 0:a:0 -t");
        arguments.push((u64::from(self.config.track_secs_max) + 1).to_string().into());
        arguments
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.child_secs_max))
    }
}

/// Splits a line of arguments that hold no spaces.
fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

/// `-i file`, with nothing allowed but plain files in known containers.
fn input(file: &Path) -> Vec<OsString> {
    let mut arguments = words("-protocol_whitelist file -format_whitelist");
    arguments.push(DEMUXERS.into());
    let mut url = OsString::from("file:");
    url.push(file);
    arguments.extend(["-i".into(), url]);
    arguments
}

/// The first error or fatal line of what a child said, its prefixes taken off.
fn complaint(said: &Said) -> Option<String> {
    said.err.lines().find_map(|line| {
        // "[flac @ 0x55...] [error] text", "[error] text"; a tag's own text never stands at the front.
        let line = match line.split_once("] [") {
            Some((context, rest)) if context.starts_with('[') && context.contains(" @ ") => {
                rest.split_once("] ")
            }
            _ => line.strip_prefix('[').and_then(|rest| rest.split_once("] ")),
        };
        let (level, text) = line?;
        let wrong = matches!(level, "error" | "fatal" | "panic");
        let plain = |text: &str| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        // The file is named by the caller, under the name the operator knows.
        wrong.then(|| plain(text.rsplit_once("/source: ").map_or(text, |(_, text)| text)))
    })
}

/// The last `out_time_us=` of a piece of `-progress`.
fn out_time_us(piece: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(piece).ok()?;
    text.lines().rev().find_map(|line| line.strip_prefix("out_time_us=")?.parse().ok())
}

/// Reads the summary of ffmpeg's `ebur128`. Silence has no loudness above the gates: it is told as the gate.
fn loudness(text: &str) -> Option<Loudness> {
    let summary = &text[text.rfind("Summary:")?..];
    let number = |key: &str, unit: &str| {
        let line = summary.lines().find_map(|line| line.trim().strip_prefix(key))?;
        line.trim().strip_suffix(unit)?.trim().parse::<f64>().ok().filter(|number| !number.is_nan())
    };
    Some(Loudness {
        integrated_lufs: number("I:", "LUFS")?.clamp(-70.0, 70.0),
        true_peak_dbtp: number("Peak:", "dBFS")?.clamp(-120.0, 120.0),
    })
}

/// The rate of the ladder: the family of 44.1 kHz stays in it, all others become 48 kHz.
fn ladder_rate(source: u32) -> u32 {
    if source > 0 && source.is_multiple_of(11_025) { 44_100 } else { 48_000 }
}

fn secs(us: u64) -> String {
    format!("{}.{:01} s", us / 1_000_000, us % 1_000_000 / 100_000)
}

/// ffprobe's JSON, as far as it is read.
#[derive(Deserialize)]
struct ProbeAnswer {
    #[serde(default)]
    streams: Vec<ProbeStream>,
    #[serde(default)]
    format: ProbeFormat,
}

#[derive(Deserialize)]
struct ProbeStream {
    sample_rate: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct ProbeFormat {
    duration: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl ProbeAnswer {
    fn into_declared(self, estimated: bool) -> Result<Declared, Fault> {
        let stream =
            self.streams.into_iter().next().ok_or_else(|| Fault::NotAudio("it holds no sound".into()))?;
        let sample_rate = stream.sample_rate.and_then(|rate| rate.parse().ok()).unwrap_or(0);
        let length = stream.duration.or(self.format.duration).filter(|_| !estimated);
        // Ogg keeps its tags on the stream, everything else on the file; the file's win.
        let tags = stream.tags.into_iter().chain(self.format.tags);
        Ok(Declared {
            length_us: length.and_then(|secs| secs.parse::<f64>().ok()).map(|secs| (secs * 1e6) as u64),
            sample_rate,
            tags: tags.map(|(key, value)| (key.to_lowercase(), value)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(err: &str) -> Said {
        Said { success: true, out: Vec::new(), err: err.into(), err_cut: false }
    }

    #[test]
    fn an_error_is_found_behind_its_prefixes() {
        let line = "[info] Input\n[flac @ 0x55ca91bed280] [error] invalid residual\n[error] later";
        assert_eq!(complaint(&said(line)).as_deref(), Some("invalid residual"));
        let line = "[error] /tmp/.tmpx/source: Invalid data found when processing input";
        assert_eq!(complaint(&said(line)).as_deref(), Some("Invalid data found when processing input"));
    }

    #[test]
    fn a_tag_that_looks_like_an_error_is_none() {
        let text = "[info]     title           : [error] boo\n[error\n[mp3 @ 0x1] [warning] [error] x\n\n[";
        assert_eq!(complaint(&said(text)), None);
    }

    #[test]
    fn the_last_progress_counts() {
        assert_eq!(out_time_us(b"out_time_us=5\nx=1\nout_time_us=70\nprogress=end\n"), Some(70));
        assert_eq!(out_time_us(b"out_time_us=N/A\n"), None);
    }

    #[test]
    fn loudness_is_read_and_silence_is_told_as_the_gate() {
        let text = "[x] [info] Summary:\n\n  Integrated loudness:\n    I:         -15.0 LUFS\n    Threshold: -25.1 LUFS\n\
                    \n  Loudness range:\n    LRA:   1.6 LU\n\n  True peak:\n    Peak:       -3.0 dBFS\n";
        assert_eq!(loudness(text), Some(Loudness { integrated_lufs: -15.0, true_peak_dbtp: -3.0 }));
        let silent = text.replace("-15.0", "-inf").replace("-3.0", "-inf");
        assert_eq!(loudness(&silent), Some(Loudness { integrated_lufs: -70.0, true_peak_dbtp: -120.0 }));
        assert_eq!(loudness(&text.replace("-15.0", "nan")), None);
        assert_eq!(loudness("nothing"), None);
    }

    #[test]
    fn rates_stay_in_their_family() {
        assert_eq!([11_025, 22_050, 44_100, 88_200, 176_400].map(ladder_rate), [44_100; 5]);
        assert_eq!([0, 8_000, 16_000, 32_000, 48_000, 96_000, 192_000].map(ladder_rate), [48_000; 7]);
    }
}
