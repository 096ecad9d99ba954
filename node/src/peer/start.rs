//! What a peer can be told before it starts, and starting it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, watch};

use super::driver::{Driver, State};
use super::portmap;
use super::remembered::{self, Remembered};
use super::{Inner, Node};
use crate::clock::Clock;
use crate::exchange;
use crate::ipns::{KeySource, Listener, MAX_WISHES, Names, NamesParts};
use crate::pubsub::link as pubsub;
use crate::routing::command::MAX_COMMANDS;
use crate::routing::desk::Offered;
use crate::routing::dht::Dht;
use crate::routing::records::Records;
use crate::routing::schedule::Schedule;
use crate::routing::{Expected, Network, Routers, Routing, Signs, Strategy, TableSizes};
use crate::store::{Blocks, Store, StoreError, Table};
use crate::swarm::{self, Bandwidth, ByteStreams, HttpStreams, NetworkKey, Refuses, StartError};
use crate::threads::blocking;

/// The public bootstrap peers of IPFS, as Kubo 0.43 has them, each also with the IP address that its DNS name last stood for: it
/// is found without DNS as well, and its id says whether it is who answers there.
pub const BOOTSTRAP_PEERS: [&str; 10] = [
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/ip4/139.178.91.71/tcp/4001/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/ip4/139.178.65.157/tcp/4001/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/ip4/147.75.87.27/tcp/4001/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "/ip4/145.40.118.135/tcp/4001/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "/dnsaddr/va1.bootstrap.libp2p.io/p2p/12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8",
    "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
];

/// Where a peer listens unless told otherwise: every interface, the port that IPFS peers use.
pub const DEFAULT_LISTEN: [&str; 4] = [
    "/ip4/0.0.0.0/tcp/4001",
    "/ip4/0.0.0.0/udp/4001/quic-v1",
    "/ip6/::/tcp/4001",
    "/ip6/::/udp/4001/quic-v1",
];

/// What a peer of this version calls itself to others.
pub const AGENT: &str = concat!("odfs/", env!("CARGO_PKG_VERSION"));
/// Connections open at the same time, unless told otherwise. A home router takes this without complaint.
const DEFAULT_MAX_CONNECTIONS: u32 = 96;
/// How long a connection that nobody uses or holds stays open, unless told otherwise.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long [`Builder::start`] waits for the first address. The kernel knows it already; this only covers the first turn
/// of the swarm on a busy machine.
const LISTEN_WAIT: Duration = Duration::from_secs(2);
/// How long it then waits until every listener has one. A wildcard without any interface never gets one.
const ALL_LISTEN_WAIT: Duration = Duration::from_millis(200);

/// A peer to be. Made by [`Node::builder`]; every setting has a default.
#[must_use = "a builder does nothing until `start`"]
pub struct Builder {
    blocks: Arc<dyn Blocks>,
    dht_table: Table,
    provide_table: Table,
    names_table: Table,
    peers_table: Table,
    keypair: Option<Keypair>,
    listen: Vec<Multiaddr>,
    port_fallback: bool,
    bootstrap: Vec<Multiaddr>,
    bootstrap_last: Vec<Multiaddr>,
    mdns: bool,
    port_mapping: bool,
    public: bool,
    serves_dht: bool,
    pubsub: bool,
    network_key: Option<NetworkKey>,
    streams: Option<ByteStreams>,
    strategy: Strategy,
    refuses: Option<Refuses>,
    max_connections: u32,
    bandwidth: Bandwidth,
    idle_timeout: Duration,
    agent: String,
    exchange: exchange::Config,
    keys: KeySource,
    routers: Routers,
    clock: Clock,
}

impl Node {
    /// A peer to be, on a durable store. Nothing is opened or dialled before [`Builder::start`].
    ///
    /// # Errors
    /// The store's tables cannot be opened.
    pub fn builder(store: &Store) -> Result<Builder, StoreError> {
        Builder::on_store(store)
    }

    /// A peer to be that keeps nothing but what `blocks` keeps: names, records and schedules are forgotten at the end.
    pub fn throwaway(blocks: Arc<dyn Blocks>) -> Builder {
        Builder::in_memory(blocks)
    }
}

impl Builder {
    fn on_store(store: &Store) -> Result<Self, StoreError> {
        let mut builder = Self::in_memory(Arc::new(store.clone()));
        builder.dht_table = store.table(crate::routing::records::TABLE)?;
        builder.provide_table = store.table(crate::routing::schedule::TABLE)?;
        builder.names_table = store.table(crate::ipns::TABLE)?;
        builder.peers_table = store.table(remembered::TABLE)?;
        Ok(builder)
    }

    fn in_memory(blocks: Arc<dyn Blocks>) -> Self {
        Self {
            blocks,
            dht_table: Table::in_memory(),
            provide_table: Table::in_memory(),
            names_table: Table::in_memory(),
            peers_table: Table::in_memory(),
            keypair: None,
            // Constants of this file, checked by a test.
            listen: DEFAULT_LISTEN.iter().filter_map(|text| text.parse().ok()).collect(),
            port_fallback: false,
            bootstrap: BOOTSTRAP_PEERS.iter().filter_map(|text| text.parse().ok()).collect(),
            bootstrap_last: Vec::new(),
            mdns: true,
            port_mapping: true,
            public: false,
            serves_dht: true,
            pubsub: true,
            network_key: None,
            streams: None,
            strategy: Strategy::default(),
            refuses: None,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            bandwidth: Bandwidth::default(),
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            agent: AGENT.to_owned(),
            exchange: exchange::Config::default(),
            keys: KeySource::none(),
            routers: Routers::default(),
            clock: Clock::system(),
        }
    }

    /// The peer's key. Default: a fresh one, so the peer has a new id each time.
    pub fn keypair(mut self, keypair: Keypair) -> Self {
        self.keypair = Some(keypair);
        self
    }

    /// Where to listen. Default: [`DEFAULT_LISTEN`]. Empty: nowhere; the peer can still fetch.
    pub fn listen(mut self, addresses: Vec<Multiaddr>) -> Self {
        self.listen = addresses;
        self
    }

    /// Whether a port in use is replaced by any free one, instead of [`StartError::AddressInUse`]. Default: no.
    pub fn port_fallback(mut self, yes: bool) -> Self {
        self.port_fallback = yes;
        self
    }

    /// The peers to ask for the way into the public DHT, dialled in the background after the start and again whenever
    /// nobody of it is known, a second after peers that are remembered from earlier runs. A peer may be there with several
    /// addresses. Default: [`BOOTSTRAP_PEERS`]. Empty: nobody is dialled unasked, unless [`Self::bootstrap_last`] names somebody.
    pub fn bootstrap(mut self, peers: Vec<Multiaddr>) -> Self {
        self.bootstrap = peers;
        self
    }

    /// More of them, for when nobody has answered a second after those of [`Self::bootstrap`]. Default: none.
    pub fn bootstrap_last(mut self, peers: Vec<Multiaddr>) -> Self {
        self.bootstrap_last = peers;
        self
    }

    /// Whether peers on the local network find each other by mDNS. Default: yes. A machine without multicast gets a
    /// warning in the log and goes on without.
    pub fn mdns(mut self, yes: bool) -> Self {
        self.mdns = yes;
        self
    }

    /// Whether a router that speaks UPnP is asked to lead a port here, if the peer is to be of a public network and listens at
    /// private addresses alone. Default: yes.
    pub fn port_mapping(mut self, yes: bool) -> Self {
        self.port_mapping = yes;
        self
    }

    /// Whether this peer helps others to be reached: it relays their connections, within the bounds of
    /// `docs/how-to/public-node.md`, and dials them back to tell them how they are seen. For a peer that everybody can reach.
    /// Default: no.
    pub fn public(mut self, yes: bool) -> Self {
        self.public = yes;
        self
    }

    /// Whether the public DHT is served while others get through to this peer. One on a link that costs money only asks, as
    /// one that nobody gets through to. Default: yes.
    pub fn serves_dht(mut self, yes: bool) -> Self {
        self.serves_dht = yes;
        self
    }

    /// Whether records of own and followed names are said and heard over PubSub, besides the DHTs. Default: yes.
    pub fn pubsub(mut self, yes: bool) -> Self {
        self.pubsub = yes;
        self
    }

    /// The key of the private network that this peer is of: it speaks with nobody who has another or none, and only over TCP.
    /// Peers remembered from it are dialled even where nobody is named by [`Self::bootstrap`]. Default: none, the public network.
    pub fn network_key(mut self, key: Option<NetworkKey>) -> Self {
        self.network_key = key;
        self
    }

    /// Who is asked over HTTP beside the DHTs. Default: nobody.
    pub fn routers(mut self, routers: Routers) -> Self {
        self.routers = routers;
        self
    }

    /// Has connections go over `streams` in place of TCP and QUIC: whatever it dials and listens on, as [`Self::listen`] and
    /// [`Self::bootstrap`] say. Names in addresses are not looked up then. For networks that are simulated. Default: the sockets of
    /// the system.
    pub fn over(mut self, streams: ByteStreams) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Which blocks of what is published others are told of. Default: [`Strategy::Entities`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Whom this peer never has a connection with. Default: nobody.
    pub fn refuse(mut self, refuses: impl Fn(&PeerId) -> bool + Send + Sync + 'static) -> Self {
        self.refuses = Some(Arc::new(refuses));
        self
    }

    /// Connections open at the same time, at most; peers named by [`Node::dial`] do not count. Default: 96.
    pub fn max_connections(mut self, limit: u32) -> Self {
        self.max_connections = limit;
        self
    }

    /// How much may be sent and received, over all connections together. Default: without a limit.
    pub fn bandwidth(mut self, bandwidth: Bandwidth) -> Self {
        self.bandwidth = bandwidth;
        self
    }

    /// How long a connection stays open on which nothing is under way. Connections to peers on the local network and to those
    /// named by [`Node::dial`] stay open anyway. Default: a minute.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// What the peer calls itself to others. Default: `odfs/` and the version.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// Settings of the block exchange.
    pub fn exchange(mut self, config: exchange::Config) -> Self {
        self.exchange = config;
        self
    }

    /// Where private keys of names are found when a record has to be signed again before it expires. Default: only
    /// those given to [`Names::publish`] since the start.
    pub fn keys(mut self, keys: KeySource) -> Self {
        self.keys = keys;
        self
    }

    /// Other tables: those of records, of announcements and of names.
    #[cfg(test)]
    pub(crate) fn tables(mut self, [records, announcements, names]: [Table; 3]) -> Self {
        (self.dht_table, self.provide_table, self.names_table) = (records, announcements, names);
        self
    }

    /// Another clock, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the peer inside the current tokio runtime. Never waits for the network: the first connections are made
    /// in the background.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(self) -> Result<Node, StartError> {
        let keypair = self.keypair.unwrap_or_else(Keypair::generate_ed25519);
        let local = keypair.public().to_peer_id();
        let (provide_table, dht_table, clock) = (self.provide_table, self.dht_table, self.clock.clone());
        let (peers_table, network_key) = (self.peers_table, self.network_key);
        let (schedule, [lan, wan], remembered) = blocking(move || {
            let schedule = Schedule::open(provide_table, clock.clone());
            let records = Records::open(&dht_table, &schedule, local, &clock);
            (
                schedule,
                records,
                Remembered::open(&peers_table, network_key.as_ref(), &clock),
            )
        })
        .await;

        let (behaviour, exchange) = exchange::new(Arc::clone(&self.blocks), self.exchange);
        let http = HttpStreams::default();
        let settings = swarm::Settings {
            keypair,
            agent: self.agent,
            mdns: self.mdns,
            public: self.public,
            pubsub: self.pubsub,
            max_connections: self.max_connections,
            idle_timeout: self.idle_timeout,
            network_key,
            bandwidth: self.bandwidth,
            http: http.clone(),
            streams: self.streams,
            refuses: self.refuses,
        };
        // What is done with all records, and value records, are shared by both.
        let records = lan.clone();
        let held = [lan.clone(), wan.clone()];
        let dhts = [Dht::new(Network::Lan, local, lan), Dht::new(Network::Wan, local, wan)];
        let mut swarm = swarm::build(settings, dhts, behaviour)?;
        let listeners = swarm::listen(&mut swarm, &self.listen, self.port_fallback)?;

        let (command_sender, commands) = mpsc::channel(MAX_COMMANDS);
        let (listening_sender, mut listening) = watch::channel(Vec::new());
        let (external_sender, external) = watch::channel(Vec::new());
        let (served_sender, served) = watch::channel(Vec::new());
        let (sizes_sender, sizes) = watch::channel(TableSizes::default());
        let (signs_sender, signs) = watch::channel(Signs::default());
        let (stop, stopped) = watch::channel(false);
        let expected = Expected {
            lan: self.mdns && listeners > 0,
            // Of a private network those who are remembered are dialled in any case.
            wan: network_key.is_some() || !(self.bootstrap.is_empty() && self.bootstrap_last.is_empty()),
        };
        let blocks = Arc::clone(&self.blocks);
        let announced = (blocks, self.strategy);
        let routing = Routing::new(
            command_sender.clone(),
            sizes,
            (schedule, held),
            announced,
            local,
            (expected, signs),
            self.routers,
        );
        let has_pubsub = swarm.behaviour().pubsub.is_enabled();
        let (link, swarm_end) = pubsub::pair();
        let (wishes, granted) = mpsc::channel(MAX_WISHES);
        let parts = NamesParts {
            table: self.names_table,
            records: records.clone(),
            routing: routing.clone(),
            gateways: exchange.gateways().clone(),
            keys: self.keys,
            clock: self.clock,
            wishes: has_pubsub.then_some(wishes),
        };
        let (names, inbox) = Names::open(parts);
        let listener = has_pubsub.then(|| Listener::new(names.clone(), link, granted));
        let offered: Arc<Offered> = Arc::new(move |key, value, owner| inbox.offer(key, value, owner));
        let behaviour = swarm.behaviour_mut();
        behaviour.lan.check_with(Arc::clone(&offered));
        behaviour.wan.check_with(offered);
        let driver = Driver {
            swarm,
            commands,
            stop: stopped.clone(),
            listening: listening_sender,
            external: external_sender,
            served: served_sender,
            sizes: sizes_sender,
            records: records.clone(),
            exchange: exchange.clone(),
            routing: routing.clone(),
            bootstrap: self.bootstrap,
            bootstrap_last: self.bootstrap_last,
            remembered: remembered.clone(),
            signs: signs_sender,
            public: self.public,
            serves_dht: self.serves_dht,
            private: network_key.is_some(),
            said: swarm_end.commands,
            heard: swarm_end.events,
            state: State::default(),
        };
        let listening_stop = stopped.clone();
        let mut tasks = vec![
            tokio::spawn(driver.run()),
            tokio::spawn(until_stopped(stopped.clone(), routing.clone().run_schedule())),
            tokio::spawn(until_stopped(stopped.clone(), names.clone().run_schedule())),
            tokio::spawn({
                let stopped = stopped.clone();
                async move {
                    until_stopped(stopped, remembered.clone().run_writer()).await;
                    blocking(move || remembered.write_out()).await;
                }
            }),
            tokio::spawn(async move {
                until_stopped(stopped, records.clone().run_writer()).await;
                blocking(move || records.write_out()).await;
            }),
        ];
        if self.port_mapping && expected.wan {
            let (commands, stopped) = (command_sender.clone(), listening_stop.clone());
            tasks.push(tokio::spawn(portmap::run(listening.clone(), commands, stopped)));
        }
        if let Some(listener) = listener {
            tasks.push(tokio::spawn(until_stopped(listening_stop, listener.run())));
        }
        if listeners > 0 {
            let _ = tokio::time::timeout(LISTEN_WAIT, listening.wait_for(|all| !all.is_empty())).await;
            let _ = tokio::time::timeout(ALL_LISTEN_WAIT, listening.wait_for(|all| all.len() >= listeners)).await;
        }
        Ok(Node {
            inner: Arc::new(Inner {
                peer_id: local,
                commands: command_sender,
                exchange,
                routing,
                names,
                blocks: self.blocks,
                listening,
                external,
                served,
                http,
                stop,
                tasks: Mutex::new(tasks),
            }),
        })
    }
}

async fn until_stopped(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_addresses() {
        for text in BOOTSTRAP_PEERS.iter().chain(&DEFAULT_LISTEN) {
            assert!(text.parse::<Multiaddr>().is_ok(), "{text}");
        }
    }
}
