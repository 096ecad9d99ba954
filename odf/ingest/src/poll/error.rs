//! What can go wrong between a source and a file that is ready to be read.

use std::io;
use std::path::{Path, PathBuf};

use super::event_time::EventTimeError;
use super::needs::Needs;
use super::template::TemplateError;

/// Why a source gave no data. Nothing was taken, and nothing is left of what arrived.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// The source has a kind that is not fetched here.
    #[error("the source {what}")]
    Unsupported {
        /// What the source does.
        what: String,
        /// What to do in its place.
        instead: &'static str,
    },
    /// The source does more than ask a public web server, and the owner of this machine has not agreed to it.
    #[error("the source {0}")]
    NotAgreed(Box<Needs>),
    /// A name in the source stands for an address of this machine or its network, and nobody has agreed to that.
    #[error("{url} is at {address}, an address of this machine or its network")]
    Private {
        /// As it stands in the source.
        url: String,
        /// What it led to.
        address: String,
    },
    /// A server sent on to an address of this machine or its network that the source does not name.
    #[error(
        "{url} leads to {host} ({address}), an address of this machine or its network that the source does not name"
    )]
    LedAstray {
        /// As it stands in the source.
        url: String,
        /// Where it led.
        host: String,
        /// The address of that.
        address: String,
    },
    /// A server sent on from HTTPS to plain HTTP.
    #[error("{url} leads from HTTPS to plain HTTP, where anybody on the way can change the data")]
    Downgrade {
        /// As it stands in the source.
        url: String,
    },
    /// The file is not among those that were agreed on.
    #[error("{} is not among the files that this source was approved to read", .path.display())]
    OtherFile {
        /// The file, links followed.
        path: PathBuf,
    },
    /// A setting keeps sources from using something.
    #[error("the setting {setting} does not let sources use {what}")]
    OutOfBounds {
        /// What the source wants.
        what: String,
        /// The setting.
        setting: &'static str,
    },
    /// A template of the source cannot be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The event time cannot be found in the way the source wants.
    #[error(transparent)]
    EventTime(#[from] EventTimeError),
    /// The URL is none.
    #[error("{url} is no URL of a source: {reason}")]
    Url {
        /// As it stands in the source.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header of the source cannot be sent.
    #[error("the header `{name}` of the source cannot be sent: {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing at the URL, the path or the pattern.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The server cannot be reached, or broke off, or was silent for too long.
    #[error("{url} cannot be fetched: {reason}")]
    Unreachable {
        /// As it stands in the source.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server answered something else than the data.
    #[error("{url} answered {code}{}", excerpt(.body))]
    Status {
        /// As it stands in the source.
        url: String,
        /// HTTP status.
        code: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// The server sent another number of bytes than it announced.
    #[error("{url} announced {announced} bytes and sent {}", in_all(*.received, *.announced))]
    Length {
        /// As it stands in the source.
        url: String,
        /// `Content-Length`.
        announced: u64,
        /// What arrived; more than announced if there was any more.
        received: u64,
    },
    /// More data than is taken.
    #[error("{name} is larger than the limit of {limit} bytes{hint}")]
    TooLarge {
        /// What it is of.
        name: String,
        /// The limit.
        limit: u64,
        /// What may be behind it, or nothing.
        hint: &'static str,
    },
    /// More data than there is room for.
    #[error("{name} does not fit on the disk, which has {free} bytes free")]
    NoRoom {
        /// What it is of.
        name: String,
        /// What is free.
        free: u64,
    },
    /// The pattern of a FilesGlob source is none.
    #[error("`{pattern}` is not a pattern of paths: {reason}")]
    Glob {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Files are to be taken in an order that is not known.
    #[error("files can only be taken by name (`order: ByName`), and the source says {0}")]
    Order(&'static str),
    /// Two files have the next name. Only names are remembered, so one of them would never be taken.
    #[error("{} and {} have one name, and a FilesGlob source tells files apart by name only", .first.display(), .second.display())]
    SameName {
        /// One of them.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// A path is not UTF-8, or not a file.
    #[error("{} cannot be taken: {reason}", .path.display())]
    BadFile {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An archive cannot be unpacked.
    #[error("{name} cannot be unpacked: {reason}")]
    Archive {
        /// What was fetched.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A command of a Pipe step failed.
    #[error("the command `{command}` {failure}{}", excerpt(.stderr))]
    Pipe {
        /// Command and arguments.
        command: String,
        /// How it ended.
        failure: String,
        /// The end of what it said on standard error.
        stderr: String,
    },
    /// A file could not be read or written.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

impl PollError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> PollError {
        if operation == "read" && source.kind() == io::ErrorKind::NotFound {
            return PollError::NotFound(path.display().to_string());
        }
        PollError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

/// What a server or a command said, after a colon; nothing if it said nothing.
fn excerpt(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

fn in_all(received: u64, announced: u64) -> String {
    if received > announced {
        "more".to_owned()
    } else {
        format!("{received}")
    }
}
