//! The tables of devices, sessions and plays.

use super::{State, StateError, millis, whole};
use antiphon_core::ids::ListenerId;
use antiphon_core::{AssetId, DeviceId, Epoch, SessionId, SongId, UnixTime};

/// One play, as it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Its name.
    pub session: SessionId,
    /// Who plays.
    pub listener: ListenerId,
    /// On what.
    pub device: DeviceId,
    /// Which song.
    pub song: SongId,
    /// Which recording of it.
    pub asset: AssetId,
    /// Under whose keys.
    pub epoch: Epoch,
    /// The most kbit/s it may fetch.
    pub max_kbps: u32,
    /// When it begins.
    pub started: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
}

/// How far a play has come, as the player tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which play.
    pub session: SessionId,
    /// What it plays.
    pub song: SongId,
    /// Where in the song it is.
    pub position_ms: u64,
    /// How much was heard since the play began.
    pub heard_ms: u64,
    /// How often the sound stopped for lack of data.
    pub buffering_events: u32,
    /// How often the bit rate changed.
    pub quality_switches: u32,
}

/// Why a report was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// This listener has no such play.
    #[error("there is no session {session} of this listener")]
    UnknownSession {
        /// The session named.
        session: SessionId,
    },
    /// The play is of another song.
    #[error("session {session} does not play {song}")]
    OtherSong {
        /// The session named.
        session: SessionId,
        /// The song named.
        song: SongId,
    },
    /// The database's fault.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Heard for this long, a play counts: 30 s.
pub const HEARD_MS_MIN: u64 = 30_000;

const DAY_SECS: u64 = 86_400;

const SEE_DEVICE: &str = "INSERT INTO devices (listener_id, device_id, first_seen_ms, last_seen_ms)
    VALUES ($1, $2, $3, $3)
    ON CONFLICT (listener_id, device_id) DO UPDATE SET last_seen_ms = excluded.last_seen_ms";

const BEGIN: &str =
    "INSERT INTO sessions (session_id, listener_id, device_id, song_id, asset, epoch, max_kbps,
    started_ms, expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const REPORT: &str = "UPDATE sessions SET position_ms = $3,
    heard_ms = CASE WHEN heard_ms < $4 THEN $4 ELSE heard_ms END,
    buffering_events = CASE WHEN buffering_events < $5 THEN $5 ELSE buffering_events END,
    quality_switches = CASE WHEN quality_switches < $6 THEN $6 ELSE quality_switches END
    WHERE session_id = $1 AND listener_id = $2 RETURNING song_id";

const MARK: &str = "UPDATE sessions SET counted_ms = $2
    WHERE session_id = $1 AND counted_ms IS NULL AND heard_ms >= $3";

const COUNT: &str = "INSERT INTO plays (song_id, day, plays) VALUES ($1, $2, 1)
    ON CONFLICT (song_id, day) DO UPDATE SET plays = plays.plays + 1";

impl State {
    /// Writes down that a play begins, and on which device.
    pub async fn begin_session(&self, new: &NewSession) -> Result<(), StateError> {
        self.write_session(new)
            .await
            .map_err(|cause| StateError::Database { doing: "begin a session", cause })
    }

    async fn write_session(&self, new: &NewSession) -> Result<(), sqlx::Error> {
        let mut change = self.writer.begin().await?;
        sqlx::query(SEE_DEVICE)
            .bind(new.listener.as_str())
            .bind(new.device.as_str())
            .bind(millis(new.started))
            .execute(&mut *change)
            .await?;
        sqlx::query(BEGIN)
            .bind(new.session.as_str())
            .bind(new.listener.as_str())
            .bind(new.device.as_str())
            .bind(new.song.as_str())
            .bind(new.asset.to_string())
            .bind(i64::from(new.epoch.0))
            .bind(i64::from(new.max_kbps))
            .bind(millis(new.started))
            .bind(millis(new.expires))
            .execute(&mut *change)
            .await?;
        change.commit().await
    }

    /// Keeps a report, and says whether the play counted just now.
    pub async fn report(
        &self,
        listener: &ListenerId,
        report: &Progress,
        now: UnixTime,
    ) -> Result<bool, ReportError> {
        let kept = self.write_report(listener, report, now).await;
        match kept.map_err(|cause| StateError::Database { doing: "keep a progress report", cause })? {
            Kept::Nothing => Err(ReportError::UnknownSession { session: report.session.clone() }),
            Kept::OtherSong => {
                Err(ReportError::OtherSong { session: report.session.clone(), song: report.song.clone() })
            }
            Kept::Report => Ok(false),
            Kept::ReportAndPlay => Ok(true),
        }
    }

    async fn write_report(
        &self,
        listener: &ListenerId,
        report: &Progress,
        now: UnixTime,
    ) -> Result<Kept, sqlx::Error> {
        let mut change = self.writer.begin().await?;
        let song: Option<String> = sqlx::query_scalar(REPORT)
            .bind(report.session.as_str())
            .bind(listener.as_str())
            .bind(whole(report.position_ms))
            .bind(whole(report.heard_ms))
            .bind(i64::from(report.buffering_events))
            .bind(i64::from(report.quality_switches))
            .fetch_optional(&mut *change)
            .await?;
        match song {
            // Dropping the change undoes it.
            None => return Ok(Kept::Nothing),
            Some(song) if song != report.song.as_str() => return Ok(Kept::OtherSong),
            Some(_) => {}
        }
        let mark =
            sqlx::query(MARK).bind(report.session.as_str()).bind(millis(now)).bind(whole(HEARD_MS_MIN));
        let counts = mark.execute(&mut *change).await?.rows_affected() == 1;
        if counts {
            let day = whole(now.0 / DAY_SECS);
            sqlx::query(COUNT).bind(report.song.as_str()).bind(day).execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(if counts { Kept::ReportAndPlay } else { Kept::Report })
    }

    /// How often a song was played, all days together.
    pub async fn plays(&self, song: &SongId) -> Result<u64, StateError> {
        let sum: i64 = sqlx::query_scalar(
            "SELECT CAST(COALESCE(SUM(plays), 0) AS BIGINT) FROM plays WHERE song_id = $1",
        )
        .bind(song.as_str())
        .fetch_one(&self.readers)
        .await
        .map_err(|cause| StateError::Database { doing: "count the plays of a song", cause })?;
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    /// Forgets sessions that began before `moment` and devices not seen since; says how many sessions.
    pub async fn forget_before(&self, moment: UnixTime) -> Result<u64, StateError> {
        let fault = |cause| StateError::Database { doing: "forget old sessions", cause };
        let delete = |sql: &'static str| sqlx::query(sql).bind(millis(moment)).execute(&self.writer);
        delete("DELETE FROM devices WHERE last_seen_ms < $1").await.map_err(fault)?;
        let sessions = delete("DELETE FROM sessions WHERE started_ms < $1").await.map_err(fault)?;
        Ok(sessions.rows_affected())
    }
}

/// What became of a report.
enum Kept {
    Nothing,
    OtherSong,
    Report,
    ReportAndPlay,
}
