//! What a fetch may use of the world around it, and how it says how far it is.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use odf_metadata::Timestamp;

use super::consent::{Bounds, Consent};
use super::error::PollError;

/// The most bytes of one fetch, and of what each prepare step makes of it.
pub const MAX_CONTENT_BYTES: u64 = 1 << 40;

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
pub struct FetchProgress {
    /// What is being done.
    pub phase: FetchPhase,
    /// Bytes so far: downloaded, or written by a step.
    pub bytes: u64,
    /// Bytes in all, if the source says.
    pub total: Option<u64>,
}

/// The phases of a fetch, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchPhase {
    /// Downloading.
    Fetching,
    /// Unpacking, or running a command.
    Preparing,
}

/// What a fetch may use of the world around it.
pub struct Surroundings<'a> {
    /// Directory for what is downloaded and prepared. What is left in it after a crash may be removed.
    pub spool: &'a Path,
    /// What the owner of this machine agreed to.
    pub consent: Consent<'a>,
    /// What no agreement goes beyond.
    pub bounds: &'a Bounds,
    /// Directory that relative globs start from and commands run in.
    pub base: &'a Path,
    /// The time of the ingest: event time of sources that give none.
    pub now: Timestamp,
    /// How HTTP sources are asked.
    pub http: &'a HttpOptions,
    /// The value that `env.NAME` in a template stands for.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
    /// The environment of commands.
    pub environment: &'a [(OsString, OsString)],
    /// How many times its own size an archive may unpack to, beyond [`UNPACK_FLOOR_BYTES`](super::UNPACK_FLOOR_BYTES).
    pub unpack_ratio: u64,
    /// How many bytes are free on the disk of a path, for as much as that is known.
    pub free_bytes: &'a dyn Fn(&Path) -> Option<u64>,
    /// Whether to stop; asked often, from several threads.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Told how far it is, now and then.
    pub progress: &'a dyn Fn(FetchProgress),
}

impl Surroundings<'_> {
    pub(super) fn check(&self) -> Result<(), PollError> {
        if (self.stop)() { Err(PollError::Stopped) } else { Ok(()) }
    }
}
