//! A chain that is written again from some block on.
//!
//! The new chain is written beside the old one as `chain.next` and synced, `refs/head` is replaced, `chain.next` takes
//! the place of `chain`. Whoever dies in between leaves both files, and [`settle`](super::next_chain::settle) tells by the
//! head which of them counts.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use odf_disk::DiskFile;

use super::blocks::{Blocks, each};
use super::index;
use super::journal::{self, BlockPlace};
use super::next_chain::{NEXT, write_chain};
use super::{Dataset, DatasetError, Object, ObjectKind, keep_state, read_head, write_head};
use odf_metadata::Multihash;
use odf_metadata::chain::ChainState;

use crate::TakePlace;

impl Dataset {
    /// Replaces the chain from sequence number `from` on; the blocks before stay as they are. Their files must be in
    /// place already. With no blocks the chain ends before `from`. Use
    /// [`Datasets::replace`](crate::Datasets::replace), which also keeps what older roots need.
    ///
    /// When this returns the new chain survives power loss; after a crash on the way the dataset is at its old or at its
    /// new head, complete. Gives where the new blocks lie. Datasets opened before must be opened again.
    ///
    /// # Errors
    /// [`DatasetError::OtherDataset`], [`DatasetError::NoBlock`] if `from` is behind the head, and those of [`Self::append`];
    /// the dataset is at its old head. Should `take_place` fail the head has moved, and the next opening finishes what is
    /// left.
    pub(crate) fn replace(
        &mut self,
        from: u64,
        blocks: &dyn Blocks,
        take_place: &mut TakePlace<'_>,
    ) -> Result<Vec<BlockPlace>, DatasetError> {
        let journal = self.journal();
        let lock = self.lock_at_head()?;
        let mut state = self.state_before(from)?;
        let kept = state.as_ref().map_or(0, journal::len_of);
        for block in each(blocks) {
            let block = block?;
            ChainState::append(&mut state, &block)?;
        }
        let Some(state) = state else {
            return Err(DatasetError::Damaged {
                path: self.dir.clone(),
                reason: "no blocks to replace the chain with".to_owned(),
            });
        };
        if state.dataset_id != self.id() {
            return Err(DatasetError::OtherDataset {
                found: state.dataset_id,
                expected: self.id(),
            });
        }
        index::remove(self.disk(), &self.dir)?;
        let next = self.dir.join(NEXT);
        let places = write_chain(self.disk(), journal.path(), &next, kept, blocks)
            .and_then(|places| Ok(self.disk().sync_dir(&self.dir).map(|()| places)?))
            .inspect_err(|_| {
                // Most likely the disk is full: leave it no fuller than it was.
                let removed = self.disk().remove_file(&next);
                tracing::debug!(path = %next.display(), ?removed, "a chain that could not be written");
            })?;
        write_head(&self.medium, &self.dir, &state.head)?;
        // An append to a chain whose name a power failure takes back would be lost with it.
        if !take_place(&next, journal.path())? {
            self.disk().rename(&next, journal.path())?;
            self.disk().sync_dir(&self.dir)?;
        }
        self.state = state;
        keep_state(&self.medium, &self.state);
        drop(lock);
        Ok(places)
    }

    /// What the chain amounts to before the block with this sequence number; nothing before the Seed. Reads the chain up to
    /// there.
    ///
    /// # Errors
    /// [`DatasetError::NoBlock`] if that is behind the next block.
    pub fn state_before(&self, sequence: u64) -> Result<Option<ChainState>, DatasetError> {
        if sequence > self.state.blocks() {
            return Err(DatasetError::NoBlock { sequence });
        }
        if sequence == self.state.blocks() {
            return Ok(Some(self.state.clone()));
        }
        let mut state = None;
        let mut blocks = self.blocks_after(None)?;
        for _ in 0..sequence {
            let Some(stored) = blocks.next() else { break };
            ChainState::append(&mut state, &stored?.block)?;
        }
        Ok(state)
    }
}

impl Dataset {
    /// Names the slices and checkpoints that no block of the chain names: those of a history before it was written again,
    /// and what a crash left of an append. Nobody else may append while `each` gets their paths.
    ///
    /// # Errors
    /// [`DatasetError::Busy`] and [`DatasetError::HeadMoved`] tell of other writers; the chain or a directory cannot be read;
    /// those of `each`.
    pub fn each_unnamed(&self, each: &mut dyn FnMut(&Path)) -> Result<(), DatasetError> {
        let _lock = self.lock_at_head()?;
        let mut named = HashSet::new();
        for stored in self.blocks_after(None)? {
            named.extend(Object::of(&stored?.block).map(|object| (object.kind, object.hash)));
        }
        for kind in ObjectKind::ALL {
            let dir = self.dir.join(kind.directory());
            let failed = |e| DatasetError::io("read", &dir, e);
            for entry in fs::read_dir(&dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // What is still being written has another name.
                let hash = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<Multihash>().ok());
                if hash.is_some_and(|hash| !named.contains(&(kind, hash))) {
                    each(&entry.path());
                }
            }
        }
        Ok(())
    }

    /// Keeps other writers away; the head is the one that this was opened at.
    pub(super) fn lock_at_head(&self) -> Result<DiskFile, DatasetError> {
        let lock = self.journal().lock()?;
        let actual = read_head(&self.dir)?;
        if actual == self.state.head {
            return Ok(lock);
        }
        Err(DatasetError::HeadMoved {
            expected: self.state.head,
            actual,
        })
    }
}
