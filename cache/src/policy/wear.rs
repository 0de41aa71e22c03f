//! How much may be written.
