//! Finds out who sends a request, and how it came.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Server;
use super::answer::Refusal;
use super::request::blocking;
use super::sender::{Sender, Way};
use crate::smart::messages::{VERSION, VERSION_HEADER};
use odf_metadata::Timestamp;

/// How a request came here.
fn way(server: &Server, request: &Request) -> Way {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(address)| address.ip().to_canonical());
    if !peer.is_some_and(|peer| server.options.proxies.contains(&peer)) {
        return Way {
            from: peer,
            secure: false,
        };
    }
    // What the proxy itself has seen is the last field, and the last address in it; those before are what it was told.
    let text = |name: &str| request.headers().get_all(name).iter().next_back()?.to_str().ok();
    let client = text("x-forwarded-for").and_then(|list| list.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    Way {
        from: client.map(|client| client.to_canonical()).or(peer),
        secure: text("x-forwarded-proto").is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https")),
    }
}

/// Finds out who sends a request, and how it came. A wrong token is refused even where none is needed, as kamu has it:
/// whoever shows one wants to know.
pub(super) async fn checked(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let way = way(&server, &request);
    match sender(&server, request.headers()).await {
        Ok(sender) => {
            request.extensions_mut().insert(sender);
            request.extensions_mut().insert(way);
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
    let now = now()?;
    match blocking(move || tokens.holder(&token)).await? {
        Ok(Some(entry)) if entry.rights.have_expired(now) => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            format!(
                "the token {:?} has expired; the owner of the server makes another",
                entry.label
            ),
        )),
        Ok(Some(entry)) => Ok(Sender::Holder(Arc::new(entry))),
        Ok(None) => Err(Refusal::new(StatusCode::UNAUTHORIZED, "Authentication token invalid")),
        Err(error) => Err(Refusal::internal(&error)),
    }
}

/// What the clock shows. Without a time that can be written nobody knows what has expired.
pub(super) fn now() -> Result<Timestamp, Refusal> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let millis = since.and_then(|since| i64::try_from(since.as_millis()).ok());
    millis.and_then(Timestamp::from_millis).ok_or_else(|| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the clock of the server shows no time",
        )
    })
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
