//! Directories: made from their entries, looked into, listed.
//!
//! A small directory is one node; one that the profile thinks large is a HAMT. [`build`] makes either from
//! scratch, [`update`](super::update) changes one that exists. Names come from strangers: whoever turns them into
//! paths on a disk checks them with [`is_plain_name`].

use std::collections::{HashMap, HashSet};

use cid::Cid;

use super::hamt::{self, Shard, Slot};
pub use super::link::{DirectoryError, Link, MAX_LISTED};
use super::node::{Data, Kind, NodeError, decode};
use super::{Entry, Estimate, Profile};
use crate::block::{Block, BlockError, DAG_PB};
use crate::dag::{Malformed, PbLink, PbNode};
use crate::protobuf::{bytes_field_len, varint_len};

/// A directory with all its blocks.
#[derive(Clone, Debug)]
pub struct Built {
    /// What a parent directory needs to link to it.
    pub entry: Entry,
    /// Its blocks without those of its entries, children before parents, the root last.
    pub blocks: Vec<Block>,
}

/// Why an operation that loads blocks stopped.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E> {
    /// The caller could not load a block.
    #[error("a block of the directory cannot be loaded")]
    Load(#[source] E),
    /// The directory itself.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl<E> From<NodeError> for LoadError<E> {
    fn from(error: NodeError) -> Self {
        Self::Directory(error.into())
    }
}

impl<E> From<BlockError> for LoadError<E> {
    fn from(error: BlockError) -> Self {
        Self::Directory(error.into())
    }
}

/// How operations get the blocks they need.
pub type Load<'a, E> = &'a mut dyn FnMut(&Cid) -> Result<Block, E>;

/// Whether a name can be used as one component of a path: not empty, not `.` or `..`, no slash, no NUL.
pub fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// Makes a directory. The order of `entries` does not matter.
///
/// # Errors
/// A name that is not [plain](is_plain_name) or is given twice; a node that does not fit into a block.
pub fn build(profile: &Profile, entries: impl IntoIterator<Item = (String, Entry)>) -> Result<Built, DirectoryError> {
    let mut blocks = Vec::new();
    let entry = build_into(profile, entries, &mut |block| blocks.push(block))?;
    Ok(Built { entry, blocks })
}

/// As [`build`], with the blocks given away one by one: those of a large directory are many.
///
/// # Errors
/// As [`build`]; some blocks may have been given then.
pub fn build_into(
    profile: &Profile,
    entries: impl IntoIterator<Item = (String, Entry)>,
    emit: &mut dyn FnMut(Block),
) -> Result<Entry, DirectoryError> {
    let links = entries.into_iter().map(|(name, entry)| Link {
        name,
        cid: entry.cid,
        tsize: entry.tsize,
    });
    let mut links: Vec<Link> = links.collect();
    links.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for link in &links {
        check_name(&link.name)?;
    }
    if let Some(pair) = links.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let name = pair[0].name.clone();
        return Err(DirectoryError::DuplicateName { name });
    }
    write(profile, links, emit)
}

/// Makes a directory of links sorted by name, and gives its blocks away, the root last.
pub(super) fn write(profile: &Profile, links: Vec<Link>, emit: &mut dyn FnMut(Block)) -> Result<Entry, DirectoryError> {
    let size = links.iter().fold(empty_size(profile), |size, link| {
        size.saturating_add(link_size(profile, link))
    });
    let (root, tsize) = if size > profile.shard_above && !links.is_empty() {
        let links = links
            .into_iter()
            .map(|link| (hamt::hash(link.name.as_bytes()), link))
            .collect();
        let slots = hamt::spread(profile, 0, links, emit)?;
        hamt::encode(profile, &slots)?
    } else {
        let links = links.into_iter().map(|link| PbLink {
            cid: link.cid,
            name: link.name.into(),
            tsize: link.tsize,
        });
        let node = PbNode {
            links: links.collect(),
            data: Some(Data::new(Kind::Directory).encode().into()),
        };
        let block = profile.node(node.encode())?;
        let tsize = node.links_tsize().saturating_add(block.data().len() as u64);
        (block, tsize)
    };
    let entry = Entry {
        cid: *root.cid(),
        tsize,
        size: 0,
    };
    emit(root);
    Ok(entry)
}

pub(super) fn check_name(name: &str) -> Result<(), DirectoryError> {
    if is_plain_name(name) {
        Ok(())
    } else {
        Err(DirectoryError::BadName { name: name.to_owned() })
    }
}

/// What an empty directory counts towards [`Profile::shard_above`].
pub(super) fn empty_size(profile: &Profile) -> u64 {
    match profile.estimate {
        Estimate::LinksBytes => 0,
        // The UnixFS message `08 01` under its tag and length.
        Estimate::BlockBytes => 4,
    }
}

/// What an entry counts towards [`Profile::shard_above`].
pub(super) fn link_size(profile: &Profile, link: &Link) -> u64 {
    size_of_link(profile, link.name.len(), link.cid.encoded_len(), link.tsize)
}

/// The least that any entry counts: a name of one byte, the four bytes of an empty identity CID.
pub(super) fn least_link_size(profile: &Profile) -> u64 {
    size_of_link(profile, 1, 4, 0)
}

fn size_of_link(profile: &Profile, name: usize, cid: usize, tsize: u64) -> u64 {
    let size = match profile.estimate {
        Estimate::LinksBytes => name + cid,
        Estimate::BlockBytes => bytes_field_len(bytes_field_len(cid) + bytes_field_len(name) + 1 + varint_len(tsize)),
    };
    size as u64
}

/// A node of a directory, as far as this module needs to know it.
pub(super) enum DirectoryNode {
    Basic(PbNode),
    Shard(Shard),
}

pub(super) fn open(block: &Block) -> Result<DirectoryNode, DirectoryError> {
    let (node, data) = decode(block)?;
    match data.kind {
        Kind::Directory => Ok(DirectoryNode::Basic(node)),
        Kind::HamtShard => Ok(DirectoryNode::Shard(Shard::decode(block, node, &data)?)),
        _ => Err(DirectoryError::NotADirectory { cid: *block.cid() }),
    }
}

/// As [`open`], and a dag-pb node whose data is no UnixFS message counts as a directory of its links.
fn open_or_plain(block: &Block) -> Result<DirectoryNode, DirectoryError> {
    let plain = |block: &Block| PbNode::decode(block.data()).map(DirectoryNode::Basic);
    match open(block) {
        Err(DirectoryError::Node(error)) if block.cid().codec() == DAG_PB => match error {
            NodeError::Malformed {
                source: Malformed::BadShard(_) | Malformed::NotUtf8,
                ..
            } => Err(error.into()),
            error => plain(block).map_err(|_| error.into()),
        },
        opened => opened,
    }
}

/// The links of a one-node directory.
pub(super) fn basic_links(cid: &Cid, node: PbNode) -> Result<Vec<Link>, DirectoryError> {
    let links = node
        .links
        .into_iter()
        .map(|link| Link::from_pb(link.name, link.cid, link.tsize));
    links
        .collect::<Result<_, _>>()
        .map_err(|source| DirectoryError::Node(NodeError::Malformed { cid: *cid, source }))
}

/// A node of a HAMT whose parent is at `level` and uses `bits`.
pub(super) fn open_below(block: &Block, level: u32, bits: u32) -> Result<Shard, DirectoryError> {
    let cid = *block.cid();
    let DirectoryNode::Shard(shard) = open(block)? else {
        return Err(DirectoryError::NotADirectory { cid });
    };
    if shard.bits != bits {
        return Err(DirectoryError::ForeignFanout { cid });
    }
    // Any hash does: only the level decides whether bits are left.
    if hamt::bucket(0, level + 1, bits).is_none() {
        return Err(DirectoryError::TooDeep { cid });
    }
    // Were empty nodes let in, a few of them could be linked into a tree that is walked for ever and has no entry.
    if shard.slots.is_empty() {
        let source = Malformed::BadShard("it is empty and not the root");
        return Err(NodeError::Malformed { cid, source }.into());
    }
    Ok(shard)
}

/// A search for one name, a block at a time, starting at the root of a directory.
#[derive(Clone, Debug)]
pub struct Lookup {
    name: String,
    /// Level and bits of the node that was fed last.
    parent: Option<(u32, u32)>,
}

/// What a block told a [`Lookup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The entry.
    Entry(Link),
    /// The directory has no such entry.
    Missing,
    /// It would be below this block: feed it next.
    Below(Cid),
}

impl Lookup {
    /// A search for `name`. Feed it the root of the directory first.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            parent: None,
        }
    }

    /// Looks into the next block. After anything but [`Found::Below`] the search is over.
    ///
    /// A plain dag-pb node without UnixFS is searched by the names of its links.
    ///
    /// # Errors
    /// The block is no directory, or malformed.
    pub fn feed(&mut self, block: &Block) -> Result<Found, DirectoryError> {
        let (level, shard) = match self.parent {
            Some((level, bits)) => (level + 1, open_below(block, level, bits)?),
            None => match open_or_plain(block)? {
                DirectoryNode::Basic(node) => return Ok(self.find_in(node)),
                DirectoryNode::Shard(shard) => (0, shard),
            },
        };
        self.parent = Some((level, shard.bits));
        let bucket = hamt::bucket(hamt::hash(self.name.as_bytes()), level, shard.bits);
        Ok(match bucket.and_then(|bucket| shard.slots.get(&bucket)) {
            Some(Slot::Entry(link)) if link.name == self.name => Found::Entry(link.clone()),
            Some(Slot::Node { cid, .. }) => Found::Below(*cid),
            _ => Found::Missing,
        })
    }

    fn find_in(&self, node: PbNode) -> Found {
        let link = node.links.into_iter().find(|link| link.name == self.name.as_bytes());
        link.map_or(Found::Missing, |link| {
            Found::Entry(Link {
                name: self.name.clone(),
                cid: link.cid,
                tsize: link.tsize,
            })
        })
    }
}

/// The blocks below that make up the same entry: those of a file, and the nodes of a sharded directory.
///
/// # Errors
/// Not UnixFS, or malformed.
pub fn own_blocks(block: &Block) -> Result<Vec<Cid>, DirectoryError> {
    let (node, data) = decode(block)?;
    Ok(match data.kind {
        Kind::File | Kind::Raw => node.links.into_iter().map(|link| link.cid).collect(),
        Kind::HamtShard => {
            let slots = Shard::decode(block, node, &data)?.slots.into_values();
            slots
                .filter_map(|slot| match slot {
                    Slot::Node { cid, .. } => Some(cid),
                    Slot::Entry(_) => None,
                })
                .collect()
        }
        _ => Vec::new(),
    })
}

/// Finds one entry; loads one block per level: at most eight at 256 buckets, 21 at 8.
///
/// # Errors
/// A block that cannot be loaded, is no directory, or malformed.
pub fn lookup<E>(root: &Cid, name: &str, load: Load<'_, E>) -> Result<Option<Link>, LoadError<E>> {
    let mut lookup = Lookup::new(name);
    let mut at = *root;
    loop {
        match lookup.feed(&load(&at).map_err(LoadError::Load)?)? {
            Found::Entry(link) => return Ok(Some(link)),
            Found::Missing => return Ok(None),
            Found::Below(cid) => at = cid,
        }
    }
}

/// A complete listing, a block at a time and in any order, so that the blocks can be fetched in parallel.
///
/// Memory is that of the CIDs of the directory's own nodes.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Blocks to be fed, with level and bits of their parent.
    needs: HashMap<Cid, Option<(u32, u32)>>,
    /// Those of them that were not asked for.
    unasked: Vec<Cid>,
    seen: HashSet<Cid>,
}

impl Listing {
    /// A listing of the directory with this root.
    pub fn new(root: Cid) -> Self {
        Self {
            needs: HashMap::from([(root, None)]),
            unasked: vec![root],
            seen: HashSet::from([root]),
        }
    }

    /// A block that can be fed next; each is asked for once. If none is left, the listing is complete as soon as all that
    /// were asked for are fed.
    pub fn ask(&mut self) -> Option<Cid> {
        self.unasked.pop()
    }

    /// Takes one of the needed blocks and gives the entries in it, in the block's order.
    ///
    /// # Errors
    /// Not a needed block, no directory, malformed, or a HAMT that repeats a node. The listing cannot go on then.
    pub fn feed(&mut self, block: &Block) -> Result<Vec<Link>, DirectoryError> {
        let cid = *block.cid();
        let Some(parent) = self.needs.remove(&cid) else {
            let wanted = self.needs.keys().next().copied().unwrap_or(cid);
            return Err(NodeError::WrongBlock { wanted, got: cid }.into());
        };
        let (level, shard) = match parent {
            Some((level, bits)) => (level + 1, open_below(block, level, bits)?),
            None => match open(block)? {
                DirectoryNode::Basic(node) => return basic_links(&cid, node),
                DirectoryNode::Shard(shard) => (0, shard),
            },
        };
        let mut links = Vec::new();
        for slot in shard.slots.into_values() {
            match slot {
                Slot::Entry(link) => links.push(link),
                Slot::Node { cid, .. } if self.seen.insert(cid) => {
                    self.needs.insert(cid, Some((level, shard.bits)));
                    self.unasked.push(cid);
                }
                Slot::Node { cid, .. } => return Err(DirectoryError::RepeatedNode { cid }),
            }
        }
        Ok(links)
    }
}

/// All entries of a directory, sorted by name.
///
/// # Errors
/// A block that cannot be loaded, is no directory, or malformed; more than [`MAX_LISTED`] entries.
pub fn list<E>(root: &Cid, load: Load<'_, E>) -> Result<Vec<Link>, LoadError<E>> {
    list_within(root, MAX_LISTED, load)
}

/// As [`list`], of at most `most` entries.
pub(super) fn list_within<E>(root: &Cid, most: usize, load: Load<'_, E>) -> Result<Vec<Link>, LoadError<E>> {
    let mut listing = Listing::new(*root);
    let mut links: Vec<Link> = Vec::new();
    while let Some(next) = listing.ask() {
        links.append(&mut listing.feed(&load(&next).map_err(LoadError::Load)?)?);
        if links.len() > most {
            return Err(DirectoryError::TooManyEntries.into());
        }
    }
    links.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(links)
}
