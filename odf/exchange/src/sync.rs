//! One sync over everything that can be read by the Simple Transfer Protocol.
//!
//! The chain is walked back from the remote head until a block that is here too; then the rules of the chain are
//! checked, the objects that the new blocks name are fetched several at a time, and the blocks are committed. Nothing
//! is believed: blocks and objects are hashed whatever the place they come from.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytes::Bytes;

use super::arrival::{Arrival, Arrived};
pub(super) use super::compare::compare;
use super::compare::{against, seed_id};
pub use super::error::{ReadError, SyncError};
use super::kept::Kept;
use odf_dataset::{Dataset, DatasetName, Datasets, Object, RemoteAliases};
use odf_metadata::Multihash;
use odf_metadata::chain::Relation;
use odf_metadata::codec::EncodedBlock;

/// How many objects are fetched at once, as kamu does.
pub const MAX_PARALLEL_TRANSFERS: usize = 10;
/// Longest `refs/head` that is read: a multihash in text is 69 bytes.
pub const MAX_HEAD_BYTES: usize = 128;

/// A dataset in the layout of the Simple Transfer Protocol, somewhere it can be read. Bytes are given as they are found;
/// the reader of this checks them.
pub trait SimpleSource: Sync {
    /// Where it is, for messages.
    fn place(&self) -> &str;

    /// Hash of the newest metadata block; nothing if there is no dataset.
    ///
    /// # Errors
    /// It cannot be had, or is no hash.
    fn head(&self) -> Result<Option<Multihash>, ReadError>;

    /// The file of a metadata block, of at most [`MAX_BLOCK_BYTES`](odf_metadata::codec::MAX_BLOCK_BYTES).
    ///
    /// # Errors
    /// It is missing, cannot be had, or is longer.
    fn block(&self, hash: &Multihash) -> Result<Bytes, ReadError>;

    /// Whether every metadata block costs a question over a network, so that those that came are worth keeping.
    fn is_far(&self) -> bool {
        false
    }

    /// The bytes of a slice or checkpoint.
    ///
    /// # Errors
    /// It is missing or cannot be had.
    fn object(&self, object: &Object) -> Result<Box<dyn Read + Send + '_>, ReadError>;
}

/// What a sync is about to do or has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another metadata block was read.
    Block,
    /// It is known what has to be transferred.
    Planned {
        /// Metadata blocks.
        blocks: u64,
        /// Slices and checkpoints.
        objects: u64,
        /// Bytes of those.
        bytes: u64,
    },
    /// Bytes of slices and checkpoints were transferred.
    Bytes(u64),
}

/// Hears how far a sync is, from several threads, and can end it.
pub type OnProgress<'a> = dyn Fn(Progress) -> ControlFlow<()> + Sync + 'a;

/// Tells how far it is; an error when the caller wants it to stop.
pub(super) fn tell(on_progress: &OnProgress<'_>, at: Progress) -> Result<(), SyncError> {
    match on_progress(at) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(SyncError::Cancelled),
    }
}

/// What to pull into.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The local dataset to update. Without one the dataset with the remote id is updated, or a new one made.
    pub dataset: Option<Dataset>,
    /// Name of a new dataset.
    pub name: DatasetName,
    /// What a new dataset is to remember.
    pub aliases: RemoteAliases,
}

/// How a pull ended.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one at a time, and every variant holds a dataset"
)]
pub enum Outcome {
    /// The local dataset is at the remote head.
    UpToDate {
        /// The dataset.
        dataset: Dataset,
    },
    /// The local dataset has everything of the remote one, and more.
    Ahead {
        /// The dataset.
        dataset: Dataset,
        /// Head of the remote one.
        remote: Multihash,
        /// How many blocks the remote one lacks.
        by: u64,
    },
    /// The local dataset is at a new head.
    Updated(Arrived),
}

impl Outcome {
    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        match self {
            Self::UpToDate { dataset } | Self::Ahead { dataset, .. } => dataset,
            Self::Updated(arrived) => &arrived.dataset,
        }
    }
}

/// Brings what is new at `source` here. With `force` the local chain becomes the remote one also if it is ahead or the
/// two diverged; local blocks that the remote one lacks are dropped then.
///
/// # Errors
/// See [`SyncError`]; [`CatalogError::NameTaken`](odf_dataset::catalog::CatalogError::NameTaken) if another dataset has the
/// name of the new one.
pub fn pull(
    datasets: &Datasets,
    source: &dyn SimpleSource,
    destination: Destination,
    force: bool,
    on_progress: &OnProgress<'_>,
) -> Result<Outcome, SyncError> {
    if !source.is_far() {
        return pull_from(datasets, source, destination, force, on_progress);
    }
    let kept = Kept::new(source, &*datasets.catalog().medium().cache);
    let outcome = pull_from(datasets, &kept, destination, force, on_progress)?;
    kept.arrived();
    Ok(outcome)
}

fn pull_from(
    datasets: &Datasets,
    source: &dyn SimpleSource,
    destination: Destination,
    force: bool,
    on_progress: &OnProgress<'_>,
) -> Result<Outcome, SyncError> {
    let place = || source.place().to_owned();
    let head = source.head()?.ok_or_else(|| SyncError::NotFound { place: place() })?;
    let mut local = destination.dataset;
    if let Some(dataset) = local.take_if(|dataset| *dataset.head() == head) {
        return Ok(Outcome::UpToDate { dataset });
    }
    let mut compared = compare(source, head, local.as_ref(), on_progress)?;
    if local.is_none() {
        let id = seed_id(&compared.theirs).ok_or_else(|| SyncError::Chain {
            place: place(),
            hash: compared.theirs.first().map_or(head, |block| *block.hash()),
            reason: "it begins with something else than a Seed".to_owned(),
        })?;
        // The same dataset under another local name is updated rather than doubled.
        local = datasets.catalog().by_id(&id).map_err(SyncError::from)?;
        match &local {
            Some(dataset) => compared = against(compared, dataset)?,
            None => {
                let arrival = Arrival::begin(datasets, id, &destination.name, destination.aliases)?;
                let arrived = take(source, &arrival, compared.theirs, false, on_progress)?;
                return Ok(Outcome::Updated(arrived));
            }
        }
    }
    let Some(dataset) = local else {
        return Err(SyncError::NotFound { place: place() });
    };
    let ours = match compared.relation {
        Relation::Equal => return Ok(Outcome::UpToDate { dataset }),
        Relation::Ahead { by } if !force => {
            return Ok(Outcome::Ahead {
                dataset,
                remote: head,
                by,
            });
        }
        Relation::Diverged { common, ours, theirs } if !force => {
            return Err(SyncError::Diverged {
                place: place(),
                local: *dataset.head(),
                remote: head,
                common,
                ours,
                theirs,
            });
        }
        Relation::Behind { .. } => 0,
        Relation::Ahead { by: ours } | Relation::Diverged { ours, .. } => ours,
    };
    let arrival = Arrival::into(datasets, dataset)?;
    let arrived = if compared.theirs.is_empty() {
        arrival.cut(compared.common)?
    } else {
        take(source, &arrival, compared.theirs, ours > 0, on_progress)?
    };
    Ok(Outcome::Updated(arrived))
}

/// Checks the blocks, fetches what they name, and commits.
fn take(
    source: &dyn SimpleSource,
    arrival: &Arrival,
    blocks: Vec<EncodedBlock>,
    force: bool,
    on_progress: &OnProgress<'_>,
) -> Result<Arrived, SyncError> {
    arrival.check(&blocks, force)?;
    let objects = arrival.lacking(&blocks);
    tell(
        on_progress,
        Progress::Planned {
            blocks: blocks.len() as u64,
            objects: objects.len() as u64,
            bytes: objects.iter().map(|object| object.size).fold(0, u64::saturating_add),
        },
    )?;
    in_parallel(&objects, &|object| {
        let mut sink = arrival.sink(object)?;
        let mut reader = source.object(object)?;
        sink.fill(&mut *reader, &mut |bytes| tell(on_progress, Progress::Bytes(bytes)))?;
        Ok(sink.finish()?)
    })?;
    Ok(arrival.commit(blocks, force)?)
}

/// Transfers things, [`MAX_PARALLEL_TRANSFERS`] at a time; the first failure ends it.
pub(super) fn in_parallel<T: Sync>(
    things: &[T],
    transfer: &(dyn Fn(&T) -> Result<(), SyncError> + Sync),
) -> Result<(), SyncError> {
    let queue = Mutex::new(things.iter());
    let failure = Mutex::new(None);
    let failed = AtomicBool::new(false);
    let work = || {
        while !failed.load(Ordering::Acquire) {
            let Some(next) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                return;
            };
            if let Err(error) = transfer(next) {
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
                failed.store(true, Ordering::Release);
            }
        }
    };
    thread::scope(|scope| {
        // This thread works too, so that a system without threads left only makes it slower.
        for _ in 1..MAX_PARALLEL_TRANSFERS.min(things.len()) {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
