//! The fronts: each reads requests of its protocol, asks [`crate::serve::Edge`], and writes the reply.
//!
//! Promises
//! - A front decides nothing about a request. It limits what a connection may cost: time, memory, number.
//!
//! Does not know: tokens, objects, the cache.

pub mod bind;
pub mod guard;
pub mod h3;
pub mod head;
mod quic;
pub mod tcp;
