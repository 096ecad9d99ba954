//! Answers to plain HTTP requests, refusals above all.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use odf_dataset::DatasetError;
use odf_dataset::catalog::CatalogError;
use odf_dataset::receive::ReceiveError;

/// Why a request gets nothing: a status, and for people a JSON object `{"message": …}`, as kamu answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Something here is broken. What, the log tells; a stranger is not told of paths.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request to the repository failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Unknown { .. } => Self::not_found(error.to_string()),
            error => Self::internal(&error),
        }
    }
}

impl From<DatasetError> for Refusal {
    fn from(error: DatasetError) -> Self {
        Self::internal(&error)
    }
}

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        match blame(&error) {
            Some(message) => Self::bad_request(message),
            None => Self::internal(&error),
        }
    }
}

/// What the peer that sends something may know of why it was not taken; nothing if that is this server's own trouble.
pub(super) fn blame(error: &ReceiveError) -> Option<String> {
    match error {
        ReceiveError::Object { .. }
        | ReceiveError::Lacking(_)
        | ReceiveError::Broken { .. }
        | ReceiveError::NotAhead { .. }
        | ReceiveError::Busy(_)
        | ReceiveError::Dataset(
            DatasetError::Chain(_) | DatasetError::OtherDataset { .. } | DatasetError::HeadMoved { .. },
        )
        | ReceiveError::Catalog(CatalogError::NameTaken { .. }) => Some(error.to_string()),
        _ => None,
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Message<'a> {
            message: &'a str,
        }
        let mut response = json(&Message { message: &self.message });
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                fields.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let length = text.len() as u64;
    content("application/json", text, length)
}

/// A text.
pub(super) fn text(text: String) -> Response {
    let length = text.len() as u64;
    content("text/plain; charset=utf-8", text, length)
}

/// Bytes.
pub(super) fn bytes(body: impl Into<Body>, length: u64) -> Response {
    content("application/octet-stream", body, length)
}

fn content(media_type: &'static str, body: impl Into<Body>, length: u64) -> Response {
    let mut response = Response::new(body.into());
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
