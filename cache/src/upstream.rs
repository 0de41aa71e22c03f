//! Where missing bytes come from, seen from the cache.
//!
//! Does not know: HTTP. Whoever implements [`Upstream`] speaks it, follows its rules for partial answers,
//! pools connections and retries; the cache checks what comes back and shares it.

use crate::object::{ObjMeta, ObjName};
use antiphon_core::{RangeSpec, Span};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::sync::Arc;

/// The next hop towards the origin.
#[async_trait::async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Asks for (a part of) an object. Resolves when the head of the answer is there.
    ///
    /// With `known` the question is whether the object is still that one (`If-None-Match`); only then may the
    /// answer be [`Answer::NotModified`].
    async fn fetch(
        &self,
        object: &ObjName,
        want: Want,
        known: Option<&ObjMeta>,
    ) -> Result<Answer, UpstreamError>;
}

/// What upstream says.
pub enum Answer {
    /// 304: the object is still the one asked about. Its description, with the terms of today.
    NotModified(ObjMeta),
    /// The object, or a part of it.
    Found(UpstreamReply),
}

/// How much of an object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Only what describes it.
    Head,
    /// One range. The end may lie past the end of the object, whose length may be unknown.
    Range(RangeSpec),
    /// All of it.
    Whole,
}

/// The head of an answer, its bytes still to come.
pub struct UpstreamReply {
    /// What the answer says about the object.
    pub meta: ObjMeta,
    /// Which bytes `body` holds: those asked for, or the whole object if upstream knows no ranges. `None`: no
    /// bytes, because only the head was asked for, the object is empty, or the range lies past its end (a 416;
    /// then only `meta.total_len` is looked at, and a head is asked for).
    pub span: Option<Span>,
    /// SHA-256 of the whole body, if upstream gave one (RFC 9530 `Content-Digest`).
    pub digest: Option<[u8; 32]>,
    /// The bytes of `span`, in order, in pieces of any size.
    pub body: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

impl UpstreamError {
    /// Whether it says something about upstream rather than about the object: then what is known of the object
    /// may serve a while longer (RFC 5861 §4).
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Missing | Self::Gone => false,
            Self::Refused { status } => *status >= SERVER_ERROR,
            Self::Unreachable { .. } | Self::TimedOut | Self::Malformed { .. } | Self::ShortBody { .. } => {
                true
            }
        }
    }
}

/// Statuses from here on are upstream's own trouble (RFC 9110 §15.6).
const SERVER_ERROR: u16 = 500;

/// Why upstream gave nothing, or less than it promised. Cheap to clone: everyone who waited hears the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// 404.
    #[error("upstream has no such object")]
    Missing,
    /// 410.
    #[error("upstream had the object and has it no longer")]
    Gone,
    /// Any other status that is no success.
    #[error("upstream answered with status {status}")]
    Refused {
        /// The status.
        status: u16,
    },
    /// No connection, or it broke.
    #[error("reach upstream")]
    Unreachable {
        /// What the connection said.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A time limit passed.
    #[error("upstream did not answer in time")]
    TimedOut,
    /// An answer against the rules of the protocol.
    #[error("upstream's answer breaks the protocol: {what}")]
    Malformed {
        /// Which rule.
        what: &'static str,
    },
    /// The body ended early.
    #[error("upstream sent {got} of the {want} bytes it promised")]
    ShortBody {
        /// Bytes received.
        got: u64,
        /// Bytes promised.
        want: u64,
    },
}
