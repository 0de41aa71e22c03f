//! What stays and what goes: decisions without bytes.
//!
//! The same code decides in the shipping engine and in the simulator of `bench/`.
//!
//! Does not know: memory, disks, time of day.

pub mod admission;
pub mod reclaim;
pub mod s3fifo;
pub mod wear;
