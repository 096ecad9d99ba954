//! What is set of the HTTP servers of a node.

use std::net::IpAddr;
use toml::Value;
use url::Url;

use super::super::values::{audience, audience_value, file, is_dnslink, is_host, list_value, socket_address, words};
use super::key::Key;

/// In the order of `odfs config list`.
pub(super) const KEYS: &[Key] = &[
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
        name: "gateway.s3",
        about: "address at which `odfs node` has what is shared read as buckets of S3, such as 127.0.0.1:9000; unset: nowhere",
        show: |settings| settings.gateway_s3.clone().map(Value::String),
        set: |settings, value| {
            settings.gateway_s3 = Some(socket_address(&value)?);
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
        name: "gateway.denylist",
        about: "files, from the workspace on, with content and names that are served to nobody, by the gateway or to peers, in the \
                compact format of IPIP-383; read again when they change, and of two that say different things the later counts",
        show: |settings| Some(list_value(&settings.gateway_denylist)),
        set: |settings, value| {
            const WANTED: &str = "a list of files such as [\"badbits.deny\"] is expected";
            settings.gateway_denylist = words(value, |word| !word.is_empty(), WANTED)?;
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
        name: "gateway.libp2p",
        about: "whether `odfs node` answers HTTP over libp2p (`/http/1.1`): with blocks, CARs and records of names that are here and that \
                other peers may have, and nothing else",
        show: |settings| Some(Value::Boolean(settings.gateway_libp2p)),
        set: |settings, value| {
            settings.gateway_libp2p = value.as_bool().ok_or("true or false is expected")?;
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
        name: "api.listen",
        about: "address at which `odfs node` answers as Kubo's RPC (`/api/v0`), for programs that speak only that; whoever reaches it \
                may change the workspace. Unset: none, and of `ipfs daemon` 127.0.0.1:5001",
        show: |settings| settings.api_listen.map(|address| Value::String(address.to_string())),
        set: |settings, value| {
            let address = value.as_str().and_then(|text| text.parse().ok());
            settings.api_listen = Some(address.ok_or("an address such as 127.0.0.1:5001 is expected")?);
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
];
