//! An object in pieces: read from the shelf, encrypted for its epoch.
//!
//! Promises
//! - A piece has at most [`PIECE_LEN`] bytes; pieces meet at multiples of it, so no sealed chunk is read twice.
//! - The same path gives the same bytes, whole or in pieces.
//!
//! Does not know: HTTP, who asks.

use crate::keys::{Keys, key_ids};
use crate::shelf::{Opened, Shelf, ShelfError};
use crate::store::StoreError;
use crate::verdict::ServeError;
use antiphon_core::{ObjectPath, Span};
use antiphon_drm::content::encrypt::Encryptor;
use antiphon_drm::content::index::SampleIndex;
use bytes::Bytes;
use std::sync::Arc;

/// Most bytes of a piece.
pub(super) const PIECE_LEN: u64 = 1024 * 1024;

/// One object, ready to be read in pieces.
pub(super) struct Object {
    shelf: Arc<Shelf>,
    path: ObjectPath,
    opened: Arc<Opened>,
    encryptor: Encryptor<Arc<SampleIndex>>,
}

impl Object {
    /// Opens the object at `path`.
    pub async fn open(shelf: &Arc<Shelf>, keys: &Keys, path: ObjectPath) -> Result<Self, ServeError> {
        let record = shelf.asset(path.asset).await?;
        let position = record.renditions.iter().position(|entry| entry.rendition == path.rendition);
        let absent = || ShelfError::NoRendition { asset: path.asset, rendition: path.rendition };
        let own = position.ok_or_else(|| ServeError::Shelf(Arc::new(absent())))?;
        let opened = shelf.open(path.asset, path.rendition).await?;
        let kids = key_ids(&path, record.renditions.iter().map(|entry| entry.rendition));
        let key = keys.content_key(&path)?;
        let encryptor = Encryptor::new(Arc::clone(&opened.index), &key, &kids, own)?;
        Ok(Self { shelf: Arc::clone(shelf), path, opened, encryptor })
    }

    /// Bytes of the object.
    pub fn len(&self) -> u64 {
        self.opened.index.total_len()
    }

    /// Reads and encrypts one piece.
    pub async fn piece(&self, span: Span) -> Result<Bytes, ServeError> {
        debug_assert!(span.len() <= PIECE_LEN, "pieces are bounded");
        let read = self.shelf.read(&self.opened, span).await;
        if matches!(read, Err(ShelfError::Store(StoreError::Replaced { .. } | StoreError::Missing { .. }))) {
            self.shelf.forget(self.path.asset, self.path.rendition).await;
        }
        let mut bytes = read.map_err(Arc::new)?;
        self.encryptor.apply(span, &mut bytes)?;
        Ok(bytes.into())
    }
}

/// `span` in pieces.
pub(super) fn pieces(span: Span) -> impl Iterator<Item = Span> + Send {
    let first = span.start() / PIECE_LEN;
    let last = (span.end() - 1) / PIECE_LEN;
    (first..=last).filter_map(move |number| {
        let piece = Span::new(number * PIECE_LEN, (number + 1).saturating_mul(PIECE_LEN))?;
        piece.overlap(span)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(start: u64, end: u64) -> Vec<(u64, u64)> {
        pieces(Span::new(start, end).unwrap()).map(|piece| (piece.start(), piece.end())).collect()
    }

    #[test]
    fn pieces_meet_at_multiples_of_their_length() {
        assert_eq!(cut(0, 1), [(0, 1)]);
        assert_eq!(cut(0, PIECE_LEN), [(0, PIECE_LEN)]);
        assert_eq!(cut(5, PIECE_LEN + 1), [(5, PIECE_LEN), (PIECE_LEN, PIECE_LEN + 1)]);
        assert_eq!(
            cut(PIECE_LEN, 3 * PIECE_LEN),
            [(PIECE_LEN, 2 * PIECE_LEN), (2 * PIECE_LEN, 3 * PIECE_LEN)]
        );
    }
}
