//! Listeners: one request over HTTP/1.1, 2 or 3, or raw bytes over TLS.

use crate::world::World;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    H1,
    H2,
    H3,
}

pub const EVERY: [Via; 3] = [Via::H1, Via::H2, Via::H3];

/// What came back. `whole` is false if the stream broke before its end.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub whole: bool,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub async fn tls(world: &World, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.certificate.clone()).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let tcp = TcpStream::connect(world.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

pub async fn get(world: &World, via: Via, target: &str, fields: &[(&str, &str)]) -> Got {
    ask(world, via, Method::GET, target, fields).await
}

/// One request on a connection of its own.
pub async fn ask(world: &World, via: Via, method: Method, target: &str, fields: &[(&str, &str)]) -> Got {
    let request = |uri: String, host: bool| {
        let mut request = Request::builder().method(method.clone()).uri(uri);
        if host {
            request = request.header("host", "localhost");
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    match via {
        Via::H1 => {
            let io = TokioIo::new(tls(world, &[b"http/1.1"]).await);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            collect(sender.send_request(request(target.to_owned(), true)).await.unwrap()).await
        }
        Via::H2 => {
            let io = TokioIo::new(tls(world, &[b"h2"]).await);
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
            let (mut sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            let uri = format!("https://localhost{target}");
            collect(sender.send_request(request(uri, false)).await.unwrap()).await
        }
        Via::H3 => {
            let mut listener = crate::h3::Listener::connect(world).await;
            let uri = format!("https://localhost{target}");
            listener.ask(request(uri, false).map(drop)).await
        }
    }
}

pub async fn collect(response: http::Response<hyper::body::Incoming>) -> Got {
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    let mut whole = true;
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    Got { status: head.status, headers: head.headers, body, whole }
}

/// Sends bytes over TLS as HTTP/1.1 and returns all that comes back until the edge closes.
pub async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = tls(world, &[b"http/1.1"]).await;
    // The edge may have hung up by then; what it said is what counts.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
