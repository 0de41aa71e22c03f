//! Least recently used goes first: what most caches do.

use super::Tier;
use super::door::Door;

/// A list by last use, threaded through a table of all chunks.
pub struct Lru {
    /// By chunk: the one used before and after it. The last is the list's head.
    links: Vec<Link>,
    left: usize,
    door: Door,
    written: u64,
}

#[derive(Clone, Copy)]
struct Link {
    older: u32,
    newer: u32,
}

/// In place of a link: the chunk is not kept.
const ABSENT: u32 = u32::MAX;

impl Lru {
    /// For chunks below `chunks`, of which `room` are kept.
    pub fn new(chunks: u32, room: usize, door: Door) -> Self {
        let mut links = vec![Link { older: ABSENT, newer: ABSENT }; chunks as usize + 1];
        links[chunks as usize] = Link { older: chunks, newer: chunks };
        Self { links, left: room.max(1), door, written: 0 }
    }

    fn make_room(&mut self) {
        if self.left > 0 {
            self.left -= 1;
            return;
        }
        self.door.fill();
        let oldest = self.links[self.head() as usize].newer;
        self.unlink(oldest);
    }

    fn head(&self) -> u32 {
        self.links.len() as u32 - 1
    }

    fn unlink(&mut self, chunk: u32) {
        let Link { older, newer } = self.links[chunk as usize];
        self.links[older as usize].newer = newer;
        self.links[newer as usize].older = older;
        self.links[chunk as usize] = Link { older: ABSENT, newer: ABSENT };
    }

    /// Makes it the newest: the head's older neighbour.
    fn link(&mut self, chunk: u32) {
        let head = self.head();
        let older = self.links[head as usize].older;
        self.links[chunk as usize] = Link { older, newer: head };
        self.links[older as usize].newer = chunk;
        self.links[head as usize].older = chunk;
    }
}

impl Tier for Lru {
    fn access(&mut self, chunk: u32) -> bool {
        let hit = self.links[chunk as usize].older != ABSENT;
        if hit {
            self.unlink(chunk);
        } else if self.door.admits(chunk) {
            self.make_room();
            self.written += 1;
        } else {
            return false;
        }
        self.link(chunk);
        hit
    }

    fn written(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::new(4, 2, Door::open());
        let found: Vec<bool> = [0, 1, 0, 2, 0, 1, 2].into_iter().map(|chunk| lru.access(chunk)).collect();
        assert_eq!(found, [false, false, true, false, true, false, false]);
        assert_eq!(lru.written(), 5);
    }
}
