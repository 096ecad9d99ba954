//! Who sends a request.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Server;
use super::answer::Refusal;
use super::request::blocking;
use crate::smart::messages::{VERSION, VERSION_HEADER};

/// Who sends a request, as an extension of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sender {
    /// Somebody, who may read.
    Anybody,
    /// The holder of a token, who may write.
    Holder {
        /// The label of the token.
        label: String,
    },
}

impl Sender {
    /// Lets holders of a token pass.
    pub(super) fn may_write(&self) -> Result<&str, Refusal> {
        match self {
            Self::Holder { label } => Ok(label),
            Self::Anybody => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "this needs a token; the owner of the server makes one with `odfs repo token add`",
            )),
        }
    }
}

/// Finds out who sends a request. A wrong token is refused even where none is needed, as kamu has it: whoever shows one
/// wants to know.
pub(super) async fn checked(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    match sender(&server, request.headers()).await {
        Ok(sender) => {
            request.extensions_mut().insert(sender);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn sender(server: &Arc<Server>, headers: &HeaderMap) -> Result<Sender, Refusal> {
    let Some(token) = bearer(headers)? else {
        return Ok(Sender::Anybody);
    };
    let (tokens, token) = (server.tokens.clone(), token.to_owned());
    match blocking(move || tokens.holder(&token)).await? {
        Ok(Some(label)) => Ok(Sender::Holder { label }),
        Ok(None) => Err(Refusal::new(StatusCode::UNAUTHORIZED, "Authentication token invalid")),
        Err(error) => Err(Refusal::internal(&error)),
    }
}

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let malformed = || Refusal::bad_request("Invalid Bearer token header");
    let text = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed());
    }
    Ok(Some(token.trim()))
}

/// Refuses clients of another version of the smart protocol.
pub(super) fn same_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let version = headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok());
    match version.map(str::parse::<i32>) {
        Some(Ok(VERSION)) => Ok(()),
        Some(Ok(_)) => Err(Refusal::bad_request("Incompatible client version")),
        _ => Err(Refusal::bad_request(format!("the header {VERSION_HEADER} is missing"))),
    }
}
