//! Connections: silent ones, heads past their limits, starts that cannot be, stops.

use crate::world::{Origin, SECRET, World, request};
use antiphon_core::Rendition;
use antiphon_origin::config::CheckError;
use antiphon_origin::{HEAD_LEN_MAX, HEADERS_MAX, StartError};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes and reads until the origin closes; fails if it never does.
async fn talk(address: std::net::SocketAddr, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    read.expect("the connection is closed in time").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let world = World::new();
    let origin = world
        .start_with(|config| {
            config.serve.head_ms = 200;
            config.serve.idle_secs = 1;
        })
        .await;
    // Nothing; the beginning of a request; the beginning of HTTP/2's preface; after a request, nothing more.
    for text in
        [&b""[..], b"GET / HTTP/1.1\r\nhost: x\r\n", b"PRI * HT", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"]
    {
        let answer = talk(origin.running.address, text).await;
        let answered = answer.starts_with("HTTP/1.1 401");
        assert_eq!(answered, text.ends_with(b"\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_is_read_up_to_its_limits() {
    let world = World::new();
    let origin = world.start().await;
    let with_fields = |count: usize| {
        let fields: String = (0..count - 2).map(|n| format!("x-{n}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n")
    };
    assert!(
        talk(origin.running.address, with_fields(HEADERS_MAX).as_bytes()).await.starts_with("HTTP/1.1 401")
    );
    assert!(
        talk(origin.running.address, with_fields(HEADERS_MAX + 1).as_bytes())
            .await
            .starts_with("HTTP/1.1 431")
    );
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(HEAD_LEN_MAX));
    assert!(talk(origin.running.address, long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(talk(origin.running.address, b"\x16\x03\x01 not HTTP\r\n\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let world = World::new();
    let start = async |change: &dyn Fn(&mut antiphon_origin::Config)| {
        let mut config = world.config();
        change(&mut config);
        antiphon_origin::start(config, Arc::new(world.clock.clone())).await.map(|_| ()).unwrap_err()
    };
    let beyond = "192.0.2.1:0".parse().unwrap();
    let error = start(&|config| config.listen = beyond).await;
    assert!(matches!(error, StartError::Config(CheckError::ListenBeyondLoopback(_))), "{error:?}");
    let error = start(&|config| config.origin_secret_file = "no-such-file".into()).await;
    assert!(error.to_string().contains("no-such-file"), "{error}");
    let short = world.folder.path().join("short");
    std::fs::write(&short, "short").unwrap();
    let error = start(&|config| config.origin_secret_file = short.clone()).await;
    assert!(matches!(error, StartError::Secret { .. }), "{error:?}");
    let error = start(&|config| config.keyring_dir = "no-such-folder".into()).await;
    assert!(matches!(error, StartError::Keys(_)), "{error:?}");
    let origin = world.start().await;
    let taken = origin.running.address;
    let error = start(&|config| config.listen = taken).await;
    assert!(matches!(error, StartError::Listen { key: "listen", .. }), "{error:?}");
}

#[tokio::test]
async fn a_key_ring_of_another_key_is_refused_at_the_start() {
    let world = World::new();
    std::fs::write(world.keyring().join("kek"), "ab".repeat(32)).unwrap();
    let error =
        antiphon_origin::start(world.config(), Arc::new(world.clock.clone())).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::Keys(_)), "{error:?}");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_frees_the_address() {
    let world = World::new();
    let song = world.with_demo().await;
    let origin = world.start().await;
    let path = world.path(song.asset, Rendition::Aac64);
    // The client keeps its connection open.
    assert_eq!(origin.get(path).await.status, StatusCode::OK);
    let address = origin.running.address;
    tokio::time::timeout(Duration::from_secs(5), origin.running.stop()).await.expect("nothing is under way");
    assert!(TcpStream::connect(address).await.is_err());
}

/// A body that its reader has not begun to read; HTTP/2 flow control holds most of it back.
async fn held(world: &World, origin: &Origin) -> Incoming {
    let song = world.with_demo().await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_stream_window_size(65_535)
        .http2_initial_connection_window_size(65_535)
        .build_http();
    let bearer = format!("Bearer {SECRET}");
    let path = world.path(song.asset, Rendition::Aac320);
    let asked = request(origin.running.address, Method::GET, path, &[("authorization", &bearer)]);
    let response = client.request(asked).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

#[tokio::test]
async fn a_stop_lets_an_answer_under_way_end() {
    let world = World::new();
    let origin = world.start().await;
    let body = held(&world, &origin).await;
    let ((), body) = tokio::join!(origin.running.stop(), body.collect());
    assert!(body.unwrap().to_bytes().len() > 1_000_000);
}

#[tokio::test]
async fn a_stop_cuts_off_whoever_does_not_read() {
    let world = World::new();
    let origin = world
        .start_with(|config| {
            config.stop_secs = 1;
            config.serve.slow_reader_ms = 3_600_000;
        })
        .await;
    let body = held(&world, &origin).await;
    tokio::time::timeout(Duration::from_secs(10), origin.running.stop()).await.expect("patience has its end");
    assert!(body.collect().await.is_err());
}

#[tokio::test]
async fn operators_see_health_readiness_and_counters_and_no_secret() {
    let world = World::new();
    let song = world.with_demo().await;
    let origin = world.start().await;
    origin.get(world.path(song.asset, Rendition::Aac64)).await;
    assert_eq!(origin.admin("/healthz").await.text(), "alive\n");
    assert_eq!(origin.admin("/readyz").await.text(), "ready\n");
    let metrics = origin.admin("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.text().contains("origin_answers_total{status=\"200\"} 1\n"), "{}", metrics.text());
    assert!(!metrics.text().contains(SECRET) && !metrics.text().contains(&song.asset.to_string()));
    // What edges may ask is not on this address, nor the other way round.
    assert_eq!(origin.admin(&world.path(song.asset, Rendition::Aac64).to_string()).await.status, 404);
    assert_eq!(origin.get("/metrics").await.status, 404);
}
