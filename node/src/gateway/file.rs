//! Files as streams of blocks, fetched a little ahead of the client.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::Response;
use cid::Cid;

use super::ahead::{Ahead, MAX_LOT};
use super::answer::Destination;
use super::asking::Asking;
use super::body::{Pieces, body};
use super::held::{self, Lent, Piece};
use super::media;
use super::parts::Parts;
use super::refusal::{Refusal, set};
use super::source::Source;
use crate::unixfs::export::{FileCursor, Step};

/// Answers with the file at a destination. `version` is what its tag is made from: its own root, or the directory that it
/// answers for.
///
/// # Errors
/// The blocks that the header fields depend on cannot be had. What is missing later ends the body early.
pub(super) async fn file<S: Source>(
    asking: &Arc<Asking<S>>,
    destination: &Destination,
    name: Option<&str>,
    version: &Cid,
) -> Result<Response, Refusal> {
    let cid = destination.resolved.cid;
    let etag = format!("\"{version}\"");
    if destination.question.has(&etag) {
        return Ok(destination.not_modified(&etag));
    }
    let mut start = Reader::new(asking, FileCursor::with_range(cid, 0..media::SNIFFED_BYTES));
    let name = destination.question.filename.as_deref().or(name);
    let media_type = match name.and_then(media::by_name) {
        Some(media_type) => media_type,
        None => media::by_content(&start.all().await?),
    };
    let size = start.size().await?;

    let mut response = destination.answer(&etag);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, media_type);
    destination.disposition(headers, false, None);
    let parts = Parts::of(destination.question.span(size, &etag), size, &mut response)?;
    *response.body_mut() = body(SendingParts {
        asking: Arc::clone(asking),
        cid,
        parts,
        under_way: None,
    });
    Ok(response)
}

/// Answers with bytes that are here, or the parts of them that were asked for.
///
/// # Errors
/// No such part exists.
pub(super) fn bytes<S: Source>(
    asking: &Arc<Asking<S>>,
    destination: &Destination,
    mut response: Response,
    data: &Bytes,
    etag: &str,
) -> Result<Response, Refusal> {
    let size = data.len() as u64;
    let parts = Parts::of(destination.question.span(size, etag), size, &mut response)?;
    *response.body_mut() = held::body(&asking.gateway.held, parts.cut(data));
    Ok(response)
}

/// The first bytes of a file, at most so many, which the caller knows to be few.
///
/// # Errors
/// Its blocks cannot be had, or are no file.
pub(super) async fn beginning<S: Source>(asking: &Arc<Asking<S>>, cid: Cid, most: u64) -> Result<Vec<u8>, Refusal> {
    Reader::new(asking, FileCursor::with_range(cid, 0..most)).all().await
}

/// A file, or a range of it, being read.
struct Reader<S: Source> {
    cursor: FileCursor,
    ahead: Ahead<S>,
}

impl<S: Source> Reader<S> {
    fn new(asking: &Arc<Asking<S>>, cursor: FileCursor) -> Self {
        Self {
            cursor,
            ahead: Ahead::new(asking),
        }
    }

    /// The next bytes, or nothing at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            match self.cursor.step() {
                Step::Need(cid) => {
                    let block = self.ahead.block(&cid, self.cursor.upcoming().take(MAX_LOT)).await?;
                    self.cursor.feed(&block)?;
                }
                Step::Data { bytes, .. } => return Ok(Some(bytes)),
                Step::Done => return Ok(None),
            }
        }
    }

    /// All bytes of the range, which the caller knows to be few.
    async fn all(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// The length of the whole file; fetches its root if that has not been read.
    async fn size(&mut self) -> Result<u64, Refusal> {
        while self.cursor.size().is_none() && self.next().await?.is_some() {}
        self.cursor
            .size()
            .ok_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "a file without a size"))
    }
}

/// A part of a file on its way to a client.
pub(super) struct Sending<S: Source> {
    cid: Cid,
    /// What has yet to be given to the connection.
    range: Range<u64>,
    reader: Reader<S>,
    block: Option<Lent>,
}

impl<S: Source> Sending<S> {
    pub(super) fn new(asking: &Arc<Asking<S>>, cid: Cid, range: Range<u64>) -> Self {
        Self {
            cid,
            reader: Reader::new(asking, FileCursor::with_range(cid, range.clone())),
            range,
            block: None,
        }
    }
}

impl<S: Source> Pieces for Sending<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            match self.block.as_ref().map(Lent::piece) {
                Some(Piece::Bytes(bytes)) => {
                    self.range.start += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                // Others had their turn meanwhile: from here on it is read again.
                Some(Piece::Gone) => {
                    *self = Self::new(&Arc::clone(&self.reader.ahead.asking), self.cid, self.range.clone())
                }
                Some(Piece::End) | None => {}
            }
            self.block = None;
            match self.reader.next().await? {
                Some(bytes) => self.block = Some(self.reader.ahead.asking.gateway.held.lend(bytes)),
                None => return Ok(None),
            }
        }
    }
}

/// Parts of a file on their way to a client, and what stands between them.
struct SendingParts<S: Source> {
    asking: Arc<Asking<S>>,
    cid: Cid,
    parts: Parts,
    under_way: Option<Sending<S>>,
}

impl<S: Source> Pieces for SendingParts<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            if let Some(sending) = &mut self.under_way {
                if let Some(bytes) = sending.next().await? {
                    return Ok(Some(bytes));
                }
                self.under_way = None;
            }
            let Some((head, range)) = self.parts.parts.pop_front() else {
                let tail = std::mem::take(&mut self.parts.tail);
                return Ok((!tail.is_empty()).then_some(tail));
            };
            self.under_way = Some(Sending::new(&self.asking, self.cid, range));
            if !head.is_empty() {
                return Ok(Some(head));
            }
        }
    }
}
