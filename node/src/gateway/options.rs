//! How a gateway behaves, and for whom.

use std::net::IpAddr;
use std::time::Duration;

use crate::denylist::Denylist;

/// Whom something is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// For whoever asks.
    Anybody,
    /// For programs on this machine: others are served what is here.
    ThisMachine,
    /// For nobody.
    Nobody,
}

impl Audience {
    /// Whether whoever asks from this address is among them.
    pub fn has(self, client: IpAddr) -> bool {
        match self {
            Self::Anybody => true,
            Self::ThisMachine => client.to_canonical().is_loopback(),
            Self::Nobody => false,
        }
    }
}

/// How a gateway behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How long one block may take. A [`Source`](super::Source) with a better reason to give up gives it earlier.
    pub block_limit: Duration,
    /// How long one name may take.
    pub name_limit: Duration,
    /// Whether dag-cbor and dag-pb are shown as JSON to whoever asks for `dag-json` or `json`, and values within a
    /// block too. Without it such requests get 406 and 501, as IPIP-524 has it for public gateways.
    pub convert: bool,
    /// For whom peers are asked.
    pub fetching: Audience,
    /// Whether nothing is answered but what proves itself: blocks, CARs and records. Other requests get 406.
    pub trustless: bool,
    /// Proxies whose word is taken for where a request comes from, and for which host it is.
    pub proxies: Vec<IpAddr>,
    /// Hosts, without ports, below which each root has one of its own: `{root}.ipfs.{host}`. Paths of content redirect there.
    pub subdomains: Vec<String>,
    /// Hosts, without ports, at which there is what their DNSLink says. Their names are looked up for whoever asks.
    pub sites: Vec<String>,
    /// What is shown to nobody.
    pub denylist: Denylist,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_limit: Duration::from_secs(60),
            name_limit: Duration::from_secs(60),
            convert: true,
            fetching: Audience::ThisMachine,
            trustless: false,
            proxies: Vec::new(),
            subdomains: Vec::new(),
            sites: Vec::new(),
            denylist: Denylist::default(),
        }
    }
}
