//! Names: signed records, publishing, resolving, re-putting before they expire.

pub mod record;
