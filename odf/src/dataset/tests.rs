pub(super) mod crash { pub(in crate::dataset) fn crash_point(_: &str) {} }
