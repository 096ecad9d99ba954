//! Data made by others that ours is compared with, in `reference/` of this crate; its README says how each was made.

use crate::repository;
use std::path::PathBuf;

/// Where they are, from the root of a checkout.
pub const IN_CHECKOUT: &str = "interop-tests/reference";
/// Most bytes that they may have together: whoever clones the repository pays for them.
pub const MAX_BYTES: u64 = 1_500_000;

/// The datasets that kamu made, a folder for each.
pub fn golden() -> PathBuf {
    repository().join(IN_CHECKOUT).join("golden")
}

/// The cases that kamu was given and what came of them.
pub fn differential() -> PathBuf {
    repository().join(IN_CHECKOUT).join("differential")
}

/// Workbooks that other programs wrote.
pub fn workbooks() -> PathBuf {
    repository().join(IN_CHECKOUT).join("workbooks")
}
