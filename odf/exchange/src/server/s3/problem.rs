//! Why a request gets nothing, as S3 says it.

use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use odf_dataset::DatasetError;

use super::super::answer::Refusal;
use super::xml;

/// A status, and an `Error` document with one of S3's codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn no_bucket(bucket: &str) -> Self {
        let message = format!("there is no dataset {bucket} that is shared; its owner shares it with `odfs share`");
        Self::new(StatusCode::NOT_FOUND, "NoSuchBucket", message)
    }

    pub(super) fn no_key(key: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchKey", format!("there is no key {key}"))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    pub(super) fn read_only() -> Self {
        let message = "these buckets are only read; `odfs push` brings something here";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.status {
            StatusCode::SERVICE_UNAVAILABLE => "SlowDown",
            StatusCode::NOT_FOUND => "NoSuchKey",
            _ => "InternalError",
        };
        Self::new(refusal.status, code, refusal.message)
    }
}

impl From<DatasetError> for Problem {
    fn from(error: DatasetError) -> Self {
        Refusal::internal(&error).into()
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidURI", "the path is not UTF-8")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = xml::document(&xml::error(self.code, &self.message));
        *response.status_mut() = self.status;
        response
    }
}
