//! An origin that does as it is told: honest by default, a liar on request. Counts what it is asked.

use antiphon_core::{ObjectPath, RangeSpec, Span, range::RangeHeader};
use data_encoding::BASE64;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

pub const LAST_MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// What an origin talks over.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Wire for S {}

/// How the origin answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Honest,
    Status(u16),
    /// All of it, whatever was asked.
    WholeAlways,
    /// Bytes one further than asked, and says so.
    ShiftedRange,
    /// Says the right range, gives one byte less, closes.
    ShortBody,
    /// Right in all but the bytes: the digest tells.
    WrongBytes,
    WrongTag,
    NoTag,
    NoLength,
    NotHttp,
    /// Takes the request and says nothing.
    Silent,
    /// Says the head, half of the body, then nothing.
    StallsHalfWay,
    /// Closes the connection instead of answering, so many times.
    Closes(u32),
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    pub fields: Vec<String>,
}

pub struct FakeOrigin {
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: AbortHandle,
}

struct State {
    objects: HashMap<String, Vec<u8>>,
    manner: Mutex<Manner>,
    seen: Mutex<Vec<Seen>>,
    /// Answers go out while this is true.
    open: watch::Sender<bool>,
}

impl FakeOrigin {
    /// Over TLS if `tls` is given.
    pub async fn holding(objects: HashMap<String, Vec<u8>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            objects,
            manner: Mutex::new(Manner::Honest),
            seen: Mutex::default(),
            open: watch::Sender::new(true),
        });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    // A broken connection ends the exchange, as it should.
                    let _ = match tls {
                        None => state.converse(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => state.converse(stream).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { address, state, accepting: accepting.abort_handle() }
    }

    pub fn behaves(&self, manner: Manner) {
        *self.state.manner.lock() = manner;
    }

    /// Answers wait from now on.
    pub fn hold(&self) {
        self.state.open.send_replace(false);
    }

    /// Answers go out again.
    pub fn release(&self) {
        self.state.open.send_replace(true);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    /// How many requests have come.
    pub fn reads(&self) -> usize {
        self.state.seen.lock().len()
    }
}

impl Drop for FakeOrigin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    async fn converse<S: Wire>(&self, stream: S) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                let line = line.trim_end().to_owned();
                if line.is_empty() {
                    break;
                }
                lines.push(line);
            }
            let seen = Seen { line: lines.remove(0), fields: lines };
            self.seen.lock().push(seen.clone());
            let mut open = self.open.subscribe();
            open.wait_for(|open| *open).await.unwrap();
            if !self.answer(&mut stream, &seen).await? {
                return Ok(());
            }
        }
    }

    /// Answers once; false ends the connection.
    async fn answer<S: Wire>(&self, stream: &mut BufReader<S>, seen: &Seen) -> std::io::Result<bool> {
        let manner = *self.manner.lock();
        match manner {
            Manner::Silent => std::future::pending().await,
            Manner::NotHttp => {
                stream.write_all(b"I am a teapot\r\n\r\n").await?;
                return Ok(false);
            }
            Manner::Closes(0) => *self.manner.lock() = Manner::Honest,
            Manner::Closes(left) => {
                *self.manner.lock() = Manner::Closes(left - 1);
                return Ok(false);
            }
            _ => {}
        }
        let mut parts = seen.line.split(' ');
        let (method, path) = (parts.next().unwrap(), parts.next().unwrap());
        let Some(bytes) = self.objects.get(path) else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?;
            return Ok(true);
        };
        if let Manner::Status(status) = manner {
            stream
                .write_all(format!("HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\nno").as_bytes())
                .await?;
            return Ok(true);
        }
        let asked = seen.fields.iter().find_map(|field| {
            let (name, value) = field.split_once(": ")?;
            name.eq_ignore_ascii_case("range").then(|| RangeHeader::parse(value))
        });
        let (head, body) = respond(manner, path, bytes, asked);
        stream.write_all(head.as_bytes()).await?;
        if method == "HEAD" {
            return Ok(true);
        }
        let sent = match manner {
            Manner::ShortBody => &body[..body.len() - 1],
            Manner::StallsHalfWay => &body[..body.len() / 2],
            _ => &body[..],
        };
        stream.write_all(sent).await?;
        stream.flush().await?;
        if manner == Manner::StallsHalfWay {
            std::future::pending::<()>().await;
        }
        Ok(manner != Manner::ShortBody && manner != Manner::NoLength)
    }
}

/// Head and body of an answer about `bytes`.
fn respond(manner: Manner, path: &str, bytes: &[u8], asked: Option<RangeHeader>) -> (String, Vec<u8>) {
    let total = bytes.len() as u64;
    let spec = match asked {
        Some(RangeHeader::One(spec)) if manner != Manner::WholeAlways => Some(spec),
        _ => None,
    };
    let span = match spec.map(|spec| spec.resolve(total)) {
        None => Span::whole(total),
        Some(Some(span)) => Some(span),
        Some(None) => {
            let head = format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n\r\n"
            );
            return (head, Vec::new());
        }
    };
    let span = match (manner, span) {
        (Manner::ShiftedRange, Some(span)) => Span::new(span.start() + 1, span.end().min(total)),
        (_, span) => span,
    };
    let mut body = span.map_or(Vec::new(), |span| bytes[span.start() as usize..span.end() as usize].to_vec());
    let digest = BASE64.encode(&Sha256::digest(&body));
    if manner == Manner::WrongBytes
        && let Some(last) = body.last_mut()
    {
        *last ^= 1;
    }
    let tag = match manner {
        Manner::WrongTag => "\"another\"".to_owned(),
        _ => path.parse::<ObjectPath>().unwrap().etag(),
    };
    let mut head = String::new();
    match (spec, span) {
        (Some(_), Some(span)) => {
            let range = format!("Content-Range: bytes {}-{}/{total}\r\n", span.start(), span.end() - 1);
            head.push_str("HTTP/1.1 206 Partial Content\r\n");
            head.push_str(&range);
        }
        _ => head.push_str("HTTP/1.1 200 OK\r\n"),
    }
    if manner != Manner::NoTag {
        head.push_str(&format!("ETag: {tag}\r\n"));
    }
    if manner != Manner::NoLength {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str(&format!(
        "Content-Type: audio/mp4\r\nLast-Modified: {LAST_MODIFIED}\r\nAccept-Ranges: bytes\r\n\
         Content-Digest: sha-256=:{digest}:\r\n\r\n"
    ));
    (head, body)
}

/// The bytes that a range of an object has.
pub fn slice(bytes: &[u8], spec: RangeSpec) -> &[u8] {
    let span = spec.resolve(bytes.len() as u64).unwrap();
    &bytes[span.start() as usize..span.end() as usize]
}
