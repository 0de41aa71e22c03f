//! What the tests stand on: recordings made here, recordings made by ffmpeg, the reference packager.

use antiphon_core::Scheme;
use antiphon_drm::content::index::SampleIndex;
use antiphon_drm::content::source::AudioFile;
use antiphon_drm::content::template::Template;
use antiphon_drm::keys::KeyId;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A progressive MP4 of AAC samples, put together byte by byte so that any part of it can be odd.
#[derive(Clone, Debug)]
pub struct Recording {
    pub samples: Vec<Vec<u8>>,
    /// Runs of `stts`: samples, units.
    pub durations: Vec<(u32, u32)>,
    /// Runs of `stsc`: first chunk, samples a chunk.
    pub chunk_runs: Vec<(u32, u32)>,
    /// Samples of each chunk; must agree with `chunk_runs`.
    pub chunks: Vec<usize>,
    pub timescale: u32,
    pub movie_timescale: u32,
    pub edits: Vec<(u64, i64)>,
    pub wide: Wide,
    pub place: Place,
    pub entry: Vec<u8>,
    /// Handlers of further tracks.
    pub other_tracks: Vec<[u8; 4]>,
}

/// Whether offsets and times take 32 or 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wide {
    No,
    Yes,
}

/// Where `moov` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Front,
    End,
}

impl Recording {
    /// `count` samples of AAC-LC at 44.1 kHz, one chunk, primed by 1,024 units.
    pub fn of(count: usize) -> Self {
        let mut dice = Dice::new(count as u64);
        let samples: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let len = 1 + dice.below(300);
                dice.bytes(len as usize)
            })
            .collect();
        let total = count as u64 * 1024;
        Self {
            durations: vec![(count as u32, 1024)],
            chunk_runs: vec![(1, count as u32)],
            chunks: vec![count],
            timescale: 44_100,
            movie_timescale: 44_100,
            edits: if count > 1 { vec![(total - 1024, 1024)] } else { vec![] },
            wide: Wide::No,
            place: Place::End,
            entry: aac_entry(2, 2),
            other_tracks: vec![],
            samples,
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let ftyp = mp4_box(b"ftyp", &[b"M4A \0\0\x02\0M4A isom"]);
        let mdat = mp4_box(b"mdat", &[&self.samples.concat()]);
        let front_len = match self.place {
            Place::Front => ftyp.len() + self.moov(0).len(),
            Place::End => ftyp.len(),
        };
        let moov = self.moov(front_len as u64 + 8);
        match self.place {
            Place::Front => [ftyp, moov, mdat].concat(),
            Place::End => [ftyp, mdat, moov].concat(),
        }
    }

    fn moov(&self, first_sample: u64) -> Vec<u8> {
        let total: u64 = self.durations.iter().map(|(n, d)| u64::from(*n) * u64::from(*d)).sum();
        let mut tracks = vec![self.trak(first_sample, total)];
        tracks.extend(self.other_tracks.iter().map(|handler| mp4_box(b"trak", &[&mdia(&[&hdlr(handler)])])));
        mp4_box(b"moov", &[&self.timed(b"mvhd", self.movie_timescale, total), &tracks.concat()])
    }

    fn trak(&self, first_sample: u64, total: u64) -> Vec<u8> {
        let stbl = mp4_box(
            b"stbl",
            &[
                &full_box(b"stsd", 0, &[&1_u32.to_be_bytes(), &self.entry]),
                &full_box(b"stts", 0, &[&table(&self.durations, |(n, d)| [n, d])]),
                &full_box(b"stsc", 0, &[&table(&self.chunk_runs, |(first, n)| [first, n, 1])]),
                &full_box(b"stsz", 0, &[&[0; 4], &table(&self.samples, |sample| [sample.len() as u32])]),
                &self.offsets(first_sample),
            ],
        );
        let dref = full_box(b"dref", 0, &[&1_u32.to_be_bytes(), b"\0\0\0\x0curl \0\0\0\x01"]);
        let minf = mp4_box(b"minf", &[&full_box(b"smhd", 0, &[&[0; 4]]), &mp4_box(b"dinf", &[&dref]), &stbl]);
        let mdia = mdia(&[&self.timed(b"mdhd", self.timescale, total), &hdlr(b"soun"), &minf]);
        mp4_box(b"trak", &[&full_box(b"tkhd", 0, &[&[0; 80]]), &self.edts(), &mdia])
    }

    fn edts(&self) -> Vec<u8> {
        let count = (self.edits.len() as u32).to_be_bytes();
        let edits: Vec<u8> = self
            .edits
            .iter()
            .flat_map(|(units, skip)| match self.wide {
                Wide::Yes => [&units.to_be_bytes()[..], &skip.to_be_bytes(), &[0, 1, 0, 0]].concat(),
                Wide::No => {
                    [&(*units as u32).to_be_bytes()[..], &(*skip as i32).to_be_bytes(), &[0, 1, 0, 0]]
                        .concat()
                }
            })
            .collect();
        match self.edits.is_empty() {
            true => Vec::new(),
            false => {
                mp4_box(b"edts", &[&full_box(b"elst", u8::from(self.wide == Wide::Yes), &[&count, &edits])])
            }
        }
    }

    fn offsets(&self, first_sample: u64) -> Vec<u8> {
        let mut at = first_sample;
        let mut samples = self.samples.iter();
        let offsets: Vec<u64> = self
            .chunks
            .iter()
            .map(|count| {
                let start = at;
                at += samples.by_ref().take(*count).map(|sample| sample.len() as u64).sum::<u64>();
                start
            })
            .collect();
        let count = (offsets.len() as u32).to_be_bytes();
        match self.wide {
            Wide::Yes => full_box(
                b"co64",
                0,
                &[&count, &offsets.iter().flat_map(|at| at.to_be_bytes()).collect::<Vec<_>>()],
            ),
            Wide::No => full_box(
                b"stco",
                0,
                &[&count, &offsets.iter().flat_map(|at| (*at as u32).to_be_bytes()).collect::<Vec<_>>()],
            ),
        }
    }

    fn timed(&self, kind: &[u8; 4], timescale: u32, duration: u64) -> Vec<u8> {
        match self.wide {
            Wide::Yes => {
                full_box(kind, 1, &[&[0; 16], &timescale.to_be_bytes(), &duration.to_be_bytes(), &[0; 80]])
            }
            Wide::No => full_box(
                kind,
                0,
                &[&[0; 8], &timescale.to_be_bytes(), &(duration as u32).to_be_bytes(), &[0; 80]],
            ),
        }
    }
}

fn mdia(parts: &[&[u8]]) -> Vec<u8> {
    mp4_box(b"mdia", parts)
}

fn hdlr(handler: &[u8; 4]) -> Vec<u8> {
    full_box(b"hdlr", 0, &[&[0; 4], handler, &[0; 13]])
}

/// An `mp4a` sample entry with an AudioSpecificConfig of these two numbers at 44.1 kHz.
pub fn aac_entry(object_type: u8, channels: u8) -> Vec<u8> {
    let config = u16::from(object_type) << 11 | 4 << 7 | u16::from(channels) << 3;
    let specific = [&[5, 2][..], &config.to_be_bytes()].concat();
    let decoder = [&[4, 13 + specific.len() as u8, 0x40, 0x15][..], &[0; 11], &specific].concat();
    // The length of the ES descriptor in the long form that ffmpeg writes.
    let es = [&[3, 0x80, 0x80, 0x80, 3 + decoder.len() as u8, 0, 1, 0][..], &decoder].concat();
    let fields =
        [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 8], &[0, 2, 0, 16, 0, 0, 0, 0, 0xac, 0x44, 0, 0]].concat();
    mp4_box(b"mp4a", &[&fields, &full_box(b"esds", 0, &[&es])])
}

pub fn mp4_box(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
}

pub fn full_box(kind: &[u8; 4], version: u8, parts: &[&[u8]]) -> Vec<u8> {
    mp4_box(kind, &[&[&[version, 0, 0, 0][..]], parts].concat())
}

fn table<T: Clone, const N: usize>(rows: &[T], row: impl Fn(T) -> [u32; N]) -> Vec<u8> {
    let words = rows.iter().cloned().flat_map(row).flat_map(u32::to_be_bytes);
    (rows.len() as u32).to_be_bytes().into_iter().chain(words).collect()
}

/// Chance from a seed, so that a failure can be met again.
pub struct Dice(antiphon_core::Dice);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(antiphon_core::Dice::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.roll()
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Lays a file out as ingest does, with room for `kid_count` key ids.
pub fn template(bytes: &[u8], kid_count: usize) -> Template {
    let file = AudioFile::parse(bytes).unwrap();
    Template::build(&file, file.frames_per_fragment(), kid_count, Scheme::Cenc).unwrap()
}

/// `count` key ids that differ in every byte.
pub fn kids(seed: u8, count: usize) -> Vec<KeyId> {
    (0..count as u8).map(|at| KeyId::from_bytes([seed.wrapping_add(at).wrapping_mul(37) | 1; 16])).collect()
}

/// Which bytes of a file change with the key: key ids and samples.
pub fn changeable(index: &SampleIndex) -> Vec<bool> {
    let mut may = vec![false; index.total_len() as usize];
    for patch in index.kid_patches() {
        may[patch.offset as usize..][..16].fill(true);
    }
    for fragment in index.fragments() {
        let filled: u32 = index.sizes_of(fragment).iter().sum();
        may[fragment.payload as usize..][..filled as usize].fill(true);
    }
    may
}

/// A directory, ffmpeg, and python with the reference beside it; `None`, loudly, where one is missing.
pub struct Workshop {
    pub dir: TempDir,
    python: String,
    reference: PathBuf,
}

impl Workshop {
    pub fn open() -> Option<Self> {
        let python = std::env::var("ANTIPHON_PYTHON").unwrap_or_else(|_| "python3".into());
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/reference");
        let reference =
            std::env::var_os("ANTIPHON_REFERENCE_DIR").map_or_else(|| beside.into(), PathBuf::from);
        if !reference.join("pack.py").is_file() {
            return skipped("the reference packager is missing (set ANTIPHON_REFERENCE_DIR)");
        }
        if !succeeds(Command::new(&python).args(["-c", "import cryptography"])) {
            return skipped(
                "python's `cryptography` is missing (pip install cryptography, set ANTIPHON_PYTHON)",
            );
        }
        if !succeeds(Command::new("ffmpeg").arg("-version")) {
            return skipped("ffmpeg is missing (apt-get install ffmpeg)");
        }
        Some(Self { dir: TempDir::new().unwrap(), python, reference })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Noise and a tone, `secs` long, at `rate`, encoded with `codec` arguments into the file `name`.
    pub fn record(&self, name: &str, secs: &str, rate: u32, codec: &[&str]) -> Vec<u8> {
        let noise = format!("anoisesrc=r={rate}:d={secs}:a=0.2:s=7");
        let tone = format!("sine=f=440:r={rate}:d={secs}");
        run(Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "lavfi", "-i", &noise, "-f", "lavfi", "-i", &tone])
            .args(["-filter_complex", "amerge"])
            .args(codec)
            .arg(self.path(name)));
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs the reference packager; gives the file and its description.
    pub fn pack(&self, input: &str, output: &str, args: &[&str]) -> (Vec<u8>, serde_json::Value) {
        run(Command::new(&self.python)
            .arg(self.reference.join("pack.py"))
            .args([self.path(input), self.path(output)])
            .args(args));
        let described = std::fs::read(self.path(&format!("{output}.json"))).unwrap();
        (std::fs::read(self.path(output)).unwrap(), serde_json::from_slice(&described).unwrap())
    }

    /// Runs the reference manifest writer over files it has packed; gives the MPD.
    pub fn manifest(&self, env: &[(&str, &str)], files: &[String]) -> String {
        run(Command::new(&self.python)
            .envs(env.iter().copied())
            .arg(self.reference.join("manifest.py"))
            .arg(self.dir.path())
            .arg("track")
            .args(files.iter().map(|file| self.path(file))));
        std::fs::read_to_string(self.path("track.mpd")).unwrap()
    }

    /// Decodes a file to 16-bit PCM, edit list ignored.
    pub fn decode(&self, input: &str, before: &[&str]) -> Vec<u8> {
        run(Command::new("ffmpeg")
            .args(["-v", "error", "-ignore_editlist", "1"])
            .args(before)
            .arg("-i")
            .arg(self.path(input))
            .args(["-f", "s16le", "-"]))
    }
}

/// Where tests may not be skipped they fail; elsewhere they say so past the capture of the test harness.
fn skipped<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "CI must not skip: {why}");
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
    None
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a command that must succeed and not complain; gives what it wrote.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Writes a file into a workshop.
pub fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}
