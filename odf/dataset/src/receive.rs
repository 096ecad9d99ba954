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
mod limits;
mod local;
mod parallel;
mod progress;
mod settle;
mod source;
mod survey;

use odf_metadata::chain::Relation;
use odf_metadata::{DatasetId, Multihash};

pub use self::arrival::{Arrival, Arrived, ObjectReader, Sink};
pub use self::compare::{Comparison, compare};
use self::compare::{against, seed_id};
pub use self::error::{ReceiveError, SourceError};
use self::kept::Kept;
pub use self::limits::{MAX_NEW_BLOCK_BYTES, MAX_NEW_BLOCKS};
pub use self::local::FromDataset;
use crate::{Blocks as _, Dataset, DatasetName, Datasets, NewBlocks, RemoteAliases};
pub use parallel::{MAX_PARALLEL_TRANSFERS, in_parallel};
pub use progress::{Cancelled, Listener, Progress, tell};
pub use settle::{TOGETHER, TOGETHER_BYTES};
pub use source::Source;
pub use survey::{Surveyed, survey};

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
            let compared = compare(self.source, head, Some(&dataset), catalog.dir(), self.listener)?;
            return self.update(dataset, head, compared, destination.force);
        }
        let compared = compare(self.source, head, None, catalog.dir(), self.listener)?;
        let Some(id) = seed_id(&compared.theirs)? else {
            return Err(ReceiveError::Chain {
                place: self.place(),
                hash: compared.theirs.at(0)?.map_or(head, |block| *block.hash()),
                reason: "it begins with something else than a Seed".to_owned(),
            });
        };
        self.check_id(id, expected)?;
        // The same dataset under another local name is updated rather than doubled.
        if let Some(dataset) = catalog.by_id(&id)? {
            let compared = against(compared, &dataset)?;
            return self.update(dataset, head, compared, destination.force);
        }
        let arrival = Arrival::begin(self.datasets, id, &destination.name, destination.aliases)?;
        let arrived = self.take(&arrival, compared.theirs, false)?;
        arrived.dataset.know_whole();
        Ok(Received::Updated(arrived))
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
        let was_whole = dataset.is_known_whole();
        let arrival = Arrival::into(self.datasets, dataset)?;
        let arrived = if compared.theirs.is_empty() {
            arrival.cut(compared.common)?
        } else {
            self.take(&arrival, compared.theirs, dropped > 0)?
        };
        if was_whole {
            arrived.dataset.know_whole();
        }
        Ok(Received::Updated(arrived))
    }

    /// Checks the blocks, has what they name brought, and commits.
    fn take(&self, arrival: &Arrival, blocks: NewBlocks, force: bool) -> Result<Arrived, ReceiveError> {
        let objects = arrival.check(&blocks, force)?;
        tell(self.listener, Progress::planned(blocks.count(), &objects))?;
        self.source.objects(&objects, arrival, self.listener)?;
        // They may be very many, and what comes now needs memory of its own.
        drop(objects);
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

#[cfg(test)]
mod tests;
