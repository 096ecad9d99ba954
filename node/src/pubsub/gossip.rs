//! libp2p's gossipsub behind a guard.
//!
//! gossipsub remembers a message before anybody has judged it, for seconds, whoever sent it and on whatever topic; and its
//! limit on topics refuses all of a peer that is in more than 100. So everything passes here first: see [`PubSub`](super::PubSub).
//! A subscription is never said twice, so those of topics that this peer is not in are remembered, too: a
//! name that is followed later would be heard from nobody.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::gossipsub::{
    self, AllowAllSubscriptionFilter, ConfigBuilder, IdentityTransform, Message, MessageAcceptance,
    MessageAuthenticity, MessageId, PublishError, RawMessage, TopicHash, ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::budget::{Budgets, FORGERY, Kind};
use super::topic::{MAX_OTHER_TOPICS, MAX_RECORD_BYTES, MAX_TOPIC_BYTES, key, topic};

/// What a peer may say at once. A peer says all its topics when it connects, 80 bytes each.
const MAX_SAID_BYTES: usize = 256 << 10;
/// Messages in one of these.
const MAX_MESSAGES_AT_ONCE: usize = 256;
/// Messages asked for of one peer in a second, of those that it says it has.
const MAX_ASKED_FOR: usize = 64;
/// How soon after the start topics are looked after for the first time.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);

/// Records that nobody was there to hear, kept for whoever comes a moment later; the oldest makes room.
const MAX_UNSAID: usize = 16;
/// How long.
const UNSAID_FOR: Duration = Duration::from_secs(10);

/// gossipsub without the filter that it has by default: see the module's words.
type Unfiltered = gossipsub::Behaviour<IdentityTransform, AllowAllSubscriptionFilter>;
/// What a connection tells gossipsub.
type FromPeer = THandlerOutEvent<Unfiltered>;

/// See the module's words.
pub(crate) struct Gossip {
    inner: Unfiltered,
    joined: HashSet<TopicHash>,
    /// Topics of each connected peer that were passed on though this peer is not in them, by their hash.
    others: HashMap<PeerId, HashSet<u64>>,
    hasher: RandomState,
    budgets: Budgets,
    closing: VecDeque<PeerId>,
    unsaid: VecDeque<Unsaid>,
}

struct Unsaid {
    topic: TopicHash,
    record: Vec<u8>,
    since: Instant,
}

/// As go-libp2p-pubsub has it. The ids travel: one peer says which messages it has, another asks for them.
fn message_id(message: &Message) -> MessageId {
    let mut id = message.source.map(PeerId::to_bytes).unwrap_or_default();
    id.extend(message.sequence_number.unwrap_or_default().to_be_bytes());
    MessageId(id)
}

/// The routing key of the name that a topic is of.
pub(crate) fn key_of(topic: &TopicHash) -> Option<Vec<u8>> {
    key(topic.as_str())
}

impl Gossip {
    pub(super) fn new(keypair: Keypair) -> Option<Self> {
        let config = ConfigBuilder::default()
            .validation_mode(ValidationMode::Strict)
            // Nothing is passed on before it has been judged.
            .validate_messages()
            .message_id_fn(message_id)
            .max_transmit_size(MAX_SAID_BYTES)
            .max_control_message_size(MAX_SAID_BYTES)
            .max_publish_messages(MAX_MESSAGES_AT_ONCE)
            .max_control_messages_sent(MAX_ASKED_FOR)
            // A publication goes to all who are in its topic: it may come from a command that ends a moment later.
            .flood_publish(true)
            .heartbeat_initial_delay(FIRST_HEARTBEAT)
            .build();
        let behaviour = config
            .map_err(|error| error.to_string())
            .and_then(|config| Unfiltered::new(MessageAuthenticity::Signed(keypair), config).map_err(str::to_owned));
        match behaviour {
            Ok(inner) => Some(Self {
                inner,
                joined: HashSet::new(),
                others: HashMap::new(),
                hasher: RandomState::new(),
                budgets: Budgets::default(),
                closing: VecDeque::new(),
                unsaid: VecDeque::new(),
            }),
            Err(error) => {
                tracing::warn!(%error, "names are not heard over PubSub");
                None
            }
        }
    }

    /// Listens to what is said of names from now on. Returns who is known to be listening to which of them already.
    pub(crate) fn join(&mut self, keys: &[Vec<u8>]) -> Vec<(PeerId, Vec<u8>)> {
        let mut new = HashMap::new();
        for key in keys {
            let topic = topic(key);
            if self.joined.insert(topic.hash()) {
                // There is no filter that could refuse it.
                let _ = self.inner.subscribe(&topic);
                new.insert(topic.hash(), key);
            }
        }
        let new = &new;
        let peers = self.inner.all_peers().flat_map(|(peer, topics)| {
            let shared = topics.into_iter().filter_map(|topic| new.get(topic));
            shared.map(move |key| (*peer, (*key).clone()))
        });
        peers.collect()
    }

    /// Listens no longer.
    pub(crate) fn leave(&mut self, key: &[u8]) {
        let topic = topic(key);
        self.joined.remove(&topic.hash());
        self.inner.unsubscribe(&topic);
    }

    /// Whether this peer is in a topic.
    pub(crate) fn is_in(&self, topic: &TopicHash) -> bool {
        self.joined.contains(topic)
    }

    /// Says a record to all connected peers that are in the topic of its name. Returns whether there are any. If not, it is
    /// said to the first who comes within [`UNSAID_FOR`]: a peer that has just connected tells its topics a moment later.
    pub(crate) fn publish(&mut self, key: &[u8], record: Vec<u8>) -> bool {
        let topic = topic(key).hash();
        self.unsaid.retain(|unsaid| unsaid.topic != topic);
        match self.inner.publish(topic.clone(), record.clone()) {
            Err(PublishError::NoPeersSubscribedToTopic) => {
                if self.unsaid.len() >= MAX_UNSAID {
                    self.unsaid.pop_front();
                }
                let since = Instant::now();
                self.unsaid.push_back(Unsaid { topic, record, since });
                false
            }
            said => said.is_ok(),
        }
    }

    /// Says what nobody was there to hear, now that somebody is in its topic. Returns whether there was anything.
    pub(crate) fn publish_unsaid(&mut self, topic: &TopicHash) -> bool {
        self.unsaid.retain(|unsaid| unsaid.since.elapsed() < UNSAID_FOR);
        let Some(at) = self.unsaid.iter().position(|unsaid| unsaid.topic == *topic) else {
            return false;
        };
        let unsaid = self.unsaid.remove(at);
        unsaid.is_some_and(|unsaid| self.inner.publish(unsaid.topic, unsaid.record).is_ok())
    }

    /// Takes the verdict on a message: it is passed on, forgotten, or held against `from`, who sent it.
    pub(crate) fn judge(&mut self, id: &MessageId, from: &PeerId, verdict: MessageAcceptance) {
        if matches!(verdict, MessageAcceptance::Reject) {
            self.note_faults(from, FORGERY, Instant::now());
        }
        self.inner.report_message_validation_result(id, from, verdict);
    }

    /// Whether `peer` may ask for one record more.
    pub(crate) fn may_ask(&mut self, peer: &PeerId) -> bool {
        let now = Instant::now();
        let may = self.budgets.spend(peer, Kind::Question, 1, now) == 1;
        if !may {
            self.note_faults(peer, 1, now);
        }
        may
    }

    /// The peers with whom messages of some topic are exchanged as they come.
    pub(crate) fn mesh(&self) -> HashSet<PeerId> {
        self.inner.all_mesh_peers().copied().collect()
    }

    fn note_faults(&mut self, peer: &PeerId, count: usize, now: Instant) {
        if self.budgets.spend(peer, Kind::Fault, count, now) < count && !self.closing.contains(peer) {
            tracing::debug!(%peer, "hung up on: it floods topics of names");
            self.closing.push_back(*peer);
        }
    }

    /// Whether a message may be one that matters here. On a topic that was left a moment ago there may be an honest one, too.
    fn may_be_heard(&self, message: &RawMessage) -> bool {
        message.data.len() <= MAX_RECORD_BYTES && self.joined.contains(&message.topic)
    }

    /// Whether it is remembered that `peer` is in `topic`, or no longer is.
    fn may_remember(&mut self, peer: &PeerId, topic: &TopicHash) -> bool {
        if self.joined.contains(topic) {
            return true;
        }
        if topic.as_str().len() > MAX_TOPIC_BYTES || key(topic.as_str()).is_none() {
            return false;
        }
        let hash = self.hasher.hash_one(topic.as_str());
        let others = self.others.entry(*peer).or_default();
        others.contains(&hash) || others.len() < MAX_OTHER_TOPICS && others.insert(hash)
    }
}

impl NetworkBehaviour for Gossip {
    type ConnectionHandler = <Unfiltered as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = gossipsub::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = &event
            && closed.remaining_established == 0
        {
            self.others.remove(&closed.peer_id);
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        let event = match event {
            FromPeer::Message {
                mut rpc,
                invalid_messages,
            } => {
                let now = Instant::now();
                let said = rpc.messages.len() + rpc.subscriptions.len() + rpc.control_msgs.len();
                rpc.messages.retain(|message| self.may_be_heard(message));
                let paid = self.budgets.spend(&peer, Kind::Message, rpc.messages.len(), now);
                rpc.messages.truncate(paid);
                let paid = self
                    .budgets
                    .spend(&peer, Kind::Subscription, rpc.subscriptions.len(), now);
                rpc.subscriptions.truncate(paid);
                let paid = self.budgets.spend(&peer, Kind::Control, rpc.control_msgs.len(), now);
                rpc.control_msgs.truncate(paid);
                let taken = rpc.messages.len() + rpc.subscriptions.len() + rpc.control_msgs.len();
                // To be in topics that mean nothing here is no fault.
                rpc.subscriptions
                    .retain(|subscription| self.may_remember(&peer, &subscription.topic_hash));
                let faults = said - taken + invalid_messages.len() * FORGERY;
                self.note_faults(&peer, faults, now);
                FromPeer::Message {
                    rpc,
                    invalid_messages: Vec::new(),
                }
            }
            other => other,
        };
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(peer_id) = self.closing.pop_front() {
            return Poll::Ready(ToSwarm::CloseConnection {
                peer_id,
                connection: CloseConnection::All,
            });
        }
        self.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of_number(number: usize) -> Vec<u8> {
        [b"/ipns/", &number.to_be_bytes()[..]].concat()
    }

    #[tokio::test]
    async fn one_topic_of_a_peer_over_the_limit_is_forgotten_unless_this_peer_is_in_it() {
        let mut gossip = Gossip::new(Keypair::generate_ed25519()).unwrap();
        let (peer, other) = (PeerId::random(), PeerId::random());
        let topic = |number| topic(&key_of_number(number)).hash();
        for number in 0..MAX_OTHER_TOPICS {
            assert!(gossip.may_remember(&peer, &topic(number)));
        }
        assert!(
            !gossip.may_remember(&peer, &topic(MAX_OTHER_TOPICS)),
            "one over the limit"
        );
        assert!(gossip.may_remember(&peer, &topic(0)), "it may leave what it is in");
        assert!(gossip.may_remember(&other, &topic(MAX_OTHER_TOPICS)));
        gossip.join(&[key_of_number(MAX_OTHER_TOPICS)]);
        assert!(gossip.may_remember(&peer, &topic(MAX_OTHER_TOPICS)));
        gossip.leave(&key_of_number(MAX_OTHER_TOPICS));
        assert!(!gossip.may_remember(&peer, &topic(MAX_OTHER_TOPICS)));
        let longer = "/record/".to_owned() + &"A".repeat(MAX_TOPIC_BYTES);
        for foreign in ["/other/AAAA".to_owned(), longer] {
            assert!(!gossip.may_remember(&other, &TopicHash::from_raw(foreign)));
        }
    }

    #[tokio::test]
    async fn who_commits_one_fault_too_many_is_hung_up_on_once() {
        let mut gossip = Gossip::new(Keypair::generate_ed25519()).unwrap();
        let (peer, now) = (PeerId::random(), Instant::now());
        gossip.note_faults(&peer, 2048, now);
        assert!(gossip.closing.is_empty());
        gossip.note_faults(&peer, 1, now);
        gossip.note_faults(&peer, 1, now);
        assert_eq!(gossip.closing, [peer]);
    }

    #[tokio::test]
    async fn a_message_one_byte_over_the_limit_or_on_another_topic_is_not_heard() {
        let mut gossip = Gossip::new(Keypair::generate_ed25519()).unwrap();
        gossip.join(&[key_of_number(1)]);
        let message = |number, bytes| RawMessage {
            source: None,
            data: vec![0; bytes],
            sequence_number: None,
            topic: topic(&key_of_number(number)).hash(),
            signature: None,
            key: None,
            validated: false,
        };
        assert!(gossip.may_be_heard(&message(1, MAX_RECORD_BYTES)));
        assert!(!gossip.may_be_heard(&message(1, MAX_RECORD_BYTES + 1)));
        assert!(!gossip.may_be_heard(&message(2, MAX_RECORD_BYTES)));
    }

    #[tokio::test]
    async fn one_record_over_the_limit_that_nobody_heard_is_forgotten() {
        let mut gossip = Gossip::new(Keypair::generate_ed25519()).unwrap();
        for number in 0..=MAX_UNSAID {
            assert!(!gossip.publish(&key_of_number(number), vec![1]));
            assert!(!gossip.publish(&key_of_number(number), vec![2]));
        }
        assert_eq!(gossip.unsaid.len(), MAX_UNSAID);
        assert!(gossip.unsaid.iter().all(|unsaid| unsaid.record == [2]));
        let first = topic(&key_of_number(0)).hash();
        assert!(gossip.unsaid.iter().all(|unsaid| unsaid.topic != first));
    }

    #[test]
    fn a_message_has_the_id_that_go_gives_it() {
        let source = PeerId::random();
        let message = Message {
            source: Some(source),
            data: Vec::new(),
            sequence_number: Some(258),
            topic: TopicHash::from_raw("t"),
        };
        let expected = [&source.to_bytes()[..], &[0, 0, 0, 0, 0, 0, 1, 2]].concat();
        assert_eq!(message_id(&message).0, expected);
    }
}
