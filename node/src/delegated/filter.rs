//! `filter-addrs` and `filter-protocols`.
//!
//! Spec: <https://specs.ipfs.tech/routing/http-routing-v1/#get-routing-v1-providers-cid-request-query-parameters> (IPIP-484).

use libp2p::Multiaddr;

use super::peer::Peer;

/// What is not said of a peer.
const UNKNOWN: &str = "unknown";
/// Words of a filter that are read.
const MAX_WORDS: usize = 64;

/// What a client wants of what is found. Empty lists want everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    addrs: Vec<String>,
    protocols: Vec<String>,
}

impl Filter {
    /// Reads the query of a request.
    pub(super) fn read(query: &str) -> Self {
        let mut filter = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let words = value.split(',').map(|word| word.trim().to_ascii_lowercase());
            let words = words.filter(|word| !word.is_empty()).take(MAX_WORDS);
            match &*name {
                "filter-addrs" => filter.addrs = words.collect(),
                "filter-protocols" => filter.protocols = words.collect(),
                _ => {}
            }
        }
        filter
    }

    /// What is left of a peer; nothing where the client does not want it.
    pub(super) fn apply(&self, mut peer: Peer) -> Option<Peer> {
        let speaks = |word: &String| match peer.protocols {
            [] => word == UNKNOWN,
            protocols => protocols.contains(&word.as_str()),
        };
        if !self.protocols.is_empty() && !self.protocols.iter().any(speaks) {
            return None;
        }
        if self.addrs.is_empty() {
            return Some(peer);
        }
        if peer.addrs.is_empty() {
            return self.addrs.iter().any(|word| word == UNKNOWN).then_some(peer);
        }
        let is_wanted = |address: &String| {
            let parts: Vec<&str> = match address.parse::<Multiaddr>() {
                Ok(_) => address.split('/').collect(),
                Err(_) => return false,
            };
            let has = |word: &str| parts.contains(&word);
            let (without, with): (Vec<&String>, Vec<&String>) =
                self.addrs.iter().partition(|word| word.starts_with('!'));
            let with: Vec<&&String> = with.iter().filter(|word| *word != &UNKNOWN).collect();
            without.iter().all(|word| !has(&word[1..])) && (with.is_empty() || with.iter().any(|word| has(word)))
        };
        peer.addrs.retain(is_wanted);
        (!peer.addrs.is_empty()).then_some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(query: &str, addrs: &[&str], protocols: &'static [&'static str]) -> Option<Vec<String>> {
        let peer = Peer {
            schema: "peer",
            id: "x".to_owned(),
            addrs: addrs.iter().map(|&address| address.to_owned()).collect(),
            protocols,
        };
        Filter::read(query).apply(peer).map(|peer| peer.addrs)
    }

    #[test]
    fn addresses_and_protocols_are_filtered_as_the_specification_says() {
        const TCP: &str = "/ip4/192.0.2.1/tcp/4001";
        const QUIC: &str = "/ip4/192.0.2.1/udp/4001/quic-v1";
        const RELAYED: &str =
            "/ip4/192.0.2.2/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";
        let all = [TCP, QUIC, RELAYED];
        let owned = |addresses: &[&str]| Some(addresses.iter().map(|&address| address.to_owned()).collect::<Vec<_>>());
        assert_eq!(left("", &all, &[]), owned(&all));
        assert_eq!(left("filter-addrs=tcp", &all, &[]), owned(&[TCP, RELAYED]));
        assert_eq!(left("filter-addrs=tcp,!p2p-circuit", &all, &[]), owned(&[TCP]));
        assert_eq!(left("filter-addrs=!p2p-circuit", &all, &[]), owned(&[TCP, QUIC]));
        assert_eq!(left("filter-addrs=QUIC-v1,webtransport", &all, &[]), owned(&[QUIC]));
        assert_eq!(left("filter-addrs=webtransport", &all, &[]), None);
        assert_eq!(left("filter-addrs=tcp", &[], &[]), None);
        assert_eq!(left("filter-addrs=unknown,tcp", &[], &[]), owned(&[]));
        let last = |before: usize| format!("filter-addrs={}tcp", "webtransport,".repeat(before));
        assert_eq!(left(&last(MAX_WORDS - 1), &[TCP], &[]), owned(&[TCP]));
        assert_eq!(left(&last(MAX_WORDS), &[TCP], &[]), None);
        assert_eq!(left("filter-protocols=unknown", &all, &[]), owned(&all));
        assert_eq!(left("filter-protocols=transport-bitswap", &all, &[]), None);
        assert_eq!(
            left("filter-protocols=transport-bitswap", &all, &["transport-bitswap"]),
            owned(&all)
        );
        assert_eq!(
            left("filter-protocols=transport-graphsync", &all, &["transport-bitswap"]),
            None
        );
    }
}
