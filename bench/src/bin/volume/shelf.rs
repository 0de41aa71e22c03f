//! A volume on the disk under test, and what is put there.

use antiphon_cache::disk::format::Geometry;
use antiphon_cache::disk::medium::Medium;
use antiphon_cache::disk::os::{OpenMode, OsMedium};
use antiphon_cache::disk::volume::{
    Class, Did, Found, NewRecord, Offered, Shape, UnixMillis, Volume, VolumeTerms,
};
use antiphon_cache::{ChunkKey, ObjKey};
use antiphon_core::Dice;
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a chunk, and of a segment, as they ship.
pub const CHUNK_LEN: usize = 256 * 1024;
pub const SEGMENT_SHIFT: u8 = 28;

/// Chunks of one object.
const CHUNKS_PER_OBJECT: u64 = 40;

/// A day in 1970: volumes are told the time.
const NOW: UnixMillis = UnixMillis(1_000_000);

pub const TERMS: VolumeTerms = VolumeTerms {
    class: Class::Ssd,
    dwpd: 0.0,
    staging_max_bytes: 32 << 20,
    scrub_bytes_per_sec: 0,
    read_only: false,
};

/// A volume and the disk it is on.
pub struct Shelf {
    pub medium: Arc<dyn Medium>,
    pub volume: Volume,
    began: Instant,
}

pub fn geometry() -> Result<Geometry> {
    Ok(Geometry::new(18, SEGMENT_SHIFT)?)
}

/// The files of a volume in `dir`.
pub fn medium(dir: &Path) -> Result<OsMedium> {
    let medium = OsMedium::open(dir, None, OpenMode::Serve).context("open the files of a volume")?;
    for warning in medium.warnings() {
        println!("Warning: {warning}");
    }
    Ok(medium)
}

impl Shelf {
    /// A new volume of `capacity` bytes in `dir`.
    pub fn new(dir: &Path, capacity: u64) -> Result<Self> {
        let _ = std::fs::remove_dir_all(dir);
        let medium: Arc<dyn Medium> = Arc::new(medium(dir)?);
        Volume::format(&medium, Shape { geometry: geometry()?, capacity_bytes: capacity }, 1, [1; 16])?;
        let (shelf, _) = Self::open(medium)?;
        shelf.volume.recover(&|_| {})?;
        Ok(shelf)
    }

    /// The volume on `medium`, not recovered.
    pub fn open(medium: Arc<dyn Medium>) -> Result<(Self, Found)> {
        let (volume, found) = Volume::open(Arc::clone(&medium), TERMS, NOW, 1)?;
        Ok((Self { medium, volume, began: Instant::now() }, found))
    }

    pub fn now(&self) -> UnixMillis {
        UnixMillis(NOW.0 + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Offers chunks `0..count` as fast as they are taken while a writer works, and waits until no
    /// full block is left in memory.
    /// `content` writes a chunk's bytes, `taken` hears how many chunks are taken.
    pub fn fill(
        &self,
        count: u64,
        mut content: impl FnMut(u64, &mut [u8]),
        mut taken: impl FnMut(u64),
    ) -> Result<()> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| self.write_until(&done));
            let mut payload = vec![0; CHUNK_LEN];
            for no in 0..count {
                content(no, &mut payload);
                let record =
                    NewRecord { key: key(no), ver: 1, generation: 0, written_secs: 0, payload: &payload };
                while self.volume.offer(&record, self.now()) != Offered::Admitted {
                    if writer.is_finished() {
                        break;
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
                taken(no + 1);
            }
            done.store(true, Ordering::Release);
            writer.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the writer panicked")))
        })
    }

    fn write_until(&self, done: &AtomicBool) -> Result<()> {
        loop {
            let last = done.load(Ordering::Acquire);
            if self.volume.work(self.now())?.did == Did::Nothing {
                if last && !self.volume.flush_ready() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

/// The key of chunk `no` of all.
pub fn key(no: u64) -> ChunkKey {
    let mut obj = [0; 16];
    obj[..8].copy_from_slice(&mix(no / CHUNKS_PER_OBJECT).to_le_bytes());
    ChunkKey { obj: ObjKey::from_bytes(obj), no: (no % CHUNKS_PER_OBJECT) as u32 }
}

/// What chunk `no` holds.
pub fn fill_chunk(no: u64, payload: &mut [u8]) {
    let mut state = mix(no);
    for word in payload.chunks_exact_mut(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        word.copy_from_slice(&state.to_le_bytes());
    }
}

/// A number that looks like chance.
pub fn mix(number: u64) -> u64 {
    Dice::new(number).roll()
}
