//! What is announced, and how far that has come.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which blocks of what is published here others are told of, in the words of Kubo's `Provide.Strategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The roots by which it is asked for, and no more.
    Roots,
    /// These, and the root of each file in it: whoever looks for one of the files finds it.
    #[default]
    Entities,
    /// Every block.
    All,
}

/// A strategy of another name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"roots\", \"entities\" or \"all\" is expected")]
pub struct UnknownStrategy;

impl Strategy {
    const ALL: [Self; 3] = [Self::Roots, Self::Entities, Self::All];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Roots => "roots",
            Self::Entities => "entities",
            Self::All => "all",
        })
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        let found = Self::ALL.into_iter().find(|strategy| strategy.to_string() == text);
        found.ok_or(UnknownStrategy)
    }
}

/// How far this peer is with what it announces.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Provided {
    /// Keys that it announces.
    pub keys: usize,
    /// Those that still wait to be told to anybody: new ones, and such that nobody could be told of.
    pub waiting: usize,
    /// Which part is done of the lap in which all are told again, from 0 to 1.
    pub lap: f64,
    /// How late that is.
    pub behind: Duration,
    /// What was done since the start.
    pub done: Swept,
}

/// Work that was done on regions of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Regions of which keys were told.
    pub regions: u64,
    /// Walks that found out whom to tell.
    pub walks: u64,
    /// Keys that at least one peer has taken.
    pub keys: u64,
    /// Keys that were sent, counted for each peer.
    pub messages: u64,
}

/// What walks of this peer cost since its start: questions to a DHT, and announcements and records that were put. Those by which
/// it looks after its own tables are counted apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    /// Walks that somebody answered.
    pub walks: u64,
    /// Messages to other peers, of all walks.
    pub messages: u64,
    /// Of these, such as were answered or needed no answer.
    pub answered: u64,
    /// How many answers, one after another, led to the one who answered closest to the key: the sum over [`Self::walks`].
    pub hops: u64,
    /// Walks by which this peer looked after its tables.
    pub refreshes: u64,
    /// Messages to other peers, of all of these.
    pub refresh_messages: u64,
}
