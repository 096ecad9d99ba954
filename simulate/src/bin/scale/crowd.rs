//! Peers that found each other through a few that everybody knows.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use odf_node::block::sha2_256;
use odf_node::peer::{Builder, Node};
use odf_node::routing::{Network as Dht, Walked};
use odf_node::store::MemoryStore;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use simulate::network::Network;
use simulate::network::wire::Wire;
use tokio::time::{Instant, sleep};

/// Where every peer listens.
const PORT: u16 = 4001;
/// One peer of so many is known to all who come, and has others find out whether they are reached.
const KNOWN_ONE_OF: usize = 25;
/// How many are known at least.
const LEAST_KNOWN: usize = 4;
/// How many of those a peer is told when it comes.
const TOLD: usize = 8;
/// Connections of one that is known to all: with fewer than come to it at a time nobody gets in. Others have as many as the
/// product has unless told otherwise, and for as long.
const CONNECTIONS_OF_KNOWN: u32 = 768;
/// How many peers come until it is said again how many there are.
const SAY_AFTER: usize = 50;
/// Peers that come at the same time.
const AT_ONCE: usize = 24;
/// How long a peer may take to become a server of the DHT.
const JOIN_WITHIN: Duration = Duration::from_secs(300);
/// After the last one has come: the first refresh of its tables has begun by then.
const SETTLE: Duration = Duration::from_secs(12);

/// One peer and where it is.
pub(crate) struct Member {
    pub(crate) node: Node,
    at: Ipv4Addr,
    is_known: bool,
}

/// What all peers together have spent on joining, and on looking around afterwards.
#[derive(Default)]
pub(crate) struct Joining {
    /// Of a processor.
    pub(crate) processor: Duration,
    pub(crate) connections: u64,
    pub(crate) walks: u64,
    pub(crate) messages: u64,
}

/// All peers that run, on one network.
pub(crate) struct Crowd {
    network: Network,
    pub(crate) members: Vec<Member>,
    size: usize,
    /// Peers that came so far.
    came: usize,
    /// The addresses that everybody is told some of.
    known: Vec<Multiaddr>,
    /// How long it took until the last one had joined, and what it has cost.
    pub(crate) took: Duration,
    pub(crate) joining: Joining,
    /// What the walks of those that are gone have cost.
    gone: Walked,
}

impl Crowd {
    /// So many peers, joined.
    pub(crate) async fn gather(size: usize) -> Result<Self, String> {
        let mut crowd = Self {
            network: Network::new(1),
            members: Vec::new(),
            size,
            came: 0,
            known: Vec::new(),
            took: Duration::ZERO,
            joining: Joining::default(),
            gone: Walked::default(),
        };
        let began = Instant::now();
        for _ in 0..(size / KNOWN_ONE_OF).max(LEAST_KNOWN).min(size) {
            let member = crowd.start(true).await?;
            crowd.known.extend(member.node.listen_addrs());
            crowd.members.push(member);
        }
        crowd.fill_up().await?;
        crowd.took = began.elapsed();
        let walked = crowd.walked();
        crowd.joining = Joining {
            processor: processor_time(),
            connections: crowd.network.made(),
            walks: walked.refreshes,
            messages: walked.refresh_messages,
        };
        Ok(crowd)
    }

    /// What has connections at an address of its own, in an IP group of its own.
    fn next_place(&mut self) -> Ipv4Addr {
        let number = self.came as u32;
        self.came += 1;
        let at = Ipv4Addr::new(
            20 + (number % 79) as u8,
            (number / 79 % 256) as u8,
            (number / 20_224) as u8,
            1,
        );
        self.network.switch_on(at, false);
        at
    }

    /// A peer to be at `at`, with the settings that all have.
    fn settle_at(&self, at: Ipv4Addr, builder: Builder) -> Builder {
        let mut random = rand::rng();
        builder
            .listen(vec![Multiaddr::from(at).with(Protocol::Tcp(PORT))])
            .bootstrap(self.known.sample(&mut random, TOLD).cloned().collect())
            .mdns(false)
            .port_mapping(false)
            .pubsub(false)
            .over(Wire::new(self.network.clone(), at).streams())
    }

    async fn start(&mut self, is_known: bool) -> Result<Member, String> {
        let at = self.next_place();
        self.prepare(at, is_known).await
    }

    fn prepare(&self, at: Ipv4Addr, is_known: bool) -> impl Future<Output = Result<Member, String>> + use<> {
        let mut builder = self.settle_at(at, Node::throwaway(Arc::new(MemoryStore::default())));
        if is_known {
            builder = builder.public(true).max_connections(CONNECTIONS_OF_KNOWN);
        }
        async move {
            let node = builder.start().await.map_err(|error| format!("a peer: {error}"))?;
            Ok(Member { node, at, is_known })
        }
    }

    /// Peers come until there are as many as there should be, and have joined.
    pub(crate) async fn fill_up(&mut self) -> Result<(), String> {
        let places: Vec<Ipv4Addr> = (self.members.len()..self.size).map(|_| self.next_place()).collect();
        let wanted_known = (self.size / KNOWN_ONE_OF).max(LEAST_KNOWN);
        let lacking = wanted_known.saturating_sub(self.members.iter().filter(|member| member.is_known).count());
        let coming = places
            .into_iter()
            .enumerate()
            .map(|(number, at)| self.prepare(at, number < lacking));
        let mut coming = futures::stream::iter(coming.collect::<Vec<_>>())
            .map(|member| async move {
                let member = member.await?;
                member.joined().await?;
                Ok::<_, String>(member)
            })
            .buffer_unordered(AT_ONCE);
        while let Some(member) = coming.next().await {
            self.members.push(member?);
            if self.members.len().is_multiple_of(SAY_AFTER) {
                let (peers, took, memory) = (self.members.len(), processor_time().as_secs(), resident() >> 20);
                let (made, sent) = (self.network.made(), self.walked().refresh_messages);
                tell(&format!(
                    "{peers} peers after {took} s of a processor: {memory} MiB, {made} connections made, {sent} messages"
                ));
            }
        }
        drop(coming);
        for member in &self.members {
            member.joined().await?;
        }
        sleep(SETTLE).await;
        Ok(())
    }

    /// A third of all is switched off from one moment to the next.
    pub(crate) async fn lose_a_third(&mut self) {
        self.members.shuffle(&mut rand::rng());
        let gone = self.members.split_off(self.members.len() - self.members.len() / 3);
        for member in &gone {
            self.network.cut_power(member.at);
        }
        for member in gone {
            add(&mut self.gone, member.node.routing().walked());
            member.node.shutdown().await;
        }
    }

    /// Somebody of them, but not `other`.
    pub(crate) fn somebody(&self, other: Option<&Node>) -> Node {
        let mut random = rand::rng();
        loop {
            if let Some(member) = self.members.choose(&mut random)
                && other.is_none_or(|other| other.peer_id() != member.node.peer_id())
            {
                return member.node.clone();
            }
        }
    }

    /// One more peer, with its schedule on a disk; it has joined.
    pub(crate) async fn join(&mut self, builder: Builder) -> Result<Node, String> {
        let at = self.next_place();
        let builder = self.settle_at(at, builder).max_connections(CONNECTIONS_OF_KNOWN);
        let node = builder.start().await.map_err(|error| format!("a peer: {error}"))?;
        let member = Member {
            node,
            at,
            is_known: false,
        };
        member.joined().await?;
        sleep(SETTLE).await;
        Ok(member.node)
    }

    /// What all walks have cost so far.
    pub(crate) fn walked(&self) -> Walked {
        let mut sum = self.gone;
        for member in &self.members {
            add(&mut sum, member.node.routing().walked());
        }
        sum
    }

    /// Which of them is closest to a key.
    pub(crate) fn closest(&self, key: &[u8]) -> Option<PeerId> {
        let to = sha2_256(key);
        let distance = |node: &Node| -> Vec<u8> {
            let place = sha2_256(&node.peer_id().to_bytes());
            place.digest().iter().zip(to.digest()).map(|(a, b)| a ^ b).collect()
        };
        let nodes = self.members.iter().map(|member| &member.node);
        nodes.min_by_key(|node| distance(node)).map(Node::peer_id)
    }

    /// Connections of one of them, on average.
    pub(crate) async fn connections(&self) -> f64 {
        let mut sum = 0;
        for member in &self.members {
            sum += member.node.peers().await.len();
        }
        sum as f64 / self.members.len() as f64
    }

    /// Peers in the routing table of one of them, on average.
    pub(crate) fn tables(&self) -> f64 {
        let sizes = self
            .members
            .iter()
            .map(|member| member.node.routing().table_sizes().wan);
        sizes.sum::<usize>() as f64 / self.members.len() as f64
    }
}

impl Member {
    /// Waits until it knows somebody and serves the DHT.
    async fn joined(&self) -> Result<(), String> {
        let began = Instant::now();
        while self.node.routing().table_sizes().target() != Some(Dht::Wan) || !self.node.reachability().await.reached {
            if began.elapsed() > JOIN_WITHIN {
                return Err(format!("{} has not joined within {JOIN_WITHIN:?}", self.at));
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}

fn add(sum: &mut Walked, more: Walked) {
    sum.walks += more.walks;
    sum.messages += more.messages;
    sum.answered += more.answered;
    sum.hops += more.hops;
    sum.refreshes += more.refreshes;
    sum.refresh_messages += more.refresh_messages;
}

/// Memory of this process, in bytes; 0 where that cannot be read.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// What this process has had of processors so far; 0 where that cannot be read.
pub(crate) fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which is in parentheses: the 12th and the 13th, in hundredths of a second.
    let rest = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = rest.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// Says how far it is.
#[allow(clippy::print_stderr)]
pub(crate) fn tell(what: &impl fmt::Display) {
    eprintln!("{what}");
}
