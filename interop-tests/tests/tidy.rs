//! What `ARCHITECTURE.md` promises about the tree, held by reading the tree.

use interop_tests::Outcome;
use interop_tests::peers::note;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file over this many lines is reported.
const LONG: usize = 600;
/// A source file over this many lines fails.
const TOO_LONG: usize = 1_200;
/// Names that tell nothing.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "common", "helper", "helpers", "misc", "manager", "shared",
];
/// Written by a program, so no rule of form applies.
const GENERATED: [&str; 1] = ["generated.rs"];
/// Pure modules (I1): no I/O, no clock, no randomness of their own. A name stands for `name.rs` and `name/`.
const PURE: [&str; 9] = [
    "node/src/block",
    "node/src/dag",
    "node/src/unixfs",
    "node/src/exchange/message",
    "node/src/ipns/record",
    "odf/src/metadata",
    "odf/src/codec",
    "odf/src/chain",
    "odf/src/yaml",
];
/// What a pure module does not use.
const IMPURE: [&str; 9] = [
    "tokio::",
    "std::fs",
    "std::env",
    "std::net",
    "libp2p::swarm",
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "rand::rng",
];

struct Source {
    /// From the root of the repository, with `/` between segments.
    path: String,
    text: String,
    /// Compiled for tests only.
    is_test: bool,
}

impl Source {
    /// The part before the tests that stand in the same file.
    fn code(&self) -> &str {
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        &self.text[..end]
    }

    /// Paths of the modules that this file declares for tests only.
    fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs")) => folder.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        let lines: Vec<&str> = self.text.lines().collect();
        let declared = lines
            .windows(2)
            .filter(|pair| pair[0].trim() == "#[cfg(test)]")
            .map(|pair| pair[1]);
        let names = declared
            .filter_map(|line| line.strip_suffix(';')?.rsplit_once("mod "))
            .map(|(_, name)| name);
        names.map(|name| format!("{folder}/{name}.rs")).collect()
    }

    fn is_generated(&self) -> bool {
        GENERATED.iter().any(|name| self.path.ends_with(name))
    }

    /// Lines of code, not of comments, with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.code().lines().enumerate();
        code.map(|(n, line)| (n + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Everything in the tree that is committed or could be: no build output, nothing hidden.
fn files(below: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    let mut entries = fs::read_dir(below)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || matches!(&*name, "target" | "node_modules") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            files(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn sources() -> Outcome<Vec<Source>> {
    let mut found = Vec::new();
    files(&root(), &mut found)?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut sources = Vec::new();
    for path in found {
        let text = fs::read_to_string(&path)?;
        let path = relative(&path);
        let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
        sources.push(Source { path, text, is_test });
    }
    let for_tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        source.is_test |= for_tests.contains(&source.path);
    }
    assert!(sources.len() > 20, "the walk found the tree");
    Ok(sources)
}

fn fail_on(faults: Vec<String>) -> Outcome {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n").into())
    }
}

/// Words as a reader sees them: letters, digits, `_` and `-` hold together.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
}

#[test]
fn the_peer_never_names_what_is_built_on_it() -> Outcome {
    let mut faults = Vec::new();
    for source in sources()?.iter().filter(|source| source.path.starts_with("node/")) {
        for (n, line) in source.text.lines().enumerate() {
            if words(line).any(|word| word.eq_ignore_ascii_case("odf")) || line.contains("Open Data Fabric") {
                faults.push(format!(
                    "{}:{}: I1: node never names ODF: {}",
                    source.path,
                    n + 1,
                    line.trim()
                ));
            }
        }
    }
    let manifest = fs::read_to_string(root().join("node/Cargo.toml"))?;
    if manifest
        .lines()
        .any(|line| line.starts_with("odf.") || line.starts_with("odf "))
    {
        faults.push("node/Cargo.toml: I1: arrows go one way: cli, odf, node".to_owned());
    }
    let manifest = fs::read_to_string(root().join("odf/Cargo.toml"))?;
    if manifest
        .lines()
        .any(|line| line.starts_with("odfs.") || line.starts_with("clap"))
    {
        faults.push("odf/Cargo.toml: I1: arrows go one way: cli, odf, node".to_owned());
    }
    fail_on(faults)
}

#[test]
fn pure_modules_do_no_io() -> Outcome {
    let mut faults = Vec::new();
    for source in sources()? {
        let in_module =
            |name: &str| source.path == format!("{name}.rs") || source.path.starts_with(&format!("{name}/"));
        if source.is_test || !PURE.iter().any(|name| in_module(name)) {
            continue;
        }
        for (n, line) in source.lines() {
            for impure in IMPURE.iter().filter(|impure| line.contains(**impure)) {
                faults.push(format!("{}:{n}: I1: a pure module uses {impure}", source.path));
            }
        }
    }
    fail_on(faults)
}

#[test]
fn one_task_owns_the_swarm() -> Outcome {
    let may = |path: &str| path.starts_with("node/src/peer") || path.starts_with("node/src/swarm");
    let mut faults = Vec::new();
    for source in sources()?.iter().filter(|source| !source.is_test && !may(&source.path)) {
        let owned = source.path.starts_with("node/src") || source.path.starts_with("odf/src");
        for (n, line) in source.lines().filter(|_| owned) {
            if words(line).any(|word| matches!(word, "Swarm" | "SwarmBuilder")) {
                faults.push(format!("{}:{n}: I2: only node::peer owns the swarm", source.path));
            }
        }
    }
    fail_on(faults)
}

#[test]
fn only_the_command_line_reads_the_environment_or_prints() -> Outcome {
    let mut faults = Vec::new();
    for source in sources()?.iter().filter(|source| !source.is_test) {
        if !(source.path.starts_with("node/src/") || source.path.starts_with("odf/src/")) {
            continue;
        }
        for (n, line) in source.lines() {
            for word in ["std::env::", "env::var", "home_dir", "println!", "eprintln!", "print!("] {
                if line.contains(word) {
                    faults.push(format!("{}:{n}: I6: {word} in a library", source.path));
                }
            }
        }
    }
    fail_on(faults)
}

#[test]
fn files_are_short_named_and_introduced() -> Outcome {
    let mut faults = Vec::new();
    for source in sources()?.iter().filter(|source| !source.is_generated()) {
        let lines = source.text.lines().count();
        if lines > TOO_LONG {
            faults.push(format!(
                "{}: {lines} lines: split it by idea (at most {TOO_LONG})",
                source.path
            ));
        } else if lines > LONG {
            note(&format!(
                "{} has {lines} lines: worth splitting (over {LONG})",
                source.path
            ));
        }
        let segments = source.path.trim_end_matches(".rs").split('/');
        for name in segments.filter(|segment| EMPTY_NAMES.contains(segment)) {
            faults.push(format!("{}: {name} says nothing about what is in there", source.path));
        }
        if source.path.contains("/src/") && !source.is_test && !source.text.starts_with("//!") {
            faults.push(format!("{}: begins without saying what it is (//!)", source.path));
        }
    }
    fail_on(faults)
}

#[test]
fn every_test_file_is_in_its_runner() -> Outcome {
    let mut faults = Vec::new();
    for member in ["node", "odf", "cli", "interop-tests", "xtask"] {
        let tests = root().join(member).join("tests");
        if !tests.is_dir() {
            continue;
        }
        let entries = fs::read_dir(&tests)?.collect::<Result<Vec<_>, _>>()?;
        let names = entries
            .iter()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let files: Vec<String> = names.filter(|name| name.ends_with(".rs")).collect();
        // One file is one binary without more ado.
        if files.len() < 2 {
            continue;
        }
        let runner = fs::read_to_string(tests.join("runner.rs"))
            .map_err(|error| format!("{member}/tests/runner.rs: {error}: one test binary a crate"))?;
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml"))?;
        if !manifest.contains("autotests = false") {
            let why = "without `autotests = false` every file is a binary of its own";
            faults.push(format!("{member}/Cargo.toml: {why}"));
        }
        for file in files.iter().filter(|file| *file != "runner.rs") {
            let listed = format!("mod {};", file.trim_end_matches(".rs"));
            if !runner.lines().any(|line| line.trim_start_matches("pub ") == listed) {
                faults.push(format!(
                    "{member}/tests/runner.rs does not list {file}: its tests do not run"
                ));
            }
        }
    }
    fail_on(faults)
}

#[test]
fn the_code_map_is_the_code() -> Outcome {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let mut faults = Vec::new();
    for path in map
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| quoted.contains("/src/") || quoted.ends_with(".md"))
    {
        if !path.contains('*') && !root().join(path).exists() {
            faults.push(format!("ARCHITECTURE.md names {path}, which does not exist"));
        }
    }
    for source in sources()? {
        let Some((member, rest)) = source.path.split_once("/src/") else {
            continue;
        };
        let top = !source.is_test && !rest.contains('/') && !matches!(rest, "lib.rs" | "main.rs");
        if top && matches!(member, "node" | "odf") && !map.contains(&format!("`{}`", source.path)) {
            faults.push(format!("ARCHITECTURE.md does not say what {} is for", source.path));
        }
    }
    fail_on(faults)
}

#[test]
fn no_package_registry_is_named() -> Outcome {
    // In pieces, so that this file does not name them either.
    let hosts = [
        ["registry.npm", "js.org"],
        ["proxy.golang", ".org"],
        ["static.crates", ".io"],
        ["index.crates", ".io"],
    ];
    let mut found = Vec::new();
    files(&root(), &mut found)?;
    let mut faults = Vec::new();
    for path in found {
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        for host in hosts
            .iter()
            .map(|pieces| pieces.concat())
            .filter(|host| text.contains(host))
        {
            faults.push(format!(
                "{} names {host}: package clients know their registry",
                relative(&path)
            ));
        }
    }
    fail_on(faults)
}
