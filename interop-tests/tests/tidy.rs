//! What `ARCHITECTURE.md` promises about the tree, held by reading the tree.

use interop_tests::peers::note;
use interop_tests::structure::{Source, Tree};
use interop_tests::{Outcome, repository};
use std::collections::BTreeSet;
use std::fs;

/// A source file over this many lines is reported.
const LONG: usize = 600;
/// A source file over this many lines fails.
const TOO_LONG: usize = 1_200;
/// Names that tell nothing.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "common", "helper", "helpers", "misc", "manager", "shared",
];
/// Pure modules (I1): no I/O, no clock, no randomness of their own. A name stands for `name.rs` and `name/`.
const PURE: [&str; 8] = [
    "node/src/block",
    "node/src/car",
    "node/src/dag",
    "node/src/unixfs",
    "node/src/exchange/message",
    "node/src/ipns/record",
    "node/src/protobuf",
    "odf/metadata/src",
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

/// Modules in which bytes from outside become types (I3).
const OUTSIDE: [&str; 15] = [
    "doors/src",
    "node/src/block",
    "node/src/car",
    "node/src/dag",
    "node/src/unixfs",
    "node/src/exchange/message",
    "node/src/ipns/record",
    "node/src/gateway",
    "node/src/protobuf",
    "odf/metadata/src/codec",
    "odf/metadata/src/yaml",
    "odf/ingest/src",
    "odf/exchange/src",
    "odf/ipfs/src/ticket",
    "odf/ipfs/src/proof",
];

/// Which crates may use which: a folder, and the folders that those below it may use. `odf` stands for every crate below
/// it, whose arrows among each other cargo keeps from closing a circle.
const LAYERS: [(&str, &[&str]); 8] = [
    ("disk", &[]),
    ("doors", &[]),
    ("node", &["disk", "doors"]),
    ("odf", &["disk", "doors", "node", "odf"]),
    ("cli", &["disk", "doors", "node", "odf"]),
    ("interop-tests", &["disk"]),
    ("simulate", &["disk", "node", "odf", "interop-tests"]),
    ("xtask", &["disk", "odf", "interop-tests"]),
];

fn tree() -> Outcome<Tree> {
    let tree = Tree::read(&repository())?;
    assert!(tree.sources.len() > 20, "the walk found the tree");
    Ok(tree)
}

fn sources() -> Outcome<Vec<Source>> {
    Ok(tree()?.sources)
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

/// Whether a file is the module `name` or below it.
fn is_in(source: &Source, name: &str) -> bool {
    source
        .path
        .strip_prefix(name)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
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
    fail_on(faults)
}

/// The place of a folder among [`LAYERS`].
fn layer(folder: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    let is_below = |name: &str| folder == name || folder.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    LAYERS.iter().find(|(name, _)| is_below(name))
}

fn arrows_between_crates(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for member in &tree.members {
        let Some((name, may_use)) = layer(&member.folder) else {
            faults.push(format!(
                "{}: I1: say in LAYERS which crates this one may use",
                member.folder
            ));
            continue;
        };
        let used = tree.members.iter().filter(|used| {
            member.dependencies.contains(&used.package) || member.test_dependencies.contains(&used.package)
        });
        for used in used {
            if !layer(&used.folder).is_some_and(|(used, _)| may_use.contains(used)) {
                faults.push(format!(
                    "{}/Cargo.toml: I1: arrows go one way: what is in {name} does not use {}",
                    member.folder, used.package
                ));
            }
        }
    }
    faults
}

#[test]
fn crates_use_only_what_lies_below_them() -> Outcome {
    let package = |name: &str, used: &str| format!("[package]\nname = \"{name}\"\n[dependencies]\n{used}");
    let upwards = Tree::from_texts(&[
        ("cli/Cargo.toml", &package("odfs", "odf-node.workspace = true\n")),
        (
            "node/Cargo.toml",
            &package("odf-node", "odf-codec = { path = \"x\" }\n"),
        ),
        (
            "odf/codec/Cargo.toml",
            &package("odf-codec", "odf-disk.workspace = true\n"),
        ),
        ("disk/Cargo.toml", &package("odf-disk", "[dev-dependencies.odfs]\n")),
        ("else/Cargo.toml", &package("else", "")),
    ]);
    let faults = arrows_between_crates(&upwards);
    assert_eq!(faults.len(), 3, "{faults:?}");
    for folder in ["node", "disk", "else"] {
        assert!(faults.iter().any(|fault| fault.starts_with(folder)), "{faults:?}");
    }
    fail_on(arrows_between_crates(&tree()?))
}

#[test]
fn no_files_use_each_other_in_a_circle() -> Outcome {
    let circles = tree()?.circles();
    fail_on(circles.iter().map(|circle| format!("I8: {circle}")).collect())
}

#[test]
fn pure_modules_do_no_io() -> Outcome {
    let mut faults = Vec::new();
    for source in sources()? {
        if source.is_test || !PURE.iter().any(|name| is_in(&source, name)) {
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

/// Names of the constants `MAX_…` that a line declares.
fn limit(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("const MAX_")?;
    let name = words(rest).next()?;
    let is_declaration = before.trim().is_empty() || before.trim_start().starts_with("pub");
    is_declaration.then(|| &line[line.len() - rest.len() - "MAX_".len()..][.."MAX_".len() + name.len()])
}

#[test]
fn every_limit_on_what_comes_from_outside_is_tried() -> Outcome {
    assert_eq!(limit("    pub(super) const MAX_ROWS: usize = 1;"), Some("MAX_ROWS"));
    assert_eq!(limit("let most = MAX_ROWS;"), None);
    let sources = sources()?;
    let crate_of = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let tests = |source: &Source| match source.is_test {
        true => source.text.clone(),
        false => source.tests().to_owned(),
    };
    let named: BTreeSet<(String, String)> = sources
        .iter()
        .flat_map(|source| {
            let folder = crate_of(&source.path);
            let text = tests(source);
            let limits = words(&text).filter(|word| word.starts_with("MAX_"));
            limits.map(|word| (folder.clone(), word.to_owned())).collect::<Vec<_>>()
        })
        .collect();
    let mut faults = Vec::new();
    for module in OUTSIDE {
        let mut files = sources.iter().filter(|source| is_in(source, module)).peekable();
        if files.peek().is_none() {
            faults.push(format!("I3: there is no module {module}"));
        }
        for source in files.filter(|source| !source.is_test) {
            for (n, limit) in source.lines().filter_map(|(n, line)| Some((n, limit(line)?))) {
                if !named.contains(&(crate_of(&source.path), limit.to_owned())) {
                    faults.push(format!("{}:{n}: I3: no test names {limit}", source.path));
                }
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
        let owned = source.path.starts_with("node/src") || source.path.starts_with("odf/");
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
        let is_library = source.path.starts_with("node/src/") || source.path.starts_with("odf/");
        // The data that tests have.
        if !is_library || source.path.starts_with("odf/reference/") {
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
        let lines = source.len();
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
    for member in tree()?.members.iter().map(|member| member.folder.as_str()) {
        let tests = repository().join(member).join("tests");
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
        let manifest = fs::read_to_string(repository().join(member).join("Cargo.toml"))?;
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
    let map = fs::read_to_string(repository().join("ARCHITECTURE.md"))?;
    let mut faults = Vec::new();
    for path in map
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| quoted.contains("/src/") || quoted.ends_with(".md"))
    {
        if !path.contains('*') && !repository().join(path).exists() {
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
fn the_tests_that_hold_an_invariant_are_there() -> Outcome {
    let map = fs::read_to_string(repository().join("ARCHITECTURE.md"))?;
    let sources = sources()?;
    let quoted = map.split('`').skip(1).step_by(2);
    // Nothing else that the page quotes has so many words.
    let tests: Vec<&str> = quoted.filter(|quoted| quoted.matches('_').count() >= 4).collect();
    assert!(tests.len() > 5, "{tests:?}");
    let faults = tests.into_iter().filter(|test| {
        let declared = format!("fn {test}(");
        !sources
            .iter()
            .any(|source| source.path != "interop-tests/tests/tidy.rs" && source.text.contains(&declared))
    });
    fail_on(
        faults
            .map(|test| format!("ARCHITECTURE.md names the test {test}, which does not exist"))
            .collect(),
    )
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
    let mut faults = Vec::new();
    for path in tree()?.paths {
        let text = String::from_utf8_lossy(&fs::read(repository().join(&path))?).into_owned();
        for host in hosts
            .iter()
            .map(|pieces| pieces.concat())
            .filter(|host| text.contains(host))
        {
            faults.push(format!("{path} names {host}: package clients know their registry"));
        }
    }
    fail_on(faults)
}
