//! Measuring: what serving music costs, here and beside others, in one run.
//!
//! Promises
//! - An answer counts only if its status and length are right; a run with a wrong one says so.
//! - The figure is the server's own CPU time, of its whole process tree, over exactly the window in which the
//!   bytes were counted.
//!
//! Does not know: how the servers work. They are reached over the wire.

#![expect(clippy::print_stdout, reason = "results are what these programs are for")]

pub mod cpu;
pub mod curve;
pub mod load;
pub mod replay;
pub mod simulation;
pub mod stage;
pub mod table;
pub mod trace;
