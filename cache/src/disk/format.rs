//! The bytes of a volume, parsed and built. See `cache/FORMAT.md`.
