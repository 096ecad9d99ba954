//! The two DHTs by name, and how long they remember what others tell them.

use std::time::Duration;

use libp2p::swarm::StreamProtocol;

use crate::address::Reach;

/// How long other peers' value records are kept.
pub(super) const VALUE_TTL: Duration = Duration::from_secs(48 * 3600);
/// How long other peers' provider records are kept.
pub(super) const PROVIDER_TTL: Duration = Duration::from_secs(48 * 3600);

/// Which of the two DHTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// The local network: `/ipfs/lan/kad/1.0.0`.
    Lan,
    /// The public network, "Amino": `/ipfs/kad/1.0.0`.
    Wan,
}

impl Network {
    /// Both, the faster one first.
    pub const BOTH: [Self; 2] = [Self::Lan, Self::Wan];

    /// The protocol's name on the wire.
    pub fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Lan => "/ipfs/lan/kad/1.0.0",
            Self::Wan => "/ipfs/kad/1.0.0",
        })
    }

    /// Whether an address of this reach may be told to, or learnt from, peers of this network.
    pub(crate) fn admits(self, reach: Reach) -> bool {
        match self {
            Self::Lan => reach != Reach::Nowhere,
            Self::Wan => reach == Reach::Public,
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
        })
    }
}
