//! DAGs that come as one CAR: from an honest gateway, a false one, one that breaks off, and none that has CARs.

use ipld_core::ipld::Ipld;

use super::super::ahead::{ENTRY_BYTES, MAX_EXPECTED, MAX_IN_VAIN, STEP_BLOCKS, STEP_WITHIN, Unwanted};
use super::*;
use crate::block::{DAG_CBOR, SHA2_256};
use crate::car;

fn node(links: &[Cid]) -> Block {
    let links = links.iter().copied().map(Ipld::Link).collect();
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Ipld::List(links)).unwrap()).unwrap()
}

/// A DAG of a root, nodes below it and leaves below each, in the order of a CAR.
fn dag(nodes: u32, leaves: u32) -> Vec<Block> {
    let below = |number: u32| -> Vec<Block> {
        let leaves: Vec<Block> = (0..leaves)
            .map(|leaf| Block::new(RAW, [number.to_le_bytes(), leaf.to_le_bytes()].concat()).unwrap())
            .collect();
        let above = node(&leaves.iter().map(|leaf| *leaf.cid()).collect::<Vec<_>>());
        std::iter::once(above).chain(leaves).collect()
    };
    let parts: Vec<Vec<Block>> = (0..nodes).map(below).collect();
    let root = node(&parts.iter().map(|part| *part[0].cid()).collect::<Vec<_>>());
    std::iter::once(root).chain(parts.into_iter().flatten()).collect()
}

fn car_of(blocks: &[Block]) -> Vec<u8> {
    let mut bytes = car::header(&[*blocks[0].cid()]);
    for block in blocks {
        bytes.extend_from_slice(&car::frame(block.cid(), block.data().len()));
        bytes.extend_from_slice(block.data());
    }
    bytes
}

/// A gateway that answers each request for a CAR with these bytes, and counts how often it does; it has no single blocks.
async fn with_car(bytes: Vec<u8>, goes_on: bool) -> (Url, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let counter = asked.clone();
    let router = Router::new().fallback(async move |uri: Uri| {
        assert!(uri.query().unwrap().contains("format=car&dag-scope=all"), "{uri}");
        counter.fetch_add(1, Ordering::Relaxed);
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes))]);
        match goes_on {
            false => axum::body::Body::from_stream(first).into_response(),
            true => axum::body::Body::from_stream(first.chain(futures::stream::pending())).into_response(),
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

fn of(urls: &[Url]) -> Gateways {
    let gateways = Gateways::default();
    gateways.add(urls).unwrap().keep();
    gateways
}

/// Has a DAG come, and asks for all of it meanwhile. How many blocks came so.
async fn brought(gateways: &Gateways, blocks: &[Block]) -> usize {
    let ahead = Ahead::of(blocks[0].cid());
    let bring = async {
        gateways.bring(blocks[0].cid(), &ahead, None).await;
        ahead.end();
    };
    let take = async {
        let mut came = 0;
        for block in blocks {
            let taken = ahead.take(block.cid()).await;
            assert!(taken.as_ref().is_none_or(|taken| taken == block));
            came += usize::from(taken.is_some());
        }
        came
    };
    tokio::join!(bring, take).1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dag_comes_in_one_answer_and_is_taken_block_by_block() {
    let blocks = dag(20, 20);
    let (url, asked) = with_car(car_of(&blocks), false).await;
    let gateways = of(&[url]);
    assert_eq!(brought(&gateways, &blocks).await, blocks.len());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let stats = &gateways.stats()[0];
    assert_eq!((stats.blocks as usize, stats.failures), (blocks.len(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_lies_or_breaks_off_another_goes_on() {
    let blocks = dag(20, 20);
    let whole = car_of(&blocks);
    let (honest, honest_asked) = with_car(whole.clone(), false).await;
    let mut false_one = whole.clone();
    *false_one.last_mut().unwrap() ^= 1;
    let cut = whole[..whole.len() / 2].to_vec();
    for (bytes, goes_on, is_refused) in [
        (false_one, false, true),
        (cut.clone(), false, false),
        (cut, true, false),
    ] {
        let (bad, asked) = with_car(bytes, goes_on).await;
        let gateways = of(&[bad, honest.clone()]);
        honest_asked.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        let came = brought(&gateways, &blocks).await;
        assert_eq!(
            (asked.load(Ordering::Relaxed), honest_asked.load(Ordering::Relaxed)),
            (1, 1)
        );
        assert_eq!(gateways.stats()[0].refused.is_some(), is_refused);
        match goes_on {
            // What was asked for meanwhile is to be asked for alone, and nobody waited for long.
            true => assert!(begun.elapsed() < GOES_ON_WITHIN * 2 && came > 100),
            false => assert_eq!(came, blocks.len()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_cars_is_asked_for_blocks_alone() {
    let blocks = dag(2, 2);
    let nowhere = [blocks.clone(), self::blocks(1)].concat();
    for bytes in [b"<html>".to_vec(), car_of(&nowhere), car_of(&nowhere[1..])] {
        let (url, asked) = with_car(bytes, false).await;
        let gateways = of(&[url]);
        brought(&gateways, &blocks).await;
        assert_eq!(brought(&gateways, &blocks).await, 0);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(gateways.stats()[0].refused.is_none() && gateways.is_ready());
    }
    let (url, site) = Site::open(&blocks, |_, _, _| Answer::Status(StatusCode::NOT_ACCEPTABLE)).await;
    let gateways = of(&[url]);
    assert_eq!(brought(&gateways, &blocks).await, 0);
    assert_eq!(brought(&gateways, &blocks).await, 0);
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn nobody_waits_for_a_stream_that_does_not_get_on() {
    let blocks = dag(1, 6 * STEP_BLOCKS);
    let ahead = Ahead::of(blocks[0].cid());
    let absent = Block::new(RAW, b"of another DAG".to_vec()).unwrap();
    assert_eq!(ahead.take(absent.cid()).await, None);
    let (root, leaf) = (blocks[0].clone(), blocks.last().unwrap());
    let (taken, ()) = tokio::join!(ahead.take(root.cid()), async { ahead.came(root.clone()).unwrap() });
    assert_eq!(taken, Some(root));
    // While it gets on, a block is waited for as long as it takes.
    ahead.came(blocks[1].clone()).unwrap();
    let begun = Instant::now();
    let feed = async {
        for block in &blocks[2..] {
            tokio::time::sleep(STEP_WITHIN / (2 * STEP_BLOCKS)).await;
            ahead.came(block.clone()).unwrap();
        }
    };
    let (taken, ()) = tokio::join!(ahead.take(leaf.cid()), feed);
    assert_eq!(taken.as_ref(), Some(leaf));
    assert!(begun.elapsed() > STEP_WITHIN * 2);

    let slow = Ahead::of(blocks[0].cid());
    slow.begin();
    slow.came(blocks[0].clone()).unwrap();
    assert_eq!(slow.take(blocks[1].cid()).await, None);
    assert_eq!(slow.came(blocks[1].clone()), Err(Unwanted::Slow));
    // Who waits when it ends does not wait on.
    let ended = Ahead::of(blocks[0].cid());
    let (taken, ()) = tokio::join!(ended.take(blocks[0].cid()), async { ended.end() });
    assert_eq!(taken, None);
}

#[tokio::test]
async fn a_stream_stands_still_when_too_much_lies_here_and_holds_nobody_up() {
    let leaf = |number: u8| Block::new(RAW, vec![number; MAX_BLOCK_BYTES]).unwrap();
    let most = MAX_AHEAD_BYTES / (MAX_BLOCK_BYTES + ENTRY_BYTES);
    let leaves: Vec<Block> = (0..most as u8 + 2).map(leaf).collect();
    let root = node(&leaves.iter().map(|leaf| *leaf.cid()).collect::<Vec<_>>());
    let ahead = Ahead::of(root.cid());
    ahead.came(root.clone()).unwrap();
    assert!(ahead.take(root.cid()).await.is_some());
    for leaf in &leaves[..most] {
        ahead.came(leaf.clone()).unwrap();
    }
    ahead.room().await;
    ahead.came(leaves[most].clone()).unwrap();
    let behind = ahead.take(leaves[most + 1].cid());
    let room = ahead.room();
    tokio::pin!(room);
    assert!(timeout(Duration::from_millis(50), &mut room).await.is_err());
    assert_eq!(behind.await, None);
    assert!(ahead.take(leaves[0].cid()).await.is_some());
    room.await;
    // It was asked for elsewhere, and does not stay.
    ahead.came(leaves[most + 1].clone()).unwrap();
    assert_eq!(ahead.take(leaves[most + 1].cid()).await, None);
}

#[tokio::test]
async fn very_many_small_blocks_are_as_many_as_their_entries_take() {
    let most = (MAX_AHEAD_BYTES / (ENTRY_BYTES + 4)) as u32;
    let leaves = self::blocks(most + 1);
    let nodes: Vec<Block> = leaves
        .chunks(40_000)
        .map(|leaves| node(&leaves.iter().map(|leaf| *leaf.cid()).collect::<Vec<_>>()))
        .collect();
    let root = node(&nodes.iter().map(|node| *node.cid()).collect::<Vec<_>>());
    let ahead = Ahead::of(root.cid());
    for above in std::iter::once(&root).chain(&nodes) {
        ahead.came(above.clone()).unwrap();
        assert!(ahead.take(above.cid()).await.is_some());
    }
    let (last, others) = leaves.split_last().unwrap();
    for leaf in others {
        ahead.came(leaf.clone()).unwrap();
    }
    let has_room = async || timeout(Duration::from_millis(50), ahead.room()).await.is_ok();
    assert!(has_room().await);
    ahead.came(last.clone()).unwrap();
    assert!(!has_room().await);
}

#[test]
fn strangers_are_asked_for_blocks_alone() {
    use super::super::gateway::Wanted;
    for (found, gives_dags) in [(false, true), (true, false)] {
        let gateway = Gateway::new("https://a.example/".parse().unwrap(), found);
        assert!(gateway.can_give(Wanted::Block));
        assert_eq!(gateway.can_give(Wanted::Dag), gives_dags);
    }
}

#[test]
fn what_is_linked_to_and_what_comes_in_vain_is_bounded() {
    let mut number = 0_u64;
    let mut links = |count: usize| -> Vec<Cid> {
        let mut link = || {
            number += 1;
            let digest = crate::block::sha2_256(&number.to_le_bytes());
            assert_eq!(digest.code(), SHA2_256);
            Cid::new_v1(RAW, digest)
        };
        (0..count).map(|_| link()).collect()
    };
    for (over, expected) in [(0, Ok(())), (1, Err(Unwanted::TooWide))] {
        let parts = 8;
        let mut nodes: Vec<Block> = (0..parts - 1).map(|_| node(&links(MAX_EXPECTED / parts))).collect();
        nodes.push(node(&links(MAX_EXPECTED / parts + over)));
        let root = node(&nodes.iter().map(|node| *node.cid()).collect::<Vec<_>>());
        let ahead = Ahead::of(root.cid());
        ahead.came(root).unwrap();
        let last = nodes.pop().unwrap();
        nodes.into_iter().for_each(|node| ahead.came(node).unwrap());
        assert_eq!(ahead.came(last), expected);
    }

    let root = Block::new(RAW, vec![0; MAX_BLOCK_BYTES]).unwrap();
    let ahead = Ahead::of(root.cid());
    ahead.came(root.clone()).unwrap();
    let most = (MAX_IN_VAIN + MAX_BLOCK_BYTES as u64 / 4) / MAX_BLOCK_BYTES as u64;
    for _ in 0..most {
        ahead.came(root.clone()).unwrap();
    }
    assert_eq!(ahead.came(root), Err(Unwanted::InVain));
}
