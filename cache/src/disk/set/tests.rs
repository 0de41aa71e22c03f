//! Volumes that fail, hang, fill up and come back, beside others that must not notice.

mod folders;
mod purges;
mod tiers;
mod trouble;
mod world;
