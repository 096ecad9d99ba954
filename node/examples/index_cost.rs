//! What the block index costs at several sizes: bytes written and time for a batch of new blocks that is flushed, time of
//! look-ups and of opening, bytes on the disk.
//!
//! ```text
//! cargo run --release -p odf-node --example index_cost -- DIRECTORY RECENT blocks|files NUMBER…
//! ```
//!
//! With `blocks` they are in packs; with `files` each is a file of its own, as the slices of a dataset are.
//!
//! Makes one store below the directory, which grows to each of the numbers of blocks in turn, and leaves it there. RECENT is how many
//! entries sled has before they are folded into a sorted file (0: as many as usual, and with a very large number sled has all
//! of them, as it had before there were such files). Blocks are tiny, so that nearly all that is written is the index.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use odf_node::block::{Block, Cid, RAW, sha2_256};
use odf_node::store::{Blocks as _, Leaf, Store, StoreOptions};

/// Batches that are measured at each size, in one process and each in an opening of its own.
const BATCHES: u64 = 200;
/// Batches in openings of their own.
const OPENINGS: u64 = 40;
/// The dataset of the files.
const DATASET: &str = "fed0100112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Blocks of a batch.
const BATCH: u64 = 5;
/// Blocks put at once, and flushed at once, while the store grows.
const GROW: u64 = 1_000;
/// Look-ups of each kind.
const LOOKUPS: u64 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("where?")?;
    let dir = Path::new(&dir);
    let mut options = StoreOptions::default();
    match arguments.next().ok_or("how many recent entries?")?.parse()? {
        0 => {}
        recent => options.recent_entries = recent,
    }
    let what = match arguments.next().as_deref() {
        Some("blocks") => What::Blocks,
        Some("files") => What::Files,
        _ => return Err("blocks or files?".into()),
    };
    println!(
        "{:>9} {:>9} {:>9} {:>9} | {:>9} {:>9} | {:>7} {:>7} {:>7} {:>8} {:>10}",
        "blocks",
        "B/batch",
        "median",
        "most",
        "B/opening",
        "median",
        "put us",
        "hit us",
        "miss us",
        "open ms",
        "index B"
    );
    let mut count = 0;
    for blocks in arguments {
        measure(dir, &options, what, blocks.parse()?, &mut count)?;
    }
    Ok(())
}

/// Where the blocks are.
#[derive(Clone, Copy)]
enum What {
    Blocks,
    Files,
}

fn block(number: u64) -> Result<Block, Box<dyn Error>> {
    Ok(Block::new(RAW, format!("block {number}").into_bytes())?)
}

/// Bytes that this process has given to the kernel to write.
fn written() -> Result<u64, Box<dyn Error>> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.ok_or("no count of what is written")?.parse()?)
}

/// For how long this thread has run, in nanoseconds.
fn processor_nanos() -> Result<u64, Box<dyn Error>> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(times.split(' ').next().ok_or("no time")?.parse()?)
}

fn open(dir: &Path, options: &StoreOptions) -> Result<(Store, Duration), Box<dyn Error>> {
    let began = Instant::now();
    Ok((Store::open(dir, options.clone())?, began.elapsed()))
}

fn put(store: &Store, what: What, count: &mut u64, blocks: u64) -> Result<(), Box<dyn Error>> {
    let batch = (*count..*count + blocks).map(block).collect::<Result<Vec<_>, _>>()?;
    match what {
        What::Blocks => store.put(&batch)?,
        // What is said of a file is believed, so none need be there. Names of slices are random.
        What::Files => batch.iter().try_for_each(|block| {
            let name: String = block
                .cid()
                .hash()
                .digest()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let file = store.add_file(Path::new(&format!("datasets/{DATASET}/data/f1620{name}")))?;
            let len = block.data().len() as u32;
            let cid = *block.cid();
            store.put_references(file, &[Leaf { cid, offset: 0, len }])
        })?,
    }
    *count += blocks;
    Ok(())
}

fn summary(mut costs: Vec<u64>) -> (u64, u64, u64) {
    costs.sort_unstable();
    let sum: u64 = costs.iter().sum();
    let at = |index: usize| costs.get(index).copied().unwrap_or(0);
    (
        sum / costs.len().max(1) as u64,
        at(costs.len() / 2),
        at(costs.len() - 1),
    )
}

fn measure(dir: &Path, options: &StoreOptions, what: What, blocks: u64, count: &mut u64) -> Result<(), Box<dyn Error>> {
    let (store, _) = open(dir, options)?;
    while *count < blocks {
        put(&store, what, count, GROW.min(blocks - *count))?;
        store.flush()?;
    }
    drop(store);

    let (store, _) = open(dir, options)?;
    let mut costs = Vec::new();
    let began = Instant::now();
    for _ in 0..BATCHES {
        let before = written()?;
        put(&store, what, count, BATCH)?;
        store.flush()?;
        costs.push(written()? - before);
    }
    let put_micros = began.elapsed().as_micros() / u128::from(BATCHES);
    let (mean, median, most) = summary(costs);

    let hit = lookups(&store, |n| (n * 7919) % blocks, true)?;
    let miss = lookups(&store, |n| u64::MAX - n, false)?;
    drop(store);

    let (mut costs, mut opening) = (Vec::new(), Vec::new());
    for _ in 0..OPENINGS {
        let before = written()?;
        let (store, took) = open(dir, options)?;
        opening.push(took.as_micros() as u64);
        put(&store, what, count, BATCH)?;
        store.flush()?;
        drop(store);
        costs.push(written()? - before);
    }
    let (opened_mean, opened_median, _) = summary(costs);
    let (_, open_micros, _) = summary(opening);
    let (store, _) = open(dir, options)?;
    println!(
        "{blocks:>9} {mean:>9} {median:>9} {most:>9} | {opened_mean:>9} {opened_median:>9} | {put_micros:>7} {hit:>7.1} {miss:>7.1} {:>8.2} {:>10}",
        open_micros as f64 / 1000.0,
        store.stats()?.index_bytes,
    );
    Ok(())
}

/// Microseconds of processor time of one look-up.
fn lookups(store: &Store, number: impl Fn(u64) -> u64, here: bool) -> Result<f64, Box<dyn Error>> {
    let names: Vec<Cid> = (0..LOOKUPS)
        .map(|n| Cid::new_v1(RAW, sha2_256(format!("block {}", number(n)).as_bytes())))
        .collect();
    let began = processor_nanos()?;
    for name in &names {
        if store.has(name)? != here {
            return Err(format!("{name} is here: {}", !here).into());
        }
    }
    Ok((processor_nanos()? - began) as f64 / 1e3 / LOOKUPS as f64)
}
