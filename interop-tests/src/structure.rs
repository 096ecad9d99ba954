//! The tree of this repository as a picture: its crates, its source files, and who uses whom.
//!
//! Read from the text alone, without a compiler, so that a test and a task can say in a second what the code looks
//! like. An arrow goes from a file that names an item to the file that defines it, whatever modules pass the name on;
//! code for tests is left out. Methods are not seen, and neither are macros used by bare name: both only follow a type
//! or a module that is.

mod arrows;
mod modules;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

pub use arrows::{Arrow, Circle};

use crate::Outcome;

/// Written by a program, so no rule of form applies.
const GENERATED: [&str; 1] = ["generated.rs"];
/// How many of the longest files a picture shows.
const LONGEST: usize = 10;

/// One Rust file.
#[derive(Debug, Clone)]
pub struct Source {
    /// From the root of the repository, with `/` between segments.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Compiled for tests only.
    pub is_test: bool,
}

impl Source {
    /// Whether a program wrote it.
    pub fn is_generated(&self) -> bool {
        GENERATED.iter().any(|name| self.path.ends_with(name))
    }

    /// Number of lines, those of comments included.
    pub fn len(&self) -> usize {
        self.text.lines().count()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Lines of code, not of comments, with their numbers; without the tests that stand in the same file.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.text[..self.text.len() - self.tests().len()].lines().enumerate();
        code.map(|(n, line)| (n + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The tests that stand in the file beside what they test. A module of tests in a file of its own is none of them,
    /// wherever it is declared.
    pub fn tests(&self) -> &str {
        let declared = self.text.match_indices("#[cfg(test)]\nmod ");
        let mut written_out = declared.filter(|(at, found)| {
            let rest = &self.text[at + found.len()..];
            rest.lines().next().is_some_and(|line| line.ends_with('{'))
        });
        written_out.next().map_or("", |(at, _)| &self.text[at..])
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
}

/// One crate of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The package's name.
    pub package: String,
    /// Its folder, from the root of the repository.
    pub folder: String,
    /// The packages that its code depends on, those from elsewhere included.
    pub dependencies: BTreeSet<String>,
    /// The same for its tests.
    pub test_dependencies: BTreeSet<String>,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Every file that is committed or could be: no build output, nothing hidden. From the root, in order.
    pub paths: Vec<String>,
    /// The Rust files among them.
    pub sources: Vec<Source>,
    /// The crates of the workspace, in the order of their folders.
    pub members: Vec<Member>,
}

impl Tree {
    /// Reads what is below `root`.
    ///
    /// # Errors
    /// A file or folder cannot be read.
    pub fn read(root: &Path) -> Outcome<Self> {
        let mut paths = Vec::new();
        list(root, "", &mut paths)?;
        let mut texts = Vec::new();
        for path in &paths {
            if path.ends_with(".rs") || path == "Cargo.toml" || path.ends_with("/Cargo.toml") {
                texts.push((path.clone(), fs::read_to_string(root.join(path))?));
            }
        }
        Ok(Self::of(paths, texts))
    }

    /// The tree of these files alone: path and text of each.
    pub fn from_texts(texts: &[(&str, &str)]) -> Self {
        let owned = texts
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self::of(
            texts.iter().map(|(path, _)| (*path).to_owned()).collect(),
            owned.collect(),
        )
    }

    fn of(paths: Vec<String>, texts: Vec<(String, String)>) -> Self {
        let (manifests, rust): (Vec<_>, Vec<_>) = texts.into_iter().partition(|(path, _)| path.ends_with("Cargo.toml"));
        let excluded = manifests
            .iter()
            .find(|(path, _)| path == "Cargo.toml")
            .map(|(_, text)| listed(text, "exclude"))
            .unwrap_or_default();
        let members = manifests
            .iter()
            .filter_map(|(path, text)| member(path.strip_suffix("/Cargo.toml")?, text))
            .filter(|member| !excluded.contains(&member.folder));
        let mut sources: Vec<Source> = rust
            .into_iter()
            .map(|(path, text)| Source {
                is_test: path.contains("/tests/") || path.ends_with("/tests.rs"),
                path,
                text,
            })
            .collect();
        let for_tests: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut sources {
            source.is_test |= for_tests.contains(&source.path);
        }
        Self {
            paths,
            members: members.collect(),
            sources,
        }
    }

    /// The crate that a file belongs to.
    pub fn member_of(&self, path: &str) -> Option<&Member> {
        let owns = |member: &&Member| {
            path.strip_prefix(&member.folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.members
            .iter()
            .filter(owns)
            .max_by_key(|member| member.folder.len())
    }

    /// Every arrow between two files of the workspace's crates, within a crate and from crate to crate.
    pub fn arrows(&self) -> Vec<Arrow> {
        let texts: BTreeMap<&str, &str> = self
            .sources
            .iter()
            .map(|source| (source.path.as_str(), source.text.as_str()))
            .collect();
        let roots: Vec<(String, String)> = self
            .members
            .iter()
            .flat_map(|member| {
                ["lib.rs", "main.rs"].map(|file| {
                    (
                        member.package.replace('-', "_"),
                        format!("{}/src/{file}", member.folder),
                    )
                })
            })
            .collect();
        let roots: Vec<arrows::Root<'_>> = roots.iter().map(|(name, path)| arrows::Root { name, path }).collect();
        arrows::arrows(&roots, |path| texts.get(path).copied())
    }

    /// The circles among those arrows, the largest first.
    pub fn circles(&self) -> Vec<Circle> {
        arrows::circles(&self.arrows())
    }

    /// For a person: crates with their lines, the arrows between them, the longest files, the circles.
    pub fn picture(&self) -> String {
        let mut picture = String::new();
        // Writing to a string has no way to fail.
        let _ = self.draw(&mut picture);
        picture
    }

    fn draw(&self, to: &mut String) -> std::fmt::Result {
        let mut lines: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for source in &self.sources {
            if let Some(member) = self.member_of(&source.path) {
                lines.entry(&member.folder).or_default()[usize::from(source.is_test)] += source.len();
            }
        }
        writeln!(
            to,
            "crates, with lines of code (tests inside a file included) and of test files"
        )?;
        for member in &self.members {
            let [code, tests] = lines.get(member.folder.as_str()).copied().unwrap_or_default();
            writeln!(to, "  {:<28} {code:>7} {tests:>7}  {}", member.folder, member.package)?;
        }

        let arrows = self.arrows();
        let mut between: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for arrow in &arrows {
            if let (Some(from), Some(to)) = (self.member_of(&arrow.from), self.member_of(&arrow.to))
                && from.folder != to.folder
            {
                let names = arrow.names.iter().map(String::as_str);
                between.entry((&from.folder, &to.folder)).or_default().extend(names);
            }
        }
        writeln!(to, "arrows between crates, with the number of names that cross")?;
        for ((user, used), names) in &between {
            writeln!(to, "  {user} -> {used}: {}", names.len())?;
        }

        let mut longest: Vec<&Source> = self.sources.iter().filter(|source| !source.is_generated()).collect();
        longest.sort_by_key(|source| std::cmp::Reverse(source.len()));
        writeln!(to, "the longest files")?;
        for source in longest.into_iter().take(LONGEST) {
            writeln!(to, "  {:>5} {}", source.len(), source.path)?;
        }

        let circles = arrows::circles(&arrows);
        match circles.len() {
            0 => writeln!(to, "circles of files: none"),
            many => {
                writeln!(to, "circles of files: {many}")?;
                circles.iter().try_for_each(|circle| writeln!(to, "{circle}"))
            }
        }
    }
}

/// Adds the files below `folder` of `root`.
fn list(root: &Path, folder: &str, found: &mut Vec<String>) -> Outcome {
    let mut entries = fs::read_dir(root.join(folder))?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || matches!(&*name, "target" | "node_modules") {
            continue;
        }
        let path = if folder.is_empty() {
            name.into_owned()
        } else {
            format!("{folder}/{name}")
        };
        if entry.file_type()?.is_dir() {
            list(root, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// The crate that a manifest describes, if it describes one.
fn member(folder: &str, manifest: &str) -> Option<Member> {
    let mut package = None;
    let mut dependencies = BTreeSet::new();
    let mut test_dependencies = BTreeSet::new();
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            // `[dependencies.name]`
            if let Some((of, name)) = section.split_once('.') {
                match of {
                    "dependencies" => dependencies.insert(name.to_owned()),
                    "dev-dependencies" => test_dependencies.insert(name.to_owned()),
                    _ => false,
                };
            }
            continue;
        }
        let key = line.split(['.', ' ', '=']).next().unwrap_or_default();
        match section {
            "package" if key == "name" => package = line.split('"').nth(1).map(str::to_owned),
            _ if key.is_empty() || key.starts_with('#') => {}
            "dependencies" | "build-dependencies" => {
                dependencies.insert(key.to_owned());
            }
            "dev-dependencies" => {
                test_dependencies.insert(key.to_owned());
            }
            _ => {}
        }
    }
    Some(Member {
        package: package?,
        folder: folder.to_owned(),
        dependencies,
        test_dependencies,
    })
}

/// The strings of `key = ["…", "…"]` in a manifest.
fn listed(manifest: &str, key: &str) -> Vec<String> {
    let Some((_, rest)) = manifest.split_once(&format!("\n{key} = [")) else {
        return Vec::new();
    };
    let list = rest.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
