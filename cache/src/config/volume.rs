//! `[[cache.volumes]]`: one disk each.

use super::CacheConfigError;
use antiphon_core::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// One volume.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VolumeConfig {
    /// Folder of the volume, on the disk it stands for; made if it is not there. Nobody else may write there. A
    /// folder with files that are not ours is never touched: the volume is shown as failed instead. Two volumes
    /// on one disk share its fate and its speed.
    pub dir: PathBuf,
    /// Its name in commands, metrics and the log: up to 32 of a-z, A-Z, 0-9, `.`, `_`, `-`. Empty takes the last
    /// part of `dir`.
    pub name: String,
    /// Where the chunks lie, if not in a file in `dir`: a raw device such as `/dev/nvme1n1`, or a file on another
    /// disk. A device that holds anything else is refused, until told to format it. Empty is a file in `dir`.
    pub data: PathBuf,
    /// Size of the volume, allocated at the first start: at least eight segments. Too large fills the disk, and the
    /// volume turns read-only. Cannot be changed without formatting. 0 takes all of a raw device. The index takes
    /// about 11 bytes of memory per 256KiB.
    pub capacity_bytes: ByteSize,
    /// `ssd`, or `hdd` for a large slow disk behind the SSDs: it takes what they give up while it is still warm,
    /// and is read after them. An SSD called `hdd` is idle most of the time; an HDD called `ssd` makes listeners
    /// wait for its seeks.
    pub class: Class,
    /// Drive writes per day that may be spent: `capacity_bytes` times this is written in 24 hours at most, a
    /// quarter of it in one burst. Take it from the data sheet, divided by the share of the drive that this
    /// volume takes: a hundredth of a drive good for 1 may be written 100 times. Too high wears the drive out early, too low keeps old music on it. 0 is without limit. Live: a
    /// SIGHUP applies a new value without a restart.
    pub dwpd: f64,
    /// Threads that wait for reads of this volume. Too few leave a fast SSD idle (16 saturate NVMe), more than a
    /// disk can serve at once only queue in the kernel: 2 to 4 for `hdd`.
    pub io_threads: u32,
    /// Reads that may wait for a thread. One more goes upstream at once. Longer queues make a slow disk slower for
    /// everybody.
    pub io_queue_max: u32,
    /// A read that takes longer than this is given up and asked of the origin; the disk's answer is thrown away. Too
    /// short sends load to the origin that the disk would have carried, too long is silence. 50 suits an SSD, 300 an
    /// `hdd`.
    pub read_deadline_ms: u32,
    /// Length of a segment, what is written and given up at a time: a power of two from 4MiB to 256MiB. Shorter ones
    /// suit small volumes, longer ones are kinder to the flash. Cannot be changed without formatting.
    pub segment_bytes: ByteSize,
    /// What scrubbing reads in a second to find chunks that have rotted. At 4MiB a terabyte takes three days. 0 does
    /// not scrub: rot is then found when a listener asks, who waits for the origin.
    pub scrub_bytes_per_sec: ByteSize,
    /// Memory for chunks that wait to be written, at least 16MiB. Beyond it chunks are not stored, and counted: no
    /// listener ever waits for a write.
    pub staging_max_bytes: ByteSize,
}

/// What kind of disk a volume is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Flash: read first, fed by what comes from upstream.
    #[default]
    Ssd,
    /// Spinning: read after the SSDs, fed by what they give up.
    Hdd,
}

/// Volumes of one node at most.
pub const VOLUMES_MAX: usize = 64;
/// Segments of one volume, fewest and most: three are kept free and two are being written, so that fewer hold next to
/// nothing; a place has 22 bits for the number.
const SEGMENTS: std::ops::RangeInclusive<u64> = 8..=(1 << 22) - 1;
const SEGMENT_MIN: ByteSize = ByteSize::mib(4);
const SEGMENT_MAX: ByteSize = ByteSize::mib(256);
/// Writes of 4 MiB for two streams: one under way and one being filled each.
const STAGING_MIN: ByteSize = ByteSize::mib(16);
const THREADS_MAX: u32 = 256;
const QUEUE_MAX: u32 = 65_536;
const DEADLINE_MAX_MS: u32 = 60_000;
const DWPD_MAX: f64 = 1_000.0;
const NAME_MAX: usize = 32;

impl Default for VolumeConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            name: String::new(),
            data: PathBuf::new(),
            capacity_bytes: ByteSize(0),
            class: Class::Ssd,
            dwpd: 1.0,
            io_threads: 8,
            io_queue_max: 256,
            read_deadline_ms: 50,
            segment_bytes: ByteSize::mib(256),
            scrub_bytes_per_sec: ByteSize::mib(4),
            staging_max_bytes: ByteSize::mib(32),
        }
    }
}

impl VolumeConfig {
    /// A volume in `dir` with `capacity` bytes, the rest by default.
    pub fn at(dir: impl Into<PathBuf>, capacity: ByteSize) -> Self {
        Self { dir: dir.into(), capacity_bytes: capacity, ..Self::default() }
    }

    /// What it is called: `name`, or else the last part of `dir`.
    pub fn called(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        self.dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Where the chunks lie, if not in `dir`.
    pub fn data(&self) -> Option<&Path> {
        (!self.data.as_os_str().is_empty()).then_some(&self.data)
    }

    /// Power of two of the segment length; right once checked.
    pub fn segment_shift(&self) -> u8 {
        self.segment_bytes.0.trailing_zeros() as u8
    }

    /// Says which key is wrong, without its table.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, what: String| Err((key, what));
        if self.dir.as_os_str().is_empty() {
            return wrong("dir", "is missing".to_owned());
        }
        let name = self.called();
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_name_byte) {
            let what = format!("{name:?} is no name: 1 to {NAME_MAX} of a-z, A-Z, 0-9, `.`, `_`, `-`");
            return wrong("name", what);
        }
        let segment = self.segment_bytes;
        if !segment.0.is_power_of_two() || !(SEGMENT_MIN..=SEGMENT_MAX).contains(&segment) {
            let what = format!("{segment} is no power of two from {SEGMENT_MIN} to {SEGMENT_MAX}");
            return wrong("segment_bytes", what);
        }
        let whole_device = self.capacity_bytes.0 == 0 && self.data().is_some();
        let segments = self.capacity_bytes.0 / segment.0;
        if !whole_device && !SEGMENTS.contains(&segments) {
            let (least, most) = (SEGMENTS.start(), SEGMENTS.end());
            let what = format!(
                "{} is {segments} segments of {segment}; {least} to {most} are possible",
                self.capacity_bytes
            );
            return wrong("capacity_bytes", what);
        }
        if !(0.0..=DWPD_MAX).contains(&self.dwpd) {
            return wrong("dwpd", format!("{} is not between 0 and {DWPD_MAX}", self.dwpd));
        }
        if self.staging_max_bytes < STAGING_MIN {
            let what = format!("{} is too small, at least {STAGING_MIN} is needed", self.staging_max_bytes);
            return wrong("staging_max_bytes", what);
        }
        for (key, value, most) in [
            ("io_threads", self.io_threads, THREADS_MAX),
            ("io_queue_max", self.io_queue_max, QUEUE_MAX),
            ("read_deadline_ms", self.read_deadline_ms, DEADLINE_MAX_MS),
        ] {
            if !(1..=most).contains(&value) {
                return wrong(key, format!("{value} is not between 1 and {most}"));
            }
        }
        Ok(())
    }
}

impl Class {
    /// The class as it is written in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssd => "ssd",
            Self::Hdd => "hdd",
        }
    }
}

/// Checks each volume, and that no two of them meet.
pub(crate) fn check_all(volumes: &[VolumeConfig]) -> Result<(), CacheConfigError> {
    let wrong = |number: Option<usize>, key: &str, what: String| {
        let place = number.map_or_else(String::new, |number| format!("[{number}].{key}"));
        Err(CacheConfigError { key: format!("cache.volumes{place}"), what })
    };
    if volumes.len() > VOLUMES_MAX {
        return wrong(None, "", format!("{} volumes, at most {VOLUMES_MAX} are possible", volumes.len()));
    }
    let (mut names, mut places) = (HashSet::new(), HashSet::new());
    for (number, volume) in volumes.iter().enumerate() {
        if let Err((key, what)) = volume.check() {
            return wrong(Some(number), key, what);
        }
        if !names.insert(volume.called()) {
            let what = format!("{:?} is another volume's name; give one of them a `name`", volume.called());
            return wrong(Some(number), "name", what);
        }
        for (key, path) in [("dir", Some(volume.dir.as_path())), ("data", volume.data())] {
            if path.is_some_and(|path| !places.insert(plain(path))) {
                return wrong(Some(number), key, "another volume is there".to_owned());
            }
        }
    }
    Ok(())
}

/// The path without `.` and doubled slashes. What links lead to is found out by the volume's lock.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn small(dir: &str) -> VolumeConfig {
        VolumeConfig { segment_bytes: ByteSize::mib(4), ..VolumeConfig::at(dir, ByteSize::mib(32)) }
    }

    fn refused(change: impl Fn(&mut VolumeConfig)) -> String {
        let mut volume = small("a");
        change(&mut volume);
        check_all(&[small("b"), volume]).unwrap_err().to_string()
    }

    #[test]
    fn a_volume_that_cannot_work_is_refused_by_its_number_and_key() {
        assert_eq!(check_all(&[small("a"), small("b")]), Ok(()));
        for (error, text) in [
            (refused(|volume| volume.dir = PathBuf::new()), "cache.volumes[1].dir: is missing"),
            (
                refused(|volume| volume.capacity_bytes = ByteSize((32 << 20) - 1)),
                "cache.volumes[1].capacity_bytes: 33554431 is 7 segments of 4MiB; 8 to 4194303 are possible",
            ),
            (
                refused(|volume| volume.segment_bytes = ByteSize::mib(5)),
                "cache.volumes[1].segment_bytes: 5MiB is no power of two from 4MiB to 256MiB",
            ),
            (
                refused(|volume| volume.segment_bytes = ByteSize::mib(2)),
                "cache.volumes[1].segment_bytes: 2MiB is no power of two from 4MiB to 256MiB",
            ),
            (
                refused(|volume| volume.segment_bytes = ByteSize::mib(512)),
                "cache.volumes[1].segment_bytes: 512MiB is no power of two from 4MiB to 256MiB",
            ),
            (refused(|volume| volume.dwpd = -0.1), "cache.volumes[1].dwpd: -0.1 is not between 0 and 1000"),
            (
                refused(|volume| volume.dwpd = f64::NAN),
                "cache.volumes[1].dwpd: NaN is not between 0 and 1000",
            ),
            (
                refused(|volume| volume.io_threads = 0),
                "cache.volumes[1].io_threads: 0 is not between 1 and 256",
            ),
            (
                refused(|volume| volume.io_queue_max = 65_537),
                "cache.volumes[1].io_queue_max: 65537 is not between 1 and 65536",
            ),
            (
                refused(|volume| volume.read_deadline_ms = 0),
                "cache.volumes[1].read_deadline_ms: 0 is not between 1 and 60000",
            ),
            (
                refused(|volume| volume.staging_max_bytes = ByteSize::mib(15)),
                "cache.volumes[1].staging_max_bytes: 15MiB is too small, at least 16MiB is needed",
            ),
        ] {
            assert_eq!(error, text);
        }
    }

    #[test]
    fn two_volumes_never_share_a_place_or_a_name() {
        for same in ["b", "./b", "b/", ".//b/."] {
            let error = refused(|volume| {
                volume.dir = same.into();
                volume.name = "other".into();
            });
            assert_eq!(error, "cache.volumes[1].dir: another volume is there", "{same}");
        }
        let error = refused(|volume| volume.data = "b".into());
        assert_eq!(error, "cache.volumes[1].data: another volume is there");
        let error = refused(|volume| volume.dir = "/mnt/disk2/b".into());
        assert!(error.starts_with("cache.volumes[1].name: \"b\" is another volume's name"), "{error}");
    }

    #[test]
    fn names_are_fit_for_a_label_and_a_path() {
        for name in ["a/b", "a b", "ä", &"x".repeat(33)] {
            assert!(
                refused(|volume| volume.name = name.into()).starts_with("cache.volumes[1].name"),
                "{name}"
            );
        }
        assert!(refused(|volume| volume.dir = "/".into()).starts_with("cache.volumes[1].name"));
    }

    #[test]
    fn a_raw_device_may_be_taken_whole_and_a_folder_needs_a_size() {
        let whole = VolumeConfig { capacity_bytes: ByteSize(0), data: "/dev/nvme1n1".into(), ..small("a") };
        assert_eq!(check_all(&[whole]), Ok(()));
        assert!(refused(|volume| volume.capacity_bytes = ByteSize(0)).contains("capacity_bytes"));
    }

    #[test]
    fn more_volumes_than_a_node_has_places_for_are_refused() {
        let many = |count: usize| (0..count).map(|n| small(&n.to_string())).collect::<Vec<_>>();
        assert_eq!(check_all(&many(VOLUMES_MAX)), Ok(()));
        assert_eq!(check_all(&many(VOLUMES_MAX + 1)).unwrap_err().key, "cache.volumes");
    }
}
