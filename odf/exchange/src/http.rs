//! Datasets behind `http(s)://`, read by the Simple Transfer Protocol: plain GETs, nothing else.

mod agent;

use std::io::{self, Read};

use bytes::Bytes;
use ureq::http::Response;
use url::Url;

use odf_dataset::Object;
use odf_dataset::receive::{Arrival, Listener, ObjectReader, ReceiveError, Source, SourceError};
use odf_metadata::Multihash;
use odf_metadata::codec::MAX_BLOCK_BYTES;

use crate::files::{self, MAX_HEAD_BYTES};
use crate::{ReadError, with_slash};

pub use agent::{MAX_REDIRECTS, agent, ask};

/// How much of what a server says in place of a file is read.
pub(crate) const MAX_REFUSAL_BYTES: u64 = 4 << 10;
/// How much of a foreign text goes into a message.
pub(crate) const MAX_SHOWN_CHARS: usize = 400;

/// Why a request failed.
pub(crate) fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::RequireHttpsOnly(_) => {
            "it leads from HTTPS to plain HTTP, where anybody on the way could change it; that is not followed"
                .to_owned()
        }
        error => error.to_string(),
    }
}

/// A refusal in the server's words.
pub(crate) fn denied(url: String, status: u16, response: Response<ureq::Body>) -> ReadError {
    let reason = words_of(response);
    ReadError::Denied { url, status, reason }
}

/// What a server says in place of what it was asked for, shortened.
pub(crate) fn words_of(response: Response<ureq::Body>) -> String {
    let mut body = Vec::new();
    // Without its words the status has to do.
    let _ = response
        .into_body()
        .into_reader()
        .take(MAX_REFUSAL_BYTES)
        .read_to_end(&mut body);
    message_in(&body)
}

/// The message in the body of an HTTP refusal.
pub(crate) fn message_in(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        message: String,
    }
    let text = serde_json::from_slice::<Body>(body).map(|body| body.message);
    let text = text.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
    match text.trim() {
        "" => "it gave no reason".to_owned(),
        text => shown(text),
    }
}

/// As much of a foreign text as goes into a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// A dataset behind a URL.
pub struct HttpSource {
    agent: ureq::Agent,
    base: Url,
    token: Option<String>,
}

impl HttpSource {
    /// The dataset whose `refs/head` is below `base`. `token` is sent as a bearer token to that host only.
    pub fn new(base: &Url, token: Option<String>) -> Self {
        Self {
            agent: agent(base.as_str()),
            base: with_slash(base),
            token,
        }
    }

    /// Asks for a file; nothing if the server says that there is none.
    fn get(&self, file: &str) -> Result<Option<Response<ureq::Body>>, ReadError> {
        let url = self.url(file);
        let answer = ask(|| {
            let mut request = self.agent.get(&url);
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            request.call()
        });
        let response = answer.map_err(|error| ReadError::Unreachable {
            url: url.clone(),
            reason: in_words(&error),
        })?;
        match response.status().as_u16() {
            200..=299 => Ok(Some(response)),
            404 | 410 => Ok(None),
            status @ (401 | 403) => Err(denied(url, status, response)),
            status => Err(ReadError::Status { url, status }),
        }
    }

    /// A small file, whole.
    fn small(&self, file: &str, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(response) = self.get(file)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(limit as u64 + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error: io::Error| ReadError::Unreachable {
                url: self.url(file),
                reason: error.to_string(),
            })?;
        if bytes.len() > limit {
            return Err(ReadError::TooLong {
                place: self.base.to_string(),
                file: file.to_owned(),
                limit,
            });
        }
        Ok(Some(bytes))
    }

    fn url(&self, file: &str) -> String {
        format!("{}{file}", self.base)
    }

    fn missing(&self, file: String) -> ReadError {
        ReadError::Missing {
            place: self.base.to_string(),
            file,
        }
    }

    /// The bytes of an object.
    pub(super) fn object(&self, object: &Object) -> Result<ObjectReader<'static>, ReadError> {
        let file = object.to_string();
        match self.get(&file)? {
            Some(response) => Ok(Box::new(response.into_body().into_reader())),
            None => Err(self.missing(file)),
        }
    }
}

impl Source for HttpSource {
    fn place(&self) -> &str {
        self.base.as_str()
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        let bytes = self.small("refs/head", MAX_HEAD_BYTES)?;
        Ok(bytes.map(|bytes| files::parse_head(&bytes, self.place())).transpose()?)
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        let file = format!("blocks/{hash}");
        let bytes = self.small(&file, MAX_BLOCK_BYTES)?;
        Ok(bytes.map(Bytes::from).ok_or_else(|| self.missing(file))?)
    }

    fn is_far(&self) -> bool {
        true
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        arrival.take(objects, &|object| Ok(self.object(object)?), listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_refusals_are_read_or_shown() {
        assert_eq!(
            message_in(br#"{"message":"Incompatible client version"}"#),
            "Incompatible client version"
        );
        assert_eq!(message_in(b"plain"), "plain");
        assert_eq!(message_in(b""), "it gave no reason");
    }
}
