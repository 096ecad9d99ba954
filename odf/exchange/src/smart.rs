//! The Smart Transfer Protocol, `odf+http(s)://`: what kamu's servers and odfs nodes speak over a WebSocket.
//!
//! A transfer is a handful of JSON messages in fixed order (`messages`). The metadata blocks go in one bundle
//! (`bundle`), so a chain of thousands of blocks costs one round trip; objects go beside, by HTTP, to and from addresses
//! that the server gives, several at a time. As a client this is two things: a [`SmartSource`] that is received like any
//! other place, and [`push`]. The server's half is [`super::server`].
//!
//! A chain that is longer than a page ([`PAGE_BLOCKS`], [`PAGE_BYTES`]) goes in several transfers, each of which goes on
//! where the last one ended. When odfs pulls, it says so in a field that kamu passes over (`pages`), and an odfs node gives
//! one page and says that there is more; kamu's server knows of no pages and gives all of it, as far as a message holds it.
//! When odfs pushes, each page is a push of its own, to whatever server.
//!
//! Where the protocol is silent or kamu 0.265 surprising:
//! - A refusal may come as a close frame with code 1011 and a JSON reason. kamu reads that as the message it waits for,
//!   so a push that failed at its last step looks confirmed to it. Here a close frame is never anything but a refusal,
//!   and a push counts when the server's head says so.
//! - kamu limits frames to 16 MiB, so long messages are sent in pieces of [`FRAME_BYTES`].

pub(super) mod bundle;
mod channel;
mod endpoint;
pub(super) mod messages;
pub(super) mod plan;
mod push;
#[cfg(test)]
pub(super) mod sample;
mod source;
#[cfg(test)]
mod tests;
mod tunnel;
mod upload;

use std::time::Duration;

use odf_dataset::receive::{Cancelled, ReceiveError, SourceError};
use odf_metadata::{DatasetId, Multihash};

use crate::ReadError;

pub use self::bundle::{BundleError, MAX_BUNDLE_BLOCKS, MAX_BUNDLE_BYTES};
pub use self::endpoint::Endpoint;
pub use self::messages::{MAX_MESSAGE_BYTES, Visibility};
pub use self::push::push;
pub use self::source::SmartSource;

/// The longest frame that is sent.
pub const FRAME_BYTES: usize = 8 << 20;
/// How many metadata blocks one transfer moves between two odfs.
pub const PAGE_BLOCKS: usize = 1 << 13;
/// How many bytes of metadata blocks, one block at least. Packed as badly as can be they fit into half a message.
pub const PAGE_BYTES: u64 = 6 << 20;
/// The most objects that one message asks for.
pub const MAX_OBJECTS_AT_ONCE: usize = 100_000;
/// How many times one transfer may ask for objects.
pub const MAX_OBJECT_REQUESTS: usize = 10_000;
/// How many objects this client asks for at a time, so that addresses given for a while are used within it.
const OBJECTS_PER_REQUEST: usize = 1000;
/// How long the other side may take for an answer; it may have a long chain to check, or much to make durable.
const ANSWER_DEADLINE: Duration = Duration::from_secs(600);
/// Code of a close frame that carries a reason.
pub(super) const CLOSED_WITH_REASON: u16 = 1011;
/// The longest reason of a close frame: a control frame holds 125 bytes, the code takes two.
pub(super) const MAX_REASON_BYTES: usize = 123;

/// Whether another block of so many bytes belongs to a page of so many blocks and bytes.
pub(super) fn is_on_page(blocks: usize, bytes: u64, next: u64) -> bool {
    blocks == 0 || blocks < PAGE_BLOCKS && bytes.saturating_add(next) <= PAGE_BYTES
}

/// Why a transfer by the smart protocol did not end well. Nothing was committed here, and what the server has of an
/// unfinished push nobody sees.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmartError {
    /// The server ended the transfer and said why.
    #[error("{place} refused: {reason}")]
    Refused {
        /// The dataset there.
        place: String,
        /// Its words.
        reason: String,
    },
    /// The server closed or broke off without a word.
    #[error("{place} broke off: {reason}")]
    Broken {
        /// The dataset there.
        place: String,
        /// What happened.
        reason: String,
    },
    /// The server said something that does not belong here.
    #[error("{place} does not follow the protocol: {reason}")]
    Protocol {
        /// The dataset there.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The server said nothing for too long.
    #[error("{place} said nothing for {} s", ANSWER_DEADLINE.as_secs())]
    Silent {
        /// The dataset there.
        place: String,
    },
    /// Metadata blocks cannot be packed, or what came is not what it should be.
    #[error("{place}: {source}")]
    Bundle {
        /// The dataset there.
        place: String,
        /// What is wrong.
        source: BundleError,
    },
    /// More to send than a message holds.
    #[error("the metadata blocks for {place} need {bytes} bytes, more than the {MAX_MESSAGE_BYTES} of one message")]
    TooLong {
        /// The dataset there.
        place: String,
        /// Length of the message.
        bytes: usize,
    },
    /// The server has another dataset of that name.
    #[error("{place} is another dataset, with another Seed")]
    OtherDataset {
        /// The dataset there.
        place: String,
    },
    /// The server has the dataset under another name.
    #[error("the server of {place} has the dataset {id} already, under another name")]
    RefCollision {
        /// The place.
        place: String,
        /// The dataset.
        id: DatasetId,
    },
    /// The server has another dataset of that name.
    #[error("the server of {place} has another dataset called {name}")]
    NameCollision {
        /// The place.
        place: String,
        /// The name.
        name: String,
    },
    /// The server's head is not in the local chain, and its chain cannot be read to tell more.
    #[error("the head of {place}, {remote}, is not part of the local chain (head {local})")]
    NotAncestor {
        /// The dataset there.
        place: String,
        /// Local head.
        local: Multihash,
        /// Its head.
        remote: Multihash,
    },
    /// The server confirmed, but its head is another one.
    #[error("{place} confirmed the push, but its head is {}", .found.map_or_else(|| "nothing".to_owned(), |hash| hash.to_string()))]
    NotMoved {
        /// The dataset there.
        place: String,
        /// Its head.
        found: Option<Multihash>,
    },
    /// The server cannot be reached, or has not what it should have.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The caller wanted it to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// An object could not be brought to where the server wants it.
    #[error("{object} could not be sent to {url}: {reason}")]
    Upload {
        /// The object.
        object: odf_dataset::Object,
        /// Where, without what may be secret.
        url: String,
        /// Why not.
        reason: String,
    },
}

impl From<SmartError> for ReceiveError {
    fn from(error: SmartError) -> Self {
        match error {
            SmartError::Cancelled(error) => error.into(),
            error => SourceError::from(error).into(),
        }
    }
}

impl From<SmartError> for SourceError {
    fn from(error: SmartError) -> Self {
        match error {
            SmartError::Read(error) => error.into(),
            error => Self::new(error),
        }
    }
}
