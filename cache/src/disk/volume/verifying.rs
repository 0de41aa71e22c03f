//! Looking through a whole volume at once, for a person who waits.
//!
//! Promises
//! - Every record that can be found is read and checked whole; nothing is written.
//! - What is damaged is forgotten, so that it is not part of the next snapshot of the index.
//!
//! Does not know: how fast it should go: as fast as the disk.

use super::segments::State;
use super::{Volume, VolumeError};

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments looked at.
    pub segments: u32,
    /// Segments there are.
    pub of: u32,
    /// Bytes read.
    pub bytes: u64,
    /// Records whose bytes have changed, or that the disk cannot read.
    pub lost: u64,
    /// Of those, records that the disk cannot read.
    pub unreadable: u64,
}

impl Volume {
    /// Reads every record and tells `progress` after each segment; ends early when that returns `false`. Blocks on
    /// the disk, for hours on a large one.
    pub fn verify(&self, progress: &mut dyn FnMut(&Verified) -> bool) -> Result<Verified, VolumeError> {
        let inner = &self.inner;
        let mut verified = Verified { of: inner.segments.count(), ..Verified::default() };
        let mut lost = Vec::new();
        for segment in 0..inner.segments.count() {
            let holds = inner.segments.get(segment).is_some_and(|slot| slot.state() == State::Sealed);
            let entries = if holds { inner.contents(segment)? } else { Vec::new() };
            for entry in &entries {
                verified.bytes += inner.check(segment, entry, &mut lost);
                verified.lost += lost.len() as u64;
                verified.unreadable += lost.drain(..).filter(|lost| lost.unreadable).count() as u64;
            }
            verified.segments += 1;
            if !progress(&verified) {
                break;
            }
        }
        Ok(verified)
    }
}
