//! Answers, and the header fields that all of them share.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::host::Mount;
use super::question::Question;
use super::refusal::{set, set_nosniff};
use crate::percent::encode;
use crate::unixfs::resolve::Resolved;

const X_IPFS_ROOTS: HeaderName = HeaderName::from_static("x-ipfs-roots");

/// How long an answer under `/ipfs` may be kept: content does not change.
const IMMUTABLE: &str = "public, max-age=29030400, immutable";
/// How long a page that this gateway made up may be kept: a later version may make another.
const GENERATED: &str = "public, max-age=604800, stale-while-revalidate=2678400";

/// Where a question has led.
pub(super) struct Destination {
    pub(super) question: Question,
    pub(super) resolved: Resolved,
    /// How long the name at the beginning of the path holds; nothing without a name.
    pub(super) max_age: Option<Duration>,
}

impl Destination {
    /// An answer that says where the content is from and how long it holds.
    pub(super) fn answer(&self, etag: &str) -> Response {
        self.answer_with(etag, IMMUTABLE)
    }

    /// An answer made here, not content.
    pub(super) fn generated(&self, etag: &str) -> Response {
        self.answer_with(etag, GENERATED)
    }

    fn answer_with(&self, etag: &str, under_ipfs: &str) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        set(headers, header::ETAG, etag);
        match self.max_age {
            None => set(headers, header::CACHE_CONTROL, under_ipfs),
            Some(age) => set(
                headers,
                header::CACHE_CONTROL,
                &format!("public, max-age={}", age.as_secs()),
            ),
        }
        self.describe(headers);
        response
    }

    /// 304, with the fields that a cache updates.
    pub(super) fn not_modified(&self, etag: &str) -> Response {
        let mut response = self.answer(etag);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(X_IPFS_ROOTS);
        response
    }

    /// 301 to the same path with a slash at its end.
    pub(super) fn to_slash(&self) -> Response {
        let mut location = format!("{}/", self.question.raw_path);
        if let Some(query) = &self.question.query {
            location.push('?');
            location.push_str(query);
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        set(response.headers_mut(), header::LOCATION, &location);
        self.describe(response.headers_mut());
        response
    }

    fn describe(&self, headers: &mut HeaderMap) {
        self.question.describe(headers);
        let roots: Vec<String> = self.resolved.roots.iter().map(ToString::to_string).collect();
        set(headers, X_IPFS_ROOTS, &roots.join(","));
    }

    /// The last segment of the path below the root.
    pub(super) fn name(&self) -> Option<&str> {
        let path = &self.question.inner_path;
        path.rsplit('/').find(|segment| !segment.is_empty())
    }

    /// `Content-Disposition` with the name that the client asked for, or `fallback`.
    pub(super) fn disposition(&self, headers: &mut HeaderMap, attachment: bool, fallback: Option<&str>) {
        disposition(headers, &self.question, attachment, fallback);
    }

    /// Says where a form that `Accept` chose is found by its URL alone.
    pub(super) fn content_location(&self, headers: &mut HeaderMap) {
        if let Some(format) = self.question.wanted.format.filter(|_| self.question.wanted.by_accept) {
            let query = self
                .question
                .query
                .as_ref()
                .map_or(String::new(), |query| format!("{query}&"));
            let location = format!("{}?{query}format={}", self.question.raw_path, format.query());
            set(headers, header::CONTENT_LOCATION, &location);
        }
    }
}

/// `Content-Disposition` with the name that the client asked for, or `fallback`.
pub(super) fn disposition(headers: &mut HeaderMap, question: &Question, attachment: bool, fallback: Option<&str>) {
    let Some(name) = question.filename.as_deref().or(fallback) else {
        return;
    };
    let how = if attachment || question.download {
        "attachment"
    } else {
        "inline"
    };
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && !matches!(c, '"' | '\\') {
                c
            } else {
                '_'
            }
        })
        .collect();
    set(
        headers,
        header::CONTENT_DISPOSITION,
        &format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{}", encode(name)),
    );
}

/// A page of content at a path has an origin of its own, which none of this server's answers share: what it runs reads nothing
/// here that pages of other sites do not read. It shows, runs, and leads to other pages and to downloads. At a host of its own
/// it has that origin anyway.
const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts");
/// Browsers show PDF in a viewer of their own, which does not work in a sandbox and runs nothing on the page's origin.
const PDF: &[u8] = b"application/pdf";

/// What browsers are told of every answer. Pages of any origin may read: everything here is public and nothing depends on who
/// asks.
pub(super) fn for_browsers(mut response: Response, mount: &Mount) -> Response {
    const FIELDS: [(HeaderName, &str); 4] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Content-Type, Range, User-Agent, X-Requested-With",
        ),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Content-Length, Content-Range, Ipfs-Uri, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output",
        ),
    ];
    let headers = response.headers_mut();
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    set_nosniff(headers);
    let is_pdf = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == PDF);
    if *mount == Mount::Path && !is_pdf {
        headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    }
    response
}
