//! Dialling to join a network: the part of the driver that carries out what first contact decides.

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::Driver;
use super::contact::{Contact, Source};
use super::dial::Dialling;
use crate::address::{Reach, by_peer, reach};
use crate::routing::Network;

/// Remembered peers of each network that are dialled at once.
const HANDFUL: usize = 4;

impl Driver {
    /// To be called when the driver begins to run.
    pub(super) fn begin_contact(&mut self) {
        let (listed, last) = (
            self.private || !self.bootstrap.is_empty(),
            !self.bootstrap_last.is_empty(),
        );
        self.state.contact = Contact::new(listed, last, Instant::now());
    }

    /// Dials whose turn it is.
    pub(super) fn on_contact(&mut self) {
        let mut handful = self.handful();
        if handful.is_empty() && self.state.contact.is_resting() {
            self.state.tried.clear();
            handful = self.handful();
        }
        let joined = self.sizes.borrow().wan > 0;
        for source in self.state.contact.due(Instant::now(), joined, !handful.is_empty()) {
            match source {
                Source::Remembered => {
                    for (peer, addresses) in std::mem::take(&mut handful) {
                        self.state.tried.insert(peer);
                        self.dial_to_join(Some(peer), addresses);
                    }
                }
                Source::Listed => self.dial_all(self.bootstrap.clone()),
                Source::Dataset => self.dial_all(self.bootstrap_last.clone()),
            }
        }
        self.show_signs();
    }

    /// The next remembered peers to dial, of the networks that are not joined.
    fn handful(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let sizes = *self.sizes.borrow();
        let missing = Network::BOTH.into_iter().filter(|network| match network {
            Network::Lan => sizes.lan == 0,
            Network::Wan => sizes.wan == 0,
        });
        let chosen = missing.flat_map(|network| self.remembered.choose(network, HANDFUL, &self.state.tried));
        chosen.collect()
    }

    /// Dials each peer once, at all its addresses together, so that none of them holds up the others.
    fn dial_all(&mut self, addresses: Vec<Multiaddr>) {
        for (peer, addresses) in by_peer(addresses) {
            self.dial_to_join(peer, addresses);
        }
    }

    fn dial_to_join(&mut self, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
        let under_way = |peer| self.state.dials.values().any(|dial| dial.peer == Some(peer));
        if peer.is_some_and(|peer| self.swarm.is_connected(&peer) || under_way(peer)) {
            return;
        }
        self.dial_for(Dialling {
            peer,
            addresses,
            new_port: false,
            unasked: true,
            waiting: Vec::new(),
        });
    }

    /// Tells those who wait for somebody to be asked what is to be expected.
    pub(super) fn show_signs(&self) {
        let state = &self.state;
        let given_up = state.contact.is_resting()
            && !state.dials.values().any(|dial| dial.unasked)
            && state.peers.values().all(|peer| peer.info.agent.is_some());
        let addresses = || state.peers.values().flat_map(|peer| &peer.info.addresses);
        let wan = addresses().any(|address| reach(address) == Reach::Public);
        let lan = addresses().any(|address| reach(address) != Reach::Public);
        self.signs.send_if_modified(|signs| {
            let before = *signs;
            signs.lan |= lan;
            signs.wan |= wan;
            signs.given_up = given_up;
            *signs != before
        });
    }
}
