//! Which of its addresses a peer tells somebody who is to dial it, wherever that is.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};

use libp2p::multiaddr::{Multiaddr, Protocol};

use super::{Reach, ip, reach, split_peer};

/// Addresses that are told, at most.
const MAX_TOLD: usize = 8;
/// Public ones among them, at most: a host has many of IPv6, and whoever is nearby needs the others.
const MAX_PUBLIC: usize = 4;

/// The addresses that are worth telling, best first and without `/p2p/`: those seen from the internet, public ones that are
/// listened on, and private ones, over each transport; loopback only where there is nothing else.
pub fn worth_telling(external: &[Multiaddr], listening: &[Multiaddr]) -> Vec<Multiaddr> {
    let mut all: Vec<Multiaddr> = Vec::new();
    for address in external.iter().chain(listening) {
        let (address, _) = split_peer(address.clone());
        if reach(&address) > Reach::Nowhere && !all.contains(&address) {
            all.push(address);
        }
    }
    // The sort is stable: what is seen from outside stays before what is listened on.
    all.sort_by_key(|address| (Reverse(reach(address)), is_doubtful(address)));
    let best = all.first().map(reach);
    let mut public = 0;
    all.retain(|address| {
        public += usize::from(reach(address) == Reach::Public);
        match reach(address) {
            Reach::Public => public <= MAX_PUBLIC,
            reach => reach > Reach::Loopback || best == Some(Reach::Loopback),
        }
    });
    all.truncate(MAX_TOLD);
    all
}

/// Those of `addresses` to listen on that say by themselves where a peer will be reached: neither every interface nor a port
/// of the system's choice.
pub fn fixed(addresses: &[Multiaddr]) -> Vec<Multiaddr> {
    let has_port = |address: &Multiaddr| {
        let mut parts = address.iter();
        !parts.any(|part| matches!(part, Protocol::Tcp(0) | Protocol::Udp(0)))
    };
    let fixed: Vec<Multiaddr> = addresses.iter().filter(|address| has_port(address)).cloned().collect();
    worth_telling(&[], &fixed)
}

/// Whether others of the same reach are better tried first: IPv6, which not every path has, and the private ranges of
/// networks within a machine and of those without anybody who gives out addresses.
fn is_doubtful(address: &Multiaddr) -> bool {
    match ip(address) {
        Some(IpAddr::V4(ip)) => {
            let is_in = |network: Ipv4Addr, bits: u32| (ip.to_bits() ^ network.to_bits()).leading_zeros() >= bits;
            is_in(Ipv4Addr::new(172, 16, 0, 0), 12) || is_in(Ipv4Addr::new(169, 254, 0, 0), 16)
        }
        Some(IpAddr::V6(_)) => true,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_others_can_dial_comes_first() {
        let own = "/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        let listening = all(&[
            &format!("/ip4/127.0.0.1/tcp/4001{own}"),
            &format!("/ip4/172.17.0.1/tcp/4001{own}"),
            "/ip6/fe80::1/tcp/4001",
            "/ip6/2a01:4f8::1/tcp/4001",
            &format!("/ip4/192.168.1.5/tcp/4001{own}"),
            "/ip4/192.168.1.5/udp/4001/quic-v1",
            "/ip4/192.168.1.5/udp/4001/quic-v1",
            "/ip4/0.0.0.0/tcp/4001",
        ]);
        assert_eq!(
            worth_telling(&all(&["/ip4/93.184.216.34/tcp/4001"]), &listening),
            all(&[
                "/ip4/93.184.216.34/tcp/4001",
                "/ip6/2a01:4f8::1/tcp/4001",
                "/ip4/192.168.1.5/tcp/4001",
                "/ip4/192.168.1.5/udp/4001/quic-v1",
                "/ip4/172.17.0.1/tcp/4001",
            ])
        );
        // Two on one machine meet too.
        let only = all(&["/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/4001"]);
        assert_eq!(worth_telling(&[], &only), only);
        assert!(worth_telling(&[], &[]).is_empty());
    }

    #[test]
    fn no_more_are_told_than_somebody_wants_to_copy() {
        let many = |network: &str, count: usize| -> Vec<Multiaddr> {
            (1..=count)
                .map(|host| format!("/ip4/{network}.{host}/tcp/4001").parse().unwrap())
                .collect()
        };
        let (public, private) = (many("93.184.216", MAX_PUBLIC + 1), many("192.168.1", MAX_TOLD + 1));
        assert_eq!(worth_telling(&[], &public), public[..MAX_PUBLIC]);
        assert_eq!(worth_telling(&[], &private), private[..MAX_TOLD]);
        let told = worth_telling(&public, &private);
        assert_eq!(told.len(), MAX_TOLD);
        assert_eq!(told[MAX_PUBLIC..], private[..MAX_TOLD - MAX_PUBLIC]);
    }

    #[test]
    fn settings_with_a_host_and_a_port_are_fixed() {
        let fixed = fixed(&all(&[
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/192.168.1.5/tcp/0",
            "/ip4/192.168.1.5/udp/4001/quic-v1",
            "/dns4/node.example/tcp/4001",
        ]));
        assert_eq!(
            fixed,
            all(&["/dns4/node.example/tcp/4001", "/ip4/192.168.1.5/udp/4001/quic-v1"])
        );
    }
}
