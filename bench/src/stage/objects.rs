//! Objects of random bytes at the paths of real ones, and the URLs that open them.

use antiphon_core::{AssetId, Epoch, ObjectPath, Rendition, Scheme, UnixTime};
use antiphon_drm::token::{Grant, UrlKeys};
use anyhow::{Context, Result};
use bytes::Bytes;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// What is served.
pub struct Objects {
    /// By path.
    pub all: HashMap<String, (ObjectPath, Bytes)>,
    /// What tokens are signed with.
    pub keys: UrlKeys,
    /// Path and token of each, as a player asks.
    pub signed: Vec<String>,
}

/// Bytes of one object, a multiple of every range length that is measured.
pub const OBJECT_LEN: u64 = 64 * 1024 * 1024;
/// More than the processor's caches hold, so that memory is read as in earnest.
const OBJECTS: u8 = 4;
const TOKEN_SECS: u64 = 24 * 3600;
const KEY: [u8; 32] = [0x5a; 32];

impl Objects {
    /// Makes the objects and puts them below `dir/files`, where nginx finds them by the same paths.
    pub(super) fn make(dir: &Path, now: UnixTime) -> Result<Self> {
        let keys = UrlKeys::generate("bench", KEY, now).context("make token keys")?;
        let mut objects = Self { all: HashMap::new(), keys, signed: Vec::new() };
        for number in 1..=OBJECTS {
            let path = ObjectPath {
                scheme: Scheme::Cenc,
                epoch: Epoch(692),
                asset: AssetId::from_bytes([number; 16]),
                rendition: Rendition::Aac256,
            };
            let bytes = noise(u64::from(number));
            let name = path.to_string();
            let file = dir.join("files").join(name.trim_start_matches('/'));
            let folder = file.parent().context("a file lies in a folder")?;
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            fs::write(&file, &bytes).with_context(|| format!("write {}", file.display()))?;
            let grant = Grant::until(now.plus(TOKEN_SECS));
            let token = grant.sign(&objects.keys, &name, now).context("sign a token")?;
            objects.signed.push(format!("{name}?st={token}"));
            objects.all.insert(name, (path, bytes));
        }
        Ok(objects)
    }
}

fn noise(seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(OBJECT_LEN as usize);
    while (bytes.len() as u64) < OBJECT_LEN {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}
