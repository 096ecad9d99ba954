//! Which blocks of a dataset others are told of, as the peer's [`Strategy`] has it.
//!
//! The root, its files and its head come first, for they are asked for first; whoever pulls asks the same peer for the rest. With
//! [`Strategy::Entities`] follow slices and checkpoints, with [`Strategy::All`] every block. What was announced of a dataset
//! before is not walked again, so an append costs what it adds: how far that went is in the index of the store.

use std::collections::HashSet;

use ipld_core::ipld::Ipld;
use odf_metadata::DatasetId;
use odf_node::block::{Cid, RAW};
use odf_node::dag;
use odf_node::peer::Node;
use odf_node::routing::{RoutingError, Strategy};
use odf_node::store::{Blocks as _, Store, StoreError};

use crate::Local;
use crate::layout::Root;
use crate::pull::blocking;
use crate::retention::entities;

/// Table of by which strategy each dataset was announced last, and with which head. No strategy: that came to no end.
const TABLE: &str = "odf.announced";
/// Keys that are added to what is announced in one go.
const AT_ONCE: usize = 4096;

/// Announces what others are to find of a root beside [`Root::entities`]. Returns when it is in the schedule; nobody waits for
/// others to be told.
///
/// # Errors
/// The schedule or the store cannot be used; a part may be announced.
pub async fn announce_rest(local: &Local, node: &Node, id: &DatasetId, root: &Root) -> Result<(), RoutingError> {
    let strategy = node.routing().strategy();
    let (store, id, new) = (local.store().clone(), *id, root.clone());
    let before = blocking(move || {
        let last = last(&store, &id)?;
        let (gone, last) = match last {
            Some((of, _)) if of != strategy.to_string() && !of.is_empty() => (beside_entities(&store, &id)?, None),
            last => (Vec::new(), last.filter(|(of, _)| !of.is_empty())),
        };
        Ok::<_, StoreError>((gone, last))
    });
    let (gone, last) = before.await.map_err(|_| RoutingError::Stopped)??;
    if !gone.is_empty() {
        node.routing().unprovide(gone).await?;
    }
    if strategy == Strategy::Roots {
        return Ok(());
    }
    let store = local.store().clone();
    let walk = blocking(move || {
        // Until it has come to its end nothing is known of what is below.
        save(&store, &id, "", new.chain_node)?;
        let walk = match strategy {
            Strategy::All => Walk::everything(&new, last.is_some()),
            Strategy::Roots | Strategy::Entities => Walk::files(&new, last.map(|(_, head)| head)),
        };
        Ok::<_, StoreError>((walk, store))
    });
    let (mut walk, store) = walk.await.map_err(|_| RoutingError::Stopped)??;
    loop {
        let (store, routing) = (store.clone(), node.routing().clone());
        let step = blocking(move || {
            let is_announced = |cid: &Cid| routing.is_provided(cid);
            let some = walk.some(&store, &is_announced)?;
            Ok::<_, StoreError>((some, walk))
        });
        let (some, rest) = step.await.map_err(|_| RoutingError::Stopped)??;
        walk = rest;
        if some.is_empty() && walk.is_over() {
            break;
        }
        node.routing().provide_later(some).await?;
    }
    let head = root.chain_node;
    let noted = blocking(move || save(&store, &id, &strategy.to_string(), head));
    Ok(noted.await.map_err(|_| RoutingError::Stopped)??)
}

/// All that may be announced of a dataset beside the [`entities`] of its roots, which is announced no longer.
///
/// # Errors
/// The store failed.
pub(crate) fn beside_entities(store: &Store, id: &DatasetId) -> Result<Vec<Cid>, StoreError> {
    let Some((strategy, _)) = last(store, id)? else {
        return Ok(Vec::new());
    };
    store.table(TABLE)?.remove(&id.to_bytes())?;
    let (mut walk, mut top) = (Walk::default(), HashSet::new());
    for pin in store.pins(Some(&id.to_string()))? {
        top.extend(entities(store, &pin.cid)?);
        walk.open.push(pin.cid);
    }
    if strategy == Strategy::Entities.to_string() {
        walk.links = Links::Files(None);
        // Which of them are heads only the chain says: a file has nothing of what is followed.
        walk.open = top.iter().copied().collect();
    }
    let mut cids = Vec::new();
    while !walk.is_over() {
        cids.extend(walk.some(store, &|cid| top.contains(cid))?);
    }
    Ok(cids)
}

/// What [`TABLE`] has of a dataset.
fn last(store: &Store, id: &DatasetId) -> Result<Option<(String, Cid)>, StoreError> {
    let saved = store.table(TABLE)?.get(&id.to_bytes())?;
    Ok(saved.and_then(|bytes| serde_ipld_dagcbor::from_slice(&bytes).ok()))
}

fn save(store: &Store, id: &DatasetId, strategy: &str, head: Cid) -> Result<(), StoreError> {
    // A text and a CID have no way to fail.
    let bytes = serde_ipld_dagcbor::to_vec(&(strategy, head)).unwrap_or_default();
    store.table(TABLE)?.insert(&id.to_bytes(), &bytes)
}

/// Which links of a block are followed.
#[derive(Debug, Default, Clone, Copy)]
enum Links {
    /// All.
    #[default]
    All,
    /// Those to what is not announced: all below the rest is.
    New,
    /// Along the chain until a node: those of each metadata block to its slice and checkpoint.
    Files(Option<Cid>),
}

/// A walk over what is to be announced, some at a time.
#[derive(Debug, Default)]
struct Walk {
    links: Links,
    open: Vec<Cid>,
    /// Nodes that were met: the leaves, which are most of it, are told apart by the schedule.
    seen: HashSet<Cid>,
}

impl Walk {
    fn everything(root: &Root, is_known_below: bool) -> Self {
        Self {
            links: if is_known_below { Links::New } else { Links::All },
            // The three of them are announced by now, and what is below may be new.
            open: vec![root.cid, root.files, root.chain_node],
            seen: HashSet::new(),
        }
    }

    fn files(root: &Root, until: Option<Cid>) -> Self {
        Self {
            links: Links::Files(until),
            open: vec![root.chain_node],
            seen: HashSet::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// The next ones that are not announced.
    fn some(&mut self, store: &Store, is_announced: &dyn Fn(&Cid) -> bool) -> Result<Vec<Cid>, StoreError> {
        let mut some = Vec::new();
        while some.len() < AT_ONCE
            && let Some(cid) = self.open.pop()
        {
            if matches!(self.links, Links::Files(Some(until)) if until == cid) {
                continue;
            }
            if cid.codec() != RAW {
                if !self.seen.insert(cid) {
                    continue;
                }
                self.follow(store, &cid, is_announced, &mut some)?;
            }
            if !matches!(self.links, Links::Files(_)) && !is_announced(&cid) {
                some.push(cid);
            }
        }
        Ok(some)
    }

    fn follow(
        &mut self,
        store: &Store,
        cid: &Cid,
        is_announced: &dyn Fn(&Cid) -> bool,
        some: &mut Vec<Cid>,
    ) -> Result<(), StoreError> {
        // What is not here is not announced either.
        let Some(block) = store.get(cid)? else { return Ok(()) };
        if let Links::Files(_) = self.links {
            let at = |key: &str| match dag::value_at(&block, &[key]) {
                Ok(Ipld::Link(cid)) => Some(cid),
                _ => None,
            };
            let files = [at("data"), at("checkpoint")].into_iter().flatten();
            some.extend(files.filter(|cid| !is_announced(cid)));
            self.open.extend(at("prev"));
            return Ok(());
        }
        let links = dag::links(&block).unwrap_or_default();
        let is_known = |link: &Cid| matches!(self.links, Links::New) && is_announced(link);
        let new: Vec<Cid> = links.into_iter().filter(|link| !is_known(link)).collect();
        self.open.extend(new);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::{leaf, node, open};

    const NODES: usize = 5;

    fn slice(number: usize) -> Cid {
        leaf(2 * number)
    }

    fn checkpoint(number: usize) -> Cid {
        leaf(2 * number + 1)
    }

    /// A chain, the oldest node first, each with a slice and a checkpoint.
    fn chain(store: &Store) -> Vec<Cid> {
        let mut nodes: Vec<Cid> = Vec::new();
        for number in 0..NODES {
            let mut links = vec![
                ("data".to_owned(), slice(number)),
                ("checkpoint".to_owned(), checkpoint(number)),
            ];
            links.extend(nodes.last().map(|prev| ("prev".to_owned(), *prev)));
            nodes.push(node(store, &links));
        }
        nodes
    }

    fn walk(store: &Store, links: Links, from: Cid, announced: &[Cid]) -> HashSet<Cid> {
        let mut walk = Walk {
            links,
            open: vec![from],
            seen: HashSet::new(),
        };
        let mut all = HashSet::new();
        while !walk.is_over() {
            for cid in walk.some(store, &|cid| announced.contains(cid)).unwrap() {
                assert!(all.insert(cid), "announced twice: {cid}");
            }
        }
        all
    }

    #[test]
    fn an_append_announces_what_it_adds() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let nodes = chain(&store);
        let head = nodes[NODES - 1];
        let files = |from: usize| -> HashSet<Cid> {
            let numbers = from..NODES;
            numbers.flat_map(|number| [slice(number), checkpoint(number)]).collect()
        };
        assert_eq!(walk(&store, Links::Files(None), head, &[]), files(0));
        assert_eq!(walk(&store, Links::Files(Some(nodes[2])), head, &[]), files(3));
        assert!(walk(&store, Links::Files(Some(head)), head, &[]).is_empty());
        let mut without = files(0);
        without.remove(&slice(1));
        assert_eq!(walk(&store, Links::Files(None), head, &[slice(1)]), without);

        let everything: HashSet<Cid> = files(0).into_iter().chain(nodes.iter().copied()).collect();
        assert_eq!(walk(&store, Links::All, head, &[]), everything);
        let last = HashSet::from([head, slice(NODES - 1), checkpoint(NODES - 1)]);
        assert_eq!(walk(&store, Links::New, head, &[nodes[NODES - 2]]), last);
    }

    #[test]
    fn one_key_over_what_is_added_at_once_waits() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let links: Vec<(String, Cid)> = (0..AT_ONCE).map(|number| (number.to_string(), leaf(number))).collect();
        let mut walk = Walk {
            open: vec![node(&store, &links)],
            ..Walk::default()
        };
        assert_eq!(walk.some(&store, &|_| false).unwrap().len(), AT_ONCE);
        assert_eq!(walk.some(&store, &|_| false).unwrap().len(), 1);
        assert!(walk.is_over());
    }

    #[test]
    fn how_far_it_went_is_remembered_and_what_did_not_end_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let (store, id) = (open(&dir), DatasetId::from_public_key([1; 32]));
        assert_eq!(last(&store, &id).unwrap(), None);
        for strategy in ["", "entities"] {
            save(&store, &id, strategy, leaf(1)).unwrap();
            assert_eq!(last(&store, &id).unwrap(), Some((strategy.to_owned(), leaf(1))));
        }
        store.table(TABLE).unwrap().insert(&id.to_bytes(), b"junk").unwrap();
        assert_eq!(last(&store, &id).unwrap(), None);
    }
}
