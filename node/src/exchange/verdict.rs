//! What was tried for a block that did not come, and how that is told.

use std::fmt;

use cid::Cid;

/// What was tried for a block that did not come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Peers that the session knew.
    pub known: u32,
    /// Of these, how many could not be connected to.
    pub unreachable: u32,
    /// Peers that were asked for the block, within the session and outside.
    pub asked: u32,
    /// Of these, how many said that they do not have it.
    pub refused: u32,
    /// Of these, how many did not answer in time.
    pub silent: u32,
    /// Gateways that were asked over HTTP, and did not give it either.
    pub gateways: u32,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = |count| if count == 1 { "peer" } else { "peers" };
        match self.asked {
            0 => write!(f, "no peer could be asked")?,
            asked => write!(f, "asked {asked} {}", peers(asked))?,
        }
        if self.refused > 0 {
            write!(f, ", {} not having it", self.refused)?;
        }
        if self.silent > 0 {
            write!(f, ", {} not answering", self.silent)?;
        }
        match (self.known, self.unreachable) {
            (0, _) if self.asked == 0 => write!(f, ", no provider is known")?,
            (_, 0) => {}
            (_, lost) => write!(f, ", {lost} {} not reachable", peers(lost))?,
        }
        match self.gateways {
            0 => Ok(()),
            1 => write!(f, ", 1 gateway did not give it"),
            count => write!(f, ", {count} gateways did not give it"),
        }
    }
}

/// Why a block could not be fetched. Nothing has changed, and the fetch may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Everybody that is known said no or cannot be reached, and a search found nobody else.
    #[error("block {cid} was not found: {verdict}")]
    NotFound {
        /// The block.
        cid: Cid,
        /// What was tried.
        verdict: Verdict,
    },
    /// Somebody may have it, but nothing came for as long as [`Config::patience`](super::Config::patience) allows.
    #[error("block {cid} did not come within {seconds} seconds: {verdict}")]
    Stalled {
        /// The block.
        cid: Cid,
        /// How long was waited, in seconds.
        seconds: u32,
        /// What was tried.
        verdict: Verdict,
    },
    /// The CID uses a hash function that cannot be checked here, so no answer could be believed.
    #[error("block {cid} uses hash function 0x{code:x}, which cannot be checked here")]
    Unverifiable {
        /// The block.
        cid: Cid,
        /// Multihash code.
        code: u64,
    },
    /// The exchange has been shut down.
    #[error("block {cid} was not fetched: the exchange is closed")]
    Closed {
        /// The block.
        cid: Cid,
    },
}

impl FetchError {
    /// The same, where so many gateways did not give the block either.
    pub(super) fn beside_gateways(mut self, count: u32) -> Self {
        if let Self::NotFound { verdict, .. } | Self::Stalled { verdict, .. } = &mut self {
            verdict.gateways = count;
        }
        self
    }
}
