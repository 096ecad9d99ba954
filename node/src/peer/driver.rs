//! The one task that owns the swarm.
//!
//! Everybody else holds the sending end of a bounded queue of [`Command`]s. The driver never waits for anything but the
//! swarm and that queue: answers go out through channels with room reserved or are dropped, and work that takes time is
//! spawned. Who belongs to which routing table is decided in [`neighbours`].

mod contact;
mod dial;
mod dialling;
mod joining;
mod neighbours;
mod observed;
mod pubsub;
mod reachable;
mod reaching;
mod redial;
mod refresh;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::kad::{self, QueryResult};
use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, mdns, ping};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use self::contact::Contact;
use self::dial::Dialling;
use self::observed::Observed;
use self::reachable::Reachable;
use self::redial::Redial;
use self::refresh::Refresh;
use super::remembered::Remembered;
use super::search::Search;
use crate::address::{Reach, prefer_tcp_nearby, reach, split_peer};
use crate::exchange;
use crate::pubsub::link::{Command as PubSubCommand, Event as PubSubEvent, Fetches};
use crate::routing::command::{Command, DialReply};
use crate::routing::dht::Dht;
use crate::routing::queries::Queries;
use crate::routing::records::Records;
use crate::routing::{DialError, Network, PeerInfo, Provider, Routing, Signs, TableSizes};
use crate::swarm::{Behaviour, BehaviourEvent, Compact};

/// Searches for providers that run for the exchange at the same time.
const MAX_SEARCHES: usize = 32;
/// Callers waiting for one dial; one more is told so.
const MAX_DIAL_WAITERS: usize = 1024;
/// How often it is noted which connections were used, and lost peers are dialled again.
const SHORT_TICK: Duration = Duration::from_secs(1);
/// How often walks that are no longer wanted are looked for, while there are walks.
const REAP_TICK: Duration = Duration::from_millis(200);
/// How often housekeeping runs.
const TICK: Duration = Duration::from_secs(10);
/// How often expired records are dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// How long after its last announcement a peer stays up at most, so that the message is really sent.
const FLUSH: Duration = Duration::from_millis(500);
/// How long at least, besides [`FLUSH_ROUND_TRIPS`] to the slowest peer.
const FLUSH_AT_LEAST: Duration = Duration::from_millis(50);
/// To open a stream, agree on its protocol and send the message takes two; as many again are for a peer that is busy.
const FLUSH_ROUND_TRIPS: u32 = 4;

struct Connected {
    info: PeerInfo,
    connections: HashMap<ConnectionId, Multiaddr>,
    /// Those of them that a relay carries.
    relayed: HashSet<ConnectionId>,
    dialled: Option<Multiaddr>,
    /// How often it said what it is, since when.
    claims: (u32, Instant),
    /// Those who asked for this peer by name, until it has said what it speaks: only then can it be asked anything.
    waiting: Vec<DialReply>,
}

impl Connected {
    /// Answers dials of this peer: at once, or for a peer named by the user when it has said what it speaks.
    fn answer(&mut self, named: bool, mut replies: Vec<DialReply>) {
        if named && self.info.agent.is_none() && self.waiting.len() < MAX_DIAL_WAITERS {
            self.waiting.append(&mut replies);
        }
        for reply in replies {
            let _ = reply.send(Ok(self.info.peer));
        }
    }
}

/// See the module's words.
pub(crate) struct Driver {
    pub(crate) swarm: Swarm<Compact<Behaviour>>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) listening: watch::Sender<Vec<Multiaddr>>,
    /// Where several networks on the internet see this peer.
    pub(crate) external: watch::Sender<Vec<Multiaddr>>,
    /// Where it speaks HTTP.
    pub(crate) served: watch::Sender<Vec<Multiaddr>>,
    pub(crate) sizes: watch::Sender<TableSizes>,
    pub(crate) records: Records,
    pub(crate) exchange: exchange::Handle,
    pub(crate) routing: Routing,
    pub(crate) bootstrap: Vec<Multiaddr>,
    pub(crate) bootstrap_last: Vec<Multiaddr>,
    pub(crate) remembered: Remembered,
    pub(crate) signs: watch::Sender<Signs>,
    /// Whether others are helped to be reached.
    pub(crate) public: bool,
    /// Whether others may ask this peer as a server of the public DHT.
    pub(crate) serves_dht: bool,
    /// Whether this is a private network: who is remembered is of it.
    pub(crate) private: bool,
    pub(crate) said: mpsc::Receiver<PubSubCommand>,
    pub(crate) heard: mpsc::Sender<PubSubEvent>,
    pub(crate) state: State,
}

/// What the driver remembers between events.
pub(crate) struct State {
    queries: Queries,
    /// Who waits for peers to have read what they are told. As many as there are callers, who are bounded where they are made.
    telling: HashMap<(Network, OutboundRequestId), oneshot::Sender<bool>>,
    dials: HashMap<ConnectionId, Dialling>,
    peers: HashMap<PeerId, Connected>,
    named: HashSet<PeerId>,
    redial: Redial,
    observed: Observed,
    /// Addresses that the router leads here.
    mapped: Vec<Multiaddr>,
    reachable: Reachable,
    /// Who has a place at this relay.
    relayed_for: HashSet<PeerId>,
    /// Who spoke of itself last: what libp2p says next of where we are seen is from this peer.
    identified: Option<PeerId>,
    searches: Arc<Semaphore>,
    fetches: Fetches,
    announced_at: Option<Instant>,
    refresh: Refresh,
    sweep_at: Instant,
    contact: Contact,
    /// Remembered peers that were dialled since all of them were.
    tried: HashSet<PeerId>,
}

impl Default for State {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            queries: Queries::default(),
            telling: HashMap::new(),
            dials: HashMap::new(),
            peers: HashMap::new(),
            named: HashSet::new(),
            redial: Redial::default(),
            observed: Observed::default(),
            mapped: Vec::new(),
            reachable: Reachable::default(),
            relayed_for: HashSet::new(),
            identified: None,
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
            fetches: Fetches::new(),
            announced_at: None,
            refresh: Refresh::new(now),
            sweep_at: now + SWEEP_INTERVAL,
            contact: Contact::new(false, false, now),
            tried: HashSet::new(),
        }
    }
}

impl State {
    /// When the last announcement can be taken for sent. A peer whose round trip is not known may be a slow one.
    fn announced_until(&self) -> Option<Instant> {
        let mut round_trips = self.peers.values().map(|peer| peer.info.latency);
        let slowest = round_trips.try_fold(Duration::ZERO, |slowest, rtt| Some(slowest.max(rtt?)));
        let wait = slowest.map_or(FLUSH, |rtt| FLUSH.min(FLUSH_AT_LEAST + FLUSH_ROUND_TRIPS * rtt));
        Some(self.announced_at? + wait)
    }
}

impl Driver {
    /// Runs until told to stop, or until every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut short_tick = tokio::time::interval(SHORT_TICK);
        short_tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reap = tokio::time::interval(REAP_TICK);
        reap.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.begin_contact();
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                Some(command) = self.said.recv() => self.on_pubsub_command(command),
                _ = tick.tick() => self.on_tick(),
                () = self.state.contact.turn() => self.on_contact(),
                _ = short_tick.tick(), if !self.state.peers.is_empty() || !self.state.redial.is_empty() => {
                    self.on_short_tick();
                }
                _ = reap.tick(), if !self.state.queries.is_empty() => {
                    let behaviour = self.swarm.behaviour_mut();
                    self.state.queries.reap(Network::Lan, &mut behaviour.lan);
                    self.state.queries.reap(Network::Wan, &mut behaviour.wan);
                }
                changed = self.stop.changed() => if changed.is_err() || *self.stop.borrow() { break },
            }
        }
        // libp2p counts an announcement as made when it is queued, and nobody answers it. A command that announces and ends
        // would take it back.
        while let Some(until) = self.state.announced_until()
            && let Ok(event) = tokio::time::timeout_at(until, self.swarm.select_next_some()).await
        {
            self.on_event(event);
        }
        tracing::debug!("the peer has stopped");
    }

    fn dht(&mut self, network: Network) -> &mut Dht {
        let behaviour = self.swarm.behaviour_mut();
        match network {
            Network::Lan => &mut behaviour.lan,
            Network::Wan => &mut behaviour.wan,
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial {
                peer,
                addresses,
                named,
                reply,
            } => self.dial(peer, addresses, named, reply),
            Command::Disconnect { peer, reply } => {
                self.state.named.remove(&peer);
                self.state.redial.forget(&peer);
                self.swarm.behaviour_mut().hold.release(&peer);
                self.swarm.behaviour_mut().admission.forget(&peer);
                let _ = reply.send(self.swarm.disconnect_peer_id(peer).is_ok());
            }
            Command::Peers { reply } => {
                let _ = reply.send(self.state.peers.values().map(|peer| peer.info.clone()).collect());
            }
            Command::Mapped { addresses } => self.on_mapped(addresses),
            Command::Serves { addresses } => {
                let behaviour = self.swarm.behaviour_mut();
                behaviour.lan.serves(&addresses);
                behaviour.wan.serves(&addresses);
                self.served.send_replace(addresses);
            }
            Command::Reachable { reply } => {
                let _ = reply.send(self.state.reachable.standing(Instant::now()));
            }
            Command::Walk { network, walk } => {
                let behaviour = self.swarm.behaviour_mut();
                let dht = match network {
                    Network::Lan => &mut behaviour.lan,
                    Network::Wan => &mut behaviour.wan,
                };
                self.state.queries.start(network, dht, walk);
            }
            Command::Tell {
                network,
                peer,
                addresses,
                keys,
                reply,
            } => self.tell_of(network, Provider { peer, addresses }, keys, reply),
        }
    }

    fn on_short_tick(&mut self) {
        let behaviour = self.swarm.behaviour_mut();
        let (mut connections, mut peers) = (behaviour.lan.take_active(), behaviour.exchange.take_in_use());
        peers.extend(&self.state.relayed_for);
        peers.extend(behaviour.http.in_use());
        connections.extend(behaviour.wan.take_active());
        behaviour.admission.used(connections, &peers);
        if let Some(mesh) = behaviour.pubsub.as_ref().map(|pubsub| pubsub.gossip.mesh()) {
            behaviour.admission.used([], &mesh);
        }
        self.look_whether_reached();
        for (peer, addresses) in self.state.redial.due(Instant::now()) {
            tracing::debug!(%peer, "dialling again");
            let options = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(prefer_tcp_nearby(addresses))
                .extend_addresses_through_behaviour();
            self.start_dial(peer, options.build());
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        let behaviour = self.swarm.behaviour_mut();
        let table = Network::BOTH.map(|network| match network {
            Network::Lan => behaviour.lan.table(),
            Network::Wan => behaviour.wan.table(),
        });
        let table = table.into_iter().flatten().map(|(peer, _)| peer).collect();
        behaviour.admission.set_table(table);
        self.on_contact();
        if self.state.refresh.is_due(now) {
            for network in Network::BOTH {
                // Refuses when the table is empty, and then there is nothing to refresh.
                let _ = self.dht(network).bootstrap();
            }
        }
        if now >= self.state.sweep_at {
            self.state.sweep_at = now + SWEEP_INTERVAL;
            // Costs what is dropped, and no disk.
            self.records.sweep();
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::debug!(%address, "listening");
                self.have_dialled_back(&address);
                if self.public && reach(&address) > Reach::Loopback {
                    // A relay offers nothing while it knows no address of its own that others reach, and this is one.
                    self.swarm.add_external_address(address.clone());
                }
                if reach(&address) > Reach::Loopback {
                    // A network has come up: those who could not be reached before are tried again at once.
                    self.state.contact.hurry(Instant::now());
                }
                self.listening.send_modify(|all| {
                    if !all.contains(&address) {
                        all.push(address);
                    }
                });
            }
            SwarmEvent::ExternalAddrConfirmed { .. } => self.note_external(),
            SwarmEvent::ExternalAddrExpired { address } => self.on_address_gone(&address),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.on_address_gone(&address);
                self.swarm.remove_external_address(&address);
                self.listening.send_modify(|all| all.retain(|one| *one != address));
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                addresses,
                reason,
            } => {
                let relayed = self.on_listener_closed(listener_id);
                if let (Err(error), false) = (reason, relayed) {
                    tracing::warn!(%error, ?addresses, "no longer listening");
                }
                self.listening
                    .send_modify(|all| all.retain(|one| !addresses.contains(one)));
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                ..
            } => {
                if num_established == 0 {
                    self.state.reachable.gone(&peer_id);
                    self.state.relayed_for.remove(&peer_id);
                    let gone = self.state.peers.remove(&peer_id);
                    if self.state.named.contains(&peer_id) {
                        let address = gone.as_ref().and_then(|peer| peer.dialled.clone());
                        let addresses = address.into_iter().collect();
                        self.state.redial.lost(peer_id, addresses, Instant::now());
                    } else {
                        // Room for the next neighbour.
                        self.swarm.behaviour_mut().hold.release(&peer_id);
                    }
                    for reply in gone.into_iter().flat_map(|peer| peer.waiting) {
                        let _ = reply.send(Err(DialError::Unreachable {
                            reason: "it hung up at once".to_owned(),
                        }));
                    }
                    if self.state.peers.is_empty() {
                        self.state.contact.lost(Instant::now());
                    }
                } else if let Some(peer) = self.state.peers.get_mut(&peer_id) {
                    peer.connections.remove(&connection_id);
                    peer.relayed.remove(&connection_id);
                    peer.info.addresses = peer.connections.values().cloned().collect();
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::NewExternalAddrCandidate { address } => self.on_observed(address),
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let remote = endpoint.get_remote_address().clone();
        let local = match endpoint {
            ConnectedPoint::Listener { local_addr, .. } => Some(local_addr),
            ConnectedPoint::Dialer { .. } => None,
        };
        self.on_reached(local, &remote);
        let entry = self.state.peers.entry(peer).or_insert_with(|| Connected {
            info: PeerInfo {
                peer,
                addresses: Vec::new(),
                agent: None,
                dialled_by_us: endpoint.is_dialer(),
                latency: None,
            },
            connections: HashMap::new(),
            relayed: HashSet::new(),
            dialled: None,
            claims: (0, Instant::now()),
            waiting: Vec::new(),
        });
        if endpoint.is_relayed() {
            entry.relayed.insert(connection);
        }
        if endpoint.is_dialer() && !endpoint.is_relayed() {
            entry.dialled = Some(split_peer(remote.clone()).0);
        }
        entry.connections.insert(connection, remote);
        entry.info.addresses = entry.connections.values().cloned().collect();

        let mut answered = Vec::new();
        self.state.dials.retain(|id, dial| {
            let done = *id == connection || dial.peer == Some(peer);
            if done {
                answered.append(&mut dial.waiting);
            }
            !done
        });
        self.state.redial.forget(&peer);
        let named = self.state.named.contains(&peer);
        entry.answer(named, answered);
        self.show_signs();
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => {
                self.swarm.behaviour_mut().admission.identified(&connection_id);
                self.on_identified(peer_id, info);
                self.show_signs();
            }
            BehaviourEvent::Identify(identify::Event::Error { peer_id, .. }) => {
                // It does not speak identify, or not well. It is connected all the same.
                if let Some(peer) = self.state.peers.get_mut(&peer_id) {
                    let waiting = std::mem::take(&mut peer.waiting);
                    peer.answer(false, waiting);
                }
            }
            BehaviourEvent::Autonat(event) => self.on_dialled_back(event),
            BehaviourEvent::Relayed(event) => self.on_relayed(event),
            BehaviourEvent::Holes(event) => self.on_hole(event),
            BehaviourEvent::Relay(event) => self.on_relay(event),
            BehaviourEvent::Lan(event) => self.on_kad(Network::Lan, event),
            BehaviourEvent::Wan(event) => self.on_kad(Network::Wan, event),
            BehaviourEvent::TellLan(event) => self.on_told(Network::Lan, event),
            BehaviourEvent::TellWan(event) => self.on_told(Network::Wan, event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                let mut by_peer: HashMap<PeerId, Vec<Multiaddr>> = HashMap::new();
                for (peer, address) in found {
                    if reach(&address) != Reach::Nowhere {
                        by_peer.entry(peer).or_default().push(split_peer(address).0);
                    }
                }
                for (peer, addresses) in by_peer {
                    tracing::debug!(%peer, ?addresses, "found on the local network");
                    self.dial_neighbour(peer, addresses);
                }
            }
            BehaviourEvent::Ping(ping::Event {
                peer,
                result: Ok(latency),
                ..
            }) => {
                self.remembered.alive(&peer, Instant::now());
                if let Some(peer) = self.state.peers.get_mut(&peer) {
                    peer.info.latency = Some(latency);
                }
            }
            BehaviourEvent::Pubsub(event) => self.on_pubsub(event),
            BehaviourEvent::Exchange(exchange::Event::NeedProviders { session, cid }) => {
                let search = Search::new(self.routing.clone(), self.exchange.clone(), session, !self.private);
                tokio::spawn(search.run(cid, Arc::clone(&self.state.searches), self.stop.clone()));
            }
            _ => {}
        }
    }

    fn on_kad(&mut self, network: Network, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed {
                id,
                result,
                stats,
                step,
            } => {
                let hops = match step.last {
                    true => self.dht(network).take_hops(id),
                    false => 0,
                };
                match result {
                    QueryResult::Bootstrap(_) => {
                        self.routing.note_refresh(stats.num_requests());
                        if !step.last {
                            self.dht(network).refresh_goes_on(id, Instant::now());
                        }
                        return;
                    }
                    QueryResult::StartProviding(Ok(_)) if stats.num_successes() > 0 => {
                        self.state.announced_at = Some(Instant::now());
                    }
                    _ => {}
                }
                if step.last {
                    self.routing
                        .note_walk(stats.num_requests(), stats.num_successes(), hops);
                }
                let behaviour = self.swarm.behaviour_mut();
                let dht = match network {
                    Network::Lan => &mut behaviour.lan,
                    Network::Wan => &mut behaviour.wan,
                };
                self.state
                    .queries
                    .progress(network, dht, id, result, step, stats.num_successes());
            }
            kad::Event::RoutingUpdated { .. } => self.count(network),
            _ => {}
        }
    }
}
