//! The packager from outside: against the reference, against ffmpeg, against strangers' files.
#![cfg(feature = "content")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod encrypting;
mod layout;
mod mezzanine;
mod reference;
mod untrusted;
mod world;
