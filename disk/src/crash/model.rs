//! The model of a disk from which a [`Recorder`](super::Recorder) makes what a power cut leaves.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::record::{Record, Unsynced};
use crate::FileKey;

/// A file system of two layers: as programs see it, and as the medium has it.
pub(super) struct Model {
    root: PathBuf,
    nodes: Vec<Node>,
    files: HashMap<FileKey, usize>,
}

enum Node {
    Dir {
        now: BTreeMap<OsString, usize>,
        kept: BTreeMap<OsString, usize>,
    },
    File {
        now: Vec<u8>,
        kept: Vec<u8>,
        unsynced: Vec<(u64, Vec<u8>)>,
    },
}

impl Model {
    pub(super) fn of(before: &Path, root: &Path, skip: &dyn Fn(&Path) -> bool) -> io::Result<Self> {
        let mut model = Self {
            root: root.to_owned(),
            nodes: vec![Node::Dir {
                now: BTreeMap::new(),
                kept: BTreeMap::new(),
            }],
            files: HashMap::new(),
        };
        model.read(before, Path::new(""), 0, skip)?;
        Ok(model)
    }

    fn read(&mut self, before: &Path, at: &Path, dir: usize, skip: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(before.join(at))? {
            let entry = entry?;
            let path = at.join(entry.file_name());
            let kind = entry.file_type()?;
            if skip(&path) || !(kind.is_dir() || kind.is_file()) {
                continue;
            }
            let id = self.nodes.len();
            if kind.is_dir() {
                self.nodes.push(Node::Dir {
                    now: BTreeMap::new(),
                    kept: BTreeMap::new(),
                });
                self.read(before, &path, id, skip)?;
            } else {
                let now = fs::read(entry.path())?;
                let (kept, unsynced) = (now.clone(), Vec::new());
                self.nodes.push(Node::File { now, kept, unsynced });
            }
            if let Node::Dir { now, kept } = &mut self.nodes[dir] {
                now.insert(entry.file_name(), id);
                kept.insert(entry.file_name(), id);
            }
        }
        Ok(())
    }

    /// The node of a path as programs see it; nothing for what lies outside, or was left out.
    fn node(&self, path: &Path) -> Option<usize> {
        let mut at = 0;
        for part in path.strip_prefix(&self.root).ok()?.components() {
            let (Component::Normal(name), Node::Dir { now, .. }) = (part, &self.nodes[at]) else {
                return None;
            };
            at = *now.get(name)?;
        }
        Some(at)
    }

    fn enter(&mut self, path: &Path, node: usize) {
        let (Some(parent), Some(name)) = (path.parent().and_then(|dir| self.node(dir)), path.file_name()) else {
            return;
        };
        if let Node::Dir { now, .. } = &mut self.nodes[parent] {
            now.insert(name.to_owned(), node);
        }
    }

    fn leave(&mut self, path: &Path) -> Option<usize> {
        let parent = path.parent().and_then(|dir| self.node(dir))?;
        match &mut self.nodes[parent] {
            Node::Dir { now, .. } => now.remove(path.file_name()?),
            Node::File { .. } => None,
        }
    }

    fn file(&mut self, path: &Path, key: FileKey) -> Option<&mut Node> {
        let id = match self.files.get(&key) {
            Some(id) => *id,
            None => self.node(path)?,
        };
        self.nodes.get_mut(id)
    }

    fn change(&mut self, path: &Path, key: FileKey, change: impl FnOnce(&mut Vec<u8>, &mut Vec<(u64, Vec<u8>)>)) {
        if let Some(Node::File { now, unsynced, .. }) = self.file(path, key) {
            change(now, unsynced);
        }
    }

    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Opened(path, key) => {
                if let Some(id) = self.node(path) {
                    self.files.insert(*key, id);
                }
            }
            Record::CreateDir(path) => {
                let (now, kept) = (BTreeMap::new(), BTreeMap::new());
                self.nodes.push(Node::Dir { now, kept });
                self.enter(path, self.nodes.len() - 1);
            }
            Record::Create(path) => match self.node(path) {
                Some(id) => {
                    if let Node::File { now, unsynced, .. } = &mut self.nodes[id] {
                        now.clear();
                        unsynced.clear();
                    }
                }
                None => {
                    let (now, kept, unsynced) = (Vec::new(), Vec::new(), Vec::new());
                    self.nodes.push(Node::File { now, kept, unsynced });
                    self.enter(path, self.nodes.len() - 1);
                }
            },
            Record::Write(path, key, offset, bytes) => self.change(path, *key, |now, unsynced| {
                overlay(now, *offset, bytes);
                unsynced.push((*offset, bytes.clone()));
            }),
            Record::Content(path, bytes) => {
                let id = self.node(path).unwrap_or(self.nodes.len());
                if id == self.nodes.len() {
                    let (now, kept, unsynced) = (Vec::new(), Vec::new(), Vec::new());
                    self.nodes.push(Node::File { now, kept, unsynced });
                    self.enter(path, id);
                }
                if let Node::File { now, .. } = &mut self.nodes[id] {
                    now.clone_from(bytes);
                }
            }
            Record::Resize(path, key, len) => self.change(path, *key, |now, _| now.resize(*len as usize, 0)),
            Record::Punch(path, key, offset, len) => self.change(path, *key, |now, unsynced| {
                let end = (*offset + len).min(now.len() as u64);
                let zeros = vec![0; end.saturating_sub(*offset) as usize];
                overlay(now, *offset, &zeros);
                unsynced.push((*offset, zeros));
            }),
            Record::Sync(path, key, _) => {
                if let Some(node) = self.file(path, *key) {
                    keep(node);
                }
            }
            Record::SyncDir(path, _) => {
                if let Some(id) = self.node(path) {
                    keep(&mut self.nodes[id]);
                }
            }
            Record::SyncAll => self.nodes.iter_mut().for_each(keep),
            Record::Rename(from, to) => {
                if let Some(id) = self.leave(from) {
                    self.enter(to, id);
                }
            }
            Record::Link(from, to) => {
                if let Some(id) = self.node(from) {
                    self.enter(to, id);
                }
            }
            Record::Remove(path) => {
                self.leave(path);
            }
        }
    }

    pub(super) fn write(&self, unsynced: Unsynced, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        self.write_dir(0, unsynced, to)
    }

    fn write_dir(&self, dir: usize, mode: Unsynced, to: &Path) -> io::Result<()> {
        let Node::Dir { now, kept } = &self.nodes[dir] else {
            return Ok(());
        };
        let entries = if mode == Unsynced::Dropped { kept } else { now };
        for (name, id) in entries {
            let path = to.join(name);
            match &self.nodes[*id] {
                Node::Dir { .. } => {
                    fs::create_dir(&path)?;
                    self.write_dir(*id, mode, &path)?;
                }
                Node::File { now, kept, unsynced } => match mode {
                    Unsynced::Kept => fs::write(&path, now)?,
                    Unsynced::Dropped => fs::write(&path, kept)?,
                    Unsynced::Torn => fs::write(&path, torn(now, kept, unsynced))?,
                },
            }
        }
        Ok(())
    }
}

fn keep(node: &mut Node) {
    match node {
        Node::Dir { now, kept } => kept.clone_from(now),
        Node::File { now, kept, unsynced } => {
            kept.clone_from(now);
            unsynced.clear();
        }
    }
}

fn overlay(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

fn torn(now: &[u8], kept: &[u8], unsynced: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut content = kept.to_vec();
    for (at, (offset, bytes)) in unsynced.iter().enumerate() {
        let last = at + 1 == unsynced.len();
        let reached = match (at % 2, last) {
            (_, true) => &bytes[..bytes.len() / 2],
            (0, false) => &bytes[..],
            (_, false) => continue,
        };
        overlay(&mut content, *offset, reached);
    }
    // The length is a matter of the inode, which reached the medium as the names did.
    content.resize(now.len(), 0);
    content
}
