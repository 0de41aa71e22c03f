//! The delivery core: one question, one answer.
//!
//! Promises
//! - The same request gets the same answer on every protocol.
//! - Nothing is read from the cache or the origin before [`crate::decide`] has granted it.
//! - On a memory hit nothing is awaited and no future is boxed.
//!
//! Does not know: sockets, sessions, how bytes are written.

use crate::account::Account;
use crate::decide::{Decision, Rules, decide};
use crate::deliver::deliver;
use crate::limits::Connections;
use crate::metrics::Metrics;
use crate::reply::Reply;
use crate::request::{Proto, Req};
use crate::verdict::{Refusal, Verdict};
use antiphon_cache::RangeCache;
use antiphon_core::{Clock, UnixTime};
use antiphon_drm::token::UrlKeys;
use arc_swap::ArcSwap;
use http::{HeaderValue, Method};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Everything an answer is made of. Shared by all fronts.
pub struct Edge {
    pub(crate) cache: RangeCache,
    pub(crate) keys: ArcSwap<UrlKeys>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) rules: Rules,
    /// `Date` of the second it was made in, so that it is formatted once a second and not once a request.
    date: ArcSwap<(UnixTime, HeaderValue)>,
}

impl Edge {
    /// Puts the parts together.
    pub fn new(
        cache: RangeCache,
        keys: UrlKeys,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        connections: Arc<Connections>,
        rules: Rules,
    ) -> Self {
        let now = clock.now();
        Self {
            cache,
            keys: ArcSwap::from_pointee(keys),
            metrics,
            connections,
            rules,
            date: ArcSwap::from_pointee((now, http_date(now))),
            clock,
        }
    }

    /// Answers one request. Resolves when the answer can begin: its head is final and its first bytes are
    /// there.
    pub async fn serve(&self, request: Req<'_>) -> Reply {
        let mut account = self.account(request.proto, Some(request.method.clone()));
        let keys = self.keys.load();
        match decide(&request, &self.rules, &keys, self.clock.now()) {
            Ok(Decision::Play(play)) => {
                drop(keys);
                account.object(play.name.clone(), play.token);
                deliver(self, &play.wish, play.name, account).await
            }
            Ok(Decision::Preflight) => crate::verdict::preflight(account),
            Err(refusal) => refused(account, &refusal),
        }
    }

    /// Answers what a front could not read as a request.
    pub fn refuse(&self, proto: Proto, refusal: &Refusal) -> Reply {
        refused(self.account(proto, None), refusal)
    }

    /// From now on tokens are held against these keys.
    pub fn replace_keys(&self, keys: UrlKeys) {
        self.keys.store(Arc::new(keys));
    }

    /// The `Date` field of this second, for fronts whose protocol library does not add one.
    pub fn date(&self) -> HeaderValue {
        let now = self.clock.now();
        let cached = self.date.load();
        if cached.0 == now {
            return cached.1.clone();
        }
        let fresh = http_date(now);
        self.date.store(Arc::new((now, fresh.clone())));
        fresh
    }

    /// Who is connected.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The cache behind the answers.
    pub fn cache(&self) -> &RangeCache {
        &self.cache
    }

    fn account(&self, proto: Proto, method: Option<Method>) -> Account {
        Account::open(Arc::clone(&self.metrics), Arc::clone(&self.clock), proto, method)
    }
}

/// The answer to a request that is not granted.
pub(crate) fn refused(mut account: Account, refusal: &Refusal) -> Reply {
    account.refused(refusal.reason());
    Verdict::of_refusal(refusal).reply(account)
}

/// IMF-fixdate (RFC 9110 §5.6.7).
fn http_date(now: UnixTime) -> HeaderValue {
    // Years past 9999 have no such date; a clock that far off is shown as the epoch.
    const LAST: u64 = 253_402_300_799;
    let secs = if now.0 > LAST { 0 } else { now.0 };
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}
