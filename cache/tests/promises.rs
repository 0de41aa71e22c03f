//! What the cache promises, held from outside against an upstream that misbehaves on cue.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "promises/bound.rs"]
mod bound;
#[path = "promises/disks.rs"]
mod disks;
#[path = "promises/explain.rs"]
mod explain;
#[path = "promises/faults.rs"]
mod faults;
#[path = "promises/freshness.rs"]
mod freshness;
#[path = "promises/leaving.rs"]
mod leaving;
#[path = "promises/model.rs"]
mod model;
#[path = "promises/negative.rs"]
mod negative;
#[path = "promises/pulled.rs"]
mod pulled;
#[path = "promises/purge.rs"]
mod purge;
#[path = "promises/sharing.rs"]
mod sharing;
#[path = "promises/stress.rs"]
mod stress;
#[path = "promises/volumes.rs"]
mod volumes;
#[path = "promises/world.rs"]
mod world;
