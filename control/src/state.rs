//! What the control plane remembers: songs, devices, sessions, plays.
//!
//! Promises
//! - The SQL is one text for SQLite and PostgreSQL; values reach it as bound parameters only.
//! - A session's play is counted at most once, however often, late or out of order it is reported, and never
//!   half: the mark on the session and the day's count change together.
//! - A request that is dropped half-way leaves nothing half-written.
//!
//! Does not know: HTTP, tokens, who may do what.

mod plays;
mod songs;

pub use plays::{HEARD_MS_MIN, NewSession, Progress, ReportError};

use crate::config::DatabaseConfig;
use antiphon_core::UnixTime;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::path::Path;
use std::time::Duration;

/// The database.
#[derive(Clone, Debug)]
pub struct State {
    /// Reads, side by side.
    readers: SqlitePool,
    /// Writes. Invariant: one connection, so that writes take turns here and not by failing in SQLite.
    writer: SqlitePool,
}

/// The database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is away, locked or damaged.
    #[error("{doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        cause: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("bring the database's schema up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A row that this version cannot have written.
    #[error("the row of {what} in the database is damaged")]
    Damaged {
        /// Which row.
        what: String,
    },
}

impl State {
    /// Opens the database in `file`, made if absent, and brings its schema up to date.
    pub async fn open(file: &Path, config: &DatabaseConfig) -> Result<Self, StateError> {
        let wait = Duration::from_millis(config.wait_ms.into());
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With a WAL this survives the death of the process; a power cut may lose the last second.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(wait);
        let pool = |count| SqlitePoolOptions::new().max_connections(count).acquire_timeout(wait);
        let open = |cause| StateError::Database { doing: "open the database", cause };
        let writer = pool(1).connect_with(options.clone()).await.map_err(open)?;
        sqlx::migrate!("./migrations").run(&writer).await.map_err(StateError::Migrate)?;
        let readers = pool(config.readers).connect_with(options.read_only(true)).await.map_err(open)?;
        Ok(Self { readers, writer })
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> Result<(), StateError> {
        let one: Result<i64, sqlx::Error> = sqlx::query_scalar("SELECT 1").fetch_one(&self.readers).await;
        one.map(drop)
            .map_err(|cause| StateError::Database { doing: "ask whether the database answers", cause })
    }

    /// Ends all connections; the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Milliseconds since 1970, as columns hold them.
fn millis(time: UnixTime) -> i64 {
    whole(time.0.saturating_mul(1000))
}

/// A count as a column holds it; nothing here comes near the limit.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Song;
    use antiphon_core::{AssetId, Epoch, SongId};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    async fn fresh(folder: &tempfile::TempDir) -> State {
        State::open(&folder.path().join("control.sqlite"), &DatabaseConfig::default()).await.unwrap()
    }

    fn song() -> Song {
        serde_json::from_value(crate::catalogue::tests::record()).unwrap()
    }

    fn session(name: &str, started: UnixTime) -> NewSession {
        NewSession {
            session: name.parse().unwrap(),
            listener: "demo-free".parse().unwrap(),
            device: "device_xyz".parse().unwrap(),
            song: song().song_id,
            asset: AssetId::from_bytes([5; 16]),
            epoch: Epoch(u32::MAX),
            max_kbps: 128,
            started,
            expires: started.plus(3600),
        }
    }

    fn heard(name: &str, heard_ms: u64) -> Progress {
        Progress {
            session: name.parse().unwrap(),
            song: song().song_id,
            position_ms: 0,
            heard_ms,
            buffering_events: 0,
            quality_switches: 0,
        }
    }

    async fn devices(state: &State) -> Vec<(i64, i64)> {
        sqlx::query_as("SELECT first_seen_ms, last_seen_ms FROM devices")
            .fetch_all(&state.readers)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_song_is_read_back_as_it_was_kept_and_after_a_restart_too() {
        let folder = tempfile::tempdir().unwrap();
        let state = fresh(&folder).await;
        state.put_song(&song(), NOW).await.unwrap();
        state.close().await;
        let state = fresh(&folder).await;
        assert_eq!(state.song(&song().song_id).await.unwrap(), Some(song()));
        assert_eq!(state.songs(None, 10).await.unwrap(), [song()]);
        assert_eq!(state.songs(Some(&song().song_id), 10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_damaged_row_is_named_and_nothing_is_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let state = fresh(&folder).await;
        state.put_song(&song(), NOW).await.unwrap();
        for damage in ["UPDATE songs SET asset = 'x'", "UPDATE songs SET asset = '05', renditions = '63'"] {
            sqlx::query(damage).execute(&state.writer).await.unwrap();
            let error = state.song(&song().song_id).await.unwrap_err();
            assert!(
                matches!(&error, StateError::Damaged { what } if what.contains(song().song_id.as_str())),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_device_is_remembered_from_its_first_play_to_its_last() {
        let folder = tempfile::tempdir().unwrap();
        let state = fresh(&folder).await;
        state.begin_session(&session("one", NOW)).await.unwrap();
        state.begin_session(&session("two", NOW.plus(60))).await.unwrap();
        assert_eq!(devices(&state).await, [(millis(NOW), millis(NOW.plus(60)))]);
    }

    #[tokio::test]
    async fn a_name_that_comes_twice_begins_no_second_session() {
        let folder = tempfile::tempdir().unwrap();
        let state = fresh(&folder).await;
        state.begin_session(&session("one", NOW)).await.unwrap();
        assert!(state.begin_session(&session("one", NOW.plus(60))).await.is_err());
        assert_eq!(devices(&state).await, [(millis(NOW), millis(NOW))], "the whole change is undone");
    }

    #[tokio::test]
    async fn old_sessions_and_devices_are_forgotten_and_counts_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let state = fresh(&folder).await;
        let listener = "demo-free".parse().unwrap();
        state.begin_session(&session("old", NOW)).await.unwrap();
        assert!(state.report(&listener, &heard("old", HEARD_MS_MIN), NOW).await.unwrap());
        assert_eq!(state.forget_before(NOW).await.unwrap(), 0);
        assert_eq!(state.forget_before(NOW.plus(1)).await.unwrap(), 1);
        assert_eq!(devices(&state).await, []);
        let late = state.report(&listener, &heard("old", HEARD_MS_MIN), NOW).await;
        assert!(matches!(late, Err(ReportError::UnknownSession { .. })));
        assert_eq!(state.plays(&song().song_id).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_play_counts_at_30_seconds_and_not_a_millisecond_before() {
        let folder = tempfile::tempdir().unwrap();
        let state = fresh(&folder).await;
        let listener = "demo-free".parse().unwrap();
        state.begin_session(&session("one", NOW)).await.unwrap();
        assert!(!state.report(&listener, &heard("one", HEARD_MS_MIN - 1), NOW).await.unwrap());
        assert!(state.report(&listener, &heard("one", HEARD_MS_MIN), NOW).await.unwrap());
        assert!(!state.report(&listener, &heard("one", HEARD_MS_MIN), NOW).await.unwrap());
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("control.sqlite"),
            "not a database, but long enough to be read as one",
        )
        .unwrap();
        let error =
            State::open(&folder.path().join("control.sqlite"), &DatabaseConfig::default()).await.unwrap_err();
        assert!(matches!(error, StateError::Database { doing: "open the database", .. }), "{error:?}");
        let unknown: SongId = "song_x".parse().unwrap();
        assert!(fresh(&tempfile::tempdir().unwrap()).await.song(&unknown).await.unwrap().is_none());
    }
}
