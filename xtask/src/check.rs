//! What CI checks beside the tests.

use crate::Failure;
use crate::cargo::{cargo, run};
use interop_tests::repository;
use interop_tests::structure::Tree;

/// Shows what the tree looks like, then formatting, lints and documentation, warnings denied.
///
/// # Errors
/// The first check that fails. A circle of files is shown here and fails with the tests, which know those that are
/// allowed for now.
pub(crate) fn run_checks() -> Result<(), Failure> {
    print!("{}", Tree::read(&repository())?.picture());
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
