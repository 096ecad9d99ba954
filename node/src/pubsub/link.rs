//! Between the task that owns the swarm and whoever knows what a record is worth.

use std::collections::HashMap;

use libp2p::PeerId;
use libp2p::gossipsub::{MessageAcceptance, MessageId};
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use tokio::sync::{mpsc, oneshot};

use super::fetch::Answer;

/// Commands waiting for the task that owns the swarm. Whoever sends one more waits.
pub(crate) const MAX_COMMANDS: usize = 256;
/// Events waiting for whoever knows what a record is worth. One more is dropped: a message is forgotten, a request fails.
pub(crate) const MAX_EVENTS: usize = 1024;

/// Fetches under way, with those who wait for them: no more than these are.
pub(crate) type Fetches = HashMap<OutboundRequestId, oneshot::Sender<Option<Vec<u8>>>>;

/// What the swarm is to do. Names stand as their routing keys.
pub(crate) enum Command {
    /// Listen to what is said of these names; for each peer that is known to listen already there is an
    /// [`Event::Joined`].
    Join(Vec<Vec<u8>>),
    /// Listen no longer.
    Leave(Vec<u8>),
    /// Say a record; whether anybody who listens is connected.
    Publish {
        key: Vec<u8>,
        record: Vec<u8>,
        reply: oneshot::Sender<bool>,
    },
    /// The verdict on [`Event::Heard`].
    Judge {
        id: MessageId,
        from: PeerId,
        verdict: MessageAcceptance,
    },
    /// Ask a connected peer for a record; nothing if it has none, or does not answer in time.
    Fetch {
        peer: PeerId,
        key: Vec<u8>,
        reply: oneshot::Sender<Option<Vec<u8>>>,
    },
    /// The answer to [`Event::Asked`].
    Answer {
        channel: ResponseChannel<Answer>,
        answer: Answer,
    },
}

/// What others said.
pub(crate) enum Event {
    /// A record, to be judged.
    Heard {
        key: Vec<u8>,
        record: Vec<u8>,
        id: MessageId,
        from: PeerId,
    },
    /// A peer listens to what is said of a name that this one listens to.
    Joined { peer: PeerId, key: Vec<u8> },
    /// A peer wants the record of a name.
    Asked {
        key: Vec<u8>,
        channel: ResponseChannel<Answer>,
    },
}

/// The sending end of commands, and the receiving one of events.
pub(crate) struct Link {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) events: mpsc::Receiver<Event>,
}

/// The other ends.
pub(crate) struct SwarmEnd {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Sender<Event>,
}

/// Both ends.
pub(crate) fn pair() -> (Link, SwarmEnd) {
    let (command_sender, commands) = mpsc::channel(MAX_COMMANDS);
    let (events_sender, events) = mpsc::channel(MAX_EVENTS);
    let link = Link {
        commands: command_sender,
        events,
    };
    let end = SwarmEnd {
        commands,
        events: events_sender,
    };
    (link, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_over_the_limit_finds_no_room_until_one_is_taken() {
        let (mut link, end) = pair();
        let event = || Event::Joined {
            peer: PeerId::random(),
            key: Vec::new(),
        };
        assert!((0..MAX_EVENTS).all(|_| end.events.try_send(event()).is_ok()));
        assert!(end.events.try_send(event()).is_err());
        assert!(link.events.try_recv().is_ok());
        assert!(end.events.try_send(event()).is_ok());
    }
}
