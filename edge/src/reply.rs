//! What goes back: status, header fields, and the bytes one chunk at a time.
//!
//! A front sends `status` and `headers`, then the body:
//! `while let Some(chunk) = reply.next().await { send(chunk?).await? }`.
//!
//! Promises
//! - The chunks add up to exactly the length that `Content-Length` says, or [`Cut`] comes before the end: the
//!   front then breaks the stream, so that a client never takes half an answer for a whole one.
//! - A chunk counts as sent when the front asks for the next one; a front that goes away early leaves the
//!   request in log and metrics as cut, with the bytes that went out.
//!
//! Does not know: how a front writes, what the bytes are.

use crate::account::Account;
use antiphon_cache::{Body as CacheBody, FetchError, Source};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use std::fmt;

/// An answer, ready to be sent.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Header fields in the order they are sent, `Content-Length` included. Fronts add what belongs to their
    /// protocol (`Date`, `Alt-Svc`, `Connection`).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
    /// Bytes not yet handed to the front. Invariant: `body` yields exactly this many, or ends in [`Cut`].
    left: u64,
    /// The chunk in the front's hands: sent for certain once it asks for the next.
    in_hand: u64,
    source: Option<Source>,
    account: Account,
}

/// The bytes of an answer.
#[derive(Debug)]
pub enum Body {
    /// None.
    Empty,
    /// All of them, ready.
    One(Bytes),
    /// Bytes of an object, from whatever tier has them.
    Tiers(CacheBody),
}

/// The body cannot be finished. The front breaks the stream: resets it, or closes the connection.
#[derive(Debug)]
pub struct Cut(pub Option<FetchError>);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer ended before its length")
    }
}

impl std::error::Error for Cut {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().map(|error| error as _)
    }
}

impl Reply {
    /// An answer whose body is `len` bytes long.
    pub(crate) fn new(
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Body,
        len: u64,
        account: Account,
    ) -> Self {
        Self { status, headers, body, left: len, in_hand: 0, source: None, account }
    }

    /// Bytes that [`Reply::next`] has yet to give; 0 after the last chunk, so that a front can mark the end
    /// together with it.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next chunk, at most 256 KiB and never empty. `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        self.settle();
        if self.left == 0 {
            self.account.finish();
            return None;
        }
        let item = match &mut self.body {
            Body::Empty => None,
            Body::One(bytes) => Some(Ok(std::mem::take(bytes))),
            Body::Tiers(body) => match body.next().await {
                Some(Ok((bytes, source))) => {
                    self.source = Some(source);
                    Some(Ok(bytes))
                }
                Some(Err(error)) => Some(Err(Cut(Some(error)))),
                None => None,
            },
        };
        Some(self.hand_over(item.unwrap_or(Err(Cut(None)))))
    }

    /// Passes a chunk on if it fits the promised length.
    fn hand_over(&mut self, item: Result<Bytes, Cut>) -> Result<Bytes, Cut> {
        let bytes = item.inspect_err(|cut| self.account.cut(cut));
        let bytes = match bytes {
            Ok(bytes) if !bytes.is_empty() && bytes.len() as u64 <= self.left => bytes,
            Ok(_) => {
                let cut = Cut(None);
                self.account.cut(&cut);
                self.body = Body::Empty;
                return Err(cut);
            }
            Err(cut) => {
                self.body = Body::Empty;
                return Err(cut);
            }
        };
        self.in_hand = bytes.len() as u64;
        self.left -= self.in_hand;
        Ok(bytes)
    }

    /// Counts the chunk that the front has written.
    fn settle(&mut self) {
        if self.in_hand > 0 {
            self.account.sent(self.in_hand, self.source);
            self.in_hand = 0;
        }
    }
}
