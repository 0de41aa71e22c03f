//! Where chunks are on a volume: a fixed table of eight-byte slots.
