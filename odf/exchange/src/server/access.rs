//! Finds out who sends a request, and how it came.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use odf_doors::{Client, client};
use url::Url;

use super::Server;
use super::answer::Refusal;
use super::request::blocking;
use super::sender::{Sender, Way};
use crate::smart::messages::{VERSION, VERSION_HEADER};
use odf_metadata::Timestamp;

/// How a request came here.
pub(super) fn way(server: &Server, request: &Request) -> Way {
    let Client { address, secure } = client(request.extensions(), request.headers(), &server.options.proxies);
    Way { from: address, secure }
}

/// Whether a request is of a page of another web site: what pages may read they would otherwise read with the reach of the
/// person who looks at them, whose own machine this may be.
pub(super) fn is_of_another_site(server: &Server, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Ok(origin) = Url::parse(origin.to_str().unwrap_or_default()) else {
        return true;
    };
    let public = server.options.public_url.as_ref();
    let own = text(&header::HOST).and_then(|host| Url::parse(&format!("{}://{host}/", origin.scheme())).ok());
    !own.iter().chain(public).any(|own| own.origin() == origin.origin())
}

/// Finds out who sends a request, and how it came. A wrong token is refused even where none is needed, as kamu has it:
/// whoever shows one wants to know.
pub(super) async fn checked(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let mut response = answered(server, request, next).await;
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // No page of another site shows or runs what is here.
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn answered(server: Arc<Server>, mut request: Request, next: Next) -> Response {
    if is_of_another_site(&server, request.headers()) {
        let words = "this repository is not for pages of other web sites";
        return Refusal::new(StatusCode::FORBIDDEN, words).into_response();
    }
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
