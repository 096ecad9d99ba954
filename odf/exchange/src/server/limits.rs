//! What the server has room and patience for.

use std::time::Duration;

/// The most plain requests that are answered at once; one more is told to come back.
pub const MAX_REQUESTS: usize = 128;
/// The most transfers by the smart protocol that go on at once; one more is told to come back.
pub const MAX_TRANSFERS: usize = 32;
/// How long a peer may be silent while something is expected of it.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The most names of datasets whose place is remembered.
pub(super) const MAX_KEPT_NAMES: usize = 10_000;
