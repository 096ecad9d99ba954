//! The list of what can be set: the name of each setting, and how it is read and shown.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use odf::select::LEAST_MEMORY;
use odf_node::routing::Strategy;
use toml::Value;

mod gateway;
mod key;
mod network;

pub(crate) use key::Key;

use super::duration::duration_text;
use super::retention;
use super::values::{APPROVED, OFF, approved, duration, list_value, size, size_value, words};

/// The shortest time between two questions for the same news: peers answer out of kindness.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that several appends wait for one root. A name that lags by more is better moved by hand.
const MAX_BATCH: Duration = Duration::from_secs(3600);

/// The least that a store may be limited to: an index and some packs need as much.
const LEAST_STORE: NonZeroU64 = match NonZeroU64::new(16 << 20) {
    Some(size) => size,
    None => NonZeroU64::MIN,
};

/// The least that a query may be limited to.
const LEAST_QUERY: NonZeroU64 = match NonZeroU64::new(LEAST_MEMORY) {
    Some(size) => size,
    None => NonZeroU64::MIN,
};

/// Everything that can be set, in the order of `odfs config list`.
pub(crate) static KEYS: [Key; COUNT] = {
    let mut all = [DATA[0]; COUNT];
    let (mut at, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut index = 0;
        while index < PARTS[part].len() {
            all[at] = PARTS[part][index];
            at += 1;
            index += 1;
        }
        part += 1;
    }
    all
};

/// What the list is of.
const PARTS: [&[Key]; 3] = [network::KEYS, gateway::KEYS, DATA];
const COUNT: usize = network::KEYS.len() + gateway::KEYS.len() + DATA.len();

/// What is set of datasets: how they are read, written, announced and kept.
const DATA: &[Key] = &[
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
    Key {
        name: "query.memory",
        about: "the memory, such as 512MiB, that a query of `odfs sql` has for rows that it must hold to sort, group or join; \
                beyond it, it goes on in temporary files of the workspace; 16MiB or more",
        show: |settings| Some(size_value(Some(settings.query_memory))),
        set: |settings, value| {
            settings.query_memory = size(&value, LEAST_QUERY)?.ok_or("a size such as 512MiB is expected")?;
            Ok(())
        },
    },
    Key {
        name: "store.max",
        about: "the most of the disk that the workspace holds, such as 10GiB, as of the start of the process; \"off\": no limit. \
                Near it, what nobody asked to keep goes first, used least lately, then older versions that \"retention\" keeps \
                only because they were announced",
        show: |settings| Some(size_value(settings.store_max)),
        set: |settings, value| {
            settings.store_max = size(&value, LEAST_STORE)?;
            Ok(())
        },
    },
];
