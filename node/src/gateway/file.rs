//! Files as streams of blocks, fetched a little ahead of the client.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::Response;
use cid::Cid;
use odf_doors::Seat;
use tokio::task::JoinHandle;

use super::answer::Destination;
use super::asking::Asking;
use super::held::{self, Lent, Piece};
use super::media;
use super::question::Span;
use super::refusal::{Refusal, set};
use super::source::{Source, SourceError};
use crate::block::Block;
use crate::unixfs::export::{FileCursor, Step};

/// The most blocks of one file that are fetched before their turn.
const READ_AHEAD: usize = 8;

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
    ranged(asking, destination, response, size, &etag)
}

/// Puts the part of the content that was asked for into an answer.
fn ranged<S: Source>(
    asking: &Arc<Asking<S>>,
    destination: &Destination,
    mut response: Response,
    size: u64,
    etag: &str,
) -> Result<Response, Refusal> {
    let (range, status) = match destination.question.span(size, etag) {
        Span::Whole => (0..size, StatusCode::OK),
        Span::Part { start, last } => {
            set(
                response.headers_mut(),
                header::CONTENT_RANGE,
                &format!("bytes {start}-{last}/{size}"),
            );
            (start..last + 1, StatusCode::PARTIAL_CONTENT)
        }
        Span::Unsatisfiable => return Err(unsatisfiable(size)),
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(headers, header::ACCEPT_RANGES, "bytes");
    set(headers, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    *response.body_mut() = Sending::new(asking, destination.resolved.cid, range).into_body();
    Ok(response)
}

/// Answers with bytes that are here, or the part of them that was asked for.
///
/// # Errors
/// The part does not exist.
pub(super) fn bytes<S: Source>(
    asking: &Arc<Asking<S>>,
    destination: &Destination,
    mut response: Response,
    data: &Bytes,
    etag: &str,
) -> Result<Response, Refusal> {
    let size = data.len() as u64;
    let data = match destination.question.span(size, etag) {
        Span::Whole => data.clone(),
        Span::Part { start, last } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(
                response.headers_mut(),
                header::CONTENT_RANGE,
                &format!("bytes {start}-{last}/{size}"),
            );
            // Both offsets are below the length of bytes in memory.
            data.slice(start as usize..=last as usize)
        }
        Span::Unsatisfiable => return Err(unsatisfiable(size)),
    };
    let headers = response.headers_mut();
    set(headers, header::ACCEPT_RANGES, "bytes");
    set(headers, header::CONTENT_LENGTH, &data.len().to_string());
    *response.body_mut() = held::body(&asking.gateway.held, data);
    Ok(response)
}

fn unsatisfiable(size: u64) -> Refusal {
    Refusal::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        format!("the content has {size} bytes"),
    )
    .with(header::CONTENT_RANGE, &format!("bytes */{size}"))
}

/// A file, or a range of it, being read.
struct Reader<S: Source> {
    asking: Arc<Asking<S>>,
    cursor: FileCursor,
    ahead: HashMap<Cid, Ahead>,
}

/// A block on its way before its turn. Dropping it cancels the fetch.
struct Ahead {
    task: JoinHandle<Result<Block, SourceError>>,
    _room: Seat,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: Source> Reader<S> {
    fn new(asking: &Arc<Asking<S>>, cursor: FileCursor) -> Self {
        Self {
            asking: Arc::clone(asking),
            cursor,
            ahead: HashMap::new(),
        }
    }

    /// The next bytes, or nothing at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            match self.cursor.step() {
                Step::Need(cid) => {
                    let block = self.fetch(&cid).await?;
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

    async fn fetch(&mut self, cid: &Cid) -> Result<Block, SourceError> {
        let early = self.ahead.remove(cid);
        self.fetch_ahead(cid);
        let Some(mut early) = early else {
            return self.asking.block(cid).await;
        };
        match (&mut early.task).await {
            Ok(result) => result,
            Err(error) => Err(SourceError::Failed(format!("fetching {cid}: {error}"))),
        }
    }

    /// Starts fetches of the blocks after `now`, as far as the limits allow.
    fn fetch_ahead(&mut self, now: &Cid) {
        let upcoming = self.cursor.upcoming().take(READ_AHEAD).filter(|cid| cid != now);
        for cid in upcoming {
            if self.ahead.contains_key(&cid) {
                continue;
            }
            let Some(room) = self.asking.ahead() else { return };
            let asking = Arc::clone(&self.asking);
            let task = tokio::spawn(async move { asking.block(&cid).await });
            self.ahead.insert(cid, Ahead { task, _room: room });
        }
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

    /// The next bytes, or nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            match self.block.as_ref().map(Lent::piece) {
                Some(Piece::Bytes(bytes)) => {
                    self.range.start += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                // Others had their turn meanwhile: from here on it is read again.
                Some(Piece::Gone) => *self = Self::new(&Arc::clone(&self.reader.asking), self.cid, self.range.clone()),
                Some(Piece::End) | None => {}
            }
            self.block = None;
            match self.reader.next().await? {
                Some(bytes) => self.block = Some(self.reader.asking.gateway.held.lend(bytes)),
                None => return Ok(None),
            }
        }
    }

    fn into_body(self) -> Body {
        Body::from_stream(futures::stream::try_unfold(self, |mut sending| async move {
            match sending.next().await {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes, sending))),
                Err(refusal) => {
                    // The status is out already: a body that ends before its length is how the client learns of it.
                    tracing::debug!(reason = refusal.reason(), "a body ends early");
                    Err(std::io::Error::other(refusal.reason().to_owned()))
                }
            }
        }))
    }
}
