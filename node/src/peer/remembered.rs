//! DHT servers that answered in this run or an earlier one, so that a peer finds its network again when nobody who is known
//! to everybody answers any more.
//!
//! Only who was reached from here is remembered, with the addresses that worked: what others say of themselves would let
//! anybody fill the memory. It is bounded in all, and for each network of addresses, so that no single operator has it for
//! himself. Who fails again and again leaves; a failure counts only while others are reached, because a machine that is off
//! the network reaches nobody. Peers of the public network and those of the local one, to which whoever the user named belongs,
//! have room of their own.
//!
//! It is in memory, so that the task that owns the swarm never waits for a disk, and written to a [`Table`] behind that.
//!
//! | key | value |
//! |---|---|
//! | `P` peer id | answered `u64 BE` (seconds since 1970), failures `u8`, named `u8`, then `length u16 BE` address, … |
//! | `R` | when anybody last answered, `u64 BE` |
//!
//! Of a private network, before each key: `K` and the fingerprint of its key. Those of one network are strangers in another.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use crate::address::{IpGroup, Reach, ip_group, reach};
use crate::clock::{Clock, from_unix};
use crate::routing::Network;
use crate::store::{Change, Store, StoreError, Table};
use crate::swarm::NetworkKey;
use crate::threads::{blocking, lock};

/// Table of a store in which they are.
pub(crate) const TABLE: &str = "peers";

/// Peers of the public network that are remembered, at most.
const MAX_WAN: usize = 256;
/// Peers of the local network and peers that the user named that are remembered, at most.
const MAX_LAN: usize = 64;
/// Of either, how many are of one IP group at most.
const MAX_PER_GROUP: usize = 8;
/// Addresses of one peer, at most; the one that worked last comes first.
const MAX_ADDRESSES: usize = 4;
/// The longest address, in bytes.
const MAX_ADDRESS_BYTES: usize = 256;
/// The longest entry of the table.
const MAX_ENTRY_BYTES: usize = 10 + MAX_ADDRESSES * (2 + MAX_ADDRESS_BYTES);
/// Entries of the table that are looked at, at most.
const MAX_READ: usize = 2 * (MAX_WAN + MAX_LAN);
/// Failures in a row after which a peer leaves.
const MAX_FAILURES: u8 = 4;
/// Further failures of a peer within this time count as one.
const FAILURES_APART: Duration = Duration::from_secs(600);
/// A failure counts if anybody else answered within this time before it, or [`HEARD_AFTER`] after it.
const HEARD_BEFORE: Duration = Duration::from_secs(60);
/// As long as a dial takes at most: those that go out together end within it.
const HEARD_AFTER: Duration = Duration::from_secs(10);
/// Failures that wait for somebody to answer, at most.
const MAX_WAITING: usize = 64;
/// A peer that has been silent for so long makes room for another one.
const STALE: u64 = 24 * 3600;
/// How much later an answer is than the one that is written, to be written too.
const NOTED_EVERY: u64 = 600;
/// How often what changed is written, in the background.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);

const PEER: u8 = b'P';
const REACHED: u8 = b'R';
const PRIVATE: u8 = b'K';

/// What is remembered of earlier runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// How many peers.
    pub peers: usize,
    /// When any peer of a network last answered; nothing if none ever did.
    pub reached: Option<SystemTime>,
}

/// What a store remembers of the network, the private one of a key or the public one. A running peer writes what changed every
/// few seconds.
///
/// # Errors
/// The store cannot be read.
pub fn memory(store: &Store, key: Option<&NetworkKey>) -> Result<Memory, StoreError> {
    let table = store.table(TABLE)?;
    let remembered = Remembered::open(&table, key, &Clock::system());
    let kept = lock(&remembered.shared.kept);
    Ok(Memory {
        peers: kept.peers.len(),
        reached: (kept.reached > 0).then(|| from_unix(kept.reached)),
    })
}

/// Up to `limit` of the peers that a store remembers of each network, those first that would be dialled first.
///
/// # Errors
/// The store cannot be read.
pub fn remembered(
    store: &Store,
    key: Option<&NetworkKey>,
    limit: usize,
) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, StoreError> {
    let remembered = Remembered::open(&store.table(TABLE)?, key, &Clock::system());
    let of = |network| remembered.choose(network, limit, &HashSet::new());
    Ok(Network::BOTH.into_iter().flat_map(of).collect())
}

/// The memory. Clones share it.
#[derive(Clone)]
pub(crate) struct Remembered {
    shared: Arc<Shared>,
}

struct Shared {
    table: Table,
    /// What every key begins with.
    realm: Vec<u8>,
    clock: Clock,
    kept: Mutex<Kept>,
    /// Held from reading what is to be written until it is.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Kept {
    peers: HashMap<PeerId, Peer>,
    /// Peers whose entries in the table are not what is here.
    changed: HashSet<PeerId>,
    /// When anybody last answered, in seconds since 1970, and what of that is in the table.
    reached: u64,
    reached_written: u64,
    /// When a peer of either network last answered in this run.
    heard: [Option<Instant>; 2],
    /// Failures of late, before anybody was heard.
    waiting: Vec<(PeerId, Instant)>,
}

struct Peer {
    /// When it last answered, in seconds since 1970.
    answered: u64,
    /// The same as it is in the table.
    written: u64,
    failures: u8,
    failed_at: Option<Instant>,
    /// The user once named it: it is asked like one of the local network, wherever it is.
    named: bool,
    /// Never empty.
    addresses: Vec<Multiaddr>,
}

impl Peer {
    fn network(&self) -> Network {
        let public = self.addresses.iter().any(|address| reach(address) == Reach::Public);
        if public && !self.named {
            Network::Wan
        } else {
            Network::Lan
        }
    }

    fn group(&self) -> Option<IpGroup> {
        self.addresses.first().and_then(ip_group)
    }

    fn may_go(&self, now: u64) -> bool {
        self.failures > 0 || self.answered.saturating_add(STALE) < now
    }
}

impl Remembered {
    /// Reads the table once: call it where blocking is allowed. What cannot be read is forgotten.
    pub(super) fn open(table: &Table, key: Option<&NetworkKey>, clock: &Clock) -> Self {
        let realm = key.map_or_else(Vec::new, |key| [&[PRIVATE], key.fingerprint().as_bytes()].concat());
        let now = clock.unix();
        let mut kept = Kept::default();
        match table.get(&at(&realm, REACHED, &[])) {
            Ok(Some(value)) => {
                kept.reached = value.first_chunk().map_or(0, |at| u64::from_be_bytes(*at)).min(now);
                kept.reached_written = kept.reached;
            }
            Ok(None) => {}
            Err(error) => log(Err(error)),
        }
        let peers = at(&realm, PEER, &[]);
        for entry in table.scan_prefix(&peers).take(MAX_READ) {
            let (key, value) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    log(Err(error));
                    break;
                }
            };
            let Some(peer) = key.get(peers.len()..).and_then(|id| PeerId::from_bytes(id).ok()) else {
                continue;
            };
            let admitted = decode(&value, now).is_some_and(|entry| kept.admit(peer, entry, now));
            if !admitted {
                kept.changed.insert(peer);
            }
        }
        Self {
            shared: Arc::new(Shared {
                table: table.clone(),
                realm,
                clock: clock.clone(),
                kept: Mutex::new(kept),
                writing: Mutex::default(),
            }),
        }
    }

    /// A DHT server that was reached at `addresses` has answered. `named`: the user named it.
    pub(super) fn answered(&self, peer: PeerId, addresses: &[Multiaddr], named: bool, at: Instant) {
        let now = self.shared.clock.unix();
        let mut kept = lock(&self.shared.kept);
        let before = kept.peers.remove(&peer);
        let known = before.iter().flat_map(|peer| &peer.addresses);
        let mut all: Vec<Multiaddr> = Vec::new();
        for address in addresses.iter().chain(known) {
            let usable =
                reach(address) > Reach::Nowhere && address.len() <= MAX_ADDRESS_BYTES && ip_group(address).is_some();
            if usable && !all.contains(address) && all.len() < MAX_ADDRESSES {
                all.push(address.clone());
            }
        }
        let (named_before, written) = before.as_ref().map_or((false, 0), |peer| (peer.named, peer.written));
        let entry = Peer {
            answered: now,
            written,
            failures: 0,
            failed_at: None,
            named: named || named_before,
            addresses: all,
        };
        let existed = before.is_some();
        let same = before.is_some_and(|before| {
            before.addresses == entry.addresses
                && before.named == entry.named
                && before.failures == 0
                && now < before.written.saturating_add(NOTED_EVERY)
        });
        if entry.addresses.is_empty() {
            return;
        }
        let network = entry.network();
        let admitted = kept.admit(peer, entry, now);
        if (admitted && !same) || (!admitted && existed) {
            kept.changed.insert(peer);
        }
        kept.heard(network, now, at);
    }

    /// A connected peer has answered again; nothing if it is not remembered.
    pub(super) fn alive(&self, peer: &PeerId, at: Instant) {
        let now = self.shared.clock.unix();
        let mut kept = lock(&self.shared.kept);
        let Some(entry) = kept.peers.get_mut(peer) else {
            return;
        };
        entry.answered = now;
        let (network, due) = (entry.network(), now >= entry.written.saturating_add(NOTED_EVERY));
        if due {
            kept.changed.insert(*peer);
        }
        kept.heard(network, now, at);
    }

    /// A remembered peer could not be reached at any of its addresses.
    pub(super) fn failed(&self, peer: PeerId, at: Instant) {
        let mut kept = lock(&self.shared.kept);
        let Some(entry) = kept.peers.get(&peer) else {
            return;
        };
        let heard = kept.heard_of(entry.network());
        if heard.is_some_and(|heard| at.saturating_duration_since(heard) < HEARD_BEFORE) {
            kept.count_failure(peer, at);
        } else if kept.waiting.len() < MAX_WAITING {
            kept.waiting.push((peer, at));
        }
    }

    /// Whether the user once named it.
    pub(super) fn is_named(&self, peer: &PeerId) -> bool {
        lock(&self.shared.kept).peers.get(peer).is_some_and(|peer| peer.named)
    }

    /// Up to `limit` peers to dial, `tried` left out: those that failed least and answered last, of as many IP groups as there
    /// are.
    pub(super) fn choose(
        &self,
        network: Network,
        limit: usize,
        tried: &HashSet<PeerId>,
    ) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let kept = lock(&self.shared.kept);
        let mut all: Vec<(&PeerId, &Peer)> = kept
            .peers
            .iter()
            .filter(|(id, peer)| peer.network() == network && !tried.contains(id))
            .collect();
        all.sort_by_key(|(id, peer)| (peer.failures, std::cmp::Reverse(peer.answered), **id));
        let mut groups = HashSet::new();
        let (first, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, peer)| groups.insert(peer.group()));
        let chosen = first.into_iter().chain(others).take(limit);
        chosen.map(|(id, peer)| (*id, peer.addresses.clone())).collect()
    }

    /// Writes what changed for as long as the peer runs.
    pub(super) async fn run_writer(self) {
        loop {
            tokio::time::sleep(WRITE_INTERVAL).await;
            let remembered = self.clone();
            blocking(move || remembered.write_out()).await;
        }
    }

    /// Writes what changed. Blocking.
    pub(super) fn write_out(&self) {
        let _writing = lock(&self.shared.writing);
        let mut changes: Vec<Change> = Vec::new();
        {
            let mut kept = lock(&self.shared.kept);
            for id in std::mem::take(&mut kept.changed) {
                let value = kept.peers.get_mut(&id).map(|peer| {
                    peer.written = peer.answered;
                    encode(peer)
                });
                changes.push((at(&self.shared.realm, PEER, &id.to_bytes()), value));
            }
            let reached = kept.reached;
            if reached >= kept.reached_written.saturating_add(NOTED_EVERY) || (!changes.is_empty() && reached > 0) {
                kept.reached_written = reached;
                changes.push((
                    at(&self.shared.realm, REACHED, &[]),
                    Some(reached.to_be_bytes().to_vec()),
                ));
            }
        }
        if !changes.is_empty() {
            log(self.shared.table.apply(&changes));
        }
    }
}

/// A key of the table.
fn at(realm: &[u8], kind: u8, rest: &[u8]) -> Vec<u8> {
    [realm, &[kind], rest].concat()
}

impl Kept {
    /// Takes a peer in, in place of another one where there is no room. Whether it did.
    fn admit(&mut self, id: PeerId, peer: Peer, now: u64) -> bool {
        let (network, group) = (peer.network(), peer.group());
        let limit = match network {
            Network::Lan => MAX_LAN,
            Network::Wan => MAX_WAN,
        };
        let mut sizes: HashMap<Option<IpGroup>, usize> = HashMap::new();
        let mut all = 0;
        for other in self.peers.values().filter(|other| other.network() == network) {
            *sizes.entry(other.group()).or_default() += 1;
            all += 1;
        }
        let size = |of: &Peer| sizes.get(&of.group()).copied().unwrap_or_default();
        let own = sizes.get(&group).copied().unwrap_or_default();
        if own >= MAX_PER_GROUP || all >= limit {
            let of_network = self.peers.iter().filter(|(_, other)| other.network() == network);
            let may_go = of_network.filter(|(_, other)| match own >= MAX_PER_GROUP {
                true => other.group() == group && other.may_go(now),
                // Who answers stays, unless its network has more than its part.
                false => other.may_go(now) || size(other) > own + 1,
            });
            let goes = may_go.max_by_key(|(_, other)| (other.failures, size(other), std::cmp::Reverse(other.answered)));
            let Some(goes) = goes.map(|(id, _)| *id) else {
                return false;
            };
            self.peers.remove(&goes);
            self.changed.insert(goes);
        }
        self.peers.insert(id, peer);
        true
    }

    fn heard_of(&self, network: Network) -> Option<Instant> {
        let [lan, wan] = self.heard;
        match network {
            Network::Lan => lan,
            Network::Wan => wan,
        }
    }

    fn heard(&mut self, network: Network, now: u64, at: Instant) {
        self.reached = self.reached.max(now);
        let [lan, wan] = &mut self.heard;
        match network {
            Network::Lan => *lan = Some(at),
            Network::Wan => *wan = Some(at),
        }
        let lately = std::mem::take(&mut self.waiting).into_iter();
        let lately = lately.filter(|(_, failed)| at.saturating_duration_since(*failed) < HEARD_AFTER);
        let is_of_it = |id: &PeerId| self.peers.get(id).is_some_and(|peer| peer.network() == network);
        let (waiting, of_other): (Vec<_>, Vec<_>) = lately.partition(|(id, _)| is_of_it(id));
        self.waiting = of_other;
        for (peer, failed) in waiting {
            self.count_failure(peer, failed);
        }
    }

    fn count_failure(&mut self, id: PeerId, at: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer
            .failed_at
            .is_some_and(|before| at.saturating_duration_since(before) < FAILURES_APART)
        {
            return;
        }
        peer.failed_at = Some(at);
        peer.failures = peer.failures.saturating_add(1);
        if peer.failures >= MAX_FAILURES {
            self.peers.remove(&id);
        }
        self.changed.insert(id);
    }
}

fn encode(peer: &Peer) -> Vec<u8> {
    let mut bytes = peer.answered.to_be_bytes().to_vec();
    bytes.push(peer.failures);
    bytes.push(peer.named.into());
    for address in &peer.addresses {
        bytes.extend_from_slice(&u16::try_from(address.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(address.as_ref());
    }
    bytes
}

/// Nothing if these bytes are no entry. A time to come is that of a clock that was wrong.
fn decode(bytes: &[u8], now: u64) -> Option<Peer> {
    if bytes.len() > MAX_ENTRY_BYTES {
        return None;
    }
    let (answered, rest) = bytes.split_first_chunk::<8>()?;
    let (&[failures, named], mut rest) = rest.split_first_chunk::<2>()?;
    let mut addresses = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (address, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        let address = Multiaddr::try_from(address.to_vec()).ok()?;
        ip_group(&address).filter(|_| reach(&address) > Reach::Nowhere)?;
        addresses.push(address);
        rest = after;
    }
    let whole = rest.is_empty() && (1..=MAX_ADDRESSES).contains(&addresses.len());
    let answered = u64::from_be_bytes(*answered).min(now);
    whole.then_some(Peer {
        answered,
        written: answered,
        failures,
        failed_at: None,
        named: named != 0,
        addresses,
    })
}

fn log(done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(%error, "peers met are not remembered");
    }
}
