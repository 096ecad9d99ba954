//! Why something of a dataset elsewhere could not be read.

use std::io;
use std::path::PathBuf;

use odf_dataset::receive::SourceError;

/// Why something of a dataset elsewhere could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file that must be there is not.
    #[error("{place} has no {file}, which its metadata chain names")]
    Missing {
        /// The dataset.
        place: String,
        /// The file within it.
        file: String,
    },
    /// The head is not one.
    #[error("{place}refs/head is not the hash of a metadata block: {reason}")]
    BadHead {
        /// The dataset, with a slash at its end.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is longer than any such file can be.
    #[error("{place}{file} is longer than {limit} bytes")]
    TooLong {
        /// The dataset, with a slash at its end.
        place: String,
        /// The file within it.
        file: String,
        /// The most it may have.
        limit: usize,
    },
    /// The server wants to know who asks, or does not like the answer.
    #[error("{url} was refused: the server answered {status}{}", after_colon(.reason))]
    Denied {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// The server's words, shortened; empty if it has none.
        reason: String,
    },
    /// The server cannot or does not want to.
    #[error("{url}: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer, or none to its end.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A file of this machine.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> Self {
        Self::new(error)
    }
}

fn after_colon(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    }
}
