//! Answers: the header fields that all of them share, and refusals that say why.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::SourceError;
use super::question::{Question, encode};
use crate::dag::DagError;
use crate::unixfs::directory::DirectoryError;
use crate::unixfs::export::ExportError;
use crate::unixfs::node::NodeError;
use crate::unixfs::resolve::{ResolveError, Resolved};

const X_IPFS_PATH: HeaderName = HeaderName::from_static("x-ipfs-path");
const X_IPFS_ROOTS: HeaderName = HeaderName::from_static("x-ipfs-roots");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// How long an answer under `/ipfs` may be kept: content does not change.
const IMMUTABLE: &str = "public, max-age=29030400, immutable";
/// How long a page that this gateway made up may be kept: a later version may make another.
const GENERATED: &str = "public, max-age=604800, stale-while-revalidate=2678400";

/// Where a question has led.
pub(super) struct Place {
    pub(super) question: Question,
    pub(super) resolved: Resolved,
    /// How long the name at the beginning of the path holds; nothing without a name.
    pub(super) max_age: Option<Duration>,
}

impl Place {
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
        set_path(headers, &self.question);
        let roots: Vec<String> = self.resolved.roots.iter().map(ToString::to_string).collect();
        set(headers, X_IPFS_ROOTS, &roots.join(","));
    }

    /// `Content-Disposition` with the name that the client asked for, or `fallback`.
    pub(super) fn disposition(&self, headers: &mut HeaderMap, attachment: bool, fallback: Option<&str>) {
        let question = &self.question;
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

    /// Says where a form that `Accept` chose is found by its URL alone.
    pub(super) fn content_location(&self, headers: &mut HeaderMap) {
        if let Some(format) = self.question.format.filter(|_| self.question.format_from_accept) {
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

/// Why a request is not answered, and with which status.
pub(super) struct Refusal {
    status: StatusCode,
    reason: String,
    /// Boxed, because every result carries room for a refusal.
    headers: Box<HeaderMap>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            headers: Box::default(),
        }
    }

    /// 400.
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        set(&mut self.headers, name, value);
        self
    }

    /// Says which path was asked for.
    pub(super) fn at(mut self, question: &Question) -> Self {
        set_path(&mut self.headers, question);
        self
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(format!("{}\n", self.reason)));
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        let headers = response.headers_mut();
        set(headers, header::CONTENT_TYPE, "text/plain; charset=utf-8");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        response
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        let status = match error {
            SourceError::NotFound(_) => StatusCode::NOT_FOUND,
            SourceError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            SourceError::BadName(_) => StatusCode::BAD_REQUEST,
            SourceError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ResolveError> for Refusal {
    fn from(error: ResolveError) -> Self {
        let status = match &error {
            ResolveError::NotFound { .. } | ResolveError::NothingBelow { .. } => StatusCode::NOT_FOUND,
            ResolveError::TooLong => StatusCode::BAD_REQUEST,
            ResolveError::UnsupportedCodec { .. } => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, error.to_string())
    }
}

/// Content that is not what its CID's codec says is the fault of whoever made it: nothing to retry, nothing missing.
macro_rules! malformed_content {
    ($($error:ty),*) => {$(
        impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::new(StatusCode::BAD_GATEWAY, error.to_string())
            }
        }
    )*};
}

malformed_content!(DirectoryError, ExportError, NodeError, DagError);

/// Sets a header field whose value may hold what a stranger wrote: what no header field can hold is left out.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// `X-Ipfs-Path`: the path as people write it, or as it was sent where that cannot stand in a header field.
fn set_path(headers: &mut HeaderMap, question: &Question) {
    set(headers, X_IPFS_PATH, &question.raw_path);
    set(headers, X_IPFS_PATH, &question.path);
}

/// Tells clients not to guess a type.
pub(super) fn set_nosniff(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
}

/// Pages of any origin may read: everything here is public and nothing depends on who asks.
pub(super) fn with_cors(mut response: Response) -> Response {
    const FIELDS: [(HeaderName, &str); 4] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Content-Type, Range, User-Agent, X-Requested-With",
        ),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Content-Length, Content-Range, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output",
        ),
    ];
    for (name, value) in FIELDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The same body, which gives `permit` back when it has been sent or is dropped.
pub(super) fn holding(body: Body, permit: OwnedSemaphorePermit) -> Body {
    Body::from_stream(body.into_data_stream().map(move |part: Result<Bytes, axum::Error>| {
        let _held = &permit;
        part
    }))
}
