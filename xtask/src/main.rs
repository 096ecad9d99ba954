//! Repository tasks, the same here and in CI.

fn main() {}
