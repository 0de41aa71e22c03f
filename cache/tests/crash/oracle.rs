//! What may be read, told by what was offered and what was purged.

use antiphon_cache::disk::format::{META_NO, PurgeRecord, PurgeScope};
use antiphon_cache::disk::sim::Dice;
use antiphon_cache::{ChunkKey, ObjKey};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Everything a volume was ever given, and everything it promised to forget.
#[derive(Default)]
pub struct Oracle {
    /// Versions and generations in which a record was taken.
    taken: HashMap<ChunkKey, Vec<(u64, u64)>>,
    /// Purges that were acknowledged.
    pub purges: Vec<PurgeRecord>,
}

/// The payload of a version of a record: as if fetched from upstream, and never the same for two of them.
pub fn payload(key: ChunkKey, ver: u64) -> Vec<u8> {
    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut dice = Dice::new(0);
        (0..2 * LONGEST / 8).flat_map(|_| dice.roll().to_le_bytes()).collect()
    });
    let name = u64::from(key.obj.as_bytes()[0]) << 48 ^ u64::from(key.no) << 16 ^ ver;
    let mut dice = Dice::new(name);
    let len = match key.obj.as_bytes()[0] {
        LONG.. => LONGEST - dice.below(SHORT),
        _ if dice.one_in(16) => 1 + dice.below(LONGEST),
        _ => 1 + dice.below(SHORT),
    };
    let from = dice.below(LONGEST);
    let mut bytes = NOISE[from..from + len].to_vec();
    bytes.iter_mut().zip(dice.roll().to_le_bytes()).for_each(|(byte, own)| *byte = own);
    bytes
}

/// Objects from this number on have chunks of nearly full length.
pub const LONG: u8 = 100;

/// Bytes of most payloads at most.
const SHORT: usize = 6000;

/// Bytes of a full chunk.
const LONGEST: usize = 65_536;

/// Object `no`.
pub fn object(no: usize) -> ObjKey {
    let mut bytes = [0x5a; 16];
    bytes[0] = no as u8;
    ObjKey::from_bytes(bytes)
}

/// The generation below which nothing of `obj` counts.
pub fn floor(purges: &[PurgeRecord], obj: ObjKey) -> u64 {
    let covers = |purge: &&PurgeRecord| {
        !purge.soft && [PurgeScope::Everything, PurgeScope::Object(obj)].contains(&purge.scope)
    };
    purges.iter().filter(covers).map(|purge| purge.generation).max().unwrap_or(0)
}

impl Oracle {
    pub fn take(&mut self, key: ChunkKey, ver: u64, generation: u64) {
        self.taken.entry(key).or_default().push((ver, generation));
    }

    /// A record that was given, in some version it was given in.
    pub fn pick(&self, key: ChunkKey, dice: &mut Dice) -> Option<u64> {
        let versions = self.taken.get(&key)?;
        Some(versions[dice.below(versions.len())].0)
    }

    /// All records in all versions.
    pub fn all(&self) -> Vec<(ChunkKey, u64)> {
        let mut all: Vec<_> = self
            .taken
            .iter()
            .flat_map(|(key, versions)| versions.iter().map(|(ver, _)| (*key, *ver)))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// I2, I5, I6: what was read is what was given, whole, and no acknowledged purge covers it.
    pub fn check(&self, key: ChunkKey, ver: u64, bytes: &[u8]) {
        assert!(bytes == payload(key, ver), "wrong bytes for {key:?} version {ver}");
        let floor = floor(&self.purges, key.obj);
        let given = self.taken.get(&key).map_or(&[][..], Vec::as_slice);
        let allowed = given.iter().any(|(given, generation)| *given == ver && *generation >= floor);
        assert!(allowed, "{key:?} version {ver} was read; given {given:?}, purged below {floor}");
    }

    /// The same for metadata, whose version and generation are found and not asked for.
    pub fn check_meta(&self, obj: ObjKey, ver: u64, generation: u64, bytes: &[u8]) {
        let key = ChunkKey { obj, no: META_NO };
        self.check(key, ver, bytes);
        assert!(self.taken[&key].contains(&(ver, generation)), "{obj:?} {ver} was never of {generation}");
        assert!(generation >= floor(&self.purges, obj), "purged metadata of {obj:?}");
    }

    /// I5: what a volume says it has to forget covers what it was told to.
    pub fn check_purges(&self, found: &[PurgeRecord]) {
        for told in &self.purges {
            let covers = |purge: &&PurgeRecord| {
                let scope = purge.scope == told.scope || purge.scope == PurgeScope::Everything;
                scope && purge.generation >= told.generation && (!purge.soft || told.soft)
            };
            assert!(found.iter().any(|purge| covers(&purge)), "{told:?} is forgotten: {found:?}");
        }
    }
}
