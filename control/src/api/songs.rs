//! `GET /api/v1/songs`, `/api/v1/songs/{song_id}`: the catalogue as listeners see it, in the seed's JSON.
//!
//! What the catalogue does not know (genre, ISRC, year) is left out, not made up.

use super::fresh_json;
use crate::app::App;
use crate::body;
use crate::catalogue::Song;
use crate::verdict::Failure;
use antiphon_core::{Gapless, Loudness, Rendition, SongId};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use data_encoding::HEXLOWER;
use http::HeaderMap;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Songs of a page when the client does not say.
pub const LIMIT_DEFAULT: u32 = 50;
/// Most songs of a page.
pub const LIMIT_MAX: u32 = 100;

const MILLIS: u64 = 1000;

#[derive(Serialize)]
struct SongView<'a> {
    song_id: &'a SongId,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artist: Option<ArtistView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    album: Option<AlbumView<'a>>,
    /// Whole seconds, as in the seed.
    duration: u64,
    duration_ms: u64,
    renditions: &'a [Rendition],
    loudness: Option<Loudness>,
    gapless: Gapless,
}

#[derive(Serialize)]
struct ArtistView<'a> {
    artist_id: String,
    name: &'a str,
}

#[derive(Serialize)]
struct AlbumView<'a> {
    album_id: String,
    title: &'a str,
}

#[derive(Serialize)]
struct SongsView<'a> {
    songs: Vec<SongView<'a>>,
    /// What to give as `after` for the next page; `null` on the last one.
    next: Option<&'a SongId>,
}

/// Which page of the catalogue is asked for.
pub(super) struct PageQuery {
    pub(super) limit: u32,
    pub(super) after: Option<SongId>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    app.listener(&headers, app.now())?;
    let (songs, more) = page(&app, &PageQuery::parse(query.as_deref())?).await?;
    let next = if more { songs.last().map(|song| &song.song_id) } else { None };
    fresh_json(&SongsView { songs: songs.iter().map(view).collect(), next })
}

pub(super) async fn detail(
    State(app): State<Arc<App>>,
    song_id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    app.listener(&headers, app.now())?;
    let id = song_id_of(song_id)?;
    let song = app.state.song(&id).await?.ok_or(Failure::UnknownSong(id))?;
    fresh_json(&view(&song))
}

/// A page of songs, and whether there are more after it.
pub(super) async fn page(app: &App, query: &PageQuery) -> Result<(Vec<Song>, bool), Failure> {
    let mut songs = app.state.songs(query.after.as_ref(), query.limit + 1).await?;
    let whole = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = songs.len() > whole;
    songs.truncate(whole);
    Ok((songs, more))
}

/// The song that a path names.
pub(super) fn song_id_of(segment: Result<Path<String>, PathRejection>) -> Result<SongId, Failure> {
    let malformed = Failure::Parameter("song_id has 1 to 64 characters of A-Z a-z 0-9 _ - .");
    segment.ok().and_then(|Path(text)| text.parse().ok()).ok_or(malformed)
}

impl PageQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Failure> {
        let fields = body::fields(query.unwrap_or("").as_bytes())
            .ok_or(Failure::Parameter("the query is not well-formed"))?;
        let (mut limit, mut after) = (None, None);
        for (name, value) in fields {
            let slot = match name.as_str() {
                "limit" => &mut limit,
                "after" => &mut after,
                _ => return Err(Failure::Parameter("the parameters here are limit and after")),
            };
            if slot.replace(value).is_some() {
                return Err(Failure::Parameter("a parameter comes twice"));
            }
        }
        let limit = match limit {
            None => LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .ok_or(Failure::Parameter("limit is a number from 1 to 100"))?,
        };
        let after = after.map(|text| text.parse()).transpose();
        Ok(Self { limit, after: after.map_err(|_| Failure::Parameter("after is a song_id"))? })
    }
}

fn view(song: &Song) -> SongView<'_> {
    SongView {
        song_id: &song.song_id,
        title: &song.title,
        artist: song.artist.as_deref().map(|name| ArtistView { artist_id: name_id("artist", &[name]), name }),
        album: song.album.as_deref().map(|title| {
            let artist = song.artist.as_deref().unwrap_or("");
            AlbumView { album_id: name_id("album", &[artist, title]), title }
        }),
        duration: (song.duration_ms + MILLIS / 2) / MILLIS,
        duration_ms: song.duration_ms,
        renditions: &song.renditions,
        loudness: song.loudness,
        gapless: song.gapless,
    }
}

/// The id of an artist or album that is known by name only: the same names, the same id.
fn name_id(kind: &str, names: &[&str]) -> String {
    let digest =
        names.iter().fold(Sha256::new(), |hash, name| hash.chain_update(name).chain_update([0])).finalize();
    format!("{kind}_{}", HEXLOWER.encode(&digest[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_1_to_100_songs() {
        let limit = |query: &str| PageQuery::parse(Some(query)).map(|query| query.limit).ok();
        assert_eq!(PageQuery::parse(None).unwrap().limit, LIMIT_DEFAULT);
        assert_eq!([limit("limit=1"), limit("limit=100")], [Some(1), Some(100)]);
        for odd in [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=",
            "limit=1&limit=2",
            "limit=1e1",
            "lim=1",
            "after=a%20b",
            "after=%ff",
        ] {
            assert_eq!(limit(odd), None, "{odd}");
        }
    }

    #[test]
    fn albums_of_one_title_by_two_artists_are_two() {
        assert_ne!(name_id("album", &["a", "b"]), name_id("album", &["ab", ""]));
        assert_eq!(name_id("artist", &["a"]), name_id("artist", &["a"]));
    }
}
