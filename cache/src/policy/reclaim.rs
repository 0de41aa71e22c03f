//! Which segment makes room, and what of it stays.
