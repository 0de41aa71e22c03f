//! A queue of places in a slab: who came first leaves first, and anybody may step out.
//!
//! Does not know: what stands in line.

/// First come, first served. Sum of weights and length are kept along.
pub(super) struct Queue {
    oldest: u32,
    newest: u32,
    len: usize,
    weight: u64,
}

/// The neighbours of one place; [`NIL`] at either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub older: u32,
    pub newer: u32,
}

/// Where the links are kept.
pub(super) trait Links {
    /// The link of a place.
    fn link(&mut self, at: u32) -> &mut Link;
}

/// No place.
pub(super) const NIL: u32 = u32::MAX;

impl Link {
    pub const NONE: Self = Self { older: NIL, newer: NIL };
}

impl Queue {
    pub const EMPTY: Self = Self { oldest: NIL, newest: NIL, len: 0, weight: 0 };

    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NIL).then_some(self.oldest)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Lets `at`, which is in no queue, line up at the end.
    pub fn push(&mut self, links: &mut impl Links, at: u32, weight: u32) {
        *links.link(at) = Link { older: self.newest, newer: NIL };
        match self.newest {
            NIL => self.oldest = at,
            newest => links.link(newest).newer = at,
        }
        self.newest = at;
        self.len += 1;
        self.weight += u64::from(weight);
    }

    /// Takes `at`, which is in this queue, out of it.
    pub fn unlink(&mut self, links: &mut impl Links, at: u32, weight: u32) {
        debug_assert!(self.len > 0 && self.weight >= u64::from(weight), "it stands in this queue");
        let Link { older, newer } = std::mem::replace(links.link(at), Link::NONE);
        match older {
            NIL => self.oldest = newer,
            older => links.link(older).newer = newer,
        }
        match newer {
            NIL => self.newest = older,
            newer => links.link(newer).older = older,
        }
        self.len -= 1;
        self.weight -= u64::from(weight);
    }

    /// One in this queue weighs `after` instead of `before`.
    pub fn reweigh(&mut self, before: u32, after: u32) {
        self.weight = self.weight - u64::from(before) + u64::from(after);
    }
}
