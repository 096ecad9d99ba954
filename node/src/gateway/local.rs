//! The gateway for other peers, who ask over streams of libp2p: what is here, and proves itself.
//!
//! Specs: <https://github.com/libp2p/specs/blob/master/http/README.md>,
//! <https://specs.ipfs.tech/http-gateways/trustless-gateway/>. What Kubo serves so (`Experimental.GatewayOverLibp2p`), and records of
//! names.

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use cid::Cid;
use serde_json::json;

use super::options::{Audience, Options};
use super::source::{NameValue, Source, SourceError};
use super::{peer, router};
use crate::block::Block;
use crate::denylist::Denylist;
use crate::ipns::Names;
use crate::peer::Node;
use crate::store::{Blocks as _, Store};
use crate::threads::blocking;

/// Where it is said which protocols are spoken over HTTP.
const WELL_KNOWN: &str = "/.well-known/libp2p/protocols";
/// The protocol of a trustless gateway.
const GATEWAY: &str = "/ipfs/gateway";

/// The gateway for other peers: blocks, CARs and records of what `source` has, and the resource that says so.
pub fn for_peers<S: Source>(source: S, denylist: Denylist) -> Router {
    let options = Options {
        trustless: true,
        denylist,
        // Whether anything is fetched is for the source to say.
        fetching: Audience::Anybody,
        convert: false,
        ..Options::default()
    };
    Router::new()
        .route(WELL_KNOWN, get(protocols))
        .merge(router(source, options))
}

/// Which protocols are spoken, and where: as the spec has it, and beside that as go-libp2p has it, which reads and writes the map
/// without what is around it.
async fn protocols(headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|field| field.to_str().ok()).peekable();
    let reads_json = |field: &str| field.contains("application/json") || field.contains("*/*");
    if accepted.peek().is_some() && !accepted.any(reads_json) {
        return (StatusCode::NOT_ACCEPTABLE, "only application/json is supported\n").into_response();
    }
    let gateway = json!({ "path": "/" });
    let body = json!({ "protocols": { GATEWAY: gateway }, GATEWAY: gateway });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// What a peer has in its store, and the names that are its own or followed here. Nobody is asked for anything else; nor is it
/// told what was fetched lately, or which names were looked up, for somebody on this machine.
pub struct LocalSource {
    store: Store,
    names: Names,
}

impl LocalSource {
    /// A source over the store that a peer serves from.
    pub fn new(store: Store, node: &Node) -> Self {
        Self {
            store,
            names: node.names().clone(),
        }
    }
}

impl Source for LocalSource {
    type Session = ();

    fn session(&self, _: &[String]) {}

    async fn here(&self, cid: &Cid) -> Result<Option<Block>, SourceError> {
        let (store, cid) = (self.store.clone(), *cid);
        let found = blocking(move || store.get(&cid)).await;
        found.map_err(|error| SourceError::Failed(error.to_string()))
    }

    async fn block(&self, (): &(), cid: &Cid) -> Result<Block, SourceError> {
        Err(SourceError::NotFound(format!("{cid} is not here")))
    }

    async fn has(&self, cid: &Cid) -> bool {
        let (store, cid) = (self.store.clone(), *cid);
        blocking(move || store.has(&cid).unwrap_or(false)).await
    }

    async fn known_name(&self, name: &str) -> Result<Option<NameValue>, SourceError> {
        let name = peer::parsed(name)?;
        let status = self.names.status(&name).await.ok().flatten();
        match status.is_some_and(|status| status.own || status.followed) {
            true => Ok(self.names.at_hand(&name).await.map(peer::value)),
            false => Ok(None),
        }
    }

    async fn resolve_name(&self, name: &str) -> Result<NameValue, SourceError> {
        Err(SourceError::NotFound(format!("{name} is not kept here")))
    }
}
