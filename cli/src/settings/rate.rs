//! Bytes a second as people write them.

use std::num::NonZeroU64;

/// The units, the largest first, with their bytes. Only those of ten are shown.
const UNITS: [(&str, u64); 7] = [
    ("GB/s", 1_000_000_000),
    ("MB/s", 1_000_000),
    ("kB/s", 1_000),
    ("B/s", 1),
    ("GiB/s", 1 << 30),
    ("MiB/s", 1 << 20),
    ("KiB/s", 1 << 10),
];
const SHOWN: usize = 4;

/// A number with its unit, with or without a space between: `500kB/s`, `5 MB/s`, `1MiB/s`. None for anything else, and for nothing
/// at all.
pub(crate) fn rate_of(text: &str) -> Option<NonZeroU64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    NonZeroU64::new(number.checked_mul(*bytes)?)
}

/// The text that stands for it, in the largest unit that does without a fraction.
pub(crate) fn rate_text(rate: NonZeroU64) -> String {
    let whole = |(_, bytes): &&(&str, u64)| rate.get().is_multiple_of(*bytes);
    match UNITS.iter().take(SHOWN).find(whole) {
        Some((unit, bytes)) => format!("{}{unit}", rate.get() / bytes),
        None => format!("{rate}B/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for (text, bytes, shown) in [
            ("1B/s", 1, "1B/s"),
            ("1500 B/s", 1_500, "1500B/s"),
            ("500kB/s", 500_000, "500kB/s"),
            ("5 MB/s", 5_000_000, "5MB/s"),
            ("2000kB/s", 2_000_000, "2MB/s"),
            ("1GB/s", 1_000_000_000, "1GB/s"),
            ("64KiB/s", 65_536, "65536B/s"),
            ("1MiB/s", 1 << 20, "1048576B/s"),
        ] {
            let rate = NonZeroU64::new(bytes).unwrap();
            assert_eq!(rate_of(text), Some(rate), "{text}");
            assert_eq!(rate_text(rate), shown, "{text}");
            assert_eq!(rate_of(shown), Some(rate), "{text}");
        }
        for text in [
            "",
            "5",
            "MB/s",
            "0MB/s",
            "-1B/s",
            "1.5MB/s",
            "5 MB",
            "5 mb/s",
            "99999999999999999999B/s",
            "99999999999999GB/s",
        ] {
            assert_eq!(rate_of(text), None, "{text}");
        }
    }
}
