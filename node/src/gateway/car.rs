//! CARs: the blocks that show a path, and what is below its end, as a stream that can be checked block by block.
//!
//! Spec: <https://specs.ipfs.tech/http-gateways/trustless-gateway/#car-responses-application-vnd-ipld-car>.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header;
use axum::response::Response;
use cid::Cid;

use super::ahead::{Ahead, MAX_LOT};
use super::answer::Destination;
use super::asking::Asking;
use super::body::{Pieces, body_within};
use super::dag::no_remainder;
use super::held::{Lent, PIECE_BYTES, Piece};
use super::refusal::{Refusal, set};
use super::scope::Scope;
use super::source::Source;
use super::walk::{Met, Walk};
use crate::block::{Block, DAG_PB, RAW, inherent, sha2_256};
use crate::unixfs::export::{FileCursor, Step};
use crate::unixfs::node::{Stat, stat};
use crate::{car, dag, unixfs};

/// Answers with a CAR.
///
/// # Errors
/// The path leads on into its last block, or that block cannot be had. What is missing later ends the body early.
pub(super) async fn car<S: Source>(
    asking: &Arc<Asking<S>>,
    destination: &Destination,
    trail: Vec<Cid>,
) -> Result<Response, Refusal> {
    no_remainder(destination)?;
    let selection = destination.question.wanted.selection;
    let cid = destination.resolved.cid;
    let etag = etag(destination);
    if destination.question.has(&etag) {
        return Ok(destination.not_modified(&etag));
    }
    let last = asking.block(&cid).await?;
    let rest = Rest::of(asking, destination, &last);

    let mut response = destination.answer(&etag);
    let headers = response.headers_mut();
    let dups = if selection.dups { 'y' } else { 'n' };
    let kind = format!("application/vnd.ipld.car; version=1; order=dfs; dups={dups}");
    set(headers, header::CONTENT_TYPE, &kind);
    set(headers, header::ACCEPT_RANGES, "none");
    destination.disposition(headers, true, Some(&file_name(destination)));
    destination.content_location(headers);
    let sending = Sending {
        head: Some(car::header(&[cid])),
        trail: trail.into_iter().filter(|before| *before != cid).collect(),
        rest,
        met: Met::new(selection.dups),
        block: None,
    };
    *response.body_mut() = body_within(asking.archive()?, sending);
    Ok(response)
}

/// Weak, because the same blocks may come in another way.
fn etag(destination: &Destination) -> String {
    let root = destination.resolved.roots.first().unwrap_or(&destination.resolved.cid);
    let said = format!(
        "{} {:?}",
        destination.resolved.cid, destination.question.wanted.selection
    );
    let hash = Cid::new_v1(RAW, sha2_256(said.as_bytes()));
    format!("W/\"{root}.car.{hash}\"")
}

/// `{root}_{last segment}.car`.
fn file_name(destination: &Destination) -> String {
    let root = destination.resolved.roots.first().unwrap_or(&destination.resolved.cid);
    match destination.name() {
        Some(name) => format!("{root}_{name}.car"),
        None => format!("{root}.car"),
    }
}

/// What follows the blocks of the path.
enum Rest<S: Source> {
    Walk(Walk<S>),
    Part { ahead: Ahead<S>, cursor: FileCursor },
}

impl<S: Source> Rest<S> {
    fn of(asking: &Arc<Asking<S>>, destination: &Destination, last: &Block) -> Self {
        let cid = *last.cid();
        let selection = destination.question.wanted.selection;
        let file_size = match stat(last) {
            Ok(Stat::File(size)) => Some(size),
            _ => None,
        };
        match (selection.scope, selection.bytes, file_size) {
            (Scope::Block, ..) => Self::Walk(Walk::new(asking, cid, |_| Ok(Vec::new()))),
            (Scope::All, ..) => Self::Walk(Walk::new(asking, cid, |block| Ok(dag::links(block)?))),
            (Scope::Entity, Some(bytes), Some(size)) => {
                let range = bytes.within(size);
                if range.is_empty() {
                    return Self::Walk(Walk::new(asking, cid, |_| Ok(Vec::new())));
                }
                Self::Part {
                    ahead: Ahead::new(asking),
                    cursor: FileCursor::with_range(cid, range),
                }
            }
            (Scope::Entity, ..) => Self::Walk(Walk::new(asking, cid, own_blocks)),
        }
    }

    fn ahead(&mut self) -> &mut Ahead<S> {
        match self {
            Self::Walk(walk) => &mut walk.ahead,
            Self::Part { ahead, .. } => ahead,
        }
    }

    async fn next(&mut self, met: &mut Met) -> Result<Option<Block>, Refusal> {
        let (ahead, cursor) = match self {
            Self::Walk(walk) => return walk.next(met).await,
            Self::Part { ahead, cursor } => (ahead, cursor),
        };
        loop {
            match cursor.step() {
                Step::Need(cid) => {
                    let block = ahead.block(&cid, cursor.upcoming().take(MAX_LOT)).await?;
                    cursor.feed(&block)?;
                    if met.is_new(&cid)? && inherent(&cid).is_none() {
                        return Ok(Some(block));
                    }
                }
                Step::Data { .. } => {}
                Step::Done => return Ok(None),
            }
        }
    }
}

/// The blocks below that make up the same file or directory.
fn own_blocks(block: &Block) -> Result<Vec<Cid>, Refusal> {
    if block.cid().codec() != DAG_PB {
        return Ok(Vec::new());
    }
    Ok(unixfs::directory::own_blocks(block)?)
}

/// A CAR on its way to a client.
struct Sending<S: Source> {
    head: Option<Vec<u8>>,
    /// The blocks of the path, before the last.
    trail: VecDeque<Cid>,
    rest: Rest<S>,
    met: Met,
    /// What has yet to be sent of a block: that, which it is, and what of it was sent.
    block: Option<(Lent, Cid, usize)>,
}

impl<S: Source> Pieces for Sending<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head.into()));
        }
        if let Some(bytes) = self.of_block().await? {
            return Ok(Some(bytes));
        }
        let mut bytes = Vec::new();
        // Small ones go together, as long as nothing is waited for.
        while bytes.len() < PIECE_BYTES && (bytes.is_empty() || self.rest.ahead().has_read()) {
            let Some(block) = self.next_block().await? else { break };
            bytes.extend_from_slice(&car::frame(block.cid(), block.data().len()));
            if block.data().len() > PIECE_BYTES {
                self.block = Some((self.lend(block.data().clone()), *block.cid(), 0));
                break;
            }
            bytes.extend_from_slice(block.data());
        }
        Ok((!bytes.is_empty()).then(|| bytes.into()))
    }
}

impl<S: Source> Sending<S> {
    /// The next bytes of the block that is being sent.
    async fn of_block(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let Some((lent, cid, sent)) = &mut self.block else {
                return Ok(None);
            };
            match lent.piece() {
                Piece::Bytes(bytes) => {
                    *sent += bytes.len();
                    return Ok(Some(bytes));
                }
                Piece::End => self.block = None,
                // Others had their turn meanwhile: it is read again.
                Piece::Gone => {
                    let (cid, sent) = (*cid, *sent);
                    let block = self.rest.ahead().asking.block(&cid).await?;
                    self.block = Some((self.lend(block.data().slice(sent..)), cid, sent));
                }
            }
        }
    }

    async fn next_block(&mut self) -> Result<Option<Block>, Refusal> {
        while let Some(cid) = self.trail.pop_front() {
            if inherent(&cid).is_none() && self.met.is_new(&cid)? {
                return Ok(Some(self.rest.ahead().asking.block(&cid).await?));
            }
        }
        self.rest.next(&mut self.met).await
    }

    fn lend(&mut self, bytes: Bytes) -> Lent {
        self.rest.ahead().asking.gateway.held.lend(bytes)
    }
}
