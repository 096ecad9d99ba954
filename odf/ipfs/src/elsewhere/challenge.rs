//! Whether a dataset outlives the machine that published it: asked as a stranger would, who knows others of the network and not
//! that machine.
//!
//! A peer of its own, with an empty store, has to find out what the name stands for and who else has that. Each of these is then
//! asked by another one that is connected to nobody else, for blocks that it cannot have foreseen.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime};

use odf_node::PeerId;
use odf_node::block::{Cid, RAW};
use odf_node::dag;
use odf_node::ipns::{self, Freshness, Name, Origin};
use odf_node::peer::{Builder, Node};
use odf_node::routing::{Network, Provider};
use odf_node::store::{Blocks as _, Store, StoreError};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::remember;
use crate::Local;
use crate::pull::blocking;

/// Blocks that each of those who say they have a dataset is asked for.
const BLOCKS: usize = 16;
/// How often a block is looked for that was not chosen yet.
const TRIES: usize = 4 * BLOCKS;
/// Links from the root to a block at most: chains are long, and their end is found through directories, too.
const MAX_DEPTH: usize = 64;
/// How long the stranger has to find out what the name stands for and who has it.
const SEARCH: Duration = Duration::from_secs(20);
/// How long each of these has to give all blocks.
const CHALLENGE: Duration = Duration::from_secs(20);
/// Peers that are asked in one go.
const MAX_ASKED: usize = 16;
/// Others of the network whom the stranger is introduced to.
const INTRODUCED: usize = 8;
/// What peers call themselves that put again, for as long as it lasts, the record of a name that they have pulled.
const RENEWS: &str = "odfs/";

/// Who else has a dataset, and for how long others will find it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies {
    /// Whether a stranger finds out what the name stands for without the machine that published it.
    pub resolves: bool,
    /// Other machines that gave every block they were asked for.
    pub holders: Vec<PeerId>,
    /// Until when the name is found if the machine that published it is off from now on: the end of its record where one of
    /// the holders puts it again, else when others forget it. Nothing if nobody else has it.
    pub until: Option<SystemTime>,
}

impl Copies {
    /// Whether that machine may be off.
    #[must_use]
    pub fn are_enough(&self, wanted: usize) -> bool {
        self.resolves && self.holders.len() >= wanted.max(1) && self.until.is_some()
    }
}

/// Looks for others who have what `name` stands for, which is `root`, and has each of them prove it. `stranger` makes a peer that
/// knows the network as the settings have it, and listens nowhere. What was found is remembered.
///
/// # Errors
/// The store failed.
pub async fn challenge(
    local: &Local,
    node: &Node,
    name: &Name,
    root: Cid,
    stranger: impl Fn() -> Builder,
) -> Result<Copies, StoreError> {
    let own = node.peer_id();
    let mut copies = Copies::default();
    let Ok(asking) = stranger().refuse(move |peer| *peer == own).start().await else {
        return Ok(copies);
    };
    introduce(node, &asking, name).await;
    let search = async {
        let resolved = asking.names().resolve(name, Freshness::Network).await;
        let resolves = resolved.is_ok_and(|resolved| resolved.value == format!("/ipfs/{root}"));
        let mut others = Vec::new();
        let mut providers = asking.routing().providers(&root);
        while let Some(provider) = providers.recv().await {
            if provider.peer != own && others.len() < MAX_ASKED {
                others.push(provider);
            }
        }
        (resolves, others)
    };
    let (resolves, others) = timeout(SEARCH, search).await.unwrap_or_default();
    asking.shutdown().await;
    copies.resolves = resolves;

    let mut renewed = false;
    let mut challenges = JoinSet::new();
    for provider in others {
        let store = local.store().clone();
        let blocks = blocking(move || sample(&store, root))
            .await
            .unwrap_or_else(|_| Ok(Vec::new()))?;
        let (only, peer) = (provider.peer, provider.peer);
        let asking = stranger().bootstrap(Vec::new()).bootstrap_last(Vec::new());
        let asking = asking.refuse(move |peer| *peer != only);
        let name = *name;
        challenges.spawn(async move {
            let passed = timeout(CHALLENGE, ask(asking, provider, &blocks, &name)).await;
            passed.ok().flatten().map(|renews| (peer, renews))
        });
    }
    while let Some(passed) = challenges.join_next().await {
        if let Ok(Some((peer, renews))) = passed {
            copies.holders.push(peer);
            renewed |= renews;
        }
    }
    let (store, name, is_elsewhere) = (local.store().clone(), *name, !copies.holders.is_empty());
    let status = blocking(move || {
        if is_elsewhere {
            remember(&store, &name, root)?;
        }
        ipns::status(&store, &name)
    });
    let status = status.await.unwrap_or(Ok(None))?;
    copies.until = status.filter(|_| is_elsewhere).and_then(|status| match renewed {
        true => status.valid_until,
        false => status.safe_until,
    });
    Ok(copies)
}

/// Connects a stranger to those of the network who are closest to the name: to somebody it must go, and any of them will do.
async fn introduce(node: &Node, stranger: &Node, name: &Name) {
    let (key, mut dials) = (name.routing_key(), JoinSet::new());
    for network in Network::BOTH {
        let closest = timeout(SEARCH, node.routing().closest(network, &key));
        let Ok(Ok(Some(closest))) = closest.await else { continue };
        for Provider { peer, addresses } in closest.into_iter().take(INTRODUCED) {
            let stranger = stranger.clone();
            dials.spawn(async move { stranger.dial_any(peer, addresses).await });
        }
    }
    let _ = timeout(CHALLENGE, dials.join_all()).await;
}

/// Has a peer give these blocks to one that knows nobody else. Nothing if it does not; else whether it also has the record of
/// the name, and is of a kind that puts it again.
async fn ask(asking: Builder, provider: Provider, blocks: &[Cid], name: &Name) -> Option<bool> {
    let asking = asking.start().await.ok()?;
    let passed = async {
        asking.dial_any(provider.peer, provider.addresses).await.ok()?;
        let session = asking.exchange().session();
        session.add_provider(provider.peer);
        // Each is hashed when it arrives.
        futures::future::try_join_all(blocks.iter().map(|cid| session.fetch(cid)))
            .await
            .ok()?;
        let peers = asking.peers().await;
        let renews = peers
            .iter()
            .any(|peer| peer.agent.as_deref().is_some_and(|agent| agent.starts_with(RENEWS)));
        let resolved = asking.names().resolve(name, Freshness::Network).await;
        Some(renews && resolved.is_ok_and(|resolved| matches!(resolved.source, Origin::Network { .. })))
    };
    let passed = passed.await;
    asking.shutdown().await;
    passed.filter(|_| !blocks.is_empty())
}

/// Blocks of the DAG below `root`, which is here, chosen by chance: each at the end of a walk that takes any link of each node,
/// or on the way there.
fn sample(store: &Store, root: Cid) -> Result<Vec<Cid>, StoreError> {
    let chance = RandomState::new();
    let mut chosen = HashSet::from([root]);
    for walk in 0..TRIES {
        if chosen.len() >= BLOCKS {
            break;
        }
        let mut at = root;
        for depth in 0..MAX_DEPTH {
            if at.codec() == RAW {
                break;
            }
            let Some(block) = store.get(&at)? else { break };
            let links = dag::links(&block).unwrap_or_default();
            let number = chance.hash_one((walk, depth)) % (links.len() as u64 + 1);
            match links.get(number as usize) {
                Some(link) => at = *link,
                // Some nodes are chosen themselves.
                None => break,
            }
        }
        chosen.insert(at);
    }
    Ok(chosen.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::{leaf, node, open};

    #[test]
    fn whoever_is_asked_cannot_foresee_for_what() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let named = |links: &[Cid]| -> Vec<(String, Cid)> {
            links
                .iter()
                .enumerate()
                .map(|(number, cid)| (number.to_string(), *cid))
                .collect()
        };
        let leaves: Vec<Cid> = (0..300).map(leaf).collect();
        let nodes: Vec<Cid> = leaves.chunks(10).map(|some| node(&store, &named(some))).collect();
        let root = node(&store, &named(&nodes));
        let all: HashSet<Cid> = leaves.iter().chain(&nodes).chain([&root]).copied().collect();
        let samples: Vec<HashSet<Cid>> = (0..3)
            .map(|_| sample(&store, root).unwrap().into_iter().collect())
            .collect();
        for sample in &samples {
            assert_eq!(sample.len(), BLOCKS);
            assert!(sample.contains(&root) && sample.is_subset(&all));
        }
        assert_ne!(samples[0], samples[1]);
        assert_ne!(samples[1], samples[2]);
    }

    #[test]
    fn what_is_small_deep_or_not_here_is_sampled_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        assert_eq!(sample(&store, leaf(1)).unwrap(), [leaf(1)]);
        let missing = *odf_node::block::Block::new(odf_node::block::DAG_CBOR, vec![0xa0])
            .unwrap()
            .cid();
        assert_eq!(sample(&store, missing).unwrap(), [missing]);
        let mut chain = vec![leaf(0)];
        for _ in 0..2 * MAX_DEPTH {
            let next = node(&store, &[("next".to_owned(), chain[chain.len() - 1])]);
            chain.push(next);
        }
        let root = chain[chain.len() - 1];
        let within: HashSet<Cid> = chain.iter().rev().take(MAX_DEPTH + 1).copied().collect();
        let sampled: HashSet<Cid> = sample(&store, root).unwrap().into_iter().collect();
        assert!(sampled.contains(&root) && sampled.is_subset(&within));
    }

    #[test]
    fn a_machine_may_be_off_when_others_resolve_and_hold_and_keep_the_name() {
        let whole = Copies {
            resolves: true,
            holders: vec![PeerId::random()],
            until: Some(SystemTime::now()),
        };
        assert!(whole.are_enough(0) && whole.are_enough(1) && !whole.are_enough(2));
        let without = [
            Copies {
                resolves: false,
                ..whole.clone()
            },
            Copies {
                holders: Vec::new(),
                ..whole.clone()
            },
            Copies {
                until: None,
                ..whole.clone()
            },
        ];
        assert!(without.iter().all(|copies| !copies.are_enough(0)));
    }
}
