//! The bound: whoever knows the future keeps what comes back soonest (Belady, 1966), and lets pass what comes back
//! later than all it keeps. Behind a door it is the bound of whoever stands behind that door.

use super::Tier;
use super::door::Door;
use crate::trace::Access;
use std::collections::BinaryHeap;

/// Knows the rest of the trace.
pub struct Belady {
    /// By access: the number of the next one of the same chunk.
    next: Vec<u32>,
    /// By chunk: its next use if it is kept.
    kept: Vec<Option<NextUse>>,
    /// What is kept, the latest next use on top; may hold outdated ones.
    latest: BinaryHeap<(u32, u32)>,
    room: usize,
    now: usize,
    door: Door,
    written: u64,
}

/// One more than the number of an access, so that the option takes no room.
type NextUse = std::num::NonZeroU32;

const NEVER: u32 = u32::MAX - 1;

impl Belady {
    /// Of `accesses` to chunks below `chunks`, keeps `room`.
    pub fn new(accesses: &[Access], chunks: u32, room: usize, door: Door) -> Self {
        let mut seen = vec![NEVER; chunks as usize];
        let mut next = vec![NEVER; accesses.len()];
        for (at, access) in accesses.iter().enumerate().rev() {
            next[at] = std::mem::replace(&mut seen[access.chunk as usize], at as u32);
        }
        let kept = vec![None; chunks as usize];
        Self { next, kept, latest: BinaryHeap::new(), room: room.max(1), now: 0, door, written: 0 }
    }

    fn keep(&mut self, chunk: u32, next: u32) {
        self.kept[chunk as usize] = NextUse::new(next + 1);
        self.latest.push((next, chunk));
    }

    /// The kept chunk that comes back last.
    fn last(&mut self) -> Option<(u32, u32)> {
        while let Some((next, chunk)) = self.latest.peek().copied() {
            if self.kept[chunk as usize] == NextUse::new(next + 1) {
                return Some((next, chunk));
            }
            self.latest.pop();
        }
        None
    }
}

impl Tier for Belady {
    fn access(&mut self, chunk: u32) -> bool {
        let next = self.next[self.now];
        self.now += 1;
        if self.kept[chunk as usize].is_some() {
            self.keep(chunk, next);
            return true;
        }
        if !self.door.admits(chunk) {
            return false;
        }
        if self.room > 0 {
            self.room -= 1;
        } else {
            self.door.fill();
            match self.last() {
                Some((last, victim)) if last > next => {
                    self.kept[victim as usize] = None;
                    self.latest.pop();
                }
                _ => return false,
            }
        }
        self.written += 1;
        self.keep(chunk, next);
        false
    }

    fn written(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_soonest_is_kept() {
        let accesses = [0, 1, 2, 0, 1, 2, 0].map(|chunk| Access { chunk, bytes: 1 });
        let mut belady = Belady::new(&accesses, 3, 2, Door::open());
        let found: Vec<bool> = accesses.iter().map(|access| belady.access(access.chunk)).collect();
        assert_eq!(found, [false, false, false, true, true, false, true]);
        assert_eq!(belady.written(), 2);
    }
}
