//! A dataset on disk: its chain, its slices, its head, its name.
//!
//! ```text
//! <datasets>/<fed01…>/refs/head            hash of the newest metadata block, written last
//!                     chain                every metadata block, oldest first (see [`BlockPlace`])
//!                     chain.index          where each of them lies; a copy, made when it is wanted
//!                     data/<f1620…>        slices, plain Parquet
//!                     checkpoints/<f1620…>
//!                     info/alias, info/config
//!                     approved.json, shared.json   what the owner of this machine agreed to; never travels
//!                     marks                how a published file was taken; may be gone at any time
//! ```
//!
//! An append is: the slice under a temporary name, synced, renamed; the blocks behind the chain, synced; `refs/head`
//! replaced. Until the last step nothing of it counts, after it all of it does. Whatever a crash leaves in between is
//! overwritten or swept away by the next change. A chain that is replaced from some block on is written beside the old one
//! (`chain.next`) and takes its place after the head has moved.
//!
//! What an append must know about the chain is a [`ChainState`], which is small and does not grow with it. It is kept in a
//! table of the store under the dataset's id, and computed again from the chain file whenever it is not there or is of
//! another head.

mod aliases;
mod amend;
mod approval;
mod blocks;
mod changes;
mod current;
mod damage;
mod error;
mod head;
mod incoming;
mod index;
mod journal;
mod keyed;
mod next_chain;
mod object;
mod point;
mod reading;
mod rebase;
pub(crate) mod restore;
mod rewrite;
mod sharing;
mod staged;
mod state;
mod tail;
mod whole;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use odf_disk::{Disk, DiskFile};

pub use aliases::{DatasetName, MAX_NAME_BYTES, NameError, RemoteAliases};
pub use amend::AmendError;
pub use approval::{Approval, Grant, MAX_APPROVALS};
pub(crate) use blocks::each;
pub use blocks::{Blocks, NewBlocks};
pub use changes::{Change, Changed, Changes};
pub use current::Current;
pub use damage::Damage;
pub(crate) use damage::{Standing, standing};
pub use error::DatasetError;
pub use incoming::{INCOMING_PREFIX, Incoming};
pub(crate) use incoming::{UNNAMED_OBJECTS, has_arrived};
pub(crate) use index::check;
pub use journal::{BlockPlace, StoredBlock};
pub use keyed::StateError;
pub use object::{Object, ObjectKind};
pub use point::{MIN_HASH_DIGITS, PointError};
pub(crate) use reading::ChainReader;
pub use rebase::{RebaseError, Rebased};
pub use sharing::Sharing;
pub(crate) use sharing::is_shared_in;
pub use staged::NewDataset;
pub(crate) use staged::WrittenDataset;
pub(crate) use state::STATES;
pub use state::Summary;
pub use tail::Newest;
pub(crate) use whole::WHOLE;

use head::{read_head, write_head};
use journal::Journal;
use state::{keep_state, kept_state, kept_summary, recompute};

use odf_metadata::chain::ChainState;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, DatasetKind, MetadataBlock, MetadataEvent, Multihash, Timestamp};
use odf_tables::slice::WrittenSlice;

use crate::Medium;

/// A dataset that is open at one head. Cheap to open and to clone; holds no files open.
#[derive(Clone)]
pub struct Dataset {
    dir: PathBuf,
    medium: Medium,
    state: ChainState,
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset")
            .field("id", &self.id())
            .field("head", self.head())
            .finish_non_exhaustive()
    }
}

impl Dataset {
    /// Opens the dataset in `dir`.
    ///
    /// # Errors
    /// [`DatasetError::Damaged`] if the chain does not hold the block that `refs/head` names, or a file is not what it
    /// must be.
    pub fn open(dir: &Path, medium: &Medium) -> Result<Dataset, DatasetError> {
        next_chain::settle(dir, &medium.disk)?;
        let head = read_head(dir)?;
        let id = read_id(dir)?;
        let journal = Journal::new(dir, &medium.disk);
        // What is kept says nothing of whether the file is still there.
        let len = journal.len()?;
        let state = match kept_state(medium.cache.as_ref(), &id).filter(|state| state.head == head) {
            Some(state) if journal::len_of(&state) <= len => state,
            _ => {
                let state = recompute(&journal, &head)?;
                keep_state(medium, &state);
                state
            }
        };
        Ok(Dataset {
            dir: dir.to_owned(),
            medium: medium.clone(),
            state,
        })
    }

    /// What a listing tells of the dataset in `dir`, whose head was read. It is opened only if that is not kept for this head.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn summary_in(
        dir: &Path,
        id: &DatasetId,
        head: &Multihash,
        medium: &Medium,
    ) -> Result<Summary, DatasetError> {
        if !next_chain::is_there(dir) {
            let len = Journal::new(dir, &medium.disk).len()?;
            let kept = kept_summary(medium.cache.as_ref(), id).filter(|kept| kept.head == *head);
            if let Some(summary) = kept.filter(|kept| kept.chain_len() <= len) {
                return Ok(summary);
            }
        }
        Ok(Dataset::open(dir, medium)?.summary())
    }

    /// The disk it is kept on.
    pub fn disk(&self) -> &Disk {
        &self.medium.disk
    }

    /// The directory of the dataset.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory that holds it and others, where files without a name can be made.
    pub fn datasets_dir(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    /// Its identity.
    pub fn id(&self) -> DatasetId {
        self.state.dataset_id
    }

    /// Whether data comes from outside or is computed.
    pub fn kind(&self) -> DatasetKind {
        self.state.kind
    }

    /// Hash of the newest metadata block.
    pub fn head(&self) -> &Multihash {
        &self.state.head
    }

    /// What the chain amounts to at the head: schema, sources, watermark, sums. Nothing is read for it.
    pub fn state(&self) -> &ChainState {
        &self.state
    }

    /// As much of [`Self::state`] as a listing tells.
    pub fn summary(&self) -> Summary {
        Summary::of(&self.state)
    }

    /// Length of the part of the chain file that counts.
    pub fn chain_len(&self) -> u64 {
        journal::len_of(&self.state)
    }

    /// The chain file: see [`BlockPlace`].
    pub fn chain_path(&self) -> PathBuf {
        self.dir.join("chain")
    }

    /// Where a slice is, or would be.
    pub fn slice_path(&self, physical_hash: &Multihash) -> PathBuf {
        self.dir.join("data").join(physical_hash.to_string())
    }

    /// Where a checkpoint is, or would be.
    pub fn checkpoint_path(&self, physical_hash: &Multihash) -> PathBuf {
        self.dir.join("checkpoints").join(physical_hash.to_string())
    }

    /// The directory new slices are written into.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The name of the dataset in `dir`, without opening it.
    pub(crate) fn name_in(dir: &Path) -> Result<DatasetName, DatasetError> {
        aliases::read_name(dir)
    }

    /// The dataset's name here.
    pub fn name(&self) -> Result<DatasetName, DatasetError> {
        aliases::read_name(&self.dir)
    }

    /// Gives the dataset another name. That it is free is for the [catalog](crate::catalog) to see to.
    pub(crate) fn set_name(&self, name: &DatasetName) -> Result<(), DatasetError> {
        // What is remembered of names must not outlive a cut.
        let id = Some(self.id());
        self.medium.changing(id)?;
        let written = aliases::write_name(self.disk(), &self.dir, name);
        self.medium.changed(id);
        written
    }

    /// Where it is pulled from and pushed to.
    pub fn remote_aliases(&self) -> Result<RemoteAliases, DatasetError> {
        aliases::read_remote(&self.dir)
    }

    /// Changes where it is pulled from and pushed to. Others who do so meanwhile, in any process, wait for it, so nobody's
    /// change is lost. Gives what `change` gives.
    ///
    /// # Errors
    /// The file cannot be read or written; it is as it was.
    pub fn change_remote_aliases<T>(&self, change: impl FnOnce(&mut RemoteAliases) -> T) -> Result<T, DatasetError> {
        aliases::change_remote(self.disk(), &self.dir, change)
    }

    fn journal(&self) -> Journal {
        Journal::new(&self.dir, self.disk())
    }

    /// The block at a place of the chain file.
    pub fn block_at(&self, place: BlockPlace) -> Result<StoredBlock, DatasetError> {
        decode(place, self.journal().reader()?.read(place)?)
    }

    /// The places of all blocks, oldest first: the block with sequence number `n` is the `n`th. Reads lengths only.
    pub(crate) fn places(&self) -> Result<Vec<BlockPlace>, DatasetError> {
        self.journal().places(self.chain_len())
    }

    /// The exact bytes at a place of the chain file, not looked at.
    pub fn bytes_at(&self, place: BlockPlace) -> Result<Bytes, DatasetError> {
        self.journal().reader()?.read(place)
    }

    /// Whether this is still the newest state of the dataset: its head has not moved since it was opened.
    pub fn is_at_head(&self) -> bool {
        read_head(&self.dir).is_ok_and(|head| head == self.state.head)
    }

    /// The exact bytes at several places, one after the other, not looked at.
    pub fn bytes_of(
        &self,
        places: Vec<BlockPlace>,
    ) -> Result<impl Iterator<Item = Result<Bytes, DatasetError>> + '_, DatasetError> {
        let reader = self.journal().reader()?;
        Ok(places.into_iter().map(move |place| reader.read(place)))
    }

    /// Makes blocks of the events, all at `system_time`, and appends them. See [`Self::append`].
    pub fn append_events(
        &mut self,
        events: Vec<MetadataEvent>,
        system_time: Timestamp,
        slice: Option<WrittenSlice>,
    ) -> Result<Vec<StoredBlock>, DatasetError> {
        let mut blocks: Vec<EncodedBlock> = Vec::with_capacity(events.len());
        for (sequence, event) in (self.state.sequence_number.saturating_add(1)..).zip(events) {
            let previous = blocks.last().map_or(self.state.head, |block| *block.hash());
            blocks.push(encode(sequence, Some(previous), event, system_time)?);
        }
        self.append(blocks, slice)
    }

    /// Appends blocks and moves the head to the last of them; when this returns they survive power loss.
    ///
    /// The blocks are checked against the rules of the chain first, then `slice` is installed, the blocks are written, and
    /// the head is moved. Objects of blocks made elsewhere (pull) must be in place already.
    ///
    /// # Errors
    /// [`DatasetError::Chain`] names the rule that a block breaks; [`DatasetError::Busy`] and [`DatasetError::HeadMoved`]
    /// tell of other writers.
    pub fn append(
        &mut self,
        blocks: Vec<EncodedBlock>,
        slice: Option<WrittenSlice>,
    ) -> Result<Vec<StoredBlock>, DatasetError> {
        let places = self.append_placed(&blocks, slice)?;
        Ok(stored(blocks, places))
    }

    /// As [`Self::append`], for blocks made elsewhere that need not be in memory. Gives where they lie.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(crate) fn append_arrived(&mut self, blocks: &dyn Blocks) -> Result<Vec<BlockPlace>, DatasetError> {
        self.append_placed(blocks, None)
    }

    fn append_placed(
        &mut self,
        blocks: &dyn Blocks,
        slice: Option<WrittenSlice>,
    ) -> Result<Vec<BlockPlace>, DatasetError> {
        let (journal, lock) = (self.journal(), self.lock_at_head()?);
        let (places, state) = write_blocks(
            &self.medium,
            &self.dir,
            &journal,
            &lock,
            Some(&self.state),
            blocks,
            slice,
        )?;
        index::follow(self.disk(), &self.dir, &self.state, blocks, &places);
        self.state = state;
        keep_state(&self.medium, &self.state);
        drop(lock);
        Ok(places)
    }
}

/// Blocks with where they were written.
pub(crate) fn stored(blocks: Vec<EncodedBlock>, places: Vec<BlockPlace>) -> Vec<StoredBlock> {
    let pairs = blocks.into_iter().zip(places);
    pairs.map(|(block, place)| StoredBlock { block, place }).collect()
}

fn decode(place: BlockPlace, bytes: Bytes) -> Result<StoredBlock, DatasetError> {
    let block = EncodedBlock::decode(bytes).map_err(|source| DatasetError::Block { sequence: None, source })?;
    Ok(StoredBlock { block, place })
}

/// Makes a block of an event.
fn encode(
    sequence: u64,
    previous: Option<Multihash>,
    event: MetadataEvent,
    system_time: Timestamp,
) -> Result<EncodedBlock, DatasetError> {
    let block = MetadataBlock {
        system_time,
        prev_block_hash: previous,
        sequence_number: sequence,
        event,
    };
    EncodedBlock::encode(block).map_err(|source| DatasetError::Block {
        sequence: Some(sequence),
        source,
    })
}

/// Validates blocks on top of `state`, then makes slice, blocks and head durable, in this order. Gives where the blocks lie.
fn write_blocks(
    medium: &Medium,
    dir: &Path,
    journal: &Journal,
    lock: &DiskFile,
    state: Option<&ChainState>,
    blocks: &dyn Blocks,
    slice: Option<WrittenSlice>,
) -> Result<(Vec<BlockPlace>, ChainState), DatasetError> {
    let end = state.map_or(0, journal::len_of);
    let mut next = state.cloned();
    for block in each(blocks) {
        let block = block?;
        ChainState::append(&mut next, &block)?;
    }
    let Some(next) = next.filter(|_| blocks.count() > 0) else {
        return Err(DatasetError::Damaged {
            path: dir.to_owned(),
            reason: "no blocks to append".to_owned(),
        });
    };
    let installed = match slice {
        Some(slice) => Some(slice.install(&dir.join("data"))?),
        None => None,
    };
    let places = match journal.append(lock, end, blocks) {
        Ok(places) => places,
        Err(error) => {
            // Most likely the disk is full: leave it no fuller than it was.
            if let Some(path) = installed {
                let removed = medium.disk.remove_file(&path);
                tracing::debug!(path = %path.display(), ?removed, "the slice of a change that failed");
            }
            return Err(error);
        }
    };
    write_head(medium, dir, &next.head)?;
    Ok((places, next))
}

/// The id that the name of the directory stands for.
fn read_id(dir: &Path) -> Result<DatasetId, DatasetError> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    DatasetId::from_multibase(name).map_err(|error| DatasetError::Damaged {
        path: dir.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
pub(crate) mod tests;
