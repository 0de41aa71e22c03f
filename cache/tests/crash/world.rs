//! A volume on a medium that fails on cue, and the oracle that watches it.

use crate::oracle::{Oracle, floor, payload};
use antiphon_cache::disk::format::{Geometry, META_NO, PurgeRecord, PurgeScope};
use antiphon_cache::disk::medium::Medium;
use antiphon_cache::disk::sim::{Dice, SimMedium};
use antiphon_cache::disk::volume::{
    Class, Did, FLUSH_AFTER_MS, NewRecord, Offered, ReadOutcome, ReadWant, SEGMENTS_MIN, Shape, UnixMillis,
    Volume, VolumeTerms,
};
use antiphon_cache::{ChunkKey, ObjKey};
use std::sync::Arc;

pub const SEGMENTS: u64 = SEGMENTS_MIN;
pub const SEGMENT_LEN: u64 = 4 << 20;

/// Room for the data and some for the rest.
const SPACE: u64 = (SEGMENTS + 1) * SEGMENT_LEN;

pub struct World {
    pub medium: Arc<SimMedium>,
    pub volume: Volume,
    pub oracle: Oracle,
    pub dice: Dice,
    pub now: UnixMillis,
    /// What a fetch that begins now gets.
    pub generation: u64,
    /// Bits have rotted or syncs have failed: damage may be found. Otherwise none may.
    pub may_be_damaged: bool,
    formats: u8,
}

pub fn terms() -> VolumeTerms {
    VolumeTerms {
        class: Class::Ssd,
        dwpd: 0.0,
        staging_max_bytes: 0,
        scrub_bytes_per_sec: 4 << 20,
        read_only: false,
    }
}

fn format(medium: &Arc<SimMedium>, name: u8) {
    let shape = Shape { geometry: Geometry::new(16, 22).unwrap(), capacity_bytes: SEGMENTS * SEGMENT_LEN };
    let medium: Arc<dyn Medium> = Arc::clone(medium) as _;
    Volume::format(&medium, shape, 0x5eed, [name; 16]).unwrap();
}

impl World {
    pub fn new(seed: u64) -> Self {
        let medium = Arc::new(SimMedium::new(seed, SPACE));
        let now = UnixMillis(1_800_000_000_000);
        format(&medium, 1);
        let (volume, _) = Volume::open(Arc::clone(&medium) as _, terms(), now, seed).unwrap();
        volume.recover(&|_| ()).unwrap();
        let dice = Dice::new(seed);
        Self {
            medium,
            volume,
            oracle: Oracle::default(),
            dice,
            now,
            generation: 1,
            may_be_damaged: false,
            formats: 1,
        }
    }

    /// Offers a version of a record; whether it was taken.
    pub fn offer(&mut self, key: ChunkKey, ver: u64, generation: u64) -> bool {
        let payload = payload(key, ver);
        let written_secs = (self.now.0 / 1000) as u32;
        let record = NewRecord { key, ver, generation, written_secs, payload: &payload };
        let taken = self.volume.offer(&record, self.now) == Offered::Admitted;
        if taken {
            self.oracle.take(key, ver, generation);
        }
        taken
    }

    /// Some steps of background work; errors are the medium's.
    pub fn work(&mut self, steps: usize) {
        for _ in 0..steps {
            // Now and then long enough for what is staged to be written before its block is full.
            self.now.0 += if self.dice.one_in(3) { FLUSH_AFTER_MS } else { 20 };
            let _ = self.volume.work(self.now);
        }
    }

    /// Works until there is nothing left to write.
    pub fn settle(&mut self) {
        self.now.0 += 10_000;
        for _ in 0..1000 {
            self.now.0 += 20;
            if matches!(self.volume.work(self.now).unwrap().did, Did::Nothing | Did::Scrubbed) {
                return;
            }
        }
        panic!("the volume is never done");
    }

    /// Reads as a node would, with the floor of the purges it knows of; how many were read.
    pub fn read(&self, wanted: &[(ChunkKey, u64)]) -> usize {
        let purges = self.volume.purges();
        let wants: Vec<ReadWant> = wanted
            .iter()
            .map(|(key, ver)| ReadWant { key: *key, ver: *ver, floor: floor(&purges, key.obj) })
            .collect();
        let mut seen = vec![false; wants.len()];
        let outcomes = self.volume.read(&wants, &mut |want, bytes| {
            self.oracle.check(wants[want].key, wants[want].ver, bytes);
            seen[want] = true;
        });
        for (outcome, seen) in outcomes.iter().zip(&seen) {
            assert_eq!(*seen, matches!(outcome, ReadOutcome::Read), "the sink and the outcome disagree");
            let damaged = matches!(outcome, ReadOutcome::Corrupt);
            assert!(self.may_be_damaged || !damaged, "damage where nothing was damaged");
        }
        seen.iter().filter(|seen| **seen).count()
    }

    pub fn read_meta(&self, obj: ObjKey) {
        if let Ok(Some(found)) = self.volume.read_meta(obj, floor(&self.volume.purges(), obj)) {
            self.oracle.check_meta(obj, found.ver, found.generation, &found.bytes);
        }
    }

    /// Everything that was ever given and can be read now.
    pub fn readable(&self) -> Vec<(ChunkKey, u64)> {
        let all = self.oracle.all().into_iter().filter(|(key, _)| key.no != META_NO);
        all.filter(|wanted| self.read(&[*wanted]) == 1).collect()
    }

    /// Purges; whether that was acknowledged.
    pub fn purge(&mut self, scope: PurgeScope, soft: bool) -> bool {
        self.generation += 1;
        let record = PurgeRecord { generation: self.generation, soft, scope, at_secs: self.now.0 / 1000 };
        let done = self.volume.purge(record).is_ok();
        if done {
            self.oracle.purges.push(record);
        }
        done
    }

    /// Does `act` and starts anew on what is left if the power goes in the middle of it: before change `nth`, if
    /// there are so many; whether it went. What was acknowledged after that does not count.
    pub fn crash_during(&mut self, nth: u64, act: impl FnOnce(&mut Self)) -> bool {
        let acknowledged = self.oracle.purges.len();
        let dice = Dice::new(self.dice.roll());
        self.medium.crash_at(nth, dice);
        act(self);
        let Some(crashed) = self.medium.crashed() else { return false };
        self.oracle.purges.truncate(acknowledged);
        self.reopen(crashed);
        true
    }

    /// Starts anew on `medium`, as after a crash. A volume that only crashed must open.
    pub fn reopen(&mut self, medium: SimMedium) {
        self.medium = Arc::new(medium);
        self.now.0 += 5000;
        let seed = self.dice.roll();
        match Volume::open(Arc::clone(&self.medium) as _, terms(), self.now, seed) {
            Ok((volume, _)) => {
                self.volume = volume;
                self.recover();
                let purges = self.volume.purges();
                self.oracle.check_purges(&purges);
                let highest = purges.iter().map(|purge| purge.generation).max().unwrap_or(0);
                self.generation = self.generation.max(highest);
            }
            Err(error) => {
                assert!(self.may_be_damaged, "a volume that is not damaged does not open: {error}");
                self.format();
            }
        }
    }

    /// Recovers; sometimes the power goes again meanwhile.
    fn recover(&mut self) {
        if self.dice.one_in(4) {
            let nth = self.dice.below(6) as u64;
            let dice = Dice::new(self.dice.roll());
            self.medium.crash_at(nth, dice);
        }
        self.volume.recover(&|_| ()).unwrap();
        if let Some(crashed) = self.medium.crashed() {
            self.reopen(crashed);
        }
    }

    /// Makes a new volume of the medium: nothing that was on it may be found again.
    pub fn format(&mut self) {
        self.formats += 1;
        self.medium.heal();
        // Rot may have made the old one look like somebody else's.
        if self.may_be_damaged {
            self.medium = Arc::new(SimMedium::new(self.dice.roll(), SPACE));
        }
        format(&self.medium, self.formats);
        (self.oracle, self.generation) = (Oracle::default(), 1);
        let seed = self.dice.roll();
        self.volume = Volume::open(Arc::clone(&self.medium) as _, terms(), self.now, seed).unwrap().0;
        self.volume.recover(&|_| ()).unwrap();
    }

    /// Closes in order and starts anew.
    pub fn restart(&mut self) {
        self.volume.close(self.now).unwrap();
        let medium = self.medium.kill();
        self.reopen(medium);
    }
}
