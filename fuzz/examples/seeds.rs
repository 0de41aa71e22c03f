//! Writes the corpus files that only our own code can make: sealed rings, stored files, sample indexes.
//!
//! `cargo run -p antiphon-fuzz --example seeds`; the recordings of `corpus/source` are read, not written.

use antiphon_core::{AssetId, Epoch, Rendition, Scheme};
use antiphon_drm::content::asset_id;
use antiphon_drm::content::mezzanine::{DataKey, Identity, Kind, Sealing, seal};
use antiphon_drm::content::source::AudioFile;
use antiphon_drm::content::template::Template;
use antiphon_drm::keys::{FileKek, Keyring};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    seed_keyrings(&corpus.join("keyring"))?;
    for (recording, name) in [("sine.m4a", "sine"), ("two-frames.m4a", "two-frames")] {
        let bytes = std::fs::read(corpus.join("source").join(recording))?;
        let file = AudioFile::parse(&bytes)?;
        let template = Template::build(&file, 2, 2, Scheme::Cenc)?;
        let index = template.index.to_bytes();
        std::fs::write(corpus.join(format!("sample_index/{name}.six")), &index)?;
        // Its hash is put right by the target: damage before it gets further in.
        std::fs::write(corpus.join(format!("sample_index/{name}-without-hash")), &index[..index.len() - 16])?;
        let asset = asset_id(&[(Rendition::Aac64, &file)]);
        let stored = store(asset, Kind::Template, &template.bytes, &template)?;
        std::fs::write(corpus.join(format!("mezzanine_header/{name}.mez")), stored)?;
        let stored = store(asset, Kind::Index, &index, &template)?;
        std::fs::write(corpus.join(format!("mezzanine_header/{name}.six")), stored)?;
    }
    Ok(())
}

fn store(asset: AssetId, kind: Kind, plain: &[u8], template: &Template) -> Result<Vec<u8>, Box<dyn Error>> {
    let identity = Identity { kind, asset, rendition: Rendition::Aac64, scheme: Scheme::Cenc };
    let kid_patches = if kind == Kind::Template { template.index.kid_patches() } else { &[] };
    let sealing = Sealing {
        identity,
        data_key: &DataKey::from_bytes(antiphon_fuzz::DATA_KEY),
        wrapper: "file-000000000000",
        wrapped_key: &[3; 60],
        nonce_prefix: *b"prefix!!",
        kid_patches,
    };
    Ok(seal(plain, &sealing)?)
}

fn seed_keyrings(dir: &Path) -> Result<(), Box<dyn Error>> {
    let kek = FileKek::from_bytes(&antiphon_fuzz::KEK);
    let mut turn = 0_u8;
    let mut fill = |bytes: &mut [u8]| {
        turn = turn.wrapping_add(1);
        bytes.fill(turn);
    };
    std::fs::write(dir.join("no-epochs.json"), Keyring::new().seal(&kek, &mut fill)?)?;
    let mut ring = Keyring::new();
    ring.extend(Epoch(692)..=Epoch(692), &mut fill)?;
    std::fs::write(dir.join("one-epoch.json"), ring.seal(&kek, &mut fill)?)?;
    Ok(())
}
