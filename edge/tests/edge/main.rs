//! Promises of the edge, tested from outside: a real edge on loopback, a scripted origin behind it.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test that called it")]

mod access;
mod admin;
mod binary;
mod client;
mod conditions;
mod h3;
mod hostile;
mod origin;
mod purge;
mod ranges;
mod refusals;
mod sharing;
mod upstream;
mod volumes;
mod world;
