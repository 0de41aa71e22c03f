//! The tiers: chunks of encrypted objects, kept close to the listener: in memory, on volumes, and upstream.
//!
//! Promises
//! - The bytes of an answer are those of one version of the object, whatever happens upstream or to a disk meanwhile.
//! - At most one fetch per missing chunk runs at a time, however many wait; neighbours are fetched in one
//!   request. A listener who leaves neither restarts nor spoils it.
//! - No chunk is kept before it is complete and checked, none is read from a volume without a check, and none is
//!   served that was asked from upstream before a purge that hit it: across a crash, if the purge was answered `Ok`.
//! - What upstream said is served as long as upstream allowed, and no longer.
//! - Memory for bytes stays within its bound: kept, in flight and still being sent, all counted.
//! - Everything waits for a limited time, under a name in [`CacheConfig`]; nobody waits for a write to a volume.
//!
//! Does not know: HTTP, tokens, keys. The bytes are ciphertext and stay so.

mod arena;
mod body;
mod budget;
mod config;
pub mod disk;
mod explain;
mod fault;
mod fill;
mod flight;
mod line;
#[doc(hidden)]
pub mod memory;
mod meta;
mod object;
pub mod policy;
mod purge;
mod ram;
mod reader;
mod repair;
mod stats;
mod tiers;
mod upstream;

pub use arena::MapMemoryError;
pub use body::{Body, RangeReply, Source};
pub use config::{
    AdmissionRule, CAPACITY_MIN, CacheConfig, CacheConfigError, Class, RamConfig, VOLUMES_MAX, VolumeConfig,
};
pub use disk::set::{DiskCommand, DiskOrder, DiskStatus, Disks, OpenDisksError, PurgeError};
pub use explain::{ChunkRun, Explanation, KnownObject, Place, Verdict};
pub use fault::FetchError;
pub use line::Priority;
pub use meta::Freshness;
pub use object::{ChunkKey, ObjKey, ObjMeta, ObjName, TAG_BYTES_MAX, TAGS_MAX};
pub use purge::{Purge, PurgeManner};
pub use reader::Reader;
pub use stats::Stats;
pub use upstream::{Answer, Upstream, UpstreamError, UpstreamReply, Want};

use antiphon_core::{ByteSize, Clock, RangeSpec, Span};
use bytes::Bytes;
use meta::View;
use std::sync::Arc;
use tiers::{Audience, Inquiry, Tiers};
use tokio::runtime::Handle;

/// Chunks of objects in memory in front of one upstream.
#[derive(Clone)]
pub struct RangeCache {
    tiers: Arc<Tiers>,
}

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The volumes cannot work as they are configured.
    #[error("open the volumes of the cache")]
    Disks(#[from] OpenDisksError),
    /// The system has no memory for as much as is configured.
    #[error("make room for cache.capacity_bytes")]
    Memory(#[from] MapMemoryError),
}

/// An answer that found its object changed before its first byte begins anew this often.
const RESTARTS_MAX: u32 = 1;

impl RangeCache {
    /// A cache in front of `upstream`, with the volumes of `config`. Serves at once: what is on the volumes is
    /// found in the background. Fetches run on `runtime`, so that they outlive whoever asked; `clock` tells how
    /// long what upstream said holds; `seed` comes from chance. Blocks for as long as it takes to read a few pages.
    pub fn open(
        config: &CacheConfig,
        upstream: Arc<dyn Upstream>,
        runtime: Handle,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self, OpenError> {
        let disks = Disks::open(&config.volumes, Arc::clone(&clock), &runtime, seed)?;
        Self::over(disks, config, upstream, runtime, clock)
    }

    /// The same over volumes that are open already.
    pub fn over(
        disks: Disks,
        config: &CacheConfig,
        upstream: Arc<dyn Upstream>,
        runtime: Handle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        disks.set_admission(config.admission);
        Ok(Self { tiers: Tiers::new(config, upstream, runtime, clock, disks)? })
    }

    /// Applies another `capacity_bytes` without a restart, with the same smallest value. More fails if the system
    /// has no memory for it, and changes nothing then; less returns when all that nobody holds has made room.
    pub fn resize_ram(&self, capacity: ByteSize) -> Result<(), MapMemoryError> {
        self.tiers.resize(capacity.max(CAPACITY_MIN).0)
    }

    /// What is known about an object and where its chunks are. Changes nothing and asks nobody.
    pub fn explain(&self, object: &ObjName) -> Explanation {
        self.tiers.explain(object)
    }

    /// The volumes.
    pub fn disks(&self) -> &Disks {
        &self.tiers.disks
    }

    /// Writes what volumes have yet to write and closes them in order, so that the next start finds it at once.
    pub async fn shutdown(&self) {
        self.tiers.disks.close().await;
    }

    /// Answers from memory without waiting, or not at all: `Some` when the object is known, may be served
    /// without asking first, and the first chunk of the range is here. Chunks that are missing further on are
    /// fetched as the body gets there.
    pub fn try_ram(&self, object: &ObjName, range: Option<RangeSpec>) -> Option<RangeReply> {
        let view = self.tiers.view(object).ok()?;
        let (meta, freshness) = (Arc::clone(view.meta()), view.freshness);
        let (span, body) = match resolve(range, &meta) {
            Resolved::PastEnd => return Some(RangeReply::Unsatisfiable { meta }),
            Resolved::EmptyObject => (None, Body::Empty),
            Resolved::Bytes(span) => {
                let first = self.tiers.lend(self.tiers.resident(object, &view, span)?);
                view.known.answered();
                (Some(span), self.begun_in_ram(object, view, span, first))
            }
        };
        let reply = RangeReply::Granted { meta, span, source: Source::Ram.with(freshness), freshness, body };
        self.tiers.stats.answered(&reply);
        Some(reply)
    }

    /// The body of an answer whose first chunk is in memory.
    fn begun_in_ram(&self, object: &ObjName, view: View, span: Span, first: Bytes) -> Body {
        if first.len() as u64 == span.len() {
            self.tiers.stats.served(Source::Ram, first.len());
            return Body::One(first, Source::Ram);
        }
        Body::Stream(Box::new(Reader::new(Arc::clone(&self.tiers), object.clone(), view, span)))
    }

    /// Answers from memory or upstream. Resolves when the object is known and the first bytes are here.
    pub async fn get(&self, object: &ObjName, range: Option<RangeSpec>) -> Result<RangeReply, FetchError> {
        if let Some(reply) = self.try_ram(object, range) {
            return Ok(reply);
        }
        let mut restarts = 0;
        loop {
            match self.tiers.begin(object, range).await {
                Err(error) if error.is_spoiled() && restarts < RESTARTS_MAX => restarts += 1,
                Err(error) => {
                    self.tiers.stats.failed(&error);
                    return Err(error);
                }
                Ok(reply) => {
                    self.tiers.stats.answered(&reply);
                    return Ok(reply);
                }
            }
        }
    }

    /// What is known about an object, asked from upstream if nothing is or if its time is over.
    pub async fn head(&self, object: &ObjName) -> Result<Arc<ObjMeta>, FetchError> {
        let known = match self.tiers.view(object) {
            Ok(view) => return Ok(Arc::clone(view.meta())),
            Err(known) => known,
        };
        let inquiry = Inquiry { bytes: None, known, audience: Audience::Followers };
        let (view, _) = self.tiers.describe(object, inquiry, Priority::Listener).await?;
        Ok(Arc::clone(view.meta()))
    }

    /// Fetches what is missing of a part of an object; what lies past its end is none of it. Dropping the future
    /// gives the fetch up like a listener's.
    pub async fn prefetch(&self, object: &ObjName, span: Span, priority: Priority) -> Result<(), FetchError> {
        self.tiers.prefetch(object, span, priority).await
    }

    /// Purges, however much there is of it, in the same short time. From the return on nothing is served that
    /// was asked from upstream before the call, except answers that had begun; after `Ok` that holds across a
    /// crash, after an error until the process ends.
    pub async fn purge(&self, purge: &Purge, manner: PurgeManner) -> Result<(), PurgeError> {
        self.tiers.purge(purge, manner).await
    }

    /// Counters since the start, and the present size.
    pub fn stats(&self) -> Stats {
        self.tiers.snapshot()
    }
}

/// What a request comes to once the object's length is known.
pub(crate) enum Resolved {
    Bytes(Span),
    EmptyObject,
    PastEnd,
}

/// A whole empty object has no bytes; a range of it cannot be satisfied (RFC 9110 §15.5.17).
pub(crate) fn resolve(range: Option<RangeSpec>, meta: &ObjMeta) -> Resolved {
    match range {
        None => Span::whole(meta.total_len).map_or(Resolved::EmptyObject, Resolved::Bytes),
        Some(spec) => spec.resolve(meta.total_len).map_or(Resolved::PastEnd, Resolved::Bytes),
    }
}
