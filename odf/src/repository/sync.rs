//! One sync over everything that can be read by the Simple Transfer Protocol.
//!
//! The chain is walked back from the remote head until a block that is here too; then the rules of the chain are
//! checked, the objects that the new blocks name are fetched several at a time, and the blocks are committed. Nothing
//! is believed: blocks and objects are hashed whatever the place they come from.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytes::Bytes;

use super::arrival::{Arrival, ArrivalError, Arrived};
use super::smart::SmartError;
use crate::chain::{Relation, compare_by};
use crate::codec::{DecodeError, EncodedBlock};
use crate::dataset::{BlockPlace, Dataset, DatasetError, DatasetName, Object, RemoteAliases};
use crate::metadata::{DatasetId, MetadataEvent, Multihash};
use crate::workspace::Workspace;

/// How many objects are fetched at once, as kamu does.
pub const MAX_PARALLEL_TRANSFERS: usize = 10;
/// Most metadata blocks that one sync takes.
pub const MAX_NEW_BLOCKS: u64 = 1 << 20;
/// Most bytes of metadata blocks that one sync takes.
pub const MAX_NEW_BLOCK_BYTES: u64 = 1 << 30;
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

    /// The file of a metadata block, of at most [`MAX_BLOCK_BYTES`](crate::codec::MAX_BLOCK_BYTES).
    ///
    /// # Errors
    /// It is missing, cannot be had, or is longer.
    fn block(&self, hash: &Multihash) -> Result<Bytes, ReadError>;

    /// The bytes of a slice or checkpoint.
    ///
    /// # Errors
    /// It is missing or cannot be had.
    fn object(&self, object: &Object) -> Result<Box<dyn Read + Send + '_>, ReadError>;
}

/// Why something of a dataset elsewhere could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file that must be there is not.
    #[error("{place} has no {file}, which its metadata chain names")]
    Missing {
        /// The dataset.
        place: String,
        /// The file within it.
        file: String,
    },
    /// The head is not one.
    #[error("{place}refs/head is not the hash of a metadata block: {reason}")]
    BadHead {
        /// The dataset, with a slash at its end.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is longer than any such file can be.
    #[error("{place}{file} is longer than {limit} bytes")]
    TooLong {
        /// The dataset, with a slash at its end.
        place: String,
        /// The file within it.
        file: String,
        /// The most it may have.
        limit: usize,
    },
    /// The server wants to know who asks, or does not like the answer.
    #[error("{url} may not be read: the server answered {status}")]
    Denied {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The server cannot or does not want to.
    #[error("{url}: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer, or none to its end.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A file of this machine.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Why a sync did not end well. The destination is as it was; what arrived and is in order is kept for the next attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// There is no dataset there.
    #[error("there is no dataset at {place}")]
    NotFound {
        /// The place.
        place: String,
    },
    /// The place cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A metadata block is damaged or forged.
    #[error("metadata block {hash} of {place}: {source}")]
    Block {
        /// The dataset.
        place: String,
        /// The block.
        hash: Multihash,
        /// What is wrong.
        source: DecodeError,
    },
    /// The remote chain contradicts itself.
    #[error("the metadata chain of {place} is broken at block {hash}: {reason}")]
    Chain {
        /// The dataset.
        place: String,
        /// The block.
        hash: Multihash,
        /// What is wrong.
        reason: String,
    },
    /// More than one sync takes.
    #[error(
        "{place} has more than {MAX_NEW_BLOCKS} metadata blocks, or {MAX_NEW_BLOCK_BYTES} bytes of them, to take at once"
    )]
    TooMuch {
        /// The dataset.
        place: String,
    },
    /// Each side has metadata blocks that the other lacks.
    #[error(
        "the local chain (head {local}, {ours} block(s) of its own) and that of {place} (head {remote}, {theirs} block(s) of \
         its own) diverged after {common} common block(s)"
    )]
    Diverged {
        /// The other place.
        place: String,
        /// Local head.
        local: Multihash,
        /// Remote head.
        remote: Multihash,
        /// Blocks that both have.
        common: u64,
        /// Blocks that only the local chain has.
        ours: u64,
        /// Blocks that only the remote chain has.
        theirs: u64,
    },
    /// A push to a place that has all that is here, and more.
    #[error("{place} is ahead by {by} block(s): its head is {remote}, the local head is {local}")]
    DestinationAhead {
        /// The other place.
        place: String,
        /// Local head.
        local: Multihash,
        /// Remote head.
        remote: Multihash,
        /// Blocks that are not here.
        by: u64,
    },
    /// The place has another dataset than the one that was expected.
    #[error("{place} has dataset {found}, but {expected} was expected")]
    OtherDataset {
        /// The other place.
        place: String,
        /// Id in the remote Seed.
        found: DatasetId,
        /// Id wanted.
        expected: DatasetId,
    },
    /// Somebody else moved the head of the place during a push.
    #[error("the head of {place} moved meanwhile, to {}", .actual.map_or_else(|| "nothing".to_owned(), |hash| hash.to_string()))]
    HeadMoved {
        /// The place.
        place: String,
        /// The head now.
        actual: Option<Multihash>,
    },
    /// What came is not what it should be, or could not be kept.
    #[error(transparent)]
    Arrival(#[from] ArrivalError),
    /// A transfer by the smart protocol.
    #[error(transparent)]
    Smart(#[from] SmartError),
    /// The local dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A local file, on its way elsewhere, is not what its metadata block says.
    #[error("{} is not what its metadata block says: {found} instead of {expected}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Length or hash in the metadata block.
        expected: String,
        /// Length or hash found.
        found: String,
    },
    /// A file.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The caller wanted it to stop.
    #[error("interrupted")]
    Cancelled,
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

/// The local side of a comparison: hashes by sequence number.
struct Local<'a> {
    dataset: &'a Dataset,
    places: Vec<BlockPlace>,
}

impl<'a> Local<'a> {
    fn new(dataset: &'a Dataset) -> Result<Self, SyncError> {
        let places = dataset.places()?;
        Ok(Self { dataset, places })
    }

    fn has(&self, sequence: u64, hash: &Multihash) -> Result<bool, DatasetError> {
        let place = usize::try_from(sequence).ok().and_then(|at| self.places.get(at));
        match place {
            Some(place) => Ok(Multihash::sha3_256(&self.dataset.bytes_at(*place)?) == *hash),
            None => Ok(false),
        }
    }
}

/// A remote chain beside a local one.
pub(super) struct Comparison {
    /// How the local chain stands to the remote one.
    pub(super) relation: Relation,
    /// How many blocks both have.
    pub(super) common: u64,
    /// The remote blocks behind those, oldest first.
    pub(super) theirs: Vec<EncodedBlock>,
}

/// Walks the chain of `source` back from `head` to the first block that the local chain has too, or to its beginning.
pub(super) fn compare(
    source: &dyn SimpleSource,
    head: Multihash,
    local: Option<&Dataset>,
    on_progress: &OnProgress<'_>,
) -> Result<Comparison, SyncError> {
    let local = local.map(Local::new).transpose()?;
    let place = || source.place().to_owned();
    let has = |sequence, hash: &Multihash| local.as_ref().map_or(Ok(false), |local| local.has(sequence, hash));
    let (mut theirs, mut bytes) = (VecDeque::<EncodedBlock>::new(), 0);
    let mut next = Some((head, None));
    let mut common = 0;
    while let Some((hash, sequence)) = next {
        if let Some(sequence) = sequence
            && has(sequence, &hash)?
        {
            common = sequence + 1;
            break;
        }
        let raw = source.block(&hash)?;
        bytes += raw.len() as u64;
        let block = EncodedBlock::decode_checked(&hash, raw).map_err(|source| SyncError::Block {
            place: place(),
            hash,
            source,
        })?;
        let found = block.block().sequence_number;
        let broken = |reason: String| SyncError::Chain {
            place: place(),
            hash,
            reason,
        };
        match sequence {
            // Every step goes one down, so the first number bounds the walk.
            Some(sequence) if sequence != found => {
                return Err(broken(format!(
                    "its sequence number is {found}, {sequence} was expected"
                )));
            }
            None if has(found, &hash)? => {
                common = found + 1;
                break;
            }
            _ => {}
        }
        if theirs.len() as u64 >= MAX_NEW_BLOCKS || bytes > MAX_NEW_BLOCK_BYTES {
            return Err(SyncError::TooMuch { place: place() });
        }
        tell(on_progress, Progress::Block)?;
        next = match (block.block().prev_block_hash, found.checked_sub(1)) {
            (Some(before), Some(sequence)) => Some((before, Some(sequence))),
            (None, None) => None,
            (Some(_), None) => return Err(broken("it is the first one, but names one before it".to_owned())),
            (None, Some(_)) => return Err(broken("it names no block before it".to_owned())),
        };
        theirs.push_front(block);
    }
    let ours = local.as_ref().map_or(0, |local| local.places.len() as u64);
    let relation = compare_by(ours, common + theirs.len() as u64, |at| {
        Ok::<_, std::convert::Infallible>(at < common)
    });
    let relation = match relation {
        Ok(relation) => relation,
        Err(never) => match never {},
    };
    if let (Some(local), 0) = (&local, common)
        && let Some(found) = seed_id(theirs.make_contiguous()).filter(|found| *found != local.dataset.id())
    {
        return Err(SyncError::OtherDataset {
            place: place(),
            found,
            expected: local.dataset.id(),
        });
    }
    Ok(Comparison {
        relation,
        common,
        theirs: theirs.into(),
    })
}

/// The id in the Seed that a chain begins with.
fn seed_id(blocks: &[EncodedBlock]) -> Option<DatasetId> {
    match blocks.first().map(|block| &block.block().event) {
        Some(MetadataEvent::Seed(seed)) => Some(seed.dataset_id),
        _ => None,
    }
}

/// Brings what is new at `source` here. With `force` the local chain becomes the remote one also if it is ahead or the
/// two diverged; local blocks that the remote one lacks are dropped then.
///
/// # Errors
/// See [`SyncError`]; [`CatalogError::NameTaken`](crate::catalog::CatalogError::NameTaken) if another dataset has the
/// name of the new one.
pub fn pull(
    workspace: &Workspace,
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
        local = workspace.catalog().by_id(&id).map_err(SyncError::from)?;
        match &local {
            Some(dataset) => compared = against(compared, dataset)?,
            None => {
                let arrival = Arrival::begin(workspace, id, &destination.name, destination.aliases)?;
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
    let arrival = Arrival::into(workspace, dataset)?;
    let arrived = if compared.theirs.is_empty() {
        arrival.cut(compared.common)?
    } else {
        take(source, &arrival, compared.theirs, ours > 0, on_progress)?
    };
    Ok(Outcome::Updated(arrived))
}

/// A whole remote chain, compared with a local one that was not known before.
fn against(compared: Comparison, dataset: &Dataset) -> Result<Comparison, SyncError> {
    let local = Local::new(dataset)?;
    let (ours, len) = (local.places.len() as u64, compared.theirs.len() as u64);
    let relation = compare_by(ours, len, |at| {
        match usize::try_from(at).ok().and_then(|at| compared.theirs.get(at)) {
            Some(block) => local.has(at, block.hash()),
            None => Ok(false),
        }
    })?;
    let common = match relation {
        Relation::Equal => ours,
        Relation::Ahead { .. } => len,
        Relation::Behind { .. } => ours,
        Relation::Diverged { common, .. } => common,
    };
    let mut theirs = compared.theirs;
    theirs.drain(..usize::try_from(common).unwrap_or(usize::MAX).min(theirs.len()));
    Ok(Comparison {
        relation,
        common,
        theirs,
    })
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

/// Transfers objects, [`MAX_PARALLEL_TRANSFERS`] at a time; the first failure ends it.
pub(super) fn in_parallel(
    objects: &[Object],
    transfer: &(dyn Fn(&Object) -> Result<(), SyncError> + Sync),
) -> Result<(), SyncError> {
    let queue = Mutex::new(objects.iter());
    let failure = Mutex::new(None);
    let failed = AtomicBool::new(false);
    let work = || {
        while !failed.load(Ordering::Acquire) {
            let Some(object) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                return;
            };
            if let Err(error) = transfer(object) {
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
        for _ in 1..MAX_PARALLEL_TRANSFERS.min(objects.len()) {
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
