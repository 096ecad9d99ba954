//! Where the programs under test are, and what happens when one is not there.
//!
//! `cargo xtask test` installs the foreign peers and names them in the environment. A plain `cargo test` has none of
//! that: tests that need no foreign peer build the binary themselves and run, the others say on the terminal that
//! they were skipped. Under `cargo xtask test`, and wherever `CI` is `true`, a missing peer is a failure.

use crate::{Failure, Outcome};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names the `odfs` binary to test.
pub const ODFS_BIN: &str = "ODFS_BIN";
/// Names the `ipfs` binary of Kubo.
pub const ODFS_KUBO: &str = "ODFS_KUBO";
/// Names the `pebble` binary, an authority that signs certificates.
pub const ODFS_PEBBLE: &str = "ODFS_PEBBLE";
/// Names the `node` binary that runs Helia.
pub const ODFS_HELIA_NODE: &str = "ODFS_HELIA_NODE";
/// Names the folder in which Helia and its scripts are installed.
pub const ODFS_HELIA_DIR: &str = "ODFS_HELIA_DIR";
/// Names the folder with `rclone`, and with a `python` that has DuckDB.
pub const ODFS_S3_CLIENTS: &str = "ODFS_S3_CLIENTS";
/// Set to `1` where a missing peer is a failure.
pub const REQUIRE_PEERS: &str = "ODFS_REQUIRE_PEERS";

/// The path in an environment variable, if it is set.
///
/// # Errors
/// The variable names nothing that exists; or it is not set although peers are required here.
pub fn installed(variable: &str) -> Outcome<Option<PathBuf>> {
    match std::env::var_os(variable).map(PathBuf::from) {
        Some(path) if path.exists() => Ok(Some(path)),
        Some(path) => Err(format!("{variable} names {}, which does not exist", path.display()).into()),
        None if required() => Err(format!("{variable} is not set: run `cargo xtask test`").into()),
        None => {
            skip(&format!(
                "{variable} is not set; `cargo xtask test` installs every peer"
            ));
            Ok(None)
        }
    }
}

/// Whether a missing peer, or a missing permission that a test needs, is a failure here.
pub fn required() -> bool {
    let is = |name, wanted: &str| std::env::var(name).is_ok_and(|value| value == wanted);
    is(REQUIRE_PEERS, "1") || is("CI", "true")
}

/// Says on the terminal that the running test is skipped, past the runner's capture of output.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    note(&format!("SKIPPED {}: {why}", thread.name().unwrap_or("a test")));
}

/// Says something on the terminal, past the runner's capture of output.
pub fn note(what: &str) {
    // Nothing can be done about a terminal that cannot be written to, and no test's result depends on it.
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// The `odfs` binary: the one that the environment names, else one built from this tree in the profile of the tests.
///
/// # Errors
/// The environment names a file that does not exist, or the build fails.
pub fn odfs_binary() -> Outcome<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| match std::env::var_os(ODFS_BIN).map(PathBuf::from) {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(format!("{ODFS_BIN} names {}, which is no file", path.display())),
        None => build().map_err(|failure| failure.to_string()),
    });
    found.as_deref().map_err(|failure| Failure::new(failure.as_str()))
}

/// Test binaries lie in `TARGET/PROFILE/deps`; the binary of the same profile is built beside that folder.
fn build() -> Outcome<PathBuf> {
    let this = std::env::current_exe()?;
    let profile = this
        .ancestors()
        .nth(2)
        .ok_or("the test binary lies in no target directory")?;
    let target = profile.parent().ok_or("the test binary lies in no target directory")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(crate::repository())
        .args(["build", "--quiet", "--package", "odfs", "--bin", "odfs"]);
    cargo.arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.output()?;
    if output.status.success() {
        Ok(profile.join("odfs"))
    } else {
        Err(format!("odfs does not build:\n{}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
