//! Buffers that start on a page, as O_DIRECT wants them.
