//! Storage as a volume sees it.
