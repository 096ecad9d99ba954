//! Metadata blocks in the YAML and JSON forms people read and write.
