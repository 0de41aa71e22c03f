//! Reading and writing the medium, with errors that say what was done, and buffers that are used again.
//!
//! Does not know: what the bytes are.

use super::{Act, Inner, VolumeError};
use crate::disk::aligned::{AlignedBuf, PAGE_LEN};
use crate::disk::medium::Part;
use parking_lot::Mutex;
use std::io;

/// Buffers for reads. Their memory is cleared once, not for every read.
pub(super) struct Buffers {
    len: usize,
    spare: Mutex<Vec<AlignedBuf>>,
}

/// So many buffers wait for their next use; a node reads a disk with fewer threads than this.
const SPARE_MAX: usize = 16;

impl Buffers {
    /// Buffers of `len` bytes each.
    pub fn new(len: usize) -> Self {
        Self { len, spare: Mutex::new(Vec::new()) }
    }

    /// A buffer with anything in it.
    pub fn take(&self) -> AlignedBuf {
        self.spare.lock().pop().unwrap_or_else(|| AlignedBuf::new(self.len))
    }

    /// Gives a buffer back.
    pub fn give(&self, buf: AlignedBuf) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_MAX {
            spare.push(buf);
        }
    }
}

impl Inner {
    /// Reads data from page `page` of a segment on.
    pub fn read_pages(&self, segment: u32, page: u16, into: &mut [u8]) -> Result<(), VolumeError> {
        self.read(Part::Data, self.offset_of(segment, page), into)
    }

    /// Writes data from page `page` of a segment on.
    pub fn write_pages(&self, segment: u32, page: u16, from: &[u8]) -> Result<(), VolumeError> {
        self.write(Part::Data, self.offset_of(segment, page), from)?;
        self.counters.wrote(from.len());
        Ok(())
    }

    /// Reads any part.
    pub fn read(&self, part: Part, offset: u64, into: &mut [u8]) -> Result<(), VolumeError> {
        self.medium.read(part, offset, into).map_err(|cause| failed(Act::Read, part, offset, cause))
    }

    /// Writes any part.
    pub fn write(&self, part: Part, offset: u64, from: &[u8]) -> Result<(), VolumeError> {
        self.medium.write(part, offset, from).map_err(|cause| failed(Act::Write, part, offset, cause))
    }

    /// Waits until what was written is durable.
    pub fn sync(&self, part: Part) -> Result<(), VolumeError> {
        self.medium.sync(part).map_err(|cause| failed(Act::Sync, part, 0, cause))
    }

    /// Makes a part `len` bytes long.
    pub fn resize(&self, part: Part, len: u64) -> Result<(), VolumeError> {
        self.medium.resize(part, len).map_err(|cause| failed(Act::Resize, part, len, cause))
    }

    fn offset_of(&self, segment: u32, page: u16) -> u64 {
        self.geometry.segment_offset(segment) + u64::from(page) * PAGE_LEN as u64
    }
}

/// The error of something done to a medium.
pub(super) fn failed(act: Act, part: Part, offset: u64, cause: io::Error) -> VolumeError {
    VolumeError::Io { act, part, offset, cause }
}

/// `bytes` where a disk takes them from.
pub(super) fn aligned(bytes: &[u8]) -> AlignedBuf {
    let mut buf = AlignedBuf::new(bytes.len());
    buf[..bytes.len()].copy_from_slice(bytes);
    buf
}
