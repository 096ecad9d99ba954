//! Records in memory, within a budget of bytes that the networks and peers who put them share.
//!
//! Nobody has a fixed quota: who is alone may fill the shelf. Once it is full, whoever holds most of it gives way: of the
//! network (see [`IpGroup`]) with most bytes the peer with most bytes, and of its records the one whose key is farthest
//! from this peer, which is other peers' business. A flood therefore pushes out its own kind: what others hold stays as
//! long as they hold less than those who flood.
//!
//! A record is one entry of a map and of two orders: [`ENTRY_BYTES`] besides its key and value. What changed is marked, to
//! be written to a table later; a mark is a key, and what is written is what the shelf then has.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use libp2p::PeerId;
use sha2::{Digest as _, Sha256};

use crate::address::IpGroup;
use crate::store::Change;

/// What an entry costs besides the bytes of its key and value: nodes of three trees and the heads of two allocations.
const ENTRY_BYTES: usize = 320;
/// Records that wait to be written at the same time. Further ones are not written unless they are put again; that others'
/// records are lost at a restart costs a look-up elsewhere.
pub(super) const MAX_UNWRITTEN: usize = 8192;
/// A later end alone is written down once per this many seconds.
const REWRITE_SECONDS: u64 = 3600;

const OURS: u8 = 0;
const OF_OTHERS: u8 = 1;
const EXPIRES_BYTES: usize = 8;

/// Who put a record: a network and, within it, a peer, by the end of its id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    group: IpGroup,
    peer: u64,
}

impl Owner {
    pub(crate) fn new(group: IpGroup, peer: &PeerId) -> Self {
        // The end of an id is part of a key or of a hash. Two who share it share what they may keep here.
        let id = peer.to_bytes();
        let peer = id.last_chunk::<8>().map_or(0, |end| u64::from_be_bytes(*end));
        Self { group, peer }
    }

    pub(super) fn group(&self) -> IpGroup {
        self.group
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) value: Box<[u8]>,
    /// In seconds since 1970.
    pub(super) expires: u64,
    /// Nothing for a record of this peer's own: it never makes room and takes none from others.
    pub(super) owner: Option<Owner>,
    /// How near its key is to this peer: all bits set is nearest.
    nearness: u64,
    /// Whether the table has it, or will.
    on_disk: bool,
}

type Key = Arc<[u8]>;

/// See the module's words.
pub(super) struct Shelf {
    local: [u8; 32],
    room: usize,
    used: usize,
    entries: BTreeMap<Key, Kept>,
    due: BTreeSet<(u64, Key)>,
    /// The farthest record of each owner first.
    farthest: BTreeSet<(Owner, u64, Key)>,
    groups: HashMap<IpGroup, usize>,
    peers: HashMap<Owner, usize>,
    largest_groups: BTreeSet<(usize, IpGroup)>,
    largest_peers: BTreeSet<(IpGroup, usize, u64)>,
    unwritten: HashSet<Key>,
}

impl Shelf {
    /// An empty shelf of `room` bytes.
    pub(super) fn new(local: &PeerId, room: usize) -> Self {
        Self {
            local: Sha256::digest(local.to_bytes()).into(),
            room,
            used: 0,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            farthest: BTreeSet::new(),
            groups: HashMap::new(),
            peers: HashMap::new(),
            largest_groups: BTreeSet::new(),
            largest_peers: BTreeSet::new(),
            unwritten: HashSet::new(),
        }
    }

    /// The record at `key`, whatever its end.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Kept> {
        self.entries.get(key)
    }

    /// The records whose key begins with `prefix`.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a Kept)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let entries = self.entries.range::<[u8], _>(from);
        let entries = entries.map(|(key, kept)| (&key[..], kept));
        entries.take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Bytes that all of it holds.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Bytes that the network of `owner` holds.
    pub(super) fn share(&self, owner: &Owner) -> usize {
        self.groups.get(&owner.group).copied().unwrap_or_default()
    }

    /// Keeps a record, which the DHT knows as `name`, in place of any other at `key`. Without an owner it is this peer's own, and
    /// there is always room. Returns whether it is kept; if not, what was at `key` still is.
    pub(super) fn insert(&mut self, key: &[u8], name: &[u8], value: &[u8], expires: u64, owner: Option<Owner>) -> bool {
        let (key, nearness) = (Key::from(key), self.nearness(name));
        let old = self.take(&key);
        if let Some(owner) = owner
            && !self.make_room(owner, nearness, weight(&key, value))
        {
            if let Some(old) = old {
                self.place(key, old);
            }
            return false;
        }
        let is_written = |old: &Kept| {
            old.on_disk
                && *old.value == *value
                && old.owner == owner
                && old.expires / REWRITE_SECONDS == expires / REWRITE_SECONDS
        };
        let mut on_disk = old.as_ref().is_some_and(|old| old.on_disk);
        if !old.as_ref().is_some_and(is_written) && (self.unwritten.len() < MAX_UNWRITTEN || owner.is_none()) {
            self.unwritten.insert(Arc::clone(&key));
            on_disk = true;
        }
        let kept = Kept {
            value: value.into(),
            expires,
            owner,
            nearness,
            on_disk,
        };
        self.place(key, kept);
        true
    }

    /// Drops the record at `key`.
    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some((key, _)) = self.entries.get_key_value(key) {
            let key = Arc::clone(key);
            self.drop_marked(&key);
        }
    }

    /// Drops up to `limit` records whose end has come, and returns how many.
    pub(super) fn expire(&mut self, now: u64, limit: usize) -> usize {
        let mut dropped = 0;
        while dropped < limit
            && let Some((expires, key)) = self.due.first()
            && *expires <= now
        {
            let key = Arc::clone(key);
            self.drop_marked(&key);
            dropped += 1;
        }
        dropped
    }

    /// Takes a record as a table has it. Returns whether it is kept.
    pub(super) fn load(&mut self, key: &[u8], name: &[u8], stored: &[u8], now: u64) -> bool {
        let Some((owner, expires, value)) = decode(stored) else {
            return false;
        };
        if expires <= now || !self.insert(key, name, value, expires, owner) {
            return false;
        }
        self.unwritten.remove(key);
        true
    }

    /// Takes up to `limit` of the changes that a table does not have yet.
    pub(super) fn changes(&mut self, limit: usize) -> Vec<Change> {
        let keys: Vec<Key> = self.unwritten.iter().take(limit).cloned().collect();
        keys.iter().map(|key| self.change(key)).collect()
    }

    /// What a table is to have at `key`, and no longer among the changes.
    pub(super) fn change(&mut self, key: &[u8]) -> Change {
        self.unwritten.remove(key);
        (key.to_vec(), self.entries.get(key).map(encode))
    }

    fn nearness(&self, name: &[u8]) -> u64 {
        let hash: [u8; 32] = Sha256::digest(name).into();
        let head = |hash: &[u8; 32]| hash.first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head));
        !(head(&hash) ^ head(&self.local))
    }

    /// Makes room for a record of `owner`. Returns false when it would be the next to go itself.
    fn make_room(&mut self, owner: Owner, nearness: u64, needed: usize) -> bool {
        if needed > self.room {
            return false;
        }
        while self.used + needed > self.room {
            let own_share = self.share(&owner) + needed;
            let group = match self.largest_groups.last() {
                Some((share, group)) if *share > own_share => *group,
                _ => owner.group,
            };
            let own_share = if group == owner.group {
                self.peers.get(&owner).copied().unwrap_or_default() + needed
            } else {
                0
            };
            let mut peers = self.largest_peers.range((group, 0, 0)..=(group, usize::MAX, u64::MAX));
            let largest = match peers.next_back() {
                Some((_, share, peer)) if *share > own_share => Owner { group, peer: *peer },
                _ => owner,
            };
            let Some((_, farthest, key)) = self.farthest.range((largest, 0, Key::default())..).next() else {
                return false;
            };
            if self.entries.get(key).and_then(|kept| kept.owner) != Some(largest)
                || (largest == owner && *farthest >= nearness)
            {
                return false;
            }
            let key = Arc::clone(key);
            self.drop_marked(&key);
        }
        true
    }

    fn drop_marked(&mut self, key: &Key) {
        if self.take(key).is_some_and(|kept| kept.on_disk) {
            self.unwritten.insert(Arc::clone(key));
        }
    }

    fn place(&mut self, key: Key, kept: Kept) {
        if let Some(owner) = kept.owner {
            let weight = weight(&key, &kept.value);
            self.used += weight;
            self.set_share(owner, |share| share + weight);
            self.farthest.insert((owner, kept.nearness, Arc::clone(&key)));
        }
        self.due.insert((kept.expires, Arc::clone(&key)));
        self.entries.insert(key, kept);
    }

    fn take(&mut self, key: &Key) -> Option<Kept> {
        let kept = self.entries.remove(key)?;
        if let Some(owner) = kept.owner {
            let weight = weight(key, &kept.value);
            self.used = self.used.saturating_sub(weight);
            self.set_share(owner, |share| share.saturating_sub(weight));
            self.farthest.remove(&(owner, kept.nearness, Arc::clone(key)));
        }
        self.due.remove(&(kept.expires, Arc::clone(key)));
        Some(kept)
    }

    fn set_share(&mut self, owner: Owner, change: impl Fn(usize) -> usize) {
        let Owner { group, peer } = owner;
        let before = self.groups.remove(&group).unwrap_or_default();
        self.largest_groups.remove(&(before, group));
        let share = change(before);
        if share > 0 {
            self.groups.insert(group, share);
            self.largest_groups.insert((share, group));
        }
        let before = self.peers.remove(&owner).unwrap_or_default();
        self.largest_peers.remove(&(group, before, peer));
        let share = change(before);
        if share > 0 {
            self.peers.insert(owner, share);
            self.largest_peers.insert((group, share, peer));
        }
    }
}

fn weight(key: &[u8], value: &[u8]) -> usize {
    ENTRY_BYTES + key.len() + value.len()
}

/// As a table has it: whose it is, its end, its value.
fn encode(kept: &Kept) -> Vec<u8> {
    let mut stored = Vec::with_capacity(32 + kept.value.len());
    match kept.owner {
        None => stored.push(OURS),
        Some(owner) => {
            stored.push(OF_OTHERS);
            stored.extend_from_slice(&owner.group);
            stored.extend_from_slice(&owner.peer.to_be_bytes());
        }
    }
    stored.extend_from_slice(&kept.expires.to_be_bytes());
    stored.extend_from_slice(&kept.value);
    stored
}

fn decode(stored: &[u8]) -> Option<(Option<Owner>, u64, &[u8])> {
    let (kind, rest) = stored.split_first()?;
    let (owner, rest) = match *kind {
        OURS => (None, rest),
        OF_OTHERS => {
            let (group, rest) = rest.split_first_chunk()?;
            let (peer, rest) = rest.split_first_chunk()?;
            let peer = u64::from_be_bytes(*peer);
            (Some(Owner { group: *group, peer }), rest)
        }
        _ => return None,
    };
    let (expires, value) = rest.split_first_chunk::<EXPIRES_BYTES>()?;
    Some((owner, u64::from_be_bytes(*expires), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u64 = 1_000_000;

    fn owner(group: u8, peer: u64) -> Owner {
        Owner {
            group: [4, group, 0, 0, 0],
            peer,
        }
    }

    fn shelf(records: usize) -> Shelf {
        Shelf::new(&PeerId::random(), records * (ENTRY_BYTES + 8))
    }

    /// Records of eight bytes with their key, which are all of one weight.
    fn put(shelf: &mut Shelf, number: u64, owner: Owner) -> bool {
        let key = number.to_be_bytes();
        shelf.insert(&key, &key, b"", LATER, Some(owner))
    }

    fn held_by(shelf: &Shelf, owner: Owner) -> usize {
        let entries = shelf.entries.values();
        entries.filter(|kept| kept.owner == Some(owner)).count()
    }

    /// What is counted is what is there.
    fn check(shelf: &Shelf) {
        let of_others = || shelf.entries.iter().filter(|(_, kept)| kept.owner.is_some());
        let weight: usize = of_others().map(|(key, kept)| weight(key, &kept.value)).sum();
        assert_eq!(shelf.used, weight);
        assert!(shelf.used <= shelf.room);
        assert_eq!(shelf.groups.values().sum::<usize>(), weight);
        assert_eq!(shelf.peers.values().sum::<usize>(), weight);
        assert_eq!(shelf.farthest.len(), of_others().count());
        assert_eq!(shelf.due.len(), shelf.entries.len());
        assert_eq!(shelf.largest_groups.len(), shelf.groups.len());
        assert_eq!(shelf.largest_peers.len(), shelf.peers.len());
    }

    #[test]
    fn a_flood_from_one_network_or_eight_leaves_the_records_of_others() {
        for networks in [1, 8] {
            let mut shelf = shelf(1000);
            let honest = owner(100, 1);
            (0..50).for_each(|number| assert!(put(&mut shelf, number, honest)));
            for number in 1000..10_000 {
                let network = (number % networks) as u8;
                put(&mut shelf, number, owner(network, number % 4));
            }
            assert_eq!(held_by(&shelf, honest), 50, "{networks} networks");
            // Who comes later finds room as well.
            let late = owner(101, 1);
            (100..150).for_each(|number| assert!(put(&mut shelf, number, late)));
            assert_eq!((held_by(&shelf, honest), held_by(&shelf, late)), (50, 50));
            check(&shelf);
        }
    }

    #[test]
    fn within_a_network_who_holds_most_gives_way() {
        let mut shelf = shelf(100);
        let honest = owner(1, 1);
        (0..5).for_each(|number| assert!(put(&mut shelf, number, honest)));
        (100..1000).for_each(|number| _ = put(&mut shelf, number, owner(1, 2 + number % 4)));
        assert_eq!(held_by(&shelf, honest), 5);
        check(&shelf);
    }

    #[test]
    fn of_one_owner_the_nearest_records_stay() {
        let mut shelf = shelf(10);
        let one = owner(1, 1);
        (0..1000).for_each(|number| _ = put(&mut shelf, number, one));
        let mut nearest: Vec<u64> = (0..1000u64).collect();
        nearest.sort_by_key(|number| std::cmp::Reverse(shelf.nearness(&number.to_be_bytes())));
        for number in &nearest[..10] {
            assert!(shelf.get(&number.to_be_bytes()).is_some());
        }
        assert!(!put(&mut shelf, nearest[10], one), "what would go next is not taken");
        assert_eq!(shelf.entries.len(), 10);
        check(&shelf);
    }

    #[test]
    fn what_is_not_kept_changes_nothing_and_what_is_too_large_is_not_kept() {
        let mut shelf = shelf(1);
        let one = owner(1, 1);
        assert!(put(&mut shelf, 7, one));
        let key = 7u64.to_be_bytes();
        let before = shelf.get(&key).cloned();
        assert!(!shelf.insert(&key, &key, b"one byte more", LATER, Some(one)));
        assert_eq!(shelf.get(&key).cloned(), before);
        check(&shelf);
    }

    #[test]
    fn own_records_always_have_room_and_make_none() {
        let mut shelf = shelf(1);
        for number in 0..10u64 {
            assert!(shelf.insert(&number.to_be_bytes(), b"", b"ours", LATER, None));
        }
        (100..200).for_each(|number| _ = put(&mut shelf, number, owner(1, 1)));
        assert_eq!(shelf.entries.len(), 11);
        check(&shelf);
    }

    #[test]
    fn what_is_written_is_what_is_there() {
        let mut shelf = shelf(100);
        let one = owner(3, 9);
        assert!(shelf.insert(b"a", b"a", b"value", 2 * REWRITE_SECONDS, Some(one)));
        assert!(shelf.insert(b"b", b"b", b"ours", LATER, None));
        shelf.remove(b"a");
        assert!(shelf.insert(b"a", b"a", b"again", 2 * REWRITE_SECONDS, Some(one)));
        let changes = shelf.changes(100);
        assert_eq!(changes.len(), 2, "one each, however often it changed");
        let mut other = self::shelf(100);
        for (key, stored) in &changes {
            assert!(other.load(key, key, stored.as_ref().unwrap(), 0));
        }
        assert_eq!(&*other.get(b"a").unwrap().value, b"again");
        assert_eq!(other.get(b"a").unwrap().owner, Some(one));
        assert_eq!(other.get(b"b").unwrap().owner, None);
        assert!(other.changes(100).is_empty(), "what was read needs no writing");
        // A later end alone is written down once an hour.
        assert!(shelf.insert(b"a", b"a", b"again", 2 * REWRITE_SECONDS + 1, Some(one)));
        assert!(shelf.changes(100).is_empty());
        assert!(shelf.insert(b"a", b"a", b"again", 3 * REWRITE_SECONDS, Some(one)));
        assert_eq!(shelf.changes(100).len(), 1);
        // What has expired is not read again, and goes from the table when it goes.
        assert!(!self::shelf(100).load(b"b", b"b", changes[0].1.as_ref().unwrap(), u64::MAX));
        assert_eq!(shelf.expire(3 * REWRITE_SECONDS, 100), 1);
        assert_eq!(shelf.changes(100), [(b"a".to_vec(), None)]);
        assert!(!self::shelf(1).load(b"x", b"x", b"rubbish", 0));
    }

    #[test]
    fn one_change_over_the_limit_waits_for_the_record_to_be_put_again() {
        let mut shelf = shelf(3 * MAX_UNWRITTEN);
        (0..=MAX_UNWRITTEN as u64).for_each(|number| assert!(put(&mut shelf, number, owner(1, 1))));
        let changes = shelf.changes(usize::MAX);
        assert_eq!(changes.len(), MAX_UNWRITTEN);
        assert!(put(&mut shelf, MAX_UNWRITTEN as u64, owner(1, 1)));
        assert_eq!(shelf.changes(usize::MAX).len(), 1);
    }
}
