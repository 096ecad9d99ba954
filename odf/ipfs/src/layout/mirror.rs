//! The DAG of a dataset as the second form that hears of every change.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use odf_dataset::{Dataset, Held, Mirror, MirrorError, TakePlace, WrongPart};
use odf_metadata::Multihash;
use odf_node::block::MAX_BLOCK_BYTES;
use odf_node::unixfs::import;

use super::{Layout, LayoutError, PROFILE};

impl Layout {
    /// Drops the layout of a dataset, its pins, and the references into its files. What other pins need of those files moves
    /// to the packs before.
    fn drop_all(&self, dataset: &Dataset) -> Result<(), LayoutError> {
        self.forget(&dataset.id())?;
        let owner = dataset.id().to_string();
        for pin in self.store.pins(Some(&owner))? {
            self.store.unpin(&owner, &pin.cid)?;
        }
        Ok(self.store.remove_files(&self.files_of(dataset)?)?)
    }
}

impl Mirror for Layout {
    fn hold(&self) -> Box<dyn Held> {
        Box::new(self.store.hold())
    }

    fn moved(&self, dataset: &Dataset) -> Result<(), MirrorError> {
        let moved = || -> Result<(), LayoutError> {
            let root = self.update(dataset)?;
            self.store.pin(&dataset.id().to_string(), &root.cid)?;
            Ok(self.store.flush()?)
        };
        moved().map_err(MirrorError::new)
    }

    fn replacing(&self, dataset: &Dataset, from: u64) -> Result<Box<TakePlace<'_>>, MirrorError> {
        let same = self.keep_from(dataset, from).map_err(MirrorError::new)?;
        Ok(Box::new(move |next, chain| {
            self.take_place(next, chain, &same).map_err(MirrorError::new)
        }))
    }

    fn removing(&self, dataset: &Dataset) -> Result<(), MirrorError> {
        self.drop_all(dataset).map_err(MirrorError::new)
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
