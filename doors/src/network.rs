//! Which addresses count as one client, and which as one operator's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What counts as one operator's network: a /16 of IPv4, a /32 of IPv6. Addresses of this machine and of private networks
/// stand for themselves: the machines of an office are not one stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// An address that stands for itself.
    Alone(IpAddr),
    /// The first two bytes of IPv4.
    V4([u8; 2]),
    /// The first four bytes of IPv6.
    V6([u8; 4]),
}

/// The network that an address is in.
pub fn network(address: IpAddr) -> Network {
    match address.to_canonical() {
        IpAddr::V4(address) if is_near_v4(address) => Network::Alone(address.into()),
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            Network::V4([a, b])
        }
        IpAddr::V6(address) if is_near_v6(address) => Network::Alone(address.into()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.octets();
            Network::V6([a, b, c, d])
        }
    }
}

/// The address that stands for a client: in public IPv6 whoever has one address has the 2^64 beside it.
pub fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !is_near_v6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    let shared = matches!(address.octets(), [100, 64..=127, ..]);
    address.is_loopback() || address.is_private() || address.is_link_local() || shared
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Network {
        network(text.parse().unwrap())
    }

    #[test]
    fn strangers_are_counted_by_network_and_neighbours_by_address() {
        assert_eq!(of("8.8.8.8"), of("8.8.1.1"));
        assert_ne!(of("8.8.8.8"), of("8.9.8.8"));
        assert_eq!(of("2a00:1:2::1"), of("2a00:1:ffff::9"));
        assert_ne!(of("2a00:1::1"), of("2a00:2::1"));
        for (one, other) in [
            ("127.0.0.1", "127.0.0.2"),
            ("192.168.1.1", "192.168.1.2"),
            ("fd00::1", "fd00::2"),
        ] {
            assert_ne!(of(one), of(other));
        }
        assert_eq!(of("::ffff:8.8.8.8"), of("8.8.8.8"));
    }

    #[test]
    fn a_subnet_of_version_6_is_one_client() {
        let client = |text: &str| one_client(text.parse().unwrap());
        assert_eq!(client("2a00:db8:1:2::1"), client("2a00:db8:1:2:ffff::9"));
        assert_ne!(client("2a00:db8:1:2::1"), client("2a00:db8:1:3::1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_ne!(client("fd00::1"), client("fd00::2"));
    }
}
