//! Stores that misbehave.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Puts fail after this many.
    PutsFailAfter(usize),
    /// Puts never end after this many.
    PutsHangAfter(usize),
    /// Bodies miss their last byte.
    ShortBody,
    /// Bodies have a byte too many.
    LongBody,
    /// Answers tell of another range.
    OtherRange,
    /// Every answer has a tag of its own, and conditions are not looked at.
    ChangingTag,
    /// Objects seem longer than they are.
    OtherLength,
    /// Gets never end.
    GetsHang,
}

/// A store in front of another one.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    count: AtomicUsize,
}

impl Faulty {
    pub fn over(inner: Arc<dyn ObjectStore>, fault: Fault) -> Arc<Self> {
        Arc::new(Self { inner, fault, count: AtomicUsize::new(0) })
    }

    pub fn in_memory(fault: Fault) -> Arc<Self> {
        Self::over(Arc::new(InMemory::new()), fault)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?})", self.fault)
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "the plug was pulled".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::PutsFailAfter(many) if before >= many => Err(broken()),
            Fault::PutsHangAfter(many) if before >= many => std::future::pending().await,
            _ => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        if self.fault == Fault::GetsHang {
            return std::future::pending().await;
        }
        if self.fault == Fault::ChangingTag {
            options.if_match = None;
        }
        let mut result = self.inner.get_opts(location, options).await?;
        match self.fault {
            Fault::OtherRange => result.range = result.range.start + 1..result.range.end + 1,
            Fault::OtherLength => result.meta.size += 1,
            Fault::ChangingTag => {
                let number = self.count.fetch_add(1, Ordering::Relaxed);
                result.meta.e_tag = Some(format!("\"changed-{number}\""));
            }
            _ => {}
        }
        let (meta, range, attributes, extensions) =
            (result.meta.clone(), result.range.clone(), result.attributes.clone(), result.extensions.clone());
        let mut bytes = result.bytes().await?;
        match self.fault {
            Fault::ShortBody => bytes.truncate(bytes.len() - 1),
            Fault::LongBody => bytes = Bytes::from([&bytes[..], b"!"].concat()),
            _ => {}
        }
        // In two pieces, as a network would.
        let rest = bytes.split_off(bytes.len() / 2);
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes), Ok(rest)]).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(broken())
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        async { Err(broken()) }.into_stream().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(broken())
    }
}
