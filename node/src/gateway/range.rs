//! Parts of content that `Range` asks for.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc9110#name-range-requests>.

use std::ops::Range;

/// The most parts that are given at once. Whoever asks for more gets all of the content.
pub(super) const MAX_PARTS: usize = 16;

/// What was asked for of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// All of it.
    Whole,
    /// One part or more, none of them empty, and not more bytes than there are.
    Parts(Vec<Range<u64>>),
    /// Nothing that exists.
    Unsatisfiable,
}

/// `bytes=` and parts separated by commas: `A-B`, `A-` or `-N`. Nothing for anything else.
pub(super) fn span(range: &str, size: u64) -> Option<Span> {
    let mut parts = Vec::new();
    for (number, part) in range.strip_prefix("bytes=")?.split(',').enumerate() {
        if number == MAX_PARTS {
            return Some(Span::Whole);
        }
        parts.push(one(part.trim(), size)?);
    }
    // An empty file is served whole to whoever asks for its beginning, as by most servers.
    if size == 0 {
        return Some(Span::Whole);
    }
    parts.retain(|part| !part.is_empty());
    let bytes = parts
        .iter()
        .map(|part| part.end - part.start)
        .fold(0, u64::saturating_add);
    Some(match parts.is_empty() {
        true => Span::Unsatisfiable,
        false if bytes > size => Span::Whole,
        false => Span::Parts(parts),
    })
}

/// One part, cut to what there is.
fn one(part: &str, size: u64) -> Option<Range<u64>> {
    let (from, to) = part.split_once('-')?;
    let number = |digits: &str| {
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then(|| digits.parse::<u64>().ok())?
    };
    let (start, last) = match (from, to) {
        ("", count) => return Some(size.saturating_sub(number(count)?)..size),
        (start, "") => (number(start)?, u64::MAX),
        (start, last) => (number(start)?, number(last)?),
    };
    if last < start {
        return None;
    }
    Some(start.min(size)..last.saturating_add(1).min(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file() {
        let part = |start, end| Some(Span::Parts(Vec::from_iter([std::ops::Range { start, end }])));
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-", part(0, 10)),
            ("bytes=3-100", part(3, 10)),
            ("bytes=-4", part(6, 10)),
            ("bytes=-100", part(0, 10)),
            ("bytes=9-9", part(9, 10)),
            ("bytes=10-", Some(Span::Unsatisfiable)),
            ("bytes=-0", Some(Span::Unsatisfiable)),
            ("bytes=10-,-0", Some(Span::Unsatisfiable)),
            ("bytes=0-1, 4-5", Some(Span::Parts(vec![0..2, 4..6]))),
            ("bytes=-1,10-,0-0", Some(Span::Parts(vec![9..10, 0..1]))),
            ("bytes=0-,0-0", Some(Span::Whole)),
            ("bytes=5-4", None),
            ("bytes=0-1,", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("bytes=99999999999999999999-", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(span(range, 10), expected, "{range}");
        }
        assert_eq!(span("bytes=0-", 0), Some(Span::Whole));
    }

    #[test]
    fn one_part_too_many_gets_all() {
        let most = format!("bytes={}0-0", "1-1,".repeat(MAX_PARTS - 1));
        assert!(matches!(span(&most, 1000), Some(Span::Parts(parts)) if parts.len() == MAX_PARTS));
        assert_eq!(span(&format!("{most},2-2"), 1000), Some(Span::Whole));
    }
}
