//! The one place where text from elsewhere is made harmless for a terminal: everything that is shown comes through here.

use std::borrow::Cow;

/// Text as a terminal may show it, whoever it is from: control characters, which could move the cursor or change colours,
/// become visible. The form is that of JSON, where they can only stand inside of a string: it means the same afterwards.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_name_from_a_peer_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\0"), "a\\u001b[2Jb\\u000d\\u0000");
        assert_eq!(printable("a\tb\nü"), "a\tb\nü");
        let json = serde_json::json!({"a\u{7f}": "\u{1b}[2J\u{9b}"});
        let text = json.to_string();
        assert!(text.contains('\u{9b}'), "JSON lets it through");
        assert_eq!(serde_json::from_str::<Value>(&printable(&text)).unwrap(), json);
    }
}
