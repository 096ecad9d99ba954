//! One dataset on disk: chain file, slices, head; commits that survive a crash.
