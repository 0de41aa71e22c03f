//! What a volume is stored on: four parts that are read, written and synced by offset.
//!
//! The real one is `os::OsMedium`; tests run on `sim::SimMedium`, which forgets, tears and refuses on purpose.
//! Calls block and are made on I/O threads only.
//!
//! Promises
//! - [`judge`] tells a part that is ours from one that is empty and from one that holds somebody else's bytes.
//! - [`Failure::of`] says what an error means for the volume, however deep the number of the system lies in it.
//!
//! Does not know: segments, records, what is done about a failure.

use super::aligned::{AlignedBuf, PAGE_LEN};
use super::format;
use std::io;

/// A piece of a volume with offsets of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// Two copies of the super block, a page each.
    Super,
    /// Segments, one after the other. Preallocated, never cut short.
    Data,
    /// Purges, 64 bytes each, appended. Any offset and length.
    PurgeLog,
    /// The index as of the last clean stop. Any offset and length.
    Snapshot,
}

/// Storage of one volume. On [`Part::Data`] offsets, lengths and addresses of buffers are multiples of [`PAGE_LEN`]
/// (take an [`AlignedBuf`]); elsewhere any will do.
pub trait Medium: Send + Sync + 'static {
    /// Fills `into` from `offset`: all of it, or an error (`UnexpectedEof` where the part ends earlier), after
    /// which `into` may hold anything.
    fn read(&self, part: Part, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Stores all of `from` at `offset`, or fails with any part of it stored. Kept across a loss of power only once
    /// [`Medium::sync`] has returned.
    fn write(&self, part: Part, offset: u64, from: &[u8]) -> io::Result<()>;

    /// Returns when everything written to `part` before survives a loss of power (fdatasync). After an error
    /// nothing is known about those writes, and a second `sync` that succeeds does not make up for the first.
    fn sync(&self, part: Part) -> io::Result<()>;

    /// Bytes of `part`, 0 when there is none.
    fn len(&self, part: Part) -> io::Result<u64>;

    /// Makes `part` `len` bytes long. Data and purge log grow with their space allocated, so that later writes
    /// cannot run out of it; data does not shrink below what it has on a raw device.
    fn resize(&self, part: Part, len: u64) -> io::Result<()>;

    /// What an operator should know about it: that it works, but not as it should.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Whose bytes a part holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// None: absent, empty, or zeros where any file system, partition table or array would have left a mark.
    Blank,
    /// Ours, by its first bytes.
    Ours,
    /// Somebody else's. Not to be written to unless told to format.
    Foreign,
}

/// So much at either end of a part must be zero for it to count as blank: further in than the marks of ext4, XFS,
/// btrfs (64 KiB), ZFS (16 KiB), GPT, LVM and md at the front, of GPT, md 1.0 and DRBD at the end.
const BLANK_LEN: u64 = 1 << 20;

/// Whose bytes `part` of `medium` holds. Reads up to 2 MiB where it is neither ours nor evidently foreign.
pub fn judge(medium: &dyn Medium, part: Part) -> io::Result<Content> {
    let len = medium.len(part)?;
    if len == 0 {
        return Ok(Content::Blank);
    }
    let mut head = AlignedBuf::new(usize_of(len.min(2 * PAGE_LEN as u64)));
    let got = read_within(medium, part, 0, len, &mut head)?;
    if format::is_ours(part, &head[..got]) {
        return Ok(Content::Ours);
    }
    let front = zeros(medium, part, 0, len)?;
    let page = PAGE_LEN as u64;
    let back = zeros(medium, part, len.saturating_sub(BLANK_LEN) / page * page, len)?;
    Ok(if front && back { Content::Blank } else { Content::Foreign })
}

/// The part, if any, that forbids to take a medium for a volume of ours or for a blank one. Data is judged
/// alone: it may be a device that was swapped for another. The rest may be of no use to anybody after a crash
/// while it was written; beside data of ours it is ours.
pub fn foreign_part<E>(judge: impl Fn(Part) -> Result<Content, E>) -> Result<Option<Part>, E> {
    match judge(Part::Data)? {
        Content::Ours => return Ok(None),
        Content::Foreign => return Ok(Some(Part::Data)),
        Content::Blank => {}
    }
    for part in [Part::Super, Part::PurgeLog, Part::Snapshot] {
        if judge(part)? == Content::Foreign {
            return Ok(Some(part));
        }
    }
    Ok(None)
}

/// Whether up to [`BLANK_LEN`] from `from` on are zero.
fn zeros(medium: &dyn Medium, part: Part, from: u64, len: u64) -> io::Result<bool> {
    const STEP: usize = 64 * 1024;
    let mut buf = AlignedBuf::new(STEP);
    let end = len.min(from.saturating_add(BLANK_LEN));
    let mut at = from;
    while at < end {
        let got = read_within(medium, part, at, len, &mut buf)?;
        if buf[..got].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += STEP as u64;
    }
    Ok(true)
}

/// Reads what there is of `into` before the part ends and tells how much that was. The last bytes of data or super
/// block that fill no page are left out: ours have none, and no disk reads them without its cache.
fn read_within(medium: &dyn Medium, part: Part, at: u64, len: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut here = usize_of(len.saturating_sub(at)).min(into.len());
    if matches!(part, Part::Data | Part::Super) {
        here -= here % PAGE_LEN;
    }
    if here > 0 {
        medium.read(part, at, &mut into[..here])?;
    }
    Ok(here)
}

fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// What an error of a medium means for the volume on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The disk could not read or keep the bytes (EIO and its relatives).
    Media,
    /// No space left, or a quota reached.
    Full,
    /// The file system or the device takes no writes.
    ReadOnly,
    /// The device is no longer there.
    Gone,
    /// The part ends before the bytes that were asked for.
    Short,
    /// Anything else: permissions, a limit of the process, a mistake of ours.
    Other,
}

impl Failure {
    /// What `error` means.
    pub fn of(error: &io::Error) -> Self {
        if let Some(number) = os_number(error) {
            return Self::of_number(number);
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::UnexpectedEof => Self::Short,
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Other,
        }
    }

    /// By the numbers of Linux, which are the same on all architectures we build for.
    fn of_number(number: i32) -> Self {
        match number {
            EIO | EREMOTEIO | EBADMSG | EILSEQ | ENODATA | ETIMEDOUT | EUCLEAN => Self::Media,
            ENOSPC | EDQUOT => Self::Full,
            EROFS => Self::ReadOnly,
            ENOENT | ENXIO | ENODEV | ESTALE | ENOMEDIUM => Self::Gone,
            _ => Self::Other,
        }
    }
}

/// Input or output failed on the device.
pub const EIO: i32 = 5;
/// The device is no longer there.
pub const ENODEV: i32 = 19;
/// The device is full.
pub const ENOSPC: i32 = 28;
/// The file system takes no writes.
pub const EROFS: i32 = 30;
const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const ENODATA: i32 = 61;
const EBADMSG: i32 = 74;
const EILSEQ: i32 = 84;
const ETIMEDOUT: i32 = 110;
const ESTALE: i32 = 116;
const EUCLEAN: i32 = 117;
const EREMOTEIO: i32 = 121;
const EDQUOT: i32 = 122;
const ENOMEDIUM: i32 = 123;

/// What a medium was doing when the system said no. Wrapped in the [`io::Error`] it hands out.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {place}")]
pub struct Trouble {
    doing: &'static str,
    place: String,
    #[source]
    cause: io::Error,
}

impl Trouble {
    /// `cause`, with what was being done (a verb) to what (a path, an offset). Kind and number stay readable.
    pub fn wrap(doing: &'static str, place: String, cause: io::Error) -> io::Error {
        io::Error::new(cause.kind(), Self { doing, place, cause })
    }
}

/// The number the system gave, also from inside a [`Trouble`].
fn os_number(error: &io::Error) -> Option<i32> {
    let within = || error.get_ref()?.downcast_ref::<Trouble>()?.cause.raw_os_error();
    error.raw_os_error().or_else(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_data_of_ours_nothing_is_foreign_and_beside_blank_data_everything_may_be() {
        let with = |data: Content, rest: Content| {
            let judge = |part| Ok::<_, ()>(if part == Part::Data { data } else { rest });
            foreign_part(judge).unwrap()
        };
        assert_eq!(with(Content::Ours, Content::Foreign), None);
        assert_eq!(with(Content::Blank, Content::Foreign), Some(Part::Super));
        assert_eq!(with(Content::Blank, Content::Ours), None);
        assert_eq!(with(Content::Foreign, Content::Ours), Some(Part::Data));
    }

    #[test]
    fn a_failure_is_known_by_its_number_however_it_is_wrapped() {
        for (number, failure) in [
            (EIO, Failure::Media),
            (EUCLEAN, Failure::Media),
            (ENOSPC, Failure::Full),
            (EDQUOT, Failure::Full),
            (EROFS, Failure::ReadOnly),
            (ENODEV, Failure::Gone),
            (1, Failure::Other),
        ] {
            let plain = io::Error::from_raw_os_error(number);
            assert_eq!(Failure::of(&plain), failure, "{plain}");
            let wrapped = Trouble::wrap("write", "/a/data at 4096".into(), plain);
            assert_eq!(Failure::of(&wrapped), failure, "{wrapped}");
            assert_eq!(wrapped.to_string(), "write /a/data at 4096");
        }
        assert_eq!(Failure::of(&io::Error::from(io::ErrorKind::UnexpectedEof)), Failure::Short);
        assert_eq!(Failure::of(&io::Error::from(io::ErrorKind::StorageFull)), Failure::Full);
    }
}
