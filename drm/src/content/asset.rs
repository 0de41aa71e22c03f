//! The name of a recording, made from all that its objects are made from.

use super::source::AudioFile;
use antiphon_core::{AssetId, Rendition};
use sha2::{Digest, Sha256};

/// Domain of the hash. A change of the rule that turns a recording into a layout changes this text too,
/// since an object's bytes, and so its entity tag, follow from the asset's name.
const DOMAIN: &[u8] = b"antiphon-asset/v1\0";

/// The content address of a track: the first 16 bytes of a SHA-256 over the codec configuration and all
/// samples of all its renditions (MEDIA.md §3), in order of rising bit rate whatever the order given.
///
/// Lengths and durations are hashed before the bytes they bound, so no two sets of recordings share an
/// input, and a re-encode can never meet a key that was used before.
pub fn asset_id(renditions: &[(Rendition, &AudioFile<'_>)]) -> AssetId {
    let mut ordered: Vec<_> = renditions.iter().collect();
    ordered.sort_by_key(|(rendition, _)| (rendition.kbps(), *rendition));
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update((ordered.len() as u64).to_be_bytes());
    for (rendition, file) in ordered {
        hash_rendition(&mut hash, *rendition, file);
    }
    let digest = hash.finalize();
    AssetId::from_bytes(std::array::from_fn(|i| digest[i]))
}

fn hash_rendition(hash: &mut Sha256, rendition: Rendition, file: &AudioFile<'_>) {
    let name = rendition.name().as_bytes();
    hash.update([name.len() as u8]);
    hash.update(name);
    hash.update((file.entry().len() as u64).to_be_bytes());
    hash.update(file.entry());
    for number in [u64::from(file.timescale()), file.priming(), file.play(), file.samples().len() as u64] {
        hash.update(number.to_be_bytes());
    }
    for sample in file.samples() {
        hash.update((sample.bytes.len() as u64).to_be_bytes());
        hash.update(sample.duration.to_be_bytes());
    }
    for sample in file.samples() {
        hash.update(sample.bytes);
    }
}
