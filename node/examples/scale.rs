//! What a store of very many blocks costs, and a peer with very many connections.
//!
//! ```text
//! cargo run --release -p odf-node --example scale -- blocks DIRECTORY NUMBER
//! cargo run --release -p odf-node --example scale -- peers NUMBER
//! cargo run --release -p odf-node --example scale -- announce DIRECTORY NUMBER
//! ```
//!
//! With `blocks` it makes a store in the directory and leaves it there: tiny leaves below nodes below roots, a hundred each; nine
//! of ten roots are pinned, and the rest is collected as garbage. With `peers` it starts so many peers in this process that
//! connect to one, which fetches from one of them and gives to it; `ulimit -n` must be three times that. With `announce` a peer
//! whose schedule is in that directory tells another one of so many keys.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipld_core::ipld::Ipld;
use odf_node::block::{Block, Cid, DAG_CBOR, RAW, sha2_256};
use odf_node::peer::Node;
use odf_node::store::{Blocks as _, MemoryStore, Store, StoreOptions};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Links of a node, and of a root.
const FAN_OUT: u64 = 100;
/// One root of so many has no pin.
const GARBAGE: u64 = 10;
/// Batches of new blocks that are measured, each flushed, and blocks of one.
const BATCHES: u64 = 200;
const BATCH: u64 = 5;
/// Look-ups of each kind.
const LOOKUPS: u64 = 5_000;
/// Openings that are measured.
const OPENINGS: usize = 20;
/// Fetches that are measured.
const FETCHES: u32 = 200;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["blocks", dir, number] => blocks(Path::new(dir), number.parse()?),
        ["peers", number] => runtime()?.block_on(peers(number.parse()?)),
        ["announce", dir, number] => runtime()?.block_on(announce(Path::new(dir), number.parse()?)),
        _ => Err("blocks DIRECTORY NUMBER, peers NUMBER, or announce DIRECTORY NUMBER?".into()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn line(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<44} {figure:>14}");
}

/// A line of `/proc/self/status`, in MiB.
fn memory(which: &str) -> Outcome<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no such line")?
        .parse()?;
    Ok(format!("{:.1} MiB", kib as f64 / 1024.0))
}

/// The most memory is counted anew from here on.
fn forget_peak() -> Outcome<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// Seconds of processor time of this process.
fn processor() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

fn leaf(number: u64) -> Outcome<Block> {
    Ok(Block::new(RAW, format!("leaf {number}").into_bytes())?)
}

fn above(children: &[Cid]) -> Outcome<Block> {
    let links = children.iter().map(|cid| Ipld::Link(*cid)).collect();
    Ok(Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&Ipld::List(links))?)?)
}

/// Puts a root with all below it. Gives the root, and how many blocks these are.
fn put_root(store: &Store, first: u64) -> Outcome<(Cid, u64)> {
    let mut nodes = Vec::new();
    for node in 0..FAN_OUT {
        let leaves = (0..FAN_OUT).map(|at| leaf(first + node * FAN_OUT + at));
        let mut batch = leaves.collect::<Outcome<Vec<_>>>()?;
        let cids: Vec<Cid> = batch.iter().map(|leaf| *leaf.cid()).collect();
        let node = above(&cids)?;
        nodes.push(*node.cid());
        batch.push(node);
        store.put(&batch)?;
    }
    let root = above(&nodes)?;
    store.put(std::slice::from_ref(&root))?;
    Ok((*root.cid(), FAN_OUT * FAN_OUT + FAN_OUT + 1))
}

fn blocks(dir: &Path, number: u64) -> Outcome<()> {
    let store = Store::open(dir, StoreOptions::default())?;
    let began = Instant::now();
    let (mut count, mut roots) = (store.stats()?.blocks, 0);
    while count < number {
        let (root, more) = put_root(&store, roots * FAN_OUT * FAN_OUT)?;
        if roots % GARBAGE != 0 {
            store.pin("scale", &root)?;
        }
        store.flush()?;
        (count, roots) = (count + more, roots + 1);
    }
    line("blocks", count);
    line(
        "made with",
        format!("{:.0} blocks/s", count as f64 / began.elapsed().as_secs_f64()),
    );
    drop(store);

    measure(dir, count)?;
    let store = Store::open(dir, StoreOptions::default())?;
    forget_peak()?;
    let before = memory("VmRSS:")?;
    let (began, ticks) = (Instant::now(), processor()?);
    let report = store.gc()?;
    line(
        "collection of a tenth",
        format!("{:.2} s", began.elapsed().as_secs_f64()),
    );
    line("  of processor time", format!("{:.2} s", processor()? - ticks));
    line("  removed", report.removed_blocks);
    line("  memory before", before);
    line("  memory at most", memory("VmHWM:")?);
    let began = Instant::now();
    store.gc()?;
    line(
        "collection of nothing",
        format!("{:.2} s", began.elapsed().as_secs_f64()),
    );
    drop(store);
    measure(dir, count)
}

fn measure(dir: &Path, count: u64) -> Outcome<()> {
    let mut openings = Vec::new();
    for _ in 0..OPENINGS {
        let began = Instant::now();
        let store = Store::open(dir, StoreOptions::default())?;
        openings.push(began.elapsed());
        drop(store);
    }
    openings.sort_unstable();
    let median = openings.get(OPENINGS / 2).copied().unwrap_or_default();
    let store = Store::open(dir, StoreOptions::default())?;
    line(
        "index, a block",
        format!("{:.1} B", store.stats()?.index_bytes as f64 / count as f64),
    );
    line("opening", format!("{:.2} ms", median.as_secs_f64() * 1e3));
    line("memory when open", memory("VmRSS:")?);
    // Of the last roots, of which the last one has a pin or is as young as those that have.
    let names = |from: u64, step: u64| -> Vec<Cid> {
        let number = |n: u64| format!("leaf {}", from + n * step);
        (0..LOOKUPS)
            .map(|n| Cid::new_v1(RAW, sha2_256(number(n).as_bytes())))
            .collect()
    };
    let lookups = |names: Vec<Cid>| -> Outcome<f64> {
        let began = Instant::now();
        let mut found = 0;
        for name in &names {
            found += u64::from(store.has(name)?);
        }
        println!("  {found} of {LOOKUPS} found");
        Ok(began.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64)
    };
    let spread = (count * 9 / 10 / LOOKUPS).max(1);
    line(
        "look-up of what is here",
        format!("{:.1} us", lookups(names(0, spread))?),
    );
    line(
        "look-up of what is not",
        format!("{:.1} us", lookups(names(u64::MAX / 2, 1))?),
    );
    let began = Instant::now();
    for batch in 0..BATCHES {
        let fresh = (0..BATCH).map(|at| {
            let text = format!("{:?} {batch} {at}", std::time::SystemTime::now());
            Ok(Block::new(RAW, text.into_bytes())?)
        });
        store.put(&fresh.collect::<Outcome<Vec<_>>>()?)?;
        store.flush()?;
    }
    let micros = began.elapsed().as_secs_f64() * 1e6 / BATCHES as f64;
    line("put of five, with flush", format!("{micros:.0} us"));
    Ok(())
}

async fn quiet(blocks: MemoryStore, connections: u32, listen: bool) -> Outcome<Node> {
    let listen = if listen {
        vec!["/ip4/127.0.0.1/tcp/0".parse()?]
    } else {
        Vec::new()
    };
    let peer = Node::throwaway(Arc::new(blocks))
        .listen(listen)
        .bootstrap(Vec::new())
        .mdns(false);
    let peer = peer
        .max_connections(connections)
        .idle_timeout(Duration::from_secs(3600));
    Ok(peer.start().await?)
}

async fn peers(number: u32) -> Outcome<()> {
    let here: Vec<Block> = (0..u64::from(FETCHES)).map(leaf).collect::<Outcome<_>>()?;
    let there: Vec<Block> = (0..u64::from(FETCHES))
        .map(|n| leaf(n + (1 << 40)))
        .collect::<Outcome<_>>()?;
    let store = MemoryStore::default();
    store.put(&here)?;
    let hub = quiet(store, 2 * number + 64, true).await?;
    let address = hub.listen_addrs().first().cloned().ok_or("no address")?;
    let address = address.with_p2p(hub.peer_id()).unwrap_or_else(|address| address);
    let mut others = Vec::new();
    for at in 0..number {
        let store = MemoryStore::default();
        if at == number / 2 {
            store.put(&there)?;
        }
        let other = quiet(store, 64, false).await?;
        other.dial(address.clone()).await?;
        others.push(other);
    }
    line("peers", hub.peers().await.len());
    tokio::time::sleep(Duration::from_secs(5)).await;
    line("memory of all of them", memory("VmRSS:")?);
    let ticks = processor()?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    line(
        "processor, idle",
        format!("{:.2} % of one", (processor()? - ticks) * 5.0),
    );
    let fetched = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 10).copied().unwrap_or_default();
        format!(
            "{:.2} ms, p90 {:.2} ms",
            at(5).as_secs_f64() * 1e3,
            at(9).as_secs_f64() * 1e3
        )
    };
    let giver = others.get(number as usize / 2).ok_or("nobody")?;
    let session = giver.exchange().session();
    let mut times = Vec::new();
    for block in &here {
        let began = Instant::now();
        session.fetch(block.cid()).await?;
        times.push(began.elapsed());
    }
    line("fetch from it", fetched(&mut times));
    let session = hub.exchange().session();
    session.add_provider(giver.peer_id());
    times.clear();
    for block in &there {
        let began = Instant::now();
        session.fetch(block.cid()).await?;
        times.push(began.elapsed());
    }
    line("fetch by it, from one of them", fetched(&mut times));
    // What nobody has: a few of them are asked for each.
    let session = hub.exchange().session();
    let (ticks, began) = (processor()?, Instant::now());
    let absent: Vec<Cid> = (0..1000)
        .map(|n: u32| Cid::new_v1(RAW, sha2_256(&n.to_le_bytes())))
        .collect();
    let wanted = absent.iter().map(|cid| session.fetch(cid));
    let _ = tokio::time::timeout(Duration::from_secs(10), futures::future::join_all(wanted)).await;
    let share = (processor()? - ticks) / began.elapsed().as_secs_f64() * 100.0;
    line("processor, 1,000 wants that nobody has", format!("{share:.1} % of one"));
    Ok(())
}

async fn announce(dir: &Path, number: u64) -> Outcome<()> {
    let store = Store::open(dir, StoreOptions::default())?;
    let there = quiet(MemoryStore::default(), 64, true).await?;
    let builder = Node::builder(&store)?.listen(vec!["/ip4/127.0.0.1/tcp/0".parse()?]);
    let here = builder.bootstrap(Vec::new()).mdns(false).start().await?;
    let address = there.listen_addrs().first().cloned().ok_or("no address")?;
    here.dial(address.with_p2p(there.peer_id()).unwrap_or_else(|address| address))
        .await?;
    let cids: Vec<Cid> = (0..number).map(|n| Ok(*leaf(n)?.cid())).collect::<Outcome<_>>()?;
    let began = Instant::now();
    let announced = here.routing().provide(cids, Duration::from_secs(3600)).await?;
    line("announced", format!("{} of {number}", announced.reached));
    line("in", format!("{:.2} s", began.elapsed().as_secs_f64()));
    line("memory", memory("VmRSS:")?);
    here.shutdown().await;
    drop(here);
    let began = Instant::now();
    let again = Node::builder(&store)?
        .listen(Vec::new())
        .bootstrap(Vec::new())
        .mdns(false)
        .start()
        .await?;
    line(
        "start with that schedule",
        format!("{:.2} ms", began.elapsed().as_secs_f64() * 1e3),
    );
    line("keys", again.routing().provided().await?.keys);
    Ok(())
}
