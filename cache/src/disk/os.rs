//! A medium made of files, or of files and a raw device.
