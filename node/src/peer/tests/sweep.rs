//! Many keys: told by region, found one by one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use futures::StreamExt as _;

use super::*;
use crate::clock::Clock;
use crate::routing::schedule::REPROVIDE_INTERVAL;
use crate::store::Table;

fn blocks(count: u32) -> Vec<Block> {
    let block = |n: u32| Block::new(RAW, n.to_be_bytes().to_vec()).unwrap();
    (0..count).map(block).collect()
}

fn cids(blocks: &[Block]) -> Vec<Cid> {
    blocks.iter().map(|block| *block.cid()).collect()
}

async fn all_are_told(node: &Node) {
    let started = Instant::now();
    while node.routing().provided().await.unwrap().waiting > 0 {
        assert!(started.elapsed() < 3 * SOON, "{:?}", node.routing().provided().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_keys_cost_a_few_walks_and_each_of_them_is_found() {
    const KEYS: u32 = 5000;
    let a = start().await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(start().await);
        introduce(&a, others.last().unwrap()).await;
    }
    let reader = start().await;
    introduce(&reader, &others[0]).await;

    let keys = cids(&blocks(KEYS));
    a.routing().provide_later(keys.clone()).await.unwrap();
    // What is asked for first does not wait for them.
    let asked = Instant::now();
    let announced = a.provide(vec![cid("first")]).await.unwrap();
    assert_eq!((announced.reached, announced.pending), (1, 0));
    assert!(asked.elapsed() < NO_TIMER, "took {:?}", asked.elapsed());
    all_are_told(&a).await;
    let done = a.routing().provided().await.unwrap().done;
    // The first one may have been among those of a region when its own walk was not at its end yet.
    assert!([KEYS, KEYS + 1].map(u64::from).contains(&done.keys), "{done:?}");
    assert!(done.walks <= 10, "{done:?}");
    // Each of the others is told, and whom they know by now.
    assert!(done.messages >= 3 * u64::from(KEYS), "{done:?}");

    // Asked without a: others must have been told.
    a.shutdown().await;
    let found = futures::stream::iter(keys).map(|key| {
        let reader = reader.clone();
        async move { reader.routing().find_providers(&key, 1, SOON).await.unwrap() }
    });
    let found: Vec<_> = found.buffer_unordered(64).collect().await;
    let missing = found
        .iter()
        .filter(|found| found.first().is_none_or(|one| one.peer != a.peer_id()));
    assert_eq!(missing.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_goes_on_after_a_restart_and_does_nothing_twice() {
    const KEYS: u32 = 400;
    const LAP: u64 = REPROVIDE_INTERVAL.as_secs();
    let now = Arc::new(AtomicU64::new(1_800_000_000));
    let (store, tables) = (MemoryStore::default(), [(); 3].map(|()| Table::in_memory()));
    store.put(&blocks(KEYS)).unwrap();
    let key = Keypair::generate_ed25519();
    let open = async || {
        let (blocks, now) = (Arc::new(store.clone()), Arc::clone(&now));
        let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed)));
        let builder = private(Node::throwaway(blocks))
            .tables(tables.clone())
            .keypair(key.clone());
        builder.clock(clock).start().await.unwrap()
    };
    let hub = start().await;
    let first = open().await;
    introduce(&first, &hub).await;
    let announced = first.provide(cids(&blocks(KEYS))).await.unwrap();
    assert_eq!((announced.reached, announced.pending), (KEYS as usize, 0));
    first.shutdown().await;

    let mut swept = 0;
    for _ in 0..4 {
        now.fetch_add(LAP / 4, Ordering::Relaxed);
        let again = open().await;
        assert!(again.routing().provided().await.unwrap().behind > Duration::from_secs(LAP / 8));
        again.dial(address(&hub)).await.unwrap();
        until("the sweep", async || {
            again.routing().provided().await.unwrap().behind.is_zero()
        })
        .await;
        let provided = again.routing().provided().await.unwrap();
        assert_eq!((provided.keys, provided.waiting), (KEYS as usize, 0));
        assert!(
            provided.done.keys < u64::from(KEYS) / 2,
            "a quarter at a time: {provided:?}"
        );
        swept += provided.done.keys;
        again.shutdown().await;
    }
    let keys = u64::from(KEYS);
    // It is ahead of the time by an hour at most.
    assert!((keys..keys + keys / 10).contains(&swept), "{swept} of {keys}");
}
