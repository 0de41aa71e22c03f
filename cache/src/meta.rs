//! What is known about objects: their description, or that upstream does not have them.
//!
//! The door to `moka`, which brings the time limits.
//!
//! Promises: an object is known or negative, never both for longer than one call; both maps are bounded.
//!
//! Does not know: chunks.

use crate::config::RamConfig;
use crate::object::{ObjKey, ObjMeta};
use crate::upstream::UpstreamError;
use moka::sync::Cache;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Metas {
    known: Cache<ObjKey, Arc<ObjMeta>>,
    /// `None` when nothing negative is to be remembered.
    negative: Option<Cache<ObjKey, UpstreamError>>,
}

impl Metas {
    pub fn new(config: &RamConfig) -> Self {
        let negative = (config.negative_secs > 0 && config.negative_max > 0).then(|| {
            Cache::builder()
                .max_capacity(u64::from(config.negative_max))
                .time_to_live(Duration::from_secs(u64::from(config.negative_secs)))
                .build()
        });
        Self { known: Cache::new(u64::from(config.objects_max.max(1))), negative }
    }

    /// The object's description.
    pub fn known(&self, key: ObjKey) -> Option<Arc<ObjMeta>> {
        self.known.get(&key)
    }

    /// How upstream refused the object a short while ago.
    pub fn negative(&self, key: ObjKey) -> Option<UpstreamError> {
        self.negative.as_ref()?.get(&key)
    }

    /// Remembers a description, in place of any other.
    pub fn learn(&self, key: ObjKey, meta: Arc<ObjMeta>) {
        if let Some(negative) = &self.negative {
            negative.invalidate(&key);
        }
        self.known.insert(key, meta);
    }

    /// Forgets a description that has turned out wrong.
    pub fn forget(&self, key: ObjKey) {
        self.known.invalidate(&key);
    }

    /// Remembers "missing" and "gone"; any other failure says nothing about the object.
    pub fn learn_failure(&self, key: ObjKey, error: &UpstreamError) {
        match error {
            UpstreamError::Missing | UpstreamError::Gone => {
                self.known.invalidate(&key);
                if let Some(negative) = &self.negative {
                    negative.insert(key, error.clone());
                }
            }
            UpstreamError::Refused { .. }
            | UpstreamError::Unreachable { .. }
            | UpstreamError::TimedOut
            | UpstreamError::Malformed { .. }
            | UpstreamError::ShortBody { .. } => {}
        }
    }
}
