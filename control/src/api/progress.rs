//! `POST /api/v1/stream/progress`: how far a play has come; heard for 30 s, it counts once.

use crate::app::App;
use crate::body;
use crate::state::Progress;
use crate::verdict::Failure;
use antiphon_core::{SessionId, SongId};
use axum::extract::{Request, State};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressRequest {
    session_id: SessionId,
    song_id: SongId,
    /// Seconds.
    position: f64,
    /// Seconds since the play began.
    duration_played: f64,
    #[serde(default)]
    buffering_events: u32,
    #[serde(default)]
    quality_switches: u32,
}

/// Longest position or time that a player may report, seconds: a week of one song on repeat.
pub const SECONDS_MAX: f64 = 604_800.0;

pub(super) async fn report(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, Failure> {
    let (parts, content) = request.into_parts();
    let now = app.now();
    let listener = app.listener(&parts.headers, now)?;
    let told: ProgressRequest = body::json(&parts.headers, content, app.body).await?;
    let report = Progress {
        session: told.session_id,
        song: told.song_id,
        position_ms: millis(told.position)
            .ok_or(Failure::Field("position is a number of seconds, at most a week"))?,
        heard_ms: millis(told.duration_played)
            .ok_or(Failure::Field("duration_played is a number of seconds, at most a week"))?,
        buffering_events: told.buffering_events,
        quality_switches: told.quality_switches,
    };
    if app.state.report(listener.id(), &report, now).await? {
        app.metrics.play_counted();
        tracing::info!(target: "decision", listener = %listener.id(), session = %report.session, song = %report.song, "play counted");
    }
    Ok(StatusCode::NO_CONTENT)
}

fn millis(seconds: f64) -> Option<u64> {
    // In range, so the conversion loses fractions of milliseconds only.
    (0.0..=SECONDS_MAX).contains(&seconds).then_some((seconds * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_limits() {
        assert_eq!(millis(0.0), Some(0));
        assert_eq!(millis(45.25), Some(45_250));
        assert_eq!(millis(SECONDS_MAX), Some(604_800_000));
        for odd in [-0.001, SECONDS_MAX + 0.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(millis(odd), None, "{odd}");
        }
    }
}
