//! What may be heard by whom: stream tokens, content keys, packaging, encryption, licences.
//!
//! Promises
//! - With feature `token` alone there is no content key in reach: that is all an edge links (MEDIA.md §4).
//! - Nothing here reads a clock, draws a random number, or touches a file or socket: all are arguments.
//!
//! Does not know: HTTP, object stores, databases, configuration.

#[cfg(feature = "content")]
pub mod content;
#[cfg(any(feature = "content", feature = "token"))]
mod json;
#[cfg(feature = "content")]
pub mod keys;
#[cfg(feature = "content")]
pub mod licence;
#[cfg(feature = "content")]
pub mod manifest;
#[cfg(feature = "token")]
pub mod token;
