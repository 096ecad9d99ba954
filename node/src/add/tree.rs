//! Directory trees: walked first, their files added in one run, directories made from the inside out.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::{
    AddError, AddOptions, Added, Progress,
    error::MAX_DEPTH,
    run::{Input, Sink, cut_off, run},
};
use crate::{
    block::Block,
    store::{Blocks as _, Store},
    unixfs::{Entry, directory, node},
};

/// What was found at a path.
enum Item {
    /// The next regular file in order.
    File,
    Symlink(Box<(Entry, Block)>),
    Directory(Vec<(String, Item)>),
}

pub(super) fn add(store: &Store, path: &Path, options: &AddOptions<'_>) -> Result<Added, AddError> {
    let mut listed = Vec::new();
    let found = walk(path, 0, options, &mut listed)?;
    let files: Vec<&PathBuf> = listed
        .iter()
        .filter(|(_, link)| link.is_none())
        .map(|(path, _)| path)
        .collect();
    let sources = files.iter().map(|path| {
        let file = File::open(path).map_err(|source| AddError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Input {
            path: path.to_path_buf(),
            reader: Box::new(file),
            lengths: None,
        })
    });
    let sink = if options.only_hash { Sink::Nothing } else { Sink::Packs };
    let run = run(store, sources, sink, options, options.profile.chunk_bytes)?;

    let base = path.parent().unwrap_or(Path::new(""));
    let shown = |path: &Path| {
        path.strip_prefix(base)
            .map_or_else(|_| path.to_path_buf(), Path::to_path_buf)
    };
    let mut entries = Vec::with_capacity(files.len());
    let mut added = run.entries.into_iter();
    for (path, link) in &listed {
        let entry = match link {
            Some(entry) => *entry,
            None => {
                let entry = added.next().flatten().ok_or_else(|| cut_off(path))?;
                entries.push(entry);
                entry
            }
        };
        (options.watch)(Progress::Added {
            path: &shown(path),
            entry,
        });
    }
    let mut make = Make {
        store,
        options,
        entries: entries.iter(),
        shown: &shown,
    };
    let entry = make.entry(path, found)?;
    Ok(Added {
        entry,
        files: files.len() as u64,
        bytes: run.bytes,
    })
}

/// Paths of files and symlinks in order, a symlink with what it became.
type Listed = Vec<(PathBuf, Option<Entry>)>;

fn walk(path: &Path, depth: usize, options: &AddOptions<'_>, listed: &mut Listed) -> Result<Item, AddError> {
    options.check()?;
    let read = |source| AddError::Read {
        path: path.to_path_buf(),
        source,
    };
    if depth > MAX_DEPTH {
        return Err(AddError::TooDeep {
            path: path.to_path_buf(),
        });
    }
    let kind = fs::symlink_metadata(path).map_err(read)?.file_type();
    if kind.is_file() {
        listed.push((path.to_path_buf(), None));
        return Ok(Item::File);
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).map_err(read)?;
        let target = target.to_str().ok_or_else(|| AddError::Name { path: target.clone() })?;
        let (entry, block) = node::symlink(&options.profile, target)?;
        listed.push((path.to_path_buf(), Some(entry)));
        return Ok(Item::Symlink(Box::new((entry, block))));
    }
    if !kind.is_dir() {
        return Err(AddError::Special {
            path: path.to_path_buf(),
        });
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let name = name
            .into_string()
            .map_err(|name| AddError::Name { path: path.join(name) })?;
        if (options.hidden || !name.starts_with('.')) && !(options.ignore)(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut children = Vec::with_capacity(names.len());
    for name in names {
        let child = walk(&path.join(&name), depth + 1, options, listed)?;
        children.push((name, child));
    }
    Ok(Item::Directory(children))
}

/// Makes what stands above the files.
struct Make<'a> {
    store: &'a Store,
    options: &'a AddOptions<'a>,
    /// What the files became, in order.
    entries: std::slice::Iter<'a, Entry>,
    shown: &'a dyn Fn(&Path) -> PathBuf,
}

impl Make<'_> {
    fn entry(&mut self, path: &Path, found: Item) -> Result<Entry, AddError> {
        let entry = match found {
            Item::File => return self.entries.next().copied().ok_or_else(|| cut_off(path)),
            Item::Symlink(made) => {
                let (entry, block) = *made;
                self.put(&[block])?;
                return Ok(entry);
            }
            Item::Directory(children) => {
                let mut links = Vec::with_capacity(children.len());
                for (name, child) in children {
                    let entry = self.entry(&path.join(&name), child)?;
                    links.push((name, entry));
                }
                let built = directory::build(&self.options.profile, links).map_err(|source| AddError::Directory {
                    path: path.to_path_buf(),
                    source,
                })?;
                self.put(&built.blocks)?;
                built.entry
            }
        };
        (self.options.watch)(Progress::Added {
            path: &(self.shown)(path),
            entry,
        });
        Ok(entry)
    }

    fn put(&self, blocks: &[Block]) -> Result<(), AddError> {
        if self.options.only_hash {
            Ok(())
        } else {
            Ok(self.store.put(blocks)?)
        }
    }
}
