//! The exchange as a part of a libp2p swarm: moves inputs to the state machines and their outputs to the swarm.
//!
//! Runs on the task that polls the swarm and never blocks there: store reads go to Tokio's blocking threads, hashing is done by
//! the connections, and what one message can ask for is bounded there. The swarm listens to connections only when nobody here
//! has anything to do, and to new peers only when no connection has: so each piece of work is small, then the turn is given away.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cid::Cid;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, NotifyHandler, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::task::JoinError;

use super::allowance::{Allowance, HEAD_BYTES, MESSAGE, WANT, worth};
use super::client::{Action, Client, Times};
use super::handler::{Checked, FromBehaviour, Handler, Hashing, INBOUND_BYTES, Lane, Parcel, ToBehaviour};
use super::message::Presence;
use super::server::{Answered, Limits, Server};
use super::session::{Command, Replies, SessionId, Shared};
use super::stats::Stats;
use crate::denylist::Denylist;
use crate::room::Room;
use crate::store::Blocks;

/// How often connections that have nothing to do any more are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// When what waits for slow peers fills half of the memory for it, one that has not taken a message for this long is let go.
const TAKES_WITHIN: Duration = Duration::from_secs(20);
/// How many messages read from the store are sent before others have their turn.
const ANSWERS_PER_TURN: usize = 8;
/// From so many messages, at most, are the wants taken to have come that are met in one.
const ASKING_MESSAGES: usize = 8;
/// Hashing jobs for each processor, over all connections.
const HASHING_PER_CPU: usize = 2;
/// Bytes of frames under way inwards on all connections together, besides [`LEAST_INBOUND_BYTES`].
const MAX_INBOUND_BYTES: usize = 48 << 20;
/// Bytes of frames that may be under way on one connection in any case: a block of a megabyte.
const LEAST_INBOUND_BYTES: usize = (1 << 20) + (64 << 10);

/// A peer that misbehaved is not let in for a while.
#[derive(Debug, thiserror::Error)]
#[error("{0} sent blocks that nobody asked for and is shut out for now")]
struct Banned(PeerId);

/// Settings of an exchange. The defaults suit a desktop machine and a server alike.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How long a peer has to answer before others are asked as well. Less is waited once its latency is known.
    pub answer_timeout: Duration,
    /// Providers are searched when a session with wants has received nothing for this long. When nobody is left to
    /// be asked, they are searched at once.
    pub search_after: Duration,
    /// A search is repeated after this long without progress.
    pub search_every: Duration,
    /// A search that is not answered through [`Handle::provide_peers`](super::Handle::provide_peers) counts as fruitless after this.
    pub search_timeout: Duration,
    /// A fetch fails with [`FetchError::Stalled`](super::FetchError::Stalled) when nothing has come for its session for this long.
    pub patience: Duration,
    /// Bytes of blocks that may wait at the connection of one peer.
    pub peer_outstanding: usize,
    /// Bytes of blocks that may wait at all connections together.
    pub total_outstanding: usize,
    /// How many messages are read from the store at the same time.
    pub store_reads: usize,
    /// What is served to nobody.
    pub denylist: Denylist,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            answer_timeout: Duration::from_secs(5),
            search_after: Duration::from_secs(1),
            search_every: Duration::from_secs(60),
            search_timeout: Duration::from_secs(60),
            patience: Duration::from_secs(60),
            peer_outstanding: 4 << 20,
            total_outstanding: 64 << 20,
            store_reads: 8,
            denylist: Denylist::default(),
        }
    }
}

/// What the exchange asks of the peer around it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Nobody that the session knows has given this block. Find providers, hand them over as they are found with
    /// [`Handle::provider_found`](super::Handle::provider_found), and end with [`Handle::provide_peers`](super::Handle::provide_peers), with an empty list if there are no more.
    /// One search at a time is asked for each session.
    NeedProviders {
        /// Who asks.
        session: SessionId,
        /// One of the blocks that are missing.
        cid: Cid,
    },
}

/// The connections to one peer.
#[derive(Debug, Default)]
struct Connections {
    /// Oldest first; the first one carries everything we send.
    ids: Vec<ConnectionId>,
    /// Whether the first one has been told to stay.
    kept: bool,
    /// When the peer last took an answer, or was handed the first that it has not taken.
    took: Option<Instant>,
}

type Job = BoxFuture<'static, (PeerId, Result<Answered, JoinError>)>;

/// The exchange within a swarm; made by [`exchange::new`](super::new).
pub struct Behaviour {
    store: Arc<dyn Blocks>,
    denylist: Denylist,
    client: Client,
    server: Server,
    shared: Arc<Shared>,
    replies: Replies,
    peers: HashMap<PeerId, Connections>,
    /// Of each peer that has a connection, or one that is about to be let in.
    allowances: HashMap<PeerId, Arc<Allowance>>,
    jobs: FuturesUnordered<Job>,
    hashing: Hashing,
    max_hashing: usize,
    inbound: Room,
    /// Those with whom something was exchanged since [`Behaviour::take_in_use`].
    exchanged: HashSet<PeerId>,
    to_swarm: VecDeque<ToSwarm<Event, FromBehaviour>>,
    stats: Stats,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    next_sweep: Option<Instant>,
    messages: u64,
    /// Whether work has been done since others had their turn.
    had_turn: bool,
}

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("exchange::Behaviour")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Drop for Behaviour {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Behaviour {
    pub(super) fn new(store: Arc<dyn Blocks>, config: &Config, shared: Arc<Shared>) -> Self {
        let times = Times {
            answer: config.answer_timeout,
            search_after: config.search_after,
            search_every: config.search_every,
            search: config.search_timeout,
            patience: config.patience,
        };
        let limits = Limits {
            peer_bytes: config.peer_outstanding,
            total_bytes: config.total_outstanding,
            jobs: config.store_reads.max(1),
        };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            store,
            denylist: config.denylist.clone(),
            client: Client::new(times),
            server: Server::new(limits),
            shared,
            replies: Replies::new(),
            peers: HashMap::new(),
            allowances: HashMap::new(),
            jobs: FuturesUnordered::new(),
            hashing: Arc::new(AtomicUsize::new(0)),
            max_hashing: cpus * HASHING_PER_CPU,
            inbound: Room::new(MAX_INBOUND_BYTES, LEAST_INBOUND_BYTES),
            exchanged: HashSet::new(),
            to_swarm: VecDeque::new(),
            stats: Stats::default(),
            timer: None,
            next_sweep: None,
            messages: 0,
            had_turn: false,
        }
    }

    fn new_handler(&mut self, peer: PeerId) -> Result<Handler, ConnectionDenied> {
        let now = Instant::now();
        if self.client.is_banned(&peer, now) {
            return Err(ConnectionDenied::new(Banned(peer)));
        }
        let allowance = self.allowances.entry(peer);
        let allowance = allowance.or_insert_with(|| Arc::new(Allowance::new(now))).clone();
        let share = self.inbound.share(INBOUND_BYTES);
        Ok(Handler::new(self.hashing.clone(), self.max_hashing, share, allowance))
    }

    /// What a peer said was of use.
    fn give_back(&self, peer: &PeerId, cost: usize) {
        if let Some(allowance) = self.allowances.get(peer) {
            allowance.give_back(cost);
        }
    }

    /// Peers whose connections are of use: blocks came from them, or answers went to them, since this was last called; or
    /// they are asked for something, or being answered.
    pub(crate) fn take_in_use(&mut self) -> HashSet<PeerId> {
        let mut in_use = std::mem::take(&mut self.exchanged);
        let busy = |peer: &&PeerId| self.client.needs(peer) || self.server.is_busy(peer);
        in_use.extend(self.peers.keys().filter(busy));
        in_use
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Open(id, stats) => self.client.open(id, stats, now),
            Command::Close(id) => self.client.close(id),
            Command::Provider(id, peer) => self.client.add_provider(id, peer, now),
            Command::Found(id, peers) => self.client.found(id, peers, now),
            Command::Fetch {
                session,
                ticket,
                cid,
                reply,
            } => {
                self.replies.insert(ticket, reply);
                self.client.fetch(session, ticket, cid, now);
            }
            Command::Cancel(ticket) => {
                self.replies.remove(&ticket);
                self.client.cancel(ticket);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Deliver(ticket, result) => {
                if let Some(reply) = self.replies.remove(&ticket) {
                    // A caller that has just gone away needs no answer.
                    let _ = reply.send(result);
                }
            }
            Action::Dial(peer) => {
                let opts = DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .build();
                self.to_swarm.push_back(ToSwarm::Dial { opts });
            }
            Action::NeedProviders(session, cid) => {
                self.to_swarm
                    .push_back(ToSwarm::GenerateEvent(Event::NeedProviders { session, cid }));
            }
            Action::Disconnect(peer_id) => {
                let connection = CloseConnection::All;
                self.to_swarm
                    .push_back(ToSwarm::CloseConnection { peer_id, connection });
            }
        }
    }

    fn notify(&mut self, peer_id: PeerId, event: FromBehaviour) {
        if let Some(id) = self.peers.get(&peer_id).and_then(|connections| connections.ids.first()) {
            self.to_swarm.push_back(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(*id),
                event,
            });
        }
    }

    fn send(&mut self, peer: PeerId, parcel: Parcel, now: Instant) {
        if let Some(connections) = self.peers.get_mut(&peer)
            && !connections.kept
        {
            connections.kept = true;
            self.notify(peer, FromBehaviour::KeepAlive(true));
            self.next_sweep.get_or_insert(now + SWEEP);
        }
        self.notify(peer, FromBehaviour::Send(parcel));
    }

    fn received(&mut self, peer: PeerId, checked: Checked) {
        let Checked {
            wantlist,
            presences,
            blocks,
            unusable,
            ..
        } = checked;
        self.server.wantlist(peer, wantlist);
        let receipt = self.client.received(peer, blocks, presences, unusable, Instant::now());
        if receipt.blocks > 0 {
            self.exchanged.insert(peer);
        }
        self.give_back(&peer, worth(&receipt));
        self.stats.blocks_received += receipt.blocks;
        self.stats.bytes_received += receipt.bytes;
        self.stats.duplicates += receipt.duplicates;
        self.stats.duplicate_bytes += receipt.duplicate_bytes;
        self.stats.unrequested += receipt.unrequested;
    }

    /// Lets go of connections on which nothing has happened for a while.
    fn sweep(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|at| at > now) {
            return;
        }
        if self.server.is_short() {
            let stuck = |of: &Connections| {
                of.took
                    .is_some_and(|at| now.saturating_duration_since(at) >= TAKES_WITHIN)
            };
            let stuck = self
                .peers
                .iter()
                .filter(|(peer, of)| stuck(of) && self.server.holds(peer));
            let stuck: Vec<PeerId> = stuck.map(|(peer, _)| *peer).collect();
            for peer in stuck {
                tracing::debug!(%peer, "letting go of a peer that does not take what it asked for");
                self.act(Action::Disconnect(peer));
            }
        }
        let idle = |peer: &PeerId| !self.client.needs(peer) && !self.server.is_busy(peer);
        let idle: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(peer, of)| of.kept && idle(peer))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in idle {
            if let Some(connections) = self.peers.get_mut(&peer) {
                connections.kept = false;
            }
            self.notify(peer, FromBehaviour::KeepAlive(false));
        }
        let any = self.peers.values().any(|connections| connections.kept);
        self.next_sweep = any.then_some(now + SWEEP);
    }

    /// Empties the inbox and moves everything that can move.
    fn work(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        let inbox = self.shared.take(cx);
        for command in inbox.commands {
            self.command(command, now);
        }
        match inbox.added_more {
            true => self.server.anything_added(),
            false => self.server.blocks_added(&inbox.added),
        }
        self.sweep(now);
        self.client.drive(now);
        self.client.search_due(now);
        if !self.client.actions.is_empty() {
            // Whoever gets an answer finds it counted.
            self.publish_stats();
        }
        while let Some(action) = self.client.actions.pop_front() {
            self.act(action);
        }
        while let Some((peer, message)) = self.client.next_message() {
            self.messages += 1;
            self.send(
                peer,
                Parcel {
                    lane: Lane::Wants,
                    id: self.messages,
                    message,
                },
                now,
            );
        }
        for _ in 0..ANSWERS_PER_TURN {
            while let Some(job) = self.server.next_job() {
                let (store, denylist, peer) = (self.store.clone(), self.denylist.clone(), job.peer());
                let read = tokio::task::spawn_blocking(move || job.run(&*store, &denylist));
                self.jobs.push(Box::pin(async move { (peer, read.await) }));
            }
            let Poll::Ready(Some((peer, found))) = self.jobs.poll_next_unpin(cx) else {
                return;
            };
            match found {
                Ok(found) => self.answer(found, now),
                Err(error) => {
                    tracing::error!(%peer, %error, "reading the store for a peer failed");
                    self.server.job_lost(&peer);
                }
            }
        }
        // There may be more.
        cx.waker().wake_by_ref();
    }

    fn answer(&mut self, found: Answered, now: Instant) {
        let Some(outgoing) = self.server.finished(found) else {
            return;
        };
        if let Some(connections) = self.peers.get_mut(&outgoing.peer) {
            connections.took.get_or_insert(now);
        }
        let presences = outgoing.message.presences.iter();
        let met = outgoing.message.blocks.len() + presences.filter(|(_, said)| *said == Presence::Have).count();
        // The wants may have come one to a message, as from somebody who walks; of a flood they are the least part.
        let cost = met * (WANT + HEAD_BYTES) + met.min(ASKING_MESSAGES) * MESSAGE;
        self.give_back(&outgoing.peer, cost);
        self.stats.blocks_sent += outgoing.message.blocks.len() as u64;
        self.stats.bytes_sent += outgoing
            .message
            .blocks
            .iter()
            .map(|block| block.data().len() as u64)
            .sum::<u64>();
        self.send(
            outgoing.peer,
            Parcel {
                lane: Lane::Answers,
                id: outgoing.id,
                message: outgoing.message,
            },
            now,
        );
    }

    /// Sets the timer to the next time that something must be done. Returns whether that is now.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let next = match (self.client.next_tick(), self.next_sweep) {
            (Some(a), Some(b)) => a.min(b),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => {
                self.timer = None;
                return false;
            }
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next.into())));
        if timer.deadline() != next.into() {
            timer.as_mut().reset(next.into());
        }
        timer.as_mut().poll(cx).is_ready()
    }

    fn publish_stats(&mut self) {
        self.stats.peers = self.peers.len();
        self.stats.sessions = self.client.sessions();
        self.stats.wants = self.client.wants();
        self.stats.peer_wants = self.server.wants();
        self.shared.set_stats(&self.stats);
    }

    /// A connection that was about to be let in was not.
    fn not_let_in(&mut self, peer: Option<PeerId>) {
        if let Some(peer) = peer.filter(|peer| !self.peers.contains_key(peer)) {
            self.allowances.remove(&peer);
        }
    }

    fn connection_closed(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(connections) = self.peers.get_mut(&peer) else {
            return;
        };
        let carried = connections.ids.first() == Some(&id);
        connections.ids.retain(|other| *other != id);
        if !carried {
            return;
        }
        connections.kept = false;
        let now = Instant::now();
        self.client.disconnected(&peer, now);
        if connections.ids.is_empty() {
            self.peers.remove(&peer);
            self.allowances.remove(&peer);
            self.server.disconnected(&peer);
        } else {
            // What was on its way over that connection is asked and sent again over the next one.
            self.client.connected(peer, now);
            self.server.rerouted(peer);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.new_handler(peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.new_handler(peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                let connections = self.peers.entry(event.peer_id).or_default();
                connections.ids.push(event.connection_id);
                if connections.ids.len() == 1 {
                    self.client.connected(event.peer_id, Instant::now());
                }
            }
            FromSwarm::ConnectionClosed(event) => self.connection_closed(event.peer_id, event.connection_id),
            FromSwarm::ListenFailure(event) => self.not_let_in(event.peer_id),
            FromSwarm::DialFailure(event) => {
                self.not_let_in(event.peer_id);
                // A dial that was not made because another is under way, or done, is not a failure.
                let redundant = matches!(event.error, DialError::DialPeerConditionFalse(_));
                if let Some(peer) = event.peer_id.filter(|_| !redundant) {
                    self.client.dial_failed(&peer, Instant::now());
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: ToBehaviour) {
        let Some(connections) = self.peers.get(&peer) else {
            return;
        };
        let carries = connections.ids.first() == Some(&id);
        match event {
            ToBehaviour::Received(checked) => self.received(peer, checked),
            ToBehaviour::Progress => self.client.heard(&peer, Instant::now()),
            ToBehaviour::Speaks { presences } => self.client.speaks(&peer, presences),
            ToBehaviour::Mute if carries => self.client.mute(&peer),
            ToBehaviour::Sent(ticket) => match ticket.lane {
                Lane::Wants => self.client.message_gone(&peer),
                Lane::Answers => {
                    self.exchanged.insert(peer);
                    self.server.sent(peer, ticket.id);
                    let more = self.server.holds(&peer);
                    if let Some(connections) = self.peers.get_mut(&peer) {
                        connections.took = more.then(Instant::now);
                    }
                }
            },
            ToBehaviour::Lost(ticket) => match ticket.lane {
                Lane::Wants => self.client.message_gone(&peer),
                Lane::Answers => self.server.lost(peer, ticket.id),
            },
            ToBehaviour::Mute => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, FromBehaviour>> {
        if let Some(event) = self.to_swarm.pop_front() {
            return Poll::Ready(event);
        }
        if std::mem::take(&mut self.had_turn) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.work(cx);
        if self.poll_timer(cx) {
            cx.waker().wake_by_ref();
        }
        match self.to_swarm.pop_front() {
            Some(event) => {
                self.had_turn = true;
                Poll::Ready(event)
            }
            None => {
                self.publish_stats();
                Poll::Pending
            }
        }
    }
}
