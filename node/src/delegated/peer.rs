//! Peers, as answers have them.

use libp2p::Multiaddr;
use serde::Serialize;

use crate::address::is_http;
use crate::routing::Provider;

/// A peer, in the schema of that name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Peer {
    pub(super) schema: &'static str,
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) addrs: Vec<String>,
    pub(super) protocols: &'static [&'static str],
}

impl Peer {
    /// One that was found.
    pub(super) fn of(Provider { peer, addresses }: Provider) -> Self {
        let addrs = addresses.iter().map(Multiaddr::to_string).collect();
        // Whoever is found by the DHTs of IPFS speaks that.
        let protocols: &[&str] = match addresses.iter().any(is_http) {
            true => &["transport-bitswap", "transport-ipfs-gateway-http"],
            false => &["transport-bitswap"],
        };
        Self {
            schema: "peer",
            id: peer.to_string(),
            addrs,
            protocols,
        }
    }
}
