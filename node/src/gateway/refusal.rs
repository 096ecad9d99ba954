//! Refusals that say why, and setting header fields to what strangers wrote.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::source::SourceError;
use crate::dag::DagError;
use crate::unixfs::directory::DirectoryError;
use crate::unixfs::export::ExportError;
use crate::unixfs::node::NodeError;
use crate::unixfs::resolve::ResolveError;

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Why a request is not answered, or not here, and with which status.
pub(super) struct Refusal {
    status: StatusCode,
    reason: String,
    /// Whether the content was there, and the path in it was not.
    no_such_path: bool,
    /// Boxed, because every result carries room for a refusal.
    pub(super) headers: Box<HeaderMap>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            no_such_path: false,
            headers: Box::default(),
        }
    }

    /// 400.
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// A redirection.
    pub(super) fn elsewhere(status: StatusCode, location: &str) -> Self {
        Self::new(status, format!("it is at {location}")).with(header::LOCATION, location)
    }

    /// Whether the content was there, and the path in it was not.
    pub(super) fn is_no_such_path(&self) -> bool {
        self.no_such_path
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

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(format!("{}\n", self.reason)));
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        let headers = response.headers_mut();
        set(headers, header::CONTENT_TYPE, "text/plain; charset=utf-8");
        response
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        let status = match error {
            SourceError::NotFound(_) => StatusCode::NOT_FOUND,
            SourceError::Denied(_) => StatusCode::GONE,
            SourceError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            SourceError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            SourceError::BadName(_) => StatusCode::BAD_REQUEST,
            SourceError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let refusal = Self::new(status, error.to_string());
        match error {
            SourceError::Busy(_) => refusal.with(header::RETRY_AFTER, "1"),
            _ => refusal,
        }
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
        Self {
            no_such_path: matches!(error, ResolveError::NotFound { .. } | ResolveError::NothingBelow { .. }),
            ..Self::new(status, error.to_string())
        }
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

/// Tells clients not to guess a type.
pub(super) fn set_nosniff(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
}
