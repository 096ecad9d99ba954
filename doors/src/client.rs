//! From where a request is, also where a proxy is in between.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};

/// How a request came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Client {
    /// From which address, as far as that is known.
    pub address: Option<IpAddr>,
    /// Whether it was encrypted on the way to the proxy that it came through.
    pub secure: bool,
}

/// From where a request is: the other end of its connection, or what one of `proxies` says about that. It must have been
/// served with [`ConnectInfo`] of a socket address.
pub fn client(extensions: &Extensions, headers: &HeaderMap, proxies: &[IpAddr]) -> Client {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(address)| address.ip().to_canonical());
    if !peer.is_some_and(|peer| proxies.contains(&peer)) {
        return Client {
            address: peer,
            secure: false,
        };
    }
    // What the proxy itself has seen is the last field, and the last address in it; those before are what it was told.
    let text = |name: &str| headers.get_all(name).iter().next_back()?.to_str().ok();
    let said = text("x-forwarded-for").and_then(|list| list.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    Client {
        address: said.map(|said| said.to_canonical()).or(peer),
        secure: text("x-forwarded-proto").is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_are_believed_and_only_what_they_saw() {
        let proxies = ["127.0.0.1".parse().unwrap()];
        let from = |peer: &str, fields: &[(&'static str, &'static str)]| {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            let Client { address, secure } = client(&extensions, &headers, &proxies);
            (address.unwrap().to_string(), secure)
        };
        let told = ("x-forwarded-for", "6.6.6.6, 9.9.9.9");
        let secure = ("x-forwarded-proto", "https");
        assert_eq!(from("8.8.8.8", &[told, secure]), ("8.8.8.8".to_owned(), false));
        assert_eq!(from("127.0.0.1", &[told, secure]), ("9.9.9.9".to_owned(), true));
        assert_eq!(from("::ffff:127.0.0.1", &[]), ("127.0.0.1".to_owned(), false));
        assert_eq!(
            client(&Extensions::new(), &HeaderMap::new(), &proxies),
            Client::default()
        );
    }
}
