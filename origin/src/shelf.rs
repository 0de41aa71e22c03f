//! The recordings of a store, opened: records, sealed templates, sample indexes.
//!
//! Promises
//! - Plain bytes come out of chunks whose tags match, of the object that was asked for, in the version that was
//!   opened; anything else is an error.
//! - However many ask for a recording that is not in memory, it is opened once; what is kept is bounded in bytes.
//!
//! Does not know: epochs, content keys, HTTP.

use crate::records::{self, AssetRecord, RECORD_LEN_MAX, RecordError};
use crate::store::{Store, StoreError, Version};
use antiphon_core::{AssetId, ByteSize, Rendition, Scheme, Span};
use antiphon_drm::content::index::{IndexError, SampleIndex};
use antiphon_drm::content::mezzanine::{
    DataKey, HEADER_LEN, Header, Identity, Kind, Mezzanine, MezzanineError,
};
use antiphon_drm::keys::{KeyWrap, WrapError};
use moka::future::Cache;
use std::sync::Arc;
use std::time::Duration;

/// Opened recordings over a store.
pub struct Shelf {
    store: Store,
    wrap: Arc<dyn KeyWrap + Send + Sync>,
    records: Cache<AssetId, Arc<AssetRecord>>,
    opened: Cache<(AssetId, Rendition), Arc<Opened>>,
}

/// One rendition, ready to be read.
pub struct Opened {
    name: String,
    version: Version,
    mezzanine: Mezzanine,
    /// Where everything lies in it.
    pub index: Arc<SampleIndex>,
}

/// Why a recording is not opened or read.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// Nothing of that name was ever taken in, or not to its end.
    #[error("there is no asset {asset}")]
    NoAsset {
        /// Which.
        asset: AssetId,
    },
    /// The asset has other renditions.
    #[error("asset {asset} has no rendition {rendition}")]
    NoRendition {
        /// Which asset.
        asset: AssetId,
        /// Which rendition.
        rendition: Rendition,
    },
    /// The store gave nothing, or something else.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The asset's record is not readable.
    #[error("read {name}")]
    Record {
        /// Name of the object.
        name: String,
        /// What is wrong.
        #[source]
        cause: RecordError,
    },
    /// Damage or forgery at rest.
    #[error("open {name}")]
    Sealed {
        /// Name of the object.
        name: String,
        /// What is wrong.
        #[source]
        cause: MezzanineError,
    },
    /// The data key does not unwrap.
    #[error("unwrap the data key of {name}, wrapped by {wrapper}")]
    Wrap {
        /// Name of the object.
        name: String,
        /// Who wrapped it.
        wrapper: String,
        /// Why not.
        #[source]
        cause: WrapError,
    },
    /// The sample index opens and makes no sense.
    #[error("read the sample index {name}")]
    Index {
        /// Name of the object.
        name: String,
        /// What is wrong.
        #[source]
        cause: IndexError,
    },
    /// Index and template are not of one make.
    #[error("the sample index of {name} is that of another template")]
    Unmatched {
        /// Name of the template.
        name: String,
    },
}

/// Assets whose records are kept; a record has about 1 KB.
const RECORDS_MAX: u64 = 16_384;

/// How long a record is believed without asking the store again: a withdrawn asset is gone after that.
const RECORD_TTL: Duration = Duration::from_secs(300);

/// Most bytes of a stored index: a day of music has about 4 million samples, 2 bytes each.
const INDEX_LEN_MAX: u64 = 32 << 20;

/// What an opened rendition weighs beside its index.
const OPENED_WEIGHT: usize = 1024;

impl Shelf {
    /// A shelf over `store` that keeps about `capacity` bytes of indexes; `wrap` unwraps data keys.
    pub fn new(store: Store, wrap: Arc<dyn KeyWrap + Send + Sync>, capacity: ByteSize) -> Self {
        let weigh = |_: &(AssetId, Rendition), opened: &Arc<Opened>| {
            u32::try_from(opened.index.weight() + OPENED_WEIGHT).unwrap_or(u32::MAX)
        };
        Self {
            store,
            wrap,
            records: Cache::builder().max_capacity(RECORDS_MAX).time_to_live(RECORD_TTL).build(),
            opened: Cache::builder().max_capacity(capacity.0).weigher(weigh).build(),
        }
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What an asset consists of.
    pub async fn asset(&self, asset: AssetId) -> Result<Arc<AssetRecord>, Arc<ShelfError>> {
        self.records.try_get_with(asset, self.read_record(asset)).await
    }

    /// One rendition of an asset, ready to be read.
    pub async fn open(&self, asset: AssetId, rendition: Rendition) -> Result<Arc<Opened>, Arc<ShelfError>> {
        self.opened.try_get_with((asset, rendition), self.open_rendition(asset, rendition)).await
    }

    /// Forgets a rendition that was replaced in the store, so that the next to ask opens it anew.
    pub async fn forget(&self, asset: AssetId, rendition: Rendition) {
        self.opened.invalidate(&(asset, rendition)).await;
    }

    /// The bytes `span` of a template.
    pub async fn read(&self, opened: &Opened, span: Span) -> Result<Vec<u8>, ShelfError> {
        let sealed = |cause| ShelfError::Sealed { name: opened.name.clone(), cause };
        let run = opened.mezzanine.stored_run(span).map_err(sealed)?;
        let stored = self.store.read_span(&opened.name, &opened.version, run.span).await?;
        opened.mezzanine.open(span, &stored).map_err(sealed)
    }

    async fn read_record(&self, asset: AssetId) -> Result<Arc<AssetRecord>, ShelfError> {
        let name = records::asset_name(asset);
        let bytes = match self.store.read_small(&name, RECORD_LEN_MAX).await {
            Ok((_, bytes)) => bytes,
            Err(StoreError::Missing { .. }) => return Err(ShelfError::NoAsset { asset }),
            Err(error) => return Err(error.into()),
        };
        let record = AssetRecord::from_json(&bytes, asset);
        record.map(Arc::new).map_err(|cause| ShelfError::Record { name, cause })
    }

    async fn open_rendition(&self, asset: AssetId, rendition: Rendition) -> Result<Arc<Opened>, ShelfError> {
        let scheme = Scheme::Cenc;
        let identity = |kind| Identity { kind, asset, rendition, scheme };
        let name = records::template_name(asset, rendition, scheme);
        let (version, head) = self.store.read_head(&name, HEADER_LEN as u64).await?;
        let mezzanine = self.unlock(&name, &head, version.len, &identity(Kind::Template))?;
        let index_name = records::index_name(asset, rendition, scheme);
        let (index_version, stored) = self.store.read_small(&index_name, INDEX_LEN_MAX).await?;
        let index = self.unlock(&index_name, &stored, index_version.len, &identity(Kind::Index))?;
        let plain = index
            .open_whole(&stored)
            .map_err(|cause| ShelfError::Sealed { name: index_name.clone(), cause })?;
        let index =
            SampleIndex::from_bytes(&plain).map_err(|cause| ShelfError::Index { name: index_name, cause })?;
        let matched = index.total_len() == mezzanine.plain_len()
            && index.kid_patches() == mezzanine.header().kid_patches();
        if !matched {
            return Err(ShelfError::Unmatched { name });
        }
        Ok(Arc::new(Opened { name, version, mezzanine, index: Arc::new(index) }))
    }

    /// Holds the header of a stored file of `stored_len` bytes against its key and its place.
    fn unlock(
        &self,
        name: &str,
        head: &[u8],
        stored_len: u64,
        identity: &Identity,
    ) -> Result<Mezzanine, ShelfError> {
        let sealed = |cause| ShelfError::Sealed { name: name.to_owned(), cause };
        let header = Header::parse(head).map_err(sealed)?;
        let want = header.stored_len();
        let wrapper = header.wrapper().to_owned();
        let refused = |cause| ShelfError::Wrap { name: name.to_owned(), wrapper, cause };
        let key = self.wrap.unwrap(header.wrapped_key(), &identity.wrap_context());
        let key = key.and_then(|key| DataKey::from_slice(&key).ok_or(WrapError::Short { len: key.len() }));
        let mezzanine = header.unlock(&key.map_err(refused)?, identity).map_err(sealed)?;
        if stored_len == want {
            Ok(mezzanine)
        } else {
            Err(sealed(MezzanineError::StoredLen { got: stored_len, want }))
        }
    }
}
