//! The DAG of a dataset as the second form that hears of every change.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use odf_dataset::{Arriving, Dataset, Held, Mirror, MirrorError, Served, TakePlace, WrongPart};
use odf_metadata::{DatasetId, Multihash};
use odf_node::block::MAX_BLOCK_BYTES;
use odf_node::store::FileId;
use odf_node::unixfs::import;

use super::{Layout, LayoutError, PROFILE};

impl Layout {
    /// The files in the directory of a dataset that are registered with the store, those of older roots included, whether
    /// they are there or not.
    fn files_in(&self, dir: &Path) -> Result<Vec<FileId>, LayoutError> {
        let inside = dir.strip_prefix(self.store.root());
        Ok(self
            .store
            .files_below(inside.map_err(|_| LayoutError::Outside(dir.to_owned()))?)?)
    }

    /// Copies to the packs what pins of others need of the files of a dataset.
    fn keep_for_others(&self, id: &DatasetId, dir: &Path) -> Result<(), LayoutError> {
        Ok(self.store.keep_for_others(&self.files_in(dir)?, &id.to_string())?)
    }

    /// Drops the layout of a dataset, its pins, and the references into its files.
    fn drop_all(&self, id: &DatasetId, dir: &Path) -> Result<(), LayoutError> {
        self.forget(id)?;
        let owner = id.to_string();
        for pin in self.store.pins(Some(&owner))? {
            self.store.unpin(&owner, &pin.cid)?;
        }
        Ok(self.store.forget_files(&self.files_in(dir)?)?)
    }

    /// Makes the current layout of a dataset that of its head, and pins it.
    fn follow(&self, dataset: &Dataset) -> Result<(), LayoutError> {
        let root = self.update(dataset)?;
        self.store.pin(&dataset.id().to_string(), &root.cid)?;
        Ok(self.store.flush()?)
    }
}

impl Mirror for Layout {
    fn hold(&self) -> Box<dyn Held> {
        Box::new(self.store.hold())
    }

    fn arriving(&self, id: &DatasetId) -> Box<dyn Arriving> {
        Box::new(self.arrived.listen(*id))
    }

    fn moved(&self, dataset: &Dataset) -> Result<(), MirrorError> {
        self.follow(dataset).map_err(MirrorError::new)
    }

    fn replacing(&self, dataset: &Dataset, from: u64) -> Result<Box<TakePlace<'_>>, MirrorError> {
        let same = self.keep_from(dataset, from).map_err(MirrorError::new)?;
        Ok(Box::new(move |next, chain| {
            self.take_place(next, chain, &same).map_err(MirrorError::new)
        }))
    }

    fn removing(&self, id: &DatasetId, dir: &Path) -> Result<(), MirrorError> {
        self.keep_for_others(id, dir).map_err(MirrorError::new)
    }

    fn removed(&self, id: &DatasetId, dir: &Path) -> Result<(), MirrorError> {
        self.drop_all(id, dir).map_err(MirrorError::new)
    }

    fn mended(&self, dataset: &Dataset, files: &[PathBuf]) -> Result<(), MirrorError> {
        self.adopt(dataset, files).map_err(MirrorError::new)
    }

    fn check(&self, dataset: &Dataset, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Served, MirrorError> {
        self.served(dataset, on_bytes).map_err(MirrorError::new)
    }

    fn last_head(&self, id: &DatasetId) -> Option<Multihash> {
        self.latest(id).ok().flatten().map(|root| root.head)
    }

    /// This only adds to what is known to be wrong already, so whatever fails here is only logged.
    fn wrong_part(&self, dataset: &Dataset, path: &Path, physical_hash: &Multihash) -> Option<WrongPart> {
        let leaves = self.leaves(&dataset.id(), physical_hash);
        let leaves = leaves.unwrap_or_else(|error| {
            tracing::warn!(%error, "the layout of a damaged dataset cannot be read");
            None
        })?;
        let mut file = File::open(path).ok()?;
        let mut bytes = Vec::new();
        for leaf in leaves {
            bytes.clear();
            let read = Read::by_ref(&mut file)
                .take(leaf.len.unwrap_or(MAX_BLOCK_BYTES as u64 + 1))
                .read_to_end(&mut bytes);
            if read.is_err() || import::hash_leaf(&PROFILE, &bytes).is_ok_and(|found| found.cid != leaf.cid) {
                return Some(WrongPart {
                    block: leaf.cid.to_string(),
                    start: leaf.offset,
                    end: leaf.len.map(|len| leaf.offset + len),
                });
            }
        }
        None
    }
}
