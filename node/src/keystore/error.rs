//! Why a key could not be read or kept, and the limits that say so.

use std::io;
use std::path::PathBuf;

use odf_disk::DiskError;

/// Name of the peer's own key, which is not renamed, replaced or removed.
pub const SELF: &str = "self";
/// The longest name of a key in bytes: its file name must stay below 255.
pub const MAX_NAME_BYTES: usize = 128;
/// The largest key file that is read; an RSA key of 16,384 bits has 9 KiB.
pub const MAX_KEY_BYTES: u64 = 64 << 10;

/// Why a key could not be read or kept. The keys on disk are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// The operating system refused.
    #[error("cannot {operation} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A key of this name is there already.
    #[error("a key named {name:?} is there already")]
    Exists {
        /// The name.
        name: String,
    },
    /// The name is empty, longer than [`MAX_NAME_BYTES`], or has slashes or control characters.
    #[error("{name:?} cannot be the name of a key")]
    BadName {
        /// The name.
        name: String,
    },
    /// No key has that name.
    #[error("there is no key named {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The peer's own key stays under its name.
    #[error("{SELF:?} is the peer's own key; it cannot be renamed, replaced or removed")]
    Reserved,
    /// The key is of a kind that is not used here.
    #[error("{what} is an {kind} key; only ed25519 keys are supported")]
    UnsupportedKind {
        /// The file, or whatever the bytes came from.
        what: String,
        /// The kind found.
        kind: String,
    },
    /// The word is none of Kubo's formats.
    #[error("{format:?} is not a key format; use libp2p-protobuf-cleartext or pem-pkcs8-cleartext")]
    UnknownFormat {
        /// The word.
        format: String,
    },
    /// The bytes are no private key of a kind that is known here.
    #[error("{what} is no private key: {reason}")]
    NotAKey {
        /// The file, or whatever the bytes came from.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl From<DiskError> for KeystoreError {
    fn from(error: DiskError) -> Self {
        Self::Io {
            operation: error.operation,
            path: error.path,
            source: error.source,
        }
    }
}
