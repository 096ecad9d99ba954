//! What a request asks for: the content, and the parts of query and header fields that matter.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use cid::Cid;

use super::format::{Format, Wanted};
use super::host::{Mount, Place};
use super::options::Options;
use super::range::{Span, span};
use super::refusal::{Refusal, set};
use super::root::{Root, split};
use crate::ipns::Name;
use crate::percent::{decode, encode_path, find};

const X_IPFS_PATH: HeaderName = HeaderName::from_static("x-ipfs-path");
const IPFS_URI: HeaderName = HeaderName::from_static("ipfs-uri");

/// One request, understood.
#[derive(Clone)]
pub(super) struct Question {
    /// What the path of the content begins with.
    pub(super) root: Root,
    /// The rest of that path, percent-decoded.
    pub(super) inner_path: String,
    /// The whole path of the content, percent-decoded: what `X-Ipfs-Path` says.
    pub(super) path: String,
    /// Where in the URL that is.
    pub(super) mount: Mount,
    /// The path of the URL as it was sent.
    pub(super) raw_path: String,
    /// The query as it was sent.
    pub(super) query: Option<String>,
    /// The form that is wanted.
    pub(super) wanted: Wanted,
    /// `filename=` of the query.
    pub(super) filename: Option<String>,
    /// `download=true` of the query.
    pub(super) download: bool,
    /// `Cache-Control: only-if-cached`.
    pub(super) only_if_cached: bool,
    /// `If-None-Match`.
    if_none_match: Option<String>,
    /// `If-Range`.
    if_range: Option<String>,
    /// `Range`.
    range: Option<String>,
}

impl Question {
    /// # Errors
    /// 400 for a path that leads nowhere by its form alone, 404 for one outside `/ipfs` and `/ipns`; a redirection where the
    /// content has another URL.
    pub(super) fn read(request: &Parts, options: &Options) -> Result<Self, Refusal> {
        let headers = &request.headers;
        let Place { mount, content_path } = Place::of(request, options)?;
        if mount == Mount::Path && text(headers, &HeaderName::from_static("service-worker")) == Some("script") {
            return Err(Refusal::bad(
                "no service worker can be registered for a path of content",
            ));
        }
        let raw_path = request.uri.path();
        let query = request.uri.query();
        let parameter = |name| query.and_then(|query| find(query, name));
        let path = decode(&content_path).ok_or_else(|| Refusal::bad("the path is not UTF-8"))?;
        if let Some(uri) = parameter("uri").filter(|_| matches!(path.as_str(), "/ipfs/" | "/ipns/")) {
            return Err(Refusal::elsewhere(StatusCode::MOVED_PERMANENTLY, &path_of(&uri)?));
        }
        let (root, inner_path) = split(&path)?;
        if let (Mount::Path, Root::Name(text)) = (&mount, &root) {
            to_canonical(text, raw_path, query)?;
        }
        Ok(Self {
            root,
            inner_path: inner_path.to_owned(),
            mount,
            wanted: Wanted::read(query, headers)?,
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

    /// `X-Ipfs-Path`: the path as people write it, or encoded where that cannot stand in a header field. `Ipfs-Uri`: the same
    /// as a URI with everything encoded (IPIP-548).
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        set(headers, X_IPFS_PATH, &encode_path(&self.path));
        set(headers, X_IPFS_PATH, &self.path);
        let (space, root) = match &self.root {
            Root::Cid(cid) => ("ipfs", Cid::new_v1(cid.codec(), *cid.hash()).to_string()),
            Root::Name(name) => ("ipns", name.clone()),
        };
        set(headers, IPFS_URI, &format!("{space}://{root}{}", self.below_root()));
    }

    /// The path below the root, encoded, with a slash in front if the URL has one there.
    fn below_root(&self) -> String {
        match self.path.splitn(4, '/').nth(3) {
            Some(rest) => format!("/{}", encode_path(rest)),
            None => String::new(),
        }
    }

    /// The same question for another path below the root, whose content is to be answered with a status.
    pub(super) fn instead(mut self, path: &str, status: StatusCode) -> Self {
        self.inner_path = path.trim_start_matches('/').to_owned();
        if status != StatusCode::OK {
            // That something is not there does not come in parts, and is said again to whoever knows it.
            self.if_none_match = None;
            self.range = None;
        }
        self
    }

    /// Whether the answer proves itself: a block by its CID, a CAR below one, the record of a key's name. Everything else has to
    /// be believed, what a name leads to included.
    ///
    /// Spec: <https://specs.ipfs.tech/http-gateways/trustless-gateway/>.
    pub(super) fn is_trustless(&self) -> bool {
        let is_root = self.inner_path.trim_matches('/').is_empty();
        match (&self.root, self.wanted.format) {
            (Root::Cid(_), Some(Format::Car)) => true,
            (Root::Cid(_), Some(Format::Raw)) => is_root,
            (Root::Name(name), Some(Format::IpnsRecord)) => is_root && name.parse::<Name>().is_ok(),
            _ => false,
        }
    }

    /// Whether the client has this version already.
    pub(super) fn has(&self, etag: &str) -> bool {
        let Some(known) = &self.if_none_match else { return false };
        let etag = etag.trim_start_matches("W/");
        known
            .split(',')
            .map(str::trim)
            .any(|known| known == "*" || known.trim_start_matches("W/") == etag)
    }

    /// The parts of `size` bytes that were asked for. Anything that is no range counts as not asked, as HTTP allows.
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

/// The path that a URI stands for, such as `ipfs://{cid}/a`: what browsers give to whoever registered for that scheme.
fn path_of(uri: &str) -> Result<String, Refusal> {
    let parts = uri.split_once("://");
    let (space, rest) = parts
        .filter(|(space, rest)| matches!(*space, "ipfs" | "ipns") && !rest.is_empty())
        .ok_or_else(|| Refusal::bad(format!("{uri:?} is no ipfs:// or ipns:// URI")))?;
    Ok(format!("/{space}/{}", encode_path(rest)))
}

/// A name that is written in another way than the one that every URL can hold is found under that.
fn to_canonical(text: &str, raw_path: &str, query: Option<&str>) -> Result<(), Refusal> {
    let Ok(name) = text.parse::<Name>() else { return Ok(()) };
    let canonical = name.to_string();
    if canonical == text {
        return Ok(());
    }
    let rest = raw_path
        .splitn(4, '/')
        .nth(3)
        .map_or(String::new(), |rest| format!("/{rest}"));
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    let location = format!("/ipns/{canonical}{rest}{query}");
    Err(Refusal::elsewhere(StatusCode::FOUND, &location))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
