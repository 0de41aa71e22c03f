//! Generations: what has been purged, and since when.
