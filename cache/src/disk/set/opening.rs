//! From a line in the configuration to an open volume.

use super::placement::mix_name as mix;
use super::{Context, Doing};
use crate::config::{CacheConfigError, VolumeConfig};
use crate::disk::aligned::AlignedBuf;
use crate::disk::format::Geometry;
use crate::disk::medium::{Medium, Part};
use crate::disk::os::{OpenMode, OsMedium};
use crate::disk::volume::{OpenVolumeError, Shape, Volume, VolumeTerms};
use std::error::Error;
use std::io;
use std::sync::Arc;

/// Opens the medium of a volume.
pub type OpenMedium = dyn Fn(&VolumeConfig, OpenMode) -> Result<Arc<dyn Medium>, AnyError> + Send + Sync;

/// Why a volume could not be opened, for people.
pub(super) type AnyError = Box<dyn Error + Send + Sync>;

/// Why there are no volumes.
#[derive(Debug, thiserror::Error)]
pub enum OpenDisksError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] CacheConfigError),
}

/// What a format wipes at either end of the data, so that nothing takes it for what it was.
const WIPE_LEN: u64 = 1 << 20;
const WIPE_STEP: usize = 64 * 1024;
/// Chunks of 256 KiB.
const CHUNK_SHIFT: u8 = antiphon_core::CHUNK_LEN.trailing_zeros() as u8;

/// A folder, and maybe a device.
pub(super) fn on_disk(config: &VolumeConfig, mode: OpenMode) -> Result<Arc<dyn Medium>, AnyError> {
    Ok(Arc::new(OsMedium::open(&config.dir, config.data(), mode)?))
}

impl Context {
    /// Opens the volume of `config`, making it where there is none yet.
    pub fn open(&self, config: &VolumeConfig, doing: Doing) -> Result<(Volume, Arc<dyn Medium>), AnyError> {
        let medium = match doing {
            Doing::Open => (self.media)(config, OpenMode::Serve)?,
            Doing::Format => {
                let medium = (self.media)(config, OpenMode::Format)?;
                wipe(medium.as_ref())?;
                medium
            }
        };
        let terms = VolumeTerms {
            class: config.class,
            dwpd: config.dwpd,
            staging_max_bytes: config.staging_max_bytes.0,
            scrub_bytes_per_sec: config.scrub_bytes_per_sec.0,
            read_only: false,
        };
        let seed = mix(self.seed, &config.called(), 0);
        match Volume::open(Arc::clone(&medium), terms, self.millis(), seed) {
            Ok((volume, _)) => Ok((volume, medium)),
            Err(OpenVolumeError::Blank) => {
                let mut uuid = [0; 16];
                uuid[..8].copy_from_slice(&mix(self.seed, &config.called(), 1).to_le_bytes());
                uuid[8..].copy_from_slice(&mix(self.seed, &config.called(), 2).to_le_bytes());
                Volume::format(&medium, shape(config, medium.as_ref())?, seed, uuid)?;
                let (volume, _) = Volume::open(Arc::clone(&medium), terms, self.millis(), seed)?;
                Ok((volume, medium))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Segments and chunks as the configuration wants them.
fn shape(config: &VolumeConfig, medium: &dyn Medium) -> Result<Shape, AnyError> {
    let capacity_bytes = match config.capacity_bytes.0 {
        0 => medium.len(Part::Data)?,
        bytes => bytes,
    };
    Ok(Shape { geometry: Geometry::new(CHUNK_SHIFT, config.segment_shift())?, capacity_bytes })
}

/// Makes blank what a volume may be made on: what was there is gone.
fn wipe(medium: &dyn Medium) -> io::Result<()> {
    for part in [Part::Super, Part::PurgeLog, Part::Snapshot] {
        medium.resize(part, 0)?;
    }
    let len = medium.len(Part::Data)?;
    let zeros = AlignedBuf::new(WIPE_STEP);
    let whole_steps = len - len % WIPE_STEP as u64;
    for begin in [0, whole_steps.saturating_sub(WIPE_LEN)] {
        let mut steps = (begin..whole_steps.min(begin + WIPE_LEN)).step_by(WIPE_STEP);
        steps.try_for_each(|at| medium.write(Part::Data, at, &zeros))?;
    }
    medium.resize(Part::Data, 0)?;
    medium.sync(Part::Data)
}
