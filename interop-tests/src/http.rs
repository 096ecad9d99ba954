//! Asking a gateway, one request at a time, without following redirects.

use crate::{Failure, Outcome};
use std::time::Duration;
use ureq::http::{HeaderMap, Response};

/// How long a gateway may take to answer.
const LIMIT: Duration = Duration::from_secs(30);
/// The largest body that is read.
const MAX_BODY_BYTES: u64 = 256 << 20;

/// What a gateway answered.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header field as text; empty if it is absent or no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text, bad bytes replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET `url` with the given header fields.
///
/// # Errors
/// No answer came, or not in time. A status of 400 and above is an answer.
pub fn get(url: &str, headers: &[(&str, &str)]) -> Outcome<Answer> {
    ask(url, agent().get(url), headers)
}

/// HEAD `url` with the given header fields.
///
/// # Errors
/// As for [`get`].
pub fn head(url: &str, headers: &[(&str, &str)]) -> Outcome<Answer> {
    ask(url, agent().head(url), headers)
}

/// POST `body` to `url` with the given header fields.
///
/// # Errors
/// As for [`get`].
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome<Answer> {
    let mut request = agent().post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(url, request.send(body))
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(LIMIT))
        .build()
        .new_agent()
}

fn ask(
    url: &str,
    mut request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
    headers: &[(&str, &str)],
) -> Outcome<Answer> {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(url, request.call())
}

fn read(url: &str, response: Result<Response<ureq::Body>, ureq::Error>) -> Outcome<Answer> {
    let failed = |error: ureq::Error| Failure::new(format!("{url}: {error}"));
    let response = response.map_err(failed)?;
    let (parts, mut body) = response.into_parts();
    let body = body.with_config().limit(MAX_BODY_BYTES).read_to_vec().map_err(failed)?;
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}
