//! The datasets of a workspace by name and by id.
