//! Where a server of the protocol is, and how it is asked.

use url::Url;

use crate::http::{self, HttpSource};
use crate::with_slash;

/// Where a server of the protocol has a dataset.
#[derive(Clone)]
pub struct Endpoint {
    /// Its address by plain HTTP, with a slash at its end.
    pub(super) http: Url,
    pub(super) token: Option<String>,
    pub(super) proxy: Option<ureq::Proxy>,
}

impl Endpoint {
    /// The dataset at `url`, which is `http://…` or `https://…`, with the token to show there and nowhere else.
    pub fn new(url: &Url, token: Option<String>) -> Self {
        Self {
            http: with_slash(url),
            token,
            proxy: None,
        }
    }

    /// The same, reached through a proxy: the WebSocket as well as plain requests.
    #[must_use]
    pub fn through(mut self, proxy: Option<&ureq::Proxy>) -> Self {
        self.proxy = proxy.cloned();
        self
    }

    /// Its plain files.
    pub(super) fn files(&self) -> HttpSource {
        HttpSource::new(&self.http, self.token.clone()).through(self.proxy.as_ref())
    }

    /// A client for plain requests.
    pub(super) fn agent(&self) -> ureq::Agent {
        http::agent(self.http.as_str(), self.proxy.as_ref())
    }

    /// The address, as it is shown.
    pub(super) fn shown(&self) -> String {
        format!("odf+{}", self.http)
    }
}

impl std::fmt::Debug for Endpoint {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("http", &self.http.as_str())
            .finish_non_exhaustive()
    }
}
