//! Datasets that come together, and take the place of others, in one step.
//!
//! What was written waits in a directory of its own, beside a list of what comes and what goes. Giving that directory its
//! name is the step: before it a crash leaves everything as it was, after it the next start finishes what is left to do.

use std::fs;
use std::path::PathBuf;

use odf_disk::{Access, PENDING_PREFIX, read_small};
use odf_metadata::DatasetId;

use crate::catalog::{Catalog, CatalogError};
use crate::dataset::WrittenDataset;
use crate::rewrite::{Datasets, RewriteError};

/// The directory, once the step is done.
const SWAP: &str = ".swap";
/// The list in it: a line `- ID` for each dataset that goes, and `+ ID` for each that comes.
const LIST: &str = "list";
/// The longest list that is read: some 100,000 datasets.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// What a swap that was begun is about.
#[derive(Default)]
struct Swap {
    go: Vec<DatasetId>,
    come: Vec<DatasetId>,
}

impl Swap {
    fn parse(text: &str) -> Self {
        let mut swap = Self::default();
        for (sign, id) in text.lines().filter_map(|line| line.split_once(' ')) {
            match (sign, DatasetId::from_multibase(id)) {
                ("-", Ok(id)) => swap.go.push(id),
                ("+", Ok(id)) => swap.come.push(id),
                _ => {}
            }
        }
        swap
    }

    fn text(&self) -> String {
        let go = self.go.iter().map(|id| format!("- {}\n", id.to_multibase()));
        let come = self.come.iter().map(|id| format!("+ {}\n", id.to_multibase()));
        go.chain(come).collect()
    }
}

impl Catalog {
    fn swap_dir(&self) -> PathBuf {
        self.dir().join(SWAP)
    }

    /// Decides that `new` come and `gone` go, in this order; [`Datasets::finish_swap`] carries it out.
    ///
    /// # Errors
    /// Nothing is decided, and dropping `new` removes them.
    pub(crate) fn decide_swap(&self, new: &mut [&mut WrittenDataset], gone: &[DatasetId]) -> Result<(), CatalogError> {
        let disk = &self.medium().disk;
        let pending = self.dir().join(format!("{PENDING_PREFIX}swap"));
        disk.remove_tree(&pending)?;
        disk.create_dirs(&pending, Access::Readable)?;
        for written in &mut *new {
            written.wait_in(&pending)?;
        }
        let swap = Swap {
            go: gone.to_vec(),
            come: new.iter().map(|written| written.id()).collect(),
        };
        disk.replace(&pending.join(LIST), swap.text().as_bytes(), Access::Readable)?;
        disk.sync_dir(&pending)?;
        disk.rename(&pending, &self.swap_dir())?;
        Ok(disk.sync_dir(self.dir())?)
    }

    /// Whether a dataset that was to come is in its place. What waits may then still be there as well.
    fn has_come(&self, id: &DatasetId) -> bool {
        let head = |dir: PathBuf| fs::read(dir.join("refs/head")).ok();
        let waits = self.swap_dir().join(id.to_multibase());
        !waits.exists() || head(waits) == head(self.dataset_dir(id))
    }
}

impl Datasets {
    /// Carries out a swap that was decided, by this process or by one that was cut; without one it does nothing.
    ///
    /// # Errors
    /// Something cannot be moved or deleted now; calling this again goes on from there.
    pub fn finish_swap(&self) -> Result<(), RewriteError> {
        let catalog = self.catalog();
        let dir = catalog.swap_dir();
        if !dir.exists() {
            return Ok(());
        }
        let disk = &catalog.medium().disk;
        let list = read_small(&dir.join(LIST), MAX_LIST_BYTES).map_err(CatalogError::from)?;
        let swap = list.map(|list| Swap::parse(&String::from_utf8_lossy(&list)));
        let swap = swap.unwrap_or_default();
        for id in &swap.go {
            let is_old = !swap.come.contains(id) || !catalog.has_come(id);
            if !is_old || catalog.dataset_dir(id).symlink_metadata().is_err() {
                continue;
            }
            match self.delete(id) {
                Err(error @ RewriteError::Left { .. }) => tracing::warn!(%error, "what a replaced dataset left"),
                other => other?,
            }
        }
        for id in swap.come.iter().filter(|id| !catalog.has_come(id)) {
            let from = dir.join(id.to_multibase());
            disk.rename(&from, &catalog.dataset_dir(id))
                .map_err(CatalogError::from)?;
        }
        let done = || -> Result<(), CatalogError> {
            disk.sync_dir(catalog.dir())?;
            disk.remove_tree(&dir)?;
            Ok(disk.sync_dir(catalog.dir())?)
        };
        Ok(done()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_goes_and_what_comes() {
        let id = |byte: u8| DatasetId::from_public_key([byte; 32]);
        let swap = Swap {
            go: vec![id(1), id(2)],
            come: vec![id(2)],
        };
        let read = Swap::parse(&swap.text());
        assert_eq!((read.go, read.come), (swap.go, swap.come));
        let nothing = Swap::parse("- \n+ x\n\n* fed01\n");
        assert!(nothing.go.is_empty() && nothing.come.is_empty());
    }
}
