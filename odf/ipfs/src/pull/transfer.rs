//! One pull: which metadata blocks are new, and what is done with them in which order.

use std::collections::HashMap;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use odf_node::block::Cid;
use odf_node::fetch::{Fetcher, MAX_NODES_IN_FLIGHT};

use super::{Destination, Outcome, Progress, PullError, Remote, blocking, small_file};
use crate::Local;
use odf_dataset::{Dataset, DatasetError, RemoteAliases};
use odf_metadata::chain::ChainState;
use odf_metadata::codec::{self, EncodedBlock};
use odf_metadata::{DatasetId, MetadataEvent, Multihash};

/// How the remote chain lies to the local one.
enum Gap {
    /// These blocks follow the local head, oldest first.
    New(Vec<EncodedBlock>),
    /// The local chain holds the remote head.
    Ahead,
    /// The first so many blocks are the same; these follow them instead of the local ones, oldest first.
    Diverged(u64, Vec<EncodedBlock>),
}

/// What one pull works with.
pub(super) struct Transfer<'a> {
    pub(super) local: &'a Local,
    pub(super) fetcher: &'a Fetcher,
    pub(super) remote: &'a Remote,
    pub(super) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Transfer<'_> {
    pub(super) async fn run(&self, destination: Destination) -> Result<Outcome, PullError> {
        let catalog = self.local.catalog();
        let mut local = destination.dataset;
        let other = |found: DatasetId| match destination.expected_id.filter(|expected| *expected != found) {
            Some(expected) => Err(PullError::OtherDataset { found, expected }),
            None => Ok(()),
        };
        local.as_ref().map_or(Ok(()), |dataset| other(dataset.id()))?;
        let mut gap = self.gap(local.as_ref()).await?;
        if local.is_none() {
            // The same dataset under another local name is updated rather than doubled.
            let Gap::New(chain) = &gap else {
                return Err(self.not_a_dataset("its chain is empty"));
            };
            let id = match chain.first().map(|block| &block.block().event) {
                Some(MetadataEvent::Seed(seed)) => seed.dataset_id,
                _ => return Err(self.not_a_dataset("its chain does not begin with a Seed")),
            };
            other(id)?;
            if let Some(dataset) = catalog.by_id(&id)? {
                gap = self.gap(Some(&dataset)).await?;
                local = Some(dataset);
            }
        }
        let mut common = None;
        let new = match (gap, &local) {
            (_, Some(dataset)) if *dataset.head() == self.remote.head => {
                return Ok(Outcome::UpToDate {
                    dataset: dataset.clone(),
                });
            }
            (Gap::Ahead, Some(dataset)) if !destination.force => {
                return Ok(Outcome::Ahead {
                    dataset: dataset.clone(),
                    remote: self.remote.head,
                });
            }
            (Gap::Ahead, Some(dataset)) => {
                let head = dataset.block_by_hash(&self.remote.head)?;
                common = head.map(|stored| stored.block.block().sequence_number + 1);
                Vec::new()
            }
            (Gap::Diverged(at, _), Some(dataset)) if !destination.force => {
                return Err(PullError::Diverged {
                    local: *dataset.head(),
                    remote: self.remote.head,
                    common: at,
                });
            }
            (Gap::Diverged(at, new), Some(_)) => {
                common = Some(at);
                new
            }
            (Gap::New(new), _) => new,
            (Gap::Ahead | Gap::Diverged(..), None) => return Err(self.not_a_dataset("its chain is empty")),
        };
        let blocks = new.len() as u64;
        let old_head = local.as_ref().map(|dataset| *dataset.head());
        let had = local.as_ref().map_or(0, |dataset| dataset.state().blocks());
        let dropped = common.map_or(0, |common| had - common);
        let (dataset, objects, known) = match (local, common) {
            (Some(mut dataset), Some(common)) => {
                check_rules(dataset.state_before(common)?, &new)?;
                let (objects, known) = self.objects(dataset.dir(), &new).await?;
                let datasets = self.local.datasets().clone();
                let replace = move || datasets.replace(&mut dataset, common, new).map(|_| dataset);
                (blocking(replace).await??, objects, known)
            }
            (Some(mut dataset), None) => {
                check_rules(Some(dataset.state().clone()), &new)?;
                let (objects, known) = self.objects(dataset.dir(), &new).await?;
                let dataset = blocking(move || dataset.append(new, None).map(|_| dataset)).await??;
                (dataset, objects, known)
            }
            (None, _) => {
                let id = seed_id(&new).ok_or_else(|| self.not_a_dataset("its chain does not begin with a Seed"))?;
                let incoming = catalog.receive(id, &destination.name)?;
                if let Some(alias) = destination.alias {
                    let pull_aliases = vec![alias];
                    incoming.set_remote_aliases(&RemoteAliases {
                        pull_aliases,
                        ..Default::default()
                    })?;
                }
                check_rules(None, &new)?;
                let (objects, known) = self.objects(incoming.dir(), &new).await?;
                (blocking(move || incoming.install(new)).await??, objects, known)
            }
        };
        let (layout, laid_out) = (self.local.layout().clone(), dataset.clone());
        let root = blocking(move || layout.update(&laid_out, &known)).await??;
        if self.remote.canonical && root.cid != self.remote.root {
            tracing::warn!(remote = %self.remote.root, local = %root.cid, "the publisher laid the dataset out otherwise");
        }
        let fetched = self.fetcher.fetched();
        Ok(Outcome::Updated {
            dataset,
            old_head,
            blocks,
            dropped,
            objects,
            fetched,
            root,
        })
    }

    fn not_a_dataset(&self, reason: &str) -> PullError {
        PullError::NotADataset {
            cid: self.remote.root,
            reason: reason.to_owned(),
        }
    }

    /// The metadata blocks that follow the local head.
    async fn gap(&self, local: Option<&Dataset>) -> Result<Gap, PullError> {
        match self.gap_in(local, true).await {
            // Subtrees were skipped as complete, but what is below them belongs to a dataset that is gone.
            Err(PullError::Lacks { .. }) => self.gap_in(local, false).await,
            done => done,
        }
    }

    async fn gap_in(&self, local: Option<&Dataset>, skip_complete: bool) -> Result<Gap, PullError> {
        let (links, _) = self.fetcher.directory(self.remote.blocks, skip_complete).await?;
        let names: HashMap<String, Cid> = links.into_iter().map(|link| (link.name, link.cid)).collect();
        self.prefetch(names.values().copied().collect()).await?;
        let mut new: Vec<EncodedBlock> = Vec::new();
        let mut at = Some(self.remote.head);
        while let Some(hash) = at {
            if local.is_some_and(|dataset| *dataset.head() == hash) {
                break;
            }
            let Some(cid) = names.get(&hash.to_string()) else {
                let lacks = PullError::Lacks {
                    directory: "blocks",
                    hash,
                };
                return local.map_or(Err(lacks), |dataset| self.meeting_point(dataset, &new, Some(hash)));
            };
            let bytes = small_file(self.fetcher, *cid, codec::MAX_BLOCK_BYTES)
                .await?
                .unwrap_or_default();
            let block =
                EncodedBlock::decode_checked(&hash, bytes).map_err(|source| PullError::Block { hash, source })?;
            at = block.block().prev_block_hash;
            new.push(block);
        }
        if let (None, Some(dataset)) = (at, local) {
            return self.meeting_point(dataset, &new, None);
        }
        new.reverse();
        Ok(Gap::New(new))
    }

    /// The remote chain, walked from its head down to a block that was not listed, or to its beginning, did not meet
    /// the local head: finds out where it meets the local chain.
    fn meeting_point(
        &self,
        dataset: &Dataset,
        walked: &[EncodedBlock],
        unlisted: Option<Multihash>,
    ) -> Result<Gap, PullError> {
        let mut local = HashMap::new();
        for stored in dataset.blocks()? {
            let block = stored?.block;
            local.insert(*block.hash(), block.block().sequence_number);
        }
        let mut hashes = walked.iter().map(|block| *block.hash()).chain(unlisted).enumerate();
        let new = |count: usize| walked.iter().take(count).rev().cloned().collect();
        match hashes.find_map(|(newer, hash)| Some((newer, *local.get(&hash)?))) {
            Some((0, _)) => Ok(Gap::Ahead),
            Some((newer, sequence)) => Ok(Gap::Diverged(sequence + 1, new(newer))),
            None => match (unlisted, seed_id(walked)) {
                (Some(hash), _) => Err(PullError::Lacks {
                    directory: "blocks",
                    hash,
                }),
                (None, Some(found)) if found != dataset.id() => Err(PullError::OtherDataset {
                    found,
                    expected: dataset.id(),
                }),
                _ => Ok(Gap::Diverged(0, new(walked.len()))),
            },
        }
    }

    /// Brings metadata blocks into the store in parallel, so that walking the chain asks nobody.
    async fn prefetch(&self, cids: Vec<Cid>) -> Result<(), PullError> {
        futures::stream::iter(cids)
            .map(|cid| async move { self.fetcher.ensure(&cid).await })
            .buffer_unordered(MAX_NODES_IN_FLIGHT)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        Ok(())
    }
}

/// Checks the rules of the chain before anything large is fetched; the commit checks them again.
fn check_rules(mut state: Option<ChainState>, new: &[EncodedBlock]) -> Result<(), PullError> {
    new.iter()
        .try_for_each(|block| ChainState::append(&mut state, block))
        .map_err(|error| DatasetError::Chain(error).into())
}

fn seed_id(blocks: &[EncodedBlock]) -> Option<DatasetId> {
    blocks.iter().find_map(|block| match &block.block().event {
        MetadataEvent::Seed(seed) => Some(seed.dataset_id),
        _ => None,
    })
}
