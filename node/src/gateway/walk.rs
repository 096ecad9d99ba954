//! The blocks of a DAG in the order of a walk: each before those that it links to, these from left to right.
//!
//! What a walk remembers is bounded, whatever strangers have linked together: where it is, a part of the links that are still
//! to be followed (the rest is read again when it gets there), and a hash of each block that it has met.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::http::StatusCode;
use cid::Cid;

use super::ahead::{Ahead, MAX_LOT};
use super::asking::Asking;
use super::refusal::Refusal;
use super::source::Source;
use crate::block::{Block, inherent};

/// The most blocks between a root and one below it, those aside that the walk has left for the last time.
pub(super) const MAX_DEPTH: usize = 1 << 15;
/// The most links that are kept while what is below their neighbours is walked.
pub(super) const MAX_KEPT_LINKS: usize = 1 << 14;
/// The most blocks of an answer that has none twice.
pub(super) const MAX_DISTINCT: usize = 1 << 18;

/// The links of a block that a walk follows.
pub(super) type Below = fn(&Block) -> Result<Vec<Cid>, Refusal>;

/// A walk under way.
pub(super) struct Walk<S: Source> {
    pub(super) ahead: Ahead<S>,
    root: Option<Cid>,
    /// Blocks that are not done with, the innermost last.
    open: Vec<Open>,
    /// Links that they keep.
    kept: usize,
    below: Below,
}

/// A block whose links are being followed.
struct Open {
    cid: Cid,
    /// The link that comes next.
    next: usize,
    /// All links, unless they were given up.
    links: Option<Vec<Cid>>,
}

impl<S: Source> Walk<S> {
    pub(super) fn new(asking: &Arc<Asking<S>>, root: Cid, below: Below) -> Self {
        Self {
            ahead: Ahead::new(asking),
            root: Some(root),
            open: Vec::new(),
            kept: 0,
            below,
        }
    }

    /// The next block that was not `met`, nor is said by its CID alone; nothing at the end.
    pub(super) async fn next(&mut self, met: &mut Met) -> Result<Option<Block>, Refusal> {
        loop {
            let cid = match self.root.take() {
                Some(root) => root,
                None => match self.follow().await? {
                    Some(next) => next,
                    None => return Ok(None),
                },
            };
            if !met.is_new(&cid)? {
                continue;
            }
            let siblings = self.open.last().and_then(|open| open.links.as_ref()?.get(open.next..));
            let upcoming = siblings.unwrap_or_default().iter().take(MAX_LOT).copied();
            let block = self.ahead.block(&cid, upcoming).await?;
            let links = (self.below)(&block)?;
            self.enter(cid, links)?;
            if inherent(&cid).is_none() {
                return Ok(Some(block));
            }
        }
    }

    /// The next link.
    async fn follow(&mut self) -> Result<Option<Cid>, Refusal> {
        let Some(open) = self.open.last_mut() else {
            return Ok(None);
        };
        let links = match &mut open.links {
            Some(links) => links,
            none => {
                let links = (self.below)(&self.ahead.asking.block(&open.cid).await?)?;
                self.kept += links.len();
                none.insert(links)
            }
        };
        let next = links.get(open.next).copied();
        open.next += 1;
        if open.next >= links.len() {
            // It is left before what is below its last link is walked, so that a list of any length has no depth.
            self.kept -= links.len();
            self.open.pop();
        }
        Ok(next)
    }

    fn enter(&mut self, cid: Cid, links: Vec<Cid>) -> Result<(), Refusal> {
        if links.is_empty() {
            return Ok(());
        }
        if self.open.len() >= MAX_DEPTH {
            let reason = format!("{cid} is more than {MAX_DEPTH} blocks below where the walk began");
            return Err(Refusal::new(StatusCode::BAD_GATEWAY, reason));
        }
        if self.kept + links.len() > MAX_KEPT_LINKS {
            for open in self.open.iter_mut().rev() {
                // Those further out were given up when this happened before.
                if open.links.take().is_none() {
                    break;
                }
            }
            self.kept = 0;
        }
        self.kept += links.len();
        self.open.push(Open {
            cid,
            next: 0,
            links: Some(links),
        });
        Ok(())
    }
}

/// The blocks that an answer has had, if it is to have none twice.
pub(super) struct Met {
    /// With a key of its own: nobody can make blocks that are taken for each other.
    hashes: Option<HashSet<u64>>,
    state: RandomState,
}

impl Met {
    pub(super) fn new(may_repeat: bool) -> Self {
        Self {
            hashes: (!may_repeat).then(HashSet::new),
            state: RandomState::new(),
        }
    }

    /// Whether a block is to be in the answer.
    ///
    /// # Errors
    /// There are too many to know.
    pub(super) fn is_new(&mut self, cid: &Cid) -> Result<bool, Refusal> {
        let Some(hashes) = &mut self.hashes else {
            return Ok(true);
        };
        let hash = self.state.hash_one(cid);
        if hashes.contains(&hash) {
            return Ok(false);
        }
        if hashes.len() >= MAX_DISTINCT {
            let reason = format!("there are more than {MAX_DISTINCT} blocks; ask for them with dups=y");
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, reason));
        }
        Ok(hashes.insert(hash))
    }
}
