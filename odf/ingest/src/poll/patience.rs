//! How long to wait for a server that says that it is busy.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ureq::http::header::{HeaderMap, RETRY_AFTER};

/// How often a busy server is asked again.
pub const MAX_BUSY_REPEATS: u32 = 3;
/// The longest that is waited before each of these.
pub const MAX_BUSY_WAIT: Duration = Duration::from_secs(60);
/// How long to wait the first time where the server does not say; each time after that twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How long to wait before a request is made again that was answered with this status and these headers; it was repeated
/// `repeats` times already. None if it is not to be repeated: the server is not busy (429, 503), it was asked often enough,
/// or it asks for more than [`MAX_BUSY_WAIT`].
pub fn busy_wait(status: u16, headers: &HeaderMap, repeats: u32, now: DateTime<Utc>) -> Option<Duration> {
    if !matches!(status, 429 | 503) || repeats >= MAX_BUSY_REPEATS {
        return None;
    }
    let asked = headers
        .get(RETRY_AFTER)
        .and_then(|value| asked(value.to_str().ok()?, now));
    let wait = asked.unwrap_or(FIRST_WAIT.saturating_mul(1 << repeats));
    (wait <= MAX_BUSY_WAIT).then_some(wait)
}

/// `Retry-After`: seconds, or a time.
fn asked(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let time = DateTime::parse_from_rfc2822(value).ok()?;
    // A time that has passed means at once.
    Some((time.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_server_is_given_the_time_it_asks_for_within_bounds() {
        let now = DateTime::parse_from_rfc3339("2026-01-04T00:00:00Z").unwrap().to_utc();
        let wait = |status, retry_after: Option<&str>, repeats| {
            let headers = retry_after.map(|value| (RETRY_AFTER, value.parse().unwrap()));
            busy_wait(status, &headers.into_iter().collect(), repeats, now).map(|wait| wait.as_secs())
        };
        let most = MAX_BUSY_WAIT.as_secs();
        for status in [429, 503] {
            assert_eq!(wait(status, Some("7"), 0), Some(7));
            assert_eq!(wait(status, Some(&most.to_string()), 0), Some(most));
            assert_eq!(wait(status, Some(&(most + 1).to_string()), 0), None);
            assert_eq!(wait(status, Some("99999999999999999999"), 0), None);
            assert_eq!(wait(status, Some("Sun, 04 Jan 2026 00:00:30 GMT"), 0), Some(30));
            assert_eq!(wait(status, Some("Sun, 04 Jan 2026 00:02:00 GMT"), 0), None);
            assert_eq!(wait(status, Some("Sat, 03 Jan 2026 00:00:00 GMT"), 0), Some(0));
            // Where it says nothing that can be understood: longer each time.
            for said in [None, Some(""), Some("soon"), Some("-1")] {
                assert_eq!(
                    [0, 1, 2].map(|repeats| wait(status, said, repeats)),
                    [Some(1), Some(2), Some(4)]
                );
            }
            assert_eq!(wait(status, Some("0"), MAX_BUSY_REPEATS - 1), Some(0));
            assert_eq!(wait(status, Some("0"), MAX_BUSY_REPEATS), None);
        }
        for status in [200, 404, 500, 502, 504] {
            assert_eq!(wait(status, Some("0"), 0), None);
        }
    }
}
