//! From where a request is, also where a proxy is in between.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

/// How a request came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Client {
    /// From which address, as far as that is known.
    pub address: Option<IpAddr>,
    /// Whether it was encrypted on the way here, or to the proxy that it came through.
    pub secure: bool,
}

/// Marks a request that came over TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

/// What a request was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// Name or address, perhaps with a port; empty if the request says none.
    pub name: String,
    /// Whether the client spoke TLS with it.
    pub secure: bool,
}

/// From where a request is: the other end of its connection, or what one of `proxies` says about that. It must have been
/// served with [`ConnectInfo`] of a socket address.
pub fn client(extensions: &Extensions, headers: &HeaderMap, proxies: &[IpAddr]) -> Client {
    let (peer, is_proxy) = peer(extensions, proxies);
    let over_tls = extensions.get::<OverTls>().is_some();
    if !is_proxy {
        return Client {
            address: peer,
            secure: over_tls,
        };
    }
    // What the proxy itself has seen is the last address in the field; those before are what it was told.
    let said = told(headers, "x-forwarded-for");
    let said = said.and_then(|list| list.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    Client {
        address: said.map(|said| said.to_canonical()).or(peer),
        secure: told(headers, "x-forwarded-proto")
            .map_or(over_tls, |scheme| scheme.trim().eq_ignore_ascii_case("https")),
    }
}

/// What a request was sent to, or what one of `proxies` says it was. It must have been served as for [`client`].
pub fn asked(request: &Parts, proxies: &[IpAddr]) -> Asked {
    let (_, is_proxy) = peer(&request.extensions, proxies);
    let told = told(&request.headers, "x-forwarded-host").filter(|_| is_proxy);
    let own = || {
        // A request to a proxy has the whole URL, and its host goes before the field.
        let authority = request.uri.authority().map(|authority| authority.as_str());
        authority.or_else(|| request.headers.get("host")?.to_str().ok())
    };
    Asked {
        name: told.or_else(own).unwrap_or_default().trim().to_owned(),
        secure: client(&request.extensions, &request.headers, proxies).secure,
    }
}

/// The other end of a connection, and whether it is a proxy that is believed.
fn peer(extensions: &Extensions, proxies: &[IpAddr]) -> (Option<IpAddr>, bool) {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(address)| address.ip().to_canonical());
    (peer, peer.is_some_and(|peer| proxies.contains(&peer)))
}

/// The last field of a name: the one that the proxy itself added.
fn told<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()
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

    #[test]
    fn a_request_is_for_the_host_that_its_url_or_a_proxy_says() {
        let proxies = ["127.0.0.1".parse().unwrap()];
        let asked_by = |peer: &str, uri: &str, forwarded: &str| {
            let request = axum::http::Request::get(uri).header("host", "a.example:1");
            let request = request
                .header("x-forwarded-host", forwarded)
                .header("x-forwarded-proto", "https");
            let (mut request, ()) = request.body(()).unwrap().into_parts();
            request
                .extensions
                .insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            let Asked { name, secure } = asked(&request, &proxies);
            (name, secure)
        };
        assert_eq!(asked_by("127.0.0.1", "/x", "b.example"), ("b.example".to_owned(), true));
        assert_eq!(
            asked_by("8.8.8.8", "/x", "b.example"),
            ("a.example:1".to_owned(), false)
        );
        assert_eq!(
            asked_by("8.8.8.8", "http://c.example/x", "b"),
            ("c.example".to_owned(), false)
        );
    }
}
