//! Where the boxes of a packaged track lie, as the origin tells it; kept in memory, because it never changes.
//!
//! Promises
//! - One request to the origin per asset and epoch, however many listeners ask at once.
//! - A layout is for the asset and epoch that were asked for, or it is an error: never another track's.
//! - Every wait and every answer is bounded; failures are not kept.
//!
//! Does not know: listeners, tiers, tokens.

use crate::config::OriginConfig;
use antiphon_core::{AssetId, Epoch, ObjectPath, Scheme, Secret};
use antiphon_drm::keys::KeyId;
use antiphon_drm::manifest::TrackLayout;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// The layouts of all tracks, as far as they were asked for.
pub struct Layouts {
    client: Client<HttpConnector, Empty<Bytes>>,
    base: String,
    /// Marked sensitive: it does not print.
    authorization: HeaderValue,
    answer: Duration,
    kept: moka::future::Cache<(AssetId, Epoch), Arc<TrackLayout>>,
}

/// Why there is no layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The origin does not serve this asset in this epoch.
    #[error("the origin has no layout of {asset} in epoch {epoch}")]
    Missing {
        /// Which asset.
        asset: AssetId,
        /// Which epoch.
        epoch: Epoch,
    },
    /// The origin answered, but not with a layout.
    #[error("the origin answered {status} to a request for the layout of {asset}")]
    Refused {
        /// Which asset.
        asset: AssetId,
        /// How it answered.
        status: u16,
    },
    /// The origin did not answer in time.
    #[error("the origin did not send the layout of {asset} within {waited:?}")]
    TimedOut {
        /// Which asset.
        asset: AssetId,
        /// How long it had.
        waited: Duration,
    },
    /// The origin cannot be reached, or hung up.
    #[error("ask the origin for the layout of {asset}")]
    Unreachable {
        /// Which asset.
        asset: AssetId,
        /// Why not.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// What came is not the layout that was asked for.
    #[error("the origin sent a layout of {asset} that {what}")]
    Lie {
        /// Which asset.
        asset: AssetId,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The secret cannot be sent in a header.
#[derive(Debug, thiserror::Error)]
#[error("the origin's secret has characters that no header carries")]
pub struct SecretForm;

/// Longest layout, in bytes; seven renditions need about 2 KiB.
pub const LAYOUT_LEN_MAX: usize = 64 * 1024;

const IDLE: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS: usize = 8;

impl Layouts {
    /// Asks the origin at `config.url`, which knows us by `secret`.
    pub fn new(config: &OriginConfig, secret: &Secret) -> Result<Self, SecretForm> {
        let bearer = [b"Bearer ", secret.expose()].concat();
        let mut authorization = HeaderValue::from_bytes(&bearer).map_err(|_| SecretForm)?;
        authorization.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_millis(config.connect_ms.into())));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let kept = moka::future::Cache::builder()
            .max_capacity(config.layouts_kept)
            .time_to_live(Duration::from_secs(config.layout_keep_secs.into()))
            .build();
        let answer = Duration::from_millis(config.answer_ms.into());
        Ok(Self { client, base: config.url.clone(), authorization, answer, kept })
    }

    /// The layout of `asset` in `epoch`, from memory or from the origin.
    pub async fn layout(&self, asset: AssetId, epoch: Epoch) -> Result<Arc<TrackLayout>, Arc<LayoutError>> {
        self.kept.try_get_with((asset, epoch), self.ask(asset, epoch)).await
    }

    async fn ask(&self, asset: AssetId, epoch: Epoch) -> Result<Arc<TrackLayout>, LayoutError> {
        let waited = self.answer;
        match tokio::time::timeout(waited, self.fetch(asset, epoch)).await {
            Ok(layout) => layout.map(Arc::new),
            Err(_) => Err(LayoutError::TimedOut { asset, waited }),
        }
    }

    async fn fetch(&self, asset: AssetId, epoch: Epoch) -> Result<TrackLayout, LayoutError> {
        let unreachable = |cause| LayoutError::Unreachable { asset, cause };
        let url = format!("{}/layout/{}/{epoch}/{asset}.json", self.base, Scheme::Cenc.letter());
        let request = Request::get(url)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .body(Empty::new())
            .map_err(|error| unreachable(error.into()))?;
        let response = self.client.request(request).await.map_err(|error| unreachable(error.into()))?;
        match response.status().as_u16() {
            200 => {}
            404 => return Err(LayoutError::Missing { asset, epoch }),
            status => return Err(LayoutError::Refused { asset, status }),
        }
        let body = Limited::new(response.into_body(), LAYOUT_LEN_MAX).collect().await.map_err(|cause| {
            match cause.is::<LengthLimitError>() {
                true => LayoutError::Lie { asset, what: "is too long" },
                false => unreachable(cause),
            }
        })?;
        let layout: TrackLayout = serde_json::from_slice(&body.to_bytes())
            .map_err(|_| LayoutError::Lie { asset, what: "is no JSON of a layout" })?;
        check(&layout, asset, epoch).map_err(|what| LayoutError::Lie { asset, what })?;
        Ok(layout)
    }
}

/// Holds a layout against what was asked for.
fn check(layout: &TrackLayout, asset: AssetId, epoch: Epoch) -> Result<(), &'static str> {
    if (layout.asset, layout.epoch, layout.scheme) != (asset, epoch, Scheme::Cenc) {
        return Err("is of another asset, epoch or scheme");
    }
    if layout.renditions.is_empty() {
        return Err("lists no rendition");
    }
    if !layout.renditions.is_sorted_by(|a, b| a.rendition.kbps() < b.rendition.kbps()) {
        return Err("does not list renditions by rising bit rate");
    }
    for rendition in &layout.renditions {
        let own = ObjectPath { scheme: Scheme::Cenc, epoch, asset, rendition: rendition.rendition };
        if rendition.path != own.to_string() {
            return Err("names another object");
        }
        if rendition.kid != KeyId::derive(&asset, Scheme::Cenc, rendition.rendition, epoch) {
            return Err("names another key");
        }
    }
    Ok(())
}
