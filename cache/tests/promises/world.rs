//! An upstream of made-up objects, and a cache in front of it.

use antiphon_cache::disk::set::{Disks, OpenMedium};
use antiphon_cache::{
    Answer as Said, Body, FetchError, Freshness, ObjMeta, ObjName, Purge, PurgeManner, RamConfig, RangeCache,
    RangeReply, Source, Upstream, UpstreamError, UpstreamReply, Want,
};
use antiphon_core::{ByteSize, Clock, RangeSpec, Span, UnixTime};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

pub const CHUNK: u64 = antiphon_core::CHUNK_LEN;
const PIECE: usize = 16 * 1024;

/// What goes wrong with one fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; for scripts that fail later.
    None,
    /// The connection breaks after so many bytes.
    DiesAfter(u64),
    /// The body ends in good order after so many bytes.
    EndsAfter(u64),
    /// One byte more than promised.
    OneTooMany,
    /// The digest is that of other bytes.
    WrongDigest,
    /// The bytes of the range shifted by one chunk.
    WrongSpan,
    /// No answer at all.
    Silent,
    /// No bytes after so many.
    StallsAfter(u64),
    /// A status.
    Status(u16),
    /// The implementation has a fault of its own.
    Panics,
}

struct Object {
    version: u32,
    bytes: Bytes,
    terms: Terms,
}

/// How long an object holds, in seconds from when it is asked for, and what it is tagged with.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// `None` for ever.
    pub fresh: Option<u64>,
    pub while_revalidate: u64,
    pub if_error: u64,
    pub tags: Vec<String>,
    /// Nothing may be kept.
    pub no_store: bool,
}

/// The scripted upstream.
pub struct Script {
    objects: Mutex<HashMap<String, Object>>,
    faults: Mutex<VecDeque<Fault>>,
    fetches: Mutex<Vec<Want>>,
    /// How many bytes of each body may pass; the head passes from 0 on, and nothing before the gate is set.
    gate: watch::Sender<Option<u64>>,
    digests: bool,
    /// Answers with all of it, whatever the range.
    knows_no_ranges: AtomicBool,
    /// Whether a chunk may be sent twice at a time: only to those who asked before and after a purge.
    lenient: AtomicBool,
    running: Arc<Running>,
    clock: Arc<AtomicU64>,
}

/// Which chunks of which versions are being sent just now; no chunk may be in here twice.
#[derive(Default)]
struct Running(Mutex<HashSet<(String, u32, u32)>>);

/// Takes the chunks of one body out again when the body is dropped.
struct Sending {
    running: Arc<Running>,
    chunks: Vec<(String, u32, u32)>,
}

impl Sending {
    fn begin(running: &Arc<Running>, name: &str, version: u32, span: Span) -> Self {
        let chunks: Vec<_> =
            antiphon_core::chunk::touched(span).map(|no| (name.to_owned(), version, no)).collect();
        let mut all = running.0.lock().unwrap();
        for chunk in &chunks {
            assert!(all.insert(chunk.clone()), "{chunk:?} is fetched twice at a time");
        }
        Self { running: Arc::clone(running), chunks }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Ok(mut all) = self.running.0.lock() {
            self.chunks.iter().for_each(|chunk| {
                all.remove(chunk);
            });
        }
    }
}

pub struct World {
    pub upstream: Arc<Script>,
    pub cache: RangeCache,
    clock: Arc<AtomicU64>,
    config: RamConfig,
}

/// Where every world's clock starts.
const START: u64 = 1_000_000;

/// Bytes that differ between any two versions and objects, and from place to place.
pub fn content(name: &str, version: u32, len: u64) -> Bytes {
    let mut state = name
        .bytes()
        .fold(u64::from(version) + 1, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while (bytes.len() as u64) < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes.into()
}

pub fn etag(version: u32) -> String {
    format!("\"v{version}\"")
}

impl Script {
    pub fn put(&self, name: &str, version: u32, len: u64) {
        self.put_on(name, version, len, Terms::default());
    }

    pub fn put_on(&self, name: &str, version: u32, len: u64, terms: Terms) {
        let object = Object { version, bytes: content(name, version, len), terms };
        self.objects.lock().unwrap().insert(name.into(), object);
    }

    pub fn remove(&self, name: &str) {
        self.objects.lock().unwrap().remove(name);
    }

    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// All requests so far.
    pub fn fetches(&self) -> Vec<Want> {
        self.fetches.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.fetches.lock().unwrap().len()
    }

    /// Holds all answers back.
    pub fn close(&self) {
        self.gate.send_replace(None);
    }

    /// Lets heads and the first `bytes` of each body pass.
    pub fn let_pass(&self, bytes: u64) {
        self.gate.send_replace(Some(bytes));
    }

    pub fn forget_ranges(&self) {
        self.knows_no_ranges.store(true, Ordering::Relaxed);
    }

    pub fn allow_twice(&self) {
        self.lenient.store(true, Ordering::Relaxed);
    }

    fn describe(&self, object: &Object) -> ObjMeta {
        let mut meta = ObjMeta::new(object.bytes.len() as u64, Some(etag(object.version)));
        meta.content_type = Some("audio/mp4".into());
        let terms = &object.terms;
        meta.tags = terms.tags.clone();
        if let Some(secs) = terms.fresh {
            meta.fresh_until = UnixTime(self.clock.load(Ordering::Relaxed)).plus(secs);
            meta.stale_while_revalidate_until = meta.fresh_until.plus(terms.while_revalidate);
            meta.stale_if_error_until = meta.fresh_until.plus(terms.if_error);
        }
        if terms.no_store {
            meta.fresh_until = UnixTime(0);
        }
        meta
    }

    fn reply(
        &self,
        name: &ObjName,
        want: Want,
        known: Option<&ObjMeta>,
        fault: Fault,
    ) -> Result<Said, UpstreamError> {
        let objects = self.objects.lock().unwrap();
        let object = objects.get(name.as_str()).ok_or(UpstreamError::Missing)?;
        let len = object.bytes.len() as u64;
        let meta = self.describe(object);
        if known.is_some_and(|known| known.etag == meta.etag) {
            return Ok(Said::NotModified(meta));
        }
        let mut span = match want {
            Want::Head => None,
            Want::Range(_) if self.knows_no_ranges.load(Ordering::Relaxed) => Span::whole(len),
            Want::Range(spec) => spec.resolve(len),
            Want::Whole => Span::whole(len),
        };
        if fault == Fault::WrongSpan {
            span = span.and_then(|span| Span::new(span.start() + CHUNK, span.end() + CHUNK));
        }
        let Some(span) = span else {
            let body = stream::empty().boxed();
            return Ok(Said::Found(UpstreamReply { meta, span: None, digest: None, body }));
        };
        let mut bytes = object.bytes.slice((span.start().min(len)) as usize..(span.end().min(len)) as usize);
        if fault == Fault::OneTooMany {
            bytes = [&bytes[..], b"!"].concat().into();
        }
        let mut digest: [u8; 32] = Sha256::digest(&bytes).into();
        if fault == Fault::WrongDigest {
            digest[0] ^= 1;
        }
        let digest = (self.digests || fault == Fault::WrongDigest).then_some(digest);
        // From the first bytes on: an answer in another version than asked for is dropped by its head, and may
        // cross one that was asked for in the new version.
        let (running, name, version) = (Arc::clone(&self.running), name.as_str().to_owned(), object.version);
        let mut sending = None;
        let strict = !self.lenient.load(Ordering::Relaxed);
        let body = body(bytes, fault, self.gate.subscribe()).inspect(move |_| {
            if strict {
                sending.get_or_insert_with(|| Sending::begin(&running, &name, version, span));
            }
        });
        Ok(Said::Found(UpstreamReply { meta, span: Some(span), digest, body: body.boxed() }))
    }
}

/// The bytes in pieces, each as soon as the gate lets it pass, until the fault strikes.
fn body(
    bytes: Bytes,
    fault: Fault,
    gate: watch::Receiver<Option<u64>>,
) -> BoxStream<'static, Result<Bytes, UpstreamError>> {
    let strikes_at = match fault {
        Fault::DiesAfter(at) | Fault::EndsAfter(at) | Fault::StallsAfter(at) => at as usize,
        _ => usize::MAX,
    };
    stream::unfold((bytes, gate, 0_usize), move |(bytes, mut gate, at)| async move {
        if at >= strikes_at {
            return match fault {
                Fault::DiesAfter(_) => Some((Err(broken()), (Bytes::new(), gate, at))),
                Fault::StallsAfter(_) => std::future::pending().await,
                _ => None,
            };
        }
        let end = (at + PIECE).min(bytes.len()).min(strikes_at);
        if at == end {
            return None;
        }
        let passes = |open: &Option<u64>| open.is_some_and(|open| open >= end as u64);
        let open = gate.wait_for(passes).await.is_ok();
        open.then(|| (Ok(bytes.slice(at..end)), (bytes, gate, end)))
    })
    .boxed()
}

pub fn broken() -> UpstreamError {
    UpstreamError::Unreachable { cause: Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)) }
}

#[async_trait::async_trait]
impl Upstream for Script {
    async fn fetch(
        &self,
        object: &ObjName,
        want: Want,
        known: Option<&ObjMeta>,
    ) -> Result<Said, UpstreamError> {
        self.fetches.lock().unwrap().push(want);
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        let _ = self.gate.subscribe().wait_for(Option::is_some).await;
        match fault {
            Fault::Silent => std::future::pending().await,
            Fault::Panics => panic!("as scripted"),
            Fault::Status(410) => Err(UpstreamError::Gone),
            Fault::Status(status) => Err(UpstreamError::Refused { status }),
            _ => self.reply(object, want, known, fault),
        }
    }
}

fn open(
    config: &RamConfig,
    media: Box<OpenMedium>,
    upstream: &Arc<Script>,
    clock: &Arc<AtomicU64>,
) -> RangeCache {
    let runtime = tokio::runtime::Handle::current();
    let tells = Arc::clone(clock);
    let now: Arc<dyn Clock> = Arc::new(move || UnixTime(tells.load(Ordering::Relaxed)));
    let disks = Disks::open_on(&config.volumes, media, Arc::clone(&now), &runtime, 1).unwrap();
    RangeCache::over(disks, config, Arc::clone(upstream) as Arc<dyn Upstream>, runtime, now).unwrap()
}

impl World {
    pub fn new() -> Self {
        Self::with(RamConfig { capacity_bytes: ByteSize::mib(64), ..RamConfig::default() }, true)
    }

    pub fn with(config: RamConfig, digests: bool) -> Self {
        Self::over(config, digests, Box::new(|_, _| Err("there are no volumes".into())))
    }

    /// A world whose volumes are on these media.
    pub fn over(config: RamConfig, digests: bool, media: Box<OpenMedium>) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let upstream = Arc::new(Script {
            objects: Mutex::default(),
            faults: Mutex::default(),
            fetches: Mutex::default(),
            gate: watch::Sender::new(Some(u64::MAX)),
            digests,
            knows_no_ranges: AtomicBool::new(false),
            lenient: AtomicBool::new(false),
            running: Arc::default(),
            clock: Arc::clone(&clock),
        });
        let cache = open(&config, media, &upstream, &clock);
        Self { upstream, cache, clock, config }
    }

    /// The same world after the node went down and came up again, its volumes on these media.
    pub fn reborn(&self, media: Box<OpenMedium>) -> Self {
        let (upstream, clock, config) =
            (Arc::clone(&self.upstream), Arc::clone(&self.clock), self.config.clone());
        let cache = open(&config, media, &upstream, &clock);
        Self { upstream, cache, clock, config }
    }

    /// Lets time pass.
    pub fn pass(&self, secs: u64) {
        self.clock.fetch_add(secs, Ordering::Relaxed);
    }

    pub async fn purge(&self, purge: Purge, manner: PurgeManner) {
        self.cache.purge(&purge, manner).await.unwrap();
    }

    /// Lets all tasks that can run do so.
    pub async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// A world with one object, `/a` in version 1.
    pub fn holding(len: u64) -> Self {
        let world = Self::new();
        world.upstream.put("/a", 1, len);
        world
    }

    pub async fn get(&self, range: Option<RangeSpec>) -> Result<RangeReply, FetchError> {
        self.cache.get(&ObjName::new("/a"), range).await
    }

    /// The whole answer to a range of `/a`.
    pub async fn read(&self, range: Option<RangeSpec>) -> Result<Answer, FetchError> {
        Answer::of(self.get(range).await?).await
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub etag: String,
    pub span: Option<Span>,
    pub source: Source,
    pub freshness: Freshness,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub async fn of(reply: RangeReply) -> Result<Self, FetchError> {
        match reply {
            RangeReply::Unsatisfiable { meta } => Ok(Self {
                etag: meta.etag.clone().unwrap(),
                span: None,
                source: Source::Ram,
                freshness: Freshness::Fresh,
                bytes: Vec::new(),
            }),
            RangeReply::Granted { meta, span, source, freshness, mut body } => {
                let bytes = drain(&mut body).await?;
                assert_eq!(bytes.len() as u64, span.map_or(0, Span::len), "an answer is as long as it says");
                Ok(Self { etag: meta.etag.clone().unwrap(), span, source, freshness, bytes })
            }
        }
    }

    /// Whether these are the bytes of that version, at the right place.
    pub fn is_of(&self, name: &str, version: u32, len: u64) -> bool {
        let whole = content(name, version, len);
        let Some(span) = self.span else { return self.bytes.is_empty() };
        self.etag == etag(version) && self.bytes[..] == whole[span.start() as usize..span.end() as usize]
    }
}

/// The rest of a body; an error ends it for good.
pub async fn drain(body: &mut Body) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    while let Some(item) = body.next().await {
        match item {
            Ok((item, _)) => {
                assert!(!item.is_empty() && item.len() as u64 <= CHUNK, "an item is at most one chunk");
                bytes.extend_from_slice(&item);
            }
            Err(error) => {
                assert!(body.next().await.is_none(), "nothing follows an error");
                return Err(error);
            }
        }
    }
    Ok(bytes)
}

pub fn between(first: u64, last: u64) -> Option<RangeSpec> {
    Some(RangeSpec::Between { first, last })
}

/// The body of an answer that has some.
pub fn body_of(reply: RangeReply) -> (Source, Body) {
    match reply {
        RangeReply::Granted { source, body, .. } => (source, body),
        RangeReply::Unsatisfiable { .. } => panic!("the range fits the object"),
    }
}
