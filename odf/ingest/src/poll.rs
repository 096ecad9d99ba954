//! Polling sources: fetch what a source has now, prepare it, and hand it over as one file.
//!
//! [`fetch`] asks the source of a root dataset (its `SetPollingSource`) whether there is something newer than what the
//! last AddData took, downloads it into a spool directory, and runs the prepare steps over it. What comes out, a
//! [`Fetched`], is what `odf::ingest` takes rows from. Nothing here touches the dataset.
//!
//! # How a source remembers
//! AddData carries a source state: the ETag of a URL, else its modification time; the name of the last file of a glob.
//! The state in force is that of the **latest** AddData, even if that one has none: a source whose state was lost looks
//! [uncacheable](is_uncacheable), and is not asked again unless somebody insists. All of it is as kamu does it, so that
//! the same source replayed at the same times gives the same blocks.

mod error;
mod event_time;
mod files;
mod http;
mod prepare;
mod spool;
mod template;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use odf_metadata::chain::ChainState;
use odf_metadata::{DEFAULT_SOURCE, FetchStep, SetPollingSource, SourceState, Timestamp};

pub use error::PollError;
pub use event_time::EventTimeError;
pub use prepare::{MAX_UNPACK_RATIO, MAX_UNPACKED_BYTES, UNPACK_FLOOR_BYTES};
pub use template::{MAX_TEMPLATE_BYTES, TemplateError};

use spool::{Content, Spool};

/// The most bytes of one fetch, and of what each prepare step makes of it.
pub const MAX_CONTENT_BYTES: u64 = 1 << 40;

/// Kind of a source state that holds an ETag, or the name of a file.
pub const KIND_ETAG: &str = "odf/etag";
/// Kind of a source state that holds a time.
pub const KIND_LAST_MODIFIED: &str = "odf/last-modified";

/// How HTTP sources are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// `User-Agent` of requests; empty sends none.
    pub user_agent: String,
    /// How long resolving a host name may take, and connecting to it.
    pub connect_timeout: Duration,
    /// How long a server may be silent, before its answer or within.
    pub stall_timeout: Duration,
    /// How many redirects are followed.
    pub max_redirects: u32,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("odfs/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(120),
            max_redirects: 10,
        }
    }
}

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes so far: downloaded, or written by a step.
    pub bytes: u64,
    /// Bytes in all, if the source says.
    pub total: Option<u64>,
}

/// The phases of a fetch, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Downloading.
    Fetching,
    /// Unpacking, or running a command.
    Preparing,
}

/// What a fetch may use of the world around it.
pub struct Surroundings<'a> {
    /// Directory for what is downloaded and prepared. What is left in it after a crash may be removed.
    pub spool: &'a Path,
    /// Directory that relative globs start from and commands run in.
    pub base: &'a Path,
    /// The time of the ingest: event time of sources that give none.
    pub now: Timestamp,
    /// How HTTP sources are asked.
    pub http: &'a HttpOptions,
    /// The value that `env.NAME` in a template stands for.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
    /// Whether to stop; asked often, from several threads.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Told how far it is, now and then.
    pub progress: &'a dyn Fn(Progress),
}

impl Surroundings<'_> {
    fn check(&self) -> Result<(), PollError> {
        if (self.stop)() { Err(PollError::Stopped) } else { Ok(()) }
    }
}

/// What asking a source came to.
#[derive(Debug)]
pub enum Outcome {
    /// There is nothing newer.
    UpToDate,
    /// There is.
    Fetched(Fetched),
}

/// New data of a source, fetched and prepared. The file goes away with this, unless it is the source's own.
#[derive(Debug)]
pub struct Fetched {
    content: Content,
    /// What messages call it: the URL as it stands in the source (so with secrets left as templates), or the path.
    pub name: String,
    /// Event time of rows that have none.
    pub event_time: Timestamp,
    /// How far the source was read with this; `None` if it does not say.
    pub state: Option<SourceState>,
    /// Whether the source has more, to be asked for once this was taken.
    pub has_more: bool,
}

impl Fetched {
    /// The file that holds the data. It may be empty.
    pub fn path(&self) -> &Path {
        self.content.path()
    }
}

/// Whether the source of the dataset cannot say if there is something new: rows were taken, and the latest AddData
/// has no source state. Fetching again would take the same rows twice, or for nothing.
pub fn is_uncacheable(chain: &ChainState) -> bool {
    let polled = chain
        .polling_source
        .as_ref()
        .is_some_and(|source| !matches!(source.fetch, FetchStep::Mqtt { .. }));
    polled && chain.last_offset.is_some() && chain.source_state.is_none()
}

/// Asks the source for what is newer than `previous`, the state in the latest AddData, and prepares it for reading.
///
/// # Errors
/// See [`PollError`]. Nothing is left in the spool directory then.
pub fn fetch(
    source: &SetPollingSource,
    previous: Option<&SourceState>,
    around: &Surroundings<'_>,
) -> Result<Outcome, PollError> {
    let previous = previous.and_then(State::read);
    let outcome = match &source.fetch {
        FetchStep::Url {
            url,
            event_time,
            headers,
            cache: _,
        } => fetch_url(url, event_time.as_ref(), headers.as_deref(), previous.as_ref(), around)?,
        FetchStep::FilesGlob {
            path,
            event_time,
            order,
            cache: _,
        } => files::next_of_glob(path, event_time.as_ref(), *order, previous.as_ref(), around)?,
        FetchStep::Container { image, .. } => {
            return Err(PollError::Unsupported {
                what: format!("runs the container {image}, and odfs runs no containers"),
                instead: "run the container yourself and send its output with `odfs ingest`, or declare a Url or \
                          FilesGlob source",
            });
        }
        FetchStep::Mqtt { host, .. } => {
            return Err(PollError::Unsupported {
                what: format!("subscribes to the MQTT broker {host}, which odfs does not speak to"),
                instead: "pipe messages into `odfs ingest` of a dataset with a push source (mosquitto_sub | odfs ingest)",
            });
        }
        FetchStep::EthereumLogs { .. } => {
            return Err(PollError::Unsupported {
                what: "reads Ethereum logs, which odfs does not".to_owned(),
                instead: "export the logs with another tool and send them with `odfs ingest` to a dataset with a push \
                          source",
            });
        }
    };
    let Outcome::Fetched(mut fetched) = outcome else {
        return Ok(Outcome::UpToDate);
    };
    let steps = source.prepare.as_deref().unwrap_or_default();
    fetched.content = prepare::prepare(steps, fetched.content, &fetched.name, around)?;
    Ok(Outcome::Fetched(fetched))
}

fn fetch_url(
    template: &str,
    event_time: Option<&odf_metadata::EventTimeSource>,
    headers: Option<&[odf_metadata::RequestHeader]>,
    previous: Option<&State>,
    around: &Surroundings<'_>,
) -> Result<Outcome, PollError> {
    let text = template::expand(template, around.variables)?;
    // The template is what messages show: the text may hold a key.
    let bad = |reason: String| PollError::Url {
        url: template.to_owned(),
        reason,
    };
    let url = Url::parse(&text).map_err(|error| bad(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => http::fetch(template, &url, event_time, headers, previous, around),
        "file" => {
            let path: PathBuf = url.to_file_path().map_err(|()| {
                bad("a file URL has three slashes and an absolute path: file:///data/x.csv".to_owned())
            })?;
            files::fetch_file(&path, event_time, previous, around)
        }
        "ftp" | "ftps" => Err(PollError::Unsupported {
            what: format!("is at {template}, and odfs does not speak FTP"),
            instead: "fetch it with another tool into a file, and declare a file:// URL or a FilesGlob source",
        }),
        scheme => Err(bad(format!(
            "`{scheme}` is not a scheme of sources; use http, https or file"
        ))),
    }
}

/// A source state that this module knows how to use.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Etag(String),
    LastModified(Timestamp),
}

impl State {
    /// What a block says; another kind, or a time that is none, is as if there were no state.
    fn read(state: &SourceState) -> Option<State> {
        match state.kind.as_str() {
            KIND_ETAG => Some(State::Etag(state.value.clone())),
            KIND_LAST_MODIFIED => {
                let time = state.value.parse();
                if time.is_err() {
                    tracing::warn!(value = %state.value, "a source state holds no time and is ignored");
                }
                time.ok().map(State::LastModified)
            }
            kind => {
                tracing::debug!(kind, "a source state of another kind is ignored");
                None
            }
        }
    }

    fn write(&self) -> SourceState {
        let (kind, value) = match self {
            State::Etag(value) => (KIND_ETAG, value.clone()),
            State::LastModified(time) => (KIND_LAST_MODIFIED, time.to_string()),
        };
        SourceState {
            source_name: DEFAULT_SOURCE.to_owned(),
            kind: kind.to_owned(),
            value,
        }
    }
}
