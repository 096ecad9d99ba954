//! Where blocks live: an index in sled, bytes in packs and in the files they belong to.
