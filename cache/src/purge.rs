//! Purging by generation: what was fetched before a purge counts no longer, however much there is of it.
//!
//! A purge raises the generation and notes it as the *floor* of its scope. Whatever was asked from upstream in
//! an older generation than the floor of its object, of one of its tags, of a prefix of one, or of everything,
//! is not there any more: no chunk is looked for, none is deleted.
//!
//! Promises
//! - A purge takes the same time however many chunks it hits; a look-up after no purge costs one comparison.
//! - Generations grow, also across a restart that lost the last of them: one is the second it begins in, unless
//!   that is past already.
//! - At most [`SCOPES_MAX`] floors are kept. The rule beyond: the older half becomes one floor of everything, as
//!   high as the highest of them. That purges more than was asked and never less.
//!
//! Does not know: tiers. A purge by tag hits the objects whose newest description has the tag.

use crate::disk::format::{PurgeRecord, PurgeScope};
use crate::object::{ObjKey, ObjName};
use antiphon_core::UnixTime;
use antiphon_core::dice::scatter;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is to be purged.
#[derive(Clone, Debug)]
pub enum Purge {
    /// One object.
    Object(ObjName),
    /// Every object with this tag.
    Tag(String),
    /// Every object with a tag that starts with these bytes.
    TagPrefix(String),
    /// Every object.
    Everything,
}

/// What becomes of the purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeManner {
    /// It is gone.
    Hard,
    /// It is stale: still served while upstream is asked whether it has changed.
    Soft,
}

/// The oldest generations that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    /// What is older is gone.
    pub hard: u64,
    /// What is older is stale.
    pub soft: u64,
}

/// All purges, as floors.
#[derive(Default)]
pub(crate) struct Generations {
    /// Invariant: at least every floor in `table`. Raised after the floor is in there, so that whoever sees the
    /// generation sees the floor.
    now: AtomicU64,
    /// Invariant: at least every floor of a tag or a prefix in `table`, and raised before `now` is.
    tagged: AtomicU64,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    /// Never holds `Everything`.
    floors: HashMap<PurgeScope, Floor>,
    all: Floor,
    /// How many tags have a floor, and how many prefixes of each length: lengths that nobody purged are not
    /// hashed.
    tags: usize,
    prefixes: BTreeMap<u16, usize>,
}

/// Floors kept besides that of everything, about 64 bytes each.
pub(crate) const SCOPES_MAX: usize = 1 << 18;

impl Generations {
    /// The present generation.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// The record of a purge that has yet to be made. Whoever calls makes one purge at a time.
    pub fn next(&self, scope: PurgeScope, manner: PurgeManner, at: UnixTime) -> PurgeRecord {
        let generation = self.now().saturating_add(1).max(at.0);
        PurgeRecord { generation, soft: manner == PurgeManner::Soft, scope, at_secs: at.0 }
    }

    /// From here on the purge holds.
    pub fn apply(&self, record: &PurgeRecord) {
        self.table.write().lower(record, SCOPES_MAX);
        if matches!(record.scope, PurgeScope::Tag(_) | PurgeScope::TagPrefix { .. }) {
            self.tagged.fetch_max(record.generation, Ordering::AcqRel);
        }
        self.now.fetch_max(record.generation, Ordering::AcqRel);
    }

    /// Whether what was asked in generation `asked_in` counts whatever tags the object turns out to have.
    pub fn counts_untagged(&self, object: ObjKey, asked_in: u64) -> bool {
        asked_in >= self.now()
            || asked_in >= self.tagged.load(Ordering::Acquire) && asked_in >= self.floor(object, &[]).newest()
    }

    /// The oldest generations that count for an object.
    pub fn floor(&self, object: ObjKey, tags: &[String]) -> Floor {
        self.table.read().floor(object, tags)
    }
}

impl Table {
    fn lower(&mut self, record: &PurgeRecord, scopes_max: usize) {
        let floor = if record.soft {
            Floor { hard: 0, soft: record.generation }
        } else {
            Floor { hard: record.generation, soft: 0 }
        };
        if record.scope == PurgeScope::Everything {
            self.all = self.all.max(floor);
            return;
        }
        if !self.floors.contains_key(&record.scope) {
            if self.floors.len() >= scopes_max {
                self.fold();
            }
            self.count(record.scope);
        }
        let entry = self.floors.entry(record.scope).or_default();
        *entry = entry.max(floor);
    }

    fn count(&mut self, scope: PurgeScope) {
        match scope {
            PurgeScope::Everything | PurgeScope::Object(_) => {}
            PurgeScope::Tag(_) => self.tags += 1,
            PurgeScope::TagPrefix { len, .. } => *self.prefixes.entry(len).or_default() += 1,
        }
    }

    /// Makes the older half of the floors one floor of everything.
    fn fold(&mut self) {
        let mut ages: Vec<_> = self.floors.values().map(|floor| floor.newest()).collect();
        let middle = ages.len() / 2;
        let Some((_, &mut threshold, _)) = (!ages.is_empty()).then(|| ages.select_nth_unstable(middle))
        else {
            return;
        };
        let mut folded = self.all;
        self.floors.retain(|_, floor| {
            let keep = floor.newest() > threshold;
            if !keep {
                folded = folded.max(*floor);
            }
            keep
        });
        self.all = folded;
        self.tags = 0;
        self.prefixes.clear();
        let left: Vec<_> = self.floors.keys().copied().collect();
        left.into_iter().for_each(|scope| self.count(scope));
    }

    fn floor(&self, object: ObjKey, tags: &[String]) -> Floor {
        let at = |scope| self.floors.get(&scope).copied().unwrap_or_default();
        let mut floor = self.all;
        if self.floors.is_empty() {
            return floor;
        }
        floor = floor.max(at(PurgeScope::Object(object)));
        for tag in tags {
            if self.tags > 0 {
                floor = floor.max(at(PurgeScope::Tag(hash(tag.as_bytes()))));
            }
            for &len in self.prefixes.keys() {
                let Some(prefix) = tag.as_bytes().get(..usize::from(len)) else { break };
                floor = floor.max(at(PurgeScope::TagPrefix { len, hash: hash(prefix) }));
            }
        }
        floor
    }
}

impl Floor {
    fn max(self, other: Self) -> Self {
        Self { hard: self.hard.max(other.hard), soft: self.soft.max(other.soft) }
    }

    pub fn newest(self) -> u64 {
        self.hard.max(self.soft)
    }
}

impl Purge {
    /// The scope that stands for it in tables and logs.
    pub(crate) fn scope(&self) -> PurgeScope {
        match self {
            Self::Object(object) => PurgeScope::Object(object.key()),
            Self::Tag(tag) => PurgeScope::Tag(hash(tag.as_bytes())),
            Self::TagPrefix(prefix) => match u16::try_from(prefix.len()) {
                // Every tag starts with nothing; no tag is longer than 64 KiB.
                Ok(0) => PurgeScope::Everything,
                Ok(len) => PurgeScope::TagPrefix { len, hash: hash(prefix.as_bytes()) },
                Err(_) => PurgeScope::TagPrefix { len: u16::MAX, hash: hash(prefix.as_bytes()) },
            },
            Self::Everything => PurgeScope::Everything,
        }
    }
}

/// The first 16 bytes of SHA-256.
fn hash(text: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(text)[..16]);
    short
}

/// The version that chunks are kept under in memory: another one after every purge that hits their object, so
/// that a chunk from before can never be found.
pub(crate) fn mix(ver: u64, floor: u64) -> u64 {
    if floor == 0 {
        return ver;
    }
    scatter(ver ^ floor.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(records: &[PurgeRecord]) -> Generations {
        let generations = Generations::default();
        records.iter().for_each(|record| generations.apply(record));
        generations
    }

    fn record(scope: PurgeScope, generation: u64) -> PurgeRecord {
        PurgeRecord { generation, soft: false, scope, at_secs: 0 }
    }

    fn object(no: usize) -> ObjKey {
        ObjName::new(&format!("/{no}")).key()
    }

    #[test]
    fn a_purge_hits_its_object_its_tag_its_prefix_or_everything_and_nothing_else() {
        let tags = ["asset:1".to_owned(), "label:x".to_owned()];
        for (purge, hits) in [
            (Purge::Object(ObjName::new("/1")), true),
            (Purge::Object(ObjName::new("/2")), false),
            (Purge::Tag("label:x".into()), true),
            (Purge::Tag("label:".into()), false),
            (Purge::TagPrefix("label:".into()), true),
            (Purge::TagPrefix("label:x".into()), true),
            (Purge::TagPrefix("label:xy".into()), false),
            (Purge::TagPrefix(String::new()), true),
            (Purge::Everything, true),
        ] {
            for manner in [PurgeManner::Hard, PurgeManner::Soft] {
                let generations = Generations::default();
                let record = generations.next(purge.scope(), manner, UnixTime(7));
                generations.apply(&record);
                let floor = generations.floor(object(1), &tags);
                let (hit, other) = match manner {
                    PurgeManner::Hard => (floor.hard, floor.soft),
                    PurgeManner::Soft => (floor.soft, floor.hard),
                };
                assert_eq!((hit, other), (if hits { 7 } else { 0 }, 0), "{purge:?}");
                assert_eq!(generations.now(), 7);
            }
        }
    }

    #[test]
    fn generations_grow_even_if_the_clock_stands_still_or_goes_back() {
        let generations = after(&[record(PurgeScope::Everything, 5)]);
        for (secs, want) in [(5, 5 + 1), (5, 5 + 2), (3, 5 + 3)] {
            let record = generations.next(PurgeScope::Everything, PurgeManner::Hard, UnixTime(secs));
            generations.apply(&record);
            assert_eq!(generations.now(), want);
        }
    }

    #[test]
    fn what_was_asked_before_a_purge_counts_for_an_unknown_object_unless_the_purge_may_have_hit_it() {
        let generations = after(&[record(PurgeScope::Object(object(1)), 4)]);
        assert!(!generations.counts_untagged(object(1), 3) && generations.counts_untagged(object(1), 4));
        assert!(generations.counts_untagged(object(2), 3));
        generations.apply(&record(Purge::Tag("x".into()).scope(), 6));
        assert!(!generations.counts_untagged(object(2), 5) && generations.counts_untagged(object(2), 6));
    }

    #[test]
    fn purges_of_an_earlier_life_hold_in_any_order() {
        let generations = after(&[
            record(PurgeScope::Object(object(1)), 9),
            record(PurgeScope::Everything, 3),
            record(PurgeScope::Object(object(1)), 4),
        ]);
        assert_eq!((generations.floor(object(1), &[]).hard, generations.floor(object(2), &[]).hard), (9, 3));
        assert_eq!(generations.now(), 9);
    }

    #[test]
    fn a_full_table_makes_the_older_half_one_floor_of_everything() {
        let mut table = Table::default();
        (1..=8).for_each(|no| table.lower(&record(PurgeScope::Object(object(no)), no as u64), 8));
        table.lower(&record(PurgeScope::TagPrefix { len: 1, hash: hash(b"a") }, 9), 8);
        assert!(table.floors.len() <= 8);
        for no in 1..=8 {
            assert!(table.floor(object(no), &[]).hard >= no as u64, "nothing purged comes back");
        }
        assert_eq!(table.floor(object(99), &[]).hard, 5);
        assert_eq!(table.floor(object(99), &["ab".to_owned()]).hard, 9);
    }

    #[test]
    fn a_version_without_purges_is_itself_and_each_purge_makes_another() {
        assert_eq!(mix(7, 0), 7);
        let versions = [mix(7, 0), mix(7, 1), mix(7, 2), mix(8, 1)];
        for (no, ver) in versions.iter().enumerate() {
            assert!(!versions[..no].contains(ver));
        }
    }
}
