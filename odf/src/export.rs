//! A dataset as a plain ODF dataset directory.
