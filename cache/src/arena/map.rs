//! Memory from the system, and back to it.
//!
//! The door to `memmap2` for the arena. Anonymous mappings: pages come with the first write and count as the
//! process's own; huge pages where the system has them.

#![expect(unsafe_code, reason = "memory is given back to the system while the mapping stays")]

use memmap2::{Advice, MmapMut, MmapRaw, UncheckedAdvice};
use std::ops::Range;
use std::ptr::NonNull;

/// Mapped memory for a run of slots.
pub(super) struct Region {
    map: MmapRaw,
    slots: Range<u32>,
    slot_len: usize,
}

/// The system has no memory for as much as was configured.
#[derive(Debug, thiserror::Error)]
#[error("map {bytes} bytes of memory")]
pub struct MapMemoryError {
    /// How much was asked for.
    pub bytes: u64,
    /// What the system said.
    #[source]
    pub cause: std::io::Error,
}

impl Region {
    /// Maps memory for the slots `slots`, zeroes all of it.
    pub fn map(slots: Range<u32>, slot_len: usize) -> Result<Self, MapMemoryError> {
        let len = slots.len().saturating_mul(slot_len);
        let map = MmapMut::map_anon(len).map_err(|cause| MapMemoryError { bytes: len as u64, cause })?;
        let map = MmapRaw::from(map);
        // A system without huge pages refuses; it works with small ones.
        let _ = map.advise(Advice::HugePage);
        Ok(Self { map, slots, slot_len })
    }

    /// Where a slot begins; `slot_len` bytes from there are initialised. `None` for a slot of another region.
    pub fn slot(&self, slot: u32) -> Option<NonNull<u8>> {
        let at = self.slots.contains(&slot).then(|| (slot - self.slots.start) as usize)?;
        // SAFETY: `map` is `slots.len() * slot_len` bytes long, so the result lies inside it.
        NonNull::new(unsafe { self.map.as_mut_ptr().add(at * self.slot_len) })
    }

    /// Gives the memory of the slots `run` back to the system; they read as zeroes from then on.
    ///
    /// # Safety
    /// Nobody reads or writes these slots before this has returned.
    pub unsafe fn release(&self, run: Range<u32>) {
        let start = run.start.max(self.slots.start);
        let end = run.end.min(self.slots.end);
        if start < end {
            let at = (start - self.slots.start) as usize * self.slot_len;
            let len = (end - start) as usize * self.slot_len;
            // Refusal costs memory and nothing else.
            // SAFETY: dropping pages of an anonymous private mapping turns them to zeroes, which is what an
            // initialised slot may hold; by the caller's promise no reference to them exists.
            let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, at, len) };
        }
    }
}
