//! Plays the two demo tracks into WAV files: music of our own, made of sines and arithmetic, so that a fresh
//! clone has something to deliver that nobody else has rights in.
//!
//! ```text
//! cargo run -p antiphon-origin --example synthesise -- first-light first-light.wav
//! cargo run -p antiphon-origin --example synthesise -- paper-lanterns paper-lanterns.wav
//! ```
//!
//! `origin/tracks/README.md` holds the ffmpeg lines that turned them into the committed renditions.
//!
//! Promises
//! - The same program gives the same samples: no clock, no chance; the shaker's noise is a counter, mixed.
//! - 16-bit stereo at 44.1 kHz, peak at [`PEAK`], silence nowhere but in the two fades.

use std::f64::consts::TAU;
use std::io::{self, Write};

/// Sample frames a second.
const RATE: f64 = 44_100.0;
/// Where the loudest sample lands after normalising: 3 dB below full scale leaves room for AAC overshoot.
const PEAK: f64 = 0.707;
/// Fade at the start and at the end, seconds.
const FADE_IN_SECS: f64 = 0.05;
const FADE_OUT_SECS: f64 = 2.5;

/// One piece: a key, a pulse, and what each voice does over the bars.
struct Piece {
    name: &'static str,
    beats_per_minute: f64,
    beats_per_bar: usize,
    /// One chord a bar, as semitones above A1 (55 Hz), lowest note first.
    bars: &'static [[i32; 4]],
    /// Order in which the arpeggio visits the chord, two notes a beat; 4 and up are an octave higher.
    figure: &'static [usize],
    /// `(beat, length in beats, semitones above A4)`.
    melody: &'static [(f64, f64, i32)],
    /// Loudness of the shaker; 0 leaves it out.
    shaker: f64,
}

/// D major, gently rocking: a morning.
const FIRST_LIGHT: Piece = Piece {
    name: "first-light",
    beats_per_minute: 84.0,
    beats_per_bar: 4,
    bars: &[
        [5, 17, 24, 33],
        [2, 17, 21, 26],
        [10, 22, 26, 29],
        [0, 19, 24, 28],
        [5, 17, 24, 33],
        [9, 21, 24, 28],
        [10, 22, 26, 29],
        [0, 19, 24, 31],
        [2, 17, 21, 26],
        [10, 22, 26, 33],
        [5, 17, 21, 24],
        [5, 17, 24, 33],
    ],
    figure: &[0, 1, 2, 3, 5, 3, 2, 1],
    melody: &[
        (8.0, 3.0, 0),
        (11.0, 1.0, 2),
        (12.0, 4.0, 4),
        (16.0, 2.0, 9),
        (18.0, 2.0, 7),
        (20.0, 3.0, 4),
        (23.0, 1.0, 2),
        (24.0, 3.5, 5),
        (28.0, 2.0, 4),
        (30.0, 2.0, 2),
        (32.0, 3.0, 0),
        (35.0, 1.0, 2),
        (36.0, 2.0, 5),
        (38.0, 2.0, 4),
        (40.0, 6.0, -3),
    ],
    shaker: 0.0,
};

/// A minor, brisk, with a shaker: lanterns on a river.
const PAPER_LANTERNS: Piece = Piece {
    name: "paper-lanterns",
    beats_per_minute: 120.0,
    beats_per_bar: 4,
    bars: &[
        [0, 24, 27, 31],
        [8, 24, 27, 32],
        [3, 22, 27, 31],
        [10, 22, 26, 29],
        [0, 24, 27, 31],
        [5, 24, 29, 32],
        [8, 24, 27, 32],
        [7, 23, 26, 31],
        [5, 24, 29, 32],
        [10, 22, 26, 29],
        [0, 24, 27, 31],
        [0, 24, 27, 36],
    ],
    figure: &[1, 3, 2, 5, 3, 2, 6, 3],
    melody: &[
        (8.0, 1.5, 7),
        (9.5, 0.5, 5),
        (10.0, 2.0, 3),
        (12.0, 1.5, 5),
        (13.5, 0.5, 3),
        (14.0, 2.0, 2),
        (16.0, 3.0, 0),
        (20.0, 1.0, 3),
        (21.0, 1.0, 5),
        (22.0, 2.0, 8),
        (24.0, 1.5, 7),
        (25.5, 0.5, 8),
        (26.0, 2.0, 7),
        (28.0, 3.0, 2),
        (32.0, 1.0, 8),
        (33.0, 1.0, 7),
        (34.0, 2.0, 5),
        (36.0, 1.0, 5),
        (37.0, 1.0, 3),
        (38.0, 2.0, 2),
        (40.0, 5.0, 0),
    ],
    shaker: 0.05,
};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: synthesise first-light|paper-lanterns OUT.wav"));
    };
    let piece = [&FIRST_LIGHT, &PAPER_LANTERNS]
        .into_iter()
        .find(|piece| piece.name == name)
        .ok_or_else(|| io::Error::other(format!("no piece is called {name:?}")))?;
    let mix = piece.play();
    write_wav(io::BufWriter::new(std::fs::File::create(out)?), &mix)
}

/// Two channels of samples, as long as the piece.
struct Stereo {
    left: Vec<f64>,
    right: Vec<f64>,
}

/// What a note sounds like.
#[derive(Clone, Copy)]
enum Voice {
    Pad,
    Pluck,
    Bass,
    Flute,
}

impl Piece {
    fn play(&self) -> Stereo {
        let beat = 60.0 / self.beats_per_minute;
        let bar = beat * self.beats_per_bar as f64;
        let mut dry = Stereo::silent(bar * self.bars.len() as f64 + FADE_OUT_SECS);
        for (number, chord) in self.bars.iter().enumerate() {
            let start = number as f64 * bar;
            dry.note(Voice::Bass, start, bar * 0.95, pitch(55.0, chord[0]), 0.30, 0.0);
            for (voice, &step) in chord.iter().enumerate() {
                let place = (voice as f64 - 1.5) * 0.4;
                dry.note(Voice::Pad, start, bar * 1.1, pitch(110.0, step), 0.075, place);
            }
            for eighth in 0..self.beats_per_bar * 2 {
                let visit = self.figure[eighth % self.figure.len()];
                let step = chord[visit % 4] + if visit >= 4 { 12 } else { 0 };
                let place = if eighth % 2 == 0 { -0.5 } else { 0.5 };
                let accent = if eighth == 0 { 0.16 } else { 0.12 };
                dry.note(
                    Voice::Pluck,
                    start + eighth as f64 * beat / 2.0,
                    1.4,
                    pitch(220.0, step),
                    accent,
                    place,
                );
                dry.shake(
                    start + eighth as f64 * beat / 2.0,
                    self.shaker * if eighth % 2 == 0 { 1.0 } else { 0.6 },
                );
            }
        }
        for &(at, length, step) in self.melody {
            dry.note(Voice::Flute, at * beat, length * beat, pitch(440.0, step), 0.17, 0.1);
        }
        let mut mix = dry.in_a_room();
        mix.finish();
        mix
    }
}

/// Equal temperament.
fn pitch(base: f64, semitones: i32) -> f64 {
    base * 2f64.powf(f64::from(semitones) / 12.0)
}

impl Stereo {
    fn silent(secs: f64) -> Self {
        let len = (secs * RATE) as usize;
        Self { left: vec![0.0; len], right: vec![0.0; len] }
    }

    /// Adds one note; `place` runs from -1 (left) to 1 (right), by equal power.
    fn note(&mut self, voice: Voice, start: f64, length: f64, hertz: f64, gain: f64, place: f64) {
        let angle = (place + 1.0) * TAU / 16.0;
        let (to_left, to_right) = (gain * angle.cos(), gain * angle.sin());
        let first = (start * RATE) as usize;
        let count = ((length + voice.release()) * RATE) as usize;
        for (index, time) in (first..self.left.len()).take(count).zip((0..).map(|n: u32| f64::from(n) / RATE))
        {
            let sample = voice.sample(hertz, time) * voice.envelope(time, length);
            self.left[index] += to_left * sample;
            self.right[index] += to_right * sample;
        }
    }

    /// Adds one stroke of a shaker: high, short noise.
    fn shake(&mut self, start: f64, gain: f64) {
        let first = (start * RATE) as usize;
        let mut before = 0.0;
        for (count, index) in (first..self.left.len()).take((0.06 * RATE) as usize).enumerate() {
            let noise = noise(index as u64);
            let time = count as f64 / RATE;
            // The difference of neighbours keeps the hiss and drops the rumble.
            let sample = gain * (noise - before) * (time / 0.004).min(1.0) * (-time / 0.015).exp();
            before = noise;
            self.left[index] += sample * 0.8;
            self.right[index] += sample;
        }
    }

    /// A small hall: an echo across the channels and four combs and two all-passes a side (Schroeder 1962).
    fn in_a_room(self) -> Self {
        let tail = |dry: &[f64], shift: usize| {
            let mut wet = vec![0.0; dry.len()];
            for delay in [1557, 1617, 1491, 1422] {
                comb(dry, &mut wet, delay + shift, 0.80);
            }
            all_pass(&mut wet, 225 + shift, 0.5);
            all_pass(&mut wet, 556 + shift, 0.5);
            wet
        };
        let (wet_left, wet_right) = (tail(&self.left, 0), tail(&self.right, 23));
        let echo = (0.36 * RATE) as usize;
        let mix = |dry: &[f64], other: &[f64], wet: &[f64]| {
            (0..dry.len())
                .map(|n| dry[n] + 0.22 * n.checked_sub(echo).map_or(0.0, |n| other[n]) + 0.09 * wet[n])
                .collect()
        };
        Self {
            left: mix(&self.left, &self.right, &wet_left),
            right: mix(&self.right, &self.left, &wet_right),
        }
    }

    /// Fades both ends and brings the loudest sample to [`PEAK`].
    fn finish(&mut self) {
        let end = self.left.len() as f64 / RATE;
        let loudest =
            self.left.iter().chain(&self.right).fold(0.0_f64, |most, sample| most.max(sample.abs()));
        for channel in [&mut self.left, &mut self.right] {
            for (index, sample) in channel.iter_mut().enumerate() {
                let time = index as f64 / RATE;
                let fade = (time / FADE_IN_SECS).min((end - time) / FADE_OUT_SECS).clamp(0.0, 1.0);
                *sample *= PEAK / loudest * fade;
            }
        }
    }
}

impl Voice {
    /// The wave of this voice, `time` seconds into the note.
    fn sample(self, hertz: f64, time: f64) -> f64 {
        let sine = |multiple: f64| (TAU * hertz * multiple * time).sin();
        match self {
            // Two slightly detuned stacks of soft harmonics.
            Self::Pad => (1..=5)
                .map(|n| (sine(f64::from(n) * 0.998) + sine(f64::from(n) * 1.002)) / f64::from(n * n))
                .sum(),
            // Harmonics that die the faster the higher they are: a string let go.
            Self::Pluck => {
                (1..=7).map(|n| sine(f64::from(n)) * (-time * 3.2 * f64::from(n)).exp() / f64::from(n)).sum()
            }
            Self::Bass => sine(1.0) + 0.35 * sine(2.0) + 0.12 * sine(3.0),
            // Vibrato that arrives late, as a player's would.
            Self::Flute => {
                let sway = 0.004 * (time * 2.0).min(1.0) * hertz / 5.2 * (TAU * 5.2 * time).sin();
                (TAU * hertz * time + sway).sin()
                    + 0.18 * (TAU * 2.0 * hertz * time + sway).sin()
                    + 0.05 * sine(3.0)
            }
        }
    }

    /// Attack, hold, release.
    fn envelope(self, time: f64, length: f64) -> f64 {
        let attack = match self {
            Self::Pad => 0.5,
            Self::Pluck => 0.004,
            Self::Bass => 0.03,
            Self::Flute => 0.07,
        };
        let rise = (time / attack).min(1.0);
        let fall = (1.0 - (time - length) / self.release()).clamp(0.0, 1.0);
        // Squared, so that both ends are soft.
        (rise * fall).powi(2)
    }

    /// Seconds a note sounds on after its length.
    fn release(self) -> f64 {
        match self {
            Self::Pad => 0.8,
            Self::Pluck => 0.2,
            Self::Bass => 0.15,
            Self::Flute => 0.3,
        }
    }
}

/// A number from -1 to 1 that looks like chance and is none (the finaliser of SplitMix64).
fn noise(counter: u64) -> f64 {
    let mut bits = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// Adds a feedback comb of `dry` to `wet`.
fn comb(dry: &[f64], wet: &mut [f64], delay: usize, feedback: f64) {
    let mut line = vec![0.0; delay];
    for (index, sample) in dry.iter().enumerate() {
        let slot = &mut line[index % delay];
        wet[index] += *slot;
        *slot = sample + *slot * feedback;
    }
}

/// Smears `signal` in time, leaving its spectrum alone.
fn all_pass(signal: &mut [f64], delay: usize, gain: f64) {
    let mut line = vec![0.0; delay];
    for (index, sample) in signal.iter_mut().enumerate() {
        let slot = &mut line[index % delay];
        let out = *slot - gain * *sample;
        *slot = *sample + gain * out;
        *sample = out;
    }
}

/// Writes 16-bit PCM in the plainest of headers.
fn write_wav(mut out: impl Write, mix: &Stereo) -> io::Result<()> {
    let data_len = u32::try_from(mix.left.len() * 4).map_err(io::Error::other)?;
    let rate = RATE as u32;
    out.write_all(b"RIFF")?;
    out.write_all(&(data_len + 36).to_le_bytes())?;
    out.write_all(b"WAVEfmt \x10\0\0\0\x01\0\x02\0")?;
    out.write_all(&rate.to_le_bytes())?;
    out.write_all(&(rate * 4).to_le_bytes())?;
    out.write_all(b"\x04\0\x10\0data")?;
    out.write_all(&data_len.to_le_bytes())?;
    for (left, right) in mix.left.iter().zip(&mix.right) {
        for sample in [left, right] {
            out.write_all(&((sample * 32767.0).round() as i16).to_le_bytes())?;
        }
    }
    out.flush()
}
