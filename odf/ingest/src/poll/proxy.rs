//! The HTTP proxy that somebody's environment names.

use std::ffi::OsString;

use ureq::Proxy;

/// Where a proxy stands, in the order of asking; of each also in lower case.
const PROXIES: [&str; 3] = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"];
/// Hosts that are asked without it.
const EXCEPT: &str = "NO_PROXY";

/// The proxy of an environment, by the usual variables; the first that is an address counts. It is that of whoever gives a
/// command, not of the process that carries it out.
pub fn of_environment(environment: &[(OsString, OsString)]) -> Option<Proxy> {
    let text = |name: &str| {
        let (_, value) = environment.iter().find(|(known, _)| known.as_os_str() == name)?;
        value.to_str().filter(|value| !value.is_empty())
    };
    let either = |name: &str| text(name).or_else(|| text(&name.to_ascii_lowercase()));
    let found = PROXIES
        .into_iter()
        .filter_map(either)
        .find_map(|address| Proxy::new(address).ok())?;
    let mut proxy = Proxy::builder(found.protocol())
        .host(found.host())
        .port(found.port())
        .resolve_target(found.resolve_target());
    if let Some(username) = found.username() {
        proxy = proxy.username(username);
    }
    if let Some(password) = found.password() {
        proxy = proxy.password(password);
    }
    for host in either(EXCEPT).unwrap_or_default().split(',') {
        proxy = proxy.no_proxy(host.trim());
    }
    proxy.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<Proxy> {
        let environment: Vec<_> = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        of_environment(&environment)
    }

    #[test]
    fn the_first_address_counts_and_exceptions_hold() {
        assert!(of(&[("PATH", "/bin"), ("HTTP_PROXY", "")]).is_none());
        let proxy = of(&[
            ("http_proxy", "http://other:1"),
            ("https_proxy", "http://me:s3cret@proxy.example:3128"),
            ("no_proxy", "localhost, .inside.example"),
        ])
        .unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 3128));
        assert_eq!((proxy.username(), proxy.password()), (Some("me"), Some("s3cret")));
        let is_direct = |url: &str| proxy.is_no_proxy(&url.parse().unwrap());
        assert!(is_direct("http://localhost/") && is_direct("http://a.inside.example/"));
        assert!(!is_direct("http://data.example/"));
        let proxy = of(&[("HTTP_PROXY", "http://upper:1"), ("http_proxy", "http://lower:2")]).unwrap();
        assert_eq!(proxy.host(), "upper");
        assert!(of(&[("ALL_PROXY", "no address at all"), ("HTTP_PROXY", "http://next:1")]).is_some());
    }
}
