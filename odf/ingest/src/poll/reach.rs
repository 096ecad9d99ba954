//! Which addresses belong to this machine or its network, and a connector that keeps to what a source may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use ureq::http::Uri;
use ureq::unversioned::transport::{ConnectionDetails, Connector};
use url::{Host, Url};

/// Names of this machine that need no look-up.
const LOCALHOST: &str = "localhost";

/// Whether an address is not one of the public internet: of this machine, of a private network, or of nobody.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, .., g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_private_v4(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b) {
        // ::, ::1, and forms that hold an address of version 4: mapped, compatible, translated.
        (0, 0) => address.to_ipv4().is_none_or(is_private_v4),
        // NAT64, whose translator may be told of any network; of the well-known prefix the address counts.
        (0x64, 0xff9b) => c != 0 || v4(g, h),
        // 6to4 and Teredo lead to an address of version 4.
        (0x2002, _) => v4(b, c),
        (0x2001, 0 | 0xdb8) | (0xfc00..=0xfdff | 0xfe80..=0xfeff | 0xff00..=0xffff, _) => true,
        _ => false,
    }
}

/// The host of a URL if it is, as it is written, one of this machine or its network.
pub(super) fn private_host(url: &Url) -> Option<String> {
    is_private_host(&url.host()?).then(|| place(url))
}

fn is_private_host<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Ipv4(address) => is_private_v4(*address),
        Host::Ipv6(address) => is_private_v6(*address),
        Host::Domain(name) => is_local_name(name.as_ref()),
    }
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // A name without a dot is found in the search domains of this network.
    name == LOCALHOST || name.ends_with(".localhost") || name.ends_with(".local") || !name.contains('.')
}

/// Host, with the port if it is not the usual one.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The host of a URL if it is of this machine or its network now: as it is written, or by an address that its name stands
/// for. Nothing if all of it is public, if the name cannot be looked up, or if there is no host.
pub(super) fn private_now(url: &Url) -> Option<String> {
    private_host(url).or_else(|| {
        let Some(Host::Domain(name)) = url.host() else {
            return None;
        };
        let mut found = (name, url.port_or_known_default()?).to_socket_addrs().ok()?;
        let address = found.find(|address| is_private(address.ip()))?.ip();
        Some(format!("{}, now at {address}", place(url)))
    })
}

/// A host and the port on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Door {
    host: String,
    port: u16,
}

impl Door {
    pub(super) fn of(url: &Url) -> Option<Self> {
        Some(Self {
            host: url.host_str()?.to_ascii_lowercase(),
            port: url.port_or_known_default()?,
        })
    }

    /// Whether this is what a request goes to. From plain HTTP to HTTPS of the same host is one step up.
    fn is(&self, uri: &Uri) -> bool {
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let same_host = uri.host().is_some_and(|host| host.eq_ignore_ascii_case(&self.host));
        same_host && (port == self.port || (secure && port == 443 && self.port == 80))
    }
}

/// A request would have gone to an address of this machine or its network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is at {address}, an address of this machine or its network")]
pub(super) struct Private {
    /// The host, as the URL or a redirect names it.
    pub(super) host: String,
    /// What its name stands for, or the host itself behind a proxy.
    pub(super) address: String,
    /// Whether the source itself names it; else a server led there.
    pub(super) named: bool,
}

/// Lets connections pass that go to public addresses, and those to one door. It is asked for every connection, after
/// names were looked up: also for redirects, and for names that change what they stand for.
#[derive(Debug)]
pub(super) struct Guard {
    /// The door in the URL of the source.
    named: Option<Door>,
    /// Whether that may be private.
    allowed: bool,
    /// Whether connections go through a proxy.
    proxied: bool,
}

impl Guard {
    pub(super) fn new(url: &Url, allowed: bool, proxied: bool) -> Self {
        Self {
            named: Door::of(url),
            allowed,
            proxied,
        }
    }

    fn check(&self, uri: &Uri, addresses: &[IpAddr]) -> Result<(), Private> {
        let named = self.named.as_ref().is_some_and(|door| door.is(uri));
        if named && self.allowed {
            return Ok(());
        }
        let host = uri.host().unwrap_or_default();
        let found = |address: String| Private {
            host: host.to_owned(),
            address,
            named,
        };
        if let Some(address) = addresses.iter().find(|address| is_private(**address)) {
            return Err(found(address.to_string()));
        }
        // Behind a proxy nothing was looked up; what is written counts all the same, in any spelling of an address.
        let is_public = || Host::parse(host).is_ok_and(|host| !is_private_host(&host));
        match addresses.is_empty() && !is_public() {
            true => Err(found(host.to_owned())),
            false => Ok(()),
        }
    }
}

impl Connector<()> for Guard {
    type Out = ();

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<()>) -> Result<Option<()>, ureq::Error> {
        let addresses: Vec<IpAddr> = details.addrs.iter().map(SocketAddr::ip).collect();
        // The connection to the proxy itself is made without one, and that proxy is the user's own.
        let to_proxy = self.proxied && details.config.proxy().is_none();
        if !to_proxy {
            self.check(details.uri, &addresses)
                .map_err(|private| ureq::Error::Other(Box::new(private)))?;
        }
        Ok(chained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_told_from_all_others() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2606:4700:4700::1111",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn hosts_are_judged_as_they_are_written() {
        let host = |url: &str| private_host(&Url::parse(url).unwrap());
        for private in [
            "http://localhost/",
            "http://LOCALHOST.:80/",
            "http://a.localhost/",
            "http://printer.local/",
            "http://intranet/x",
            // Spellings of 127.0.0.1.
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:8080/",
            "http://169.254.169.254/latest/",
        ] {
            assert!(host(private).is_some(), "{private}");
        }
        assert_eq!(host("http://[::1]:8080/").as_deref(), Some("[::1]:8080"));
        assert_eq!(host("https://example.org/x"), None);
        assert_eq!(host("https://8.8.8.8/x"), None);
    }

    #[test]
    fn only_the_door_that_was_named_and_allowed_may_be_private() {
        let url = Url::parse("http://Data.example:8080/x").unwrap();
        let loopback: [IpAddr; 1] = ["127.0.0.1".parse().unwrap()];
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let here = uri("http://data.example:8080/other");
        assert!(Guard::new(&url, true, false).check(&here, &loopback).is_ok());
        let refused = Guard::new(&url, false, false).check(&here, &loopback).unwrap_err();
        assert!(refused.named && refused.address == "127.0.0.1", "{refused}");
        for elsewhere in [
            "http://data.example:22/",
            "https://data.example/",
            "http://evil.example:8080/",
        ] {
            let refused = Guard::new(&url, true, false)
                .check(&uri(elsewhere), &loopback)
                .unwrap_err();
            assert!(!refused.named, "{elsewhere}");
        }
        // One private address among public ones is one too many.
        let mixed: [IpAddr; 2] = ["8.8.8.8", "10.0.0.1"].map(|text| text.parse().unwrap());
        let public = uri("http://evil.example/");
        assert!(Guard::new(&url, true, false).check(&public, &mixed).is_err());
        assert!(Guard::new(&url, false, false).check(&public, &mixed[..1]).is_ok());
        // Behind a proxy there are no addresses.
        for written in [
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://localhost/",
            "http://0x7f.1/",
            "http://2130706433/",
        ] {
            assert!(
                Guard::new(&url, true, false).check(&uri(written), &[]).is_err(),
                "{written}"
            );
        }
        for public in ["http://evil.example/", "http://8.8.8.8/", "http://[2606:4700::1111]/"] {
            assert!(
                Guard::new(&url, false, false).check(&uri(public), &[]).is_ok(),
                "{public}"
            );
        }
        let plain = Guard::new(&Url::parse("http://data.example/").unwrap(), true, false);
        assert!(plain.check(&uri("https://data.example/"), &loopback).is_ok());
    }
}
