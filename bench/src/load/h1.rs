//! HTTP/1.1, by hand: the generator shall cost less than what it measures.

use super::{Ask, PATIENCE, Picker, Shared};
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Read at a time.
const BUFFER_BYTES: usize = 256 * 1024;
/// A response head is shorter than this.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The head of an answer.
struct Head {
    status: u16,
    content_length: u64,
    /// Bytes of the head in the buffer.
    len: usize,
}

/// A connection with its buffer.
struct Client<'a> {
    shared: &'a Shared,
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

pub(super) async fn client(shared: Arc<Shared>, number: u64) -> Result<()> {
    let mut picker = Picker::new(&shared.plan, number);
    let mut client = Client::connect(&shared).await?;
    while !shared.is_over() {
        client.ask(&picker.next(&shared.plan)).await?;
    }
    Ok(())
}

/// Every range of every object, in order.
pub(super) async fn every_range(shared: &Shared) -> Result<()> {
    let plan = &shared.plan;
    let mut client = Client::connect(shared).await?;
    for target in &plan.targets {
        let mut first = 0;
        while first < plan.object_len {
            let last = (first + plan.range_len).min(plan.object_len) - 1;
            client.ask(&Ask { target, first, last }).await?;
            first = last + 1;
        }
    }
    Ok(())
}

impl<'a> Client<'a> {
    async fn connect(shared: &'a Shared) -> Result<Self> {
        Ok(Self { shared, stream: shared.connect().await?, buffer: vec![0; BUFFER_BYTES] })
    }

    /// One request and its whole answer.
    async fn ask(&mut self, ask: &Ask<'_>) -> Result<()> {
        let text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nRange: bytes={}-{}\r\n\r\n",
            ask.target, self.shared.plan.host, ask.first, ask.last
        );
        self.stream.write_all(text.as_bytes()).await.context("send a request")?;
        self.stream.flush().await.context("send a request")?;
        let answer = answer(&mut self.stream, &mut self.buffer, self.shared);
        let (status, bytes) = tokio::time::timeout(PATIENCE, answer).await??;
        self.shared.whole(ask, status, bytes)
    }
}

/// Reads one answer to its end.
async fn answer(stream: &mut TlsStream<TcpStream>, buffer: &mut [u8], shared: &Shared) -> Result<(u16, u64)> {
    let mut filled = 0;
    let head = loop {
        let read = stream.read(&mut buffer[filled..]).await.context("read an answer")?;
        anyhow::ensure!(read > 0, "the server closed the connection before an answer");
        filled += read;
        if let Some(head) = head(&buffer[..filled])? {
            break head;
        }
        anyhow::ensure!(filled < HEAD_BYTES_MAX, "an answer's head is longer than {HEAD_BYTES_MAX} bytes");
    };
    let mut bytes = (filled - head.len) as u64;
    shared.came(filled - head.len);
    while bytes < head.content_length {
        let read = stream.read(buffer).await.context("read a body")?;
        anyhow::ensure!(read > 0, "the server closed the connection within a body");
        shared.came(read);
        bytes += read as u64;
    }
    Ok((head.status, bytes))
}

/// The head, if all of it is there.
fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).context("read an answer's head")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    match (status, length) {
        (Some(status), Some(content_length)) => Ok(Some(Head { status, content_length, len: end + 4 })),
        _ => bail!("an answer has no status or no length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let text = b"HTTP/1.1 206 Partial Content\r\ncontent-length: 10\r\n\r\nabc";
        for end in 0..text.len() - 3 {
            assert!(head(&text[..end]).unwrap().is_none());
        }
        let head = head(text).unwrap().unwrap();
        assert_eq!((head.status, head.content_length, head.len), (206, 10, text.len() - 3));
    }

    #[test]
    fn a_head_without_a_length_is_refused() {
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
