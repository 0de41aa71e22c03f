//! TLS, HTTP/1.1 and HTTP/2 as such: versions, hosts, silence, and stopping.

use crate::world::{Answer, World, body_that_never_comes, refused};
use antiphon_control::{Config, StartError, start};
use antiphon_core::UnixTime;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Version};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long the server waits in tests of waiting: more than a busy machine needs between handshake and request.
const PATIENCE_MS: u32 = 500;

async fn connect(
    world: &World,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.folder().join("server.pem")).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(world.running.addresses[0]).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

/// Sends bytes over HTTP/1.1 and gives back all that comes until the server hangs up.
async fn exchange(world: &World, request: &str) -> String {
    let mut stream = connect(world, &[&version::TLS13], b"http/1.1").await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that hangs up without a goodbye has said what it had to say.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let world = World::new().await;
    assert!(connect(&world, &[&version::TLS12], b"http/1.1").await.is_err());
    assert!(connect(&world, &[&version::TLS13], b"http/1.1").await.is_ok());
}

#[tokio::test]
async fn http_1_and_2_give_the_same_answers() {
    let world = World::new().await;
    let pem = std::fs::read(world.folder().join("server.pem")).unwrap();
    let client = |h1_only: bool| {
        let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
        let builder = reqwest::Client::builder().tls_certs_only([certificate]).no_proxy();
        if h1_only { builder.http1_only() } else { builder }.build().unwrap()
    };
    for path in ["/", "/player/config.json", "/api/v1/songs", "/x"] {
        let (h1, h2) = (client(true).get(world.url(path)), client(false).get(world.url(path)));
        let (h1, h2) = (h1.send().await.unwrap(), h2.send().await.unwrap());
        assert_eq!((h1.version(), h2.version()), (Version::HTTP_11, Version::HTTP_2));
        assert_eq!(h1.status(), h2.status(), "{path}");
        assert_eq!(h1.text().await.unwrap(), h2.text().await.unwrap(), "{path}");
    }
}

#[tokio::test]
async fn every_address_of_the_configuration_answers() {
    let world = World::with(|config| config.listen.push("[::1]:0".parse().unwrap())).await;
    assert_eq!(world.running.addresses.len(), 2);
    let port = world.running.addresses[1].port();
    let pem = std::fs::read(world.folder().join("server.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
        .resolve("localhost", world.running.addresses[1])
        .no_proxy()
        .build()
        .unwrap();
    assert_eq!(client.get(format!("https://localhost:{port}/")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_request_needs_one_host() {
    let world = World::new().await;
    let close = "Connection: close\r\n\r\n";
    let none = exchange(&world, &format!("GET / HTTP/1.1\r\n{close}")).await;
    let two = exchange(&world, &format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n{close}")).await;
    let one = exchange(&world, &format!("GET / HTTP/1.1\r\nHost: a\r\n{close}")).await;
    assert!(none.starts_with("HTTP/1.1 400 ") && none.contains("bad_host"), "{none}");
    assert!(two.starts_with("HTTP/1.1 400 "), "{two}");
    assert!(one.starts_with("HTTP/1.1 200 "), "{one}");
}

#[tokio::test]
async fn a_header_section_has_a_limit() {
    let world = World::new().await;
    let request = |len: usize| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\nConnection: close\r\n\r\n", "x".repeat(len))
    };
    assert!(exchange(&world, &request(4_000)).await.starts_with("HTTP/1.1 200 "));
    assert!(exchange(&world, &request(40_000)).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(500));
    assert!(exchange(&world, &many).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn text_that_is_no_http_is_refused() {
    let world = World::new().await;
    for request in [
        "hello\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/3.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost a\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let answer = exchange(&world, request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_never_greets_is_hung_up_on() {
    let world = World::with(|config| config.tls.handshake_ms = 20).await;
    let mut tcp = TcpStream::connect(world.running.addresses[0]).await.unwrap();
    assert_eq!(tcp.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_client_that_never_asks_is_hung_up_on() {
    let world = World::with(|config| config.limits.header_ms = PATIENCE_MS).await;
    let silent =
        [(&b"http/1.1"[..], ""), (b"http/1.1", "GET / HTTP/1.1\r\n"), (b"h2", ""), (b"h2", "PRI * HTT")];
    let ends = silent.map(|(alpn, said)| {
        let world = &world;
        async move {
            let mut stream = connect(world, &[&version::TLS13], alpn).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            // With or without a goodbye: what counts is that it ends.
            let _ = stream.read_to_end(&mut rest).await;
        }
    });
    join_all(ends).await;
    assert_eq!(Answer::of(world.ask(Method::GET, "/")).await.status, 200);
}

#[tokio::test]
async fn an_http_2_connection_that_falls_silent_is_closed_with_a_goodbye() {
    let world = World::with(|config| config.limits.header_ms = PATIENCE_MS).await;
    let stream = connect(&world, &[&version::TLS13], b"h2").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(world.url("/")).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    // Nobody asks again, and nobody hangs up on this side; an end without GOAWAY would be an error here.
    assert!(connection.await.unwrap().is_ok());
    drop(sender);
}

#[tokio::test]
async fn an_http_1_connection_that_falls_silent_is_closed() {
    let world = World::with(|config| config.limits.header_ms = PATIENCE_MS).await;
    let answer = exchange(&world, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("</html>\n"), "{answer}");
}

#[tokio::test]
async fn one_address_does_not_take_all_places() {
    let world = World::with(|config| config.limits.connections_per_address_max = 2).await;
    let first = connect(&world, &[&version::TLS13], b"http/1.1").await.unwrap();
    let second = connect(&world, &[&version::TLS13], b"http/1.1").await.unwrap();
    assert!(connect(&world, &[&version::TLS13], b"http/1.1").await.is_err());
    drop((first, second));
    // The server notices in its own time; each attempt is refused or answered, never left hanging.
    let mut answered = false;
    for _ in 0..1000 {
        answered = answered || connect(&world, &[&version::TLS13], b"http/1.1").await.is_ok();
    }
    assert!(answered);
}

#[tokio::test]
async fn a_stop_finishes_and_then_refuses() {
    let world = World::new().await;
    let address = world.running.addresses[0];
    let idle = connect(&world, &[&version::TLS13], b"http/1.1").await.unwrap();
    assert_eq!(Answer::of(world.ask(Method::GET, "/")).await.status, 200);
    world.running.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let world = World::with(|config| (config.stop_secs, config.limits.body_ms) = (0, 600_000)).await;
    let access = world.log_in("free").await;
    let never = body_that_never_comes();
    let ask = world.ask(Method::POST, "/api/v1/stream/play").bearer_auth(&access);
    let waiting = tokio::spawn(ask.header("content-type", "application/json").body(never).send());
    // Once another request is answered on a connection of the same client, the first is on its way.
    assert_eq!(Answer::of(world.ask(Method::GET, "/x")).await.refusal(), refused(404, "not_found"));
    world.running.stop().await;
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_start_that_cannot_be_names_what_is_missing() {
    let clock = || Arc::new(|| UnixTime(0));
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.tls.cert_file = folder.path().join("none.pem");
    let error = start(config, clock()).await.unwrap_err();
    assert!(matches!(error, StartError::Tls(_)));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("none.pem"));
    let mut config = Config::default();
    config.listen.clear();
    assert!(matches!(start(config, clock()).await, Err(StartError::Config(_))));
}
