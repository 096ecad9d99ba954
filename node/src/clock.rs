//! The wall clock, as a value that a test can replace.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where a peer takes the time of day from: expiry of records and the schedules follow it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// Any other source, for tests.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// Whole seconds since 1970, the form in which times are kept on disk.
    pub(crate) fn unix(&self) -> u64 {
        to_unix(self.now())
    }
}

/// Whole seconds since 1970; earlier times count as 1970.
pub(crate) fn to_unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time `seconds` after 1970, or the latest one that can be expressed.
pub(crate) fn from_unix(seconds: u64) -> SystemTime {
    // Far beyond any date a record carries, and safe to add to the epoch on every platform.
    const YEAR_9999: u64 = 253_402_300_799;
    UNIX_EPOCH + Duration::from_secs(seconds.min(YEAR_9999))
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
