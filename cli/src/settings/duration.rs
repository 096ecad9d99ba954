//! Lengths of time as people write them.

use std::time::Duration;

/// The units, the longest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A number with its unit: `30s`, `100ms`, `5m`, `1h`, `30d`. None for anything else, and for no time at all.
pub(crate) fn duration_of(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    // Nothing can be done in no time.
    let millis = number.checked_mul(*length).filter(|millis| *millis > 0)?;
    Some(Duration::from_millis(millis))
}

/// The text that stands for it, in the longest unit that does without a fraction.
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let whole = |(_, length): &&(&str, u64)| millis.is_multiple_of(u128::from(*length));
    match UNITS.iter().find(whole) {
        Some((unit, length)) => format!("{}{unit}", millis / u128::from(*length)),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for (text, millis, shown) in [
            ("1ms", 1, "1ms"),
            ("1500ms", 1_500, "1500ms"),
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("5m", 300_000, "5m"),
            ("36h", 129_600_000, "36h"),
            ("24h", 86_400_000, "1d"),
            ("30d", 2_592_000_000, "30d"),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(duration_of(text), Some(duration), "{text}");
            assert_eq!(duration_text(duration), shown, "{text}");
            assert_eq!(duration_of(shown), Some(duration), "{text}");
        }
        for text in [
            "",
            "30",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "1 s",
            "30x",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert_eq!(duration_of(text), None, "{text}");
        }
    }
}
