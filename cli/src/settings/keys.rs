//! The list of what can be set: the name of each setting, and how it is read and shown.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use odf_node::routing::Strategy;
use toml::Value;
use url::Url;

use super::Settings;
use super::duration::duration_text;
use super::retention;
use super::values::{
    APPROVED, OFF, approved, audience, audience_value, duration, file, gateways, is_dnslink, is_host, list_value,
    multiaddrs, rate, rate_value, socket_address, words,
};

/// The shortest time between two questions for the same news: peers answer out of kindness.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that several appends wait for one root. A name that lags by more is better moved by hand.
const MAX_BATCH: Duration = Duration::from_secs(3600);

/// Connections that can be asked for: with fewer a peer finds nobody, and each takes a descriptor and some memory.
const CONNECTIONS: RangeInclusive<u32> = 4..=4096;

/// One thing that can be set.
pub(crate) struct Key {
    /// Dotted name, as in the file.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// The value in force, as it would stand in the file; nothing stands for "decided by odfs".
    pub(crate) show: fn(&Settings) -> Option<Value>,
    /// Takes a value of the file. The error says what was expected.
    pub(super) set: fn(&mut Settings, Value) -> Result<(), String>,
}

/// Everything that can be set, in the order of `odfs config list`.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "network.listen",
        about: "multiaddrs that the peer listens on; \"default\" is port 4001 on every interface, or any if that is taken",
        show: |settings| {
            Some(
                settings
                    .listen
                    .as_ref()
                    .map_or_else(|| "default".into(), |list| list_value(list)),
            )
        },
        set: |settings, value| {
            settings.listen = match value.as_str() {
                Some("default") => None,
                _ => Some(multiaddrs(value)?),
            };
            Ok(())
        },
    },
    Key {
        name: "network.bootstrap",
        about: "peers dialled to join the network, after those remembered from earlier runs: addresses ending in /p2p/ID, several of \
                one peer if need be; [] dials nobody, remembered peers included, \"public\" the public IPFS bootstrap peers",
        show: |settings| {
            Some(match &settings.bootstrap {
                None => Value::String("public".to_owned()),
                Some(list) => list_value(list),
            })
        },
        set: |settings, value| {
            settings.bootstrap = match value.as_str() {
                Some("public") => None,
                _ => Some(multiaddrs(value)?),
            };
            Ok(())
        },
    },
    Key {
        name: "network.bootstrapDataset",
        about: "dataset here, by name, id or address, whose column `address` has more such addresses, dialled last; `odfs pull` \
                keeps it up to date like any other",
        show: |settings| settings.bootstrap_dataset.clone().map(Value::String),
        set: |settings, value| {
            let text = value.as_str().map(str::trim).filter(|text| !text.is_empty());
            let text = text.ok_or("the name, id or address of a dataset is expected")?;
            settings.bootstrap_dataset = Some(text.to_owned());
            Ok(())
        },
    },
    Key {
        name: "network.gateways",
        about: "trustless gateways that are asked over HTTP beside peers, for blocks and names, such as \"https://gateway.example\"; \
                what they give is checked",
        show: |settings| {
            let urls: Vec<String> = settings.gateways.iter().map(Url::to_string).collect();
            Some(list_value(&urls))
        },
        set: |settings, value| {
            settings.gateways = gateways(value)?;
            Ok(())
        },
    },
    Key {
        name: "network.authorities",
        about: "file with certificates, in PEM, of authorities that are believed about gateways and gateway.acme, beside those that \
                browsers believe",
        show: |settings| settings.authorities.clone().map(Value::String),
        set: |settings, value| {
            settings.authorities = Some(file(&value)?);
            Ok(())
        },
    },
    Key {
        name: "network.mdns",
        about: "find peers on the local network",
        show: |settings| Some(Value::Boolean(settings.mdns)),
        set: |settings, value| {
            settings.mdns = value.as_bool().ok_or("true or false is expected")?;
            Ok(())
        },
    },
    Key {
        name: "network.portMapping",
        about: "ask the router at home (UPnP) to let others in, while a node runs that is to be of the public network",
        show: |settings| Some(Value::Boolean(settings.port_mapping)),
        set: |settings, value| {
            settings.port_mapping = value.as_bool().ok_or("true or false is expected")?;
            Ok(())
        },
    },
    Key {
        name: "network.public",
        about: "relay connections for peers behind routers, and tell others how they are reached, as `odfs node --public`",
        show: |settings| Some(Value::Boolean(settings.public)),
        set: |settings, value| {
            settings.public = value.as_bool().ok_or("true or false is expected")?;
            Ok(())
        },
    },
    Key {
        name: "network.maxConnections",
        about: "connections to peers open at the same time, 4 at least; those you named do not count. Unset: 96, or 20 with \
                network.lowPower",
        show: |settings| settings.max_connections.map(|limit| Value::Integer(limit.into())),
        set: |settings, value| {
            let limit = value.as_integer().and_then(|limit| u32::try_from(limit).ok());
            let limit = limit.filter(|limit| CONNECTIONS.contains(limit));
            let (least, most) = (CONNECTIONS.start(), CONNECTIONS.end());
            settings.max_connections =
                Some(limit.ok_or_else(|| format!("a number from {least} to {most} is expected"))?);
            Ok(())
        },
    },
    Key {
        name: "network.bandwidth.up",
        about: "bytes a second sent to peers, all of them together, such as 500kB/s or 5MB/s; \"off\": as many as the line carries",
        show: |settings| Some(rate_value(settings.bandwidth_up)),
        set: |settings, value| {
            settings.bandwidth_up = rate(&value)?;
            Ok(())
        },
    },
    Key {
        name: "network.bandwidth.down",
        about: "the same of bytes received from peers",
        show: |settings| Some(rate_value(settings.bandwidth_down)),
        set: |settings, value| {
            settings.bandwidth_down = rate(&value)?;
            Ok(())
        },
    },
    Key {
        name: "network.lowPower",
        about: "for a machine on a metered link: keep few connections, and do not serve the public DHT even if others get \
                through",
        show: |settings| Some(Value::Boolean(settings.low_power)),
        set: |settings, value| {
            settings.low_power = value.as_bool().ok_or("true or false is expected")?;
            Ok(())
        },
    },
    Key {
        name: "network.pubsub",
        about: "tell connected peers of a new version the moment it is published, and hear of theirs",
        show: |settings| Some(Value::Boolean(settings.pubsub)),
        set: |settings, value| {
            settings.pubsub = value.as_bool().ok_or("true or false is expected")?;
            Ok(())
        },
    },
    Key {
        name: "network.key",
        about: "file with the key of the private network to be in, from the workspace on: only peers with the same key are spoken \
                to; unset: swarm.key in the workspace if it is there, else the public network",
        show: |settings| settings.network_key.clone().map(Value::String),
        set: |settings, value| {
            settings.network_key = Some(file(&value)?);
            Ok(())
        },
    },
    Key {
        name: "gateway.listen",
        about: "address of the HTTP gateway of `odfs node`",
        show: |settings| Some(Value::String(settings.gateway_listen.clone())),
        set: |settings, value| {
            settings.gateway_listen = socket_address(&value)?;
            Ok(())
        },
    },
    Key {
        name: "gateway.domain",
        about: "name of this machine for which `odfs node` gets a certificate by itself (ACME) and serves the gateway by HTTPS; \
                whoever sets it agrees to the terms of the authority, see gateway.acme",
        show: |settings| settings.gateway_domain.clone().map(Value::String),
        set: |settings, value| {
            let name = value.as_str().filter(|name| is_host(name) && !name.contains('_'));
            let name = name.ok_or("the name of a host such as data.example.org is expected")?;
            settings.gateway_domain = Some(name.trim_end_matches('.').to_ascii_lowercase());
            Ok(())
        },
    },
    Key {
        name: "gateway.tls",
        about: "address at which the gateway is served by HTTPS; unset: [::]:443 with gateway.domain, else none",
        show: |settings| settings.gateway_tls.clone().map(Value::String),
        set: |settings, value| {
            settings.gateway_tls = Some(socket_address(&value)?);
            Ok(())
        },
    },
    Key {
        name: "gateway.certificate",
        about: "file with the certificate of gateway.tls, in PEM, and those it is signed with; read again when it changes",
        show: |settings| settings.gateway_certificate.clone().map(Value::String),
        set: |settings, value| {
            settings.gateway_certificate = Some(file(&value)?);
            Ok(())
        },
    },
    Key {
        name: "gateway.key",
        about: "file with the key of that certificate, in PEM",
        show: |settings| settings.gateway_key.clone().map(Value::String),
        set: |settings, value| {
            settings.gateway_key = Some(file(&value)?);
            Ok(())
        },
    },
    Key {
        name: "gateway.acme",
        about: "directory of the authority that signs the certificate for gateway.domain; unset: that of Let's Encrypt",
        show: |settings| settings.gateway_acme.as_ref().map(|url| Value::String(url.to_string())),
        set: |settings, value| {
            let url = value.as_str().and_then(|text| text.parse::<Url>().ok());
            let url = url.filter(|url| url.scheme() == "https" && url.has_host());
            settings.gateway_acme = Some(url.ok_or("a URL that begins with https:// is expected")?);
            Ok(())
        },
    },
    Key {
        name: "gateway.acmeContact",
        about: "address of mail at which that authority reaches the owner of this machine; unset: none",
        show: |settings| settings.gateway_acme_contact.clone().map(Value::String),
        set: |settings, value| {
            let address = value.as_str().filter(|text| text.contains('@') && !text.contains(':'));
            settings.gateway_acme_contact = Some(
                address
                    .ok_or("an address such as me@example.org is expected")?
                    .to_owned(),
            );
            Ok(())
        },
    },
    Key {
        name: "gateway.url",
        about: "address under which others reach the gateway and repository of `odfs node`, if a proxy is before it or its port is \
                another",
        show: |settings| settings.gateway_url.as_ref().map(|url| Value::String(url.to_string())),
        set: |settings, value| {
            let url = value.as_str().and_then(|text| text.parse::<Url>().ok());
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            let mut url = url.ok_or("a URL such as https://data.example.org/ is expected")?;
            if !url.path().ends_with('/') {
                url.set_path(&format!("{}/", url.path()));
            }
            settings.gateway_url = Some(url);
            Ok(())
        },
    },
    Key {
        name: "gateway.proxies",
        about: "addresses of proxies that are believed about where requests come from, and whether those were encrypted",
        show: |settings| {
            let texts: Vec<String> = settings.gateway_proxies.iter().map(IpAddr::to_string).collect();
            Some(list_value(&texts))
        },
        set: |settings, value| {
            const WANTED: &str = "a list of IP addresses such as [\"127.0.0.1\"] is expected";
            let words = words(value, |word| word.parse::<IpAddr>().is_ok(), WANTED)?;
            settings.gateway_proxies = words.iter().filter_map(|word| word.parse().ok()).collect();
            Ok(())
        },
    },
    Key {
        name: "gateway.hosts",
        about: "names under which others reach the gateway, such as data.example.org; requests for names that are not its own are \
                refused, so that no web site makes its name stand for this machine",
        show: |settings| Some(list_value(&settings.gateway_hosts)),
        set: |settings, value| {
            const WANTED: &str = "a list of names such as [\"data.example.org\"], without ports, is expected";
            settings.gateway_hosts = words(value, is_host, WANTED)?;
            Ok(())
        },
    },
    Key {
        name: "gateway.subdomains",
        about: "names below which the gateway gives each root a host, and so an origin, of its own, such as localhost: paths of content \
                redirect to CID.ipfs.NAME and NAME-OF-KEY.ipns.NAME",
        show: |settings| Some(list_value(&settings.gateway_subdomains)),
        set: |settings, value| {
            const WANTED: &str = "a list of names such as [\"localhost\"], without ports, is expected";
            settings.gateway_subdomains = words(value, is_host, WANTED)?;
            Ok(())
        },
    },
    Key {
        name: "gateway.sites",
        about: "domains that point to this gateway and at which it serves, to whoever asks, what their DNSLink says",
        show: |settings| Some(list_value(&settings.gateway_sites)),
        set: |settings, value| {
            const WANTED: &str = "a list of domains such as [\"www.example.org\"], without ports, is expected";
            settings.gateway_sites = words(value, is_host, WANTED)?;
            Ok(())
        },
    },
    Key {
        name: "gateway.dnslinks",
        about: "what domains stand for without asking DNS: DOMAIN=PATH, where PATH begins with /ipfs/ or /ipns/",
        show: |settings| Some(list_value(&settings.gateway_dnslinks)),
        set: |settings, value| {
            const WANTED: &str = "a list such as [\"www.example.org=/ipns/k51…\"] is expected";
            settings.gateway_dnslinks = words(value, is_dnslink, WANTED)?;
            Ok(())
        },
    },
    Key {
        name: "gateway.convert",
        about: "whether the gateway shows values as dag-json, dag-cbor, JSON or CBOR that are stored in another codec; without it, as \
                IPIP-524 has it for public gateways, that is refused",
        show: |settings| Some(Value::Boolean(settings.gateway_convert)),
        set: |settings, value| {
            settings.gateway_convert = value.as_bool().ok_or("true or false is expected")?;
            Ok(())
        },
    },
    Key {
        name: "gateway.fetch",
        about: "for whom the gateway gets from peers what is not here: \"local\" for programs on this machine (for nobody if \
                gateway.url says that a proxy is before it), true for whoever asks, false for nobody",
        show: |settings| Some(audience_value(settings.gateway_fetch)),
        set: |settings, value| {
            settings.gateway_fetch = audience(&value)?;
            Ok(())
        },
    },
    Key {
        name: "gateway.metrics",
        about: "who may read `/metrics`: \"local\" for programs on this machine (nobody if gateway.url says that a proxy is before \
                it), true for whoever asks, false for nobody",
        show: |settings| Some(audience_value(settings.gateway_metrics)),
        set: |settings, value| {
            settings.gateway_metrics = audience(&value)?;
            Ok(())
        },
    },
    Key {
        name: "gateway.routing",
        about: "for whom `/routing/v1` (Delegated Routing) looks in the DHTs: \"local\" for programs on this machine (nobody if \
                gateway.url says that a proxy is before it), true for whoever asks, false for nobody",
        show: |settings| Some(audience_value(settings.gateway_routing)),
        set: |settings, value| {
            settings.gateway_routing = audience(&value)?;
            Ok(())
        },
    },
    Key {
        name: "gateway.public",
        about: "public gateway of the links that `odfs publish` and `push` print beside that of `odfs node`; unset: none",
        show: |settings| settings.gateway_public.clone().map(Value::String),
        set: |settings, value| {
            let text = value.as_str().map(|text| text.trim_end_matches('/'));
            let text = text
                .filter(|text| text.starts_with("http://") || text.starts_with("https://"))
                .ok_or("a URL such as https://ipfs.io is expected")?;
            settings.gateway_public = Some(text.to_owned());
            Ok(())
        },
    },
    Key {
        name: "parquet.createdBy",
        about: "`created_by` in the footer of new Parquet files",
        show: |settings| settings.parquet_created_by.clone().map(Value::String),
        set: |settings, value| {
            let text = value
                .as_str()
                .filter(|text| !text.is_empty())
                .ok_or("a text is expected")?;
            settings.parquet_created_by = Some(text.to_owned());
            Ok(())
        },
    },
    Key {
        name: "source.allowEmpty",
        about: "let snapshots without rows retract every row of their datasets, as --allow-empty does",
        show: |settings| Some(Value::Boolean(settings.allow_empty)),
        set: |settings, value| {
            settings.allow_empty = value.as_bool().ok_or("true or false is expected")?;
            Ok(())
        },
    },
    Key {
        name: "source.http.userAgent",
        about: "how requests to HTTP sources of datasets introduce themselves; \"\" not at all",
        show: |settings| Some(Value::String(settings.source_http.user_agent.clone())),
        set: |settings, value| {
            let text = value
                .as_str()
                .filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
                .ok_or("a text of ASCII characters is expected")?;
            settings.source_http.user_agent = text.to_owned();
            Ok(())
        },
    },
    Key {
        name: "source.http.connectTimeout",
        about: "how long connecting to an HTTP source may take",
        show: |settings| Some(Value::String(duration_text(settings.source_http.connect_timeout))),
        set: |settings, value| {
            settings.source_http.connect_timeout = duration(&value)?;
            Ok(())
        },
    },
    Key {
        name: "source.http.stallTimeout",
        about: "how long an HTTP source may be silent before it is given up",
        show: |settings| Some(Value::String(duration_text(settings.source_http.stall_timeout))),
        set: |settings, value| {
            settings.source_http.stall_timeout = duration(&value)?;
            Ok(())
        },
    },
    Key {
        name: "source.http.maxRedirects",
        about: "how many redirects of an HTTP source are followed",
        show: |settings| Some(Value::Integer(settings.source_http.max_redirects.into())),
        set: |settings, value| {
            let count = value.as_integer().and_then(|count| u32::try_from(count).ok());
            settings.source_http.max_redirects = count.ok_or("a number is expected")?;
            Ok(())
        },
    },
    Key {
        name: "source.variables",
        about: "variables of the environment that sources may use at most, or \"approved\": those that were approved",
        show: |settings| {
            Some(
                settings
                    .source_bounds
                    .variables
                    .as_deref()
                    .map_or_else(approved, list_value),
            )
        },
        set: |settings, value| {
            settings.source_bounds.variables = match value.as_str() {
                Some(APPROVED) => None,
                _ => Some(words(
                    value,
                    |word| !word.is_empty(),
                    "a list of names such as [\"API_KEY\"] is expected",
                )?),
            };
            Ok(())
        },
    },
    Key {
        name: "source.directories",
        about: "directories whose files sources may read at most, or \"approved\": those that were approved",
        show: |settings| {
            let texts =
                |paths: &Vec<PathBuf>| -> Vec<String> { paths.iter().map(|path| path.display().to_string()).collect() };
            let directories = settings.source_bounds.directories.as_ref().map(texts);
            Some(directories.as_deref().map_or_else(approved, list_value))
        },
        set: |settings, value| {
            const WANTED: &str = "a list of absolute paths such as [\"/srv/data\"] is expected";
            settings.source_bounds.directories = match value.as_str() {
                Some(APPROVED) => None,
                _ => Some(
                    words(value, |word| word.starts_with('/'), WANTED)?
                        .into_iter()
                        .map(PathBuf::from)
                        .collect(),
                ),
            };
            Ok(())
        },
    },
    Key {
        name: "source.unpackRatio",
        about: "how many times its own size an archive of a source may unpack to, beyond the first 256 MiB",
        show: |settings| Some(Value::Integer(i64::try_from(settings.unpack_ratio).unwrap_or(i64::MAX))),
        set: |settings, value| {
            let ratio = value.as_integer().and_then(|ratio| u64::try_from(ratio).ok());
            settings.unpack_ratio = ratio
                .filter(|ratio| *ratio > 0)
                .ok_or("a number from 1 on is expected")?;
            Ok(())
        },
    },
    Key {
        name: "publish.batch",
        about: "appends (publish, ingest) within this time of the last announcement are announced together, by the node that \
                runs on the workspace; \"off\": each its own",
        show: |settings| {
            Some(
                settings
                    .batch
                    .map_or_else(|| OFF.into(), |batch| duration_text(batch).into()),
            )
        },
        set: |settings, value| {
            settings.batch = match value.as_str() {
                Some(OFF) => None,
                _ => Some(
                    duration(&value)
                        .ok()
                        .filter(|batch| *batch <= MAX_BATCH)
                        .ok_or("\"off\" or a time up to 1h such as 1s or 500ms is expected")?,
                ),
            };
            Ok(())
        },
    },
    Key {
        name: "provide.strategy",
        about: "which blocks of what is published others are told of: \"roots\", by which it is asked for; \"entities\", also each \
                slice and checkpoint; \"all\"",
        show: |settings| Some(settings.strategy.to_string().into()),
        set: |settings, value| {
            let strategy = value.as_str().unwrap_or_default().parse::<Strategy>();
            settings.strategy = strategy.map_err(|error| error.to_string())?;
            Ok(())
        },
    },
    Key {
        name: "follow.interval",
        about: "how often a node asks for news of each dataset that is followed, beside what it is told of; 1s or more",
        show: |settings| Some(duration_text(settings.follow_interval).into()),
        set: |settings, value| {
            let interval = duration(&value).ok().filter(|interval| *interval >= MIN_INTERVAL);
            settings.follow_interval = interval.ok_or("a time of 1s or more such as 30s or 5m is expected")?;
            Ok(())
        },
    },
    Key {
        name: "retention",
        about: "which older versions of each dataset stay here and are served: \"all\"; a number of them; ages such as 30d, or 1d, \
                30d/1h, all/1d (all of the last day, one an hour of 30 days, one a day of the rest); or \"announced>1m\": \
                those that were the newest, or that a name led to, for longer than a minute",
        show: |settings| Some(retention::show(&settings.retention)),
        set: |settings, value| {
            settings.retention = retention::read(&value)?;
            Ok(())
        },
    },
];
