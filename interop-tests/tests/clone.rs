//! A clone of the repository needs nothing beside it: no test reads from outside, and the reference data are in it.

use interop_tests::peers::{required, skip};
use interop_tests::process::run;
use interop_tests::reference::{IN_CHECKOUT, MAX_BYTES};
use interop_tests::workspace::LIMIT;
use interop_tests::{Outcome, Workspace, repository};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Folders of every system that hold nobody's data.
const SYSTEM: [&str; 4] = ["dev", "etc", "proc", "sys"];

/// A fresh clone of what is committed, somewhere else.
struct Clone {
    _folder: TempDir,
    root: PathBuf,
}

impl Clone {
    /// Clones the repository that this test was built in, or nothing where that is no checkout and need not be one; then
    /// the test has been reported as skipped.
    fn make() -> Outcome<Option<Self>> {
        let here = repository().canonicalize()?;
        let top = run(git(["rev-parse", "--show-toplevel"], &here), LIMIT);
        let top = top
            .and_then(|said| said.success())
            .map(|said| PathBuf::from(said.text()));
        match top {
            Ok(top) if top.canonicalize()? == here => {}
            found => {
                let why = match found {
                    Ok(top) => format!("{} belongs to the checkout {}", here.display(), top.display()),
                    Err(failure) => format!("{} is no git checkout: {failure}", here.display()),
                };
                if required() {
                    return Err(format!("a test clones the repository, and {why}").into());
                }
                skip(&why);
                return Ok(None);
            }
        }
        let folder = tempfile::Builder::new().prefix("odfs-clone-").tempdir()?;
        let root = folder.path().join("odfs");
        let mut clone = git(["clone", "--quiet", "--no-hardlinks"], &here);
        clone.arg(&here).arg(&root);
        run(clone, LIMIT)?.success()?;
        Ok(Some(Self { _folder: folder, root }))
    }

    /// Every source file, from the root.
    fn sources(&self) -> Outcome<Vec<PathBuf>> {
        let listed = run(git(["ls-files", "-z", "*.rs"], &self.root), LIMIT)?.success()?;
        let paths: Vec<PathBuf> = listed.text().split_terminator('\0').map(PathBuf::from).collect();
        assert!(paths.len() > 20, "the clone has sources");
        Ok(paths)
    }
}

/// `git ARGS` in a folder, with no repository but that.
fn git<const N: usize>(args: [&str; N], folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(folder);
    // Set where a hook runs the tests.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    command
}

/// The text literals of a line, as far as they can be told from it alone.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

/// A path without `.` and `..`, or nothing if it leaves its root.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => normal.pop().then_some(())?,
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    Some(normal)
}

#[test]
fn no_test_reads_from_outside_of_a_clone() -> Outcome {
    let Some(clone) = Clone::make()? else { return Ok(()) };
    let crate_of = |source: &Path| {
        let folders = source.ancestors().skip(1);
        let mut crates = folders.filter(|folder| clone.root.join(folder).join("Cargo.toml").is_file());
        crates.next().map(Path::to_path_buf).unwrap_or_default()
    };
    // Whoever writes the path of a file of theirs into a test has that file.
    let exists_here = |literal: &str| {
        let mut parts = Path::new(literal).components();
        let is_absolute = parts.next() == Some(Component::RootDir);
        let is_system = parts
            .next()
            .is_none_or(|first| SYSTEM.iter().any(|folder| first.as_os_str() == *folder));
        is_absolute && !is_system && parts.next().is_some() && Path::new(literal).exists()
    };
    let mut faults = Vec::new();
    for source in clone.sources()? {
        let text = fs::read_to_string(clone.root.join(&source))?;
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            let fault = |what: &str| format!("{}:{}: {what}", source.display(), at + 1);
            // In pieces, so that this file does not name it either.
            if line.contains(&["ODFS", "SHARED"].join("_")) {
                faults.push(fault("data from a place that is not in the repository"));
            }
            if line.contains(&["env!(", "\"CARGO_MANIFEST_DIR"].concat()) {
                faults.push(fault(
                    "the path of whichever clone was built first: ask for it at run time",
                ));
            }
            faults.extend(
                literals(line)
                    .filter(|literal| exists_here(literal))
                    .map(|literal| fault(&format!("{literal} is a path of one machine"))),
            );
            // From a crate's folder, or from this file, upwards.
            let beside = lines.get(at + 1).copied().unwrap_or_default();
            let base = if line.contains("CARGO_MANIFEST_DIR") {
                crate_of(&source)
            } else if line.contains("include_str!") || line.contains("include_bytes!") {
                source.parent().map(Path::to_path_buf).unwrap_or_default()
            } else {
                continue;
            };
            for literal in literals(line)
                .chain(literals(beside))
                .filter(|literal| literal.contains("../"))
            {
                let literal = literal.trim_start_matches('/');
                let inside = normal(&base.join(literal)).is_some_and(|path| clone.root.join(path).exists());
                if !inside {
                    faults.push(fault(&format!("{literal} is not in the repository")));
                }
            }
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n").into())
    }
}

/// Bytes of the files below a folder. Directories are left out: how large one is, is the file system's affair.
fn size(folder: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => size(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(sum)
}

#[test]
fn a_clone_has_reference_data_that_odfs_takes_in() -> Outcome {
    let Some(clone) = Clone::make()? else { return Ok(()) };
    let reference = clone.root.join(IN_CHECKOUT);
    let bytes = size(&reference)?;
    assert!(
        bytes < MAX_BYTES,
        "the reference data have {bytes} bytes, {MAX_BYTES} is the limit"
    );

    // By file, one by one, and as the workspace that kamu left.
    let (by_file, by_workspace) = (Workspace::new()?, Workspace::new()?);
    let golden = reference.join("golden");
    let mut count = 0;
    for entry in fs::read_dir(&golden)? {
        let (name, dataset) = entry.map(|entry| (entry.file_name(), entry.path().join("dataset")))?;
        if !dataset.is_dir() {
            continue;
        }
        let name = name.to_string_lossy();
        let address = format!("file://{}", dataset.display());
        by_file.odfs(["pull", &address, "--as", &name])?;
        let head = fs::read_to_string(dataset.join("refs/head"))?;
        assert_eq!(by_file.dataset(&name)?.head, head, "{name}");
        count += 1;
    }
    assert_eq!(count, 8, "datasets in {}", golden.display());
    by_file.odfs(["verify", "%", "--logical"])?;
    let workspace = golden.join("workspace").display().to_string();
    by_workspace.odfs(["pull", "--from-workspace", &workspace])?;
    assert_eq!(by_workspace.list()?, by_file.list()?);
    Ok(())
}

#[test]
fn a_clone_is_a_workspace_of_cargo_with_its_tasks() -> Outcome {
    let Some(clone) = Clone::make()? else { return Ok(()) };
    let mut metadata = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    metadata
        .args([
            "metadata",
            "--offline",
            "--locked",
            "--no-deps",
            "--format-version",
            "1",
        ])
        .current_dir(&clone.root);
    let metadata = run(metadata, LIMIT)?.success()?.json()?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(packages.len() >= 5, "{} packages", packages.len());
    let root = clone.root.canonicalize()?;
    let used = packages
        .iter()
        .flat_map(|package| package["dependencies"].as_array().into_iter().flatten());
    let paths = used.filter_map(|dependency| dependency["path"].as_str());
    let outside: Vec<&str> = paths.filter(|path| !Path::new(path).starts_with(&root)).collect();
    assert!(outside.is_empty(), "built from outside of the clone: {outside:?}");
    // README's second command is an alias.
    let settings = fs::read_to_string(clone.root.join(".cargo/config.toml"))?;
    assert!(settings.contains("xtask = \"run"), "{settings}");
    // What was committed is all that there is: nothing that the build needs is ignored.
    let status = run(git(["status", "--porcelain"], &clone.root), LIMIT)?.success()?;
    assert_eq!(status.text(), "");
    Ok(())
}
