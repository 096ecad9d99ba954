//! The documents of S3 as text.

use std::fmt::Write as _;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use odf_metadata::Timestamp;

/// The namespace of every document but errors.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// An answer with a document, which is given without its first line.
pub(super) fn document(text: &str) -> Response {
    let mut response = Response::new(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}").into());
    let kind = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An `Error` with one of S3's codes.
pub(super) fn error(code: &str, message: &str) -> String {
    let mut text = String::from("<Error>");
    element(&mut text, "Code", code);
    element(&mut text, "Message", message);
    text.push_str("</Error>");
    text
}

/// Where all buckets are: the region whose name is none.
pub(super) fn location() -> Response {
    document(&format!(
        "<LocationConstraint xmlns=\"{NAMESPACE}\"></LocationConstraint>"
    ))
}

/// That there are no versions.
pub(super) fn versioning() -> Response {
    document(&format!(
        "<VersioningConfiguration xmlns=\"{NAMESPACE}\"></VersioningConfiguration>"
    ))
}

/// `<name>text</name>`
pub(super) fn element(document: &mut String, name: &str, text: &str) {
    let _ = write!(document, "<{name}>");
    for character in text.chars() {
        match character {
            '&' => document.push_str("&amp;"),
            '<' => document.push_str("&lt;"),
            '>' => document.push_str("&gt;"),
            '"' => document.push_str("&quot;"),
            // No XML of version 1.0 can have these.
            '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => document.push(character),
            '\r' => document.push_str("&#13;"),
            _ => document.push(char::REPLACEMENT_CHARACTER),
        }
    }
    let _ = write!(document, "</{name}>");
}

/// A time as documents have it.
pub(super) fn time(time: Timestamp) -> String {
    time.datetime().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_element() {
        let mut text = String::new();
        element(&mut text, "Key", "a<b>&\"c\"\u{1}\u{ffff}\r\u{fc}");
        assert_eq!(
            text,
            "<Key>a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}\u{fffd}&#13;\u{fc}</Key>"
        );
    }
}
