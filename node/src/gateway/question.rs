//! What a request asks for: the path, and the parts of query and header fields that matter.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use cid::Cid;

use super::refusal::{Refusal, set};
use crate::block::{LIBP2P_KEY, cid_from_text};

const X_IPFS_PATH: HeaderName = HeaderName::from_static("x-ipfs-path");

/// One request, understood.
#[derive(Clone)]
pub(super) struct Question {
    /// What the path begins with.
    pub(super) root: Root,
    /// The rest of the path, percent-decoded.
    pub(super) inner_path: String,
    /// The whole path, percent-decoded: what `X-Ipfs-Path` says.
    pub(super) path: String,
    /// The path as it was sent.
    pub(super) raw_path: String,
    /// The query as it was sent.
    pub(super) query: Option<String>,
    /// The form that was asked for, if not the natural one.
    pub(super) format: Option<Format>,
    /// Whether the form was chosen by `Accept`, so that the answer has to say where it is found without.
    pub(super) format_from_accept: bool,
    /// Whether the client reads HTML.
    pub(super) wants_html: bool,
    /// `filename=` of the query.
    pub(super) filename: Option<String>,
    /// `download=true` of the query.
    pub(super) download: bool,
    /// `Cache-Control: only-if-cached`.
    pub(super) only_if_cached: bool,
    /// `If-None-Match`.
    pub(super) if_none_match: Option<String>,
    /// `If-Range`.
    if_range: Option<String>,
    /// `Range`.
    range: Option<String>,
}

/// What a path begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// `/ipfs/{cid}`.
    Cid(Cid),
    /// `/ipns/{name}`.
    Name(String),
}

/// The forms that a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    DagJson,
    DagCbor,
    Json,
    Cbor,
    Car,
    Tar,
    IpnsRecord,
}

/// The part of a file that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// All of it.
    Whole,
    /// From `start` up to and including `last`.
    Part {
        /// Offset of the first byte.
        start: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// Nothing that exists.
    Unsatisfiable,
}

const FORMATS: [(Format, &str, &str); 8] = [
    (Format::Raw, "raw", "application/vnd.ipld.raw"),
    (Format::DagJson, "dag-json", "application/vnd.ipld.dag-json"),
    (Format::DagCbor, "dag-cbor", "application/vnd.ipld.dag-cbor"),
    (Format::Json, "json", "application/json"),
    (Format::Cbor, "cbor", "application/cbor"),
    (Format::Car, "car", "application/vnd.ipld.car"),
    (Format::Tar, "tar", "application/x-tar"),
    (Format::IpnsRecord, "ipns-record", "application/vnd.ipfs.ipns-record"),
];

impl Format {
    fn named(name: &str) -> Option<Self> {
        FORMATS
            .iter()
            .find(|(_, query, _)| *query == name)
            .map(|(format, ..)| *format)
    }

    fn of_media_type(media_type: &str) -> Option<Self> {
        FORMATS
            .iter()
            .find(|(.., wanted)| media_type.eq_ignore_ascii_case(wanted))
            .map(|(format, ..)| *format)
    }

    fn row(self) -> &'static (Format, &'static str, &'static str) {
        FORMATS
            .iter()
            .find(|(format, ..)| *format == self)
            .unwrap_or(&FORMATS[0])
    }

    /// The value of `format=`.
    pub(super) fn query(self) -> &'static str {
        self.row().1
    }

    /// The media type.
    pub(super) fn media_type(self) -> &'static str {
        self.row().2
    }

    /// Whether it is a form that this gateway does not make.
    pub(super) fn is_unserved(self) -> bool {
        matches!(self, Self::Car | Self::Tar | Self::IpnsRecord)
    }

    /// Whether it is a media type that files have, too.
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Self::Json | Self::Cbor)
    }

    /// Whether it is text.
    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::DagJson | Self::Json)
    }
}

impl Question {
    /// # Errors
    /// 400 for a path that leads nowhere by its form alone, 404 for one outside `/ipfs` and `/ipns`.
    pub(super) fn read(request: &Parts) -> Result<Self, Refusal> {
        let headers = &request.headers;
        if text(headers, &HeaderName::from_static("service-worker")) == Some("script") {
            return Err(Refusal::bad(
                "no service worker can be registered for a path of content",
            ));
        }
        let raw_path = request.uri.path();
        let path = decode(raw_path).ok_or_else(|| Refusal::bad("the path is not UTF-8"))?;
        let (root, inner_path) = split(&path)?;

        let query = request.uri.query();
        let parameter = |name| query.and_then(|query| find(query, name));
        let by_query = match parameter("format") {
            Some(name) => {
                Some(Format::named(&name).ok_or_else(|| Refusal::bad(format!("there is no format {name:?}")))?)
            }
            None => None,
        };
        let accept = || {
            headers
                .get_all(header::ACCEPT)
                .iter()
                .filter_map(|value| value.to_str().ok())
        };
        let by_accept = || {
            accept()
                .flat_map(|value| value.split(','))
                .find_map(|one| Format::of_media_type(media_type(one)))
        };
        let format = by_query.or_else(by_accept);

        Ok(Self {
            root,
            inner_path: inner_path.to_owned(),
            format,
            format_from_accept: format.is_some() && by_query.is_none(),
            wants_html: accept().any(|value| value.contains("text/html")),
            filename: parameter("filename").filter(|name| !name.is_empty()),
            download: parameter("download").is_some_and(|value| value == "true"),
            only_if_cached: text(headers, &header::CACHE_CONTROL).is_some_and(|value| value.contains("only-if-cached")),
            if_none_match: text(headers, &header::IF_NONE_MATCH).map(str::to_owned),
            if_range: text(headers, &header::IF_RANGE).map(str::to_owned),
            range: text(headers, &header::RANGE).map(str::to_owned),
            raw_path: raw_path.to_owned(),
            query: query.map(str::to_owned),
            path,
        })
    }

    /// `X-Ipfs-Path`: the path as people write it, or as it was sent where that cannot stand in a header field.
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        set(headers, X_IPFS_PATH, &self.raw_path);
        set(headers, X_IPFS_PATH, &self.path);
    }

    /// Whether the client has this version already.
    pub(super) fn has(&self, etag: &str) -> bool {
        let Some(known) = &self.if_none_match else { return false };
        known
            .split(',')
            .map(str::trim)
            .any(|known| known == "*" || known.trim_start_matches("W/") == etag)
    }

    /// The part of `size` bytes that was asked for. Several ranges at once, and anything that is no range, count as
    /// not asked, as HTTP allows.
    pub(super) fn span(&self, size: u64, etag: &str) -> Span {
        let Some(range) = &self.range else { return Span::Whole };
        if self.if_range.as_ref().is_some_and(|version| version != etag) {
            return Span::Whole;
        }
        span(range, size).unwrap_or(Span::Whole)
    }
}

impl Refusal {
    /// Says which path was asked for.
    pub(super) fn at(mut self, question: &Question) -> Self {
        question.describe(&mut self.headers);
        self
    }
}

/// `bytes=A-B`, `bytes=A-` or `bytes=-N`; nothing for anything else.
fn span(range: &str, size: u64) -> Option<Span> {
    let (from, to) = range.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |digits: &str| {
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then(|| digits.parse::<u64>().ok())?
    };
    let (start, last) = match (from, to) {
        ("", count) => match number(count)? {
            0 => return Some(Span::Unsatisfiable),
            count => (size.saturating_sub(count), u64::MAX),
        },
        (start, "") => (number(start)?, u64::MAX),
        (start, last) => (number(start)?, number(last)?),
    };
    if last < start {
        return None;
    }
    // An empty file is served whole to whoever asks for its beginning, as by most servers.
    if size == 0 {
        return Some(Span::Whole);
    }
    if start >= size {
        return Some(Span::Unsatisfiable);
    }
    Some(Span::Part {
        start,
        last: last.min(size - 1),
    })
}

/// Splits a path into what it begins with and the rest.
///
/// # Errors
/// 400 for what is no CID, 404 for a path outside `/ipfs` and `/ipns`.
pub(super) fn split(path: &str) -> Result<(Root, &str), Refusal> {
    let (space, rest) = match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((space @ ("ipfs" | "ipns"), rest)) => (space, rest),
        _ => {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "paths here begin with /ipfs/CID or /ipns/NAME",
            ));
        }
    };
    let (root, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if root.is_empty() {
        return Err(Refusal::bad(format!("/{space}/ is followed by no root")));
    }
    let root = if space == "ipns" {
        Root::Name(root.to_owned())
    } else {
        Root::Cid(parse_cid(root)?)
    };
    Ok((root, rest))
}

fn parse_cid(text: &str) -> Result<Cid, Refusal> {
    let bad = |why: String| Refusal::bad(format!("{text:?} is not a CID: {why}"));
    let cid = cid_from_text(text).map_err(|error| bad(error.to_string()))?;
    if cid.codec() == LIBP2P_KEY {
        return Err(bad(format!("it is a name, found under /ipns/{text}")));
    }
    Ok(cid)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn media_type(accepted: &str) -> &str {
    accepted.split(';').next().unwrap_or_default().trim()
}

/// The first value of a parameter in a query.
fn find(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decode(&value.replace('+', " "))).flatten()
    })
}

/// Percent-decoding. Nothing if the result is not UTF-8; a percent sign without two hex digits stands for itself.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Percent-encodes what a segment of a path in HTML or in a header field cannot hold.
pub(super) fn encode(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file() {
        let part = |start, last| Some(Span::Part { start, last });
        for (range, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-", part(0, 9)),
            ("bytes=3-100", part(3, 9)),
            ("bytes=-4", part(6, 9)),
            ("bytes=-100", part(0, 9)),
            ("bytes=9-9", part(9, 9)),
            ("bytes=10-", Some(Span::Unsatisfiable)),
            ("bytes=-0", Some(Span::Unsatisfiable)),
            ("bytes=5-4", None),
            ("bytes=0-1,4-5", None),
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
    fn percent_signs_are_decoded_once_and_never_fail() {
        assert_eq!(decode("a%20b%2520%C3%A9").unwrap(), "a b%20é");
        assert_eq!(decode("100%").unwrap(), "100%");
        assert_eq!(decode("%zz%4").unwrap(), "%zz%4");
        assert_eq!(decode("%ff"), None);
        for text in ["a b", "ü/100%", "\"<>\n"] {
            assert_eq!(decode(&encode(text)).unwrap(), text);
        }
    }

    #[test]
    fn paths_begin_with_a_root() {
        let cid = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";
        let path = format!("/ipfs/{cid}/a//b/");
        let (root, rest) = split(&path).map_err(|refusal| refusal.reason().to_owned()).unwrap();
        assert_eq!((root, rest), (Root::Cid(cid.parse().unwrap()), "a//b/"));
        let status = |path: &str| split(path).map(|_| ()).unwrap_err().status().as_u16();
        assert_eq!(status("/ipfs/nonsense"), 400);
        assert_eq!(status("/ipfs/"), 400);
        assert_eq!(status("/ipns/"), 400);
        assert_eq!(status("/ipfs"), 404);
        assert_eq!(status("/"), 404);
        assert_eq!(status("/api/v0/id"), 404);
        let name = "k51qzi5uqu5dgqj09ikt2befzowhv78qa9bmoyttb02n34blh6wahonsfzmqkp";
        assert_eq!(
            split(&format!("/ipns/{name}")).ok().unwrap().0,
            Root::Name(name.to_owned())
        );
        assert_eq!(status(&format!("/ipfs/{name}")), 400);
    }
}
