//! Whole evenings of listening: the real binary with every role, and the real clients that meet it.
//!
//! Promises
//! - Each [`Evening`] has its own folder and ports, and is gone when dropped.
//! - A tool that is missing makes a test say `SKIPPED` out loud; in CI it fails instead.

mod evening;
pub mod needs;

pub use evening::{Evening, output_within};
