//! The words every part of Antiphon shares.
//!
//! Promises
//! - A value of a type from here is well-formed: text is parsed once, at the door ([`path`], [`range`],
//!   [`media`], [`ids`]), and never checked again further in.
//! - Nothing here reads a clock, a file, the environment or a socket.
//!
//! Does not know: HTTP, keys, tiers, databases.

pub mod chain;
pub mod chunk;
pub mod config;
pub mod dice;
pub mod ids;
pub mod media;
pub mod path;
pub mod range;
pub mod secret;
pub mod size;
pub mod time;

pub use chain::chain;
pub use chunk::{CHUNK_LEN, ChunkNo};
pub use dice::Dice;
pub use ids::{DeviceId, SessionId, SongId};
pub use media::{AssetId, Epoch, Gapless, Loudness, Quality, Rendition, Scheme};
pub use path::ObjectPath;
pub use range::{RangeSpec, Span};
pub use secret::Secret;
pub use size::ByteSize;
pub use time::{Clock, UnixTime};
