//! The way of blocks from peers into the store, for any walk over a DAG: looked for here, asked of peers, kept.
//!
//! A block that is asked for alone crosses to the threads that may block three times. Here those crossings are shared:
//! what is next is looked for together, and while one lot of blocks is being written the next one gathers. So a lot is as
//! large as the disk is slow, and nothing ever waits for a lot to be full.

use std::collections::VecDeque;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Fuse, FusedFuture as _};
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::error::FetchError;
use super::fetcher::Fetcher;
use crate::block::{Block, Cid};
use crate::heap;
use crate::store::Store;

/// How many blocks one operation asks for at once. With leaves of 1 MiB this is also its memory, in MiB.
pub const MAX_IN_FLIGHT: usize = 64;
/// How many items are looked for in the store in one go.
const LOOKED_FOR_AT_ONCE: usize = 64;
/// How much is asked for at once as long as the blocks are small, in bytes by the mean of those that came…
const BYTES_IN_FLIGHT: usize = 16 << 20;
/// …and how many blocks at most: a far peer would be idle most of the time with [`MAX_IN_FLIGHT`] of
/// some kilobytes, and each may be of 2 MiB all the same.
const MAX_SMALL_IN_FLIGHT: usize = 256;

/// One thing that a walk wants: a block, and what it is wanted for.
pub(super) trait Item: Copy + Send + 'static {
    /// What the walk goes on with when the block is here.
    type Here: Send + 'static;

    /// The block.
    fn cid(&self) -> Cid;

    /// What the walk goes on with if the block is not needed from a peer. May block.
    fn look(&self, store: &Store) -> Result<Option<Self::Here>, FetchError>;

    /// Keeps blocks that came, and gives what the walk goes on with for each, in order. May block.
    fn keep(store: &Store, came: &[(Self, Block)]) -> Result<Vec<Self::Here>, FetchError>;
}

/// A walk over a DAG.
pub(super) trait Walk {
    type Item: Item;

    /// What is wanted next, if anything is known.
    fn next(&mut self) -> Option<Self::Item>;

    /// An item is here.
    fn take(&mut self, item: Self::Item, here: <Self::Item as Item>::Here) -> Result<(), FetchError>;
}

type Here<I> = <I as Item>::Here;
/// Items that were looked for, and what the walk goes on with for those that are here.
type Looked<I> = Vec<(I, Option<Here<I>>)>;
/// Items that are kept now.
type Kept<I> = Vec<(I, Here<I>)>;
type Job<T> = Fuse<BoxFuture<'static, Result<T, FetchError>>>;

/// Walks to the end, with `in_flight` blocks asked of peers at once, or more if they are small.
///
/// # Errors
/// The first failure. What had arrived is kept.
pub(super) async fn gather<W: Walk>(fetcher: &Fetcher, walk: &mut W, in_flight: usize) -> Result<(), FetchError> {
    heap::keep_freed();
    let mut looking: Job<Looked<W::Item>> = Fuse::terminated();
    let mut keeping: Job<Kept<W::Item>> = Fuse::terminated();
    let mut missing = VecDeque::new();
    let mut asked = FuturesUnordered::new();
    let mut came: Vec<(W::Item, Block)> = Vec::new();
    let mut being_kept = 0;
    let mut failed = None;
    let (mut blocks, mut bytes) = (0_usize, 0_usize);
    loop {
        if failed.is_none() && looking.is_terminated() && missing.len() < in_flight {
            let next: Vec<_> = std::iter::from_fn(|| walk.next()).take(LOOKED_FOR_AT_ONCE).collect();
            if !next.is_empty() {
                looking = fetcher.job(move |store| look(store, next));
            }
        }
        let small = BYTES_IN_FLIGHT * blocks / bytes.max(1);
        let most = in_flight.max(small.min(MAX_SMALL_IN_FLIGHT));
        while asked.len() + came.len() + being_kept < most {
            let Some(item) = missing.pop_front() else { break };
            asked.push(ask(fetcher, item));
        }
        if keeping.is_terminated() && !came.is_empty() {
            let lot = std::mem::take(&mut came);
            being_kept = lot.len();
            keeping = fetcher.job(move |store| keep(store, lot));
        }
        if asked.is_empty() && looking.is_terminated() && keeping.is_terminated() {
            return failed.map_or(Ok(()), Err);
        }
        tokio::select! {
            looked = &mut looking, if !looking.is_terminated() => for (item, here) in looked? {
                match here {
                    Some(here) => {
                        fetcher.count_local();
                        walk.take(item, here)?;
                    }
                    None => missing.push_back(item),
                }
            },
            kept = &mut keeping, if !keeping.is_terminated() => {
                being_kept = 0;
                for (item, here) in kept? {
                    walk.take(item, here)?;
                }
            }
            Some(first) = asked.next(), if !asked.is_empty() => {
                let mut next = Some(first);
                while let Some(arrived) = next {
                    match arrived {
                        Ok((item, block)) => {
                            (blocks, bytes) = (blocks + 1, bytes + block.data().len());
                            came.push((item, block));
                        }
                        Err(error) => failed = failed.or(Some(error)),
                    }
                    next = asked.next().now_or_never().flatten();
                }
                if failed.is_some() {
                    // What has come is kept before this ends.
                    asked.clear();
                    missing.clear();
                }
            }
        }
    }
}

async fn ask<I: Item>(fetcher: &Fetcher, item: I) -> Result<(I, Block), FetchError> {
    Ok((item, fetcher.remote(&item.cid()).await?))
}

fn look<I: Item>(store: &Store, items: Vec<I>) -> Result<Looked<I>, FetchError> {
    items.into_iter().map(|item| Ok((item, item.look(store)?))).collect()
}

fn keep<I: Item>(store: &Store, came: Vec<(I, Block)>) -> Result<Kept<I>, FetchError> {
    let here = I::keep(store, &came)?;
    Ok(came.into_iter().map(|(item, _)| item).zip(here).collect())
}
