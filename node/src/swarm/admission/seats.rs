//! Who sits where, and who gets up for a newcomer: rules only, without a swarm or a clock.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

use crate::address::IpGroup;

/// Connections to one peer: simultaneous dials make two, a change of address a third.
pub(super) const MAX_PER_PEER: usize = 4;
/// Connections that are being closed for newcomers at the same time: each still has its socket.
pub(super) const MAX_LEAVING: usize = 32;
/// Neighbours of one IP group that are kept while idle. On one machine, each program is one.
pub(super) const MAX_NEIGHBOURS_PER_GROUP: usize = 16;
/// How many connections of one IP group are treated like those of any other when seats are short.
pub(super) const FAIR_PER_GROUP: usize = 4;
/// A connection that was made or used within this time is not idle.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// Time to say who one is and what one speaks, by identify. A slow link takes a second.
pub(super) const IDENTIFY_WITHIN: Duration = Duration::from_secs(20);
/// Use is noted with this delay at most, and the swarm ends most idle connections itself: only those that keep it from doing
/// so are ended here.
pub(super) const IDLE_MARGIN: Duration = Duration::from_secs(5);

/// How many connections there may be. Peers that the user named do not count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) total: usize,
    /// Fewer than in total: room for our own dials is kept even when strangers want all of it.
    pub(super) inbound: usize,
    /// How long a connection may be unused.
    pub(super) idle: Duration,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// Every connection is in use, or belongs to somebody who has fewer than the newcomer.
    #[error("all {0} connections are in use")]
    Everywhere(usize),
    /// The peer has as many as one peer may have.
    #[error("there are {MAX_PER_PEER} connections to this peer already")]
    ByPeer,
}

#[derive(Debug)]
struct Seat {
    peer: PeerId,
    group: Option<IpGroup>,
    inbound: bool,
    since: Instant,
    used: Option<Instant>,
    identified: bool,
}

impl Seat {
    fn last_use(&self) -> Instant {
        self.used.unwrap_or(self.since)
    }
}

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Seats {
    limits: Limits,
    seats: HashMap<ConnectionId, Seat>,
    leaving: HashSet<ConnectionId>,
    named: HashSet<PeerId>,
    neighbours: HashSet<PeerId>,
    in_table: HashSet<PeerId>,
}

/// The rank of a connection when one must go; the lowest goes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Silent,
    Idle,
    IdleInTable,
    Used,
    Neighbour,
}

impl Seats {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            seats: HashMap::new(),
            leaving: HashSet::new(),
            named: HashSet::new(),
            neighbours: HashSet::new(),
            in_table: HashSet::new(),
        }
    }

    /// Whether there is a connection at all.
    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether the user named this peer.
    pub(super) fn is_named(&self, peer: &PeerId) -> bool {
        self.named.contains(peer)
    }

    /// Never refuses or ends connections to `peer` from now on.
    pub(super) fn name(&mut self, peer: PeerId) {
        self.named.insert(peer);
    }

    /// Treats `peer` as any other from now on.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.named.remove(peer);
        self.neighbours.remove(peer);
    }

    /// Keeps an idle connection to a peer of the local network. Returns whether its address has not too many of them.
    pub(super) fn welcome(&mut self, peer: PeerId) -> bool {
        if self.neighbours.contains(&peer) {
            return true;
        }
        let groups: HashSet<_> = self.of_peer(&peer).map(|seat| seat.group).collect();
        let others: HashSet<_> = self
            .seats
            .values()
            .filter(|seat| groups.contains(&seat.group) && self.neighbours.contains(&seat.peer))
            .map(|seat| seat.peer)
            .collect();
        let room = others.len() < MAX_NEIGHBOURS_PER_GROUP;
        if room {
            self.neighbours.insert(peer);
        }
        room
    }

    /// Peers in a routing table: of two idle ones, the other one goes.
    pub(super) fn set_table(&mut self, peers: HashSet<PeerId>) {
        self.in_table = peers;
    }

    /// Something worth a connection was done on it.
    pub(super) fn used(&mut self, connection: &ConnectionId, now: Instant) {
        if let Some(seat) = self.seats.get_mut(connection) {
            seat.used = Some(now);
        }
    }

    /// As [`used`](Self::used), for all connections to these peers.
    pub(super) fn used_by(&mut self, peers: &HashSet<PeerId>, now: Instant) {
        for seat in self.seats.values_mut().filter(|seat| peers.contains(&seat.peer)) {
            seat.used = Some(now);
        }
    }

    /// The peer has said what it speaks.
    pub(super) fn identified(&mut self, connection: &ConnectionId) {
        if let Some(seat) = self.seats.get_mut(connection) {
            seat.identified = true;
        }
    }

    /// The connection is there. [`ask`](Self::ask) came before.
    pub(super) fn sit(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        group: Option<IpGroup>,
        inbound: bool,
        now: Instant,
    ) {
        self.seats.insert(
            connection,
            Seat {
                peer,
                group,
                inbound,
                since: now,
                used: None,
                identified: false,
            },
        );
    }

    /// The connection is gone.
    pub(super) fn leave(&mut self, connection: &ConnectionId) {
        self.leaving.remove(connection);
        let Some(seat) = self.seats.remove(connection) else {
            return;
        };
        if self.of_peer(&seat.peer).next().is_none() {
            self.neighbours.remove(&seat.peer);
        }
    }

    /// The connection is told to end; its seat counts as free.
    pub(super) fn send_away(&mut self, connection: ConnectionId) {
        self.leaving.insert(connection);
    }

    fn of_peer<'a>(&'a self, peer: &'a PeerId) -> impl Iterator<Item = &'a Seat> {
        self.seats.values().filter(move |seat| seat.peer == *peer)
    }

    /// Connections that count, those that are on their way out left aside.
    fn strangers(&self) -> impl Iterator<Item = (&ConnectionId, &Seat)> {
        let counts = |(id, seat): &(&ConnectionId, &Seat)| !self.leaving.contains(id) && !self.is_named(&seat.peer);
        self.seats.iter().filter(counts)
    }

    /// Whether one more connection may be made: at once, or in the place of the one that is returned.
    pub(super) fn ask(
        &self,
        peer: &PeerId,
        group: Option<IpGroup>,
        inbound: bool,
        now: Instant,
    ) -> Result<Option<(PeerId, ConnectionId)>, Full> {
        if self.is_named(peer) {
            return Ok(None);
        }
        if self.of_peer(peer).count() >= MAX_PER_PEER {
            return Err(Full::ByPeer);
        }
        self.ask_as_stranger(group, inbound, now)
    }

    /// As [`ask`](Self::ask), when it is not known yet who it is.
    pub(super) fn ask_as_stranger(
        &self,
        group: Option<IpGroup>,
        inbound: bool,
        now: Instant,
    ) -> Result<Option<(PeerId, ConnectionId)>, Full> {
        let total = self.strangers().count();
        let inwards = self.strangers().filter(|(_, seat)| seat.inbound).count();
        if total < self.limits.total && (!inbound || inwards < self.limits.inbound) {
            return Ok(None);
        }
        let full = Full::Everywhere(if inbound {
            self.limits.inbound
        } else {
            self.limits.total
        });
        if self.leaving.len() >= MAX_LEAVING {
            return Err(full);
        }
        self.least(group, inbound, now).map(Some).ok_or(full)
    }

    /// Who goes for a newcomer from `newcomer`.
    ///
    /// A stranger can only push out its own kind: connections of groups that have no fewer than its own. An idle
    /// connection goes whatever its group has; one in use, or of a neighbour, when its group has more than its part.
    fn least(&self, newcomer: Option<IpGroup>, inbound: bool, now: Instant) -> Option<(PeerId, ConnectionId)> {
        let mut sizes: HashMap<Option<IpGroup>, usize> = HashMap::new();
        for (_, seat) in self.strangers() {
            *sizes.entry(seat.group).or_default() += 1;
        }
        let size = |group| sizes.get(&group).copied().unwrap_or(0);
        // Our own dials are not ended for strangers; for our own dials, anything idle is.
        let own = if inbound { size(newcomer) } else { 0 };
        self.strangers()
            .filter(|(_, seat)| seat.inbound || !inbound)
            .filter_map(|(id, seat)| {
                let size = size(seat.group);
                let rank = self.rank(seat, now);
                let goes = match rank {
                    Rank::Silent | Rank::Idle | Rank::IdleInTable if self.is_idle(seat, now) => size >= own,
                    _ => size > own + 1 && size > FAIR_PER_GROUP,
                };
                let crowd = if size > FAIR_PER_GROUP { size } else { 0 };
                goes.then_some(((Reverse(crowd), rank, seat.last_use()), (seat.peer, *id)))
            })
            .min_by(|a, b| a.0.cmp(&b.0))
            .map(|(_, goes)| goes)
    }

    fn is_idle(&self, seat: &Seat, now: Instant) -> bool {
        now.saturating_duration_since(seat.last_use()) >= GRACE
    }

    fn rank(&self, seat: &Seat, now: Instant) -> Rank {
        if self.neighbours.contains(&seat.peer) {
            Rank::Neighbour
        } else if seat.used.is_some() && !self.is_idle(seat, now) {
            Rank::Used
        } else if self.in_table.contains(&seat.peer) {
            Rank::IdleInTable
        } else if seat.identified {
            Rank::Idle
        } else {
            Rank::Silent
        }
    }

    /// Connections whose time is over: unused for too long, or to a peer that never said what it speaks.
    pub(super) fn overdue(&self, now: Instant) -> Vec<(PeerId, ConnectionId)> {
        self.strangers()
            .filter(|(_, seat)| {
                let unused = now.saturating_duration_since(seat.last_use());
                let mute = !seat.identified && unused >= IDENTIFY_WITHIN;
                let idle = unused >= self.limits.idle + IDLE_MARGIN && !self.neighbours.contains(&seat.peer);
                mute || idle
            })
            .map(|(id, seat)| (seat.peer, *id))
            .collect()
    }
}
