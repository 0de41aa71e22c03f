//! One volume.
