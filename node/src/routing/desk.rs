//! The desk where others' requests to a DHT arrive: what is refused at sight, what waits for its turn, and what is checked
//! before libp2p answers it.
//!
//! libp2p's Kademlia answers everything at once, on the task that owns the swarm. Here a request is held back before it gets
//! there:
//!
//! - Each network (see [`IpGroup`](crate::address::IpGroup)) has [turns](super::turns) for questions, for value records and
//!   for provider records. Who asks too fast waits, since a stream that is open is all it costs (libp2p has 32 a connection);
//!   provider records, which nobody waits for, are dropped. Who goes on all the same is hung up on, and its IP address is let
//!   in again after [`SHUT_OUT`].
//! - A value record is checked away from that task, a few at a time, and libp2p is told of it, and confirms it, when it is kept.
//!
//! Whoever is refused gets the answer of a peer that knows nothing, at once: libp2p's own way to refuse leaves the stream open
//! until the other side gives up.

use std::collections::{HashMap, VecDeque};
use std::future::Future as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use libp2p::kad::{self, Record, RecordKey};
use libp2p::swarm::{ConnectionId, THandlerInEvent, THandlerOutEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use super::records::{MAX_PROVIDER_KEY_BYTES, MAX_VALUE_BYTES, MAX_VALUE_KEY_BYTES, Owner, Records};
use super::turns::{Rate, Turn, Turns};
use crate::address::{IpGroup, ip, ip_group};

/// The longest key that is looked for: that of a value record, or a peer's id.
pub(crate) const MAX_SOUGHT_BYTES: usize = MAX_VALUE_KEY_BYTES;
/// Value records that wait to be checked at the same time. One check takes some 0.1 ms.
const MAX_UNCHECKED: usize = 1024;
/// Provider records of one connection that are dropped before it is closed.
const MAX_DROPPED: u32 = 256;
/// Addresses in one provider record; with more it is dropped. Reading them is what they cost.
const MAX_ADDRESSES_TOLD: usize = 128;
/// IP addresses that are shut out at the same time.
const MAX_SHUT_OUT: usize = 1024;
/// How long nobody is let in from the IP address of a connection that was closed for what it sent.
const SHUT_OUT: Duration = Duration::from_secs(10);
/// Value records that are checked in one go.
const CHECKED_AT_ONCE: usize = 16;

/// Questions: each compares a key with the routing table, some 30 µs.
const QUESTIONS: Rate = Rate {
    per_second: 1000,
    burst: 4000,
    waiting: 1024,
};
/// Provider records: a few µs each. Nobody is told that one was dropped, so this is above what an honest peer gets to, which
/// asks a question before each.
const PROVIDERS: Rate = Rate {
    per_second: 1100,
    burst: 4500,
    waiting: 0,
};
/// Value records: two or three signatures each.
const VALUES: Rate = Rate {
    per_second: 200,
    burst: 400,
    waiting: 256,
};

/// What a connection tells libp2p's Kademlia, and what that tells a connection.
pub(super) type FromPeer = THandlerOutEvent<kad::Behaviour<Records>>;
pub(super) type ToPeer = THandlerInEvent<kad::Behaviour<Records>>;

/// Judges a value record that another peer put, by its key and its bytes, and keeps it if it is good and new. Blocking.
pub(crate) type Offered = dyn Fn(&[u8], &[u8], Owner) -> bool + Send + Sync;

/// Something that a peer asks.
pub(super) struct Request {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) event: FromPeer,
}

/// What is to become of a request.
pub(super) enum Outcome {
    /// libp2p is to answer it; what it brings is this owner's.
    Answer(Owner),
    /// It is a value record that is kept: libp2p is to confirm that.
    Kept,
    /// It is to be refused, if anybody waits for an answer.
    Refuse,
}

/// See the module's words.
pub(super) struct Desk {
    /// Where each connection comes from.
    connections: HashMap<ConnectionId, Origin>,
    shut_out: HashMap<IpAddr, Instant>,
    closing: Vec<(PeerId, ConnectionId)>,
    questions: Turns<Request>,
    providers: Turns<Request>,
    values: Turns<Request>,
    unchecked: VecDeque<Request>,
    checking: Option<Checking>,
    decided: VecDeque<(Request, Outcome)>,
    timer: Option<Pin<Box<Sleep>>>,
    offered: Option<Arc<Offered>>,
}

#[derive(Default)]
struct Origin {
    group: IpGroup,
    ip: Option<IpAddr>,
    dropped: u32,
}

struct Checking {
    requests: Vec<Request>,
    verdicts: JoinHandle<Vec<bool>>,
}

impl Desk {
    /// A desk that refuses value records until [`Desk::check_with`].
    pub(super) fn new() -> Self {
        Self {
            connections: HashMap::new(),
            shut_out: HashMap::new(),
            closing: Vec::new(),
            questions: Turns::new(QUESTIONS),
            providers: Turns::new(PROVIDERS),
            values: Turns::new(VALUES),
            unchecked: VecDeque::new(),
            checking: None,
            decided: VecDeque::new(),
            timer: None,
            offered: None,
        }
    }

    /// Has value records checked, and kept, by `offered` from now on.
    pub(super) fn check_with(&mut self, offered: Arc<Offered>) {
        self.offered = Some(offered);
    }

    pub(super) fn connected(&mut self, connection: ConnectionId, remote: &Multiaddr) {
        let origin = Origin {
            group: ip_group(remote).unwrap_or_default(),
            ip: ip(remote),
            dropped: 0,
        };
        self.connections.insert(connection, origin);
    }

    /// Whether nobody is let in from there for now.
    pub(super) fn is_shut_out(&self, remote: &Multiaddr, now: Instant) -> bool {
        let until = ip(remote).and_then(|ip| self.shut_out.get(&ip));
        until.is_some_and(|until| *until > now)
    }

    /// A connection that is to be closed.
    pub(super) fn next_to_close(&mut self) -> Option<(PeerId, ConnectionId)> {
        self.closing.pop()
    }

    /// Counts a provider record that was dropped, and closes the connection after too many.
    fn note_dropped(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) {
        let Some(origin) = self.connections.get_mut(&connection) else {
            return;
        };
        origin.dropped += 1;
        if origin.dropped != MAX_DROPPED {
            return;
        }
        self.closing.push((peer, connection));
        if let Some(ip) = origin.ip {
            if self.shut_out.len() >= MAX_SHUT_OUT {
                self.shut_out.retain(|_, until| *until > now);
            }
            if self.shut_out.len() < MAX_SHUT_OUT {
                self.shut_out.insert(ip, now + SHUT_OUT);
            }
        }
    }

    /// Forgets what came over a connection that has ended.
    pub(super) fn disconnected(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        let is_open = |request: &Request| request.connection != connection;
        for turns in [&mut self.questions, &mut self.providers, &mut self.values] {
            turns.retain(is_open);
        }
        self.unchecked.retain(is_open);
        self.decided.retain(|(request, _)| is_open(request));
    }

    /// Takes a request in; what becomes of it comes out of [`Desk::poll`]. Only requests may come here, no answers.
    pub(super) fn take(&mut self, mut request: Request, now: Instant) {
        let group = self.group(&request);
        let turn = match &mut request.event {
            FromPeer::AddProvider { key, provider }
                if !fits(key, MAX_PROVIDER_KEY_BYTES) || provider.multiaddrs.len() > MAX_ADDRESSES_TOLD =>
            {
                Turn::Never(request)
            }
            FromPeer::AddProvider { .. } => self.providers.ask(group, request, now),
            FromPeer::PutRecord { record, .. } => {
                if record.value.len() > MAX_VALUE_BYTES || !fits(&record.key, MAX_VALUE_KEY_BYTES) {
                    Turn::Never(request)
                } else {
                    // Without these, which others may set as they like, libp2p confirms nothing but what was kept.
                    record.publisher = None;
                    record.expires = None;
                    match self.values.ask(group, request, now) {
                        Turn::Now(request) => return self.check_later(request),
                        turn => turn,
                    }
                }
            }
            FromPeer::FindNodeReq { key, .. } if key.len() > MAX_SOUGHT_BYTES => Turn::Never(request),
            FromPeer::GetRecord { key, .. } | FromPeer::GetProvidersReq { key, .. } if !fits(key, MAX_SOUGHT_BYTES) => {
                Turn::Never(request)
            }
            _ => self.questions.ask(group, request, now),
        };
        match turn {
            Turn::Now(request) => self.answer(request),
            Turn::Later => {}
            Turn::Never(request) => {
                if let FromPeer::AddProvider { .. } = request.event {
                    self.note_dropped(request.peer, request.connection, now);
                }
                self.decided.push_back((request, Outcome::Refuse));
            }
        }
    }

    /// The next request of which it is known what becomes of it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Request, Outcome)> {
        loop {
            if let Some(decided) = self.decided.pop_front() {
                return Poll::Ready(decided);
            }
            if self.poll_turns(cx).is_pending() && self.poll_checks(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Ready when the turn of something has come.
    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let nexts = [self.questions.next(), self.values.next()];
        let Some(next) = nexts.into_iter().flatten().min() else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        ready!(timer.as_mut().poll(cx));
        let now = Instant::now();
        for request in self.questions.due(now) {
            self.answer(request);
        }
        for request in self.values.due(now) {
            self.check_later(request);
        }
        Poll::Ready(())
    }

    /// Ready when something has been checked, or is being checked from now on.
    fn poll_checks(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(checking) = &mut self.checking {
            let verdicts = ready!(Pin::new(&mut checking.verdicts).poll(cx));
            // A check that came to no end is none that was passed.
            let mut verdicts = verdicts.unwrap_or_default().into_iter();
            for request in self.checking.take().into_iter().flat_map(|checking| checking.requests) {
                let outcome = match verdicts.next() {
                    Some(true) => Outcome::Kept,
                    _ => Outcome::Refuse,
                };
                self.decided.push_back((request, outcome));
            }
            return Poll::Ready(());
        }
        let Some(offered) = self.offered.clone().filter(|_| !self.unchecked.is_empty()) else {
            return Poll::Pending;
        };
        let count = self.unchecked.len().min(CHECKED_AT_ONCE);
        let requests: Vec<Request> = self.unchecked.drain(..count).collect();
        let records: Vec<_> = requests
            .iter()
            .map(|request| (self.owner(request), record(request)))
            .collect();
        let verdicts = tokio::task::spawn_blocking(move || {
            let check = |(owner, (key, value)): (Owner, (Vec<u8>, Vec<u8>))| offered(&key, &value, owner);
            records.into_iter().map(check).collect()
        });
        self.checking = Some(Checking { requests, verdicts });
        Poll::Ready(())
    }

    fn answer(&mut self, request: Request) {
        let owner = self.owner(&request);
        self.decided.push_back((request, Outcome::Answer(owner)));
    }

    fn check_later(&mut self, request: Request) {
        if self.offered.is_some() && self.unchecked.len() < MAX_UNCHECKED {
            self.unchecked.push_back(request);
        } else {
            self.decided.push_back((request, Outcome::Refuse));
        }
    }

    fn group(&self, request: &Request) -> IpGroup {
        let origin = self.connections.get(&request.connection);
        origin.map_or_else(IpGroup::default, |origin| origin.group)
    }

    fn owner(&self, request: &Request) -> Owner {
        Owner::new(self.group(request), &request.peer)
    }
}

fn fits(key: &RecordKey, limit: usize) -> bool {
    (1..=limit).contains(&key.as_ref().len())
}

fn record(request: &Request) -> (Vec<u8>, Vec<u8>) {
    match &request.event {
        FromPeer::PutRecord { record, .. } => (record.key.to_vec(), record.value.clone()),
        _ => Default::default(),
    }
}

/// A refusal of what was asked, if anybody waits for an answer: nothing is known here. In answer to a put that is a record without a
/// value, as if it had been asked for: libp2p takes an answer to a put for a confirmation whatever is in it, and go-libp2p-kad-dht
/// (0.42 at least, which is Kubo's) looks at the value in the record of any answer, and dies of one that has no record.
pub(super) fn refusal(request: FromPeer) -> Option<ToPeer> {
    let closer_peers = Vec::new();
    match request {
        FromPeer::PutRecord { record, request_id } => Some(ToPeer::GetRecordRes {
            record: Some(Record::new(record.key, Vec::new())),
            closer_peers,
            request_id,
        }),
        FromPeer::FindNodeReq { request_id, .. } => Some(ToPeer::FindNodeRes {
            closer_peers,
            request_id,
        }),
        FromPeer::GetProvidersReq { request_id, .. } => Some(ToPeer::GetProvidersRes {
            closer_peers,
            provider_peers: Vec::new(),
            request_id,
        }),
        FromPeer::GetRecord { request_id, .. } => Some(ToPeer::GetRecordRes {
            record: None,
            closer_peers,
            request_id,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use libp2p::kad::{ConnectionType, KadPeer};

    use super::*;

    fn provider(connection: usize, key_bytes: usize) -> Request {
        let peer = PeerId::random();
        let provider = KadPeer {
            node_id: peer,
            multiaddrs: Vec::new(),
            connection_ty: ConnectionType::Connected,
        };
        Request {
            peer,
            connection: ConnectionId::new_unchecked(connection),
            event: FromPeer::AddProvider {
                key: vec![7; key_bytes].into(),
                provider,
            },
        }
    }

    /// A desk with connections 1 and 2 from one network and 3 from another.
    fn desk() -> Desk {
        let mut desk = Desk::new();
        for (connection, address) in [(1, "93.184.1.1"), (2, "93.184.2.2"), (3, "93.185.1.1")] {
            let address = format!("/ip4/{address}/tcp/1").parse().unwrap();
            desk.connected(ConnectionId::new_unchecked(connection), &address);
        }
        desk
    }

    fn decided(desk: &mut Desk) -> Vec<Outcome> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut outcomes = Vec::new();
        while let Poll::Ready((_, outcome)) = desk.poll(&mut cx) {
            outcomes.push(outcome);
        }
        outcomes
    }

    fn is_refused(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Refuse)
    }

    #[test]
    fn a_key_over_the_limit_is_refused_at_sight() {
        let (mut desk, now) = (desk(), Instant::now());
        for key_bytes in [MAX_PROVIDER_KEY_BYTES, MAX_PROVIDER_KEY_BYTES + 1, 0] {
            desk.take(provider(1, key_bytes), now);
        }
        let refused: Vec<bool> = decided(&mut desk).iter().map(is_refused).collect();
        assert_eq!(refused, [false, true, true]);
    }

    #[test]
    fn provider_records_over_the_rate_of_a_network_are_dropped_and_no_others() {
        let (mut desk, now) = (desk(), Instant::now());
        for number in 0..PROVIDERS.burst as usize {
            desk.take(provider(1 + number % 2, 34), now);
        }
        assert!(!decided(&mut desk).iter().any(is_refused));
        for connection in [1, 2, 3] {
            desk.take(provider(connection, 34), now);
        }
        let refused: Vec<bool> = decided(&mut desk).iter().map(is_refused).collect();
        assert_eq!(refused, [true, true, false]);
    }

    #[test]
    fn who_goes_on_after_the_limit_is_hung_up_on_and_shut_out_for_a_while() {
        let (mut desk, now) = (desk(), Instant::now());
        let from: Multiaddr = "/ip4/93.184.1.1/tcp/9".parse().unwrap();
        let neighbour: Multiaddr = "/ip4/93.184.2.2/tcp/9".parse().unwrap();
        for number in 1..=MAX_DROPPED {
            assert_eq!(
                (desk.next_to_close(), desk.is_shut_out(&from, now)),
                (None, false),
                "{number}"
            );
            desk.take(provider(1, MAX_PROVIDER_KEY_BYTES + 1), now);
        }
        assert_eq!(
            desk.next_to_close().map(|(_, connection)| connection),
            Some(ConnectionId::new_unchecked(1))
        );
        desk.take(provider(1, MAX_PROVIDER_KEY_BYTES + 1), now);
        assert_eq!(desk.next_to_close(), None, "once is enough");
        assert!(desk.is_shut_out(&from, now) && !desk.is_shut_out(&neighbour, now));
        assert!(!desk.is_shut_out(&from, now + SHUT_OUT));
        // What is remembered of them is bounded.
        for number in 0..=MAX_SHUT_OUT {
            let [.., a, b] = number.to_be_bytes();
            let connection = ConnectionId::new_unchecked(100 + number);
            desk.connected(connection, &format!("/ip4/93.1.{a}.{b}/tcp/1").parse().unwrap());
            (0..MAX_DROPPED).for_each(|_| desk.note_dropped(PeerId::random(), connection, now));
        }
        assert_eq!(desk.shut_out.len(), MAX_SHUT_OUT);
    }

    #[test]
    fn a_provider_with_addresses_over_the_limit_is_dropped() {
        let mut desk = desk();
        for addresses in [MAX_ADDRESSES_TOLD, MAX_ADDRESSES_TOLD + 1] {
            let mut request = provider(1, 34);
            if let FromPeer::AddProvider { provider, .. } = &mut request.event {
                provider.multiaddrs = vec!["/ip4/10.0.0.1/tcp/1".parse().unwrap(); addresses];
            }
            desk.take(request, Instant::now());
        }
        let refused: Vec<bool> = decided(&mut desk).iter().map(is_refused).collect();
        assert_eq!(refused, [false, true]);
    }

    #[tokio::test]
    async fn one_record_over_the_limit_is_not_checked_and_what_is_checked_is_told() {
        let mut desk = desk();
        desk.check_later(provider(1, 34));
        assert!(decided(&mut desk).iter().all(is_refused), "nobody checks it");
        desk.check_with(Arc::new(|_, _, owner| owner == Owner::default()));
        for _ in 0..=MAX_UNCHECKED {
            desk.check_later(provider(1, 34));
        }
        assert_eq!(
            desk.decided
                .drain(..)
                .filter(|(_, outcome)| is_refused(outcome))
                .count(),
            1
        );
        desk.disconnected(ConnectionId::new_unchecked(1));
        assert!(desk.unchecked.is_empty(), "nobody waits for it any more");
        (0..2 * CHECKED_AT_ONCE).for_each(|_| desk.check_later(provider(3, 34)));
        for _ in 0..2 * CHECKED_AT_ONCE {
            let (_, outcome) = poll_fn(|cx| desk.poll(cx)).await;
            assert!(is_refused(&outcome));
        }
        desk.check_with(Arc::new(|_, _, _| true));
        desk.check_later(provider(3, 34));
        let (_, outcome) = poll_fn(|cx| desk.poll(cx)).await;
        assert!(matches!(outcome, Outcome::Kept));
        // A check that panics is none that was passed.
        desk.check_with(Arc::new(|_, _, _| panic!("told")));
        desk.check_later(provider(3, 34));
        let (_, outcome) = poll_fn(|cx| desk.poll(cx)).await;
        assert!(is_refused(&outcome));
    }
}
