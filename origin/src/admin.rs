//! The operators' listener: is it alive, can it serve, what did it count.
//!
//! Promises
//! - `/healthz` answers whenever the process does; `/readyz` only when the store answers and the masters of the
//!   present epochs are there; no answer tells a secret.
//!
//! Does not know: objects, edges.

use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::shelf::Shelf;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// What the listener looks at.
pub(crate) struct Admin {
    /// Whose store must answer.
    pub shelf: Arc<Shelf>,
    /// Whose masters must be there.
    pub keys: Arc<Keys>,
    /// What is shown.
    pub metrics: Arc<Metrics>,
}

/// The application that the operators' listener runs.
pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let missing = admin.keys.missing_epochs();
    if !missing.is_empty() {
        let epochs: Vec<_> = missing.iter().map(ToString::to_string).collect();
        return crate::verdict::not_ready(&format!("the key ring lacks epochs {}", epochs.join(", ")));
    }
    let to_make = admin.keys.epochs_to_make();
    if !to_make.is_empty() {
        tracing::warn!(epochs = ?to_make, "the key ring ends within weeks: run antiphon keys extend");
    }
    match admin.shelf.store().probe().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "probe the store");
            crate::verdict::not_ready("the store does not answer")
        }
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.render()).into_response()
}
