//! What is known about objects: their description, how long it holds, or that upstream does not have them.
//!
//! The door to `moka`, which brings the time limits.
//!
//! Promises
//! - What was asked before a purge that hits the object is not known any more; whether there was one costs one
//!   comparison if nothing was purged since the last look.
//! - What upstream does not allow to be kept is not kept; what was asked later is not overwritten by what was
//!   asked earlier. Both maps are bounded.
//!
//! Does not know: chunks.

use crate::config::RamConfig;
use crate::object::{ObjKey, ObjMeta, ObjName, TAGS_MAX};
use crate::purge::{Generations, mix};
use crate::upstream::UpstreamError;
use antiphon_core::UnixTime;
use moka::sync::Cache;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct Metas {
    known: Cache<ObjKey, Arc<Known>>,
    /// `None` when nothing negative is to be remembered.
    negative: Option<Cache<ObjKey, Negative>>,
    generations: Arc<Generations>,
}

/// An object that upstream has described.
pub(crate) struct Known {
    pub name: ObjName,
    pub meta: Arc<ObjMeta>,
    /// The generation in which upstream was asked.
    asked_in: u64,
    /// Invariant: `hard` and `soft` are at least the floors of generation `seen`.
    seen: AtomicU64,
    hard: AtomicU64,
    soft: AtomicU64,
    /// Answers given about it, across descriptions.
    answers: AtomicU32,
    /// Until then upstream is not asked again whether it has changed.
    quiet_until: AtomicU64,
    /// Whether the volumes have this description.
    on_disks: AtomicBool,
}

/// An object as one answer sees it.
#[derive(Clone)]
pub(crate) struct View {
    pub known: Arc<Known>,
    /// Chunks of an older generation do not count.
    pub floor: u64,
    pub freshness: Freshness,
}

/// Whether an answer is what upstream would say now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Upstream said that it holds until later than now.
    Fresh,
    /// Its time was over; upstream was asked, and nothing had changed.
    Revalidated,
    /// Its time is over; it is served while upstream is asked (RFC 5861 §3).
    Stale,
    /// Its time is over; it is served because upstream is in trouble (RFC 5861 §4).
    StaleOnError,
}

/// What to do about a request for an object.
pub(crate) enum Look {
    /// Answer.
    Serve(View),
    /// Answer, and ask upstream behind it.
    ServeAndAsk(View),
    /// Ask upstream whether it has changed.
    Ask(Arc<Known>),
    /// Ask upstream what it is.
    Unknown,
}

/// What is known, and what a request would meet.
pub(crate) struct Standing {
    pub known: Arc<Known>,
    /// The version that its chunks are kept under in memory.
    pub chunks: u64,
    pub look: Look,
}

#[derive(Clone)]
struct Negative {
    error: UpstreamError,
    asked_in: u64,
}

/// After an attempt to find out whether an object has changed, none is made for so long.
const QUIET_SECS: u64 = 5;

impl Metas {
    pub fn new(config: &RamConfig, generations: Arc<Generations>) -> Self {
        let negative = (config.negative_secs > 0 && config.negative_max > 0).then(|| {
            Cache::builder()
                .max_capacity(u64::from(config.negative_max))
                .time_to_live(Duration::from_secs(u64::from(config.negative_secs)))
                .build()
        });
        Self { known: Cache::new(u64::from(config.objects_max.max(1))), negative, generations }
    }

    /// What to do about a request at `now`.
    pub fn look(&self, key: ObjKey, now: UnixTime) -> Look {
        let Some(known) = self.known.get(&key) else { return Look::Unknown };
        let look = self.judge(key, known, now);
        match look {
            Look::ServeAndAsk(view) if !view.known.hush(now) => Look::Serve(view),
            look => look,
        }
    }

    /// The same without consequences, and what is known even if it was purged.
    pub fn standing(&self, key: ObjKey, now: UnixTime) -> Option<Standing> {
        let known = self.known.get(&key)?;
        let floor = known.floors(key, &self.generations).0;
        let view = View { known: Arc::clone(&known), floor, freshness: Freshness::Fresh };
        let look = self.judge(key, Arc::clone(&known), now);
        Some(Standing { chunks: view.chunks(), known, look })
    }

    fn judge(&self, key: ObjKey, known: Arc<Known>, now: UnixTime) -> Look {
        let (hard, soft) = known.floors(key, &self.generations);
        if known.asked_in < hard {
            return Look::Unknown;
        }
        let view = |known: Arc<Known>, freshness| View { known, floor: hard, freshness };
        let quiet = now.0 < known.quiet_until.load(Ordering::Relaxed);
        if known.asked_in >= soft && now < known.meta.fresh_until {
            Look::Serve(view(known, Freshness::Fresh))
        } else if now < known.meta.stale_while_revalidate_until {
            Look::ServeAndAsk(view(known, Freshness::Stale))
        } else if quiet && now < known.meta.stale_if_error_until {
            Look::Serve(view(known, Freshness::StaleOnError))
        } else {
            Look::Ask(known)
        }
    }

    /// How upstream refused the object a short while ago.
    pub fn negative(&self, key: ObjKey) -> Option<UpstreamError> {
        let negative = self.negative.as_ref()?.get(&key)?;
        let counts = self.generations.counts_untagged(key, negative.asked_in);
        counts.then_some(negative.error)
    }

    /// The object as upstream describes it, having been asked in generation `asked_in`. `None` if it was purged
    /// since.
    pub fn meet(
        &self,
        object: &ObjName,
        mut meta: ObjMeta,
        asked_in: u64,
        freshness: Freshness,
    ) -> Option<View> {
        let key = object.key();
        let mut answers = 0;
        if let Some(before) = self.known.get(&key) {
            answers = before.answers.load(Ordering::Relaxed);
            if before.meta.ver == meta.ver {
                unite(&mut meta.tags, &before.meta.tags);
            }
        }
        let known = Arc::new(Known::new(object, meta, asked_in, answers));
        let (hard, _) = known.floors(key, &self.generations);
        (hard <= asked_in).then_some(View { known, floor: hard, freshness })
    }

    /// Remembers the object, if it may be kept and nothing newer is known.
    pub fn learn(&self, key: ObjKey, view: &View) {
        if let Some(negative) = &self.negative {
            negative.invalidate(&key);
        }
        if !view.meta().may_be_kept() {
            self.known.invalidate(&key);
            return;
        }
        self.known.entry(key).and_upsert_with(|old| match old {
            Some(old) if old.value().asked_in > view.known.asked_in => old.into_value(),
            _ => Arc::clone(&view.known),
        });
    }

    /// Remembers what a volume remembers, asked from upstream in generation `asked_in`, unless something is known.
    pub fn recall(&self, object: &ObjName, meta: ObjMeta, asked_in: u64) {
        let known = Known::new(object, meta, asked_in, 0);
        known.told_disks(true);
        self.known.entry(object.key()).and_upsert_with(|old| match old {
            Some(old) if old.value().asked_in >= asked_in => old.into_value(),
            _ => Arc::new(known),
        });
    }

    /// Whether the object is what it was in `view`, as far as purges go.
    pub fn counts(&self, key: ObjKey, view: &View) -> bool {
        view.known.floors(key, &self.generations).0 == view.floor
    }

    /// The object in spite of upstream's trouble at `now`, if that is allowed; it is not asked again for a while.
    pub fn forgive(&self, key: ObjKey, known: &Arc<Known>, now: UnixTime) -> Option<View> {
        known.hush(now);
        let (hard, _) = known.floors(key, &self.generations);
        let allowed = known.asked_in >= hard && now < known.meta.stale_if_error_until;
        let known = Arc::clone(known);
        allowed.then_some(View { known, floor: hard, freshness: Freshness::StaleOnError })
    }

    /// Forgets a description that has turned out wrong.
    pub fn forget(&self, key: ObjKey) {
        self.known.invalidate(&key);
    }

    /// Remembers "missing" and "gone"; any other failure says nothing about the object.
    pub fn learn_failure(&self, key: ObjKey, error: &UpstreamError, asked_in: u64) {
        match error {
            UpstreamError::Missing | UpstreamError::Gone => {
                self.known.invalidate(&key);
                if let Some(negative) = &self.negative {
                    negative.insert(key, Negative { error: error.clone(), asked_in });
                }
            }
            UpstreamError::Refused { .. }
            | UpstreamError::Unreachable { .. }
            | UpstreamError::TimedOut
            | UpstreamError::Malformed { .. }
            | UpstreamError::ShortBody { .. } => {}
        }
    }
}

impl Known {
    fn new(name: &ObjName, meta: ObjMeta, asked_in: u64, answers: u32) -> Self {
        Self {
            name: name.clone(),
            meta: Arc::new(meta),
            asked_in,
            seen: AtomicU64::new(u64::MAX),
            hard: AtomicU64::new(0),
            soft: AtomicU64::new(0),
            answers: AtomicU32::new(answers),
            quiet_until: AtomicU64::new(0),
            on_disks: AtomicBool::new(false),
        }
    }

    /// The hard and the soft floor of the object, looked up only if anything was purged since the last time.
    fn floors(&self, key: ObjKey, generations: &Generations) -> (u64, u64) {
        let now = generations.now();
        if self.seen.load(Ordering::Acquire) != now {
            let floor = generations.floor(key, &self.meta.tags);
            self.hard.fetch_max(floor.hard, Ordering::Relaxed);
            self.soft.fetch_max(floor.soft, Ordering::Relaxed);
            // An older look that comes late makes the next one look again.
            self.seen.store(now, Ordering::Release);
        }
        (self.hard.load(Ordering::Relaxed), self.soft.load(Ordering::Relaxed))
    }

    /// Asks for quiet until a while after `now`; `false` if it is quiet already.
    fn hush(&self, now: UnixTime) -> bool {
        let until = self.quiet_until.load(Ordering::Relaxed);
        let longer = now.plus(QUIET_SECS).0;
        now.0 >= until
            && self.quiet_until.compare_exchange(until, longer, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether the volumes have yet to be told; whoever hears so tells them.
    pub fn is_news_to_disks(&self) -> bool {
        !self.on_disks.swap(true, Ordering::Relaxed)
    }

    /// What became of that.
    pub fn told_disks(&self, kept: bool) {
        self.on_disks.store(kept, Ordering::Relaxed);
    }

    /// The generation in which upstream was asked.
    pub fn asked_in(&self) -> u64 {
        self.asked_in
    }

    /// Answers given about it.
    pub fn answers(&self) -> u32 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Counts an answer.
    pub fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the object has been asked for more than once.
    pub fn is_seen_twice(&self) -> bool {
        self.answers.load(Ordering::Relaxed) > 1
    }
}

impl View {
    pub fn meta(&self) -> &Arc<ObjMeta> {
        &self.known.meta
    }

    /// The version that its chunks are kept under in memory.
    pub fn chunks(&self) -> u64 {
        mix(self.known.meta.ver, self.floor)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("meta", &self.known.meta)
            .field("floor", &self.floor)
            .field("freshness", &self.freshness)
            .finish()
    }
}

/// Adds the tags that a description of the same version had before: a purge by one of them hits chunks that
/// were fetched under it.
fn unite(tags: &mut Vec<String>, before: &[String]) {
    for tag in before {
        if tags.len() < TAGS_MAX && !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
}
