//! What the cache knows about one object and where its chunks are, for whoever asks why.
//!
//! Promises
//! - Changes nothing: no chunk counts as asked for, nothing is fetched, no volume is read.
//! - Bounded: [`CHUNKS_MAX`] chunks are looked at.
//!
//! Does not know: listeners, tokens.

use crate::body::Source;
use crate::meta::{Freshness, Known, Look, Standing};
use crate::object::{ChunkKey, ObjName};
use crate::tiers::Tiers;
use antiphon_core::chunk::touched;
use antiphon_core::{Span, UnixTime};
use serde::Serialize;

/// All that can be said about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its path.
    pub object: String,
    /// Its key in every index, in hexadecimal digits.
    pub key: String,
    /// What a request would meet now.
    pub verdict: Verdict,
    /// The present purge generation.
    pub generation: u64,
    /// What was asked from upstream in an older generation is gone.
    pub purged_below: u64,
    /// What was asked from upstream in an older generation is stale.
    pub stale_below: u64,
    /// What is known about it.
    pub known: Option<KnownObject>,
    /// Why upstream refused it a short while ago.
    pub refused: Option<String>,
    /// Where its chunks are, in order; empty if its length is not known.
    pub chunks: Vec<ChunkRun>,
}

/// What a request would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// An answer at once, as far as the chunks are here.
    Fresh,
    /// The same, while upstream is asked whether the object has changed.
    Stale,
    /// The same, because upstream is in trouble.
    StaleOnError,
    /// An answer once upstream has said whether the object has changed.
    Revalidate,
    /// An answer once upstream, or a volume, has said what the object is.
    Unknown,
    /// A refusal, as remembered.
    Refused,
}

/// A description and how long it holds. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownObject {
    /// Bytes of the whole object.
    pub total_len: u64,
    /// Its entity tag.
    pub etag: Option<String>,
    /// Its version, in hexadecimal digits.
    pub version: String,
    /// What it can be purged by.
    pub tags: Vec<String>,
    /// Caching terms as sent.
    pub cache_control: Option<String>,
    /// Served without asking until then.
    pub fresh_until: UnixTime,
    /// Served until then while upstream is asked.
    pub stale_while_revalidate_until: UnixTime,
    /// Served until then if upstream is in trouble.
    pub stale_if_error_until: UnixTime,
    /// The purge generation in which upstream was asked.
    pub generation: u64,
    /// Answers given about it since it is known.
    pub answers: u32,
}

/// Neighbouring chunks in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChunkRun {
    /// Number of the first.
    pub first: u32,
    /// Number of the last.
    pub last: u32,
    /// Where they are.
    pub place: Place,
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In memory.
    Ram,
    /// On its way.
    Flight,
    /// On an SSD; wrong once in a thousand times.
    Ssd,
    /// On an HDD; wrong once in a thousand times.
    Hdd,
    /// With upstream only.
    Upstream,
}

/// Chunks that are looked at: 16 GiB.
const CHUNKS_MAX: u32 = 1 << 16;

impl Tiers {
    /// What there is to say about an object.
    pub fn explain(&self, object: &ObjName) -> Explanation {
        let key = object.key();
        let standing = self.metas.standing(key, self.clock.now());
        let refused = self.metas.negative(key).map(|error| error.to_string());
        let verdict = match (&standing, &refused) {
            (_, Some(_)) => Verdict::Refused,
            (Some(standing), None) => standing.verdict(),
            (None, None) => Verdict::Unknown,
        };
        let tags = standing.as_ref().map_or(&[][..], |standing| &standing.known.meta.tags);
        let floor = self.generations.floor(key, tags);
        let chunks = standing.as_ref().filter(|standing| standing.known.asked_in() >= floor.hard);
        Explanation {
            object: object.as_str().to_owned(),
            key: format!("{key:?}"),
            verdict,
            generation: self.generations.now(),
            purged_below: floor.hard,
            stale_below: floor.soft,
            chunks: chunks.map_or_else(Vec::new, |standing| self.places(object, standing)),
            known: standing.map(|standing| KnownObject::from(&*standing.known)),
            refused,
        }
    }

    fn places(&self, object: &ObjName, standing: &Standing) -> Vec<ChunkRun> {
        let count = Span::whole(standing.known.meta.total_len).map_or(0, |whole| touched(whole).end);
        let running = self.flights.lock();
        let mut runs: Vec<ChunkRun> = Vec::new();
        for no in 0..count.min(CHUNKS_MAX) {
            let key = ChunkKey { obj: object.key(), no };
            let place = if self.ram.holds(key, standing.chunks) {
                Place::Ram
            } else if running.flight(key, standing.chunks).is_some() {
                Place::Flight
            } else {
                match self.disks.holds(key).map(Source::from) {
                    Some(Source::Ssd) => Place::Ssd,
                    Some(_) => Place::Hdd,
                    None => Place::Upstream,
                }
            };
            match runs.last_mut() {
                Some(run) if run.place == place => run.last = no,
                _ => runs.push(ChunkRun { first: no, last: no, place }),
            }
        }
        runs
    }
}

impl Standing {
    fn verdict(&self) -> Verdict {
        match &self.look {
            Look::Serve(view) | Look::ServeAndAsk(view) => match view.freshness {
                Freshness::Fresh | Freshness::Revalidated => Verdict::Fresh,
                Freshness::Stale => Verdict::Stale,
                Freshness::StaleOnError => Verdict::StaleOnError,
            },
            Look::Ask(_) => Verdict::Revalidate,
            Look::Unknown => Verdict::Unknown,
        }
    }
}

impl From<&Known> for KnownObject {
    fn from(known: &Known) -> Self {
        let meta = &known.meta;
        Self {
            total_len: meta.total_len,
            etag: meta.etag.clone(),
            version: format!("{:016x}", meta.ver),
            tags: meta.tags.clone(),
            cache_control: meta.cache_control.clone(),
            fresh_until: meta.fresh_until,
            stale_while_revalidate_until: meta.stale_while_revalidate_until,
            stale_if_error_until: meta.stale_if_error_until,
            generation: known.asked_in(),
            answers: known.answers(),
        }
    }
}
