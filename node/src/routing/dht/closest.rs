//! Whom this peer names to others who look for a key.
//!
//! It is what a server of the DHT is asked most. libp2p goes through 256 buckets for each question, nearly all of them empty, and
//! moves a buffer with room for a whole bucket at each: that takes ten times as long as to look at all peers in the table.

use libp2p::PeerId;
use libp2p::kad::{self, ConnectionType, K_VALUE, KBucketKey, KadPeer, NodeStatus};

use crate::routing::records::Records;

/// The peers in the table that are closest to `key`, the closest first; `asks` is not told of itself.
pub(super) fn closest(kad: &mut kad::Behaviour<Records>, key: Vec<u8>, asks: &PeerId) -> Vec<KadPeer> {
    let target = KBucketKey::new(key);
    let buckets: Vec<_> = kad.kbuckets().filter(|bucket| !bucket.is_empty()).collect();
    let entries = buckets.iter().flat_map(|bucket| bucket.iter());
    let mut entries: Vec<_> = entries
        .filter(|entry| entry.node.key.preimage() != asks)
        .map(|entry| (target.distance(entry.node.key), entry))
        .collect();
    if entries.len() > K_VALUE.get() {
        entries.select_nth_unstable_by_key(K_VALUE.get(), |(distance, _)| *distance);
        entries.truncate(K_VALUE.get());
    }
    entries.sort_unstable_by_key(|(distance, _)| *distance);
    let named = entries.into_iter().map(|(_, entry)| KadPeer {
        node_id: *entry.node.key.preimage(),
        multiaddrs: entry.node.value.iter().cloned().collect(),
        connection_ty: match entry.status {
            NodeStatus::Connected => ConnectionType::Connected,
            NodeStatus::Disconnected => ConnectionType::NotConnected,
        },
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::routing::schedule::Schedule;
    use crate::store::Table;

    #[test]
    fn those_are_named_whom_libp2p_would_name() {
        let (local, clock) = (PeerId::random(), Clock::system());
        let schedule = Schedule::open(Table::in_memory(), clock.clone());
        let [_, records] = Records::open(&Table::in_memory(), &schedule, local, &clock);
        let mut kad = kad::Behaviour::new(local, records);
        let peers: Vec<PeerId> = (0..200).map(|_| PeerId::random()).collect();
        for (known, asks) in [0, 1, 19, 20, 21, 22, 200].into_iter().zip(&peers) {
            for peer in &peers[..known] {
                kad.add_address(peer, "/ip4/93.184.216.34/tcp/1".parse().unwrap());
            }
            for key in [b"key".to_vec(), local.to_bytes(), asks.to_bytes()] {
                let target = KBucketKey::new(key.clone());
                let expected: Vec<KadPeer> = kad.find_closest_local_peers(&target, asks).collect();
                assert_eq!(closest(&mut kad, key, asks), expected, "of {known}");
            }
        }
    }
}
