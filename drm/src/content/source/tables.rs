//! The sample tables (ISO/IEC 14496-12 §8.6.1.2, §8.7): where each sample lies and how long it lasts.

use super::{SAMPLE_DURATION_MAX, SAMPLE_LEN_MAX, SAMPLES_MAX, Sample, SourceError, at_most_one, only};
use crate::content::boxes::Found;

/// All samples of the track; never empty.
pub(super) fn samples<'a>(stbl: &Found<'_>, file: &'a [u8]) -> Result<Vec<Sample<'a>>, SourceError> {
    let lens = sample_lens(&only(stbl, b"stsz")?, file.len() as u64)?;
    let mut durations = Durations::of(&only(stbl, b"stts")?, lens.len())?;
    let chunks = chunk_offsets(stbl)?;
    let mut runs = ChunkRuns::of(&only(stbl, b"stsc")?)?;
    let mut samples = Vec::with_capacity(lens.len());
    let mut lens = lens.into_iter().enumerate();
    for (chunk, first) in chunks.into_iter().enumerate() {
        let mut offset = first;
        for _ in 0..runs.samples_in(chunk as u64 + 1) {
            let (at, len) =
                lens.next().ok_or(SourceError::Tables("chunks hold more samples than there are"))?;
            let bytes = slice(file, offset, len).ok_or(SourceError::SampleOutside {
                // Fits: `SAMPLES_MAX` bounds the table.
                sample: at as u32,
                offset,
                len,
                file_len: file.len() as u64,
            })?;
            samples.push(Sample { bytes, duration: durations.next()? });
            offset += u64::from(len);
        }
    }
    match lens.next() {
        Some(_) => Err(SourceError::Tables("chunks hold fewer samples than there are")),
        None => Ok(samples),
    }
}

/// `stsz`: the length of each sample, none of them zero, together no longer than the file.
fn sample_lens(stsz: &Found<'_>, file_len: u64) -> Result<Vec<u32>, SourceError> {
    let (fixed, count) = (stsz.u32(4)?, stsz.u32(8)?);
    if count == 0 {
        return Err(SourceError::NoSamples);
    }
    if count > SAMPLES_MAX {
        return Err(SourceError::TooManySamples(count.into()));
    }
    // A table of one number can claim any count, and a listed one the same bytes many times: the file must be
    // long enough before memory is taken.
    let total = match fixed {
        0 => stsz.records(12, count, 4)?.map(|len| u64::from(word(len))).sum(),
        len => u64::from(len) * u64::from(count),
    };
    if total > file_len {
        return Err(SourceError::SamplesOverlap { total, file_len });
    }
    let lens: Vec<u32> = match fixed {
        0 => stsz.records(12, count, 4)?.map(word).collect(),
        len => vec![len; count as usize],
    };
    if let Some(at) = lens.iter().position(|len| !(1..=SAMPLE_LEN_MAX).contains(len)) {
        return Err(SourceError::SampleLen { sample: at as u32, len: lens[at] });
    }
    Ok(lens)
}

/// `stco` or `co64`: where each chunk begins.
fn chunk_offsets(stbl: &Found<'_>) -> Result<Vec<u64>, SourceError> {
    match (at_most_one(stbl, b"stco")?, at_most_one(stbl, b"co64")?) {
        (Some(stco), None) => {
            Ok(stco.records(8, stco.u32(4)?, 4)?.map(|offset| u64::from(word(offset))).collect())
        }
        (None, Some(co64)) => Ok(co64
            .records(8, co64.u32(4)?, 8)?
            .map(|offset| u64::from(word(offset)) << 32 | u64::from(word(&offset[4..])))
            .collect()),
        (None, None) => Err(SourceError::Tables("neither stco nor co64")),
        (Some(_), Some(_)) => Err(SourceError::Tables("both stco and co64")),
    }
}

/// `stsc`: how many samples each chunk holds, in runs of chunks.
struct ChunkRuns {
    /// First chunk of the run, from 1, and samples in each of its chunks. Invariant: strictly rising first
    /// chunks, beginning with 1; upheld by `of`.
    runs: Vec<(u32, u32)>,
    at: usize,
}

impl ChunkRuns {
    fn of(stsc: &Found<'_>) -> Result<Self, SourceError> {
        let runs: Vec<(u32, u32)> =
            stsc.records(8, stsc.u32(4)?, 12)?.map(|run| (word(run), word(&run[4..]))).collect();
        let rising = runs.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !rising || runs.first().is_none_or(|(first, _)| *first != 1) {
            return Err(SourceError::Tables("stsc does not count chunks up from 1"));
        }
        Ok(Self { runs, at: 0 })
    }

    /// Samples in `chunk`, counted from 1; asked in rising order.
    fn samples_in(&mut self, chunk: u64) -> u32 {
        while self.runs.get(self.at + 1).is_some_and(|(first, _)| u64::from(*first) <= chunk) {
            self.at += 1;
        }
        self.runs[self.at].1
    }
}

/// `stts`: how long samples last, in runs of samples.
struct Durations {
    runs: std::vec::IntoIter<(u32, u32)>,
    left: u32,
    duration: u32,
}

impl Durations {
    fn of(stts: &Found<'_>, samples: usize) -> Result<Self, SourceError> {
        let runs: Vec<(u32, u32)> =
            stts.records(8, stts.u32(4)?, 8)?.map(|run| (word(run), word(&run[4..]))).collect();
        let told: u64 = runs.iter().map(|(count, _)| u64::from(*count)).sum();
        if told != samples as u64 {
            return Err(SourceError::Tables("stts and stsz count different numbers of samples"));
        }
        let odd =
            runs.iter().find(|(count, length)| *count > 0 && !(1..=SAMPLE_DURATION_MAX).contains(length));
        match odd {
            Some((_, length)) => Err(SourceError::SampleDuration(*length)),
            None => Ok(Self { runs: runs.into_iter(), left: 0, duration: 0 }),
        }
    }

    fn next(&mut self) -> Result<u32, SourceError> {
        while self.left == 0 {
            let run = self.runs.next().ok_or(SourceError::Tables("stts has fewer samples than stsz"))?;
            (self.left, self.duration) = run;
        }
        self.left -= 1;
        Ok(self.duration)
    }
}

fn slice(file: &[u8], offset: u64, len: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    file.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// The first big-endian word of a record at least four bytes long.
fn word(record: &[u8]) -> u32 {
    u32::from_be_bytes([record[0], record[1], record[2], record[3]])
}
