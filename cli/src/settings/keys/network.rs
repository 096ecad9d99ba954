//! What is set of the peer, and whom it speaks with.

use std::ops::RangeInclusive;
use url::Url;

use toml::Value;

use super::super::values::{file, gateways, list_value, multiaddrs, rate, rate_value, routers};
use super::key::Key;

/// Connections that can be asked for: with fewer a peer finds nobody, and each takes a descriptor and some memory.
const CONNECTIONS: RangeInclusive<u32> = 4..=4096;

/// In the order of `odfs config list`.
pub(super) const KEYS: &[Key] = &[
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
        name: "network.routers",
        about: "who is asked over HTTP, beside the DHTs, who has a block, where a peer is and what a name stands for, and is told of names \
                that are published (Delegated Routing V1), such as \"https://router.example/routing/v1\"",
        show: |settings| {
            let urls: Vec<String> = settings.routers.iter().map(Url::to_string).collect();
            Some(list_value(&urls))
        },
        set: |settings, value| {
            settings.routers = routers(value)?;
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
];
