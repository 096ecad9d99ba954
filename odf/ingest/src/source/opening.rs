//! What a table begins with: files of other kinds are refused by name, before their bytes are taken for rows.

use std::io::Read as _;

use super::format::Format;
use super::problem::{Problem, SourceError};
use super::table::Source;

/// How many bytes are looked at.
const OPENING_BYTES: u64 = 512;

/// How files begin that are no text, and what they are.
const MAGIC: [(&[u8], &str); 8] = [
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file; unpack it first"),
    (b"\xfd7zXZ\0", "an xz file; unpack it first"),
    (b"BZh91AY&SY", "a bzip2 file; unpack it first"),
    (b"PAR1\x15", "a Parquet file; say so with --format parquet"),
    (b"%PDF-", "a PDF document"),
    (b"SQLite format 3\0", "a SQLite database; export its table first"),
];

/// How pages begin that servers send in place of data, in lower case.
const MARKUP: [&str; 12] = [
    "<!doctype",
    "<html",
    "<head",
    "<body",
    "<title",
    "<h1",
    "<h2",
    "<p>",
    "<div",
    "<center",
    "<script",
    "<?xml",
];

/// Refuses what is not the text that the format is written in.
pub(super) fn check(source: &Source) -> Result<(), SourceError> {
    if matches!(source.format(), Format::Parquet | Format::EsriShapefile) {
        return Ok(());
    }
    let mut opening = Vec::new();
    let read = source.open_at(0)?.take(OPENING_BYTES).read_to_end(&mut opening);
    read.map_err(|error| source.error(Problem::Io(error)))?;
    match problem(&opening) {
        Some(problem) => Err(source.error(problem)),
        None => Ok(()),
    }
}

fn problem(opening: &[u8]) -> Option<Problem> {
    if opening.starts_with(&[0xff, 0xfe]) || opening.starts_with(&[0xfe, 0xff]) {
        return Some(Problem::NotUtf8(": it looks like UTF-16; save it as UTF-8"));
    }
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| opening.starts_with(magic)) {
        return Some(Problem::Foreign(what));
    }
    // Every second byte of plain text in UTF-16 is zero.
    let zeros = opening.iter().filter(|byte| **byte == 0).count();
    if zeros > 0 && zeros >= opening.len() / 4 {
        return Some(Problem::NotUtf8(
            ": it looks like UTF-16 without a byte order mark; save it as UTF-8",
        ));
    }
    let text = opening
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(opening)
        .trim_ascii_start();
    let begins = |tag: &&&str| {
        let head = text.get(..tag.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(tag.as_bytes()))
    };
    match MARKUP.iter().find(begins) {
        Some(&"<?xml") => Some(Problem::Foreign("an XML document")),
        Some(_) => Some(Problem::Foreign(
            "an HTML page; a server may have answered with a page about a login or an error",
        )),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_by_its_first_bytes() {
        for (bytes, what) in [
            (&b"\xff\xfea\0"[..], "UTF-16"),
            (b"\xfe\xff\0a", "UTF-16"),
            (b"a\0,\0b\0\n\0", "UTF-16 without a byte order mark"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"PK\x03\x04\x14\0", "zip"),
            (b"PAR1\x15\x04", "Parquet"),
            (b"<!DOCTYPE html>\n<html>", "HTML"),
            (b"\xef\xbb\xbf \n<Html lang=en>", "HTML"),
            (b"<h1>503 Service Unavailable</h1>", "HTML"),
            (b"<?xml version=\"1.0\"?>", "XML"),
        ] {
            let text = problem(bytes).map(|problem| problem.to_string()).unwrap_or_default();
            assert!(text.contains(what), "{bytes:?}: {text}");
        }
        for bytes in [
            &b"a,b\n1,2\n"[..],
            b"PAR1,PAR2\n1,2\n",
            b"BZh,x\n",
            b"<5,>5\n1,2\n",
            b"a,b\n1,x\0y and more text behind the zero\n",
            b"",
        ] {
            assert!(problem(bytes).is_none(), "{bytes:?}");
        }
    }
}
