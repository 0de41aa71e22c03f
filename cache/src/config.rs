//! `[cache]`: what the operator decides about the tiers.

mod volume;

pub(crate) use volume::check_all;
pub use volume::{Class, VOLUMES_MAX, VolumeConfig};

use antiphon_core::{ByteSize, CHUNK_LEN};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Memory for chunks, the terms of a fetch from upstream, and the volumes that keep chunks across restarts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Memory for the bytes of chunks: kept, on their way from upstream, and still being written to a
    /// listener. A hard bound; the index comes on top (about 200 bytes per chunk). Leave a quarter of the
    /// host unclaimed. Less than 4MiB counts as 4MiB. Live: a SIGHUP applies a new value without a restart.
    pub capacity_bytes: ByteSize,
    /// Share of `capacity_bytes`, percent, that slow listeners may hold of chunks that have already made room
    /// for others. Beyond it they are sent copies of 64 KiB. More wastes memory on slow networks, less costs
    /// CPU time there.
    pub max_detached_pct: u32,
    /// Neighbouring missing chunks are fetched in one upstream request of at most this many bytes. Larger
    /// saves requests to the origin, smaller wastes less when listeners skip. At most an eighth of
    /// `capacity_bytes` is used.
    pub fetch_max_bytes: ByteSize,
    /// An upstream that is silent for this long, before its answer or in the middle of it, has failed. Too
    /// short gives up on a busy origin; too long lets listeners stare at a dead one.
    pub stall_ms: u32,
    /// A fetch that is not complete after this long has failed, however steadily it drips.
    pub fetch_ms: u32,
    /// Fetches from upstream at a time; further ones wait in line, listeners before prefetches. Too few queue a
    /// busy evening, too many can push a struggling origin over.
    pub fetches_max: u32,
    /// Fetches that wait in line at most, for as long as `stall_ms`; beyond it listeners hear "busy" (503).
    pub fetch_queue_max: u32,
    /// A fetch waits this long for memory that others hold before its listeners hear "crowded" (503).
    pub reserve_ms: u32,
    /// How long "not found" and "gone" are remembered. Longer spares the origin, shorter shows a new object
    /// sooner. 0 remembers nothing.
    pub negative_secs: u32,
    /// How many "not found" answers are remembered at a time, about 150 bytes each.
    pub negative_max: u32,
    /// How many objects are known by length and entity tag, about 500 bytes each. An object that is forgotten
    /// is asked for once more although its chunks may still be in memory.
    pub objects_max: u32,
    /// Which chunks a volume that is full takes: `second_hit` those asked for twice within its memory of half a
    /// volume, `everything` each chunk that was fetched, `nothing` none. `everything` writes eight times as much
    /// for a lower hit rate; `nothing` is for an emergency. A volume with room takes everything under both of
    /// the former. Live: a SIGHUP applies a new value without a restart.
    pub admission: AdmissionRule,
    /// Disks that keep chunks across restarts, one table each. None is a cache of memory only, cold after each
    /// restart. See docs/cache.md before changing one that holds chunks.
    #[serde(default = "shipped_volumes")]
    pub volumes: Vec<VolumeConfig>,
}

/// The former name of [`CacheConfig`].
pub type RamConfig = CacheConfig;

/// Which chunks a full volume takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdmissionRule {
    /// Those that were asked for twice.
    #[default]
    SecondHit,
    /// All.
    Everything,
    /// None.
    Nothing,
}

/// A value in `[cache]` that parses but cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct CacheConfigError {
    /// The key, with its table; volumes are counted from 0.
    pub key: String,
    /// What is wrong with its value.
    pub what: String,
}

/// Smallest memory that the engine works with.
pub const CAPACITY_MIN: ByteSize = ByteSize::mib(4);

/// A single fetch takes at most this share of the memory, so that several can run.
const FETCH_SHARE: u64 = 8;

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            capacity_bytes: ByteSize::mib(512),
            max_detached_pct: 25,
            fetch_max_bytes: ByteSize::mib(4),
            stall_ms: 5_000,
            fetch_ms: 30_000,
            fetches_max: 256,
            fetch_queue_max: 4_096,
            reserve_ms: 5_000,
            negative_secs: 10,
            negative_max: 100_000,
            objects_max: 200_000,
            admission: AdmissionRule::SecondHit,
            volumes: Vec::new(),
        }
    }
}

/// The same decisions in the units of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub capacity: u64,
    pub fetch_max: u64,
    pub stall: Duration,
    pub fetch: Duration,
    pub reserve: Duration,
}

/// What a file without volumes means: one small enough for any host, under the folder of everything else.
fn shipped_volumes() -> Vec<VolumeConfig> {
    vec![VolumeConfig {
        // A small part of any drive.
        dwpd: 20.0,
        segment_bytes: ByteSize::mib(64),
        ..VolumeConfig::at("antiphon-data/cache", ByteSize::mib(4 * 1024))
    }]
}

impl CacheConfig {
    /// What an empty file means: the defaults, and a volume.
    pub fn shipped() -> Self {
        Self { volumes: shipped_volumes(), ..Self::default() }
    }

    /// Refuses values that parse but cannot work. Touches no disk.
    pub fn check(&self) -> Result<(), CacheConfigError> {
        if self.max_detached_pct > 100 {
            let what = format!("{} is more than 100 percent", self.max_detached_pct);
            return Err(CacheConfigError { key: "cache.max_detached_pct".to_owned(), what });
        }
        volume::check_all(&self.volumes)
    }

    /// Takes the keys of `new` that need no restart.
    pub fn take_live(&mut self, new: &Self) {
        self.capacity_bytes = new.capacity_bytes;
        self.admission = new.admission;
        for (volume, new) in self.volumes.iter_mut().zip(&new.volumes) {
            volume.dwpd = new.dwpd;
        }
    }

    /// The keys, with their tables, in which `new` differs from this and that need a restart.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let mut keys: Vec<String> = [
            ("max_detached_pct", self.max_detached_pct == new.max_detached_pct),
            ("fetch_max_bytes", self.fetch_max_bytes == new.fetch_max_bytes),
            ("stall_ms", self.stall_ms == new.stall_ms),
            ("fetch_ms", self.fetch_ms == new.fetch_ms),
            ("fetches_max", self.fetches_max == new.fetches_max),
            ("fetch_queue_max", self.fetch_queue_max == new.fetch_queue_max),
            ("reserve_ms", self.reserve_ms == new.reserve_ms),
            ("negative_secs", self.negative_secs == new.negative_secs),
            ("negative_max", self.negative_max == new.negative_max),
            ("objects_max", self.objects_max == new.objects_max),
            ("volumes", self.volumes.len() == new.volumes.len()),
        ]
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(key, _)| format!("cache.{key}"))
        .collect();
        for (number, (old, new)) in self.volumes.iter().zip(&new.volumes).enumerate() {
            if *old != (VolumeConfig { dwpd: old.dwpd, ..new.clone() }) {
                keys.push(format!("cache.volumes[{number}]"));
            }
        }
        keys
    }

    pub(crate) fn terms(&self) -> Terms {
        let capacity = self.capacity_bytes.max(CAPACITY_MIN).0;
        let millis = |ms: u32| Duration::from_millis(u64::from(ms.max(1)));
        Terms {
            capacity,
            fetch_max: self.fetch_max_bytes.0.min(capacity / FETCH_SHARE).max(CHUNK_LEN),
            stall: millis(self.stall_ms),
            fetch: millis(self.fetch_ms),
            reserve: millis(self.reserve_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_memory_still_holds_a_chunk_per_fetch() {
        let tiny =
            RamConfig { capacity_bytes: ByteSize(1), fetch_max_bytes: ByteSize(0), ..RamConfig::default() };
        assert_eq!(tiny.terms().capacity, CAPACITY_MIN.0);
        assert_eq!(tiny.terms().fetch_max, CHUNK_LEN);
    }

    #[test]
    fn every_key_is_read_back_as_it_is_printed() {
        let config = CacheConfig {
            volumes: vec![volume::tests::small("a"), volume::tests::small("b")],
            ..CacheConfig::default()
        };
        let text = antiphon_core::config::render(&config).unwrap();
        assert_eq!(antiphon_core::config::parse::<CacheConfig>(&text, "cache.toml"), Ok(config));
        assert!(antiphon_core::config::parse::<CacheConfig>("capacity = 1", "cache.toml").is_err());
    }

    #[test]
    fn a_file_that_names_no_volume_has_the_shipped_one_and_may_ask_for_none() {
        let parse = |text| antiphon_core::config::parse::<CacheConfig>(text, "cache.toml").unwrap();
        assert_eq!(parse(""), CacheConfig::shipped());
        assert_eq!(parse("volumes = []"), CacheConfig::default());
        assert_eq!(CacheConfig::shipped().check(), Ok(()));
    }

    #[test]
    fn live_keys_need_no_restart_and_all_others_do() {
        let old = CacheConfig { volumes: vec![volume::tests::small("a")], ..CacheConfig::default() };
        let mut new = CacheConfig {
            capacity_bytes: ByteSize::mib(9),
            admission: AdmissionRule::Nothing,
            ..old.clone()
        };
        new.volumes[0].dwpd = 7.5;
        assert!(old.needs_restart(&new).is_empty());
        let mut applied = old.clone();
        applied.take_live(&new);
        assert_eq!(applied, new);
        new.stall_ms += 1;
        new.volumes[0].io_threads += 1;
        assert_eq!(old.needs_restart(&new), ["cache.stall_ms", "cache.volumes[0]"]);
        new.volumes.clear();
        assert_eq!(old.needs_restart(&new), ["cache.stall_ms", "cache.volumes"]);
    }

    #[test]
    fn a_share_above_the_whole_is_refused() {
        assert_eq!(CacheConfig { max_detached_pct: 100, ..CacheConfig::default() }.check(), Ok(()));
        let error = CacheConfig { max_detached_pct: 101, ..CacheConfig::default() }.check().unwrap_err();
        assert_eq!(error.key, "cache.max_detached_pct");
    }
}
