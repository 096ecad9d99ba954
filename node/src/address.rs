//! How far an address reaches, and what follows from it: which DHT may hear of it, which may be dialled.
//!
//! The ranges are those of go-multiaddr's `manet` package, so that two peers agree on what is "private".

mod http;
mod told;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::PeerId;
use libp2p::multiaddr::Multiaddr;
pub use libp2p::multiaddr::Protocol;
use odf_doors::{Network, network};

pub use http::http_address;
pub(crate) use http::{is_http, is_public, public_server};
pub use told::{fixed, worth_telling};

/// From where an address can be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// From nowhere: unspecified, multicast, reserved, link-local IPv6 (which needs a zone), or of a transport that is not
    /// spoken here.
    Nowhere,
    /// From this machine.
    Loopback,
    /// From the same private network.
    Private,
    /// From the internet. Names (`/dns…`) count as public.
    Public,
}

/// The reach of `address`, judged by its first component. Through a relay it is the relay's.
pub fn reach(address: &Multiaddr) -> Reach {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => reach_v4(ip),
        Some(Protocol::Ip6(ip)) => reach_v6(ip),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => Reach::Public,
        _ => Reach::Nowhere,
    }
}

/// Whether `address` leads through a relay (circuit relay v2).
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (0 | 224..=255, _, _) => Reach::Nowhere,
        (127, _, _) => Reach::Loopback,
        (10, _, _) | (100, 64..=127, _) | (172, 16..=31, _) | (192, 168, _) | (169, 254, _) => Reach::Private,
        // Documentation and benchmark ranges: never on the internet, sometimes in a laboratory.
        (192, 0, 0 | 2) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return reach_v4(v4);
    }
    let first = ip.segments()[0];
    match first {
        _ if ip.is_loopback() => Reach::Loopback,
        _ if ip.is_unspecified() || ip.is_multicast() => Reach::Nowhere,
        0xfe80..=0xfebf => Reach::Nowhere,
        0xfc00..=0xfdff => Reach::Private,
        0x2001 if ip.segments()[1] == 0xdb8 => Reach::Private,
        _ => Reach::Public,
    }
}

/// The IP address at the front of `address`, if it has one.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
        Some(Protocol::Ip6(ip)) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// One operator's network, as [`odf_doors::Network`] has it, in as few bytes as may be: each record of others carries one.
pub(crate) type IpGroup = [u8; 5];

/// The network that an address is in; none of an address that does not begin with an IP address.
pub(crate) fn ip_group(address: &Multiaddr) -> Option<IpGroup> {
    Some(match network(ip(address)?) {
        Network::V4([a, b]) => [4, a, b, 0, 0],
        Network::V6([a, b, c, d]) => [6, a, b, c, d],
        Network::Alone(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            [1, a, b, c, d]
        }
        Network::Alone(IpAddr::V6(ip)) => {
            // Of 16 bytes there is room for 4: two who share these share what they may do here.
            let folded = ip
                .segments()
                .chunks_exact(2)
                .fold([0u16; 2], |[left, right], pair| match pair {
                    [one, other] => [left ^ one, right ^ other],
                    _ => [left, right],
                });
            let [[a, b], [c, d]] = folded.map(u16::to_be_bytes);
            [2, a, b, c, d]
        }
    })
}

/// Addresses that end in `/p2p/ID` put together by peer, without those ends, in their order; each of the others by itself.
pub fn by_peer(addresses: impl IntoIterator<Item = Multiaddr>) -> Vec<(Option<PeerId>, Vec<Multiaddr>)> {
    let mut peers: Vec<(Option<PeerId>, Vec<Multiaddr>)> = Vec::new();
    for address in addresses {
        let (address, peer) = split_peer(address);
        match peers.iter_mut().find(|(of, _)| peer.is_some() && *of == peer) {
            Some((_, of_peer)) => of_peer.push(address),
            None => peers.push((peer, vec![address])),
        }
    }
    peers
}

/// Drops the QUIC addresses of a host that also offers TCP, where the path is local.
///
/// On a local path QUIC often wins the race of handshakes and then moves bytes at a fraction of the speed of a kernel
/// TCP stream. On the way through the internet both are tried.
pub(crate) fn prefer_tcp_nearby(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let by_tcp: Vec<IpAddr> = addresses
        .iter()
        .filter(|address| is_tcp(address) && !is_relayed(address))
        .filter_map(ip)
        .collect();
    let has_tcp_twin = |address: &Multiaddr| ip(address).is_some_and(|ip| by_tcp.contains(&ip));
    addresses
        .into_iter()
        .filter(|address| is_tcp(address) || reach(address) == Reach::Public || !has_tcp_twin(address))
        .collect()
}

fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Tcp(_)))
}

/// Splits the trailing `/p2p/<peer>` off an address.
pub fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(other) => (address.with(other), None),
        None => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach_of(text: &str) -> Reach {
        reach(&text.parse().unwrap())
    }

    #[test]
    fn ranges_are_those_of_manet() {
        for (address, expected) in [
            ("/ip4/127.0.0.1/tcp/1", Reach::Loopback),
            ("/ip4/10.1.2.3/tcp/1", Reach::Private),
            ("/ip4/100.64.0.1/tcp/1", Reach::Private),
            ("/ip4/100.128.0.1/tcp/1", Reach::Public),
            ("/ip4/172.31.255.255/udp/1/quic-v1", Reach::Private),
            ("/ip4/172.32.0.1/tcp/1", Reach::Public),
            ("/ip4/192.168.7.7/tcp/1", Reach::Private),
            ("/ip4/0.0.0.0/tcp/1", Reach::Nowhere),
            ("/ip4/224.0.0.251/udp/1", Reach::Nowhere),
            ("/ip4/8.8.8.8/tcp/1", Reach::Public),
            ("/ip6/::1/tcp/1", Reach::Loopback),
            ("/ip6/fe80::1/tcp/1", Reach::Nowhere),
            ("/ip6/fd00::1/tcp/1", Reach::Private),
            ("/ip6/::ffff:10.0.0.1/tcp/1", Reach::Private),
            ("/ip6/2a00::1/tcp/1", Reach::Public),
            ("/dnsaddr/bootstrap.libp2p.io", Reach::Public),
            ("/memory/7", Reach::Nowhere),
        ] {
            assert_eq!(reach_of(address), expected, "{address}");
        }
        let relay = PeerId::random();
        for (address, expected) in [("8.8.8.8", Reach::Public), ("10.0.0.1", Reach::Private)] {
            let circuit = format!("/ip4/{address}/tcp/1/p2p/{relay}/p2p-circuit");
            assert_eq!(reach_of(&circuit), expected, "{circuit}");
            assert!(is_relayed(&circuit.parse().unwrap()));
        }
    }

    #[test]
    fn neighbours_on_the_internet_are_one_network_and_those_at_home_are_not() {
        let group = |text: &str| ip_group(&text.parse().unwrap());
        for (one, other, same) in [
            ("/ip4/93.184.1.1/tcp/1", "/ip4/93.184.2.2/udp/2/quic-v1", true),
            ("/ip4/93.184.1.1/tcp/1", "/ip4/93.185.1.1/tcp/1", false),
            ("/ip4/93.184.1.1/tcp/1", "/ip6/::ffff:93.184.7.7/tcp/1", true),
            ("/ip4/192.168.1.1/tcp/1", "/ip4/192.168.1.1/tcp/2", true),
            ("/ip4/192.168.1.1/tcp/1", "/ip4/192.168.1.2/tcp/1", false),
            ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.2/tcp/1", false),
            ("/ip6/2a00:1:2::1/tcp/1", "/ip6/2a00:1:3::1/tcp/1", true),
            ("/ip6/fd00::1/tcp/1", "/ip6/fd00::2/tcp/1", false),
        ] {
            assert_eq!(group(one) == group(other), same, "{one} {other}");
        }
        assert_eq!(group("/dnsaddr/bootstrap.libp2p.io"), None);
    }

    #[test]
    fn tcp_is_kept_alone_only_on_local_paths() {
        let addresses: Vec<Multiaddr> = [
            "/ip4/127.0.0.1/udp/1/quic-v1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/udp/1/quic-v1",
            // The way through a relay is none to the relay's own port.
            "/ip4/10.0.0.1/tcp/1/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ/p2p-circuit",
            "/ip4/8.8.8.8/tcp/1",
            "/ip4/8.8.8.8/udp/1/quic-v1",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let kept: Vec<String> = prefer_tcp_nearby(addresses).iter().map(ToString::to_string).collect();
        assert_eq!(
            kept,
            [
                "/ip4/127.0.0.1/tcp/1",
                "/ip4/10.0.0.1/udp/1/quic-v1",
                "/ip4/10.0.0.1/tcp/1/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ/p2p-circuit",
                "/ip4/8.8.8.8/tcp/1",
                "/ip4/8.8.8.8/udp/1/quic-v1"
            ]
        );
    }
}
