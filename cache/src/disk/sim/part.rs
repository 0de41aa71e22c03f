//! One part of a simulated medium: what it holds now, what a crash leaves.
//!
//! Promises: [`PartState::crashed`] keeps all that was synced and of the rest only states that were written.
//!
//! Does not know: faults, who asks.

use super::Dice;
use crate::disk::aligned::PAGE_LEN;
use std::collections::BTreeMap;
use std::sync::Arc;

type Page = Arc<[u8; PAGE_LEN]>;

/// One part: pages by number, absent ones are zero.
#[derive(Clone, Default)]
pub(super) struct PartState {
    now: BTreeMap<u64, Page>,
    pub len: u64,
    durable: BTreeMap<u64, Page>,
    durable_len: u64,
    /// The shortest it was since it was last synced: nothing after is left of before.
    lowest_len: u64,
    unsynced: BTreeMap<u64, Unsynced>,
}

/// What a page went through since it was last synced.
#[derive(Clone, Default)]
struct Unsynced {
    /// All states it had, the newest last.
    states: Vec<Page>,
    /// A sync of the newest state failed: later ones pass it by.
    forsaken: bool,
}

/// One page in so many that are not synced is torn in a crash.
const TORN_ONE_IN: usize = 4;

/// Disks write so many bytes whole or not at all.
pub(super) const SECTOR_LEN: usize = 512;

impl PartState {
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let (page, from, count) = piece(offset + done as u64, into.len() - done);
            let target = &mut into[done..done + count];
            match self.now.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[from..from + count]),
                None => target.fill(0),
            }
            done += count;
        }
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, at, count) = piece(offset + done as u64, bytes.len() - done);
            let entry = self.now.entry(page).or_insert_with(zero_page);
            Arc::make_mut(entry)[at..at + count].copy_from_slice(&bytes[done..done + count]);
            let unsynced = self.unsynced.entry(page).or_default();
            unsynced.states.push(Arc::clone(entry));
            unsynced.forsaken = false;
            done += count;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    pub fn resize(&mut self, len: u64) {
        if len < self.len {
            cut(&mut self.now, len);
            let (last, at, _) = piece(len, 0);
            self.unsynced.retain(|page, _| *page < last + u64::from(at > 0));
            if at > 0
                && let Some(page) = self.now.get(&last)
            {
                self.unsynced.entry(last).or_default().states.push(Arc::clone(page));
            }
            self.lowest_len = self.lowest_len.min(len);
        }
        self.len = len;
    }

    pub fn sync(&mut self) {
        cut(&mut self.durable, self.lowest_len);
        (self.durable_len, self.lowest_len) = (self.len, self.len);
        let durable = &mut self.durable;
        self.unsynced.retain(|page, unsynced| {
            if !unsynced.forsaken
                && let Some(newest) = unsynced.states.last()
            {
                durable.insert(*page, Arc::clone(newest));
            }
            unsynced.forsaken
        });
    }

    /// Flips a bit of what is stored, whether synced or not.
    pub fn flip(&mut self, bit: u64) {
        let (page, byte, _) = piece(bit / 8, 1);
        for pages in [&mut self.now, &mut self.durable] {
            let page = pages.entry(page).or_insert_with(zero_page);
            Arc::make_mut(page)[byte] ^= 1 << (bit % 8);
        }
    }

    /// Numbers of the pages that were ever written.
    pub fn written(&self) -> Vec<u64> {
        self.now.keys().copied().collect()
    }

    pub fn forsake(&mut self) {
        self.unsynced.values_mut().for_each(|unsynced| unsynced.forsaken = true);
    }

    pub fn crashed(&self, dice: &mut Dice) -> Self {
        let mut pages = self.durable.clone();
        for (number, unsynced) in &self.unsynced {
            let old = pages.get(number).cloned().unwrap_or_else(zero_page);
            let survivor = unsynced.survivor(&old, dice);
            pages.insert(*number, survivor);
        }
        let grown = self.len.saturating_sub(self.durable_len);
        let len = match dice.below(3) {
            0 => self.durable_len,
            1 => self.len,
            _ => {
                self.durable_len.min(self.len) + dice.roll() % (grown + 1) / PAGE_LEN as u64 * PAGE_LEN as u64
            }
        };
        cut(&mut pages, len);
        Self {
            now: pages.clone(),
            len,
            durable: pages,
            durable_len: len,
            lowest_len: len,
            unsynced: BTreeMap::new(),
        }
    }
}

impl Unsynced {
    /// One of the states since `old`, or `old`, or two neighbours torn.
    fn survivor(&self, old: &Page, dice: &mut Dice) -> Page {
        let all: Vec<&Page> = std::iter::once(old).chain(&self.states).collect();
        let newer = dice.below(all.len());
        if newer == 0 || !dice.one_in(TORN_ONE_IN) {
            return Arc::clone(all[newer]);
        }
        let mut torn = Arc::clone(all[newer - 1]);
        let bytes = Arc::make_mut(&mut torn);
        for (to, from) in bytes.chunks_mut(SECTOR_LEN).zip(all[newer].chunks(SECTOR_LEN)) {
            if dice.one_in(2) {
                to.copy_from_slice(from);
            }
        }
        torn
    }
}

fn zero_page() -> Page {
    Arc::new([0; PAGE_LEN])
}

/// The page that `offset` lies in, where in it, and how many of `len` bytes it has from there.
fn piece(offset: u64, len: usize) -> (u64, usize, usize) {
    let at = (offset % PAGE_LEN as u64) as usize;
    (offset / PAGE_LEN as u64, at, len.min(PAGE_LEN - at))
}

/// Forgets what lies at `len` and after.
fn cut(pages: &mut BTreeMap<u64, Page>, len: u64) {
    let (last, at, _) = piece(len, 0);
    pages.split_off(&(last + u64::from(at > 0)));
    if at > 0
        && let Some(page) = pages.get_mut(&last)
    {
        Arc::make_mut(page)[at..].fill(0);
    }
}
