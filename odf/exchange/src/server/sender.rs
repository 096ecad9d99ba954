//! Who sends a request, what that somebody may do, and how the request came.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::StatusCode;

use super::answer::Refusal;
use super::tokens::{Entry, Verb};
use odf_dataset::DatasetName;

/// Who sends a request, as an extension of it.
#[derive(Debug, Clone)]
pub(super) enum Sender {
    /// Somebody, who may read what is shared.
    Anybody,
    /// The holder of a token, who may do what it says.
    Holder(Arc<Entry>),
}

impl Sender {
    /// The holder of a token, whatever it says.
    pub(super) fn holder(&self) -> Result<&Arc<Entry>, Refusal> {
        match self {
            Self::Holder(entry) => Ok(entry),
            Self::Anybody => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "this needs a token; the owner of the server makes one with `odfs repo token add`",
            )),
        }
    }

    /// Lets holders of a token pass that says so.
    pub(super) fn may(&self, verb: Verb, name: &DatasetName) -> Result<&Arc<Entry>, Refusal> {
        let entry = self.holder()?;
        match entry.rights.allow(verb, name) {
            true => Ok(entry),
            false => Err(Refusal::new(StatusCode::FORBIDDEN, forbidden(entry, verb, name))),
        }
    }
}

/// Why the holder of a token may not do something.
pub(super) fn forbidden(entry: &Entry, verb: Verb, name: &DatasetName) -> String {
    format!(
        "the token {:?} does not let its holder {verb} {name}; the owner of the server makes one that does with `odfs repo \
         token add`",
        entry.label
    )
}

/// How a request came here, as an extension of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Way {
    /// From which address, as far as that is known.
    pub(super) from: Option<IpAddr>,
    /// Whether it was encrypted on the way to the proxy that it came through.
    pub(super) secure: bool,
}
