//! From renditions in memory to a song that is served: lay out, seal, store, and only then write it down.
//!
//! Promises
//! - Order: all objects, then `asset.json`, then the song, then the source's record. Whoever finds one of
//!   these finds all that stand before it.
//! - Every stored object has a data key of its own, drawn at random and wrapped for that object only.
//! - An object of a served asset that still opens is left alone: readers hold on to its version.

use super::{Ingest, IngestError, Ingested, Outcome, Progress, Ready, Step};
use crate::records::{self, ASSET_FORMAT, AssetRecord, RenditionRecord, SongRecord};
use crate::store::{Created, StoreError};
use antiphon_core::{AssetId, Gapless, Rendition, Scheme};
use antiphon_drm::content::mezzanine::{self, DataKey, HEADER_LEN, Header, Identity, Kind, Sealing};
use antiphon_drm::content::source::AudioFile;
use antiphon_drm::content::template::{Template, TemplateError};
use antiphon_drm::content::{asset_id, index::KidPatch};
use antiphon_drm::keys::WrapError;
use bytes::Bytes;

/// Why renditions cannot be laid out or sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No layout is made of them.
    #[error("lay out rendition {rendition}")]
    Layout {
        /// Which.
        rendition: Rendition,
        /// Why not.
        #[source]
        cause: TemplateError,
    },
    /// The key-encryption key refuses.
    #[error("wrap a data key")]
    Wrap(#[from] WrapError),
    /// The cipher refuses.
    #[error("seal an object")]
    Seal(#[from] mezzanine::SealError),
    /// Nothing to lay out.
    #[error("there is no rendition")]
    NoRendition,
}

impl Ingest {
    /// Stores a song, in the order that makes it visible last.
    pub(super) async fn publish(
        &self,
        ready: Ready<'_>,
        progress: &dyn Progress,
    ) -> Result<Ingested, IngestError> {
        let file = ready.file;
        let renditions = parse(file, &ready.renditions)?;
        let listed: Vec<_> = renditions.iter().map(|(rendition, audio)| (*rendition, audio)).collect();
        let asset = asset_id(&listed);
        let served = self.read_record(file, &records::asset_name(asset)).await?;
        let served = served.and_then(|bytes| AssetRecord::from_json(&bytes, asset).ok());
        let mut sizes = Vec::new();
        for (done, (rendition, audio)) in renditions.iter().enumerate() {
            progress.at(Step::Store, done as f32 / renditions.len() as f32);
            let size = self
                .store_rendition(file, asset, *rendition, audio, renditions.len(), served.is_some())
                .await?;
            sizes.push(RenditionRecord { rendition: *rendition, size });
        }
        let (_, first) = &renditions[0];
        let gapless = Gapless { timescale: first.timescale(), priming: first.priming(), play: first.play() };
        let record = AssetRecord {
            format: ASSET_FORMAT,
            asset,
            // What is served keeps its date: `Last-Modified` must not move while the bytes stay.
            ingested_at: served.map_or_else(|| self.clock.now(), |served| served.ingested_at),
            renditions: sizes,
            duration_ms: gapless.play * 1000 / u64::from(gapless.timescale),
            loudness: ready.loudness,
            gapless,
        };
        self.write_record(file, &records::asset_name(asset), &record).await?;
        let song = SongRecord {
            song_id: records::song_id(asset),
            title: ready.title,
            artist: ready.artist,
            album: ready.album,
            asset,
            duration_ms: record.duration_ms,
            renditions: record.renditions.iter().map(|entry| entry.rendition).collect(),
            loudness: ready.loudness,
            gapless,
            source_sha256: ready.sha256.to_owned(),
        };
        self.write_song(file, &song).await?;
        progress.at(Step::Store, 1.0);
        Ok(Ingested { record: song, outcome: Outcome::New })
    }

    /// Writes the records that name a song; the source's comes last, it says that all is done.
    pub(super) async fn write_song(&self, file: &str, song: &SongRecord) -> Result<(), IngestError> {
        self.write_record(file, &records::song_name(&song.song_id), song).await?;
        self.write_record(file, &records::source_name(&song.source_sha256), song).await
    }

    async fn write_record(
        &self,
        file: &str,
        name: &str,
        record: &impl serde::Serialize,
    ) -> Result<(), IngestError> {
        let json = serde_json::to_vec_pretty(record)
            .unwrap_or_else(|_| unreachable!("records hold texts and numbers"));
        self.store.put(name, json.into()).await.map_err(|cause| store_error(file, cause))
    }

    /// Lays out and stores one rendition; tells the length of its object.
    async fn store_rendition(
        &self,
        file: &str,
        asset: AssetId,
        rendition: Rendition,
        audio: &AudioFile<'_>,
        kids: usize,
        served: bool,
    ) -> Result<u64, IngestError> {
        let scheme = Scheme::Cenc;
        let sealed = |cause| IngestError::Seal { file: file.to_owned(), cause };
        let template = Template::build(audio, audio.frames_per_fragment(), kids, scheme)
            .map_err(|cause| sealed(SealError::Layout { rendition, cause }))?;
        let identity = |kind| Identity { kind, asset, rendition, scheme };
        let index = template.index.to_bytes();
        let parts = [
            (records::index_name(asset, rendition, scheme), Kind::Index, index.as_slice(), &[][..]),
            (
                records::template_name(asset, rendition, scheme),
                Kind::Template,
                template.bytes.as_slice(),
                template.index.kid_patches(),
            ),
        ];
        for (name, kind, plain, patches) in parts {
            let bytes = self.seal(identity(kind), plain, patches).map_err(sealed)?;
            self.store_sealed(&name, &identity(kind), bytes, served)
                .await
                .map_err(|cause| store_error(file, cause))?;
        }
        Ok(template.bytes.len() as u64)
    }

    /// Stores a sealed object, unless one that opens is there and may be in use.
    async fn store_sealed(
        &self,
        name: &str,
        identity: &Identity,
        bytes: Bytes,
        served: bool,
    ) -> Result<(), StoreError> {
        if self.store.create(name, bytes.clone()).await? == Created::New {
            return Ok(());
        }
        if served && self.opens(name, identity).await? {
            return Ok(());
        }
        self.store.put(name, bytes).await
    }

    /// Whether the stored object is one that this key-encryption key opens.
    async fn opens(&self, name: &str, identity: &Identity) -> Result<bool, StoreError> {
        let (version, head) = self.store.read_head(name, HEADER_LEN as u64).await?;
        let Ok(header) = Header::parse(&head) else { return Ok(false) };
        let Ok(plain) = self.wrap.unwrap(header.wrapped_key(), &identity.wrap_context()) else {
            return Ok(false);
        };
        let Some(key) = DataKey::from_slice(&plain) else { return Ok(false) };
        Ok(header.stored_len() == version.len && header.unlock(&key, identity).is_ok())
    }

    /// Seals `plain` under a fresh data key.
    fn seal(&self, identity: Identity, plain: &[u8], kid_patches: &[KidPatch]) -> Result<Bytes, SealError> {
        let data_key = DataKey::from_bytes(self.draw());
        let wrapped = self.wrap.wrap(data_key.expose(), &identity.wrap_context(), self.draw())?;
        let sealing = Sealing {
            identity,
            data_key: &data_key,
            wrapper: self.wrap.id(),
            wrapped_key: &wrapped,
            nonce_prefix: self.draw(),
            kid_patches,
        };
        Ok(mezzanine::seal(plain, &sealing)?.into())
    }

    fn draw<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }
}

/// Reads the renditions and puts them in order; all must be the same recording at the same frames.
fn parse<'a>(
    file: &str,
    renditions: &'a [(Rendition, Bytes)],
) -> Result<Vec<(Rendition, AudioFile<'a>)>, IngestError> {
    let mut parsed = Vec::new();
    for (rendition, bytes) in renditions {
        let not_ready = |cause| IngestError::NotReady { file: file.to_owned(), cause };
        parsed.push((*rendition, AudioFile::parse(bytes).map_err(not_ready)?));
    }
    parsed.sort_by_key(|(rendition, _)| (rendition.kbps(), *rendition));
    let shape =
        |audio: &AudioFile<'_>| (audio.timescale(), audio.priming(), audio.play(), audio.samples().len());
    let Some((_, first)) = parsed.first() else {
        return Err(IngestError::Seal { file: file.to_owned(), cause: SealError::NoRendition });
    };
    let even = parsed.iter().all(|(_, audio)| shape(audio) == shape(first));
    let distinct = parsed.windows(2).all(|pair| pair[0].0 != pair[1].0);
    if even && distinct { Ok(parsed) } else { Err(IngestError::Uneven { file: file.to_owned() }) }
}

fn store_error(file: &str, cause: StoreError) -> IngestError {
    IngestError::Store { file: file.to_owned(), cause }
}
