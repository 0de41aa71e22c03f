//! Whether a volume is fit to serve.
