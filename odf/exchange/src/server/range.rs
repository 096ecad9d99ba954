//! Which bytes a request wants of something that has so many (RFC 9110 §14).

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

/// What `Range` says about something of a known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing that is heeded: all is sent. So it is with several ranges at once and with what is no range.
    All,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// None of the bytes that there are.
    Nothing,
}

/// What a request wants of `length` bytes.
pub(super) fn wanted(headers: &HeaderMap, length: u64) -> Wanted {
    let text = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let Some((first, last)) = text.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Wanted::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(count)) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return Wanted::All,
    };
    match range.is_empty() {
        true => Wanted::Nothing,
        false => Wanted::Part(range),
    }
}

/// A number as a range has it: digits, and nothing else.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    // More than fits is more than anything has.
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The answer with these bytes of `length` ones.
pub(super) fn part(mut response: Response, range: &Range<u64>, length: u64) -> Response {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let last = range.end.saturating_sub(1);
    with_range(response, format!("bytes {}-{last}/{length}", range.start))
}

/// The answer that nothing is there of what was wanted of `length` bytes.
pub(super) fn nothing(mut response: Response, length: u64) -> Response {
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    with_range(response, format!("bytes */{length}"))
}

fn with_range(mut response: Response, range: String) -> Response {
    if let Ok(range) = HeaderValue::try_from(range) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_there_is() {
        let of_ten = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            wanted(&headers, 10)
        };
        for (text, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=3-5", 3..6),
            ("bytes=7-", 7..10),
            ("bytes=9-99999999999999999999999", 9..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
        ] {
            assert_eq!(of_ten(text), Wanted::Part(range), "{text}");
        }
        for text in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(of_ten(text), Wanted::Nothing, "{text}");
        }
        for text in [
            "bytes=5-3",
            "bytes=0-1,3-4",
            "bytes=",
            "bytes=-",
            "bytes=x-",
            "bytes=+1-2",
            "rows=0-1",
            "bytes=1",
        ] {
            assert_eq!(of_ten(text), Wanted::All, "{text}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 10), Wanted::All);
    }
}
