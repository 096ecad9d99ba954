//! A dataset that comes from somewhere else: one way for it, whatever the place.
//!
//! [`receive`] walks the chain of a [`Source`] back from its head to a metadata block that is here too, checks the rules of
//! the chain, has the source bring the slices and checkpoints that the new blocks name, and moves the head with the last
//! step. Nothing is believed: blocks and objects are hashed whatever the place they come from, and an object gets its name
//! only when all of it is checked and synced. What arrived before an interruption is not asked for again.
//!
//! Whoever is sent something, as a server is, uses an [`Arrival`] alone.

mod arrival;
mod compare;
mod error;
mod kept;

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use odf_metadata::chain::Relation;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, Multihash};

pub use self::arrival::{Arrival, Arrived, Sink};
pub use self::compare::{Comparison, MAX_NEW_BLOCK_BYTES, MAX_NEW_BLOCKS, compare};
use self::compare::{against, seed_id};
pub use self::error::{ReceiveError, SourceError};
use self::kept::Kept;
use crate::{Dataset, DatasetName, Datasets, Object, RemoteAliases};

/// How many objects are transferred at once, as kamu does.
pub const MAX_PARALLEL_TRANSFERS: usize = 10;

/// Somewhere a dataset can be read. Bytes are given as they are found; the reader of this checks them. All calls are made
/// by threads that may block.
pub trait Source: Sync {
    /// Where it is, for messages.
    fn place(&self) -> &str;

    /// Hash of the newest metadata block; nothing if there is no dataset.
    ///
    /// # Errors
    /// It cannot be had, or is no hash.
    fn head(&self) -> Result<Option<Multihash>, SourceError>;

    /// The exact bytes of a metadata block, at most [`MAX_BLOCK_BYTES`](odf_metadata::codec::MAX_BLOCK_BYTES). They are
    /// asked for from the head on backwards, so a source that can have many at once fetches them when the first is asked
    /// for.
    ///
    /// # Errors
    /// It is missing, cannot be had, or is longer.
    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError>;

    /// Whether every metadata block costs a question over a network, so that those that came are worth keeping.
    fn is_far(&self) -> bool {
        false
    }

    /// Brings objects, each once, to where `arrival` wants them. When this returns each is complete, checked, synced and
    /// has its name; most sources leave that to [`Arrival::take`].
    ///
    /// # Errors
    /// An object is missing, cannot be had or is not what it should be. Those that were complete are kept.
    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError>;
}

impl<S: Source + ?Sized> Source for &S {
    fn place(&self) -> &str {
        (**self).place()
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        (**self).head()
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        (**self).block(hash)
    }

    fn is_far(&self) -> bool {
        (**self).is_far()
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        (**self).objects(objects, arrival, listener)
    }
}

/// A stream of the bytes of an object.
pub type ObjectReader<'a> = Box<dyn Read + Send + 'a>;

/// What a transfer is about to do or has done.
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

impl Progress {
    /// What has to be transferred.
    pub fn planned(blocks: u64, objects: &[Object]) -> Self {
        Self::Planned {
            blocks,
            objects: objects.len() as u64,
            bytes: objects.iter().map(|object| object.size).fold(0, u64::saturating_add),
        }
    }
}

/// Hears how far a transfer is, from several threads, and can end it.
pub type Listener<'a> = dyn Fn(Progress) -> ControlFlow<()> + Sync + 'a;

/// A transfer was ended by its [`Listener`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Cancelled;

/// Tells how far a transfer is.
///
/// # Errors
/// The listener wants it to stop.
pub fn tell(listener: &Listener<'_>, at: Progress) -> Result<(), Cancelled> {
    match listener(at) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Cancelled),
    }
}

/// What to receive into.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The local dataset to update. Without one the dataset with the remote id is updated, or a new one made.
    pub dataset: Option<Dataset>,
    /// Name of a new dataset.
    pub name: DatasetName,
    /// Id that the remote dataset must have.
    pub expected_id: Option<DatasetId>,
    /// What a new dataset is to remember. One that is here, was found by its id, and is pulled
    /// from somewhere remembers the pull aliases too.
    pub aliases: RemoteAliases,
    /// Make the local chain the remote one also if it is ahead or the two diverged: local blocks that the remote one lacks
    /// are dropped. A dataset of another id is refused all the same.
    pub force: bool,
}

impl Destination {
    /// A new dataset of this name, or the one with the remote id if it is here, which keeps its name.
    pub fn named(name: DatasetName) -> Self {
        Self {
            dataset: None,
            name,
            expected_id: None,
            aliases: RemoteAliases::default(),
            force: false,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one at a time, and every variant holds a dataset"
)]
pub enum Received {
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

impl Received {
    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        match self {
            Self::UpToDate { dataset } | Self::Ahead { dataset, .. } => dataset,
            Self::Updated(arrived) => &arrived.dataset,
        }
    }
}

/// Brings what is new at `source` here. The collection of garbage waits for the end of it.
///
/// # Errors
/// See [`ReceiveError`]; [`CatalogError::NameTaken`](crate::catalog::CatalogError::NameTaken) if another dataset has the
/// name of the new one. The dataset is at its old head, or not there; what arrived and is in order is kept for the next
/// attempt. Should only the mirror fail, the dataset is at its new head.
pub fn receive(
    datasets: &Datasets,
    source: &dyn Source,
    destination: Destination,
    listener: &Listener<'_>,
) -> Result<Received, ReceiveError> {
    let _hold = datasets.mirror().hold();
    let transfer = |source: &dyn Source| {
        Transfer {
            datasets,
            source,
            listener,
        }
        .run(destination)
    };
    if !source.is_far() {
        return transfer(source);
    }
    let kept = Kept::new(source, &*datasets.catalog().medium().cache);
    let received = transfer(&kept)?;
    kept.arrived();
    Ok(received)
}

/// One transfer.
struct Transfer<'a> {
    datasets: &'a Datasets,
    source: &'a dyn Source,
    listener: &'a Listener<'a>,
}

impl Transfer<'_> {
    fn run(&self, destination: Destination) -> Result<Received, ReceiveError> {
        let head = self
            .source
            .head()?
            .ok_or_else(|| ReceiveError::NotFound { place: self.place() })?;
        let is_named = destination.dataset.is_some();
        let aliases = destination.aliases.clone();
        let received = self.bring(head, destination)?;
        if !is_named {
            remember(received.dataset(), &aliases)?;
        }
        Ok(received)
    }

    fn bring(&self, head: Multihash, destination: Destination) -> Result<Received, ReceiveError> {
        let (catalog, expected) = (self.datasets.catalog(), destination.expected_id);
        let local = match (destination.dataset, expected) {
            (Some(dataset), _) => Some(dataset),
            (None, Some(id)) => catalog.by_id(&id)?,
            (None, None) => None,
        };
        if let Some(dataset) = local {
            self.check_id(dataset.id(), expected)?;
            if *dataset.head() == head {
                return Ok(Received::UpToDate { dataset });
            }
            let compared = compare(self.source, head, Some(&dataset), self.listener)?;
            return self.update(dataset, head, compared, destination.force);
        }
        let compared = compare(self.source, head, None, self.listener)?;
        let id = seed_id(&compared.theirs).ok_or_else(|| ReceiveError::Chain {
            place: self.place(),
            hash: compared.theirs.first().map_or(head, |block| *block.hash()),
            reason: "it begins with something else than a Seed".to_owned(),
        })?;
        self.check_id(id, expected)?;
        // The same dataset under another local name is updated rather than doubled.
        if let Some(dataset) = catalog.by_id(&id)? {
            let compared = against(compared, &dataset)?;
            return self.update(dataset, head, compared, destination.force);
        }
        let arrival = Arrival::begin(self.datasets, id, &destination.name, destination.aliases)?;
        Ok(Received::Updated(self.take(&arrival, compared.theirs, false)?))
    }

    fn update(
        &self,
        dataset: Dataset,
        head: Multihash,
        compared: Comparison,
        force: bool,
    ) -> Result<Received, ReceiveError> {
        let dropped = match compared.relation {
            Relation::Equal => return Ok(Received::UpToDate { dataset }),
            Relation::Ahead { by } if !force => {
                return Ok(Received::Ahead {
                    dataset,
                    remote: head,
                    by,
                });
            }
            Relation::Diverged { common, ours, theirs } if !force => {
                return Err(ReceiveError::Diverged {
                    place: self.place(),
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
        let arrival = Arrival::into(self.datasets, dataset)?;
        let arrived = if compared.theirs.is_empty() {
            arrival.cut(compared.common)?
        } else {
            self.take(&arrival, compared.theirs, dropped > 0)?
        };
        Ok(Received::Updated(arrived))
    }

    /// Checks the blocks, has what they name brought, and commits.
    fn take(&self, arrival: &Arrival, blocks: Vec<EncodedBlock>, force: bool) -> Result<Arrived, ReceiveError> {
        arrival.check(&blocks, force)?;
        let objects = arrival.lacking(&blocks);
        tell(self.listener, Progress::planned(blocks.len() as u64, &objects))?;
        self.source.objects(&objects, arrival, self.listener)?;
        arrival.commit(blocks, force)
    }

    fn check_id(&self, found: DatasetId, expected: Option<DatasetId>) -> Result<(), ReceiveError> {
        match expected.filter(|expected| *expected != found) {
            Some(expected) => Err(ReceiveError::OtherDataset {
                place: self.place(),
                found,
                expected,
            }),
            None => Ok(()),
        }
    }

    fn place(&self) -> String {
        self.source.place().to_owned()
    }
}

/// Adds to where a dataset is pulled from. One that is pulled from nowhere is its owner's, who must not be kept from adding
/// rows to it because they looked at what they had published.
fn remember(dataset: &Dataset, aliases: &RemoteAliases) -> Result<(), ReceiveError> {
    if dataset.remote_aliases()?.pull_aliases.is_empty() {
        return Ok(());
    }
    dataset.change_remote_aliases(|known| {
        for alias in &aliases.pull_aliases {
            if !known.pull_aliases.contains(alias) {
                known.pull_aliases.push(alias.clone());
            }
        }
    })?;
    Ok(())
}

/// Transfers things, [`MAX_PARALLEL_TRANSFERS`] at a time; the first failure ends it.
///
/// # Errors
/// The first failure.
pub fn in_parallel<T: Sync, E: Send>(things: &[T], transfer: &(dyn Fn(&T) -> Result<(), E> + Sync)) -> Result<(), E> {
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
