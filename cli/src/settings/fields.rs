//! The settings in force, each with what it is for and what it is when nobody sets it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use odf::poll::{Bounds, HttpOptions, UNPACK_RATIO};
use odf::retention::Retention;
use odf::slice::SliceOptions;
use odf_node::gateway::Audience;
use odf_node::ipns::DEFAULT_TTL;
use odf_node::routing::Strategy;
use url::Url;

/// Where TLS is spoken for a domain: every interface, and the port at which authorities and others look.
const TLS_LISTEN: &str = "[::]:443";

/// What a query has for rows that it must hold, beyond which it goes on in files: 1 GiB.
const QUERY_MEMORY: NonZeroU64 = match NonZeroU64::new(1 << 30) {
    Some(size) => size,
    None => NonZeroU64::MIN,
};

/// The settings of one process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Multiaddrs that the peer listens on. `None` stands for the usual port of IPFS on every interface, or any free
    /// port if that is taken.
    pub(crate) listen: Option<Vec<String>>,
    /// Peers dialled to join the public network. `None` stands for the public list; an empty list joins nothing.
    pub(crate) bootstrap: Option<Vec<String>>,
    /// Name, id or address of a dataset with the addresses of more of them.
    pub(crate) bootstrap_dataset: Option<String>,
    /// Trustless gateways that are asked over HTTP beside peers.
    pub(crate) gateways: Vec<Url>,
    /// Routers that are asked over HTTP beside the DHTs.
    pub(crate) routers: Vec<Url>,
    /// File with authorities that are believed, beside those of browsers, about servers of HTTPS.
    pub(crate) authorities: Option<String>,
    /// Whether peers on the local network are found by mDNS.
    pub(crate) mdns: bool,
    /// Whether a router that speaks UPnP is asked to open a port.
    pub(crate) port_mapping: bool,
    /// Whether `odfs node` helps others to be reached.
    pub(crate) public: bool,
    /// Whether the peer does without what costs traffic for others: few connections, and nobody is served as a DHT server.
    pub(crate) low_power: bool,
    /// Connections open at the same time; `None` leaves it to the peer, or to `low_power`.
    pub(crate) max_connections: Option<u32>,
    /// Bytes a second sent to peers, all together; `None` for as many as there are.
    pub(crate) bandwidth_up: Option<NonZeroU64>,
    /// The same of bytes received from them.
    pub(crate) bandwidth_down: Option<NonZeroU64>,
    /// Whether own and followed names are said and heard over PubSub.
    pub(crate) pubsub: bool,
    /// File with the key of the private network to be in. `None` stands for `swarm.key` in the workspace, if it is there.
    pub(crate) network_key: Option<String>,
    /// Address of the HTTP gateway of `odfs node`.
    pub(crate) gateway_listen: String,
    /// Address at which what is shared is read as buckets of S3; absent: nowhere.
    pub(crate) gateway_s3: Option<String>,
    /// Address at which the gateway speaks TLS; absent: none, or with a domain the usual one.
    pub(crate) gateway_tls: Option<String>,
    /// File with its certificate, in PEM.
    pub(crate) gateway_certificate: Option<String>,
    /// File with the key of that.
    pub(crate) gateway_key: Option<String>,
    /// Name for which it gets a certificate by itself.
    pub(crate) gateway_domain: Option<String>,
    /// Directory of the authority that it asks for that.
    pub(crate) gateway_acme: Option<Url>,
    /// Where that authority reaches the owner by mail.
    pub(crate) gateway_acme_contact: Option<String>,
    /// Address under which others reach the gateway of `odfs node`, ending in a slash; absent: the one they use.
    pub(crate) gateway_url: Option<Url>,
    /// Proxies before the gateway whose word is taken.
    pub(crate) gateway_proxies: Vec<IpAddr>,
    /// Names that the gateway answers to, beside addresses, `localhost` and those that it is known by.
    pub(crate) gateway_hosts: Vec<String>,
    /// Names, without ports, below which the gateway gives each root a host of its own.
    pub(crate) gateway_subdomains: Vec<String>,
    /// Domains at which the gateway serves what their DNSLink says.
    pub(crate) gateway_sites: Vec<String>,
    /// What domains stand for without asking DNS: `domain=path`.
    pub(crate) gateway_dnslinks: Vec<String>,
    /// Files with what the peer and its gateway serve nobody, from the workspace on; the last goes first.
    pub(crate) gateway_denylist: Vec<String>,
    /// Whether the gateway shows values in other codecs than they are stored in.
    pub(crate) gateway_convert: bool,
    /// Whether other peers may ask the gateway over libp2p.
    pub(crate) gateway_libp2p: bool,
    /// For whom the gateway gets from peers what is not here.
    pub(crate) gateway_fetch: Audience,
    /// Who may read the figures of the node.
    pub(crate) gateway_metrics: Audience,
    /// For whom the node looks in the DHTs.
    pub(crate) gateway_routing: Audience,
    /// Address of Kubo's RPC in `odfs node`; absent: none.
    pub(crate) api_listen: Option<SocketAddr>,
    /// Base URL of a public gateway that `odfs publish` prints links for, without a slash at its end; absent: none.
    pub(crate) gateway_public: Option<String>,
    /// `created_by` in the footer of Parquet slices.
    pub(crate) parquet_created_by: Option<String>,
    /// How HTTP sources of datasets are asked.
    pub(crate) source_http: HttpOptions,
    /// What sources may use at most, whatever was approved.
    pub(crate) source_bounds: Bounds,
    /// How many times its own size an archive of a source may unpack to.
    pub(crate) unpack_ratio: u64,
    /// Whether snapshots without rows retract what is there.
    pub(crate) allow_empty: bool,
    /// Within what time appends get one root from a process that stays. `None` makes one for each.
    pub(crate) batch: Option<Duration>,
    /// Which blocks of what is published others are told of.
    pub(crate) strategy: Strategy,
    /// How often a node asks for news of datasets that are followed.
    pub(crate) follow_interval: Duration,
    /// Which older roots of a dataset stay pinned and served.
    pub(crate) retention: Retention,
    /// The most bytes of memory that a query has for rows that it must hold.
    pub(crate) query_memory: NonZeroU64,
    /// The most bytes of disk that the store holds; absent: as many as there are.
    pub(crate) store_max: Option<NonZeroU64>,
}

impl Settings {
    /// Where the gateway speaks TLS, if it does.
    pub(crate) fn tls(&self) -> Option<&str> {
        let usual = self.gateway_domain.is_some().then_some(TLS_LISTEN);
        self.gateway_tls.as_deref().or(usual)
    }

    /// The address under which others reach the gateway, ending in a slash, if it is known.
    pub(crate) fn public_url(&self) -> Option<Url> {
        let of_domain = || format!("https://{}/", self.gateway_domain.as_ref()?).parse().ok();
        self.gateway_url.clone().or_else(of_domain)
    }

    /// Whether requests may come through a proxy that does not say for whom.
    pub(crate) fn is_behind_proxy(&self) -> bool {
        self.gateway_url.is_some() && self.tls().is_none()
    }

    /// How slices are written.
    pub(crate) fn slice_options(&self) -> SliceOptions {
        let mut options = SliceOptions::default();
        if let Some(created_by) = &self.parquet_created_by {
            options.created_by.clone_from(created_by);
        }
        options
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: None,
            bootstrap: None,
            bootstrap_dataset: None,
            gateways: Vec::new(),
            routers: Vec::new(),
            authorities: None,
            mdns: true,
            port_mapping: true,
            public: false,
            low_power: false,
            max_connections: None,
            bandwidth_up: None,
            bandwidth_down: None,
            pubsub: true,
            network_key: None,
            gateway_listen: "127.0.0.1:8080".to_owned(),
            gateway_s3: None,
            gateway_tls: None,
            gateway_certificate: None,
            gateway_key: None,
            gateway_domain: None,
            gateway_acme: None,
            gateway_acme_contact: None,
            gateway_url: None,
            gateway_proxies: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            gateway_hosts: Vec::new(),
            gateway_subdomains: Vec::new(),
            gateway_sites: Vec::new(),
            gateway_dnslinks: Vec::new(),
            gateway_denylist: Vec::new(),
            gateway_convert: true,
            gateway_libp2p: true,
            gateway_fetch: Audience::ThisMachine,
            gateway_metrics: Audience::ThisMachine,
            gateway_routing: Audience::ThisMachine,
            api_listen: None,
            gateway_public: None,
            parquet_created_by: None,
            source_http: HttpOptions::default(),
            source_bounds: Bounds::default(),
            unpack_ratio: UNPACK_RATIO,
            allow_empty: false,
            batch: None,
            strategy: Strategy::default(),
            follow_interval: DEFAULT_TTL,
            retention: Retention::default(),
            query_memory: QUERY_MEMORY,
            store_max: None,
        }
    }
}
