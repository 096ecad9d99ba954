//! What one more entry of a large directory costs at several fanouts: bytes and nodes that are new, nodes on the way of a
//! look-up, nodes of the whole.
//!
//! ```text
//! cargo run --release -p odf-node --example directory_cost -- ENTRIES…
//! ```
//!
//! Names are as long as the hashes of metadata blocks, and sharding begins with the first entry. A million entries take a
//! minute and 1 GiB of memory.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::error::Error;
use std::io;

use odf_node::block::{Block, Cid, RAW, sha2_256};
use odf_node::unixfs::{Entry, Fanout, Profile, UNIXFS_V1_2025, directory, update};

/// Entries that are added one by one to each directory.
const APPENDS: u64 = 200;
/// Length of what an entry stands for: a metadata block with a new slice.
const CONTENT_BYTES: usize = 430;

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes = Vec::new();
    for argument in std::env::args().skip(1) {
        sizes.push(argument.parse::<u64>()?);
    }
    if sizes.is_empty() {
        return Err("how many entries?".into());
    }
    println!("entries  fanout  new bytes  (most)  new nodes  look-up  (most)  nodes");
    for entries in sizes {
        for buckets in [8, 16, 32, 256] {
            measure(entries, buckets)?;
        }
    }
    Ok(())
}

fn measure(entries: u64, buckets: u64) -> Result<(), Box<dyn Error>> {
    let profile = Profile {
        shard_above: 0,
        fanout: Fanout::new(buckets).ok_or("no such fanout")?,
        ..UNIXFS_V1_2025
    };
    let mut all = Vec::new();
    for number in 0..entries {
        all.push(entry(number)?);
    }
    let built = directory::build(&profile, all)?;
    let nodes = built.blocks.len();
    let mut shelf: HashMap<Cid, Block> = built.blocks.into_iter().map(|block| (*block.cid(), block)).collect();
    let mut root = built.entry.cid;
    let (mut bytes, mut most_bytes, mut count) = (0, 0, 0);
    let (mut steps, mut most_steps) = (0, 0);
    for number in entries..entries + APPENDS {
        let (name, entry) = entry(number)?;
        let mut load = |cid: &Cid| shelf.get(cid).cloned().ok_or_else(missing);
        let updated = update::update(&profile, &root, [(name.clone(), Some(entry))], &mut load)?;
        let new: usize = updated.blocks.iter().map(|block| block.data().len()).sum();
        bytes += new;
        most_bytes = most_bytes.max(new);
        count += updated.blocks.len();
        shelf.extend(updated.blocks.into_iter().map(|block| (*block.cid(), block)));
        root = updated.entry.cid;
        let mut asked = 0;
        directory::lookup(&root, &name, &mut |cid| {
            asked += 1;
            shelf.get(cid).cloned().ok_or_else(missing)
        })?
        .ok_or("an entry is missing")?;
        steps += asked;
        most_steps = most_steps.max(asked);
    }
    let mean = |sum: usize| sum as f64 / APPENDS as f64;
    println!(
        "{entries:7}  {buckets:6}  {:9.0}  {most_bytes:6}  {:9.2}  {:7.2}  {most_steps:6}  {nodes}",
        mean(bytes),
        mean(count),
        mean(steps),
    );
    Ok(())
}

fn missing() -> io::Error {
    io::Error::other("a node is missing")
}

fn entry(number: u64) -> Result<(String, Entry), Box<dyn Error>> {
    let hash = sha2_256(&number.to_be_bytes());
    let hex: String = hash.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut content = vec![0; CONTENT_BYTES];
    content[..8].copy_from_slice(&number.to_be_bytes());
    let block = Block::new(RAW, content)?;
    let entry = Entry {
        cid: *block.cid(),
        tsize: CONTENT_BYTES as u64,
        size: CONTENT_BYTES as u64,
    };
    Ok((format!("f1620{hex}"), entry))
}
