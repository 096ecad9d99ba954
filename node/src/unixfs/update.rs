//! Changes to a directory that exists, at the cost of the nodes on the way to each name.
//!
//! The outcome has the CID that [`build`](super::directory::build) gives for the same entries, also when a change
//! moves the directory across the size from which it is sharded, in either direction.

use std::collections::{BTreeMap, VecDeque};

use cid::Cid;

use super::directory::{
    DirectoryError, DirectoryNode, Link, Load, LoadError, basic_links, check_name, empty_size, least_link_size,
    link_size, open, open_below, write,
};
use super::hamt::{self, Shard, Slot};
use super::{Entry, Profile};
use crate::block::Block;

/// A directory after changes.
#[derive(Clone, Debug)]
pub struct Updated {
    /// What a parent directory needs to link to it.
    pub entry: Entry,
    /// Nodes that the directory did not have before, children before parents; the root, if new, comes last.
    pub blocks: Vec<Block>,
    /// Nodes of the directory as it was that it no longer has. Entries are not among them.
    pub replaced: Vec<Cid>,
}

/// Changes the directory with the root `root`: each name gets the entry given with it, or goes if there is none.
/// Of several changes of one name the last counts; removing what is not there changes nothing.
///
/// For a HAMT this loads and writes the nodes on the way to each name: O(log n) a change. If the entries got smaller
/// as a whole, it also reads on until it is sure of more than [`Profile::shard_above`] bytes of entries, to know
/// whether the directory is to be one node again; that is a constant: at 256 KiB and 256 buckets some forty nodes of a large
/// directory, a few hundred of one just over the size.
///
/// `root` must have been made under the same profile. From a directory of another one the outcome is a good
/// directory with the right entries, in a form that may differ from a new one's. Permissions and times that the
/// directory itself carries are not kept: no profile has them.
///
/// # Errors
/// A block that cannot be loaded or is malformed, a name that is not plain, a HAMT of another fanout. Nothing has
/// changed then: the blocks made so far are dropped.
pub fn update<E>(
    profile: &Profile,
    root: &Cid,
    changes: impl IntoIterator<Item = (String, Option<Entry>)>,
    load: Load<'_, E>,
) -> Result<Updated, LoadError<E>> {
    let mut wanted = BTreeMap::new();
    for (name, entry) in changes {
        check_name(&name)?;
        let link = entry.map(|entry| Link {
            name: name.clone(),
            cid: entry.cid,
            tsize: entry.tsize,
        });
        wanted.insert(name, link);
    }
    let block = load(root).map_err(LoadError::Load)?;
    match open(&block)? {
        DirectoryNode::Basic(node) => {
            let mut links = BTreeMap::new();
            for link in basic_links(root, node)? {
                // Of two entries of one name only the first can be found.
                links.entry(link.name.clone()).or_insert(link);
            }
            for (name, link) in wanted {
                match link {
                    Some(link) => links.insert(name, link),
                    None => links.remove(&name),
                };
            }
            let mut blocks = Vec::new();
            let entry = write(profile, links.into_values().collect(), &mut |block| blocks.push(block))?;
            Ok(replace_all(root, entry, blocks, vec![*root]))
        }
        DirectoryNode::Shard(shard) => {
            let changes = wanted.into_iter().map(|(name, link)| Change::new(name, link)).collect();
            Editor {
                profile,
                load,
                blocks: Vec::new(),
                replaced: Vec::new(),
                growth: 0,
            }
            .run(root, shard, changes)
        }
    }
}

fn replace_all(root: &Cid, entry: Entry, mut blocks: Vec<Block>, mut replaced: Vec<Cid>) -> Updated {
    if entry.cid == *root {
        blocks.clear();
        replaced.clear();
    }
    Updated {
        entry,
        blocks,
        replaced,
    }
}

/// A change of one name, with the hash that says where.
struct Change {
    hash: u64,
    name: String,
    link: Option<Link>,
}

impl Change {
    fn new(name: String, link: Option<Link>) -> Self {
        Self {
            hash: hamt::hash(name.as_bytes()),
            name,
            link,
        }
    }
}

/// One update of a HAMT.
struct Editor<'a, E> {
    profile: &'a Profile,
    load: Load<'a, E>,
    /// New nodes.
    blocks: Vec<Block>,
    /// Old nodes that are not in the new tree.
    replaced: Vec<Cid>,
    /// By how much the size that decides about sharding has changed.
    growth: i128,
}

impl<E> Editor<'_, E> {
    fn run(mut self, root: &Cid, shard: Shard, changes: Vec<Change>) -> Result<Updated, LoadError<E>> {
        let slots = self.edit(root, shard, 0, changes)?;
        if self.growth < 0
            && let Some(small) = self.small(&slots)?
        {
            let mut blocks = Vec::new();
            let entry = write(self.profile, small, &mut |block| blocks.push(block))?;
            self.replaced.push(*root);
            return Ok(replace_all(root, entry, blocks, self.replaced));
        }
        let (block, tsize) = hamt::encode(self.profile, &slots)?;
        let entry = Entry {
            cid: *block.cid(),
            tsize,
            size: 0,
        };
        self.blocks.push(block);
        self.replaced.push(*root);
        Ok(replace_all(root, entry, self.blocks, self.replaced))
    }

    /// The buckets of a node after the changes that fall into it.
    fn edit(
        &mut self,
        cid: &Cid,
        shard: Shard,
        level: u32,
        changes: Vec<Change>,
    ) -> Result<BTreeMap<u32, Slot>, LoadError<E>> {
        let bits = self.profile.fanout.bits();
        if shard.bits != bits {
            return Err(DirectoryError::ForeignFanout { cid: *cid }.into());
        }
        let mut slots = shard.slots;
        let mut buckets: BTreeMap<u32, Vec<Change>> = BTreeMap::new();
        for change in changes {
            let bucket = hamt::bucket(change.hash, level, bits).ok_or(DirectoryError::TooDeep { cid: *cid })?;
            buckets.entry(bucket).or_default().push(change);
        }
        for (bucket, changes) in buckets {
            let slot = match slots.remove(&bucket) {
                None => self.merge(level + 1, None, changes)?,
                Some(Slot::Entry(link)) => self.merge(level + 1, Some(link), changes)?,
                Some(Slot::Node { cid, tsize }) => self.descend(cid, tsize, level + 1, changes)?,
            };
            if let Some(slot) = slot {
                slots.insert(bucket, slot);
            }
        }
        Ok(slots)
    }

    /// Changes a node below the root. One entry alone moves up into the parent; no entry, and the node is gone.
    fn descend(
        &mut self,
        cid: Cid,
        tsize: u64,
        level: u32,
        changes: Vec<Change>,
    ) -> Result<Option<Slot>, LoadError<E>> {
        let block = (self.load)(&cid).map_err(LoadError::Load)?;
        let shard = open_below(&block, level - 1, self.profile.fanout.bits())?;
        let mut slots = self.edit(&cid, shard, level, changes)?;
        let alone = slots.len() == 1 && matches!(slots.values().next(), Some(Slot::Entry(_)));
        if alone || slots.is_empty() {
            self.replaced.push(cid);
            return Ok(slots.pop_first().map(|(_, slot)| slot));
        }
        let (block, new_tsize) = hamt::encode(self.profile, &slots)?;
        if *block.cid() == cid {
            // Nothing changed here, so nothing did below.
            return Ok(Some(Slot::Node { cid, tsize }));
        }
        self.replaced.push(cid);
        let cid = *block.cid();
        self.blocks.push(block);
        Ok(Some(Slot::Node { cid, tsize: new_tsize }))
    }

    /// What a bucket without a node holds after the changes.
    fn merge(&mut self, level: u32, old: Option<Link>, changes: Vec<Change>) -> Result<Option<Slot>, LoadError<E>> {
        let mut links: BTreeMap<String, (u64, Link)> = BTreeMap::new();
        if let Some(link) = old {
            self.growth -= i128::from(link_size(self.profile, &link));
            links.insert(link.name.clone(), (hamt::hash(link.name.as_bytes()), link));
        }
        for Change { hash, name, link } in changes {
            match link {
                Some(link) => links.insert(name, (hash, link)),
                None => links.remove(&name),
            };
        }
        let links: Vec<_> = links.into_values().collect();
        self.growth += links
            .iter()
            .map(|(_, link)| i128::from(link_size(self.profile, link)))
            .sum::<i128>();
        let blocks = &mut self.blocks;
        Ok(hamt::plant(self.profile, level, links, &mut |block| {
            blocks.push(block)
        })?)
    }

    /// All entries, sorted by name, if they are few enough for a directory of one node. The old nodes that were read
    /// for it count as replaced then.
    fn small(&mut self, slots: &BTreeMap<u32, Slot>) -> Result<Option<Vec<Link>>, LoadError<E>> {
        let new: BTreeMap<Cid, Block> = self.blocks.iter().map(|block| (*block.cid(), block.clone())).collect();
        let mut size = empty_size(self.profile);
        let mut links = BTreeMap::new();
        let mut kept = Vec::new();
        // Level by level, since the nodes near the root say most: each of theirs below has two entries or more.
        let mut nodes = VecDeque::new();
        let mut read = |slots: BTreeMap<u32, Slot>, level: u32, nodes: &mut VecDeque<(Cid, u32)>| {
            for slot in slots.into_values() {
                match slot {
                    Slot::Entry(link) => {
                        size = size.saturating_add(link_size(self.profile, &link));
                        links.insert(link.name.clone(), link);
                    }
                    Slot::Node { cid, .. } => nodes.push_back((cid, level)),
                }
            }
            let unseen = 2 * least_link_size(self.profile) * nodes.len() as u64;
            // No entries at all are one node whatever the profile says.
            size.saturating_add(unseen) > self.profile.shard_above && !(links.is_empty() && nodes.is_empty())
        };
        let mut large = read(slots.clone(), 0, &mut nodes);
        while !large && let Some((cid, level)) = nodes.pop_front() {
            let block = match new.get(&cid) {
                Some(block) => block.clone(),
                None => {
                    kept.push(cid);
                    (self.load)(&cid).map_err(LoadError::Load)?
                }
            };
            large = read(
                open_below(&block, level, self.profile.fanout.bits())?.slots,
                level + 1,
                &mut nodes,
            );
        }
        if large {
            return Ok(None);
        }
        self.replaced.append(&mut kept);
        Ok(Some(links.into_values().collect()))
    }
}
