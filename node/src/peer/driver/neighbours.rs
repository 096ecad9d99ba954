//! Who belongs to which routing table, and where others see us: the part of the driver that judges addresses.

use std::collections::HashSet;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId, identify};
use tokio::time::Instant;

use super::Driver;
use crate::address::{Reach, ip, ip_group, is_relayed, reach, split_peer};
use crate::routing::Network;

/// Addresses taken from one peer's identify message.
const MAX_PEER_ADDRESSES: usize = 16;
/// How often a peer may say what it is within [`CLAIMS_WITHIN`]; one that does so more often is disconnected. Kubo does when its
/// addresses or protocols change.
const MAX_CLAIMS: u32 = 64;
const CLAIMS_WITHIN: Duration = Duration::from_secs(60);
/// Peers in one WAN routing table from one /16 of IPv4 or /32 of IPv6, as in go-libp2p-kad-dht.
const MAX_PER_IP_GROUP: usize = 3;

/// Where a peer that was reached at `dialled` is found again: there, or if that is a name, at the addresses that it says it has.
fn where_it_is(dialled: &Multiaddr, claimed: &[Multiaddr]) -> Vec<Multiaddr> {
    if ip(dialled).is_some() {
        return vec![dialled.clone()];
    }
    let claimed = claimed
        .iter()
        .filter(|address| reach(address) == Reach::Public && ip(address).is_some());
    claimed
        .take(MAX_PEER_ADDRESSES)
        .map(|address| split_peer(address.clone()).0)
        .collect()
}

impl Driver {
    /// Decides from what a peer says of itself to which routing tables it belongs.
    pub(super) fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        self.state.identified = Some(peer);
        let named = self.state.named.contains(&peer);
        // A peer that the user once named is asked like a neighbour also when it was dialled because it is remembered.
        let trusted = named || self.remembered.is_named(&peer);
        let Some(connected) = self.state.peers.get_mut(&peer) else {
            return;
        };
        let (claims, since) = &mut connected.claims;
        if since.elapsed() > CLAIMS_WITHIN {
            (*claims, *since) = (0, Instant::now());
        }
        *claims += 1;
        if *claims > MAX_CLAIMS {
            tracing::debug!(%peer, "disconnected: it says what it is again and again");
            let _ = self.swarm.disconnect_peer_id(peer);
            return;
        }
        connected.info.agent = Some(info.agent_version);
        let waiting = std::mem::take(&mut connected.waiting);
        let dialled = connected.dialled.clone();
        let remotes: Vec<Reach> = connected.info.addresses.iter().map(reach).collect();
        let nearby = remotes
            .iter()
            .any(|reach| matches!(reach, Reach::Loopback | Reach::Private));
        let same_machine = remotes.contains(&Reach::Loopback);
        let behaviour = self.swarm.behaviour_mut();
        if named || (nearby && behaviour.admission.welcome(peer)) {
            behaviour.hold.hold(peer, named);
        }

        for network in Network::BOTH {
            let speaks = info.protocols.contains(&network.protocol());
            let belongs = match network {
                Network::Lan => nearby || trusted,
                Network::Wan => remotes.contains(&Reach::Public),
            };
            if !(speaks && belongs) {
                self.forget(peer, network);
                continue;
            }
            if let Some(dialled) = &dialled {
                self.remembered
                    .answered(peer, &where_it_is(dialled, &info.listen_addrs), named, Instant::now());
            }
            // An address that we have just dialled is the one that certainly works.
            let mut addresses: Vec<Multiaddr> = dialled.iter().cloned().collect();
            addresses.extend(info.listen_addrs.iter().map(|address| split_peer(address.clone()).0));
            addresses.retain(|address| match (network, reach(address)) {
                (Network::Lan, Reach::Loopback) => same_machine,
                (Network::Lan, Reach::Private) => true,
                (Network::Lan, Reach::Public) => trusted,
                (Network::Wan, reach) => reach == Reach::Public,
                (Network::Lan, Reach::Nowhere) => false,
            });
            if network == Network::Wan && self.crowded(peer, &addresses) {
                tracing::debug!(%peer, "not taken into the routing table: too many of its network are there");
                continue;
            }
            addresses.truncate(MAX_PEER_ADDRESSES);
            let dht = self.dht(network);
            // What it said before is over: libp2p would keep every address that it ever claimed.
            let before = dht.addresses_in_table(&peer);
            for address in &addresses {
                dht.add_address(&peer, address.clone());
            }
            for old in before.iter().filter(|old| !addresses.contains(old)) {
                dht.remove_address(&peer, old);
            }
            self.count(network);
        }
        for reply in waiting {
            let _ = reply.send(Ok(peer));
        }
        self.on_offer(peer, &info.protocols, &info.listen_addrs);
    }

    /// Whether the WAN table holds as many peers of this IP group as one operator may have there.
    fn crowded(&mut self, peer: PeerId, addresses: &[Multiaddr]) -> bool {
        let groups: HashSet<_> = addresses.iter().filter_map(ip_group).collect();
        let table = self.swarm.behaviour_mut().wan.table();
        let same_group = |addresses: &[Multiaddr]| {
            addresses
                .iter()
                .filter_map(ip_group)
                .any(|group| groups.contains(&group))
        };
        table
            .iter()
            .filter(|(other, addresses)| *other != peer && same_group(addresses))
            .count()
            >= MAX_PER_IP_GROUP
    }

    pub(super) fn forget(&mut self, peer: PeerId, network: Network) {
        if self.dht(network).remove_peer(&peer).is_some() {
            self.count(network);
        }
    }

    pub(super) fn count(&mut self, network: Network) {
        let dht = self.dht(network);
        let len = dht.table_len();
        if len == 0 {
            dht.lost();
        }
        self.sizes.send_if_modified(|sizes| {
            let size = match network {
                Network::Lan => &mut sizes.lan,
                Network::Wan => &mut sizes.wan,
            };
            std::mem::replace(size, len) != len
        });
    }

    /// The peer that was identified last saw us at `address`; libp2p reports that once for each connection.
    ///
    /// Behind a router, this is the only public address there is. It may not let anybody in, but a provider without
    /// any address is refused by DHT servers. Only who is on the internet can know how we are seen from there.
    pub(super) fn on_observed(&mut self, address: Multiaddr) {
        let observer = self.state.identified.and_then(|peer| self.state.peers.get(&peer));
        let mut remotes = observer.into_iter().flat_map(|peer| &peer.info.addresses);
        // Through a relay, the other side sees nothing but that.
        let sees = |remote: &&Multiaddr| reach(remote) == Reach::Public && !is_relayed(remote);
        let group = remotes.find(sees).and_then(ip_group);
        let (Some(group), Reach::Public, false) = (group, reach(&address), is_relayed(&address)) else {
            return;
        };
        let change = self.state.observed.hear(group, address);
        self.on_likely(self.state.observed.likely());
        for address in change.new {
            tracing::debug!(%address, "seen from outside");
            self.swarm.add_external_address(address);
        }
        for address in change.gone {
            if !self.state.mapped.contains(&address) {
                self.swarm.remove_external_address(&address);
            }
        }
        self.note_external();
    }

    /// Has others told where this peer is seen now.
    pub(super) fn note_external(&mut self) {
        let confirmed: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        self.external
            .send_if_modified(|known| std::mem::replace(known, confirmed.clone()) != confirmed);
    }
}
