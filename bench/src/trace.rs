//! What a city listens to for two months: which chunk is asked for when.
//!
//! The requests at a point of presence of the seed document, thinned to every thousandth song: 100,000 songs
//! of 100 million, 18,000 plays a day of 18 million, 228,881 chunks of 256 KiB of disk for 60 TB, and 11,444 (a
//! twentieth) of memory. Thinning by songs keeps every ratio that a cache lives by: plays per song and day,
//! cache to catalogue, accesses per cache size.
//!
//! - **Catalogue.** Songs last 205 s in the median (log-normal, sigma 0.28, 45 s to 15 min) and come in 64, 128,
//!   256 and 320 kbit/s; each quality is an object of its own.
//! - **Popularity.** The seed document's counts: the top million songs have 80 % of the plays, the next nine
//!   million 15 %, the other ninety 5 %. Inside a band plays fall by a power of the rank. Ranks
//!   drift, and each day a thousandth of the catalogue is released anew: 3 % of that begins hot and falls for a
//!   month. See [`charts`].
//! - **Sessions** begin as a Poisson process that swings by 80 % over the day, play 12 songs in the mean, at one
//!   quality (12 % low, 50 % normal, 23 % high, 15 % premium) that changes with one song in 20, and one
//!   song in 20 is the one before once more.
//! - **Plays.** 25 % are skipped within seconds (exponential, 12 s), 25 % are left somewhere, half are heard to
//!   the end; one in 25 starts by a jump into the song. The player asks for chunks 30 s ahead of the ear, so chunks of
//!   many listeners are asked for in turn.
//!
//! Promises: the same terms and seed give the same trace on every machine.
//!
//! Does not know: caches.

pub mod chance;
pub mod charts;

use chance::Chance;
use charts::{Charts, Popularity};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What the trace is like.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Chance of the whole trace.
    pub seed: u64,
    /// Songs at any time.
    pub songs: u32,
    /// Chunks asked for.
    pub accesses: usize,
    /// How plays spread over songs.
    pub popularity: Popularity,
}

/// One chunk asked for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Number of the chunk, counted over all objects in the order of their first play.
    pub chunk: u32,
    /// Its length.
    pub bytes: u32,
}

/// What was asked for, in order.
pub struct Trace {
    /// The accesses.
    pub accesses: Vec<Access>,
    /// Chunk numbers are below this.
    pub chunks: u32,
    /// Days that it took.
    pub days: f64,
    /// Songs begun.
    pub plays: u64,
}

/// Songs in the seed document's catalogue.
pub const SONGS_WHOLE: f64 = 100e6;
/// Bytes of disk of a point of presence there.
pub const DISK_WHOLE: f64 = 60e12;
/// Memory of a point of presence as a share of its disk: 11,444 chunks of 228,882.
pub const MEMORY_SHARE: f64 = 0.05;

/// Bytes of a chunk.
pub const CHUNK_BYTES: u32 = 256 << 10;

/// 3.6 billion plays a day over 200 points of presence, by song of the catalogue.
const PLAYS_A_DAY_AND_SONG: f64 = 3.6e9 / 200.0 / SONGS_WHOLE;
const DAY_SECS: f64 = 86_400.0;
const SESSION_SONGS: f64 = 12.0;
const SWING: f64 = 0.8;
/// Quality in bits a second, and the share of sessions that end at or below it.
const QUALITIES: [(f64, f64); 4] = [(64e3, 0.12), (128e3, 0.62), (256e3, 0.85), (320e3, 1.0)];
const QUALITY_CHANGES: f64 = 0.05;
const ONCE_MORE: f64 = 0.05;
const SKIPPED: (f64, f64) = (0.25, 12.0);
const LEFT: f64 = 0.25;
const JUMPS: f64 = 0.04;
const AHEAD_SECS: f64 = 30.0;

impl Default for Terms {
    fn default() -> Self {
        Self {
            seed: 1,
            songs: 100_000,
            accesses: 15_000_000,
            popularity: Popularity { hot_until: 0.012, hot_slope: 0.72, warm_slope: 0.4, warm_until: 0.1 },
        }
    }
}

impl Terms {
    /// Chunks of disk that stand for 60 TB with so many songs.
    pub fn disk_chunks(&self) -> usize {
        (DISK_WHOLE * f64::from(self.songs) / SONGS_WHOLE / f64::from(CHUNK_BYTES)) as usize
    }

    /// Chunks of memory.
    pub fn memory_chunks(&self) -> usize {
        (self.disk_chunks() as f64 * MEMORY_SHARE) as usize
    }

    /// The same, of the songs and accesses this share.
    pub fn thinned(&self, share: f64) -> Self {
        Self {
            songs: ((f64::from(self.songs) * share) as u32).max(1),
            accesses: (self.accesses as f64 * share) as usize,
            ..self.clone()
        }
    }
}

impl Trace {
    /// Makes the trace.
    pub fn new(terms: &Terms) -> Self {
        let mut city = City::new(terms);
        let mut accesses = Vec::with_capacity(terms.accesses);
        while accesses.len() < terms.accesses {
            accesses.extend(city.step());
        }
        Self { accesses, chunks: city.chunks, days: city.now / DAY_SECS, plays: city.plays }
    }
}

/// Everybody who listens, and what is played.
struct City {
    chance: Chance,
    charts: Charts,
    /// Of each song, once played: its length, and the first chunk of each quality, once played.
    songs: Vec<Song>,
    chunks: u32,
    plays: u64,
    listeners: Vec<Listener>,
    /// Numbers of listeners whose session is over.
    gone: Vec<usize>,
    /// What happens next, by milliseconds: a listener asks for a chunk, or ([`ARRIVAL`]) somebody comes.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    now: f64,
    day: u32,
    seed: u64,
}

const ARRIVAL: usize = usize::MAX;

#[derive(Clone, Copy)]
struct Song {
    secs: f64,
    first_chunk: [Option<u32>; 4],
}

struct Listener {
    songs_left: u32,
    song: u32,
    quality: usize,
    /// Seconds at which the song began, as if from its start.
    began: f64,
    /// Seconds into the song at which it is left.
    until: f64,
    chunk: u32,
    chunks: u32,
    first_chunk: u32,
}

impl City {
    fn new(terms: &Terms) -> Self {
        let charts = Charts::new(terms.songs, terms.popularity.clone());
        Self {
            chance: Chance::new(terms.seed),
            charts,
            songs: Vec::new(),
            chunks: 0,
            plays: 0,
            listeners: Vec::new(),
            gone: Vec::new(),
            next: BinaryHeap::from([Reverse((0, ARRIVAL))]),
            now: 0.0,
            day: 0,
            seed: terms.seed,
        }
    }

    /// Lets the next thing happen.
    fn step(&mut self) -> Option<Access> {
        let Reverse((at, who)) = self.next.pop()?;
        self.now = at as f64 / 1000.0;
        while self.now >= f64::from(self.day + 1) * DAY_SECS {
            self.day += 1;
            self.charts.turn(self.day, &mut self.chance);
        }
        if who == ARRIVAL {
            self.arrive();
            return None;
        }
        let access = self.access(who);
        self.go_on(who);
        access
    }

    fn arrive(&mut self) {
        let mean = DAY_SECS * SESSION_SONGS / (PLAYS_A_DAY_AND_SONG * f64::from(self.charts.len()));
        let swing = 1.0 + SWING * (std::f64::consts::TAU * self.now / DAY_SECS).sin();
        let wait = self.chance.exponential(mean / swing);
        self.at(self.now + wait, ARRIVAL);
        let listener = Listener {
            songs_left: 1 + self.chance.exponential(SESSION_SONGS - 0.5) as u32,
            song: self.charts.draw(&mut self.chance),
            quality: self.quality(),
            began: self.now,
            until: 0.0,
            chunk: 0,
            chunks: 0,
            first_chunk: 0,
        };
        let who = self.gone.pop().unwrap_or(self.listeners.len());
        if who == self.listeners.len() {
            self.listeners.push(listener);
        } else {
            self.listeners[who] = listener;
        }
        self.begin(who, self.now);
    }

    /// The listener begins the song that is set.
    fn begin(&mut self, who: usize, now: f64) {
        self.plays += 1;
        let (song, quality) = (self.listeners[who].song, self.listeners[who].quality);
        let secs = self.song(song).secs;
        let from = if self.chance.happens(JUMPS) { self.chance.unit() * secs } else { 0.0 };
        let heard = match self.chance.unit() {
            dice if dice < SKIPPED.0 => self.chance.exponential(SKIPPED.1),
            dice if dice < SKIPPED.0 + LEFT => self.chance.unit() * (secs - from),
            _ => secs,
        };
        let until = (from + heard).min(secs);
        let object = object_bytes(secs, quality);
        let first_chunk = self.first_chunk(song, quality);
        let listener = &mut self.listeners[who];
        listener.songs_left -= 1;
        listener.began = now - from;
        listener.until = until;
        listener.first_chunk = first_chunk;
        listener.chunk = (from / chunk_secs(quality)) as u32;
        let wanted = (((until + AHEAD_SECS) / chunk_secs(quality)) as u32).saturating_add(1);
        listener.chunks = wanted.min(object.div_ceil(u64::from(CHUNK_BYTES)) as u32);
        listener.chunk = listener.chunk.min(listener.chunks - 1);
        self.at(now, who);
    }

    /// The chunk the listener is at.
    fn access(&mut self, who: usize) -> Option<Access> {
        let Listener { song, quality, chunk, first_chunk, .. } = self.listeners[who];
        let object = object_bytes(self.song(song).secs, quality);
        let start = u64::from(chunk) * u64::from(CHUNK_BYTES);
        let bytes = object.checked_sub(start)?.min(u64::from(CHUNK_BYTES)) as u32;
        Some(Access { chunk: first_chunk + chunk, bytes })
    }

    /// To the next chunk, the next song, or home.
    fn go_on(&mut self, who: usize) {
        let listener = &mut self.listeners[who];
        listener.chunk += 1;
        if listener.chunk < listener.chunks {
            let ear = f64::from(listener.chunk) * chunk_secs(listener.quality);
            let at = (listener.began + ear - AHEAD_SECS).max(self.now);
            self.at(at, who);
            return;
        }
        if listener.songs_left == 0 {
            self.gone.push(who);
            return;
        }
        let ends = (listener.began + listener.until).max(self.now);
        if !self.chance.happens(ONCE_MORE) {
            self.listeners[who].song = self.charts.draw(&mut self.chance);
        }
        if self.chance.happens(QUALITY_CHANGES) {
            self.listeners[who].quality = self.quality();
        }
        self.begin(who, ends);
    }

    fn at(&mut self, secs: f64, who: usize) {
        self.next.push(Reverse(((secs * 1000.0) as u64, who)));
    }

    fn quality(&mut self) -> usize {
        let dice = self.chance.unit();
        QUALITIES.iter().position(|(_, below)| dice < *below).unwrap_or(QUALITIES.len() - 1)
    }

    fn song(&mut self, song: u32) -> Song {
        let seed = self.seed;
        let made = |song| {
            let secs = Chance::new(seed ^ (song << 20)).log_normal(205.0, 0.28).clamp(45.0, 900.0);
            Song { secs, first_chunk: [None; 4] }
        };
        while self.songs.len() <= song as usize {
            self.songs.push(made(self.songs.len() as u64));
        }
        self.songs[song as usize]
    }

    fn first_chunk(&mut self, song: u32, quality: usize) -> u32 {
        let Song { secs, first_chunk } = self.song(song);
        first_chunk[quality].unwrap_or_else(|| {
            let first = self.chunks;
            self.chunks += object_bytes(secs, quality).div_ceil(u64::from(CHUNK_BYTES)) as u32;
            self.songs[song as usize].first_chunk[quality] = Some(first);
            first
        })
    }
}

fn object_bytes(secs: f64, quality: usize) -> u64 {
    (secs * QUALITIES[quality].0 / 8.0) as u64
}

fn chunk_secs(quality: usize) -> f64 {
    f64::from(CHUNK_BYTES) * 8.0 / QUALITIES[quality].0
}
