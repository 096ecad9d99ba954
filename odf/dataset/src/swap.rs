//! Datasets that come, and take the place of others, in one step.
//!
//! What was written waits in a directory of its own, beside an entry for each dataset that goes. Giving that directory its
//! name is the step: before it a crash leaves everything as it was, after it the next start finishes what is left to do.
//! Only the names of its entries say what that is, so there is no list that damage could part from what waits.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use odf_disk::{Access, PENDING_PREFIX};
use odf_metadata::DatasetId;

use crate::catalog::{Catalog, CatalogError};
use crate::dataset::WrittenDataset;
use crate::rewrite::{Datasets, RewriteError};

/// The directory, once the step is done. A dataset that comes waits in it under its id.
const SWAP: &str = ".swap";
/// With an id behind it, the name of an empty directory: this dataset goes, and none of its id comes.
const GOES: char = '-';

/// What a swap that was decided is about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Swap {
    go: Vec<DatasetId>,
    come: Vec<DatasetId>,
}

impl Swap {
    /// Reads the directory; nothing if there is none.
    fn read(dir: &Path) -> Result<Option<Self>, CatalogError> {
        let failed = |source| CatalogError::Io {
            operation: "read",
            path: dir.to_owned(),
            source,
        };
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let mut swap = Self::default();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            let (ids, id) = match name.strip_prefix(GOES) {
                Some(id) => (&mut swap.go, id),
                None => (&mut swap.come, &*name),
            };
            ids.extend(DatasetId::from_multibase(id));
        }
        Ok(Some(swap))
    }
}

/// What is to be done with a dataset that waits.
enum Waiting {
    /// It is in its place already; a crash can leave the entry here as well.
    Came,
    /// It moves to its place, which is free.
    Moves,
    /// It moves to its place once the dataset that is there is gone.
    Replaces,
    /// It cannot be read, and something is in its place: better that than nothing.
    Damaged,
}

impl Catalog {
    pub(crate) fn swap_dir(&self) -> PathBuf {
        self.dir().join(SWAP)
    }

    /// Under this name it is made, and taken away again.
    fn pending_swap(&self) -> PathBuf {
        self.dir().join(format!("{PENDING_PREFIX}swap"))
    }

    /// Decides that `new` come and `gone` go; [`Datasets::finish_swap`] carries it out. A power cut can take the decision
    /// back until then, or until the first that goes is set aside, which syncs the directory that has both names.
    ///
    /// # Errors
    /// Nothing is decided, and dropping `new` removes them.
    pub(crate) fn decide_swap(&self, new: &mut [&mut WrittenDataset], gone: &[DatasetId]) -> Result<(), CatalogError> {
        self.medium().changing(None)?;
        let disk = &self.medium().disk;
        let pending = self.pending_swap();
        disk.remove_tree(&pending)?;
        disk.create_dir(&pending, Access::Readable)?;
        for id in gone.iter().filter(|id| new.iter().all(|written| written.id() != **id)) {
            let goes = pending.join(format!("{GOES}{}", id.to_multibase()));
            disk.create_dir(&goes, Access::Readable)?;
        }
        for written in &mut *new {
            written.wait_in(&pending)?;
        }
        disk.sync_dir(&pending)?;
        Ok(disk.rename(&pending, &self.swap_dir())?)
    }

    fn waiting(&self, id: &DatasetId) -> Waiting {
        let head = |dir: PathBuf| fs::read(dir.join("refs/head")).ok();
        let (here, place) = (self.swap_dir().join(id.to_multibase()), self.dataset_dir(id));
        let is_free = place.symlink_metadata().is_err();
        match head(here) {
            _ if is_free => Waiting::Moves,
            None => Waiting::Damaged,
            waits if waits == head(place) => Waiting::Came,
            Some(_) => Waiting::Replaces,
        }
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
        let Some(swap) = Swap::read(&dir)? else {
            return Ok(());
        };
        let disk = &catalog.medium().disk;
        for id in &swap.go {
            self.make_room(id)?;
        }
        for id in &swap.come {
            match catalog.waiting(id) {
                Waiting::Came => continue,
                Waiting::Damaged => {
                    tracing::warn!(dataset = %id, "what was to take its place is damaged: the dataset stays as it was");
                    continue;
                }
                Waiting::Replaces => self.make_room(id)?,
                Waiting::Moves => {}
            }
            disk.rename(&dir.join(id.to_multibase()), &catalog.dataset_dir(id))
                .map_err(CatalogError::from)?;
            catalog.medium().changed(Some(*id));
        }
        let done = || -> Result<PathBuf, CatalogError> {
            // In one step, which the sync makes durable with the names that were given above: what is carried out must
            // not be carried out again later, on a dataset that came back.
            let pending = catalog.pending_swap();
            disk.remove_tree(&pending)?;
            disk.rename(&dir, &pending)?;
            disk.sync_dir(catalog.dir())?;
            Ok(pending)
        };
        let pending = done()?;
        if let Err(error) = disk.remove_tree(&pending) {
            tracing::warn!(%error, "what a finished swap left is removed at the next start");
        }
        Ok(())
    }

    /// Removes a dataset that is replaced, if it is still there.
    fn make_room(&self, id: &DatasetId) -> Result<(), RewriteError> {
        if self.catalog().dataset_dir(id).symlink_metadata().is_err() {
            return Ok(());
        }
        match self.delete(id) {
            Err(error @ RewriteError::Left { .. }) => tracing::warn!(%error, "what a replaced dataset left"),
            other => other?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use odf_disk::Disk;
    use odf_metadata::{DatasetKind, MetadataEvent, SetInfo};

    use super::*;
    use crate::Medium;
    use crate::dataset::Dataset;
    use crate::mirror::NoMirror;

    fn open(dir: &Path) -> Datasets {
        let catalog = Catalog::open(dir, Medium::new(Disk::new())).unwrap();
        Datasets::new(catalog, Arc::new(NoMirror))
    }

    /// Writes a dataset that says `text`, in no place yet.
    fn write(catalog: &Catalog, key: u8, text: &str, replaced: Option<DatasetId>) -> WrittenDataset {
        let id = DatasetId::from_public_key([key; 32]);
        let info = MetadataEvent::SetInfo(SetInfo {
            description: Some(text.into()),
            keywords: None,
        });
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let staged = catalog.stage_for(id, &"d".parse().unwrap(), replaced).unwrap();
        staged.write_events(DatasetKind::Root, vec![info], now, None).unwrap()
    }

    fn put(datasets: &Datasets, written: &mut WrittenDataset, gone: &[DatasetId]) {
        datasets.catalog().decide_swap(&mut [written], gone).unwrap();
    }

    fn said(datasets: &Datasets) -> Vec<(DatasetId, String)> {
        let said = |dataset: Dataset| match &dataset.blocks().unwrap().last().unwrap().unwrap().block.block().event {
            MetadataEvent::SetInfo(info) => (dataset.id(), info.description.clone().unwrap()),
            other => panic!("{other:?}"),
        };
        let entries = datasets.catalog().entries().unwrap();
        let opened = entries
            .iter()
            .map(|entry| datasets.catalog().open_entry(entry).unwrap());
        opened.map(said).collect()
    }

    #[test]
    fn whatever_entry_is_lost_nothing_that_waits_is() {
        for same in [true, false] {
            for finished in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                let datasets = open(dir.path());
                let mut old = write(datasets.catalog(), 1, "old", None);
                put(&datasets, &mut old, &[]);
                datasets.finish_swap().unwrap();
                let old = old.in_place().0.id();
                let mut new = write(datasets.catalog(), if same { 1 } else { 2 }, "new", Some(old));
                let new_id = new.id();
                put(&datasets, &mut new, &[old]);
                assert_eq!(said(&datasets), [(old, "old".to_owned())], "it is decided, not done");
                let swap = Swap::read(&datasets.catalog().swap_dir()).unwrap().unwrap();
                let go = if same { vec![] } else { vec![old] };
                assert_eq!((swap.go, swap.come), (go, vec![new_id]));
                let goes = datasets
                    .catalog()
                    .swap_dir()
                    .join(format!("{GOES}{}", old.to_multibase()));
                if !finished && !same {
                    fs::remove_dir(goes).unwrap();
                }
                datasets.finish_swap().unwrap();
                let mut expected = vec![(new_id, "new".to_owned())];
                if !finished && !same {
                    expected.push((old, "old".to_owned()));
                    expected.sort();
                }
                assert_eq!(said(&datasets), expected);
                assert!(!datasets.catalog().swap_dir().exists());
                datasets.finish_swap().unwrap();
                assert_eq!(said(&datasets), expected);
            }
        }
    }

    #[test]
    fn a_damaged_one_takes_a_free_place_and_no_other() {
        for is_free in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let datasets = open(dir.path());
            let id = DatasetId::from_public_key([1; 32]);
            if !is_free {
                put(&datasets, &mut write(datasets.catalog(), 1, "old", None), &[]);
                datasets.finish_swap().unwrap();
            }
            let mut new = write(datasets.catalog(), 1, "new", (!is_free).then_some(id));
            put(&datasets, &mut new, &[id]);
            let waits = datasets.catalog().swap_dir().join(id.to_multibase());
            fs::remove_file(waits.join("refs/head")).unwrap();
            datasets.finish_swap().unwrap();
            let entries = datasets.catalog().entries().unwrap();
            match is_free {
                true => assert!(entries.len() == 1 && entries[0].head.is_none(), "{entries:?}"),
                false => assert_eq!(said(&datasets), [(id, "old".to_owned())]),
            }
        }
    }

    #[test]
    fn one_that_came_and_still_waits_came() {
        let dir = tempfile::tempdir().unwrap();
        let datasets = open(dir.path());
        put(&datasets, &mut write(datasets.catalog(), 1, "new", None), &[]);
        let (swap, id) = (datasets.catalog().swap_dir(), DatasetId::from_public_key([1; 32]));
        let place = datasets.catalog().dataset_dir(&id);
        odf_disk::crash::copy_tree(&swap.join(id.to_multibase()), &place).unwrap();
        datasets.finish_swap().unwrap();
        assert_eq!(said(&datasets), [(id, "new".to_owned())]);
    }
}
