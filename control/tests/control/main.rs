//! The control plane from outside: a real server with TLS on a free port, in front of a scripted origin.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod access;
mod admin;
mod bad_input;
mod command;
mod licence;
mod limits;
mod login;
mod manifest;
mod page;
mod play;
mod progress;
mod songs;
mod wire;
mod world;
