//! The layout of an object, written once: boxes final, payload clear, key ids zero (MEDIA.md §3, §10).
//!
//! `ftyp moov sidx (moof mdat)+`. The reference packager (`pack.py --template`) writes the same bytes for the
//! same recording; a test holds the two together.
//!
//! Promises
//! - What [`SampleIndex`] says of the bytes is true: both are written in the same pass.
//! - The same recording gives the same bytes, always.
//!
//! Does not know: keys, epochs, where templates are kept.

mod init;

use super::boxes::{put_box, put_full_box, put_u32, put_u32s};
use super::divide_half_even;
use super::index::{FRAGMENTS_MAX, Facts, FragmentShape, IndexError, KIDS_MAX, MDAT_HEADER_LEN, SampleIndex};
use super::source::{AudioFile, Sample};
use antiphon_core::Scheme;

/// A template: the bytes of every object made from it but for key ids and samples, and where these lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The file, payload clear, key ids zero.
    pub bytes: Vec<u8>,
    /// Where everything lies in it.
    pub index: SampleIndex,
}

/// Why a recording cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A scheme this packager does not write.
    #[error("scheme {} is not packaged: cenc is", .0.fourcc())]
    Scheme(Scheme),
    /// Fragments of no samples, or of more than fit their tables.
    #[error("{0} samples a fragment: 1 to {FRAMES_PER_FRAGMENT_MAX} are possible")]
    FramesPerFragment(u32),
    /// No rendition, or more than an init segment lists.
    #[error("{0} key ids: 1 to {KIDS_MAX} are possible")]
    KidCount(usize),
    /// A longer track than one `sidx` can list.
    #[error("the track has {0} fragments: at most {FRAGMENTS_MAX} are possible")]
    Fragments(usize),
    /// A fragment larger than `sidx` can say.
    #[error("fragment {number} has {len} bytes: at most {FRAGMENT_LEN_MAX} are possible")]
    FragmentLen {
        /// Which one, from 0.
        number: usize,
        /// Its length.
        len: u64,
    },
    /// The layout contradicts itself; a defect of this packager.
    #[error("index the template")]
    Index(#[from] IndexError),
}

/// Most samples in a fragment: their table stays small beside them.
pub const FRAMES_PER_FRAGMENT_MAX: u32 = 4096;
/// Largest fragment, in bytes: the 31 bits of a `sidx` reference.
pub const FRAGMENT_LEN_MAX: u64 = 0x7fff_ffff;

impl Template {
    /// Lays `file` out in fragments of `frames_per_fragment` samples, with room for the key ids of all
    /// `kid_count` renditions of the track.
    pub fn build(
        file: &AudioFile<'_>,
        frames_per_fragment: u32,
        kid_count: usize,
        scheme: Scheme,
    ) -> Result<Self, TemplateError> {
        if scheme != Scheme::Cenc {
            return Err(TemplateError::Scheme(scheme));
        }
        if !(1..=FRAMES_PER_FRAGMENT_MAX).contains(&frames_per_fragment) {
            return Err(TemplateError::FramesPerFragment(frames_per_fragment));
        }
        if !(1..=KIDS_MAX).contains(&kid_count) {
            return Err(TemplateError::KidCount(kid_count));
        }
        let fragments = cut(file, frames_per_fragment as usize)?;
        let mut bytes = Vec::with_capacity(expected_len(file, fragments.len()));
        let kid_offsets = init::put_init(&mut bytes, file, kid_count);
        let init_len = bytes.len() as u32;
        put_sidx(&mut bytes, file.timescale(), &fragments);
        let sidx_len = bytes.len() as u32 - init_len;
        fragments
            .iter()
            .enumerate()
            .for_each(|(at, fragment)| fragment.put(&mut bytes, at as u32 + 1, file.frame()));
        let facts = Facts {
            scheme,
            codecs: file.codec().to_string(),
            channels: file.channels(),
            timescale: file.timescale(),
            frame: file.frame(),
            priming: file.priming(),
            play: file.play(),
            init_len,
            sidx_len,
            bandwidth: bit_rate(bytes.len() as u64, file.timescale(), file.play()),
            max_bandwidth: fragments
                .iter()
                .map(|f| bit_rate(f.len(), file.timescale(), f.units()))
                .max()
                .unwrap_or(0),
        };
        let shapes: Vec<_> = fragments.iter().map(Cut::shape).collect();
        let sizes = file.samples().iter().map(Sample::len).collect();
        let index = SampleIndex::assemble(facts, &kid_offsets, &shapes, sizes)?;
        debug_assert_eq!(index.total_len(), bytes.len() as u64, "the index ends where the file ends");
        Ok(Self { bytes, index })
    }
}

/// A run of samples that becomes one fragment.
struct Cut<'a> {
    samples: &'a [Sample<'a>],
    /// Number of its first sample in the track.
    first: u32,
    /// When it begins, in units of the timescale.
    starts: u64,
    /// Whether every sample lasts as long as the track's first: then durations need not be listed.
    even: bool,
}

/// Bytes of `moof` that do not depend on the number of samples: headers and fields of `moof`, `mfhd`, `traf`,
/// `tfhd`, `tfdt`, `trun`, `saiz`, `saio` and `senc`.
const MOOF_FIXED_LEN: u32 = 8 + 16 + 8 + 24 + 20 + 20 + 17 + 20 + 16;
/// Bytes of `moof` before the first IV, but for what `trun` lists.
const IVS_AT: u32 = MOOF_FIXED_LEN;
/// Bytes of an IV in `senc`.
const IV_LEN: u32 = 8;

impl Cut<'_> {
    fn count(&self) -> u32 {
        // At most `FRAMES_PER_FRAGMENT_MAX`.
        self.samples.len() as u32
    }

    fn listed_len(&self) -> u32 {
        self.count() * if self.even { 4 } else { 8 }
    }

    fn moof_len(&self) -> u32 {
        MOOF_FIXED_LEN + self.listed_len() + self.count() * IV_LEN
    }

    fn payload_len(&self) -> u64 {
        self.samples.iter().map(|sample| sample.bytes.len() as u64).sum()
    }

    fn len(&self) -> u64 {
        u64::from(self.moof_len()) + u64::from(MDAT_HEADER_LEN) + self.payload_len()
    }

    fn units(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.duration)).sum()
    }

    /// All lengths fit: `cut` has held them against [`FRAGMENT_LEN_MAX`].
    fn shape(&self) -> FragmentShape {
        FragmentShape {
            moof_len: self.moof_len(),
            payload_len: self.payload_len() as u32,
            samples: self.samples.len() as u16,
            variant: 0,
        }
    }

    /// Writes `moof` and `mdat`.
    fn put(&self, out: &mut Vec<u8>, sequence: u32, frame: u32) {
        let start = out.len();
        put_box(out, b"moof", |out| {
            put_full_box(out, b"mfhd", 0, 0, |out| put_u32(out, sequence));
            put_box(out, b"traf", |out| {
                // Default base is moof; default duration and flags: a sample that depends on no other.
                put_full_box(out, b"tfhd", 0, 0x02_0028, |out| put_u32s(out, [1, frame, 0x0200_0000]));
                put_full_box(out, b"tfdt", 1, 0, |out| out.extend(self.starts.to_be_bytes()));
                self.put_trun(out);
                put_full_box(out, b"saiz", 0, 0, |out| {
                    out.push(IV_LEN as u8);
                    put_u32(out, self.count());
                });
                put_full_box(out, b"saio", 0, 0, |out| put_u32s(out, [1, IVS_AT + self.listed_len()]));
                put_full_box(out, b"senc", 0, 0, |out| self.put_ivs(out));
            });
        });
        debug_assert_eq!(out.len() - start, self.moof_len() as usize, "a moof is as long as foretold");
        put_box(out, b"mdat", |out| self.samples.iter().for_each(|sample| out.extend(sample.bytes)));
    }

    fn put_trun(&self, out: &mut Vec<u8>) {
        // Data offset and sizes; durations only where they are not all alike.
        let flags = if self.even { 0x201 } else { 0x301 };
        put_full_box(out, b"trun", 0, flags, |out| {
            put_u32s(out, [self.count(), self.moof_len() + MDAT_HEADER_LEN]);
            for sample in self.samples {
                if !self.even {
                    put_u32(out, sample.duration);
                }
                put_u32(out, sample.len());
            }
        });
    }

    /// One IV a sample: variant A, then the number of the sample over the track.
    fn put_ivs(&self, out: &mut Vec<u8>) {
        put_u32(out, self.count());
        (0..self.count()).for_each(|at| out.extend(u64::from(self.first + at).to_be_bytes()));
    }
}

impl Sample<'_> {
    fn len(&self) -> u32 {
        // At most `SAMPLE_LEN_MAX`, which the parser upholds.
        self.bytes.len() as u32
    }
}

fn cut<'a>(file: &'a AudioFile<'_>, frames: usize) -> Result<Vec<Cut<'a>>, TemplateError> {
    let count = file.samples().len().div_ceil(frames);
    if count > FRAGMENTS_MAX {
        return Err(TemplateError::Fragments(count));
    }
    let (mut first, mut starts) = (0, 0);
    let mut fragments = Vec::with_capacity(count);
    for (number, samples) in file.samples().chunks(frames).enumerate() {
        let even = samples.iter().all(|sample| sample.duration == file.frame());
        let fragment = Cut { samples, first, starts, even };
        if fragment.len() > FRAGMENT_LEN_MAX {
            return Err(TemplateError::FragmentLen { number, len: fragment.len() });
        }
        first += fragment.count();
        starts += fragment.units();
        fragments.push(fragment);
    }
    Ok(fragments)
}

/// `sidx`, version 0: one reference a fragment, each of which starts with a sync sample.
fn put_sidx(out: &mut Vec<u8>, timescale: u32, fragments: &[Cut<'_>]) {
    const STARTS_WITH_SAP_1: u32 = 0x9000_0000;
    put_full_box(out, b"sidx", 0, 0, |out| {
        // Reference id, timescale, earliest presentation time, first offset; then the 16-bit count.
        put_u32s(out, [1, timescale, 0, 0, fragments.len() as u32]);
        for fragment in fragments {
            put_u32s(out, [fragment.len() as u32, fragment.units() as u32, STARTS_WITH_SAP_1]);
        }
    });
}

fn bit_rate(len: u64, timescale: u32, units: u64) -> u64 {
    divide_half_even(u128::from(len) * 8 * u128::from(timescale), u128::from(units))
}

/// Room for the whole file, so that it is allocated once.
fn expected_len(file: &AudioFile<'_>, fragments: usize) -> usize {
    let samples: usize = file.samples().iter().map(|sample| sample.bytes.len() + 16).sum();
    2048 + file.entry().len() + samples + fragments * (12 + MOOF_FIXED_LEN as usize + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_rate_is_bits_over_seconds() {
        assert_eq!(bit_rate(16_000, 44_100, 44_100), 128_000);
        assert_eq!(bit_rate(1, 1, 0), 0);
    }

    #[test]
    fn the_fixed_part_of_a_fragment_is_what_the_format_says() {
        // MEDIA.md §3: 149 bytes a fragment and 12 a sample, mdat header not counted.
        assert_eq!(MOOF_FIXED_LEN, 149);
    }
}
