//! What a connection and the exchange tell each other.

use cid::Cid;

use crate::block::Block;
use crate::exchange::message::{Message, Presence};
use crate::exchange::wantlist::Wantlist;

/// What the behaviour asks of a connection.
#[derive(Debug)]
pub enum FromBehaviour {
    /// Send a message. Answered by [`ToBehaviour::Sent`] or [`ToBehaviour::Lost`].
    #[doc(hidden)]
    Send(Parcel),
    /// Keep the connection, or let it go when it is idle.
    #[doc(hidden)]
    KeepAlive(bool),
}

/// A message and the stream it belongs on.
#[derive(Debug)]
pub struct Parcel {
    pub(in crate::exchange) lane: Lane,
    /// Names the message on its lane.
    pub(in crate::exchange) id: u64,
    pub(in crate::exchange) message: Message,
}

/// Which of the two outbound streams a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exchange) enum Lane {
    /// Wantlists.
    Wants = 0,
    /// Blocks and presences.
    Answers = 1,
}

/// What a connection tells the behaviour.
#[derive(Debug)]
pub enum ToBehaviour {
    /// A message came; its blocks have been hashed.
    #[doc(hidden)]
    Received(Checked),
    /// A large message is on its way in.
    #[doc(hidden)]
    Progress,
    /// A message has been written.
    #[doc(hidden)]
    Sent(Ticket),
    /// A message could not be written.
    #[doc(hidden)]
    Lost(Ticket),
    /// The peer speaks Bitswap, with or without HAVE and DONT_HAVE.
    #[doc(hidden)]
    Speaks {
        /// Whether it knows HAVE and DONT_HAVE.
        presences: bool,
    },
    /// The peer does not speak Bitswap.
    #[doc(hidden)]
    Mute,
}

/// Names a message that was handed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(in crate::exchange) lane: Lane,
    pub(in crate::exchange) id: u64,
}

/// A message whose blocks are under the CIDs of their bytes.
#[derive(Debug, Default)]
pub struct Checked {
    pub(in crate::exchange) wantlist: Wantlist,
    pub(in crate::exchange) presences: Vec<(Cid, Presence)>,
    pub(in crate::exchange) blocks: Vec<Block>,
    /// Blocks under a prefix that nobody here can have asked for.
    pub(in crate::exchange) unusable: usize,
    /// Length of the frame.
    pub(super) bytes: usize,
}

impl Checked {
    /// Whether the message says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.wantlist.is_empty() && self.presences.is_empty() && self.blocks.is_empty() && self.unusable == 0
    }
}

impl Parcel {
    pub(super) fn ticket(&self) -> Ticket {
        Ticket {
            lane: self.lane,
            id: self.id,
        }
    }
}
