//! How fast blocks move between two processes on this machine, over Bitswap, noise and yamux (or QUIC) on loopback.
//!
//! ```text
//! bitswap_throughput                [MIB] [BLOCK_BYTES] [tcp|quic]   both sides, and the figures
//! bitswap_throughput provide        [MIB] [BLOCK_BYTES] [tcp|quic]   one side: prints its address and serves
//! bitswap_throughput from ADDRESS   [MIB] [BLOCK_BYTES]              the other side, from whoever has the blocks
//! bitswap_throughput write FILE     [MIB] [BLOCK_BYTES]              the blocks as one file, for other programs
//! ```
//!
//! The defaults are 1024 MiB in blocks of 1 MiB over TCP. Both sides of the first form are processes; the provider
//! holds the blocks in memory, the fetching side checks every block and drops it. To measure a Kubo node, give it
//! the file with `ipfs add --cid-version 1 --raw-leaves --chunker size-BLOCK_BYTES` and fetch from its address.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{self, StreamExt as _};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, identify, noise, tcp, yamux};
use odf_node::block::{Block, RAW};
use odf_node::exchange::{self, Config, Handle};
use odf_node::store::{Blocks as _, MemoryStore};

/// How many fetches are under way at once.
const CONCURRENT: usize = 4096;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    exchange: exchange::Behaviour,
}

struct Plan {
    mib: usize,
    block: usize,
    quic: bool,
}

impl Plan {
    fn blocks(&self) -> impl Iterator<Item = Outcome<Block>> {
        let (count, len) = ((self.mib << 20) / self.block, self.block);
        (0..count).map(move |at| {
            let mut data = vec![0u8; len];
            let mut state = at as u64 ^ 0x9e37_79b9_7f4a_7c15;
            for chunk in data.chunks_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
            }
            Ok(Block::new(RAW, data)?)
        })
    }
}

fn start(store: MemoryStore) -> Outcome<(Swarm<Behaviour>, Handle)> {
    let (exchange, handle) = exchange::new(Arc::new(store), Config::default());
    let swarm = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_quic()
        .with_behaviour(|key| Behaviour {
            identify: identify::Behaviour::new(identify::Config::new("ipfs/0.1.0".to_owned(), key.public())),
            exchange,
        })?
        .build();
    Ok((swarm, handle))
}

async fn provide(plan: &Plan) -> Outcome<()> {
    let store = MemoryStore::new();
    for block in plan.blocks() {
        store.put(&[block?])?;
    }
    let (mut swarm, _handle) = start(store)?;
    let address = if plan.quic {
        "/ip4/127.0.0.1/udp/0/quic-v1"
    } else {
        "/ip4/127.0.0.1/tcp/0"
    };
    swarm.listen_on(address.parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            println!("{}", address.with(Protocol::P2p(*swarm.local_peer_id())));
            std::io::stdout().flush()?;
        }
    }
}

async fn fetch(plan: &Plan, address: Multiaddr) -> Outcome<()> {
    let cids = plan
        .blocks()
        .map(|block| Ok(*block?.cid()))
        .collect::<Outcome<Vec<_>>>()?;
    let Some(Protocol::P2p(provider)) = address.iter().last() else {
        return Err("no peer id".into());
    };
    let (mut swarm, handle) = start(MemoryStore::new())?;
    swarm.dial(address)?;
    while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    tokio::spawn(async move { while swarm.next().await.is_some() {} });

    let session = handle.session();
    session.add_provider(provider);
    let begin = Instant::now();
    let mut fetches = stream::iter(&cids)
        .map(|cid| session.fetch(cid))
        .buffer_unordered(CONCURRENT);
    while let Some(block) = fetches.next().await {
        block?;
    }
    let (seconds, stats) = (begin.elapsed().as_secs_f64(), handle.stats());
    println!(
        "{} blocks of {} bytes in {seconds:.3} s: {:.0} MB/s, {:.0} blocks/s, {} duplicates",
        stats.blocks_received,
        plan.block,
        stats.bytes_received as f64 / 1e6 / seconds,
        stats.blocks_received as f64 / seconds,
        stats.duplicates,
    );
    Ok(())
}

fn write(plan: &Plan, file: &str) -> Outcome<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(file)?);
    for block in plan.blocks() {
        file.write_all(block?.data())?;
    }
    Ok(file.flush()?)
}

async fn measure(plan: &Plan, args: &[String]) -> Outcome<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("provide")
        .args(args)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut address)?;
    }
    let outcome = fetch(plan, address.trim().parse()?).await;
    child.kill()?;
    child.wait()?;
    outcome
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let word = args.first().filter(|arg| arg.parse::<usize>().is_err()).cloned();
    let taken = match word.as_deref() {
        None => 0,
        Some("provide") => 1,
        Some(_) => 2,
    };
    let words: Vec<String> = args.drain(..taken.min(args.len())).collect();
    let number = |at: usize, default| args.get(at).map_or(Ok(default), |arg| arg.parse());
    let quic = args.get(2).is_some_and(|arg| arg == "quic");
    let plan = Plan {
        mib: number(0, 1024)?,
        block: number(1, 1 << 20)?,
        quic,
    };
    match (word.as_deref(), words.get(1)) {
        (None, _) => measure(&plan, &args).await,
        (Some("provide"), _) => provide(&plan).await,
        (Some("from"), Some(address)) => fetch(&plan, address.parse()?).await,
        (Some("write"), Some(file)) => write(&plan, file),
        _ => Err("see the head of this file for the arguments".into()),
    }
}
