//! The list of settings.

use std::net::SocketAddr;
use std::time::Duration;

use toml::Value;
use url::Url;

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
        name: "gateway.url",
        about: "address under which others reach the gateway and repository of `odfs node`, if a proxy is before it",
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

/// A length of time as people write it: `30s`, `100ms`, `5m`, `1h`.
fn duration(value: &Value) -> Result<Duration, String> {
    const WANTED: &str = "a time such as 30s, 500ms or 5m is expected";
    let text = value.as_str().ok_or(WANTED)?;
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or(WANTED)?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    // Nothing can be done in no time.
    let millis = millis.filter(|millis| *millis > 0).ok_or(WANTED)?;
    Ok(Duration::from_millis(millis))
}

fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{millis}ms")
    }
}

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
