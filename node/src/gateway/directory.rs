//! UnixFS: decides between file, directory and symlink, and lists directories.

use std::sync::Arc;

use axum::http::header;
use axum::response::Response;
use cid::Cid;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::answer::Destination;
use super::asking::{Asking, MAX_BLOCKS_AHEAD};
use super::refusal::{Refusal, set};
use super::source::Source;
use super::{file, held, html};
use crate::unixfs::directory::{Found, Link, Listing, Lookup};
use crate::unixfs::node::{Stat, stat};

/// The most entries that a listing shows.
pub(super) const MAX_ROWS: usize = 10_000;
/// The most bytes of names that a listing has: one may be nearly as long as a block, and a page says each several times.
pub(super) const MAX_NAME_BYTES: usize = 4 << 20;
/// Goes up when the page changes, so that caches fetch the new one.
const PAGE_VERSION: u32 = 3;
/// Served in place of a listing where a directory has it.
const INDEX: &str = "index.html";

/// Answers with whatever UnixFS entry the path leads to.
///
/// # Errors
/// Its blocks cannot be had, or are malformed.
pub(super) async fn entry<S: Source>(asking: &Arc<Asking<S>>, destination: &Destination) -> Result<Response, Refusal> {
    let name = destination.name();
    if destination.resolved.cid.codec() == crate::block::RAW {
        return file::file(asking, destination, name, &destination.resolved.cid).await;
    }
    let root = asking.block(&destination.resolved.cid).await?;
    match stat(&root)? {
        Stat::File(_) => file::file(asking, destination, name, &destination.resolved.cid).await,
        Stat::Directory => directory(asking, destination).await,
        Stat::Symlink(target) => {
            let etag = format!("\"{}\"", root.cid());
            if destination.question.has(&etag) {
                return Ok(destination.not_modified(&etag));
            }
            let mut response = destination.answer(&etag);
            set(response.headers_mut(), header::CONTENT_TYPE, "inode/symlink");
            file::bytes(asking, destination, response, &target, &etag)
        }
    }
}

async fn directory<S: Source>(asking: &Arc<Asking<S>>, destination: &Destination) -> Result<Response, Refusal> {
    if !destination.question.path.ends_with('/') {
        return Ok(destination.to_slash());
    }
    if let Some(index) = find(asking, destination.resolved.cid, INDEX).await? {
        let block = asking.block(&index.cid).await?;
        if matches!(stat(&block), Ok(Stat::File(_))) {
            return file::file(
                asking,
                &destination.entry(index.cid),
                Some(INDEX),
                &destination.resolved.cid,
            )
            .await;
        }
    }
    let etag = format!("\"DirIndex-{PAGE_VERSION}_CID-{}\"", destination.resolved.cid);
    if destination.question.has(&etag) {
        return Ok(destination.not_modified(&etag));
    }
    let (links, hidden) = list(asking, destination.resolved.cid, (MAX_ROWS, MAX_NAME_BYTES)).await?;
    let rows: Vec<_> = links
        .iter()
        .map(|link| html::Row {
            name: &link.name,
            size: link.tsize,
            cid: &link.cid,
        })
        .collect();
    let page = html::listing(&destination.question, &destination.resolved.cid, &rows, hidden);
    Ok(page_answer(asking, destination, &etag, page))
}

/// A page made here.
pub(super) fn page_answer<S: Source>(
    asking: &Arc<Asking<S>>,
    destination: &Destination,
    etag: &str,
    page: String,
) -> Response {
    let mut response = destination.generated(etag);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(headers, header::CONTENT_LENGTH, &page.len().to_string());
    *response.body_mut() = held::body(&asking.gateway.held, page.into());
    response
}

async fn find<S: Source>(asking: &Asking<S>, root: Cid, name: &str) -> Result<Option<Link>, Refusal> {
    let mut lookup = Lookup::new(name);
    let mut at = root;
    loop {
        match lookup.feed(&asking.block(&at).await?)? {
            Found::Entry(link) => return Ok(Some(link)),
            Found::Missing => return Ok(None),
            Found::Below(next) => at = next,
        }
    }
}

/// The entries in order of their names, and whether there are more than so many, or than so many bytes of names.
pub(super) async fn list<S: Source>(
    asking: &Asking<S>,
    root: Cid,
    (most, most_bytes): (usize, usize),
) -> Result<(Vec<Link>, bool), Refusal> {
    let mut listing = Listing::new(root);
    let (mut links, mut bytes): (Vec<Link>, usize) = (Vec::new(), 0);
    let mut under_way = FuturesUnordered::new();
    loop {
        // A sharded directory may have a node for every other entry: they are fetched side by side, where there is room.
        while under_way.len() < MAX_BLOCKS_AHEAD {
            let room = asking.ahead();
            if room.is_none() && !under_way.is_empty() {
                break;
            }
            let Some(cid) = listing.ask() else { break };
            under_way.push(async move { (asking.block(&cid).await, room) });
        }
        let Some((block, _room)) = under_way.next().await else {
            break;
        };
        let mut found = listing.feed(&block?)?;
        bytes += found.iter().map(|link| link.name.len()).sum::<usize>();
        links.append(&mut found);
        if links.len() > most || bytes > most_bytes {
            break;
        }
    }
    let more = links.len() > most || bytes > most_bytes;
    links.sort_by(|a, b| a.name.cmp(&b.name));
    links.truncate(most);
    Ok((links, more))
}

impl Destination {
    /// The destination of an entry of this directory that answers for it.
    fn entry(&self, cid: Cid) -> Destination {
        let mut resolved = self.resolved.clone();
        resolved.cid = cid;
        Destination {
            question: self.question.clone(),
            resolved,
            max_age: self.max_age,
        }
    }
}
