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
//!
//! # Whose will it is
//! A source stands in a metadata block, and whoever brought that block may be a stranger. [`Needs`] tells what it would
//! do; without [`Consent`] only a public web server is asked, and [`fetch`] itself holds to that: where a redirect or a
//! look-up of a name leads to an address of this machine or its network, nothing is sent there.

mod consent;
mod error;
mod event_time;
mod files;
mod http;
mod needs;
mod outcome;
mod patience;
mod prepare;
mod proxy;
mod reach;
mod spool;
mod surroundings;
mod template;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use url::Url;

use odf_metadata::chain::ChainState;
use odf_metadata::{FetchStep, SetPollingSource, SourceState};

pub use consent::{Bounds, Consent, paths, private_now};
pub use error::PollError;
pub use event_time::EventTimeError;
pub use needs::{Needs, reaches};
pub use outcome::{Fetched, KIND_ETAG, KIND_LAST_MODIFIED};
pub use patience::{MAX_BUSY_REPEATS, MAX_BUSY_WAIT, busy_wait};
pub use prepare::{MAX_UNPACKED_BYTES, UNPACK_FLOOR_BYTES, UNPACK_RATIO};
pub use proxy::of_environment as proxy_of;
pub use reach::is_private;
pub use surroundings::{FetchPhase, FetchProgress, HttpOptions, MAX_CONTENT_BYTES, Surroundings};
pub use template::{MAX_TEMPLATE_BYTES, TemplateError};

use crate::source::Fingerprint;
use outcome::State;
use spool::Spool;

/// Whether the source of the dataset cannot say if there is something new: rows were taken, and the latest AddData
/// has no source state. Fetching again would take the same rows twice, or for nothing.
pub fn is_uncacheable(chain: &ChainState) -> bool {
    let polled = chain
        .polling_source
        .as_ref()
        .is_some_and(|source| !matches!(source.fetch, FetchStep::Mqtt { .. }));
    polled && chain.last_offset.is_some() && chain.source_state.is_none()
}

/// Asks the source for what is newer than `previous`, the state in the latest AddData, and prepares it for reading;
/// `None` if nothing is.
///
/// # Errors
/// See [`PollError`]. Nothing is left in the spool directory then.
pub fn fetch(
    source: &SetPollingSource,
    previous: Option<&SourceState>,
    around: &Surroundings<'_>,
) -> Result<Option<Fetched>, PollError> {
    around.consent.covers(source)?;
    around.bounds.check(&Needs::of(source), &[])?;
    let previous = previous.and_then(State::read);
    let fetched = match &source.fetch {
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
    let Some(mut fetched) = fetched else {
        return Ok(None);
    };
    let steps = source.prepare.as_deref().unwrap_or_default();
    let own = fetched.content.own_file().map(std::path::Path::to_owned);
    let look = || own.as_deref().and_then(|path| Fingerprint::of(path).ok());
    let seen = look();
    fetched.content = prepare::prepare(steps, fetched.content, &fetched.name, around)?;
    if seen != look() {
        return Err(PollError::Changing(fetched.name));
    }
    fetched.seen = seen.filter(|_| steps.is_empty());
    Ok(Some(fetched))
}

fn fetch_url(
    template: &str,
    event_time: Option<&odf_metadata::EventTimeSource>,
    headers: Option<&[odf_metadata::RequestHeader]>,
    previous: Option<&State>,
    around: &Surroundings<'_>,
) -> Result<Option<Fetched>, PollError> {
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
