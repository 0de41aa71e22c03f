//! The targets, by the crate half they feed.

pub mod disk;
pub mod media;
pub mod rights;
pub mod words;
