//! Addresses at which HTTP is spoken (`/dns/data.example.org/tcp/443/tls/http`), as multiaddrs and as URLs.

use std::net::IpAddr;

use libp2p::multiaddr::{Multiaddr, Protocol};
use url::{Host, Url};

use super::{Reach, reach, split_peer};

/// The multiaddr of a server; nothing for a URL of something else. What is behind its host and port has none.
pub fn http_address(url: &Url) -> Option<Multiaddr> {
    let host = match url.host()? {
        Host::Domain(name) => Protocol::Dns(name.to_owned().into()),
        Host::Ipv4(ip) => Protocol::Ip4(ip),
        Host::Ipv6(ip) => Protocol::Ip6(ip),
    };
    let address = Multiaddr::empty()
        .with(host)
        .with(Protocol::Tcp(url.port_or_known_default()?));
    match url.scheme() {
        "https" => Some(address.with(Protocol::Tls).with(Protocol::Http)),
        "http" => Some(address.with(Protocol::Http)),
        _ => None,
    }
}

/// Whether an address is one of those: libp2p is not spoken there.
pub(crate) fn is_http(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::Http | Protocol::Https))
}

/// The server at an address that a stranger told: on the internet, and with TLS, so that nobody is sent into the network that
/// this peer is in, nor anywhere by somebody in between.
pub(crate) fn public_server(address: &Multiaddr) -> Option<Url> {
    if reach(address) != Reach::Public {
        return None;
    }
    // DHTs have the id of whom they name at the end.
    let (address, _) = split_peer(address.clone());
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => Host::<String>::Ipv4(ip),
        Protocol::Ip6(ip) => Host::Ipv6(ip),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => match Host::parse(&name).ok()? {
            // An address in the guise of a name, which is judged by nothing above.
            Host::Domain(name) => Host::Domain(name),
            Host::Ipv4(_) | Host::Ipv6(_) => return None,
        },
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else {
        return None;
    };
    let rest: Vec<Protocol<'_>> = parts.collect();
    let is_https = matches!(rest.as_slice(), [Protocol::Tls, Protocol::Http] | [Protocol::Https]);
    is_https.then(|| format!("https://{host}:{port}/").parse().ok())?
}

/// Whether an address is on the internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    reach(&Multiaddr::empty().with(Protocol::from(ip))) == Reach::Public
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_by_its_host_and_port() {
        for (url, address) in [
            ("https://data.example.org/", "/dns/data.example.org/tcp/443/tls/http"),
            (
                "https://data.example.org:8443/x",
                "/dns/data.example.org/tcp/8443/tls/http",
            ),
            ("https://93.184.216.34/", "/ip4/93.184.216.34/tcp/443/tls/http"),
            ("http://[2a00::1]:8080/", "/ip6/2a00::1/tcp/8080/http"),
        ] {
            let told = http_address(&url.parse().unwrap()).unwrap();
            assert_eq!(told.to_string(), address);
            assert!(is_http(&told), "{told}");
        }
        assert_eq!(http_address(&"ftp://data.example.org/".parse().unwrap()), None);
        assert!(!is_http(&"/dns/data.example.org/tcp/4001".parse().unwrap()));
    }

    #[test]
    fn strangers_send_nobody_but_to_servers_on_the_internet() {
        let server = |text: &str| public_server(&text.parse().unwrap()).map(|url| url.to_string());
        for (address, url) in [
            ("/dns/data.example.org/tcp/443/tls/http", "https://data.example.org/"),
            (
                "/dns4/data.example.org/tcp/8443/https",
                "https://data.example.org:8443/",
            ),
            ("/ip4/93.184.216.34/tcp/443/tls/http", "https://93.184.216.34/"),
            ("/ip6/2a00::1/tcp/443/tls/http", "https://[2a00::1]/"),
            (
                "/dns/data.example.org/tcp/443/tls/http/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
                "https://data.example.org/",
            ),
        ] {
            assert_eq!(server(address).as_deref(), Some(url));
        }
        for address in [
            "/dns/data.example.org/tcp/80/http",
            "/ip4/127.0.0.1/tcp/443/tls/http",
            "/ip4/192.168.1.1/tcp/443/tls/http",
            "/ip4/169.254.169.254/tcp/443/tls/http",
            "/ip6/::1/tcp/443/tls/http",
            "/ip6/::ffff:10.0.0.1/tcp/443/tls/http",
            "/dns/127.0.0.1/tcp/443/tls/http",
            "/dns/0x7f.1/tcp/443/tls/http",
            "/dns/data.example.org/udp/443/quic-v1",
            "/dns/data.example.org/tcp/443/tls/ws",
            "/dns/data.example.org/tcp/443/tls/sni/a.example/http",
            "/dns/data.example.org/tcp/443",
            "/dnsaddr/data.example.org/tcp/443/tls/http",
            "/ip4/93.184.216.34/tcp/443/tls/http/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ/p2p-circuit",
        ] {
            assert_eq!(server(address), None, "{address}");
        }
    }
}
