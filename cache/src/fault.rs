//! Why the cache has no bytes to give.

use crate::upstream::UpstreamError;
use antiphon_core::Span;
use std::time::Duration;

/// Why an answer cannot begin, or cannot go on. Cheap to clone: one failed fetch tells all who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// Upstream said no just now.
    #[error("fetch from upstream")]
    Upstream(#[source] UpstreamError),
    /// Upstream said "missing" or "gone" a short while ago, and that is remembered.
    #[error("fetch from upstream, as remembered")]
    Remembered(#[source] UpstreamError),
    /// Upstream was silent, or too slow, for longer than configured.
    #[error("waited {waited:?} for upstream")]
    TimedOut {
        /// The limit that passed.
        waited: Duration,
    },
    /// The object changed under an answer that had begun.
    #[error("the object changed while it was fetched: {want_len} bytes before, {got_len} now")]
    Changed {
        /// Length of the version that the answer began with.
        want_len: u64,
        /// Length of the version that upstream has now.
        got_len: u64,
    },
    /// Upstream answered with other bytes than were asked for.
    #[error("asked upstream for bytes {want:?} and got {got:?}")]
    WrongSpan {
        /// Asked.
        want: Span,
        /// Answered.
        got: Option<Span>,
    },
    /// Upstream's body was shorter than its head promised.
    #[error("upstream sent {got} of {want:?}")]
    Short {
        /// Promised.
        want: Span,
        /// Bytes received.
        got: u64,
    },
    /// Upstream's body was longer than its head promised.
    #[error("upstream sent more than {want:?}")]
    Long {
        /// Promised.
        want: Span,
    },
    /// The bytes of `span` do not have the digest that upstream gave.
    #[error("bytes {span:?} do not match upstream's digest")]
    WrongDigest {
        /// What was fetched.
        span: Span,
    },
    /// Longer than the 1 PiB that chunk numbers reach.
    #[error("an object of {total_len} bytes is longer than chunks can count")]
    TooLong {
        /// The length that upstream claims.
        total_len: u64,
    },
    /// Memory was taken by others for longer than configured.
    #[error("waited {waited:?} for memory")]
    Crowded {
        /// The limit that passed.
        waited: Duration,
    },
    /// Too many other fetches went first.
    #[error("waited {waited:?} in line for upstream")]
    Queued {
        /// How long; nothing if the line was full.
        waited: Duration,
    },
    /// Everybody who waited for the fetch had left.
    #[error("the fetch was given up when nobody waited for it")]
    Abandoned,
    /// The object was purged while it was fetched.
    #[error("the object was purged while it was fetched")]
    Purged,
    /// The process stopped, or a fault of ours ended the fetch.
    #[error("the fetch was interrupted")]
    Interrupted,
}

impl FetchError {
    /// Whether what came was unfit while upstream is alive: worth one more try by a listener who has seen
    /// nothing of it.
    pub(crate) fn is_spoiled(&self) -> bool {
        match self {
            Self::Changed { .. }
            | Self::WrongSpan { .. }
            | Self::Short { .. }
            | Self::Long { .. }
            | Self::WrongDigest { .. }
            | Self::Abandoned
            | Self::Purged
            | Self::Upstream(UpstreamError::ShortBody { .. }) => true,
            Self::Upstream(_)
            | Self::Remembered(_)
            | Self::TimedOut { .. }
            | Self::TooLong { .. }
            | Self::Crowded { .. }
            | Self::Queued { .. }
            | Self::Interrupted => false,
        }
    }

    /// Whether upstream is in trouble, so that what is known of an object may serve a while longer.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Upstream(error) => error.is_outage(),
            Self::TimedOut { .. } | Self::Queued { .. } | Self::Interrupted => true,
            Self::Remembered(_)
            | Self::Changed { .. }
            | Self::WrongSpan { .. }
            | Self::Short { .. }
            | Self::Long { .. }
            | Self::WrongDigest { .. }
            | Self::TooLong { .. }
            | Self::Crowded { .. }
            | Self::Abandoned
            | Self::Purged => false,
        }
    }
}
