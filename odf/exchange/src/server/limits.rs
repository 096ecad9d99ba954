//! What the server has room and patience for.

use std::time::Duration;

/// The most plain requests of holders of tokens that are answered at once; one more is told to come back.
pub const MAX_REQUESTS: usize = 128;
/// How many of them one client without a token may have.
pub const MAX_REQUESTS_OF_ONE: usize = 32;
/// The most transfers by the smart protocol of holders of tokens that go on at once; one more is told to come back.
pub const MAX_TRANSFERS: usize = 32;
/// How many of them one client without a token may have.
pub const MAX_TRANSFERS_OF_ONE: usize = 6;
/// Strangers have turns of their own: as many as those who have a token, less one in so many.
pub(super) const KEPT_PART: usize = 4;
/// The most bytes that the bundles of all pulls take up in memory at once; one more waits.
pub const MAX_BUNDLES_BYTES: usize = 192 << 20;
/// So much is read of what still comes of a request that is refused. No body of many objects is longer.
pub(super) const MAX_DRAINED_BYTES: usize = 8 << 20;
/// How long a peer may be silent while something is expected of it.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How long somebody may take for the first words of a transfer.
pub const FIRST_WORDS: Duration = Duration::from_secs(10);
/// How long somebody who pulls may be silent after that.
pub const PULL_PATIENCE: Duration = Duration::from_secs(30);
/// The longest message of somebody who pulls, but for what its list of objects needs.
pub const MAX_FIRST_BYTES: usize = 4 << 10;
/// What one object in that list needs at most.
pub(super) const OBJECT_BYTES: usize = 256;
/// The most datasets that are kept opened: each takes some kilobytes.
pub(super) const MAX_KEPT_DATASETS: usize = 64;
/// The most names of datasets whose place is remembered.
pub(super) const MAX_KEPT_NAMES: usize = 10_000;
