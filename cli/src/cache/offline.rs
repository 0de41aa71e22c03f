//! A volume's files, without an edge.

use antiphon_cache::Class;
use antiphon_cache::disk::medium::Medium;
use antiphon_cache::disk::os::{OpenMode, OsMedium};
use antiphon_cache::disk::volume::{Found, Recovered, UnixMillis, Verified, Volume, VolumeTerms};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// A volume that was opened and listed.
struct Opened {
    volume: Volume,
    found: Found,
    recovered: Recovered,
}

/// What is in the volume. Can be asked while an edge serves from it.
pub fn inspect(dir: &Path, data: Option<&Path>) -> Result<String> {
    let Opened { volume, found, recovered } = open(dir, data, OpenMode::ReadOnly)?;
    let (geometry, stats) = (volume.geometry(), volume.stats());
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name:<18}{value}");
    line("volume", dir.display().to_string())?;
    line("uuid", volume.disk_uuid().iter().map(|byte| format!("{byte:02x}")).collect())?;
    line(
        "left",
        match found {
            Found::Fresh => "never used".to_owned(),
            Found::Clean => "closed in order".to_owned(),
            Found::Dirty => "in use, or not closed in order".to_owned(),
        },
    )?;
    let [free, open, sealed, draining] = stats.segments;
    line(
        "size",
        format!("{} in segments of {}", bytes(stats.capacity_bytes), bytes(geometry.segment_len())),
    )?;
    line("segments", format!("{free} free, {open} open, {sealed} sealed, {draining} draining"))?;
    line("chunks", format!("of {}", bytes(geometry.chunk_len() as u64)))?;
    line("records", format!("{} (index {})", stats.records, bytes(stats.index_bytes)))?;
    line("purges", stats.purges.to_string())?;
    line(
        "found by",
        if recovered.by_snapshot { "its snapshot" } else { "the footers of its segments" }.to_owned(),
    )?;
    line("without footer", recovered.walked.to_string())?;
    line("unreadable", format!("{} segments", recovered.unreadable))?;
    Ok(text)
}

/// Reads every record; gives back how many are damaged. Can be asked while an edge serves from it: what the edge
/// gives up meanwhile is then counted as damaged.
pub fn verify(dir: &Path, data: Option<&Path>) -> Result<u64> {
    let opened = open(dir, data, OpenMode::ReadOnly)?;
    let verified = look_through(&opened.volume)?;
    println!("{}", summary(&opened.volume, &verified));
    Ok(verified.lost)
}

/// The same, and forgets what is damaged. No edge may be serving from it.
pub fn scrub(dir: &Path, data: Option<&Path>) -> Result<u64> {
    let opened = open(dir, data, OpenMode::Serve)?;
    let verified = look_through(&opened.volume)?;
    opened.volume.close(now()).context("close the volume")?;
    println!("{}", summary(&opened.volume, &verified));
    Ok(verified.lost)
}

fn open(dir: &Path, data: Option<&Path>, mode: OpenMode) -> Result<Opened> {
    let doing = || format!("open the volume in {}", dir.display());
    anyhow::ensure!(dir.is_dir(), "{} is no folder", dir.display());
    let medium = OsMedium::open(dir, data, mode).with_context(doing)?;
    for warning in medium.warnings() {
        println!("note: {warning}");
    }
    let terms = VolumeTerms {
        class: Class::Ssd,
        dwpd: 0.0,
        staging_max_bytes: 0,
        scrub_bytes_per_sec: 0,
        read_only: mode == OpenMode::ReadOnly,
    };
    let medium: Arc<dyn Medium> = Arc::new(medium);
    let (volume, found) = Volume::open(medium, terms, now(), 0).with_context(doing)?;
    let bar = bar("listing");
    let recovered = volume.recover(&|progress| {
        bar.set_length(u64::from(progress.of));
        bar.set_position(u64::from(progress.segments));
    });
    bar.finish_and_clear();
    Ok(Opened { volume, found, recovered: recovered.with_context(doing)? })
}

fn look_through(volume: &Volume) -> Result<Verified> {
    let bar = bar("checking");
    let verified = volume.verify(&mut |verified| {
        bar.set_length(u64::from(verified.of));
        bar.set_position(u64::from(verified.segments));
        true
    });
    bar.finish_and_clear();
    verified.context("check the volume")
}

fn summary(volume: &Volume, verified: &Verified) -> String {
    let Verified { bytes: read, lost, unreadable, .. } = *verified;
    let good = volume.stats().records;
    format!("{good} records are good, {lost} damaged ({unreadable} unreadable); {} read", bytes(read))
}

/// Segments, as they are gone through; shown on a terminal only.
fn bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} segments {eta}");
    let bar = ProgressBar::new(0).with_prefix(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Bytes in the largest unit that leaves at least one, two digits behind the point.
pub fn bytes(count: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| count >> shift > 0) {
        Some((unit, shift)) => format!("{:.2} {unit}", count as f64 / (1_u64 << shift) as f64),
        None => format!("{count} bytes"),
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixMillis(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_cache::disk::format::Geometry;
    use antiphon_cache::disk::volume::{NewRecord, Offered, Shape};
    use antiphon_cache::{ChunkKey, ObjName};

    #[test]
    fn sizes_are_shown_in_a_unit_that_can_be_read() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536 << 20), "1.50 GiB");
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = scratch.path().join("no");
        for error in [inspect(&missing, None).unwrap_err(), scrub(&missing, None).unwrap_err()] {
            assert!(error.to_string().ends_with("is no folder"), "{error:#}");
        }
        assert!(!missing.exists());
    }

    /// A volume with twenty records, closed in order.
    fn volume(dir: &Path) {
        std::fs::create_dir(dir).unwrap();
        let medium: Arc<dyn Medium> = Arc::new(OsMedium::open(dir, None, OpenMode::Serve).unwrap());
        let shape = Shape { geometry: Geometry::new(18, 22).unwrap(), capacity_bytes: 32 << 20 };
        Volume::format(&medium, shape, 1, [7; 16]).unwrap();
        let terms = VolumeTerms {
            class: Class::Ssd,
            dwpd: 0.0,
            staging_max_bytes: 0,
            scrub_bytes_per_sec: 0,
            read_only: false,
        };
        let (volume, _) = Volume::open(medium, terms, now(), 0).unwrap();
        volume.recover(&|_| ()).unwrap();
        for no in 0..20 {
            let key = ChunkKey { obj: ObjName::new("/a").key(), no };
            let record =
                NewRecord { key, ver: 1, generation: 1, written_secs: 1, payload: &[no as u8; 9_000] };
            assert_eq!(volume.offer(&record, now()), Offered::Admitted);
        }
        volume.close(now()).unwrap();
    }

    #[test]
    fn damage_is_counted_by_verify_and_forgotten_by_scrub() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("v");
        volume(&dir);
        assert_eq!(verify(&dir, None).unwrap(), 0);
        assert!(inspect(&dir, None).unwrap().contains("records           20 "));

        let data = std::fs::read(dir.join("data")).unwrap();
        let at = data.windows(64).position(|window| window == [5; 64]).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(dir.join("data")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[6], at as u64).unwrap();
        assert_eq!(verify(&dir, None).unwrap(), 1);
        assert_eq!(verify(&dir, None).unwrap(), 1, "verify changes nothing");
        assert_eq!(scrub(&dir, None).unwrap(), 1);
        assert_eq!(verify(&dir, None).unwrap(), 0);
        assert!(inspect(&dir, None).unwrap().contains("records           19 "));
    }

    #[test]
    fn a_folder_with_other_files_is_refused_and_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("data"), "music of somebody else").unwrap();
        for refused in [verify(scratch.path(), None), scrub(scratch.path(), None)] {
            assert!(refused.is_err());
        }
        assert_eq!(std::fs::read(scratch.path().join("data")).unwrap(), b"music of somebody else");
    }
}
