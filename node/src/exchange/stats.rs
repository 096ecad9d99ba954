//! Counts of what has been moved.

use libp2p::PeerId;

use super::verdict::Verdict;

/// What an exchange has moved since it began, and what is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Blocks received that were wanted.
    pub blocks_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Blocks received once more than needed.
    pub duplicates: u64,
    /// Their bytes.
    pub duplicate_bytes: u64,
    /// Blocks received that nobody had asked for, or whose bytes were not those asked for.
    pub unrequested: u64,
    /// Blocks handed to connections.
    pub blocks_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Connected peers, whether or not they speak Bitswap.
    pub peers: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Blocks wanted here.
    pub wants: usize,
    /// Blocks wanted by peers.
    pub peer_wants: usize,
}

/// What one session has fetched.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Blocks received.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that came once more than needed.
    pub duplicates: u64,
    /// Peers that gave at least one block.
    pub providers: usize,
    /// Who gave the last block that came from a peer.
    pub last_from: Option<PeerId>,
    /// Bytes per second, averaged over the last moments in which blocks came.
    pub rate: f64,
    /// What was tried for the last block that did not come.
    pub last_verdict: Option<Verdict>,
}
