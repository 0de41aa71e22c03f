//! An S3 service that is ill or sloppy: what it says wrong is refused, what it fails at is tried again, not for ever.

use antiphon_core::Span;
use antiphon_origin::config::{S3Config, StoreConfig, StoreKind};
use antiphon_origin::store::{Store, StoreError, Version};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::TcpListener;

/// What the service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Proper,
    AlwaysBusy,
    BusyOnce,
    WholeForPart,
    OtherPart,
    OtherTag,
    ConditionFailed,
    Longer,
    Silent,
}

const BODY: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const TAG: &str = "\"tag\"";

fn answer(manner: Manner, before: u32) -> Response<Full<Bytes>> {
    let busy = manner == Manner::AlwaysBusy || (manner == Manner::BusyOnce && before == 0);
    let (status, range, body) = match manner {
        _ if busy => (StatusCode::SERVICE_UNAVAILABLE, None, &b""[..]),
        Manner::ConditionFailed => (StatusCode::PRECONDITION_FAILED, None, &b""[..]),
        Manner::WholeForPart => (StatusCode::OK, None, BODY),
        Manner::OtherPart => (StatusCode::PARTIAL_CONTENT, Some("bytes 6-15/36"), &BODY[6..16]),
        Manner::Longer => (StatusCode::PARTIAL_CONTENT, Some("bytes 5-14/36"), &BODY[5..17]),
        _ => (StatusCode::PARTIAL_CONTENT, Some("bytes 5-14/36"), &BODY[5..15]),
    };
    let tag = if manner == Manner::OtherTag { "\"other\"" } else { TAG };
    let mut response = Response::builder().status(status).header("etag", tag);
    response = response.header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    if let Some(range) = range {
        response = response.header("content-range", range);
    }
    response.body(Full::new(Bytes::from_static(body))).unwrap()
}

/// Reads bytes 5 to 14 of a service of such manners; tells how often it was asked.
async fn read(manner: Manner) -> (Result<Bytes, StoreError>, u32) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            let service = service_fn(move |_: Request<Incoming>| {
                let before = count.fetch_add(1, Ordering::Relaxed);
                async move {
                    if manner == Manner::Silent {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Infallible>(answer(manner, before))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(&format!("http://{address}"), folder.path())).unwrap();
    let version = Version { len: 36, tag: Some(TAG.into()) };
    let read = store.read_span("x", &version, Span::new(5, 15).unwrap()).await;
    serving.abort();
    (read, asked.load(Ordering::Relaxed))
}

fn settings(endpoint: &str, folder: &Path) -> StoreConfig {
    let secret_access_key_file = folder.join("secret");
    std::fs::write(&secret_access_key_file, "secret\n").unwrap();
    let s3 = S3Config {
        endpoint: endpoint.into(),
        bucket: "audio".into(),
        access_key_id: "id".into(),
        secret_access_key_file,
        ..S3Config::default()
    };
    StoreConfig { kind: StoreKind::S3, s3, read_ms: 2000, ..StoreConfig::default() }
}

#[tokio::test]
async fn a_proper_answer_is_taken_at_once() {
    let (read, asked) = read(Manner::Proper).await;
    assert_eq!((read.unwrap(), asked), (Bytes::from_static(b"56789abcde"), 1));
}

#[tokio::test]
async fn a_busy_store_is_asked_again_and_not_for_ever() {
    let (once, asked) = read(Manner::BusyOnce).await;
    assert!(once.is_ok() && asked == 2, "{once:?} after {asked}");
    let (always, asked) = read(Manner::AlwaysBusy).await;
    assert!(matches!(always, Err(StoreError::Failed { .. })) && asked == 3, "{always:?} after {asked}");
}

#[tokio::test]
async fn a_silent_store_is_given_up_in_time() {
    let (read, _) = read(Manner::Silent).await;
    assert!(matches!(read, Err(StoreError::TimedOut { .. } | StoreError::Failed { .. })), "{read:?}");
}

#[tokio::test]
async fn what_was_not_asked_for_is_refused() {
    for manner in [Manner::WholeForPart, Manner::OtherPart, Manner::Longer] {
        let (read, _) = read(manner).await;
        assert!(
            matches!(read, Err(StoreError::Lied { .. } | StoreError::Failed { .. })),
            "{manner:?}: {read:?}"
        );
    }
    for manner in [Manner::OtherTag, Manner::ConditionFailed] {
        let (read, _) = read(manner).await;
        assert!(matches!(read, Err(StoreError::Replaced { .. })), "{manner:?}: {read:?}");
    }
}

#[tokio::test]
async fn a_secret_stays_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings("http://127.0.0.1:9", folder.path());
    std::fs::write(&config.s3.secret_access_key_file, "hush-hush-hush").unwrap();
    let store = Store::open(&config).unwrap();
    let error = store.read_small("x", 9).await.unwrap_err();
    let said = format!("{store:?} {error:?} {config:?}");
    assert!(!said.contains("hush"), "{said}");
    std::fs::write(&config.s3.secret_access_key_file, "two\nlines").unwrap();
    let error = Store::open(&config).unwrap_err().to_string();
    assert!(error.contains("not one line") && !error.contains("two"), "{error}");
}
