//! Reads: from the index to checked bytes.
//!
//! Promises
//! - The sink sees a payload only after header, checksum, key, version, generation and sequence were found right.
//! - Neighbours on the disk are read at once, up to four chunks; a failure of several is tried again one by one.
//! - An entry whose record is damaged, stale or unreadable leaves the index; one of another key stays.
//!
//! Does not know: who asks, what the bytes mean.

use super::segments::State;
use super::{Inner, Volume, VolumeError};
use crate::disk::aligned::PAGE_LEN;
use crate::disk::format::{META_NO, Record};
use crate::disk::index::Place;
use crate::disk::medium::Failure;
use crate::object::{ChunkKey, ObjKey};

/// A chunk that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadWant {
    /// Which.
    pub key: ChunkKey,
    /// Of which version of the object.
    pub ver: u64,
    /// Fetched at this purge generation or later.
    pub floor: u64,
}

/// What became of a want.
#[derive(Debug)]
pub enum ReadOutcome {
    /// The sink got it.
    Read,
    /// It is not here, or not in this version, or purged.
    Missing,
    /// It was here and its bytes have changed. It is forgotten; the owner fetches it again.
    Corrupt,
    /// The disk failed.
    Failed(VolumeError),
}

/// The metadata of an object as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMeta {
    /// The payload of its record.
    pub bytes: Vec<u8>,
    /// Version of the object.
    pub ver: u64,
    /// The purge generation when its fetch began.
    pub generation: u64,
}

/// Records read at once have so many full chunks at most: 1 MiB of payload in chunks of 256 KiB.
pub(super) const MERGE_MAX: usize = 4;

/// An entry that moved between looking and pinning is looked for again so often.
const RETRIES_MAX: u8 = 3;

/// A want on its way.
struct Search {
    /// Places that are still to be tried, the newest last.
    places: Vec<Place>,
    retries: u8,
    outcome: ReadOutcome,
}

/// A place to be read for a want.
#[derive(Clone, Copy)]
struct Look {
    want: usize,
    place: Place,
}

/// What a record turned out to be.
pub(super) enum Verdict<'a> {
    /// The one that is wanted.
    Good(Record<'a>),
    /// Another key's with the same tag.
    Other,
    /// The key's, in another version or purged.
    Stale,
    /// Not what was written.
    Damaged,
}

/// What reading a place came to.
pub(super) enum Fetched {
    /// The bytes are in the buffer; the segment had this sequence number.
    Bytes(u64),
    /// The index no longer points there.
    Moved,
    /// The disk failed.
    Failed(VolumeError),
}

impl Volume {
    /// Reads what is wanted and gives each payload to `sink` with the position of its want. Blocks on the disk.
    pub fn read(&self, wants: &[ReadWant], sink: &mut dyn FnMut(usize, &[u8])) -> Vec<ReadOutcome> {
        let outcomes = self.inner.read_wants(wants, sink);
        outcomes.iter().for_each(|outcome| self.inner.counters.read(outcome));
        outcomes
    }

    /// Reads the newest metadata of an object fetched at generation `floor` or later. Blocks on the disk.
    pub fn read_meta(&self, obj: ObjKey, floor: u64) -> Result<Option<FoundMeta>, VolumeError> {
        self.inner.read_newest_meta(ChunkKey { obj, no: META_NO }, floor)
    }
}

impl Inner {
    fn read_wants(&self, wants: &[ReadWant], sink: &mut dyn FnMut(usize, &[u8])) -> Vec<ReadOutcome> {
        let mut searches: Vec<Search> =
            wants.iter().map(|want| Search::new(self.places_of(want.key))).collect();
        loop {
            let mut looks: Vec<Look> = searches
                .iter_mut()
                .enumerate()
                .filter_map(|(want, search)| search.places.pop().map(|place| Look { want, place }))
                .collect();
            if looks.is_empty() {
                return searches.into_iter().map(|search| search.outcome).collect();
            }
            looks.sort_unstable_by_key(|look| look.place);
            for run in looks.chunk_by(|a, b| adjoin(a.place, b.place)) {
                // Only records longer than a full chunk would be, or short ones, divide a run unevenly.
                for part in run.chunks(MERGE_MAX) {
                    self.look(wants, part, &mut searches, sink);
                }
            }
        }
    }

    /// Places that may be `key`'s, the newest last.
    fn places_of(&self, key: ChunkKey) -> Vec<Place> {
        let seq = |place: Place| self.segments.get(place.segment).map_or(0, |slot| slot.seq());
        let mut places: Vec<Place> = self.index.find(key).iter().map(|entry| entry.place).collect();
        places.sort_unstable_by_key(|place| (seq(*place), place.page));
        places
    }

    /// Reads neighbours and settles what can be settled by them.
    fn look(
        &self,
        wants: &[ReadWant],
        looks: &[Look],
        searches: &mut [Search],
        sink: &mut dyn FnMut(usize, &[u8]),
    ) {
        let keyed: Vec<(ChunkKey, Place)> =
            looks.iter().map(|look| (wants[look.want].key, look.place)).collect();
        let mut buf = self.buffers.take();
        match self.fetch(&keyed, &mut buf) {
            Fetched::Bytes(seq) => {
                let mut at = 0;
                for look in looks {
                    let len = usize::from(look.place.pages) * PAGE_LEN;
                    self.settle(wants, *look, &buf[at..at + len], seq, searches, sink);
                    at += len;
                }
            }
            Fetched::Moved | Fetched::Failed(_) if looks.len() > 1 => {
                looks.iter().for_each(|look| self.look(wants, &[*look], searches, sink));
            }
            Fetched::Moved => looks.iter().for_each(|look| self.look_again(wants, *look, searches)),
            Fetched::Failed(error) => {
                if let [look] = looks {
                    self.give_up(wants[look.want].key, look.place, &error);
                    searches[look.want].note(ReadOutcome::Failed(error));
                }
            }
        }
        self.buffers.give(buf);
    }

    /// Reads records that lie side by side, all of which the index points at while their segment is pinned.
    pub(super) fn fetch(&self, looks: &[(ChunkKey, Place)], buf: &mut [u8]) -> Fetched {
        let Some((_, first)) = looks.first() else { return Fetched::Moved };
        let Some(pin) = self.segments.pin(first.segment) else { return Fetched::Moved };
        let there = |(key, place): &(ChunkKey, Place)| self.index.freq(*key, *place).is_some();
        if !looks.iter().all(there) {
            return Fetched::Moved;
        }
        let seq = pin.slot().seq();
        let pages: usize = looks.iter().map(|(_, place)| usize::from(place.pages)).sum();
        let Some(buf) = buf.get_mut(..pages * PAGE_LEN) else { return Fetched::Moved };
        if pin.slot().state() == State::Open {
            if self.fetch_staged(looks, buf) {
                return Fetched::Bytes(seq);
            }
            // Some may be staged and some on the disk: one by one, then.
            if looks.len() > 1 {
                return Fetched::Moved;
            }
        }
        match self.read_pages(first.segment, first.page, buf) {
            Ok(()) => Fetched::Bytes(seq),
            Err(error) => Fetched::Failed(error),
        }
    }

    /// Copies records that wait for the disk; `false` if one of them does not.
    fn fetch_staged(&self, looks: &[(ChunkKey, Place)], buf: &mut [u8]) -> bool {
        let mut at = 0;
        looks.iter().all(|(_, place)| {
            let len = usize::from(place.pages) * PAGE_LEN;
            at += len;
            self.staging.read(*place, &mut buf[at - len..at])
        })
    }

    fn settle(
        &self,
        wants: &[ReadWant],
        look: Look,
        bytes: &[u8],
        seq: u64,
        searches: &mut [Search],
        sink: &mut dyn FnMut(usize, &[u8]),
    ) {
        let want = &wants[look.want];
        let search = &mut searches[look.want];
        match self.judge(want.key, bytes, seq, |record| {
            record.header.ver == want.ver && record.header.generation >= want.floor
        }) {
            Verdict::Good(record) => {
                sink(look.want, record.payload);
                self.warm(want.key, look.place);
                self.counters.served(record.payload.len());
                *search = Search { places: Vec::new(), retries: 0, outcome: ReadOutcome::Read };
            }
            Verdict::Other => self.counters.other_key(),
            Verdict::Stale => {
                self.counters.stale();
                self.forget(want.key, look.place);
            }
            Verdict::Damaged => {
                self.damaged(want.key, look.place);
                search.note(ReadOutcome::Corrupt);
            }
        }
    }

    /// What the record in `bytes` is to somebody who looks for `key` in opening `seq` of the segment.
    pub(super) fn judge<'a>(
        &self,
        key: ChunkKey,
        bytes: &'a [u8],
        seq: u64,
        valid: impl FnOnce(&Record<'a>) -> bool,
    ) -> Verdict<'a> {
        match Record::open(bytes, seq, self.geometry) {
            Err(_) => Verdict::Damaged,
            Ok(record) if (record.header.obj, record.header.chunk_no) != (key.obj, key.no) => Verdict::Other,
            Ok(record) if !valid(&record) => Verdict::Stale,
            Ok(record) => Verdict::Good(record),
        }
    }

    /// Counts a hit.
    fn warm(&self, key: ChunkKey, place: Place) {
        if self.index.hit(key, place) == Some(0)
            && let Some(slot) = self.segments.get(place.segment)
        {
            slot.warmed();
        }
    }

    /// Forgets a record that is not what was written, and has its segment looked through.
    pub(super) fn damaged(&self, key: ChunkKey, place: Place) {
        if self.forget(key, place) {
            self.counters.damaged();
            self.suspect(place.segment);
        }
    }

    /// Forgets a record that the disk cannot read any more.
    pub(super) fn give_up(&self, key: ChunkKey, place: Place, error: &VolumeError) {
        if error.failure() == Some(Failure::Media) && self.forget(key, place) {
            self.counters.unreadable();
            self.suspect(place.segment);
        }
    }

    fn look_again(&self, wants: &[ReadWant], look: Look, searches: &mut [Search]) {
        let search = &mut searches[look.want];
        if search.retries < RETRIES_MAX {
            search.retries += 1;
            search.places = self.places_of(wants[look.want].key);
        }
    }

    fn read_newest_meta(&self, key: ChunkKey, floor: u64) -> Result<Option<FoundMeta>, VolumeError> {
        let mut retries = 0;
        let mut buf = self.buffers.take();
        let mut places = self.places_of(key);
        let mut newest: Option<((u64, u32), FoundMeta)> = None;
        let mut failed = None;
        while let Some(place) = places.pop() {
            match self.fetch(&[(key, place)], &mut buf) {
                Fetched::Bytes(seq) => {
                    let len = usize::from(place.pages) * PAGE_LEN;
                    self.weigh(key, place, &buf[..len], seq, floor, &mut newest);
                }
                Fetched::Moved if retries < RETRIES_MAX => {
                    retries += 1;
                    places = self.places_of(key);
                }
                Fetched::Moved => {}
                Fetched::Failed(error) => {
                    self.give_up(key, place, &error);
                    failed = Some(error);
                }
            }
        }
        self.buffers.give(buf);
        match (newest, failed) {
            (Some((_, meta)), _) => Ok(Some(meta)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Keeps the record if it is metadata of `key` and newer than the newest so far.
    fn weigh(
        &self,
        key: ChunkKey,
        place: Place,
        bytes: &[u8],
        seq: u64,
        floor: u64,
        newest: &mut Option<((u64, u32), FoundMeta)>,
    ) {
        match self.judge(key, bytes, seq, |record| record.header.generation >= floor) {
            Verdict::Good(Record { header, payload }) => {
                self.warm(key, place);
                let age = (header.generation, header.written_secs);
                if newest.as_ref().is_none_or(|(best, _)| age > *best) {
                    let meta =
                        FoundMeta { bytes: payload.to_vec(), ver: header.ver, generation: header.generation };
                    *newest = Some((age, meta));
                }
            }
            Verdict::Other => self.counters.other_key(),
            Verdict::Stale => {
                self.counters.stale();
                self.forget(key, place);
            }
            Verdict::Damaged => self.damaged(key, place),
        }
    }
}

impl Search {
    fn new(places: Vec<Place>) -> Self {
        Self { places, retries: 0, outcome: ReadOutcome::Missing }
    }

    /// Remembers what went wrong; damage is told before a failure of the disk.
    fn note(&mut self, outcome: ReadOutcome) {
        if !matches!(self.outcome, ReadOutcome::Corrupt) {
            self.outcome = outcome;
        }
    }
}

/// Whether `next` begins where `place` ends.
fn adjoin(place: Place, next: Place) -> bool {
    place.segment == next.segment && u32::from(place.page) + u32::from(place.pages) == u32::from(next.page)
}
