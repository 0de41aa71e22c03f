//! `POST /api/v1/stream/play`: a listener's wish becomes a session, a stream URL and an entitlement.

use super::fresh_json;
use crate::app::App;
use crate::body;
use crate::catalogue::Song;
use crate::entitlement::Entitlement;
use crate::issuer::Listener;
use crate::jwt::JwtError;
use crate::keys::session_name;
use crate::policy::{self, Grant};
use crate::state::NewSession;
use crate::verdict::Failure;
use antiphon_core::{
    DeviceId, Epoch, Gapless, Loudness, ObjectPath, Quality, Rendition, Scheme, SessionId, SongId, UnixTime,
};
use antiphon_drm::keys::epoch_at;
use antiphon_drm::token;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlayRequest {
    song_id: SongId,
    quality: Quality,
    device_id: DeviceId,
}

#[derive(Serialize)]
struct PlayAnswer {
    stream_url: String,
    /// RFC 3339.
    expires_at: String,
    /// kbit/s of the rendition that `stream_url` names.
    bitrate: u32,
    format: &'static str,
    /// Whole seconds, as in the seed.
    duration: u64,
    duration_ms: u64,
    session_id: SessionId,
    drm_token: String,
    manifest_url: String,
    license_url: String,
    loudness: Option<Loudness>,
    gapless: Gapless,
}

/// Assets whose keys were changed out of turn would count here; none can be yet.
const EPOCH_BUMP: u32 = 0;
const MILLIS: u64 = 1000;

pub(super) async fn play(State(app): State<Arc<App>>, request: Request) -> Result<Response, Failure> {
    let (parts, content) = request.into_parts();
    let now = app.now();
    let listener = app.listener(&parts.headers, now)?;
    let wish: PlayRequest = body::json(&parts.headers, content, app.body).await?;
    let song = app.state.song(&wish.song_id).await?.ok_or(Failure::UnknownSong(wish.song_id))?;
    let grant = policy::grant(listener.tier(), wish.quality, &song.renditions, now, app.play_secs)?;
    let play = Play::begin(&listener, wish.device_id, song, grant, now)?;
    let answer = play.answer(&app)?;
    app.state.begin_session(&play.session()).await?;
    app.metrics.play_granted(listener.tier());
    let (listener, session, song) = (listener.id(), &play.session, &play.song.song_id);
    tracing::info!(target: "decision", %listener, %session, %song, device = %play.device, kbps = answer.bitrate, "play granted");
    fresh_json(&answer)
}

/// One play, granted.
struct Play {
    listener: Listener,
    device: DeviceId,
    song: Song,
    grant: Grant,
    session: SessionId,
    epoch: Epoch,
    began: UnixTime,
}

impl Play {
    fn begin(
        listener: &Listener,
        device: DeviceId,
        song: Song,
        grant: Grant,
        now: UnixTime,
    ) -> Result<Self, Failure> {
        let session = session_name().parse().map_err(|_| Failure::Defect("a session's name"))?;
        let epoch = epoch_at(&song.asset, now, EPOCH_BUMP);
        Ok(Self { listener: listener.clone(), device, song, grant, session, epoch, began: now })
    }

    fn session(&self) -> NewSession {
        NewSession {
            session: self.session.clone(),
            listener: self.listener.id().clone(),
            device: self.device.clone(),
            song: self.song.song_id.clone(),
            asset: self.song.asset,
            epoch: self.epoch,
            max_kbps: self.grant.max_kbps,
            started: self.began,
            expires: self.grant.expires,
        }
    }

    fn entitlement(&self) -> Entitlement {
        Entitlement {
            listener: self.listener.id().clone(),
            device: self.device.clone(),
            session: self.session.clone(),
            song: self.song.song_id.clone(),
            asset: self.song.asset,
            epoch: self.epoch,
            renditions: self.grant.renditions.clone(),
            max_kbps: self.grant.max_kbps,
            expires: self.grant.expires,
        }
    }

    fn answer(&self, app: &App) -> Result<PlayAnswer, Failure> {
        let entitlement = self.entitlement();
        let path = ObjectPath {
            scheme: Scheme::Cenc,
            epoch: self.epoch,
            asset: self.song.asset,
            rendition: self.grant.rendition,
        };
        let st = stream_token(app, &entitlement, self.began)?;
        let drm_token = app.entitlements.sign(entitlement, self.began).map_err(Failure::Mint)?;
        let (public, session, asset) = (&app.public_url, &self.session, &self.song.asset);
        Ok(PlayAnswer {
            stream_url: format!("{}{path}?st={st}", app.edge_url),
            expires_at: rfc3339(self.grant.expires)?,
            bitrate: self.grant.rendition.kbps(),
            format: format_name(self.grant.rendition),
            duration: (self.song.duration_ms + MILLIS / 2) / MILLIS,
            duration_ms: self.song.duration_ms,
            session_id: session.clone(),
            manifest_url: format!("{public}/m/{session}/{asset}.mpd?st={drm_token}"),
            license_url: licence_url(app),
            drm_token,
            loudness: self.song.loudness,
            gapless: self.song.gapless,
        })
    }
}

/// Where licences are asked for.
pub(super) fn licence_url(app: &App) -> String {
    format!("{}/api/v1/drm/license", app.public_url)
}

/// A stream token for every rendition of the entitled asset up to the tier's bit rate, until the play ends.
pub(super) fn stream_token(app: &App, entitlement: &Entitlement, now: UnixTime) -> Result<String, Failure> {
    let Entitlement { listener, device, session, asset, epoch, max_kbps, expires, .. } = entitlement;
    if *expires <= now {
        // Within the leeway of the clocks; a stream token has its own and would be dead on arrival.
        return Err(Failure::Token(JwtError::Expired));
    }
    let folder = format!("/a/{}/{epoch}/{asset}/", Scheme::Cenc.letter());
    let grant = token::Grant {
        path_scope: Some(format!("{folder}*")),
        listener: Some(listener.clone()),
        session: Some(session.clone()),
        device: Some(device.clone()),
        max_kbps: Some(*max_kbps),
        ..token::Grant::until(*expires)
    };
    grant.sign(&app.keys.ring().url_keys, &folder, now).map_err(Failure::Stream)
}

fn rfc3339(time: UnixTime) -> Result<String, Failure> {
    let seconds = i64::try_from(time.0).map_err(|_| Failure::Defect("a moment"))?;
    let moment = jiff::Timestamp::from_second(seconds).map_err(|_| Failure::Defect("a moment"))?;
    Ok(moment.to_string())
}

/// The codec's name in the seed's `format`.
fn format_name(rendition: Rendition) -> &'static str {
    match rendition {
        Rendition::Aac64 | Rendition::Aac128 | Rendition::Aac256 | Rendition::Aac320 => "aac",
        Rendition::Opus96 | Rendition::Opus160 => "opus",
        Rendition::Flac => "flac",
    }
}
