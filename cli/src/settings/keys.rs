//! The settings, and the list of them.

use std::net::SocketAddr;
use std::time::Duration;

use odf::poll::HttpOptions;
use odf::slice::SliceOptions;
use toml::Value;
use url::Url;

/// The settings of one process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Multiaddrs that the peer listens on. `None` stands for the usual port of IPFS on every interface, or any free
    /// port if that is taken.
    pub(crate) listen: Option<Vec<String>>,
    /// Peers dialled to join the public network. `None` stands for the public list; an empty list joins nothing.
    pub(crate) bootstrap: Option<Vec<String>>,
    /// Whether peers on the local network are found by mDNS.
    pub(crate) mdns: bool,
    /// Address of the HTTP gateway of `odfs node`.
    pub(crate) gateway_listen: String,
    /// Address under which others reach the gateway of `odfs node`, ending in a slash; absent: the one they use.
    pub(crate) gateway_url: Option<Url>,
    /// Base URL of a public gateway that `odfs publish` prints links for, without a slash at its end; absent: none.
    pub(crate) gateway_public: Option<String>,
    /// `created_by` in the footer of Parquet slices.
    pub(crate) parquet_created_by: Option<String>,
    /// How HTTP sources of datasets are asked.
    pub(crate) source_http: HttpOptions,
    /// How many older roots of a dataset stay pinned and served. `None` keeps all of them.
    pub(crate) retention: Option<u64>,
}

impl Settings {
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
            mdns: true,
            gateway_listen: "127.0.0.1:8080".to_owned(),
            gateway_url: None,
            gateway_public: None,
            parquet_created_by: None,
            source_http: HttpOptions::default(),
            retention: None,
        }
    }
}

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
