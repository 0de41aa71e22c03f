//! The bounded threads that wait for a disk.
