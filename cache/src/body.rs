//! The bytes of an answer, as the edge asks for them one item at a time.

use crate::config::Class;
use crate::fault::FetchError;
use crate::meta::Freshness;
use crate::object::ObjMeta;
use crate::reader::Reader;
use antiphon_core::Span;
use bytes::Bytes;
use std::sync::Arc;

/// Where bytes came from, for `Cache-Status` (RFC 9211) and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Memory had them.
    Ram,
    /// An SSD had them.
    Ssd,
    /// An HDD had them.
    Hdd,
    /// Another listener's fetch was under way and is shared.
    Flight,
    /// Fetched for this answer.
    Upstream,
    /// Whichever tier had them: the object's time is over, and it is served all the same.
    Stale,
    /// Nothing: upstream said so a short while ago.
    Negative,
}

impl From<Class> for Source {
    fn from(class: Class) -> Self {
        match class {
            Class::Ssd => Self::Ssd,
            Class::Hdd => Self::Hdd,
        }
    }
}

impl Source {
    /// Where an answer begins, its first bytes coming from `self`.
    pub(crate) fn with(self, freshness: Freshness) -> Self {
        match freshness {
            Freshness::Fresh | Freshness::Revalidated => self,
            Freshness::Stale | Freshness::StaleOnError => Self::Stale,
        }
    }
}

/// What the cache answers.
#[derive(Debug)]
pub enum RangeReply {
    /// Bytes.
    Granted {
        /// The object they belong to.
        meta: Arc<ObjMeta>,
        /// Which bytes; `None` is an empty object.
        span: Option<Span>,
        /// Where the first of them come from.
        source: Source,
        /// Whether they are what upstream would say now.
        freshness: Freshness,
        /// The bytes themselves.
        body: Body,
    },
    /// The range lies past the end of the object.
    Unsatisfiable {
        /// The object.
        meta: Arc<ObjMeta>,
    },
}

/// Bytes of one version of one object, in order. Dropping it spoils nothing: a fetch under way goes on for
/// others, and for the memory if it is nearly done or the object was asked for before.
#[derive(Debug)]
pub enum Body {
    /// Nothing (more).
    Empty,
    /// All of it, ready: a range inside one chunk in memory.
    One(Bytes, Source),
    /// Items of at most one chunk.
    Stream(Box<Reader>),
}

impl Body {
    /// The next item, at most one chunk long, never empty. `None` after the last; nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<(Bytes, Source), FetchError>> {
        if let Self::Stream(reader) = self {
            let item = reader.next().await;
            if !matches!(item, Some(Ok(_))) {
                *self = Self::Empty;
            }
            return item;
        }
        match std::mem::replace(self, Self::Empty) {
            Self::One(bytes, source) => Some(Ok((bytes, source))),
            Self::Empty | Self::Stream(_) => None,
        }
    }
}
