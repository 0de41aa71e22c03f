//! Which chunks are worth writing.
