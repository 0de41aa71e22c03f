//! All volumes of a node, as the tiers see them.
