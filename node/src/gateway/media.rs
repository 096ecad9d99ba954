//! Media types: by the name of a file, else by how its content begins.

/// Bytes that decide the type of a file whose name does not.
pub(super) const SNIFFED_BYTES: u64 = 512;

const PLAIN: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

const BY_EXTENSION: [(&str, &str); 36] = [
    ("avif", "image/avif"),
    ("avro", "application/avro"),
    ("bin", BYTES),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("flac", "audio/flac"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ndjson", "application/x-ndjson"),
    ("parquet", "application/vnd.apache.parquet"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("txt", PLAIN),
    ("wasm", "application/wasm"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "text/xml; charset=utf-8"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
];

const BY_BEGINNING: [(&[u8], &str); 10] = [
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"\0asm", "application/wasm"),
    (b"ARROW1", "application/vnd.apache.arrow.file"),
];

/// The type that the extension of a name stands for.
pub(super) fn by_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    let found = BY_EXTENSION
        .iter()
        .find(|(known, _)| extension.eq_ignore_ascii_case(known));
    found.map(|(_, media_type)| *media_type)
}

/// The type of content that begins like this.
pub(super) fn by_content(beginning: &[u8]) -> &'static str {
    if let Some((_, media_type)) = BY_BEGINNING.iter().find(|(magic, _)| beginning.starts_with(magic)) {
        return media_type;
    }
    let Some(text) = as_text(beginning) else { return BYTES };
    if is_json(text) {
        return "application/json";
    }
    let text = text.trim_start().as_bytes();
    let begins = |tag: &str| {
        text.get(..tag.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") {
        "text/html; charset=utf-8"
    } else {
        PLAIN
    }
}

/// Whether a text is an object or a list in JSON, or the beginning of one.
fn is_json(text: &str) -> bool {
    if !text.trim_start().starts_with(['{', '[']) {
        return false;
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => true,
        Err(error) => error.is_eof() && text.len() as u64 >= SNIFFED_BYTES - 3,
    }
}

/// The beginning as text, if it is: UTF-8, the last character perhaps cut, without control characters.
fn as_text(beginning: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(beginning) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&beginning[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let is_text = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}');
    text.chars().all(is_text).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_without_a_name_is_recognized() {
        assert_eq!(by_content(b""), PLAIN);
        assert_eq!(by_content(b"f1620ab\n"), PLAIN);
        assert_eq!(by_content("gr\u{fc}n".as_bytes()), PLAIN);
        assert_eq!(by_content(&"\u{fc}".as_bytes()[..1]), PLAIN);
        assert_eq!(by_content(b"\x00\x01"), BYTES);
        assert_eq!(by_content(b"\xff\xfe"), BYTES);
        assert_eq!(by_content(b"PAR1\x15"), "application/vnd.apache.parquet");
        assert_eq!(by_content(b" <!DOCTYPE HTML>"), "text/html; charset=utf-8");
        let (json, cut) = ("application/json", format!("[{}", "1,".repeat(255)));
        assert_eq!([by_content(b" {\"a\": [1]}\n"), by_content(cut.as_bytes())], [json; 2]);
        assert_eq!([by_content(b"{a}"), by_content(b"[1"), by_content(b"1")], [PLAIN; 3]);
    }

    #[test]
    fn names_are_known_by_their_extension() {
        assert_eq!(by_name("a.b.CSV"), Some("text/csv; charset=utf-8"));
        assert_eq!(by_name("head"), None);
        assert_eq!(by_name("csv"), None);
    }
}
