//! TLS records that wait to be sent, and what they are cut from.
//!
//! Heads and other small things are joined; long pieces become records by themselves, so that they are encrypted from
//! where they lie (`seal.rs`). A frame of HTTP/2 and its head would otherwise straddle two records each time: 16 KiB
//! and nine bytes are more than one holds (RFC 8446 §5.1).
//!
//! Promises
//! - Bytes leave in order; nothing stays behind after a flush or a shutdown.
//! - At most [`STAGED_BYTES_MAX`] and two records wait to be sent, and less than one to be encrypted.
//!
//! Does not know: HTTP.

use crate::front::guard::Stage;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// A TLS connection over `S`.
pub struct Records<S> {
    tls: TlsStream<S>,
    /// Short pieces that wait for more of them. Invariant: fewer than [`RECORD_BYTES`].
    carry: Vec<u8>,
    /// Bytes of records that were made since the connection last sent everything.
    staged: usize,
}

/// Plain bytes in a full record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// With so much waiting to be sent, no more records are made: a range of 64 KiB and its head leave in one write, on
/// HTTP/2 with the heads of its frames.
const STAGED_BYTES_MAX: usize = 6 * RECORD_BYTES;
/// Shorter pieces are copied and joined with others: a record costs as much as copying this much, or more.
const SMALL_BYTES: usize = 1024;

impl<S> Records<S> {
    /// Takes over a connection after its handshake.
    pub fn new(mut tls: TlsStream<S>) -> Self {
        // The limit is ours: rustls would cut records to fit its own.
        tls.get_mut().1.set_buffer_limit(None);
        Self { tls, carry: Vec::new(), staged: 0 }
    }

    /// The connection below.
    pub fn get_ref(&self) -> &TlsStream<S> {
        &self.tls
    }

    /// Encrypts what was carried.
    fn seal_carry(&mut self) -> io::Result<()> {
        if self.carry.is_empty() {
            return Ok(());
        }
        // A connection that is idle now keeps no buffer.
        let carry = std::mem::take(&mut self.carry);
        self.seal(&carry)
    }

    /// Makes one record.
    fn seal(&mut self, piece: &[u8]) -> io::Result<()> {
        debug_assert!(piece.len() <= RECORD_BYTES, "a record holds its piece");
        self.staged += piece.len();
        self.tls.get_mut().1.writer().write_all(piece)
    }

    /// Takes the start of `buf`: how much, at least one byte.
    fn take(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.len() < SMALL_BYTES {
            let len = buf.len().min(RECORD_BYTES - self.carry.len());
            self.carry.extend_from_slice(&buf[..len]);
            if self.carry.len() == RECORD_BYTES {
                self.seal_carry()?;
            }
            return Ok(len);
        }
        self.seal_carry()?;
        let len = buf.len().min(RECORD_BYTES);
        self.seal(&buf[..len])?;
        Ok(len)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stage for Records<S> {
    /// Encrypts long pieces and keeps short ones; the next flush sends all of it in one call.
    fn stage(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = 0;
        for buf in bufs {
            let mut rest = &buf[..];
            while !rest.is_empty() {
                if self.staged >= STAGED_BYTES_MAX {
                    return Ok(taken);
                }
                let len = self.take(rest)?;
                taken += len;
                rest = &rest[len..];
            }
        }
        Ok(taken)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Records<S> {
    /// Sends the records that are made.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
        self.staged = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Records<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.staged >= STAGED_BYTES_MAX {
            ready!(this.poll_send(cx))?;
        }
        Poll::Ready(this.stage(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.seal_carry()?;
        this.poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.seal_carry()?;
        Pin::new(&mut this.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
    use std::io::Read;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A connection of ours, and a client that is fed by hand.
    struct World {
        ours: Records<DuplexStream>,
        wire: DuplexStream,
        client: ClientConnection,
    }

    /// Bytes of a record besides those that were written: header, content type, tag.
    const OVERHEAD: usize = 5 + 1 + 16;

    async fn world(pipe: usize) -> World {
        crate::tls::install_provider();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(crate::tls::provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let (near, far) = duplex(pipe);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let name = "localhost".try_into().unwrap();
        let (ours, theirs) = tokio::join!(acceptor.accept(near), connector.connect(name, far));
        let (wire, client) = theirs.unwrap().into_inner();
        let mut ours = Records::new(ours.unwrap());
        let mut client = client;
        // Session tickets are out of the way.
        ours.flush().await.unwrap();
        let mut wire = wire;
        receive(&mut wire, &mut client).await;
        World { ours, wire, client }
    }

    /// What the client reads of everything that is on the wire, and the lengths of the records that carry it.
    async fn receive(wire: &mut DuplexStream, client: &mut ClientConnection) -> (Vec<u8>, Vec<usize>) {
        let (mut plain, mut records, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let mut space = vec![0; 1 << 16];
            let read = tokio::time::timeout(std::time::Duration::from_millis(1), wire.read(&mut space)).await;
            let Ok(Ok(n @ 1..)) = read else { break };
            raw.extend_from_slice(&space[..n]);
        }
        let mut at = 0;
        while at < raw.len() {
            let len = 5 + usize::from(u16::from_be_bytes([raw[at + 3], raw[at + 4]]));
            records.push(len - OVERHEAD);
            let mut record = &raw[at..at + len];
            while !record.is_empty() {
                client.read_tls(&mut record).unwrap();
                client.process_new_packets().unwrap();
                let mut space = vec![0; 1 << 15];
                while let Ok(n @ 1..) = client.reader().read(&mut space) {
                    plain.extend_from_slice(&space[..n]);
                }
            }
            at += len;
        }
        (plain, records)
    }

    #[tokio::test(start_paused = true)]
    async fn long_pieces_are_records_and_short_ones_are_joined() {
        let mut world = world(1 << 20).await;
        for frame in 0..4 {
            let head = [frame; 9];
            let payload = vec![frame; RECORD_BYTES];
            let taken = world.ours.stage(&[IoSlice::new(&head), IoSlice::new(&payload)]).unwrap();
            assert_eq!(taken, 9 + RECORD_BYTES);
        }
        world.ours.flush().await.unwrap();
        let (plain, records) = receive(&mut world.wire, &mut world.client).await;
        assert_eq!(plain.len(), 4 * (9 + RECORD_BYTES));
        assert_eq!(records, [9, 1 << 14, 9, 1 << 14, 9, 1 << 14, 9, 1 << 14]);

        for short in 0..20 {
            assert_eq!(world.ours.stage(&[IoSlice::new(&[short; 1000])]).unwrap(), 1000);
        }
        world.ours.flush().await.unwrap();
        let (_, records) = receive(&mut world.wire, &mut world.client).await;
        assert_eq!(records, [1 << 14, 20_000 - (1 << 14)]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_its_share_waits_in_memory() {
        let mut world = world(1 << 20).await;
        let much = vec![7; 3 * STAGED_BYTES_MAX];
        assert_eq!(world.ours.stage(&[IoSlice::new(&much)]).unwrap(), STAGED_BYTES_MAX);
        assert_eq!(world.ours.stage(&[IoSlice::new(&much)]).unwrap(), 0);
        world.ours.flush().await.unwrap();
        assert_eq!(world.ours.stage(&[IoSlice::new(&much)]).unwrap(), STAGED_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_before_a_shutdown_leaves_before_it() {
        let mut world = world(1 << 20).await;
        world.ours.write_all(b"last words").await.unwrap();
        world.ours.shutdown().await.unwrap();
        let (plain, _) = receive(&mut world.wire, &mut world.client).await;
        assert_eq!(plain, b"last words");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn bytes_arrive_as_they_were_written(
            writes in prop::collection::vec((0_usize..40_000, 0_usize..60_000, any::<bool>()), 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut world = world(4 << 20).await;
                let mut sent = Vec::new();
                for (i, (head, body, flush)) in writes.into_iter().enumerate() {
                    let (head, body) = (vec![i as u8; head], vec![!(i as u8); body]);
                    let mut left = [&head[..], &body[..]].concat();
                    sent.extend_from_slice(&left);
                    while !left.is_empty() {
                        let middle = left.len() / 3;
                        let bufs = [IoSlice::new(&left[..middle]), IoSlice::new(&left[middle..])];
                        let n = world.ours.write_vectored(&bufs).await.unwrap();
                        assert!(n > 0);
                        left.drain(..n);
                    }
                    if flush {
                        world.ours.flush().await.unwrap();
                    }
                }
                world.ours.flush().await.unwrap();
                let (plain, _) = receive(&mut world.wire, &mut world.client).await;
                assert!(plain == sent, "{} bytes of {}", plain.len(), sent.len());
            });
        }
    }
}
