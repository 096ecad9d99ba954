//! Telling peers of many keys at once.

use libp2p::request_response;
use tokio::sync::oneshot;

use super::Driver;
use crate::address::reach;
use crate::routing::tell::Provided;
use crate::routing::{Network, Provider};

impl Driver {
    pub(super) fn tell_of(&mut self, network: Network, to: Provider, keys: Vec<Vec<u8>>, reply: oneshot::Sender<bool>) {
        let provided = Provided {
            keys,
            provider: *self.swarm.local_peer_id(),
            addresses: self.dht(network).told(),
        };
        if provided.addresses.is_empty() {
            // Refused by those who get it, silently.
            let _ = reply.send(false);
            return;
        }
        let mut addresses = to.addresses;
        addresses.retain(|address| network.admits(reach(address)));
        let behaviour = self.swarm.behaviour_mut();
        let tell = match network {
            Network::Lan => &mut behaviour.tell_lan,
            Network::Wan => &mut behaviour.tell_wan,
        };
        let id = tell.send_request_with_addresses(&to.peer, provided, addresses);
        self.state.telling.insert((network, id), reply);
    }

    pub(super) fn on_told(&mut self, network: Network, event: request_response::Event<Provided, ()>) {
        let (id, has_read) = match event {
            request_response::Event::Message {
                message: request_response::Message::Response { request_id, .. },
                ..
            } => (request_id, true),
            request_response::Event::OutboundFailure {
                request_id,
                peer,
                error,
                ..
            } => {
                tracing::debug!(%network, %peer, %error, "cannot be told of keys");
                (request_id, false)
            }
            _ => return,
        };
        if let Some(reply) = self.state.telling.remove(&(network, id)) {
            let _ = reply.send(has_read);
        }
    }
}
