//! Transports and behaviours, put together into one swarm.
//!
//! Nothing here decides anything: whoever owns the swarm does.

mod admission;
mod bandwidth;
mod compact;
mod ended;
mod guard;
mod hold;
mod http;
mod muxer;
mod private;
mod transports;
mod wire;

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::multiaddr::{Multiaddr, Protocol};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Swarm, autonat, dcutr, identify, mdns, ping, relay};

use self::admission::Admission;
pub(crate) use self::admission::Refuses;
pub use self::bandwidth::Bandwidth;
pub(crate) use self::compact::Compact;
use self::guard::Guarded;
use self::hold::HeldPeers;
use self::http::Http;
pub use self::http::HttpStream;
pub(crate) use self::http::HttpStreams;
#[cfg(test)]
pub(crate) use self::http::MAX_HTTP_WAITING;
pub use self::private::{MAX_NETWORK_KEY_BYTES, NetworkKey, NetworkKeyError};
pub use self::transports::{ByteStream, ByteStreams};
use crate::exchange;
use crate::pubsub::PubSub;
use crate::routing::Network;
use crate::routing::dht::Dht;
use crate::routing::tell::{self, Tell};

/// What identify calls the family of protocols; Kubo says the same.
const PROTOCOL_VERSION: &str = "ipfs/0.1.0";
/// Streams that negotiate their protocol at the same time on one connection. A serving Kubo opens a stream for each
/// response, so the default of 128 is kept in mind rather than lowered.
const MAX_NEGOTIATING_STREAMS: usize = 128;
/// Peers that a relay keeps an open door for, and those of one peer id.
const MAX_RESERVATIONS: usize = 256;
const MAX_RESERVATIONS_PER_PEER: usize = 2;
/// Connections that a relay carries at the same time, and those from one peer.
const MAX_CIRCUITS: usize = 64;
const MAX_CIRCUITS_PER_PEER: usize = 4;
/// How long a relay carries one connection, and how much of it either way. Two peers whose routers cannot be got through
/// have no other way: enough for a dataset of some size, which goes on over the next connection. Kubo carries 128 KiB.
const MAX_CIRCUIT_TIME: Duration = Duration::from_secs(30 * 60);
const MAX_CIRCUIT_BYTES: u64 = 256 << 20;

/// Why a peer did not start. No socket is left open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Somebody listens there already: another peer on this machine, most likely.
    #[error("{address} is in use by another program")]
    AddressInUse {
        /// The address asked for.
        address: Multiaddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address asked for.
        address: Multiaddr,
        /// What the system says.
        reason: String,
    },
    /// The transports cannot be set up.
    #[error("the network transports cannot be set up: {reason}")]
    Transport {
        /// What libp2p says.
        reason: String,
    },
}

/// Everything a peer speaks. Admission comes first, so that it is asked first.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) admission: Admission,
    pub(crate) hold: HeldPeers,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) lan: Dht,
    pub(crate) wan: Dht,
    /// Tell peers of either that many keys are here.
    pub(crate) tell_lan: Tell,
    pub(crate) tell_wan: Tell,
    pub(crate) exchange: exchange::Behaviour,
    /// Takes in streams on which HTTP is spoken.
    pub(crate) http: Http,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    /// The way in through a relay.
    pub(crate) relayed: relay::client::Behaviour,
    /// From there to a direct connection, through both routers.
    pub(crate) holes: Guarded<dcutr::Behaviour>,
    /// Has others find out which addresses are reached from outside.
    pub(crate) autonat: Guarded<autonat::v2::client::Behaviour>,
    /// Carries others' connections.
    pub(crate) relay: Toggle<relay::Behaviour>,
    /// Finds that out for others.
    pub(crate) dial_back: Toggle<Guarded<autonat::v2::server::Behaviour>>,
    /// The last, since it keeps what it has noted of a connection that one after it refuses.
    pub(crate) pubsub: Toggle<PubSub>,
}

/// What [`build`] needs besides the parts that are made elsewhere.
pub(crate) struct Settings {
    pub(crate) keypair: Keypair,
    pub(crate) agent: String,
    pub(crate) mdns: bool,
    pub(crate) pubsub: bool,
    pub(crate) max_connections: u32,
    pub(crate) idle_timeout: Duration,
    pub(crate) refuses: Option<Refuses>,
    /// Whether others are relayed, and told how they are reached.
    pub(crate) public: bool,
    /// Of a private network: nobody is spoken to who has another.
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) bandwidth: Bandwidth,
    /// Where streams go on which HTTP is spoken.
    pub(crate) http: HttpStreams,
    /// What dials and listens, if not the sockets of the system.
    pub(crate) streams: Option<ByteStreams>,
}

/// Makes the swarm. Opens no socket but those of mDNS.
pub(crate) fn build(
    settings: Settings,
    [lan, wan]: [Dht; 2],
    exchange: exchange::Behaviour,
) -> Result<Swarm<Compact<Behaviour>>, StartError> {
    let local = settings.keypair.public().to_peer_id();
    let mdns = settings
        .mdns
        .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), local));
    let mdns = mdns.transpose().unwrap_or_else(|error| {
        // A machine without multicast still works with addresses.
        tracing::warn!(%error, "peers on the local network will not be found by themselves: mDNS cannot be used");
        None
    });
    let identify = identify::Config::new(PROTOCOL_VERSION.to_owned(), settings.keypair.public())
        .with_agent_version(settings.agent.clone())
        .with_push_listen_addr_updates(true)
        // Addresses come from the DHTs, which check them; identify would remember and dial whatever peers claim.
        .with_cache_size(0);
    let helps = settings.public.then(|| {
        let relay = relay::Behaviour::new(local, relay_limits());
        (relay, Guarded::new(autonat::v2::server::Behaviour::default()))
    });
    let (relay, dial_back) = helps.unzip();
    let pubsub = settings.pubsub.then(|| PubSub::new(settings.keypair.clone()));
    let behaviour = |relayed| Behaviour {
        admission: Admission::new(
            settings.max_connections,
            settings.idle_timeout,
            settings.refuses.clone(),
        ),
        hold: HeldPeers::default(),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::default(),
        lan,
        wan,
        tell_lan: tell::behaviour(Network::Lan),
        tell_wan: tell::behaviour(Network::Wan),
        exchange,
        http: Http::new(settings.http.clone()),
        mdns: mdns.into(),
        relayed,
        holes: Guarded::new(dcutr::Behaviour::new(local)),
        autonat: Guarded::new(autonat::v2::client::Behaviour::default()),
        relay: relay.into(),
        dial_back: dial_back.into(),
        pubsub: pubsub.flatten().into(),
    };

    let (key, bandwidth) = (settings.network_key.as_ref(), &settings.bandwidth);
    let transports = transports::transports(&settings.keypair, key, bandwidth, settings.streams);
    let (transports, relayed) = transports.map_err(|error| StartError::Transport {
        reason: error.to_string(),
    })?;
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(settings.idle_timeout)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING_STREAMS);
    Ok(Swarm::new(transports, Compact(behaviour(relayed)), local, config))
}

/// How much a relay does for others: see the constants. How often one peer or address may ask is libp2p's figure.
fn relay_limits() -> relay::Config {
    relay::Config {
        max_reservations: MAX_RESERVATIONS,
        max_reservations_per_peer: MAX_RESERVATIONS_PER_PEER,
        max_circuits: MAX_CIRCUITS,
        max_circuits_per_peer: MAX_CIRCUITS_PER_PEER,
        max_circuit_duration: MAX_CIRCUIT_TIME,
        max_circuit_bytes: MAX_CIRCUIT_BYTES,
        ..relay::Config::default()
    }
}

/// Listens on `addresses`. A port that somebody else listens on is an error, or replaced by a free one with
/// `port_fallback`. Returns how many listeners there are.
pub(crate) fn listen(
    swarm: &mut Swarm<Compact<Behaviour>>,
    addresses: &[Multiaddr],
    port_fallback: bool,
) -> Result<usize, StartError> {
    let mut listening = HashSet::new();
    for address in addresses {
        let chosen = match probe(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port_fallback => {
                tracing::info!(%address, "the port is taken: another one is used");
                with_free_port(address)
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(StartError::AddressInUse {
                    address: address.clone(),
                });
            }
            // Whatever else is wrong, the transport says it better.
            Ok(()) | Err(_) => address.clone(),
        };
        if !listening.insert(chosen.clone()) {
            continue;
        }
        if let Err(error) = swarm.listen_on(chosen.clone()) {
            let any_v6 = matches!(chosen.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified());
            if !any_v6 {
                return Err(StartError::Listen {
                    address: address.clone(),
                    reason: error.to_string(),
                });
            }
            // Asking for every IPv6 interface of a machine that has none asks for nothing.
            tracing::info!(%address, %error, "not listening on IPv6");
            listening.remove(&chosen);
        }
    }
    Ok(listening.len())
}

/// Whether `address` can be listened on: nobody else does yet.
///
/// libp2p sets SO_REUSEPORT on its TCP listeners, and so does Kubo: the kernel would let both of them, or two of us, listen on
/// one port and deal connections out at random. A plain bind before is told the truth.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if another program has the port; or whatever else the system says.
pub fn probe(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind(SocketAddr::new(ip, port)).map(drop),
        Some(Protocol::Udp(port)) if port != 0 => UdpSocket::bind(SocketAddr::new(ip, port)).map(drop),
        _ => Ok(()),
    }
}

fn with_free_port(address: &Multiaddr) -> Multiaddr {
    address
        .iter()
        .map(|part| match part {
            Protocol::Tcp(_) => Protocol::Tcp(0),
            Protocol::Udp(_) => Protocol::Udp(0),
            other => other,
        })
        .collect()
}
