//! A chain and a head put together again from what is left of them.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use odf_metadata::chain::ChainState;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, Multihash};

use super::index;
use super::journal::Journal;
use super::next_chain::{NEXT, settle, write_chain};
use super::{DatasetError, Object, read_head, recompute, write_head};
use crate::Medium;

/// What was done for a chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// The head that `refs/head` has again.
    pub(crate) head: Option<Multihash>,
    /// The metadata blocks that were not in the chain file, newest first, with where they came from.
    pub(crate) blocks: Vec<(u64, Multihash, String)>,
    /// Whether the chain file was written anew.
    pub(crate) rewritten: bool,
}

/// Why a chain could not be put together again. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// A metadata block is nowhere to be had.
    #[error("{reason}")]
    Lost {
        /// Its sequence number, if the block after it is known.
        sequence: Option<u64>,
        /// Its hash; nothing if not even the head is known.
        hash: Option<Multihash>,
        /// Why it cannot be had.
        reason: String,
    },
    /// The files.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// Where metadata blocks come from that are not here.
pub(crate) trait Elsewhere {
    /// The newest block of the dataset there, and what the place is called.
    fn head(&mut self) -> Option<Multihash>;

    /// A metadata block and what the place is called that gave it; else why none could.
    fn block(&mut self, hash: &Multihash) -> Result<(EncodedBlock, String), String>;
}

/// Makes the chain of the dataset in `dir` whole: `refs/head`, and every block from there to the Seed. `known` is the newest
/// head that the second form of the dataset was made at.
///
/// A head that is lost becomes the newest block that follows all rules and whose own files are here, or `known`, whichever
/// is newer. Behind damage in the chain file there may have been more: then a head elsewhere that leads to that block
/// counts. The files before are left as they are until the new ones are complete.
pub(crate) fn restore(
    dir: &Path,
    id: &DatasetId,
    known: Option<Multihash>,
    elsewhere: &mut dyn Elsewhere,
    medium: &Medium,
) -> Result<Restored, RestoreError> {
    let journal = Journal::new(dir, &medium.disk);
    let _lock = if journal.path().exists() {
        Some(journal.lock()?)
    } else {
        None
    };
    let head = read_head(dir).ok();
    if let Some(head) = &head
        && recompute(&journal, head).is_ok_and(|state| state.dataset_id == *id)
    {
        return Ok(Restored::default());
    }
    let pool = Pool::of(dir, medium)?;
    let newest = head.or_else(|| pool.newest(dir, id, known.as_ref())).or(known);
    let is_certain = head.is_some() || known.is_some() || !pool.is_broken;
    let target = match newest {
        Some(newest) if is_certain => newest,
        Some(newest) => pool.beyond(newest, elsewhere),
        None => elsewhere.head().ok_or_else(|| RestoreError::Lost {
            sequence: None,
            hash: None,
            reason: "neither a head nor a metadata block that leads to one is here or elsewhere".to_owned(),
        })?,
    };
    let mut restored = Restored {
        head: head.is_none().then_some(target),
        ..Restored::default()
    };
    let chain = pool.chain_to(target, elsewhere, &mut restored)?;
    let mut state = None;
    for block in &chain {
        ChainState::append(&mut state, block).map_err(DatasetError::Chain)?;
    }
    if let Some(found) = state.map(|state| state.dataset_id).filter(|found| found != id) {
        return Err(DatasetError::OtherDataset { found, expected: *id }.into());
    }
    index::remove(&medium.disk, dir).map_err(DatasetError::from)?;
    if recompute(&journal, &target).is_err() {
        let next = dir.join(NEXT);
        write_chain(&medium.disk, journal.path(), &next, 0, &chain)?;
        medium.disk.sync_dir(dir).map_err(DatasetError::from)?;
        restored.rewritten = true;
    }
    write_head_in(dir, &target, medium)?;
    if restored.rewritten {
        let next = dir.join(NEXT);
        medium
            .disk
            .rename(&next, journal.path())
            .and_then(|()| medium.disk.sync_dir(dir))
            .map_err(DatasetError::from)?;
    }
    Ok(restored)
}

/// Finishes a replacement that was cut, as opening does; whatever is wrong with the rest is for [`restore`].
pub(crate) fn settled(dir: &Path, medium: &Medium) {
    if let Err(error) = settle(dir, &medium.disk) {
        tracing::debug!(dir = %dir.display(), %error, "a chain that has to be restored");
    }
}

fn write_head_in(dir: &Path, head: &Multihash, medium: &Medium) -> Result<(), DatasetError> {
    medium.disk.create_dirs(&dir.join("refs"), odf_disk::Access::Readable)?;
    write_head(medium, dir, head)
}

/// The metadata blocks that are left in chain files.
struct Pool {
    blocks: HashMap<Multihash, EncodedBlock>,
    /// Those of `chain.next` and `chain` that follow each other from a Seed, oldest first.
    runs: Vec<Vec<Multihash>>,
    /// Whether there is more in `chain` than its run.
    is_broken: bool,
}

impl Pool {
    fn of(dir: &Path, medium: &Medium) -> Result<Self, DatasetError> {
        let mut pool = Self {
            blocks: HashMap::new(),
            runs: Vec::new(),
            is_broken: false,
        };
        for name in [NEXT, "chain"] {
            let path = dir.join(name);
            if !path.exists() {
                continue;
            }
            let (mut run, mut state, mut broken) = (Vec::new(), None, false);
            Journal::at(&path, &medium.disk).scan(&mut |bytes| {
                if let Ok(block) = EncodedBlock::decode(bytes) {
                    broken |= ChainState::append(&mut state, &block).is_err();
                    if !broken {
                        run.push(*block.hash());
                    }
                    pool.blocks.insert(*block.hash(), block);
                } else {
                    broken = true;
                }
                Ok(ControlFlow::Continue(()))
            })?;
            pool.runs.push(run);
            pool.is_broken = broken;
        }
        Ok(pool)
    }

    /// The newest block in a chain of the dataset whose own files are here, or `known`; nothing if no chain has that.
    fn newest(&self, dir: &Path, id: &DatasetId, known: Option<&Multihash>) -> Option<Multihash> {
        let is_of = |run: &&Vec<Multihash>| {
            let seed = run.first().and_then(|hash| self.blocks.get(hash));
            seed.is_some_and(
                |seed| matches!(&seed.block().event, odf_metadata::MetadataEvent::Seed(seed) if seed.dataset_id == *id),
            )
        };
        let is_here = |hash: &Multihash| {
            let block = self.blocks.get(hash);
            block.is_some_and(|block| Object::of(block).all(|object| object.is_in(dir)))
        };
        // The chain file is the last of them and counts, unless only the one beside it has what is known, or goes on
        // where it is broken.
        let mut runs = self.runs.iter().rev().filter(is_of);
        let run = match known {
            Some(known) => runs.find(|run| run.contains(known))?,
            None => {
                let own = runs.next()?;
                let longer = runs.find(|run| self.is_broken && run.starts_with(own));
                longer.unwrap_or(own)
            }
        };
        let newest = run.iter().rev().find(|hash| Some(*hash) == known || is_here(hash));
        newest.copied()
    }

    /// The head elsewhere, if its chain goes through `newest`; else `newest`.
    fn beyond(&self, newest: Multihash, elsewhere: &mut dyn Elsewhere) -> Multihash {
        let Some(head) = elsewhere.head() else {
            return newest;
        };
        match self.chain_to(head, elsewhere, &mut Restored::default()) {
            Ok(chain) if chain.iter().any(|block| *block.hash() == newest) => head,
            _ => newest,
        }
    }

    /// Every block from the Seed to `head`.
    fn chain_to(
        &self,
        head: Multihash,
        elsewhere: &mut dyn Elsewhere,
        restored: &mut Restored,
    ) -> Result<Vec<EncodedBlock>, RestoreError> {
        let mut chain = Vec::new();
        let mut next = Some((head, None::<u64>));
        while let Some((hash, sequence)) = next {
            let block = match self.blocks.get(&hash) {
                Some(block) => block.clone(),
                None => {
                    let (block, place) = elsewhere.block(&hash).map_err(|reason| RestoreError::Lost {
                        sequence,
                        hash: Some(hash),
                        reason,
                    })?;
                    restored.blocks.push((block.block().sequence_number, hash, place));
                    block
                }
            };
            let found = block.block().sequence_number;
            // Every step goes one down, so that the first number bounds the walk.
            if sequence.is_some_and(|sequence| sequence != found) {
                return Err(DatasetError::Damaged {
                    path: "chain".into(),
                    reason: format!("block {hash} has the sequence number {found}"),
                }
                .into());
            }
            next = match (block.block().prev_block_hash, found.checked_sub(1)) {
                (Some(before), Some(sequence)) => Some((before, Some(sequence))),
                // The rules of the chain find whatever is wrong with it.
                _ => None,
            };
            chain.push(block);
        }
        chain.reverse();
        Ok(chain)
    }
}
