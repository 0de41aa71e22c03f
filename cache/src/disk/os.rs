//! A volume in a directory of the file system, its data in a file there, in a file elsewhere or on a raw device.
//!
//! Promises
//! - A file that is neither empty nor ours is not written to ([`OpenMediumError::Foreign`]) unless opened to format,
//!   and a device in use by a file system is not opened at all.
//! - While one process serves from a volume no other does: `LOCK` is held until the medium is dropped.
//! - Data bypasses the page cache (`O_DIRECT`); where the file system cannot, a [`Warning`] says so.
//! - Files are made for their owner alone (0600, the directory 0700), and their names survive a crash.
//! - Errors name operation, path and offset.
//!
//! Does not know: formats beyond their first bytes, threads, deadlines.

use super::aligned::{AlignedBuf, PAGE_LEN};
use super::medium::{Content, Medium, Part, Trouble, foreign_part, judge};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a volume is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// To serve from it: made if absent, locked.
    Serve,
    /// To look at it, whoever serves from it. Nothing is made or written.
    ReadOnly,
    /// To make a new volume of it, whatever there is now. Locked.
    Format,
}

/// Why a volume was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenMediumError {
    /// The system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Another process serves from it.
    #[error("{} is locked: another process serves from this volume", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// It holds bytes that are not ours.
    #[error("{} holds something else than a volume of ours; it is left alone unless told to format", path.display())]
    Foreign {
        /// The file or device.
        path: PathBuf,
    },
    /// It is a directory, a socket or the like.
    #[error("{} is neither a file nor a block device", path.display())]
    NoStorage {
        /// The path.
        path: PathBuf,
    },
}

/// A volume that works, but not as well as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Data goes through the page cache.
    #[error("{} takes no O_DIRECT: reads go through the page cache and compete with it for memory", path.display())]
    Buffered {
        /// The data.
        path: PathBuf,
    },
    /// Space is not set aside.
    #[error("the file system under {} allocates nothing ahead: the volume may run out of space", path.display())]
    Sparse {
        /// The data.
        path: PathBuf,
    },
}

/// A volume in a directory.
pub struct OsMedium {
    mode: OpenMode,
    /// In the order of [`PARTS`].
    parts: [Stored; 4],
    /// The data would not be opened with `O_DIRECT`.
    buffered: bool,
    /// A file grew without its space being allocated.
    sparse: AtomicBool,
    /// Held, and with it the right to write, until the medium is dropped. `None`: read-only.
    _lock: Option<File>,
}

struct Stored {
    path: PathBuf,
    /// `None`: absent. Not so once [`OsMedium::open`] has returned, unless read-only.
    file: Option<File>,
    device: bool,
}

const PARTS: [(Part, &str); 4] = [
    (Part::Super, "super"),
    (Part::Data, "data"),
    (Part::PurgeLog, "purge.log"),
    (Part::Snapshot, "index.snap"),
];

const LOCK: &str = "LOCK";

impl OsMedium {
    /// Opens the volume in `dir`, its data in `data` (a file or a block device) or else in the file `data` there.
    pub fn open(dir: &Path, data: Option<&Path>, mode: OpenMode) -> Result<Self, OpenMediumError> {
        let lock = if mode == OpenMode::ReadOnly { None } else { Some(claim(dir)?) };
        let parts = PARTS.map(|(part, name)| match data {
            Some(data) if part == Part::Data => data.to_owned(),
            _ => dir.join(name),
        });
        let parts = parts.map(|path| Stored { path, file: None, device: false });
        let mut medium = Self { mode, parts, buffered: false, sparse: AtomicBool::new(false), _lock: lock };
        for (part, _) in PARTS {
            medium.find(part)?;
        }
        if mode != OpenMode::Format {
            medium.refuse_foreign()?;
        }
        if mode != OpenMode::ReadOnly {
            medium.make_missing(dir)?;
        }
        Ok(medium)
    }

    /// What an operator should know.
    pub fn warnings(&self) -> Vec<Warning> {
        let path = || self.stored(Part::Data).path.clone();
        let buffered = self.buffered.then(|| Warning::Buffered { path: path() });
        let sparse = self.sparse.load(Ordering::Relaxed).then(|| Warning::Sparse { path: path() });
        buffered.into_iter().chain(sparse).collect()
    }

    /// Where a part is stored.
    pub fn path(&self, part: Part) -> &Path {
        &self.stored(part).path
    }

    /// Opens a part that exists.
    fn find(&mut self, part: Part) -> Result<(), OpenMediumError> {
        let path = self.stored(part).path.clone();
        let kind = match std::fs::metadata(&path) {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(failed("look at", &path)(cause)),
        };
        let device = kind.is_block_device();
        let storage = kind.is_file() || (device && part == Part::Data);
        if !storage {
            return Err(OpenMediumError::NoStorage { path });
        }
        let file = self.open_file(part, device).map_err(failed("open", &path))?;
        let stored = &mut self.parts[index(part)];
        (stored.file, stored.device) = (Some(file), device);
        Ok(())
    }

    fn open_file(&mut self, part: Part, device: bool) -> io::Result<File> {
        let writes = self.mode != OpenMode::ReadOnly;
        let mut flags = OFlags::empty();
        // On a device: refused while a file system or an array is on it, open(2).
        flags.set(OFlags::EXCL, device && writes);
        let path = &self.parts[index(part)].path;
        let open = |flags: OFlags| {
            OpenOptions::new()
                .read(true)
                .write(writes)
                .create(writes && !device)
                .mode(0o600)
                .custom_flags(flags.bits().cast_signed())
                .open(path)
        };
        if part != Part::Data {
            return open(flags);
        }
        match open(flags | OFlags::DIRECT).and_then(probed) {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                self.buffered = true;
                open(flags)
            }
            other => other,
        }
    }

    fn refuse_foreign(&self) -> Result<(), OpenMediumError> {
        match foreign_part(|part| self.judge(part).map_err(failed("look into", self.path(part))))? {
            None => Ok(()),
            Some(part) => Err(OpenMediumError::Foreign { path: self.path(part).to_owned() }),
        }
    }

    /// As [`judge`]; a file that ends inside a page was not made by us either.
    fn judge(&self, part: Part) -> io::Result<Content> {
        let paged = matches!(part, Part::Data | Part::Super) && !self.stored(part).device;
        if paged && !self.len(part)?.is_multiple_of(PAGE_LEN as u64) {
            return Ok(Content::Foreign);
        }
        judge(self, part)
    }

    fn make_missing(&mut self, dir: &Path) -> Result<(), OpenMediumError> {
        for (part, _) in PARTS {
            if self.stored(part).file.is_none() {
                let made = self.open_file(part, false);
                let made = made.map_err(failed("make", &self.stored(part).path))?;
                self.parts[index(part)].file = Some(made);
            }
        }
        let elsewhere = self.stored(Part::Data).path.parent().filter(|parent| !parent.as_os_str().is_empty());
        for dir in [Some(dir), elsewhere].into_iter().flatten() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))?;
        }
        Ok(())
    }

    fn stored(&self, part: Part) -> &Stored {
        &self.parts[index(part)]
    }

    /// Runs `act` on the file of `part` and names both where it fails.
    fn with<T>(
        &self,
        doing: &'static str,
        part: Part,
        range: Option<(u64, usize)>,
        act: impl FnOnce(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        let stored = self.stored(part);
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        stored.file.as_ref().ok_or_else(absent).and_then(act).map_err(|cause| {
            let path = stored.path.display();
            let place = match range {
                Some((offset, len)) => format!("{path}, {len} bytes at {offset}"),
                None => path.to_string(),
            };
            Trouble::wrap(doing, place, cause)
        })
    }

    /// Grows a file to `len` bytes with their space.
    fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
            Err(Errno::OPNOTSUPP) => {
                self.sparse.store(true, Ordering::Relaxed);
                file.set_len(len)
            }
            other => Ok(other?),
        }
    }
}

impl Medium for OsMedium {
    fn read(&self, part: Part, offset: u64, into: &mut [u8]) -> io::Result<()> {
        debug_assert!(part != Part::Data || aligned(offset, into));
        self.with("read", part, Some((offset, into.len())), |file| file.read_exact_at(into, offset))
    }

    fn write(&self, part: Part, offset: u64, from: &[u8]) -> io::Result<()> {
        debug_assert!(part != Part::Data || aligned(offset, from));
        self.with("write", part, Some((offset, from.len())), |file| file.write_all_at(from, offset))
    }

    fn sync(&self, part: Part) -> io::Result<()> {
        self.with("sync", part, None, File::sync_data)
    }

    fn len(&self, part: Part) -> io::Result<u64> {
        if self.stored(part).file.is_none() {
            return Ok(0);
        }
        self.with("measure", part, None, measure)
    }

    fn resize(&self, part: Part, len: u64) -> io::Result<()> {
        self.with("resize", part, None, |file| {
            let here = measure(file)?;
            match part {
                Part::Data if self.stored(part).device && len <= here => Ok(()),
                Part::Data if self.stored(part).device => Err(io::ErrorKind::StorageFull.into()),
                Part::Data | Part::PurgeLog if len >= here.max(1) => self.allocate(file, len),
                _ => file.set_len(len),
            }
        })
    }

    fn remarks(&self) -> Vec<String> {
        self.warnings().iter().map(Warning::to_string).collect()
    }
}

fn index(part: Part) -> usize {
    match part {
        Part::Super => 0,
        Part::Data => 1,
        Part::PurgeLog => 2,
        Part::Snapshot => 3,
    }
}

fn aligned(offset: u64, bytes: &[u8]) -> bool {
    offset.is_multiple_of(PAGE_LEN as u64) && AlignedBuf::fits(bytes)
}

/// The error of doing so to `path`, its cause to come.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenMediumError {
    move |cause| OpenMediumError::Io { doing, path: path.to_owned(), cause }
}

/// Makes the directory if there is none and takes its lock.
fn claim(dir: &Path) -> Result<File, OpenMediumError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make", dir))?;
    let path = dir.join(LOCK);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let lock = lock.map_err(failed("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenMediumError::Locked { path }),
        Err(TryLockError::Error(cause)) => Err(failed("lock", &path)(cause)),
    }
}

/// Some file systems take the flag and refuse the first read.
fn probed(file: File) -> io::Result<File> {
    if measure(&file)? >= PAGE_LEN as u64 {
        let mut page = AlignedBuf::new(PAGE_LEN);
        match file.read_exact_at(&mut page, 0) {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return Err(error),
            // A disk that cannot read its first page is found out where it matters.
            _ => {}
        }
    }
    Ok(file)
}

/// Bytes of a file or of a block device, whose metadata tells no length.
fn measure(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

#[cfg(test)]
mod tests {
    use super::super::format::{SegmentHeader, Stream};
    use super::super::medium::Failure;
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    fn segment_page() -> AlignedBuf {
        let header =
            SegmentHeader { stream: Stream::Fresh, seg_no: 0, disk_uuid: [1; 16], seq: 2, opened_ms: 3 };
        let mut page = AlignedBuf::new(PAGE_LEN);
        page.copy_from_slice(&header.to_page());
        page
    }

    fn open(dir: &TempDir, mode: OpenMode) -> Result<OsMedium, OpenMediumError> {
        OsMedium::open(&dir.path().join("volume"), None, mode)
    }

    #[test]
    fn a_volume_is_made_written_and_found_again() {
        let dir = TempDir::new().unwrap();
        let medium = open(&dir, OpenMode::Serve).unwrap();
        assert!(PARTS.iter().all(|(part, _)| medium.len(*part).unwrap() == 0));
        medium.resize(Part::Data, 1 << 20).unwrap();
        medium.write(Part::Data, 0, &segment_page()).unwrap();
        medium.sync(Part::Data).unwrap();
        medium.write(Part::PurgeLog, 0, &[0; 64]).unwrap();
        medium.sync(Part::PurgeLog).unwrap();
        drop(medium);

        let medium = open(&dir, OpenMode::Serve).unwrap();
        assert_eq!(medium.len(Part::Data).unwrap(), 1 << 20);
        assert_eq!(medium.len(Part::PurgeLog).unwrap(), 64);
        let mut page = AlignedBuf::new(PAGE_LEN);
        medium.read(Part::Data, 0, &mut page).unwrap();
        assert_eq!(page[..], segment_page()[..]);
        assert_eq!(judge(&medium, Part::Data).unwrap(), Content::Ours);
        assert_eq!(judge(&medium, Part::PurgeLog).unwrap(), Content::Blank);
    }

    #[test]
    fn the_space_of_the_data_is_set_aside_and_files_are_the_owners_alone() {
        use std::os::unix::fs::MetadataExt;
        let dir = TempDir::new().unwrap();
        let medium = open(&dir, OpenMode::Serve).unwrap();
        for (part, _) in PARTS {
            medium.resize(part, 0).unwrap();
        }
        medium.resize(Part::Data, 1 << 20).unwrap();
        let found = std::fs::metadata(medium.path(Part::Data)).unwrap();
        let sparse = medium.warnings().iter().any(|warning| matches!(warning, Warning::Sparse { .. }));
        assert!(sparse || found.blocks() * 512 >= 1 << 20);
        for (part, _) in PARTS {
            let mode = std::fs::metadata(medium.path(part)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let mode = std::fs::metadata(dir.path().join("volume")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn one_process_serves_and_others_may_look() {
        let dir = TempDir::new().unwrap();
        let serving = open(&dir, OpenMode::Serve).unwrap();
        assert!(matches!(open(&dir, OpenMode::Serve), Err(OpenMediumError::Locked { .. })));
        assert!(matches!(open(&dir, OpenMode::Format), Err(OpenMediumError::Locked { .. })));
        let looking = open(&dir, OpenMode::ReadOnly).unwrap();
        assert!(looking.write(Part::PurgeLog, 0, &[1]).is_err());
        drop(serving);
        assert!(open(&dir, OpenMode::Serve).is_ok());
    }

    #[test]
    fn looking_at_no_volume_makes_none() {
        let dir = TempDir::new().unwrap();
        let medium = open(&dir, OpenMode::ReadOnly).unwrap();
        assert_eq!(medium.len(Part::Data).unwrap(), 0);
        assert_eq!(Failure::of(&medium.read(Part::PurgeLog, 0, &mut [0; 64]).unwrap_err()), Failure::Gone);
        assert!(!dir.path().join("volume").exists());
    }

    #[test]
    fn a_foreign_file_is_left_alone_unless_told_to_format() {
        for (len, at) in
            [(5, 0), (1 << 22, 1080), (1 << 22, 0x1_0040), (1 << 22, (1 << 22) - 1), (9000, 8999)]
        {
            let dir = TempDir::new().unwrap();
            let path = dir.path().join("somebodys.img");
            let mut bytes = vec![0; len];
            bytes[at] = b'x';
            std::fs::write(&path, &bytes[..]).unwrap();
            let volume = dir.path().join("volume");
            let opened = OsMedium::open(&volume, Some(&path), OpenMode::Serve);
            let foreign = matches!(opened, Err(OpenMediumError::Foreign { path: named }) if named == path);
            assert!(foreign, "{len} {at}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            assert!(OsMedium::open(&volume, Some(&path), OpenMode::Format).is_ok());
        }
    }

    #[test]
    fn a_foreign_purge_log_beside_blank_data_is_left_alone_too() {
        let dir = TempDir::new().unwrap();
        drop(open(&dir, OpenMode::Serve).unwrap());
        std::fs::write(dir.path().join("volume/purge.log"), "notes").unwrap();
        assert!(matches!(open(&dir, OpenMode::Serve), Err(OpenMediumError::Foreign { .. })));
        std::fs::write(dir.path().join("volume/data"), &segment_page()[..]).unwrap();
        assert!(open(&dir, OpenMode::Serve).is_ok());
    }

    #[test]
    fn a_directory_in_place_of_the_data_is_no_storage() {
        let dir = TempDir::new().unwrap();
        let opened = OsMedium::open(&dir.path().join("volume"), Some(dir.path()), OpenMode::Serve);
        assert!(matches!(opened, Err(OpenMediumError::NoStorage { .. })));
    }

    #[test]
    fn errors_name_operation_path_and_place() {
        let dir = TempDir::new().unwrap();
        let medium = open(&dir, OpenMode::Serve).unwrap();
        let error = medium.read(Part::Data, 8192, &mut AlignedBuf::new(PAGE_LEN)).unwrap_err();
        let path = dir.path().join("volume/data");
        assert_eq!(error.to_string(), format!("read {}, 4096 bytes at 8192", path.display()));
        assert_eq!(Failure::of(&error), Failure::Short);
    }
}
