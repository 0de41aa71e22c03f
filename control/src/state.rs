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
