//! The catalogue's table.

use super::{State, StateError, millis, whole};
use crate::catalogue::Song;
use antiphon_core::{Gapless, Loudness, Rendition, SongId, UnixTime};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// Columns of a song, in the order in which [`PUT`] binds them.
const ONE: &str = "SELECT song_id, title, artist, album, asset, duration_ms, renditions, integrated_lufs,
    true_peak_dbtp, timescale, priming, play, source_sha256 FROM songs WHERE song_id = $1";

const PAGE: &str = "SELECT song_id, title, artist, album, asset, duration_ms, renditions, integrated_lufs,
    true_peak_dbtp, timescale, priming, play, source_sha256 FROM songs WHERE song_id > $1
    ORDER BY song_id LIMIT $2";

const PUT: &str = "INSERT INTO songs (song_id, title, artist, album, asset, duration_ms, renditions,
    integrated_lufs, true_peak_dbtp, timescale, priming, play, source_sha256, created_ms, updated_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
    ON CONFLICT (song_id) DO UPDATE SET title = excluded.title, artist = excluded.artist,
    album = excluded.album, asset = excluded.asset, duration_ms = excluded.duration_ms,
    renditions = excluded.renditions, integrated_lufs = excluded.integrated_lufs,
    true_peak_dbtp = excluded.true_peak_dbtp, timescale = excluded.timescale, priming = excluded.priming,
    play = excluded.play, source_sha256 = excluded.source_sha256, updated_ms = excluded.updated_ms";

impl State {
    /// Adds a song, or describes it anew.
    pub async fn put_song(&self, song: &Song, now: UnixTime) -> Result<(), StateError> {
        let names: Vec<&str> = song.renditions.iter().map(|rendition| rendition.name()).collect();
        sqlx::query(PUT)
            .bind(song.song_id.as_str())
            .bind(&song.title)
            .bind(&song.artist)
            .bind(&song.album)
            .bind(song.asset.to_string())
            .bind(whole(song.duration_ms))
            .bind(names.join(","))
            .bind(song.loudness.map(|loudness| loudness.integrated_lufs))
            .bind(song.loudness.map(|loudness| loudness.true_peak_dbtp))
            .bind(i64::from(song.gapless.timescale))
            .bind(whole(song.gapless.priming))
            .bind(whole(song.gapless.play))
            .bind(&song.source_sha256)
            .bind(millis(now))
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(|cause| StateError::Database { doing: "keep a song", cause })
    }

    /// The song of this name.
    pub async fn song(&self, id: &SongId) -> Result<Option<Song>, StateError> {
        let row = sqlx::query(ONE).bind(id.as_str()).fetch_optional(&self.readers).await;
        row.map_err(|cause| StateError::Database { doing: "look up a song", cause })?
            .as_ref()
            .map(song)
            .transpose()
    }

    /// At most `limit` songs whose names come after `after`, in the order of names.
    pub async fn songs(&self, after: Option<&SongId>, limit: u32) -> Result<Vec<Song>, StateError> {
        let rows = sqlx::query(PAGE)
            .bind(after.map_or("", SongId::as_str))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await;
        rows.map_err(|cause| StateError::Database { doing: "list songs", cause })?.iter().map(song).collect()
    }
}

/// Reads a row; what does not parse was not written by [`State::put_song`].
fn song(row: &SqliteRow) -> Result<Song, StateError> {
    let name: String = row.try_get("song_id").unwrap_or_default();
    read(row).ok_or_else(|| StateError::Damaged { what: format!("song {name:?}") })
}

fn read(row: &SqliteRow) -> Option<Song> {
    let text = |column: &str| row.try_get::<String, _>(column).ok();
    let optional = |column: &str| row.try_get::<Option<String>, _>(column).ok();
    let number =
        |column: &str| row.try_get::<i64, _>(column).ok().and_then(|value| u64::try_from(value).ok());
    let level = |column: &str| row.try_get::<Option<f64>, _>(column).ok();
    let names = text("renditions")?;
    let renditions: Result<Vec<Rendition>, _> = names.split(',').map(str::parse).collect();
    let loudness = match (level("integrated_lufs")?, level("true_peak_dbtp")?) {
        (Some(integrated_lufs), Some(true_peak_dbtp)) => Some(Loudness { integrated_lufs, true_peak_dbtp }),
        _ => None,
    };
    let gapless = Gapless {
        timescale: u32::try_from(number("timescale")?).ok()?,
        priming: number("priming")?,
        play: number("play")?,
    };
    Some(Song {
        song_id: text("song_id")?.parse().ok()?,
        title: text("title")?,
        artist: optional("artist")?,
        album: optional("album")?,
        asset: text("asset")?.parse().ok()?,
        duration_ms: number("duration_ms")?,
        renditions: renditions.ok()?,
        loudness,
        gapless,
        source_sha256: text("source_sha256")?,
    })
}
