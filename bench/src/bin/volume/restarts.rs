//! How long a volume of 100 GB takes to be found again: after a stop in order, and without one.
//!
//! The data file is sparse. Headers and footers are real and name full chunks; the chunks themselves are holes.

use crate::shelf::{CHUNK_LEN, Shelf, geometry, key, medium};
use antiphon_bench::table::{self, Samples};
use antiphon_cache::disk::aligned::{AlignedBuf, PAGE_LEN};
use antiphon_cache::disk::format::{Footer, FooterEntry, SegmentHeader, Stream, pages_of};
use antiphon_cache::disk::medium::{Medium, Part};
use antiphon_cache::disk::os::OsMedium;
use antiphon_cache::disk::volume::{Found, Shape, Volume};
use anyhow::{Result, ensure};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const CAPACITY: u64 = 100_000_000_000;

/// A medium whose data takes no space before it is written.
struct Sparse(OsMedium);

impl Medium for Sparse {
    fn read(&self, part: Part, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(part, offset, into)
    }

    fn write(&self, part: Part, offset: u64, from: &[u8]) -> io::Result<()> {
        self.0.write(part, offset, from)
    }

    fn sync(&self, part: Part) -> io::Result<()> {
        self.0.sync(part)
    }

    fn len(&self, part: Part) -> io::Result<u64> {
        self.0.len(part)
    }

    fn resize(&self, part: Part, len: u64) -> io::Result<()> {
        match part {
            Part::Data => OpenOptions::new().write(true).open(self.0.path(part))?.set_len(len),
            Part::Super | Part::PurgeLog | Part::Snapshot => self.0.resize(part, len),
        }
    }
}

pub fn measure(dir: &Path, rounds: u32) -> Result<()> {
    let dir = dir.join("restarts");
    let _ = std::fs::remove_dir_all(&dir);
    let medium: Arc<dyn Medium> = Arc::new(Sparse(medium(&dir)?));
    let shape = Shape { geometry: geometry()?, capacity_bytes: CAPACITY };
    Volume::format(&medium, shape, 1, [1; 16])?;
    let records = synthesise(medium.as_ref())?;
    let mut columns: [Samples; 5] = std::array::from_fn(|_| Samples::default());
    for _ in 0..rounds {
        let (open, dirty) = start(&medium, false, records)?;
        let (_, clean) = start(&medium, true, records)?;
        let per_100_gb = |seconds: f64| seconds * 1000.0;
        for (column, figure) in columns.iter_mut().zip([
            open * 1000.0,
            per_100_gb(dirty.0),
            per_100_gb(clean.0),
            dirty.1,
            clean.1,
        ]) {
            column.push(figure);
        }
    }
    println!(
        "\nRestart of a volume of 100 GB with {records} chunks, {rounds} rounds in turn, page cache dropped if allowed:\n"
    );
    table::print(&[
        [
            "open, then answers ms",
            "recovered by footers ms",
            "recovered by snapshot ms",
            "kept by footers %",
            "kept by snapshot %",
        ]
        .map(String::from)
        .to_vec(),
        columns.iter().map(Samples::to_string).collect(),
    ]);
    drop(medium);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// Opens and recovers: seconds to open, seconds to recover and what share is found. With `clean` the volume was
/// closed in order just before.
fn start(medium: &Arc<dyn Medium>, clean: bool, records: u64) -> Result<(f64, (f64, f64))> {
    if clean {
        let (shelf, _) = Shelf::open(Arc::clone(medium))?;
        shelf.volume.recover(&|_| {})?;
        shelf.volume.close(shelf.now())?;
    }
    // Needs root; without it the snapshot comes from memory, the data does not.
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    let began = Instant::now();
    let (shelf, found) = Shelf::open(Arc::clone(medium))?;
    ensure!(!shelf.volume.holds(key(0)), "found before it was looked for");
    let open = began.elapsed().as_secs_f64();
    ensure!((found == Found::Clean) == clean, "{found:?}");
    let recovered = shelf.volume.recover(&|_| {})?;
    let took = began.elapsed().as_secs_f64();
    ensure!(recovered.by_snapshot == clean, "{recovered:?}");
    let held = (0..records).filter(|no| shelf.volume.holds(key(*no))).count();
    Ok((open, (took, held as f64 / records as f64 * 100.0)))
}

/// Writes header and footer of every segment but three; how many chunks they name.
fn synthesise(medium: &dyn Medium) -> Result<u64> {
    let geometry = geometry()?;
    let segments = (CAPACITY >> geometry.segment_shift()) as u32;
    let mut page = AlignedBuf::new(PAGE_LEN);
    let mut bytes = AlignedBuf::new(geometry.footer_len());
    let pages = pages_of(CHUNK_LEN);
    let per_segment = (usize::from(geometry.footer_page()) - 1) / pages;
    let mut no = 0;
    for segment in 0..segments - 3 {
        let seq = u64::from(segment) + 1;
        let header =
            SegmentHeader { stream: Stream::Fresh, seg_no: segment, disk_uuid: [1; 16], seq, opened_ms: 0 };
        page.copy_from_slice(&header.to_page());
        let entries = (0..per_segment)
            .map(|at| {
                let key = key(no + at as u64);
                FooterEntry {
                    obj: key.obj,
                    chunk_no: key.no,
                    page: (1 + at * pages) as u16,
                    len: CHUNK_LEN as u32,
                    ver: 1,
                    crc: 0,
                    generation: 0,
                    freq: 0,
                }
            })
            .collect();
        no += per_segment as u64;
        let used_pages = (1 + per_segment * pages) as u16;
        Footer { seq, seg_no: segment, used_pages, sealed_ms: 0, entries }.write(&mut bytes, geometry)?;
        let offset = geometry.segment_offset(segment);
        medium.write(Part::Data, offset, &page)?;
        medium.write(Part::Data, offset + u64::from(geometry.footer_page()) * PAGE_LEN as u64, &bytes)?;
    }
    medium.sync(Part::Data)?;
    Ok(no)
}
