//! Bodies of bounded memory that do not wait for ever.
//!
//! An answer's place among `serve.concurrent_max` is held until its last piece was taken, by a task that also
//! watches how long the reader takes for each: a connection that is blocked is not polled, so a timer inside
//! the body would never fire.
//!
//! Promises
//! - At most [`BUFFERED_MAX`] bytes of an answer are in memory, plus what the connection queues.
//! - A reader slower than `serve.slow_reader_ms` for 64 KiB is broken off; its place is free then.
//! - A failure in the middle breaks the connection: an answer is whole or visibly not.
//!
//! Does not know: what the bytes are.

use super::object::{Object, pieces};
use crate::metrics::Metrics;
use crate::verdict::{ServeError, note};
use antiphon_core::{ObjectPath, Span};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::TaskTracker;

/// A digested answer up to this long is kept in memory; a longer one is read twice.
pub(super) const BUFFERED_MAX: u64 = 4 * 1024 * 1024;

/// What a connection is given at once. HTTP/2 queues all it is given, whatever the reader's window: pieces of
/// a MiB would lie there as long as the reader likes.
const MORSEL_LEN: usize = 64 * 1024;

/// A span of an object, its beginning already read.
pub(super) struct Answer {
    object: Object,
    /// Read before the head was sent: all of it, or the first piece.
    ready: Vec<Bytes>,
    /// Still to be read.
    rest: Option<Span>,
    /// SHA-256 of all of it, if that was asked for.
    pub digest: Option<[u8; 32]>,
}

/// Whether an answer carries a digest of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digested {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// What a body needs to be sent.
pub(super) struct Sending {
    /// Where the sending task is counted, so that a stop can wait for it.
    pub tasks: TaskTracker,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time a reader has for the next [`MORSEL_LEN`] bytes.
    pub slow_reader: Duration,
    /// The place among the answers under way.
    pub place: OwnedSemaphorePermit,
    /// For the log.
    pub path: ObjectPath,
}

impl Answer {
    /// Reads the beginning of `span`, or all of it when it is digested and short enough: what fails now still
    /// becomes a status.
    pub async fn begin(
        object: Object,
        span: Span,
        digested: Digested,
        metrics: &Metrics,
    ) -> Result<Self, ServeError> {
        let keep = match digested {
            Digested::Yes if span.len() <= BUFFERED_MAX => span.len(),
            // One piece, so that the store and the first seals have answered.
            Digested::Yes | Digested::No => 1,
        };
        let (mut ready, mut read, mut hash) = (Vec::new(), span.start(), Sha256::new());
        for piece in pieces(span) {
            let kept = piece.start() - span.start() < keep;
            if !kept && digested == Digested::No {
                break;
            }
            let bytes = timed(&object, piece, metrics).await?;
            if digested == Digested::Yes {
                hash.update(&bytes);
            }
            if kept {
                read = piece.end();
                ready.push(bytes);
            }
        }
        let digest = (digested == Digested::Yes).then(|| hash.finalize().into());
        Ok(Self { object, ready, rest: Span::new(read, span.end()), digest })
    }

    /// The body; a task of `sending.tasks` fills it.
    pub fn into_body(self, sending: Sending) -> Body {
        let (out, mut pieces) = mpsc::channel(1);
        sending.tasks.clone().spawn(async move {
            sending.metrics.under_way.inc();
            if let Err(why) = self.send(&sending, &out).await {
                sending.metrics.broken_off.with_label_values(&[why.name()]).inc();
                // Heard by a reader that comes back: the body ends in an error, not in silence.
                out.try_send(Err(io::Error::other(why.name()))).ok();
            }
            sending.metrics.under_way.dec();
            drop(sending.place);
        });
        Body::from_stream(stream::poll_fn(move |context| pieces.poll_recv(context)))
    }

    async fn send(self, sending: &Sending, out: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), BrokenOff> {
        let Self { object, ready, rest, .. } = self;
        for bytes in ready {
            hand_over(bytes, sending, out).await?;
        }
        for piece in rest.into_iter().flat_map(pieces) {
            let bytes = timed(&object, piece, &sending.metrics).await.map_err(|error| {
                note(&error, &sending.path.to_string(), &sending.metrics);
                BrokenOff::Failed
            })?;
            hand_over(bytes, sending, out).await?;
        }
        // The place stays taken until the last piece has left the channel. A reader that has all its bytes
        // may be gone by then.
        match tokio::time::timeout(sending.slow_reader, out.reserve()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(BrokenOff::Slow),
        }
    }
}

/// Why an answer was not sent to its end.
#[derive(Clone, Copy, Debug)]
enum BrokenOff {
    Slow,
    Left,
    Failed,
}

impl BrokenOff {
    fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

/// Gives bytes to the connection, as it takes them.
async fn hand_over(
    mut bytes: Bytes,
    sending: &Sending,
    out: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), BrokenOff> {
    while !bytes.is_empty() {
        let room =
            tokio::time::timeout(sending.slow_reader, out.reserve()).await.map_err(|_| BrokenOff::Slow)?;
        let morsel = bytes.split_to(bytes.len().min(MORSEL_LEN));
        sending.metrics.sent_bytes.inc_by(morsel.len() as u64);
        room.map_err(|_| BrokenOff::Left)?.send(Ok(morsel));
    }
    Ok(())
}

async fn timed(object: &Object, piece: Span, metrics: &Metrics) -> Result<Bytes, ServeError> {
    let timer = metrics.piece_seconds.start_timer();
    let bytes = object.piece(piece).await;
    timer.observe_duration();
    bytes
}
