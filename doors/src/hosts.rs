//! Which names a server answers to.
//!
//! A page of a web site can have its own name point to this machine and then read, as its own origin, whatever a server
//! here answers (DNS rebinding). What it cannot do is leave that name out of the request. An address is no name: nobody
//! but this machine can have a page under it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The names that a server answers to, beside every address, `localhost` and names below it.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: Vec<String>,
    /// Ends of names, each with a dot in front.
    below: Vec<String>,
}

impl Hosts {
    /// Answers to these names, without ports.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self {
            names: names
                .into_iter()
                .map(|name| plain(&name))
                .filter(|name| !name.is_empty())
                .collect(),
            below: Vec::new(),
        }
    }

    /// Answers to all names below these, too.
    #[must_use]
    pub fn and_below(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.below
            .extend(names.into_iter().map(|name| format!(".{}", plain(&name))));
        self
    }

    /// Whether a server answers to what a `Host` field says: a name or an address, perhaps with a port.
    pub fn allow(&self, host: &str) -> bool {
        if let Some((address, rest)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            return address.parse::<Ipv6Addr>().is_ok()
                && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        let name = match host.rsplit_once(':') {
            Some((name, port)) if is_port(port) => name,
            _ => host,
        };
        if name.parse::<Ipv4Addr>().is_ok() {
            return true;
        }
        let name = plain(name);
        name == "localhost"
            || name.ends_with(".localhost")
            || self.names.contains(&name)
            || self.below.iter().any(|end| name.ends_with(end))
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_digit())
}

/// A name as names are compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_own_names_are_answered_and_no_others() {
        let hosts = Hosts::new(["Data.Example.org".to_owned()]).and_below(["ipfs.Gateway.example".to_owned()]);
        for own in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "192.168.1.7:8080",
            "[::1]",
            "[2001:db8::1]:8080",
            "localhost",
            "LOCALHOST.:80",
            "k51x.ipns.localhost:8080",
            "data.example.org",
            "DATA.example.org.:443",
            "b.ipfs.gateway.example:80",
        ] {
            assert!(hosts.allow(own), "{own}");
        }
        for other in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "sub.data.example.org",
            "ipfs.gateway.example",
            "bipfs.gateway.example",
            "0x7f.1",
            "[evil.example]",
            "[::1]evil.example",
            "user@127.0.0.1",
            "127.0.0.1:evil",
            "",
            "\u{fc}",
        ] {
            assert!(!hosts.allow(other), "{other}");
        }
    }
}
