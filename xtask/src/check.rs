//! What CI checks beside the tests.

use crate::Failure;
use crate::cargo::{cargo, run};

/// Formatting, lints and documentation, warnings denied.
///
/// # Errors
/// The first check that fails.
pub(crate) fn run_checks() -> Result<(), Failure> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args([
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    run(cargo()
        .args(["doc", "--release", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}
