//! Who uses whom: from the modules of every file to arrows between files, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{self, Import, Module};

/// One file that uses names of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrow {
    /// The file that uses.
    pub from: String,
    /// The file that defines.
    pub to: String,
    /// What it uses.
    pub names: BTreeSet<String>,
}

/// Files each of which uses all the others, by way of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// The files, in the order of their names.
    pub files: Vec<String>,
    /// The arrows between them.
    pub arrows: Vec<Arrow>,
}

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a circle of {} files: {}", self.files.len(), self.files.join(", "))?;
        for arrow in &self.arrows {
            let names: Vec<&str> = arrow.names.iter().map(String::as_str).collect();
            write!(f, "\n  {} -> {}: {}", arrow.from, arrow.to, names.join(", "))?;
        }
        Ok(())
    }
}

/// A crate to look at: the name that others use it by, and the file it begins with.
pub(super) struct Root<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a str,
}

/// Arrows between the files that the modules of `roots` live in. `text_of` gives the text of a file, if there is one.
pub(super) fn arrows<'a>(roots: &[Root<'_>], text_of: impl Fn(&str) -> Option<&'a str>) -> Vec<Arrow> {
    let mut house = House::default();
    for root in roots {
        if let Some(text) = text_of(root.path) {
            let folder = root.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let place = Place {
                file: root.path.to_owned(),
                folder: folder.to_owned(),
                parent: None,
                root: house.modules.len(),
            };
            let id = house.take_in(modules::module(text), place, &text_of);
            if root.path.ends_with("lib.rs") {
                house.crates.insert(root.name.to_owned(), id);
            }
        }
    }
    house.arrows()
}

struct Place {
    file: String,
    /// Where the files of its modules are.
    folder: String,
    parent: Option<usize>,
    root: usize,
}

struct Room {
    module: Module,
    place: Place,
    children: BTreeMap<String, usize>,
}

/// What a path leads to.
#[derive(Clone)]
enum Found {
    Module(usize),
    /// A file, and the name of the item in it.
    Item(String, String),
}

/// Re-exports of re-exports that are followed; more is a circle of `use`.
const MAX_STEPS: usize = 32;

#[derive(Default)]
struct House {
    modules: Vec<Room>,
    /// Crates by the name that others use.
    crates: BTreeMap<String, usize>,
}

impl House {
    /// Takes in a module with all that is below it.
    fn take_in<'a>(&mut self, mut module: Module, place: Place, text_of: &impl Fn(&str) -> Option<&'a str>) -> usize {
        let id = self.modules.len();
        let (in_place, in_files) = (
            std::mem::take(&mut module.in_place),
            std::mem::take(&mut module.in_files),
        );
        let (folder, file, root) = (place.folder.clone(), place.file.clone(), place.root);
        self.modules.push(Room {
            module,
            place,
            children: BTreeMap::new(),
        });
        let mut children = BTreeMap::new();
        for child in in_place {
            let name = child.name.clone();
            let place = Place {
                file: file.clone(),
                folder: format!("{folder}/{name}"),
                parent: Some(id),
                root,
            };
            children.insert(name, self.take_in(child, place, text_of));
        }
        for name in in_files {
            let below = format!("{folder}/{name}");
            for path in [format!("{below}.rs"), format!("{below}/mod.rs")] {
                if let Some(text) = text_of(&path) {
                    let place = Place {
                        file: path,
                        folder: below.clone(),
                        parent: Some(id),
                        root,
                    };
                    children.insert(name, self.take_in(modules::module(text), place, text_of));
                    break;
                }
            }
        }
        self.modules[id].children = children;
        id
    }

    fn arrows(&self) -> Vec<Arrow> {
        let mut ties: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for (id, room) in self.modules.iter().enumerate() {
            let mut found: Vec<Found> = Vec::new();
            for import in &room.module.imports {
                match &import.name {
                    None => found.extend(self.of_glob(id, import)),
                    // Passing a name on is not using it.
                    Some(name) if import.is_shared && !room.module.words.contains(name) => {}
                    Some(_) => found.extend(self.resolve(id, &import.path, MAX_STEPS)),
                }
            }
            for path in &room.module.paths {
                found.extend(self.resolve(id, path, MAX_STEPS));
            }
            for item in found {
                if let Found::Item(file, name) = item
                    && file != room.place.file
                {
                    ties.entry((room.place.file.clone(), file)).or_default().insert(name);
                }
            }
        }
        ties.into_iter()
            .map(|((from, to), names)| Arrow { from, to, names })
            .collect()
    }

    /// The items that a module uses by way of `use path::*`.
    fn of_glob(&self, at: usize, import: &Import) -> Vec<Found> {
        let module = &self.modules[at].module;
        match self.resolve(at, &import.path, MAX_STEPS) {
            Some(Found::Module(target)) => {
                let words = module.words.iter().filter(|word| !module.defined.contains(*word));
                words.filter_map(|word| self.look_up(target, word, MAX_STEPS)).collect()
            }
            // The variants of an enum.
            Some(item) => vec![item],
            None => Vec::new(),
        }
    }

    /// What `path`, as written in module `at`, leads to; nothing if that is outside.
    fn resolve(&self, at: usize, path: &[String], steps: usize) -> Option<Found> {
        let (first, mut rest) = path.split_first()?;
        let mut found = match first.as_str() {
            "crate" => Found::Module(self.modules[at].place.root),
            "self" => Found::Module(at),
            "super" => Found::Module(self.modules[at].place.parent?),
            name => match self.look_up(at, name, steps) {
                Some(found) => found,
                None => Found::Module(*self.crates.get(name)?),
            },
        };
        while let (Found::Module(module), Some((next, after))) = (&found, rest.split_first()) {
            let module = *module;
            found = match next.as_str() {
                "super" => Found::Module(self.modules[module].place.parent?),
                // A name that is not seen was made by a macro of that module.
                name => self
                    .look_up(module, name, steps)
                    .unwrap_or_else(|| Found::Item(self.modules[module].place.file.clone(), name.to_owned())),
            };
            rest = after;
        }
        Some(found)
    }

    /// What `name` is in module `at`.
    fn look_up(&self, at: usize, name: &str, steps: usize) -> Option<Found> {
        let steps = steps.checked_sub(1)?;
        let room = &self.modules[at];
        if let Some(child) = room.children.get(name) {
            return Some(Found::Module(*child));
        }
        if room.module.defined.contains(name) {
            return Some(Found::Item(room.place.file.clone(), name.to_owned()));
        }
        let (globs, named): (Vec<_>, Vec<_>) = room.module.imports.iter().partition(|import| import.name.is_none());
        if let Some(import) = named.iter().find(|import| import.name.as_deref() == Some(name)) {
            // `use name::…;` names a crate of that name, not itself.
            return if import.path.first().is_some_and(|first| first == name) {
                let root = Found::Module(*self.crates.get(name)?);
                if import.path.len() == 1 { Some(root) } else { None }
            } else {
                self.resolve(at, &import.path, steps)
            };
        }
        globs
            .iter()
            .find_map(|import| match self.resolve(at, &import.path, steps)? {
                Found::Module(target) if target != at => self.look_up(target, name, steps),
                _ => None,
            })
    }
}

/// The circles among `arrows`, each once, the largest first.
pub(super) fn circles(arrows: &[Arrow]) -> Vec<Circle> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut before: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for arrow in arrows {
        next.entry(&arrow.from).or_default().push(&arrow.to);
        before.entry(&arrow.to).or_default().push(&arrow.from);
    }
    let mut circles = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for file in next.keys() {
        if done.contains(file) {
            continue;
        }
        let after = reached(file, &next);
        let files: BTreeSet<&str> = reached(file, &before).intersection(&after).copied().collect();
        done.extend(&files);
        if files.len() > 1 {
            let within = arrows
                .iter()
                .filter(|arrow| files.contains(arrow.from.as_str()) && files.contains(arrow.to.as_str()));
            circles.push(Circle {
                files: files.iter().map(|file| (*file).to_owned()).collect(),
                arrows: within.cloned().collect(),
            });
        }
    }
    circles.sort_by(|a, b| b.files.len().cmp(&a.files.len()).then_with(|| a.files.cmp(&b.files)));
    circles
}

/// `from`, and all that can be reached from there.
fn reached<'a>(from: &'a str, next: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::from([from]);
    let mut waiting = vec![from];
    while let Some(file) = waiting.pop() {
        for to in next.get(file).into_iter().flatten() {
            if reached.insert(to) {
                waiting.push(to);
            }
        }
    }
    reached
}
