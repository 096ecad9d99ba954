//! Bytes, and bytes a second, as people write them.

use std::num::NonZeroU64;

/// The units, the largest first, with their bytes. Only those of ten are shown.
const UNITS: [(&str, u64); 9] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];
/// How many of them a rate is shown in.
const OF_TEN: usize = 5;
const A_SECOND: &str = "/s";

/// A number with its unit, with or without a space between: `500kB/s`, `5 MB/s`, `1MiB/s`. None for anything else, and for nothing
/// at all.
pub(crate) fn rate_of(text: &str) -> Option<NonZeroU64> {
    size_of(text.strip_suffix(A_SECOND)?)
}

/// As [`rate_of`], without a time: `10GiB`, `500 MB`.
pub(crate) fn size_of(text: &str) -> Option<NonZeroU64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    NonZeroU64::new(number.checked_mul(*bytes)?)
}

/// The text that stands for it, in the largest unit that does without a fraction.
pub(crate) fn rate_text(rate: NonZeroU64) -> String {
    format!("{}{A_SECOND}", text_in(&UNITS[..OF_TEN], rate))
}

/// As [`rate_text`], for a size.
pub(crate) fn size_text(size: NonZeroU64) -> String {
    text_in(&UNITS, size)
}

fn text_in(units: &[(&str, u64)], count: NonZeroU64) -> String {
    let whole = units.iter().filter(|(_, bytes)| count.get().is_multiple_of(*bytes));
    match whole.max_by_key(|(_, bytes)| *bytes) {
        Some((unit, bytes)) => format!("{}{unit}", count.get() / bytes),
        None => format!("{count}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_shown_in_the_largest_unit_without_a_fraction() {
        for (text, bytes, shown) in [
            ("10GiB", 10 << 30, "10GiB"),
            ("500 MB", 500_000_000, "500MB"),
            ("2048KiB", 2 << 20, "2MiB"),
            ("1TB", 1_000_000_000_000, "1TB"),
            ("1025B", 1025, "1025B"),
        ] {
            let size = NonZeroU64::new(bytes).unwrap();
            assert_eq!(size_of(text), Some(size), "{text}");
            assert_eq!(size_text(size), shown, "{text}");
        }
        assert!(
            ["", "10", "GiB", "0GiB", "1GiB/s", "1.5GiB"]
                .iter()
                .all(|text| size_of(text).is_none())
        );
    }

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
