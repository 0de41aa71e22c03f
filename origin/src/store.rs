//! The object store: a folder of this host, or a bucket that speaks S3.
//!
//! Promises
//! - A put is atomic: whoever reads a name finds all of its bytes or no object.
//! - Every read is bounded in bytes and in time, tries included, and is pinned to the version that was opened.
//! - A store that lies (another length, another range, another version, too many bytes) yields
//!   [`StoreError::Lied`], never bytes.
//!
//! Does not know: what objects mean, keys, HTTP answers.

use crate::config::{StoreConfig, StoreKind};
use antiphon_core::Span;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, GetResult, ObjectStore, PutMode, PutOptions,
    PutPayload, RetryConfig,
};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Objects by name, read and written within limits.
#[derive(Clone)]
pub struct Store {
    /// With the short time-outs of a listener who waits.
    reads: Arc<dyn ObjectStore>,
    /// With the long ones of an ingest.
    writes: Arc<dyn ObjectStore>,
    read_wait: Duration,
    write_wait: Duration,
}

/// One version of one object, as it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Bytes of the object.
    pub len: u64,
    /// The store's own tag of these bytes; reads are pinned to it when the store gives one.
    pub tag: Option<String>,
}

/// Whether a conditional put wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The name was free.
    New,
    /// The name was taken; nothing was written.
    Existed,
}

/// Why the store gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object.
    #[error("the store has no {name}")]
    Missing {
        /// Its name.
        name: String,
    },
    /// The object was replaced since it was opened.
    #[error("{name} was replaced while it was read")]
    Replaced {
        /// Its name.
        name: String,
    },
    /// The answer is not what was asked for.
    #[error("the store gave {what} for {name}")]
    Lied {
        /// Object that was asked for.
        name: String,
        /// What came instead.
        what: String,
    },
    /// A small object that is not small.
    #[error("{name} has {len} bytes, more than {max}")]
    TooLarge {
        /// Its name.
        name: String,
        /// Its length.
        len: u64,
        /// Most that is read.
        max: u64,
    },
    /// No answer in time.
    #[error("waited {waited:?} for the store to {verb} {name}")]
    TimedOut {
        /// What was done.
        verb: &'static str,
        /// To which object.
        name: String,
        /// How long.
        waited: Duration,
    },
    /// The store refused or broke.
    #[error("{verb} {name}")]
    Failed {
        /// What was done.
        verb: &'static str,
        /// To which object.
        name: String,
        /// What the store said.
        #[source]
        cause: Box<object_store::Error>,
    },
}

/// Why no store was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made.
    #[error("make the store's folder {}", dir.display())]
    Folder {
        /// The folder.
        dir: std::path::PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The settings do not make a store.
    #[error("open the store")]
    Settings(#[source] object_store::Error),
    /// The secret access key is not there.
    #[error("read the store's secret access key from {}", file.display())]
    SecretFile {
        /// The file.
        file: std::path::PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The secret access key is not one line of text.
    #[error("the store's secret access key in {} is not one line of text", file.display())]
    SecretText {
        /// The file.
        file: std::path::PathBuf,
    },
}

impl Store {
    /// Opens the store that `config` describes; reads the secret access key of an S3 store from its file.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        match config.kind {
            StoreKind::Local => {
                let folder = |cause| OpenError::Folder { dir: config.dir.clone(), cause };
                std::fs::create_dir_all(&config.dir).map_err(folder)?;
                let local = LocalFileSystem::new_with_prefix(&config.dir).map_err(OpenError::Settings)?;
                // A put that returned survives a power cut, as a remote store's would.
                Ok(Self::over(Arc::new(local.with_fsync(true)), config))
            }
            StoreKind::S3 => {
                let secret = read_secret(&config.s3.secret_access_key_file)?;
                let reads = s3(config, &secret, config.read_ms).map_err(OpenError::Settings)?;
                let writes = s3(config, &secret, config.write_ms).map_err(OpenError::Settings)?;
                Ok(Self::of(reads, writes, config))
            }
        }
    }

    /// A store over any [`ObjectStore`], with the time-outs of `config`.
    pub fn over(inner: Arc<dyn ObjectStore>, config: &StoreConfig) -> Self {
        Self::of(Arc::clone(&inner), inner, config)
    }

    fn of(reads: Arc<dyn ObjectStore>, writes: Arc<dyn ObjectStore>, config: &StoreConfig) -> Self {
        Self { reads, writes, read_wait: millis(config.read_ms), write_wait: millis(config.write_ms) }
    }

    /// Puts `bytes` under `name`, in place of what is there.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.write(name, bytes, PutMode::Overwrite).await
    }

    /// Puts `bytes` under `name` if nothing is there.
    pub async fn create(&self, name: &str, bytes: Bytes) -> Result<Created, StoreError> {
        match self.write(name, bytes, PutMode::Create).await {
            Ok(()) => Ok(Created::New),
            Err(StoreError::Failed { cause, .. }) if is_taken(&cause) => Ok(Created::Existed),
            Err(error) => Err(error),
        }
    }

    /// The whole of a small object of at most `max` bytes.
    pub async fn read_small(&self, name: &str, max: u64) -> Result<(Version, Bytes), StoreError> {
        self.timed("read", name, self.read_wait, async {
            let result = self.get(name, GetOptions::new()).await?;
            let version = version_of(&result);
            if version.len > max {
                return Err(StoreError::TooLarge { name: name.to_owned(), len: version.len, max });
            }
            let whole = 0..version.len;
            let bytes = collect(name, result, whole).await?;
            Ok((version, bytes))
        })
        .await
    }

    /// The first bytes of an object, `count` of them or all if it is shorter, and the version they belong to.
    pub async fn read_head(&self, name: &str, count: u64) -> Result<(Version, Bytes), StoreError> {
        self.timed("read", name, self.read_wait, async {
            let options = GetOptions::new().with_range(Some(GetRange::Bounded(0..count)));
            let result = self.get(name, options).await?;
            let version = version_of(&result);
            let want = 0..count.min(version.len);
            let bytes = collect(name, result, want).await?;
            Ok((version, bytes))
        })
        .await
    }

    /// Exactly the bytes `span` of the `version` of an object that was opened before.
    pub async fn read_span(&self, name: &str, version: &Version, span: Span) -> Result<Bytes, StoreError> {
        self.timed("read", name, self.read_wait, async {
            let range = span.start()..span.end();
            let options = GetOptions::new()
                .with_range(Some(GetRange::Bounded(range.clone())))
                .with_if_match(version.tag.clone());
            let result = self.get(name, options).await?;
            if version_of(&result) != *version {
                return Err(StoreError::Replaced { name: name.to_owned() });
            }
            collect(name, result, range).await
        })
        .await
    }

    /// Whether the store answers at all: a missing probe object is an answer.
    pub async fn probe(&self) -> Result<(), StoreError> {
        match self.read_head("probe", 1).await {
            Ok(_) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, name: &str, options: GetOptions) -> Result<GetResult, StoreError> {
        self.reads.get_opts(&Path::from(name), options).await.map_err(|cause| failed("read", name, cause))
    }

    async fn write(&self, name: &str, bytes: Bytes, mode: PutMode) -> Result<(), StoreError> {
        self.timed("write", name, self.write_wait, async {
            let options = PutOptions { mode, ..PutOptions::default() };
            let put = self.writes.put_opts(&Path::from(name), PutPayload::from_bytes(bytes), options).await;
            put.map(drop).map_err(|cause| failed("write", name, cause))
        })
        .await
    }

    async fn timed<T>(
        &self,
        verb: &'static str,
        name: &str,
        waited: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let late = |_| StoreError::TimedOut { verb, name: name.to_owned(), waited };
        tokio::time::timeout(waited, work).await.map_err(late)?
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.reads)
    }
}

/// Gathers a body that must be exactly the bytes `want`.
async fn collect(name: &str, result: GetResult, want: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
    let lied = |what: String| StoreError::Lied { name: name.to_owned(), what };
    if result.range != want {
        return Err(lied(format!("bytes {:?} of the {want:?} asked", result.range)));
    }
    let len =
        usize::try_from(want.end - want.start).map_err(|_| lied("more bytes than fit in memory".into()))?;
    let mut body = result.into_stream();
    let mut gathered = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|cause| failed("read", name, cause))?;
        if gathered.is_empty() && piece.len() == len {
            // The common case of one piece is not copied; a further piece is still noticed.
            return match body.next().await {
                None => Ok(piece),
                Some(Ok(more)) if more.is_empty() => Ok(piece),
                Some(Ok(_)) => Err(lied(format!("more than the {len} bytes asked"))),
                Some(Err(cause)) => Err(failed("read", name, cause)),
            };
        }
        if gathered.len() + piece.len() > len {
            return Err(lied(format!("more than the {len} bytes asked")));
        }
        gathered.reserve(len - gathered.len());
        gathered.extend_from_slice(&piece);
    }
    if gathered.len() != len {
        return Err(lied(format!("{} of the {len} bytes asked", gathered.len())));
    }
    Ok(gathered.freeze())
}

fn version_of(result: &GetResult) -> Version {
    Version { len: result.meta.size, tag: result.meta.e_tag.clone() }
}

fn failed(verb: &'static str, name: &str, cause: object_store::Error) -> StoreError {
    let name = name.to_owned();
    match cause {
        object_store::Error::NotFound { .. } => StoreError::Missing { name },
        object_store::Error::Precondition { .. } if verb == "read" => StoreError::Replaced { name },
        cause => StoreError::Failed { verb, name, cause: Box::new(cause) },
    }
}

/// Whether a conditional put was refused because the name is taken.
fn is_taken(cause: &object_store::Error) -> bool {
    matches!(cause, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
}

/// A client of the bucket whose single requests end within `wait_ms`, tries included.
fn s3(config: &StoreConfig, secret: &str, wait_ms: u32) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    let client = ClientOptions::new()
        .with_connect_timeout(millis(config.connect_ms))
        .with_timeout(millis(wait_ms))
        .with_allow_http(config.s3.is_loopback());
    let backoff = BackoffConfig { init_backoff: millis(50), max_backoff: millis(400), base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: config.retries as usize, retry_timeout: millis(wait_ms) };
    let bucket = AmazonS3Builder::new()
        .with_endpoint(&config.s3.endpoint)
        .with_region(&config.s3.region)
        .with_bucket_name(&config.s3.bucket)
        .with_access_key_id(&config.s3.access_key_id)
        .with_secret_access_key(secret)
        .with_client_options(client)
        .with_retry(retry)
        .build()?;
    Ok(match config.s3.prefix.as_str() {
        "" => Arc::new(bucket),
        prefix => Arc::new(PrefixStore::new(bucket, Path::from(prefix))),
    })
}

/// One line, the store's alphabet: S3 secrets may be shorter than ours.
fn read_secret(file: &std::path::Path) -> Result<Zeroizing<String>, OpenError> {
    let read = std::fs::read_to_string(file).map(Zeroizing::new);
    let text = read.map_err(|cause| OpenError::SecretFile { file: file.to_owned(), cause })?;
    let line = text.trim_end_matches(['\r', '\n']);
    let plain = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_graphic());
    plain
        .then(|| Zeroizing::new(line.to_owned()))
        .ok_or_else(|| OpenError::SecretText { file: file.to_owned() })
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}
