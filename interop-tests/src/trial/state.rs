//! What is in a workspace, checked from outside: its datasets, its pinned roots, and every block below them.

use crate::workspace::dataset::Listed;
use crate::{Failure, Outcome, Workspace};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;

/// What the CID of a root begins with: CIDv1, dag-cbor, sha2-256.
const ROOT_PREFIX: &str = "bafyrei";

/// Heads by root, of every root that was looked at: which head a root is of never changes.
#[derive(Default)]
pub(super) struct Heads(RefCell<BTreeMap<String, String>>);

impl Heads {
    fn of(&self, root: &str, workspace: &Workspace) -> Outcome<String> {
        if let Some(head) = self.0.borrow().get(root) {
            return Ok(head.clone());
        }
        let head = workspace.odfs(["ipfs", "cat", &format!("{root}/refs/head")])?.text();
        self.0.borrow_mut().insert(root.to_owned(), head.clone());
        Ok(head)
    }
}

/// The datasets of a workspace, each verified, and the roots that it pins.
pub(super) struct Seen {
    /// By name.
    pub(super) datasets: BTreeMap<String, Listed>,
    /// Head by root.
    roots: BTreeMap<String, String>,
}

impl Seen {
    /// Looks, and verifies every dataset.
    pub(super) fn of(workspace: &Workspace, heads: &Heads) -> Outcome<Self> {
        let datasets = workspace.list()?;
        if !datasets.is_empty() {
            let verified = workspace.odfs(["verify", "%", "--output", "json"])?;
            let rows = verified.json()?;
            let ok = |row: &serde_json::Value| row["Result"] == "ok";
            let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
            if rows.len() != datasets.len() || !rows.iter().all(ok) {
                return Err(verified.failure("does not find every dataset ok"));
            }
        }
        let mut roots = BTreeMap::new();
        for line in workspace
            .odfs(["ipfs", "pin", "ls", "--type=recursive"])?
            .text()
            .lines()
        {
            let cid = line.split(' ').next().unwrap_or_default();
            if cid.starts_with(ROOT_PREFIX) {
                roots.insert(cid.to_owned(), heads.of(cid, workspace)?);
            }
        }
        Ok(Self { datasets, roots })
    }

    /// The pinned root of a head.
    fn root_of(&self, head: &str) -> Option<&str> {
        let found = self.roots.iter().find(|(_, of)| *of == head);
        found.map(|(root, _)| root.as_str())
    }

    /// Fails unless the head of every dataset has a pinned root.
    pub(super) fn pins_each_head(&self) -> Outcome {
        for (name, dataset) in &self.datasets {
            if self.root_of(&dataset.head).is_none() {
                return Err(Failure::new(format!(
                    "the root of {name} at {} is not pinned; pinned are {:?}",
                    dataset.head, self.roots
                )));
            }
        }
        Ok(())
    }

    /// Fails unless every root that was pinned before is, as long as its dataset is there.
    pub(super) fn still_pins(&self, before: &Self) -> Outcome {
        for (name, dataset) in &before.datasets {
            let root = before.root_of(&dataset.head);
            let is_here = self.datasets.values().any(|now| now.id == dataset.id);
            if let Some(root) = root.filter(|root| is_here && !self.roots.contains_key(*root)) {
                return Err(Failure::new(format!("the root {root} of {name} is no longer pinned")));
            }
        }
        Ok(())
    }

    /// Fails unless every block of the pinned roots is here: everything below the files, and the chain to its first node.
    /// `all` of them, or only those of the heads.
    pub(super) fn roots_are_whole(&self, workspace: &Workspace, all: bool) -> Outcome {
        let is_head = |head: &String| self.datasets.values().any(|dataset| dataset.head == *head);
        for (root, head) in self.roots.iter().filter(|(_, head)| all || is_head(head)) {
            let here = tempfile::tempdir()?;
            let folder = here.path().join("files");
            let path = folder.display().to_string();
            workspace.odfs(["ipfs", "get", &format!("{root}/files"), "-o", &path])?;
            let said = fs::read_to_string(folder.join("refs/head"))?;
            let blocks = fs::read_dir(folder.join("blocks"))?.count();
            if said != *head {
                return Err(Failure::new(format!(
                    "the files of {root} are of {said}, its head is {head}"
                )));
            }
            let to_first = format!("{root}/head{}/seq", "/prev".repeat(blocks - 1));
            let first = workspace.odfs(["ipfs", "dag", "get", &to_first])?;
            if first.text() != "0" {
                return Err(first.failure("is not the first node of the chain"));
            }
        }
        Ok(())
    }
}

/// Lets peers that know nobody else pull each root that is pinned, and, `by_name`, each dataset by its own name.
pub(super) fn fetched_by_another(workspace: &Workspace, seen: &Seen, by_name: bool) -> Outcome {
    let (node, heads) = (workspace.node()?, Heads::default());
    let pull = |address: &str, head: &str| -> Outcome {
        let there = Workspace::new()?;
        there.odfs(["pull", address, "--as", "t", "--peer", &node.address])?;
        let pulled = Seen::of(&there, &heads)?;
        pulled.pins_each_head()?;
        pulled.roots_are_whole(&there, true)?;
        match pulled.datasets.get("t") {
            Some(dataset) if dataset.head == head => Ok(()),
            other => Err(Failure::new(format!("another peer got {other:?} instead of {head}"))),
        }
    };
    for (root, head) in &seen.roots {
        pull(&format!("ipfs://{root}"), head).map_err(|fault| fault.during(format!("fetching {root}")))?;
    }
    for dataset in seen.datasets.values().filter(|_| by_name) {
        let name = dataset.ipns.as_deref().ok_or("a dataset without a name")?;
        pull(&format!("ipns://{name}"), &dataset.head).map_err(|fault| fault.during(format!("fetching {name}")))?;
    }
    node.stop().map(drop)
}
