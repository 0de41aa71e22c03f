//! Looking through what nobody asks for, before somebody does.
//!
//! Promises
//! - Reads no faster than the terms allow, on average and in bursts of a MiB.
//! - Segments in which damage was found go first; all others have their turn.
//! - What is found damaged is forgotten and reported, so that its owner can fetch it again.
//!
//! Does not know: where good bytes come from.

use super::reading::{Fetched, Verdict};
use super::recovery::{key_of, place_of};
use super::segments::State;
use super::writing::{Lost, Writer};
use super::{Inner, UnixMillis};
use crate::disk::aligned::PAGE_LEN;
use crate::disk::format::FooterEntry;

/// How far scrubbing is.
pub(super) struct Scrub {
    /// The segment looked at last.
    segment: u32,
    entries: Vec<FooterEntry>,
    /// The entry that is next.
    next: usize,
    /// Bytes that may be read now.
    allowance: u64,
    /// When the allowance was last filled.
    filled: UnixMillis,
}

/// Bytes read in one step, and the most that is allowed at once.
const STEP_BYTES: u64 = 1 << 20;

/// So many segments wait for a look out of turn; more damage than that is everywhere anyway.
const SUSPECTS_MAX: usize = 64;

impl Scrub {
    /// Begins behind segment `segment`.
    pub fn new(segment: u32, now: UnixMillis) -> Self {
        Self { segment, entries: Vec::new(), next: 0, allowance: 0, filled: now }
    }

    fn fill(&mut self, bytes_per_sec: u64, now: UnixMillis) {
        let passed_ms = now.since(self.filled);
        let gained = bytes_per_sec.saturating_mul(passed_ms) / 1000;
        // Keep the time that has not made a byte yet.
        if gained > 0 {
            self.allowance = self.allowance.saturating_add(gained).min(STEP_BYTES);
            self.filled = now;
        }
    }
}

impl Inner {
    /// Has a segment looked through out of turn.
    pub(super) fn suspect(&self, segment: u32) {
        let mut suspects = self.suspects.lock();
        if suspects.len() < SUSPECTS_MAX && !suspects.contains(&segment) {
            suspects.push(segment);
        }
    }

    /// Checks some records; `false` if there is nothing to check now.
    pub(super) fn scrub(&self, writer: &mut Writer, now: UnixMillis, lost: &mut Vec<Lost>) -> bool {
        let scrub = &mut writer.scrub;
        let rate = self.scrub_rate();
        scrub.fill(rate, now);
        if scrub.allowance < STEP_BYTES.min(rate.max(1)) {
            return false;
        }
        if scrub.next >= scrub.entries.len() && !self.choose_segment(scrub) {
            return false;
        }
        while scrub.allowance > 0
            && let Some(entry) = scrub.entries.get(scrub.next)
        {
            let read = self.check(scrub.segment, entry, lost);
            scrub.allowance = scrub.allowance.saturating_sub(read);
            scrub.next += 1;
        }
        true
    }

    /// The next segment to look through: a suspect, or the next sealed one.
    fn choose_segment(&self, scrub: &mut Scrub) -> bool {
        let suspect = self.suspects.lock().pop();
        let count = self.segments.count();
        let sealed =
            |segment: &u32| self.segments.get(*segment).is_some_and(|slot| slot.state() == State::Sealed);
        let next = || (1..=count).map(|step| (scrub.segment + step) % count).find(sealed);
        let Some(segment) = suspect.filter(sealed).or_else(next) else {
            if self.scrub_is_hurried() {
                // There is nothing to look at, and that is seen.
                self.counters.scrubbed_all();
            }
            return false;
        };
        if suspect != Some(segment) && segment <= scrub.segment {
            self.counters.scrubbed_all();
        }
        // A table of contents that cannot be read is recovery's and reclaim's to deal with.
        let seq = self.segments.get(segment).map_or(0, |slot| slot.seq());
        let footer = self.read_footer(segment, seq).ok().flatten();
        scrub.entries = footer.map(|footer| footer.entries).unwrap_or_default();
        scrub.next = 0;
        scrub.segment = segment;
        scrub.allowance = scrub.allowance.saturating_sub(self.geometry.footer_len() as u64);
        true
    }

    /// Checks one record; the bytes that took.
    pub(super) fn check(&self, segment: u32, entry: &FooterEntry, lost: &mut Vec<Lost>) -> u64 {
        let (key, place) = (key_of(entry), place_of(segment, entry));
        if self.index.freq(key, place).is_none() {
            return 0;
        }
        let len = usize::from(place.pages) * PAGE_LEN;
        let mut buf = self.buffers.take();
        let gone = match self.fetch(&[(key, place)], &mut buf) {
            Fetched::Bytes(seq) => {
                self.counters.scrubbed(len);
                let same = self.judge(key, &buf[..len], seq, |record| record.header.ver == entry.ver);
                (!matches!(same, Verdict::Good(_))).then_some(false)
            }
            Fetched::Moved => None,
            Fetched::Failed(_) => Some(true),
        };
        self.buffers.give(buf);
        if let Some(unreadable) = gone
            && self.forget(key, place)
        {
            if unreadable {
                self.counters.unreadable()
            } else {
                self.counters.damaged()
            }
            lost.push(Lost { key, ver: entry.ver, unreadable });
        }
        len as u64
    }
}
