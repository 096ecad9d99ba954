//! Running cargo and other programs from the root of the repository.

use crate::Failure;
use interop_tests::repository;
use std::path::PathBuf;
use std::process::Command;

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository());
    // What cargo tells this task about itself is not about what the inner cargo builds; a build script that looks at it
    // (ring's does) would have half of the dependencies built again each time this task and a shell take turns.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs `command` with its output shown.
///
/// # Errors
/// It cannot be started, or it ends with anything but success; the message holds the command.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let shown = shown(command);
    eprintln!("+ {shown}");
    let status = command
        .status()
        .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{shown}` failed: {status}").into())
    }
}

/// Builds the release binary and says where it is.
///
/// All binaries of the workspace are built together, so that the features of shared dependencies are those of a
/// workspace-wide test build and nothing is compiled twice.
///
/// # Errors
/// The build fails.
pub(crate) fn release_binary() -> Result<PathBuf, Failure> {
    run(cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    built("odfs")
}

/// Where a program of the workspace is that [`release_binary`] has built.
///
/// # Errors
/// Cargo does not say where it builds.
pub(crate) fn built(name: &str) -> Result<PathBuf, Failure> {
    Ok(target_directory()?.join("release").join(name))
}

fn target_directory() -> Result<PathBuf, Failure> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let directory = metadata["target_directory"]
        .as_str()
        .ok_or("cargo metadata names no target directory")?;
    Ok(PathBuf::from(directory))
}

fn shown(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        shown.push(' ');
        shown.push_str(&arg.to_string_lossy());
    }
    shown
}
