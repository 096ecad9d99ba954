//! Every test of the workspace, with the foreign peers beside it.

use crate::Failure;
use crate::bench;
use crate::cargo::{cargo, release_binary, run};
use crate::peers;
use interop_tests::peers::{ODFS_BIN, REQUIRE_PEERS};

/// Installs the peers, builds the binary and runs all tests; `args` go to `cargo test`. Without any, the benchmarks
/// follow at a size that only shows that they work.
///
/// # Errors
/// A peer cannot be installed, the build fails, or a test or a benchmark does.
pub(crate) fn run_tests(args: &[String]) -> Result<(), Failure> {
    let peers = peers::install()?;
    let binary = release_binary()?;
    run(cargo()
        .args(["test", "--release", "--workspace"])
        .args(args)
        .envs(peers.env())
        .env(ODFS_BIN, binary)
        .env(REQUIRE_PEERS, "1"))?;
    if args.is_empty() {
        bench::run(&["--small".to_owned()])
    } else {
        Ok(())
    }
}
