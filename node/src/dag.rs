//! Links of a block, whatever its codec, and bounded walks over them.
