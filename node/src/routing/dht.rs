//! One Kademlia DHT as a behaviour of its own: libp2p's, with the settings of the Amino network and a guard on
//! addresses.
//!
//! A peer runs two of these, as Kubo does. They differ in protocol name, in mode, and in which addresses they tell
//! others and accept: the wide-area one deals in public addresses only, so nobody is told to dial `192.168.…`, and
//! nobody can make us dial inside our own network. libp2p's behaviour has neither rule, hence this wrapper. What others ask
//! passes the [desk](super::desk) before it reaches libp2p.

mod closest;
mod hops;
mod requests;

use std::collections::HashSet;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad::{self, BucketInserts, Caching, K_VALUE, Mode, QueryId, StoreInserts};
use libp2p::swarm::behaviour::{ExternalAddrConfirmed, ExternalAddrExpired};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use self::closest::closest;
use self::hops::Hops;
use super::desk::{Desk, FromPeer, Offered, Outcome, Request, ToPeer, refusal};
use super::network::{Network, PROVIDER_TTL};
use super::records::Records;
use crate::address::{is_http, prefer_tcp_nearby, reach, split_peer};

/// Requests in flight of one walk; Kubo's alpha.
const PARALLELISM: NonZeroUsize = NonZeroUsize::new(10).expect("not zero");
/// The largest answer of the DHT protocol; [requests] are smaller. An honest answer names 40 peers, each with some dozens of addresses of up
/// to 150 bytes: libp2p's 16 KiB cut that off, and the 4 MiB of go-libp2p-kad-dht are a gift to whoever fills streams.
const MAX_PACKET_BYTES: usize = 512 << 10;
/// Ceiling on one walk. Callers have deadlines of their own, which are shorter.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long buckets are not looked for again. Refreshes begin more often than that: in the first minutes of a peer, and libp2p
/// begins one whenever it meets somebody while it knows fewer than twenty.
const BUCKETS_FRESH: Duration = Duration::from_secs(300);
/// Addresses that libp2p keeps of us to tell to others.
const MAX_TOLD: usize = 20;

/// A DHT: see the module's words.
pub(crate) struct Dht {
    network: Network,
    kad: kad::Behaviour<Records>,
    /// What others of this network are told about where we are, and whether we listen there ourselves.
    told: Vec<(Multiaddr, bool)>,
    /// Connections on which something was asked or answered since [`Dht::take_active`].
    active: HashSet<ConnectionId>,
    desk: Desk,
    /// What is to be told to connections before anything else.
    answers: VecDeque<(PeerId, ConnectionId, ToPeer)>,
    hops: Hops,
    /// Which refresh looked last for somebody for each bucket, and when it began to.
    buckets: Option<(QueryId, Instant)>,
}

impl Dht {
    /// A DHT with an empty routing table. The LAN one serves others from the start; the WAN one is a client until
    /// [`Dht::serve`].
    pub(crate) fn new(network: Network, local: PeerId, records: Records) -> Self {
        let mut config = kad::Config::new(network.protocol());
        config
            .set_parallelism(PARALLELISM)
            .set_max_packet_size(MAX_PACKET_BYTES)
            .set_query_timeout(QUERY_TIMEOUT)
            // The store is asked for each, and refuses what the desk has not let through.
            .set_record_filtering(StoreInserts::Unfiltered)
            .set_kbucket_inserts(BucketInserts::Manual)
            .set_caching(Caching::Enabled {
                max_peers: K_VALUE.get() as u16,
            })
            // How long others' value records are kept is for those to say who check them. With a time here, libp2p would confirm
            // what it takes for expired.
            .set_record_ttl(None)
            .set_provider_record_ttl(Some(PROVIDER_TTL))
            // Republishing is done by schedules that know what is ours and outlive the process; refreshing of buckets
            // by the driver, which knows whether there is anybody to ask.
            .set_replication_interval(None)
            .set_publication_interval(None)
            .set_provider_publication_interval(None)
            .set_periodic_bootstrap_interval(None);
        let mut kad = kad::Behaviour::with_config(local, records, config);
        kad.set_mode(Some(match network {
            Network::Lan => Mode::Server,
            Network::Wan => Mode::Client,
        }));
        Self {
            network,
            kad,
            told: Vec::new(),
            active: HashSet::new(),
            desk: Desk::new(),
            answers: VecDeque::new(),
            hops: Hops::default(),
            buckets: None,
        }
    }

    /// Has value records that others put checked, and kept, by `offered`. Until then they are refused.
    pub(crate) fn check_with(&mut self, offered: Arc<Offered>) {
        self.desk.check_with(offered);
    }

    /// Hands a request that has passed the desk to libp2p, answers or refuses it.
    fn on_decided(&mut self, request: Request, outcome: Outcome) {
        let (peer, connection) = (request.peer, request.connection);
        match (outcome, request.event) {
            (Outcome::Answer(_), FromPeer::FindNodeReq { key, request_id }) => {
                let closer_peers = closest(&mut self.kad, key, &peer);
                let answer = ToPeer::FindNodeRes {
                    closer_peers,
                    request_id,
                };
                self.answers.push_back((peer, connection, answer));
            }
            (Outcome::Answer(owner), event) => {
                self.kad.store_mut().expect_from(owner);
                self.kad.on_connection_handler_event(peer, connection, event);
            }
            (Outcome::Kept, event) => {
                self.kad.store_mut().expect_kept();
                self.kad.on_connection_handler_event(peer, connection, event);
            }
            (Outcome::Refuse, event) => {
                let refusal = refusal(event);
                self.answers.extend(refusal.map(|refusal| (peer, connection, refusal)));
            }
        }
    }

    /// Answers requests of others from now on, or no longer. Who begins to looks around where it is: those who are there ask it
    /// only when they have met it as a server.
    pub(crate) fn serve(&mut self, yes: bool) {
        let mode = if yes { Mode::Server } else { Mode::Client };
        if self.kad.mode() != mode {
            tracing::debug!(network = %self.network, yes, "answering others");
            self.kad.set_mode(Some(mode));
            if yes {
                // Refuses when the table is empty, and then there is nobody to be met.
                let _ = self.kad.bootstrap();
            }
        }
    }

    /// Whether there is any address under which peers of this network can reach us. An announcement without one is
    /// refused by those who get it, silently.
    pub(crate) fn is_reachable(&self) -> bool {
        !self.told.is_empty()
    }

    /// What others of this network are told about where this peer can be dialled.
    pub(crate) fn told(&self) -> Vec<Multiaddr> {
        self.told.iter().map(|(address, _)| address.clone()).collect()
    }

    /// Kademlia keeps [`MAX_TOLD`] addresses and forgets the oldest for one more: what others say of us must not push out
    /// where we listen.
    fn tell(&mut self, address: &Multiaddr, listens: bool) {
        // The address through a relay ends in this peer's id, which is told beside.
        let address = &split_peer(address.clone()).0;
        if let Some(told) = self.told.iter_mut().find(|(told, _)| told == address) {
            told.1 |= listens;
        } else if self.network.admits(reach(address)) {
            if self.told.len() >= MAX_TOLD {
                let heard = self.told.iter().find(|(_, listens)| !listens);
                match heard.map(|(address, _)| address.clone()) {
                    Some(heard) if listens => self.untell(&heard),
                    _ => return,
                }
            }
            self.told.push((address.clone(), listens));
            self.kad
                .on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed {
                    addr: address,
                }));
        }
    }

    /// Has others told of these addresses at which HTTP is spoken, and of no others of that kind.
    pub(crate) fn serves(&mut self, addresses: &[Multiaddr]) {
        let told = self.told.iter().map(|(address, _)| address);
        let gone: Vec<Multiaddr> = told
            .filter(|address| is_http(address) && !addresses.contains(address))
            .cloned()
            .collect();
        for address in &gone {
            self.untell(address);
        }
        for address in addresses {
            self.tell(address, true);
        }
    }

    fn untell(&mut self, address: &Multiaddr) {
        let address = &split_peer(address.clone()).0;
        if self.told.iter().any(|(told, _)| told == address) {
            self.told.retain(|(told, _)| told != address);
            self.kad
                .on_swarm_event(FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr: address }));
        }
    }

    /// The connections on which somebody asked or answered something since this was last called.
    pub(crate) fn take_active(&mut self) -> HashSet<ConnectionId> {
        std::mem::take(&mut self.active)
    }

    /// How many answers led a walk, which is over, to the one who answered closest to its key; 0 if nobody answered.
    pub(crate) fn take_hops(&mut self, walk: QueryId) -> u32 {
        self.hops.ends(walk)
    }

    /// A refresh has found those who are closest to this peer, or somebody for a bucket, and is to look for the next bucket. It
    /// ends if that was done lately: what is asked often is only where this peer is itself, which makes it known there.
    pub(crate) fn refresh_goes_on(&mut self, id: QueryId, now: Instant) {
        match self.buckets {
            Some((of, _)) if of == id => {}
            Some((_, at)) if now.saturating_duration_since(at) < BUCKETS_FRESH => {
                if let Some(mut query) = self.kad.query_mut(&id) {
                    query.finish();
                }
            }
            _ => self.buckets = Some((id, now)),
        }
    }

    /// Nobody of the network is known any more.
    pub(crate) fn lost(&mut self) {
        self.buckets = None;
    }

    /// Peers in the routing table.
    pub(crate) fn table_len(&mut self) -> usize {
        self.kad.kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    /// The addresses of `peer` in the routing table.
    pub(crate) fn addresses_in_table(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let bucket = self.kad.kbucket(*peer);
        let mut entries = bucket.iter().flat_map(|bucket| bucket.iter());
        let entry = entries.find(|entry| entry.node.key.preimage() == peer);
        let addresses = entry.into_iter().flat_map(|entry| entry.node.value.iter());
        addresses.map(|address| split_peer(address.clone()).0).collect()
    }

    /// Every address in the routing table, with its peer.
    pub(crate) fn table(&mut self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let entries = self.kad.kbuckets().flat_map(|bucket| {
            bucket
                .iter()
                .map(|entry| (*entry.node.key.preimage(), entry.node.value.iter().cloned().collect()))
                .collect::<Vec<_>>()
        });
        entries.collect()
    }

    /// The addresses known for `peer`: from the routing table and from the walks under way.
    pub(crate) fn addresses_of(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        // The id is not looked at, nothing is dialled: this is how libp2p asks its behaviours for addresses.
        self.handle_pending_outbound_connection(ConnectionId::new_unchecked(0), Some(peer), &[], Endpoint::Dialer)
            .unwrap_or_default()
    }
}

impl std::ops::Deref for Dht {
    type Target = kad::Behaviour<Records>;

    fn deref(&self) -> &Self::Target {
        &self.kad
    }
}

impl std::ops::DerefMut for Dht {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.kad
    }
}

impl NetworkBehaviour for Dht {
    type ConnectionHandler = requests::Handler;
    type ToSwarm = kad::Event;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        // Before the handshake, which is what a connection costs.
        if self.desk.is_shut_out(remote, Instant::now()) {
            return Err(ConnectionDenied::new("it has flooded this peer with records"));
        }
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad
            .handle_established_inbound_connection(connection, peer, local, remote)
            .map(requests::Handler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad
            .handle_established_outbound_connection(connection, peer, address, role, port_use)
            .map(requests::Handler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut known = self
            .kad
            .handle_pending_outbound_connection(connection, peer, addresses, role)?;
        known.retain(|address| self.network.admits(reach(address)));
        known.sort_unstable();
        known.dedup();
        Ok(prefer_tcp_nearby(known))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        // Kademlia announces confirmed external addresses only. Here every listen address that this network can reach
        // is one: on a LAN that is right, and a public listen address is as good as confirmed.
        match event {
            FromSwarm::NewListenAddr(new) => self.tell(new.addr, true),
            FromSwarm::ExternalAddrConfirmed(new) => self.tell(new.addr, false),
            FromSwarm::ExpiredListenAddr(old) => self.untell(old.addr),
            FromSwarm::ExternalAddrExpired(old) => self.untell(old.addr),
            other => {
                match &other {
                    FromSwarm::ConnectionEstablished(new) => {
                        self.desk
                            .connected(new.connection_id, new.endpoint.get_remote_address());
                    }
                    FromSwarm::ConnectionClosed(old) => self.desk.disconnected(old.connection_id),
                    _ => {}
                }
                self.kad.on_swarm_event(other);
            }
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.active.insert(connection);
        match event {
            FromPeer::FindNodeReq { .. }
            | FromPeer::GetProvidersReq { .. }
            | FromPeer::GetRecord { .. }
            | FromPeer::AddProvider { .. }
            | FromPeer::PutRecord { .. } => {
                let request = Request {
                    peer,
                    connection,
                    event,
                };
                self.desk.take(request, Instant::now());
            }
            answer => {
                match &answer {
                    FromPeer::FindNodeRes { closer_peers, query_id }
                    | FromPeer::GetProvidersRes {
                        closer_peers, query_id, ..
                    }
                    | FromPeer::GetRecordRes {
                        closer_peers, query_id, ..
                    } => {
                        let named = closer_peers.iter().map(|peer| peer.node_id);
                        self.hops.answers(*query_id, &peer, named);
                    }
                    _ => {}
                }
                self.kad.on_connection_handler_event(peer, connection, answer);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready((request, outcome)) = self.desk.poll(cx) {
            self.on_decided(request, outcome);
        }
        if let Some((peer_id, connection)) = self.desk.next_to_close() {
            return Poll::Ready(ToSwarm::CloseConnection {
                peer_id,
                connection: CloseConnection::One(connection),
            });
        }
        if let Some((peer_id, connection, event)) = self.answers.pop_front() {
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event,
            });
        }
        let polled = self.kad.poll(cx);
        if let Poll::Ready(ToSwarm::NotifyHandler { peer_id, event, .. }) = &polled {
            match event {
                ToPeer::FindNodeReq { key, query_id } => self.hops.asks(*query_id, *peer_id, key),
                ToPeer::GetProvidersReq { key, query_id } | ToPeer::GetRecord { key, query_id } => {
                    self.hops.asks(*query_id, *peer_id, key.as_ref());
                }
                _ => {}
            }
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::transport::ListenerId;
    use libp2p::swarm::behaviour::NewListenAddr;

    use super::*;
    use crate::clock::Clock;
    use crate::routing::schedule::Schedule;
    use crate::store::Table;

    #[test]
    fn where_we_listen_is_told_whatever_others_say() {
        let (local, clock) = (PeerId::random(), Clock::system());
        let schedule = Schedule::open(Table::in_memory(), clock.clone());
        let [_, records] = Records::open(&Table::in_memory(), &schedule, local, &clock);
        let mut dht = Dht::new(Network::Wan, local, records);
        let at = |port: usize| -> Multiaddr { format!("/ip4/93.184.216.34/tcp/{port}").parse().unwrap() };
        let listen = |dht: &mut Dht, port| {
            dht.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
                listener_id: ListenerId::next(),
                addr: &at(port),
            }));
        };
        let told = |dht: &Dht, port| dht.told.iter().any(|(address, _)| *address == at(port));
        listen(&mut dht, 1);
        for port in 100..100 + 2 * MAX_TOLD {
            dht.on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed {
                addr: &at(port),
            }));
        }
        assert_eq!(dht.told.len(), MAX_TOLD);
        assert!(told(&dht, 1));
        // Another one of our own takes the place of what was heard; what we listen on is never one of those.
        listen(&mut dht, 2);
        listen(&mut dht, 101);
        (3..3 + MAX_TOLD).for_each(|port| listen(&mut dht, port));
        assert_eq!(dht.told.len(), MAX_TOLD);
        assert!([1, 2, 101].into_iter().all(|port| told(&dht, port)));
        assert!(dht.told.iter().all(|(_, listens)| *listens));
    }

    #[test]
    fn who_begins_to_serve_makes_itself_known_once() {
        let (local, clock) = (PeerId::random(), Clock::system());
        let schedule = Schedule::open(Table::in_memory(), clock.clone());
        let [_, records] = Records::open(&Table::in_memory(), &schedule, local, &clock);
        let mut dht = Dht::new(Network::Wan, local, records);
        dht.add_address(&PeerId::random(), "/ip4/93.184.216.34/tcp/1".parse().unwrap());
        for (serves, walks) in [(false, 0), (true, 1), (true, 1), (false, 1)] {
            dht.serve(serves);
            assert_eq!(dht.iter_queries().count(), walks);
        }
    }

    #[test]
    fn buckets_are_looked_for_once_in_a_while_however_many_refreshes_begin() {
        let (local, clock) = (PeerId::random(), Clock::system());
        let schedule = Schedule::open(Table::in_memory(), clock.clone());
        let [_, records] = Records::open(&Table::in_memory(), &schedule, local, &clock);
        let mut dht = Dht::new(Network::Wan, local, records);
        for number in 1..40 {
            let at = format!("/ip4/93.184.216.{number}/tcp/1").parse().unwrap();
            dht.add_address(&PeerId::random(), at);
        }
        let start = Instant::now();
        let goes_on = |dht: &mut Dht, id: QueryId, after: Duration| {
            dht.refresh_goes_on(id, start + after);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            // A refresh that was ended says so before it does anything else.
            loop {
                match dht.kad.poll(&mut cx) {
                    Poll::Ready(ToSwarm::GenerateEvent(kad::Event::OutboundQueryProgressed { id: of, .. }))
                        if of == id =>
                    {
                        return false;
                    }
                    Poll::Ready(_) => {}
                    Poll::Pending => return true,
                }
            }
        };
        let first = dht.bootstrap().unwrap();
        assert!(goes_on(&mut dht, first, Duration::ZERO));
        assert!(goes_on(&mut dht, first, Duration::from_secs(1)), "to another bucket");
        let second = dht.bootstrap().unwrap();
        assert!(!goes_on(&mut dht, second, BUCKETS_FRESH / 2));
        let third = dht.bootstrap().unwrap();
        assert!(goes_on(&mut dht, third, BUCKETS_FRESH));
        dht.lost();
        let fourth = dht.bootstrap().unwrap();
        assert!(goes_on(&mut dht, fourth, BUCKETS_FRESH));
    }
}
