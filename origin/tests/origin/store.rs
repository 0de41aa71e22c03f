//! One contract for every store, and what happens when a store breaks it.

use crate::faults::{Fault, Faulty};
use crate::weed::Weed;
use antiphon_core::Span;
use antiphon_origin::config::StoreConfig;
use antiphon_origin::store::{Created, Store, StoreError};
use bytes::Bytes;
use object_store::memory::InMemory;
use std::sync::Arc;

/// What every store must do.
async fn holds_its_contract(store: &Store) {
    let bytes = Bytes::from((0..300_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    assert!(matches!(store.read_small("a/b", 9).await, Err(StoreError::Missing { .. })));
    assert!(store.probe().await.is_ok(), "a missing object is an answer");

    store.put("a/b", bytes.clone()).await.unwrap();
    let (version, whole) = store.read_small("a/b", 300_000).await.unwrap();
    assert!(whole == bytes && version.len == 300_000);
    assert!(matches!(store.read_small("a/b", 299_999).await, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.read_head("a/b", 4096).await.unwrap(), (version.clone(), bytes.slice(..4096)));
    assert_eq!(store.read_head("a/b", 400_000).await.unwrap(), (version.clone(), bytes.clone()));

    for (start, end) in [(0, 1), (0, 300_000), (299_999, 300_000), (70_000, 140_001)] {
        let span = Span::new(start, end).unwrap();
        let part = store.read_span("a/b", &version, span).await.unwrap();
        assert_eq!(part, bytes.slice(start as usize..end as usize), "{span:?}");
    }
    let past = store.read_span("a/b", &version, Span::new(299_999, 300_001).unwrap()).await;
    assert!(matches!(past, Err(StoreError::Lied { .. })), "{past:?}");

    assert_eq!(store.create("a/b", Bytes::from_static(b"other")).await.unwrap(), Created::Existed);
    assert_eq!(store.create("a/c", Bytes::from_static(b"other")).await.unwrap(), Created::New);
    assert_eq!(store.read_small("a/b", 300_000).await.unwrap().1, bytes, "a refused create changes nothing");

    // Another version, as long as the first.
    store.put("a/b", Bytes::from(vec![7; 300_000])).await.unwrap();
    let replaced = store.read_span("a/b", &version, Span::new(0, 10).unwrap()).await;
    assert!(matches!(replaced, Err(StoreError::Replaced { .. })), "{replaced:?}");
}

#[tokio::test]
async fn a_folder_holds_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { dir: folder.path().join("new/store"), ..StoreConfig::default() };
    holds_its_contract(&Store::open(&config).unwrap()).await;
}

#[tokio::test]
async fn seaweedfs_holds_the_contract() {
    let Some(weed) = Weed::start() else { return };
    weed.ready().await;
    for prefix in ["", "deep/prefix"] {
        holds_its_contract(&Store::open(&weed.store(prefix)).unwrap()).await;
    }
}

/// Reads ten bytes out of twenty through a store with `fault`, opened before the fault began.
async fn read_through(fault: Fault) -> Result<Bytes, StoreError> {
    let inner = Arc::new(InMemory::new());
    let config = StoreConfig { read_ms: 50, ..StoreConfig::default() };
    let honest = Store::over(inner.clone(), &config);
    honest.put("x", Bytes::from_static(b"01234567890123456789")).await.unwrap();
    let (version, _) = honest.read_head("x", 1).await.unwrap();
    Store::over(Faulty::over(inner, fault), &config).read_span("x", &version, Span::new(5, 15).unwrap()).await
}

#[tokio::test]
async fn a_store_that_lies_yields_an_error_and_never_bytes() {
    for fault in [Fault::ShortBody, Fault::LongBody, Fault::OtherRange] {
        let read = read_through(fault).await;
        assert!(matches!(read, Err(StoreError::Lied { .. })), "{fault:?}: {read:?}");
    }
    let read = read_through(Fault::ChangingTag).await;
    assert!(matches!(read, Err(StoreError::Replaced { .. })), "{read:?}");
    let read = read_through(Fault::GetsHang).await;
    assert!(matches!(read, Err(StoreError::TimedOut { verb: "read", .. })), "{read:?}");
}

#[tokio::test]
async fn a_length_that_lies_is_noticed_when_all_is_read() {
    let store = Store::over(Faulty::in_memory(Fault::OtherLength), &StoreConfig::default());
    store.put("x", Bytes::from_static(b"0123456789")).await.unwrap();
    let read = store.read_small("x", 100).await;
    assert!(matches!(read, Err(StoreError::Lied { .. })), "{read:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let config = StoreConfig { dir: file.join("store"), ..StoreConfig::default() };
    let error = Store::open(&config).unwrap_err();
    assert!(error.to_string().contains("file/store"), "{error}");
}
