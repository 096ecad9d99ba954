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
        let most = at_once(in_flight, blocks, bytes);
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
                        fetcher.count_local(&item.cid());
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

/// How many blocks are asked for at once after so many came, of so many bytes together.
fn at_once(in_flight: usize, blocks: usize, bytes: usize) -> usize {
    let small = BYTES_IN_FLIGHT.saturating_mul(blocks) / bytes.max(1);
    in_flight.max(small.min(MAX_SMALL_IN_FLIGHT))
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ops::Range;
    use std::time::Duration;

    use super::*;
    use crate::block::RAW;
    use crate::exchange::Answering;
    use crate::store::{Blocks as _, StoreOptions};

    #[test]
    fn small_blocks_are_asked_for_by_bytes_and_never_too_many() {
        const KIB: usize = 1 << 10;
        let least = BYTES_IN_FLIGHT / MAX_SMALL_IN_FLIGHT;
        for (blocks, bytes, most) in [
            (0, 0, 64),
            (1, 0, MAX_SMALL_IN_FLIGHT),
            (1, 1, MAX_SMALL_IN_FLIGHT),
            (100, 100 * least, MAX_SMALL_IN_FLIGHT),
            (100, 100 * least + 100, MAX_SMALL_IN_FLIGHT - 1),
            (10, 10 * 100 * KIB, 163),
            (10, 10 * 255 * KIB, 64),
            (10, 10 * 256 * KIB, 64),
            (10, 10 << 20, 64),
            (usize::MAX, 1, MAX_SMALL_IN_FLIGHT),
        ] {
            let found = at_once(64, blocks, bytes);
            assert_eq!(found, most, "{blocks} blocks of {bytes} bytes");
            let mean = bytes / blocks.max(1);
            assert!(found == 64 || found * mean <= BYTES_IN_FLIGHT);
            assert!(found == MAX_SMALL_IN_FLIGHT || blocks == 0 || (found + 1) * mean.max(1) > BYTES_IN_FLIGHT);
        }
        assert_eq!(at_once(1024, 1, 1), 1024, "more where the walk says so");
    }

    #[derive(Clone, Copy)]
    struct One(Cid);

    impl Item for One {
        type Here = ();

        fn cid(&self) -> Cid {
            self.0
        }

        fn look(&self, store: &Store) -> Result<Option<()>, FetchError> {
            Ok(store.has(&self.0)?.then_some(()))
        }

        fn keep(store: &Store, came: &[(Self, Block)]) -> Result<Vec<()>, FetchError> {
            let blocks: Vec<Block> = came.iter().map(|(_, block)| block.clone()).collect();
            store.put(&blocks)?;
            Ok(vec![(); came.len()])
        }
    }

    struct Many {
        left: Vec<Cid>,
        taken: usize,
    }

    impl Walk for Many {
        type Item = One;

        fn next(&mut self) -> Option<One> {
            self.left.pop().map(One)
        }

        fn take(&mut self, _: One, (): ()) -> Result<(), FetchError> {
            self.taken += 1;
            Ok(())
        }
    }

    fn blocks(numbers: Range<u64>, len: usize) -> HashMap<Cid, Block> {
        let one = |number: u64| {
            let mut bytes = vec![0; len];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            Block::new(RAW, bytes).unwrap()
        };
        numbers.map(one).map(|block| (*block.cid(), block)).collect()
    }

    /// Peers that answer only when nobody asks them for more: how many blocks they are asked for then, before any of them
    /// came and after a first lot.
    async fn asked_for(count: usize, len: usize) -> (usize, usize) {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            min_free_bytes: 0,
            reserve_bytes: 0,
            ..StoreOptions::default()
        };
        let store = Store::open(dir.path(), options).unwrap();
        let (handle, answering) = Answering::new();
        let fetcher = Fetcher::new(store, Some(handle.session()));
        let all = blocks(0..count as u64, len);
        let mut walk = Many {
            left: all.keys().copied().collect(),
            taken: 0,
        };
        let peers = async {
            let (mut open, mut seen) = (Vec::new(), Vec::new());
            loop {
                let mut quiet = 0;
                while quiet < 20 {
                    let new = answering.asked();
                    quiet = if new.is_empty() { quiet + 1 } else { 0 };
                    open.extend(new);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                if open.is_empty() {
                    break seen;
                }
                seen.push(open.len());
                for (cid, reply) in open.drain(..) {
                    assert!(reply.send(Ok(all[&cid].clone())).is_ok());
                }
            }
        };
        let (gathered, seen) = tokio::join!(gather(&fetcher, &mut walk, MAX_IN_FLIGHT), peers);
        gathered.unwrap();
        assert_eq!(walk.taken, count);
        (seen[0], seen.into_iter().skip(1).max().unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_is_under_way_than_there_may_be() {
        let (first, most) = asked_for(700, 16).await;
        assert_eq!(first, MAX_IN_FLIGHT);
        assert!(most > MAX_IN_FLIGHT && most <= MAX_SMALL_IN_FLIGHT, "{most}");
        // A little more than what would allow one more.
        let (first, most) = asked_for(230, BYTES_IN_FLIGHT / 101 + 1).await;
        assert!(first == MAX_IN_FLIGHT && most <= 100, "{most}");
        let (first, most) = asked_for(200, BYTES_IN_FLIGHT / MAX_IN_FLIGHT).await;
        assert!(first == MAX_IN_FLIGHT && most <= MAX_IN_FLIGHT, "{most}");
    }
}
