//! Requests of others are small, answers to ours may be large: libp2p has one bound for both.
//!
//! An answer with many providers fills megabytes, and is asked for by us. A request is unasked, and may come in parts on
//! 32 streams of each connection at once; with the bound of answers, one connection would make us hold 128 MiB.

use std::task::{Context, Poll};

use libp2p::kad;
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, NetworkBehaviour, SubstreamProtocol};

use crate::routing::records::Records;

/// The largest request that is read: a record of 10 KiB with its key, or a provider with a hundred addresses. Libp2p's own
/// default.
pub(super) const MAX_REQUEST_BYTES: usize = 16 << 10;

type Kad = <kad::Behaviour<Records> as NetworkBehaviour>::ConnectionHandler;

/// Kademlia's handler of one connection, with [`MAX_REQUEST_BYTES`] for what comes unasked.
pub(crate) struct Handler(pub(super) Kad);

impl ConnectionHandler for Handler {
    type FromBehaviour = <Kad as ConnectionHandler>::FromBehaviour;
    type ToBehaviour = <Kad as ConnectionHandler>::ToBehaviour;
    type InboundProtocol = <Kad as ConnectionHandler>::InboundProtocol;
    type OutboundProtocol = <Kad as ConnectionHandler>::OutboundProtocol;
    type InboundOpenInfo = <Kad as ConnectionHandler>::InboundOpenInfo;
    type OutboundOpenInfo = <Kad as ConnectionHandler>::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.0.listen_protocol().map_upgrade(|mut upgrade| {
            if let Some(protocol) = upgrade.as_mut().left() {
                protocol.set_max_packet_size(MAX_REQUEST_BYTES);
            }
            upgrade
        })
    }

    fn connection_keep_alive(&self) -> bool {
        self.0.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        self.0.poll(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.0.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.0.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        self.0.on_connection_event(event);
    }
}
