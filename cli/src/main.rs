//! The `odfs` binary.

fn main() {}
