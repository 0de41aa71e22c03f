//! Which song is how popular today: ranks, their drift, and releases.

use super::chance::Chance;

/// How plays spread over a catalogue, by share of its songs: the seed document's bands. It is a function of the
/// share and not of the rank, so a catalogue of every thousandth song behaves like the whole one.
#[derive(Clone, Debug)]
pub struct Popularity {
    /// The share of the songs that counts as hot.
    pub hot_until: f64,
    /// Inside the hot band plays fall with the rank to this power: 0 is even, below 1.
    pub hot_slope: f64,
    /// The same inside the warm band.
    pub warm_slope: f64,
    /// Share of the songs down to which a song counts as warm.
    pub warm_until: f64,
}

/// The songs by rank.
pub struct Charts {
    popularity: Popularity,
    /// Invariant: `rank_of[by_rank[rank]] == rank`.
    by_rank: Vec<u32>,
    /// By song; what it says about a song that has left the catalogue means nothing.
    rank_of: Vec<u32>,
    /// Songs that began high and are falling, with the day they fall until.
    falling: Vec<(u32, u32)>,
}

/// The hot band has four fifths of the plays, the warm band 15 %, the cold rest 5 %.
const HOT_PLAYS: f64 = 0.8;
const WARM_PLAYS: f64 = 0.15;

/// Each day this share of the ranks is exchanged with one nearby (about a third up or down).
const DRIFT_A_DAY: f64 = 0.02;
const DRIFT_REACH: f64 = 0.3;
/// Each day this share of the catalogue is released, in place of its coldest songs.
const RELEASES_A_DAY: f64 = 0.001;
/// The part of the ranks that makes room for releases.
const COLDEST: f64 = 0.1;
/// Of the releases so many begin in the hot band, more of them towards its top.
const RELEASED_HOT: f64 = 0.03;
/// A release that began hot falls for so many days, by this factor in rank each day.
const FALL_DAYS: u32 = 30;
const FALL_A_DAY: f64 = 1.1;

impl Popularity {
    /// The share of the catalogue above the song that the play numbered `play` (0 to below 1, by popularity) is of.
    pub fn song_at(&self, play: f64) -> f64 {
        let within = |play: f64, slope: f64| play.powf(1.0 / (1.0 - slope));
        let (hot_songs, hot_plays) = (self.hot_until, HOT_PLAYS);
        if play < hot_plays {
            hot_songs * within(play / hot_plays, self.hot_slope)
        } else if play < hot_plays + WARM_PLAYS {
            let warm = within((play - hot_plays) / WARM_PLAYS, self.warm_slope);
            hot_songs + (self.warm_until - hot_songs) * warm
        } else {
            let cold = (play - hot_plays - WARM_PLAYS) / (1.0 - hot_plays - WARM_PLAYS);
            self.warm_until + (1.0 - self.warm_until) * cold
        }
    }
}

impl Charts {
    /// `songs` songs, song 0 at the top.
    pub fn new(songs: u32, popularity: Popularity) -> Self {
        let by_rank: Vec<u32> = (0..songs).collect();
        Self { popularity, rank_of: by_rank.clone(), by_rank, falling: Vec::new() }
    }

    /// The song of the next play.
    pub fn draw(&self, chance: &mut Chance) -> u32 {
        let share = self.popularity.song_at(chance.unit());
        self.by_rank[((share * self.by_rank.len() as f64) as usize).min(self.by_rank.len() - 1)]
    }

    /// How many songs there are at any time.
    pub fn len(&self) -> u32 {
        self.by_rank.len() as u32
    }

    /// Whether there is no song.
    pub fn is_empty(&self) -> bool {
        self.by_rank.is_empty()
    }

    /// How many songs there have ever been.
    pub fn ever(&self) -> u32 {
        self.rank_of.len() as u32
    }

    /// Lets one day pass: day number `day` begins.
    pub fn turn(&mut self, day: u32, chance: &mut Chance) {
        let songs = self.by_rank.len() as f64;
        for _ in 0..(songs * DRIFT_A_DAY / 2.0) as u32 {
            let rank = chance.unit() * songs;
            self.exchange(rank as usize, chance.log_normal(rank, DRIFT_REACH) as usize);
        }
        self.falling.retain(|(_, until)| *until > day);
        for at in 0..self.falling.len() {
            let rank = self.rank_of[self.falling[at].0 as usize] as usize;
            self.exchange(rank, (rank as f64 * FALL_A_DAY) as usize + 1);
        }
        for _ in 0..(songs * RELEASES_A_DAY) as u32 {
            self.release(day, chance);
        }
    }

    fn release(&mut self, day: u32, chance: &mut Chance) {
        let songs = self.by_rank.len();
        let rank = songs - 1 - (chance.unit() * songs as f64 * COLDEST) as usize;
        let song = self.ever();
        self.by_rank[rank] = song;
        self.rank_of.push(rank as u32);
        if chance.happens(RELEASED_HOT) {
            let top = (songs as f64 * self.popularity.hot_until).max(1.0);
            self.rise(rank, (top * chance.unit().powi(2)) as usize);
            self.falling.push((song, day + FALL_DAYS));
        }
    }

    /// Takes a song from one rank up to another; whoever is in the way steps down by half a rank's worth, and so on.
    fn rise(&mut self, from: usize, to: usize) {
        let mut rank = to;
        while rank < from {
            self.exchange(rank, from);
            rank += rank / 2 + 1;
        }
    }

    fn exchange(&mut self, one: usize, other: usize) {
        let other = other.min(self.by_rank.len() - 1);
        self.by_rank.swap(one, other);
        for rank in [one, other] {
            self.rank_of[self.by_rank[rank] as usize] = rank as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charts() -> Charts {
        Charts::new(10_000, Popularity { hot_until: 0.1, hot_slope: 0.7, warm_slope: 0.3, warm_until: 0.4 })
    }

    #[test]
    fn plays_fall_into_the_bands_of_the_seed_document() {
        let (charts, mut chance) = (charts(), Chance::new(1));
        let plays: Vec<u32> = (0..100_000).map(|_| charts.draw(&mut chance)).collect();
        let share = |songs: std::ops::Range<u32>| {
            plays.iter().filter(|song| songs.contains(song)).count() as f64 / plays.len() as f64
        };
        assert!((0.79..0.81).contains(&share(0..1000)), "hot {}", share(0..1000));
        assert!((0.14..0.16).contains(&share(1000..4000)), "warm {}", share(1000..4000));
        assert!((0.045..0.055).contains(&share(4000..10_000)), "cold {}", share(4000..10_000));
    }

    #[test]
    fn days_move_ranks_and_bring_songs_and_every_song_has_one_rank() {
        let (mut charts, mut chance) = (charts(), Chance::new(1));
        (0..100).for_each(|day| charts.turn(day, &mut chance));
        assert_eq!(charts.ever(), 10_000 + 100 * 10);
        for (rank, song) in charts.by_rank.iter().enumerate() {
            assert_eq!(charts.rank_of[*song as usize], rank as u32);
        }
        let stayed = (0..1000).filter(|song| charts.rank_of[*song as usize] < 1000).count();
        assert!((400..900).contains(&stayed), "{stayed} of the hot 1000 are still hot");
    }
}
