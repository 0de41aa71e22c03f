//! `h3`'s idea of QUIC on top of quinn, without copying what is sent.
//!
//! Promises
//! - A [`Payload`] reaches quinn as the `Bytes` it is made of: a chunk in the cache is the buffer that packets
//!   are cut from.
//! - A stream counts as finished once the client has acknowledged all of it, so that closing the connection
//!   after the last request cuts nobody off.
//! - What a client may send on one stream is bounded, whatever lengths its frames claim.
//! - A request stream that is dropped unread asks for an end with `H3_NO_ERROR`: clients take any other code
//!   for a failed transfer.
//!
//! Does not know: HTTP, what the bytes are.

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, VarInt, WriteError};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The bytes of a body, on their way to quinn.
pub(super) struct Payload(pub(super) Bytes);

/// A QUIC connection.
pub(super) struct QuicConnection {
    connection: quinn::Connection,
    /// Kept between polls: a fresh future would forget who is to be woken.
    bidi: BoxStream<'static, Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>>,
    uni: BoxStream<'static, Result<quinn::RecvStream, ConnectionError>>,
    opener: Opener,
    limits: StreamLimits,
}

/// How many bytes a client may send on one stream in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimits {
    /// A request: header and body, with their framing.
    pub request_bytes: u64,
    /// A control stream, which lives as long as the connection.
    pub control_bytes: u64,
}

/// Opens streams towards the client.
pub(super) struct Opener {
    connection: quinn::Connection,
    bidi: Option<BoxFuture<'static, Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>>>,
    uni: Option<BoxFuture<'static, Result<quinn::SendStream, ConnectionError>>>,
}

/// Both directions of a request.
pub(super) struct BidiStream {
    send: SendStream,
    recv: RecvStream,
}

/// What goes to the client.
pub(super) struct SendStream {
    stream: quinn::SendStream,
    /// A frame that quinn has not taken whole: its header, its payload. Taken pieces are empty.
    pending: [Bytes; PIECES],
    /// Set once the stream is finished: resolves when the client has all of it, or has stopped it.
    delivered: Option<BoxFuture<'static, Result<Option<VarInt>, quinn::StoppedError>>>,
}

/// What comes from the client.
pub(super) struct RecvStream {
    stream: quinn::RecvStream,
    /// Bytes that may still come.
    left: u64,
    /// Whether the end has been seen, or asked for.
    ended: bool,
}

/// `h3` hands over a frame as its header and, for some kinds, one payload.
const PIECES: usize = 2;

thread_local! {
    /// Where a [`Payload`] leaves its bytes while [`owned_chunk`] looks at it. `h3` wraps payloads in a type that
    /// shows them only as `&[u8]`; this is the way around it that copies nothing.
    static TRAY: Cell<Option<Bytes>> = const { Cell::new(None) };
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        TRAY.set(Some(self.0.clone()));
        &self.0
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

/// The next chunk of a frame, owned: a payload without a copy, headers (a few bytes) with one.
fn owned_chunk(frame: &mut WriteBuf<Payload>) -> Bytes {
    TRAY.set(None);
    let chunk = frame.chunk();
    let bytes = match TRAY.take() {
        Some(payload) if std::ptr::eq(payload.as_ptr(), chunk.as_ptr()) && payload.len() == chunk.len() => {
            payload
        }
        _ => Bytes::copy_from_slice(chunk),
    };
    frame.advance(bytes.len());
    bytes
}

impl QuicConnection {
    pub fn new(connection: quinn::Connection, limits: StreamLimits) -> Self {
        let bidi = stream::unfold(connection.clone(), |connection| async {
            Some((connection.accept_bi().await, connection))
        });
        let uni = stream::unfold(connection.clone(), |connection| async {
            Some((connection.accept_uni().await, connection))
        });
        let opener = Opener { connection: connection.clone(), bidi: None, uni: None };
        Self { connection, bidi: bidi.boxed(), uni: uni.boxed(), opener, limits }
    }
}

impl quic::Connection<Payload> for QuicConnection {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(self.uni.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        Poll::Ready(
            stream.map(|stream| RecvStream::new(stream, self.limits.control_bytes)).map_err(connection_error),
        )
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BidiStream, ConnectionErrorIncoming>> {
        let streams = ready!(self.bidi.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        Poll::Ready(
            streams
                .map(|streams| BidiStream::new(streams, self.limits.request_bytes))
                .map_err(connection_error),
        )
    }

    fn opener(&self) -> Opener {
        Opener { connection: self.connection.clone(), bidi: None, uni: None }
    }
}

impl quic::OpenStreams<Payload> for QuicConnection {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

impl quic::OpenStreams<Payload> for Opener {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        let connection = &self.connection;
        let opening = self.bidi.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_bi().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.bidi = None;
        // A server opens none; if `h3` ever does, what comes back is bounded like a request.
        Poll::Ready(opened.map(|streams| BidiStream::new(streams, 0)).map_err(lost))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        let connection = &self.connection;
        let opening = self.uni.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.uni = None;
        Poll::Ready(opened.map(SendStream::new).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(var_int(code.value()), reason);
    }
}

impl SendStream {
    fn new(stream: quinn::SendStream) -> Self {
        Self { stream, pending: Default::default(), delivered: None }
    }
}

impl quic::SendStream<Payload> for SendStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while self.pending.iter().any(|piece| !piece.is_empty()) {
            // Nothing is lost when this future is dropped: it either writes or leaves its waker.
            ready!(pin!(self.stream.write_chunks(&mut self.pending)).poll(cx)).map_err(write_error)?;
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Payload>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.pending.iter().any(|piece| !piece.is_empty()) {
            return Err(misuse("a frame is sent before the one before it"));
        }
        let mut frame = data.into();
        for piece in &mut self.pending {
            *piece = owned_chunk(&mut frame);
        }
        if frame.has_remaining() {
            return Err(misuse("a frame has more pieces than header and payload"));
        }
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        let stream = &mut self.stream;
        let delivered = self.delivered.get_or_insert_with(|| {
            // Finished or stopped already: the outcome tells which.
            let _ = stream.finish();
            Box::pin(stream.stopped())
        });
        let outcome = ready!(delivered.as_mut().poll(cx));
        Poll::Ready(match outcome {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(lost(error)),
            Err(error @ quinn::StoppedError::ZeroRttRejected) => {
                Err(StreamErrorIncoming::Unknown(Box::new(error)))
            }
        })
    }

    fn reset(&mut self, code: u64) {
        // An error means that it has ended otherwise.
        let _ = self.stream.reset(var_int(code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl RecvStream {
    fn new(stream: quinn::RecvStream, bytes_max: u64) -> Self {
        Self { stream, left: bytes_max, ended: false }
    }

    fn stop(&mut self, code: u64) {
        self.ended = true;
        // An error means that it has ended otherwise.
        let _ = self.stream.stop(var_int(code));
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let read = ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx));
        let chunk = read.inspect_err(|_| self.ended = true).map_err(read_error)?;
        let Some(chunk) = chunk else {
            self.ended = true;
            return Poll::Ready(Ok(None));
        };
        match self.left.checked_sub(chunk.bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Ok(Some(chunk.bytes)))
            }
            None => {
                let code = Code::H3_EXCESSIVE_LOAD.value();
                self.stop(code);
                Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code: code }))
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        self.stop(code);
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        if !self.ended {
            self.stop(Code::H3_NO_ERROR.value());
        }
    }
}

impl BidiStream {
    fn new((send, recv): (quinn::SendStream, quinn::RecvStream), bytes_max: u64) -> Self {
        Self { send: SendStream::new(send), recv: RecvStream::new(recv, bytes_max) }
    }
}

impl quic::BidiStream<Payload> for BidiStream {
    type SendStream = SendStream;
    type RecvStream = RecvStream;

    fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}

impl quic::SendStream<Payload> for BidiStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Payload>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl quic::RecvStream for BidiStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.recv.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn lost(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
}

fn write_error(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        WriteError::ConnectionLost(error) => lost(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            StreamErrorIncoming::Unknown(Box::new(error))
        }
    }
}

fn read_error(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        ReadError::ConnectionLost(error) => lost(error),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            StreamErrorIncoming::Unknown(Box::new(error))
        }
    }
}

fn misuse(what: &str) -> StreamErrorIncoming {
    let connection_error = ConnectionErrorIncoming::InternalError(what.to_owned());
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
}

fn var_int(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

/// Stream numbers of quinn and of `h3` have the same range (RFC 9000 §2.1).
fn stream_id(id: quinn::StreamId) -> StreamId {
    let number: u64 = VarInt::from(id).into_inner();
    StreamId::try_from(number).expect("a stream number of QUIC fits into 62 bits")
}
