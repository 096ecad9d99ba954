//! The list of settings.

use std::net::SocketAddr;

use toml::Value;

use super::Key;

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
        about: "peers dialled to join the network; [] dials nobody, \"public\" the public IPFS bootstrap peers",
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
        name: "network.mdns",
        about: "find peers on the local network",
        show: |settings| Some(Value::Boolean(settings.mdns)),
        set: |settings, value| {
            settings.mdns = value.as_bool().ok_or("true or false is expected")?;
            Ok(())
        },
    },
    Key {
        name: "gateway.listen",
        about: "address of the HTTP gateway of `odfs node`",
        show: |settings| Some(Value::String(settings.gateway_listen.clone())),
        set: |settings, value| {
            let text = value.as_str().ok_or("an address such as 127.0.0.1:8080 is expected")?;
            text.parse::<SocketAddr>()
                .map_err(|_| "an address such as 127.0.0.1:8080 is expected")?;
            settings.gateway_listen = text.to_owned();
            Ok(())
        },
    },
    Key {
        name: "gateway.public",
        about: "gateway of the links that `odfs publish` prints",
        show: |settings| Some(Value::String(settings.gateway_public.clone())),
        set: |settings, value| {
            let text = value.as_str().map(|text| text.trim_end_matches('/'));
            settings.gateway_public = text
                .filter(|text| text.starts_with("http://") || text.starts_with("https://"))
                .ok_or("a URL such as https://ipfs.io is expected")?
                .to_owned();
            Ok(())
        },
    },
    Key {
        name: "parquet.createdBy",
        about: "`created_by` in the footer of new Parquet slices",
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
        name: "retention",
        about: "how many older roots of each dataset stay pinned and served, or \"all\"",
        show: |settings| {
            Some(match settings.retention {
                None => Value::String("all".to_owned()),
                Some(count) => Value::Integer(i64::try_from(count).unwrap_or(i64::MAX)),
            })
        },
        set: |settings, value| {
            settings.retention = match (value.as_str(), value.as_integer().map(u64::try_from)) {
                (Some("all"), _) => None,
                (_, Some(Ok(count))) => Some(count),
                _ => return Err("a number or \"all\" is expected".to_owned()),
            };
            Ok(())
        },
    },
];

fn list_value(list: &[String]) -> Value {
    Value::Array(list.iter().cloned().map(Value::String).collect())
}

/// A list as an array, or as words separated by commas.
fn multiaddrs(value: Value) -> Result<Vec<String>, String> {
    const WANTED: &str = "a list of multiaddrs such as [\"/ip4/127.0.0.1/tcp/4001\"] is expected";
    let words: Vec<String> = match value {
        Value::String(text) => text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        Value::Array(values) => values
            .into_iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(WANTED)?,
        _ => return Err(WANTED.to_owned()),
    };
    if words.iter().all(|word| word.starts_with('/')) {
        Ok(words)
    } else {
        Err(WANTED.to_owned())
    }
}
