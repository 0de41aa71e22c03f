//! What a volume promises when the plug is pulled, the disk fails and bits rot, held by histories from seeds.
//!
//! A history that fails prints its seed. `ANTIPHON_CRASH_SEED=7` replays that one alone,
//! `ANTIPHON_CRASH_SEEDS=100000` tries so many.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "crash/histories.rs"]
mod histories;
#[path = "crash/laps.rs"]
mod laps;
#[path = "crash/oracle.rs"]
mod oracle;
#[path = "crash/purges.rs"]
mod purges;
#[path = "crash/rot.rs"]
mod rot;
#[path = "crash/world.rs"]
mod world;
