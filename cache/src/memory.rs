//! The RAM tier by itself: what a look-up below the objects' descriptions costs, measured in `bench/` beside others.
//!
//! Does not know: objects, upstream, volumes.

use crate::arena::{MapMemoryError, SLOT_LEN};
use crate::budget::Budget;
use crate::object::ChunkKey;
use crate::ram::Ram;
use bytes::Bytes;
use std::sync::Arc;

/// Chunks in memory.
pub struct Memory {
    budget: Arc<Budget>,
    ram: Ram,
}

impl Memory {
    /// For `capacity` bytes. Fails if the system has no memory for as much.
    pub fn new(capacity: u64) -> Result<Self, MapMemoryError> {
        let budget = Budget::new(capacity, 100)?;
        Ok(Self { ram: Ram::new(budget.capacity()), budget })
    }

    /// A chunk in version `ver`.
    pub fn get(&self, key: ChunkKey, ver: u64) -> Option<Bytes> {
        let slot = self.ram.get(key, ver)?;
        slot.bytes(0, slot.len() as usize)
    }

    /// Keeps a chunk of at most 256 KiB, making room for it; `false` if all that is kept is being read.
    pub fn put(&self, key: ChunkKey, ver: u64, bytes: &[u8]) -> bool {
        let len = bytes.len().min(SLOT_LEN);
        let Some(mut writer) = self.budget.writer(len, || self.ram.evict_one()) else { return false };
        writer.push(&bytes[..len]);
        self.ram.keep(key, ver, Arc::clone(writer.slot()));
        true
    }

    /// Bytes in use, counted by places.
    pub fn used(&self) -> u64 {
        self.budget.used()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjName;

    #[test]
    fn what_is_put_is_found_and_the_bound_holds() {
        let memory = Memory::new(4 << 20).unwrap();
        let key = |no| ChunkKey { obj: ObjName::new("/a").key(), no };
        for no in 0..100_u32 {
            assert!(memory.put(key(no), 1, &vec![no as u8; SLOT_LEN]));
            assert!(memory.used() <= 4 << 20);
            assert_eq!(memory.get(key(no), 1).unwrap(), vec![no as u8; SLOT_LEN]);
        }
        assert_eq!(memory.get(key(99), 2), None);
    }
}
