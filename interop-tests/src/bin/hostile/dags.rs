//! Peers that give what nobody should have to walk through. `--kind` says what: a sharded directory whose nodes each name the
//! same node below in every slot (`hamt`), one of very many nodes (`shards`), a file of nodes in a row (`tower`), or one of as
//! many bytes as there are grains of sand, in few blocks (`fan`). `--seed` makes another of the kind. Prints `ready` and the root.

use std::collections::HashMap;

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use libp2p::identity::Keypair;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::wire::{Manners, Wire};
use super::{Orders, bitswap, protobuf, text};

/// Types of UnixFS nodes.
const FILE: u64 = 2;
const HAMT: u64 = 5;
/// Slots of a node of a sharded directory.
const SLOTS: usize = 256;
/// Levels of one: as many as the 64 bits of a hash give.
const LEVELS: usize = 8;
/// Nodes with as many nodes each below them, of `shards`.
const SHARDS: usize = 96;
/// Nodes of `tower`.
const STOREYS: usize = 4_000;
/// Links of each node of `fan`, and its levels: 1000^6 bytes.
const FANNED: usize = 1000;
const FANS: usize = 6;

/// Blocks by multihash.
#[derive(Default)]
struct Dag(HashMap<Vec<u8>, (u64, Vec<u8>)>);

impl Dag {
    /// Keeps a block and gives its CID.
    fn add(&mut self, codec: u64, data: Vec<u8>) -> Vec<u8> {
        let mut hash = vec![0x12, 32];
        hash.extend_from_slice(&Sha256::digest(&data));
        let mut cid = vec![1];
        protobuf::varint(codec, &mut cid);
        cid.extend_from_slice(&hash);
        self.0.insert(hash, (codec, data));
        cid
    }

    /// A UnixFS node with these links.
    fn node<'a>(&mut self, data: &[u8], links: impl IntoIterator<Item = (String, &'a [u8], u64)>) -> Vec<u8> {
        let mut node = Vec::new();
        for (name, cid, size) in links {
            let mut link = Vec::new();
            protobuf::bytes(1, cid, &mut link);
            protobuf::bytes(2, name.as_bytes(), &mut link);
            protobuf::number(3, size, &mut link);
            protobuf::bytes(2, &link, &mut node);
        }
        protobuf::bytes(1, data, &mut node);
        self.add(0x70, node)
    }

    /// A node of a sharded directory: in each slot a node below, or what bears a name.
    fn shard<'a>(&mut self, below: impl IntoIterator<Item = (usize, &'a str, &'a [u8])>) -> Vec<u8> {
        let (mut bits, mut links) = ([0_u8; SLOTS / 8], Vec::new());
        for (slot, name, cid) in below {
            if let Some(byte) = bits.get_mut(SLOTS / 8 - 1 - slot / 8) {
                *byte |= 1 << (slot % 8);
            }
            links.push((format!("{slot:02X}{name}"), cid, 1));
        }
        let mut data = Vec::new();
        protobuf::number(1, HAMT, &mut data);
        protobuf::bytes(2, &bits, &mut data);
        protobuf::number(5, 0x22, &mut data);
        protobuf::number(6, SLOTS as u64, &mut data);
        self.node(&data, links)
    }

    /// A node of a file with `count` times the same node below it, which holds `size` bytes.
    fn file(&mut self, below: &[u8], size: u64, count: usize) -> Vec<u8> {
        let mut data = Vec::new();
        protobuf::number(1, FILE, &mut data);
        protobuf::number(3, size * count as u64, &mut data);
        for _ in 0..count {
            protobuf::number(4, size, &mut data);
        }
        self.node(&data, (0..count).map(|_| (String::new(), below, size)))
    }
}

/// The DAG of this kind, and its root.
fn build(kind: &str, seed: u64) -> Result<(Dag, Vec<u8>), Failure> {
    let mut dag = Dag::default();
    let leaf = dag.add(0x55, format!("a grain {seed}").into_bytes());
    let byte = dag.add(0x55, vec![seed as u8]);
    let root = match kind {
        "hamt" => {
            let mut below = dag.node(&[8, 1], []);
            for _ in 0..LEVELS {
                below = dag.shard((0..SLOTS).map(|slot| (slot, "", below.as_slice())).collect::<Vec<_>>());
            }
            below
        }
        "shards" => {
            let mut above = Vec::new();
            for at in 0..SHARDS {
                let name = |slot: usize| format!("{seed} {at} {slot}");
                let nodes: Vec<Vec<u8>> = (0..SHARDS)
                    .map(|slot| dag.shard([(slot, name(slot).as_str(), leaf.as_slice())]))
                    .collect();
                above.push(dag.shard(nodes.iter().enumerate().map(|(slot, cid)| (slot, "", cid.as_slice()))));
            }
            dag.shard(above.iter().enumerate().map(|(slot, cid)| (slot, "", cid.as_slice())))
        }
        "tower" => (0..STOREYS).fold(leaf, |below, _| dag.file(&below, 9, 1)),
        "fan" => (0..FANS as u32).fold(byte, |below, level| {
            dag.file(&below, (FANNED as u64).pow(level), FANNED)
        }),
        other => return Err(Failure::new(format!("--kind {other} is not known"))),
    };
    Ok((dag, root))
}

/// The blocks that a message asks for, which wants them all, as one message.
fn answer(dag: &Dag, message: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    let lists = protobuf::byte_fields(message)
        .into_iter()
        .filter(|(field, _)| *field == 1);
    let entries = lists.flat_map(|(_, list)| protobuf::byte_fields(list));
    for (_, entry) in entries.filter(|(field, _)| *field == 1) {
        let cid = protobuf::byte_fields(entry).into_iter().find(|(field, _)| *field == 1);
        // A cancel asks for nothing, and what it names has been given.
        let is_cancel = entry.windows(2).next_back() == Some(&[3 << 3, 1]);
        let Some((_, cid)) = cid.filter(|_| !is_cancel) else {
            continue;
        };
        let Some((codec, data)) = cid.get(cid.len().saturating_sub(34)..).and_then(|hash| dag.0.get(hash)) else {
            continue;
        };
        let (mut payload, mut prefix) = (Vec::new(), vec![1]);
        protobuf::varint(*codec, &mut prefix);
        prefix.extend_from_slice(&[0x12, 32]);
        protobuf::bytes(1, &prefix, &mut payload);
        protobuf::bytes(2, data, &mut payload);
        protobuf::bytes(3, &payload, &mut answer);
    }
    (!answer.is_empty()).then(|| protobuf::frame(&answer))
}

#[allow(clippy::print_stdout)] // what the program is asked for
pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let (dag, root) = build(orders.text("kind")?, orders.number("seed", 0)? as u64)?;
    let (frames, mut asked) = mpsc::channel(64);
    let manners = Manners {
        frames: Some(frames),
        ..Manners::bitswap()
    };
    let wire = Wire::connect(orders, &Keypair::generate_ed25519(), manners)
        .await
        .map_err(text)?;
    let mut stream = wire.open(bitswap::PROTOCOL).await.map_err(text)?;
    println!("ready {}", cid::Cid::try_from(root).map_err(text)?);
    while let Some(message) = asked.recv().await {
        if let Some(answer) = answer(&dag, &message) {
            stream.write_all(&answer).await.map_err(text)?;
            stream.flush().await.map_err(text)?;
        }
    }
    Ok(())
}
