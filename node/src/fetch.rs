//! What is wanted, from here or from peers: blocks, files into their place, directories, whole DAGs.
//!
//! A [`Fetcher`] looks into the store first and asks an exchange session for the rest. What arrives is kept at once,
//! so that an interrupted fetch goes on where it stopped. It fetches in parallel, within named bounds, and never
//! walks into a subtree that is marked complete.
//!
//! `fetcher.rs` is where blocks come from, `walks.rs` what there is to walk over, `gather.rs` how a walk gets on.

mod error;
mod fetcher;
mod gather;
mod nodes;
mod parts;
mod walks;

use std::ops::Range;

use bytes::Bytes;

use crate::block::{Block, Cid};
use crate::store::{Blocks as _, FileId};
use crate::unixfs::directory::Link;
use crate::unixfs::resolve::{Resolved, Resolver, Step};
pub use error::{FetchError, MAX_DAG_NODES};
pub use fetcher::{Fetched, Fetcher};
pub use gather::MAX_IN_FLIGHT;
use gather::gather;
use parts::Parts;
use walks::{Content, Everything, Tree};

/// How many small nodes one operation asks for at once.
pub const MAX_NODES_IN_FLIGHT: usize = 1024;
/// How many nodes are marked complete in one go.
const MARKED_AT_ONCE: usize = 1 << 16;

impl Fetcher {
    /// One block, from here or from a peer; it is in the store afterwards.
    ///
    /// # Errors
    /// Nobody gave it, or the store failed.
    pub async fn block(&self, cid: &Cid) -> Result<Block, FetchError> {
        if let Some(block) = self.local(*cid).await? {
            self.count_local(cid);
            return Ok(block);
        }
        let block = self.remote(cid).await?;
        let kept = block.clone();
        self.on_store(move |store| store.put(std::slice::from_ref(&kept)))
            .await?;
        Ok(block)
    }

    /// As [`Fetcher::block`], for somebody who only looks at it: it is kept while the store has room to spare.
    ///
    /// # Errors
    /// As [`Fetcher::block`].
    pub async fn passing(&self, cid: &Cid) -> Result<Block, FetchError> {
        match self.store().has_room_to_spare() {
            true => self.block(cid).await,
            false => match self.local(*cid).await? {
                Some(block) => {
                    self.note(cid);
                    Ok(block)
                }
                None => self.remote(cid).await,
            },
        }
    }

    /// As [`Fetcher::block`], without reading a block that is here.
    ///
    /// # Errors
    /// As [`Fetcher::block`].
    pub async fn ensure(&self, cid: &Cid) -> Result<(), FetchError> {
        let cid = *cid;
        if self.on_store(move |store| store.has(&cid)).await? {
            self.count_local(&cid);
            return Ok(());
        }
        let block = self.remote(&cid).await?;
        self.on_store(move |store| store.put(std::slice::from_ref(&block)))
            .await
    }

    /// Where a path below `root` leads.
    ///
    /// # Errors
    /// A block on the way is missing or malformed, or there is no such entry.
    pub async fn resolve(&self, root: Cid, path: &str) -> Result<Resolved, FetchError> {
        let mut resolver = Resolver::new(root, path)?;
        loop {
            match resolver.step() {
                Step::Done(resolved) => return Ok(resolved),
                Step::Need(cid) => resolver.feed(&self.block(&cid).await?)?,
            }
        }
    }

    /// The entries of a directory, all nodes of a HAMT fetched in parallel. Entries below nodes that are marked
    /// complete are left out when `skip_complete` is set: whoever asks has them.
    ///
    /// Also gives the nodes that were looked into, so that they can be marked complete when the entries are here.
    ///
    /// # Errors
    /// A node is missing or malformed, or more than [`MAX_LISTED`](crate::unixfs::directory::MAX_LISTED) entries.
    pub async fn directory(&self, root: Cid, skip_complete: bool) -> Result<(Vec<Link>, Vec<Cid>), FetchError> {
        let mut walk = Tree::new(root, skip_complete);
        gather(self, &mut walk, MAX_NODES_IN_FLIGHT).await?;
        Ok((walk.links, walk.visited))
    }

    /// The file with this root, its leaves written to their place in `file`, which is registered with the store.
    /// Returns its length, and the nodes above the leaves.
    ///
    /// Leaves that are in the store already are taken from there.
    ///
    /// # Errors
    /// A block is missing, or the DAG is not that of a file. Leaves that arrived stay in their place.
    pub async fn file(&self, root: Cid, file: FileId, limit: u64) -> Result<(u64, Vec<Cid>), FetchError> {
        let mut walk = Content::new(root, file, limit);
        gather(self, &mut walk, MAX_IN_FLIGHT).await?;
        Ok((walk.size.unwrap_or(0), walk.nodes))
    }

    /// The bytes of some ranges of the file with this root, which has `size` bytes. Only leaves in which something of them lies
    /// are had, many at once; what arrives is kept while the store has room to spare.
    ///
    /// # Errors
    /// A block is missing, the DAG is not that of a file of this length, or a range reaches behind it.
    pub async fn parts(&self, root: Cid, size: u64, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, FetchError> {
        let mut walk = Parts::new(root, size, ranges);
        gather(self, &mut walk, MAX_IN_FLIGHT).await?;
        walk.bytes(&root)
    }

    /// Every block below `root` into the store. Complete subtrees are not visited; afterwards `root` is marked
    /// complete, with everything below it.
    ///
    /// # Errors
    /// A block is missing or malformed. What arrived is kept.
    pub async fn dag(&self, root: Cid) -> Result<(), FetchError> {
        let walk = self.store().walk();
        let _ahead = self.ahead(&root).await?;
        let mut all = Everything::below(root);
        gather(self, &mut all, MAX_IN_FLIGHT).await?;
        let nodes = all.nodes;
        self.on_store(move |store| {
            let mut chunks = nodes.chunks(MARKED_AT_ONCE);
            chunks.try_for_each(|chunk| store.mark_complete(&walk, &chunk))
        })
        .await
    }
}
