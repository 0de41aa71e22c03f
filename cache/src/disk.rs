//! Volumes: disks that keep chunks across restarts.
//!
//! A volume is a log of segments on a [`medium::Medium`], an index in memory and a writer; a set of volumes is what
//! the tiers talk to. Every byte that is stored is described in `cache/FORMAT.md`.
//!
//! Does not know: upstream, listeners, what the bytes mean.

pub mod aligned;
pub mod format;
pub mod health;
pub mod index;
pub mod medium;
pub mod os;
pub mod pool;
pub mod set;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod volume;
