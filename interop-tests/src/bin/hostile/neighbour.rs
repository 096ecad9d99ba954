//! An honest peer: it connects, walks through a DAG, and then fetches a small block and one of a megabyte again and again.
//!
//! It prints one object: `connectMs`, and for `small` and `large` the bytes and `p50Ms`, `p90Ms`, `maxMs`. It has no store and
//! hashes nothing, so that its times are the node's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use libp2p::identity::Keypair;
use tokio::sync::mpsc;

use super::wire::{Manners, Stream, Wire};
use super::{Orders, bitswap, text};

/// A small block is at least that long: a node of a directory.
const SMALL: usize = 256;
/// How long one fetch may take before the measurement is given up.
const LIMIT: Duration = Duration::from_secs(20);
/// Small blocks fetched for each large one.
const SMALL_FOR_LARGE: usize = 4;

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let root = root(orders)?;
    let times = orders.number("times", 50)?;
    let started = Instant::now();
    let mut neighbour = Neighbour::connect(orders).await?;
    neighbour.fetch(&root).await?;
    let connect = started.elapsed();
    let (small, large) = neighbour.blocks(root).await?;
    let (mut smalls, mut larges) = (Vec::new(), Vec::new());
    for turn in 0..times {
        smalls.push(neighbour.took(&small).await?);
        if turn % SMALL_FOR_LARGE == 0 {
            larges.push(neighbour.took(&large).await?);
        }
    }
    let report = serde_json::json!({
        "connectMs": millis(connect),
        "small": summary(small.length, smalls),
        "large": summary(large.length, larges),
    });
    #[allow(clippy::print_stdout)] // what the program is asked for
    {
        println!("{report}");
    }
    Ok(())
}

/// The CID that `--root` says.
pub(crate) fn root(orders: &Orders) -> Result<Vec<u8>, Failure> {
    Ok(cid::Cid::try_from(orders.text("root")?).map_err(text)?.to_bytes())
}

/// A connection on which one block after the other is fetched.
pub(crate) struct Neighbour {
    _wire: Wire,
    asking: Stream,
    answers: mpsc::Receiver<Vec<u8>>,
}

/// A block that is fetched again and again.
#[derive(Clone)]
pub(crate) struct Sized {
    pub(crate) cid: Vec<u8>,
    length: usize,
}

impl Neighbour {
    pub(crate) async fn connect(orders: &Orders) -> Result<Self, Failure> {
        let (frames, answers) = mpsc::channel(16);
        let manners = Manners {
            protocols: &[bitswap::PROTOCOL],
            polite: true,
            frames: Some(frames),
        };
        let wire = Wire::connect(orders, &Keypair::generate_ed25519(), manners)
            .await
            .map_err(text)?;
        let asking = wire.open(bitswap::PROTOCOL).await.map_err(text)?;
        Ok(Self {
            _wire: wire,
            asking,
            answers,
        })
    }

    /// The block of a CID. One at a time, so the block that comes is the one that was asked for.
    async fn fetch(&mut self, cid: &[u8]) -> Result<Vec<u8>, Failure> {
        self.asking
            .write_all(&bitswap::wantlist([bitswap::want(cid)], false))
            .await
            .map_err(text)?;
        self.asking.flush().await.map_err(text)?;
        let came = async {
            while let Some(message) = self.answers.recv().await {
                if let Some(block) = bitswap::blocks(&message).pop() {
                    return Ok(block);
                }
            }
            Err(Failure::new("the node has hung up"))
        };
        let late = |_| Failure::new(format!("a block did not come within {LIMIT:?}"));
        tokio::time::timeout(LIMIT, came).await.map_err(late)?
    }

    async fn took(&mut self, block: &Sized) -> Result<Duration, Failure> {
        let started = Instant::now();
        if self.fetch(&block.cid).await?.len() != block.length {
            return Err("another block came than the one that was asked for".into());
        }
        Ok(started.elapsed())
    }

    /// The smallest block of the DAG that is no shorter than [`SMALL`], and the largest one.
    pub(crate) async fn blocks(&mut self, root: Vec<u8>) -> Result<(Sized, Sized), Failure> {
        let (mut queue, mut seen) = (vec![root.clone()], HashSet::from([root]));
        let (mut small, mut large): (Option<Sized>, Option<Sized>) = (None, None);
        while let Some(cid) = queue.pop() {
            let block = self.fetch(&cid).await?;
            let length = block.len();
            if length >= SMALL && small.as_ref().is_none_or(|least| length < least.length) {
                let cid = cid.clone();
                small = Some(Sized { cid, length });
            }
            if large.as_ref().is_none_or(|most| length > most.length) {
                let cid = cid.clone();
                large = Some(Sized { cid, length });
            }
            if cid.get(1) != Some(&RAW) {
                queue.extend(links(&block).into_iter().filter(|link| seen.insert(link.clone())));
            }
        }
        small
            .zip(large)
            .ok_or_else(|| "the DAG has no block of the wanted size".into())
    }
}

/// Codecs of blocks, as they are in CIDs.
const RAW: u8 = 0x55;
const DAG_PB: u8 = 0x70;
const DAG_CBOR: u8 = 0x71;

/// Whatever in a node looks like a CID (version 1, sha2-256): good enough for the DAG of a dataset, whose nodes hold hashes
/// in no other form.
fn links(node: &[u8]) -> Vec<Vec<u8>> {
    let cids = node.windows(36);
    let is_cid = |bytes: &&[u8]| matches!(bytes, [1, RAW | DAG_PB | DAG_CBOR, 0x12, 32, ..]);
    cids.filter(is_cid).map(<[u8]>::to_vec).collect()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn summary(bytes: usize, mut times: Vec<Duration>) -> serde_json::Value {
    times.sort_unstable();
    let at = |part: usize| {
        let nearest = times.get(times.len() * part / 100).or(times.last());
        nearest.copied().unwrap_or_default()
    };
    serde_json::json!({"bytes": bytes, "p50Ms": millis(at(50)), "p90Ms": millis(at(90)), "maxMs": millis(at(100))})
}
