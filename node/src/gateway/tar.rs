//! Files and directories as tar archives.
//!
//! Names come from strangers: one that leads out of the archive's root ends it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::Response;
use cid::Cid;

use super::answer::Destination;
use super::asking::Asking;
use super::body::{Pieces, body_within};
use super::dag::no_remainder;
use super::directory::list;
use super::file;
use super::format::Format;
use super::refusal::{Refusal, set};
use super::source::Source;
use crate::block::{DAG_PB, RAW};
use crate::tar::{DIRECTORY, END, FILE, SYMLINK, header, joined, padding};
use crate::unixfs::directory::Link;
use crate::unixfs::node::{Stat, stat};

/// The most entries that wait while one of their neighbours is sent.
pub(super) const MAX_WAITING: usize = 1 << 16;
/// The most bytes of where they are: each says the names of all directories that it is in.
pub(super) const MAX_WAITING_BYTES: usize = 8 << 20;

/// Answers with a tar archive.
///
/// # Errors
/// What the path leads to is no UnixFS, or its own blocks cannot be had. What is missing later ends the body early.
pub(super) async fn tar<S: Source>(asking: &Arc<Asking<S>>, destination: &Destination) -> Result<Response, Refusal> {
    no_remainder(destination)?;
    let cid = destination.resolved.cid;
    if !matches!(cid.codec(), DAG_PB | RAW) {
        let reason = format!(
            "{cid} is no file or directory, and is not shown as {}",
            Format::Tar.media_type()
        );
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, reason));
    }
    let etag = format!("W/\"{cid}.x-tar\"");
    if destination.question.has(&etag) {
        return Ok(destination.not_modified(&etag));
    }
    let mut sending = Sending {
        asking: Arc::clone(asking),
        waiting: Vec::new(),
        waiting_bytes: 0,
        file: None,
        padding: 0,
        ended: false,
        begun: None,
    };
    // The first entry is made now, so that what cannot be an archive is refused as a whole.
    sending.begun = Some(sending.entry(cid.to_string(), cid).await?);

    let mut response = destination.answer(&etag);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, Format::Tar.media_type());
    set(headers, header::ACCEPT_RANGES, "none");
    destination.disposition(headers, true, Some(&format!("{cid}.tar")));
    destination.content_location(headers);
    *response.body_mut() = body_within(asking.archive()?, sending);
    Ok(response)
}

/// An archive on its way to a client.
struct Sending<S: Source> {
    asking: Arc<Asking<S>>,
    /// Entries that come later, the next one last: where they are in the archive, and what they are.
    waiting: Vec<(String, Cid)>,
    /// Bytes of these places.
    waiting_bytes: usize,
    /// The content that follows the header that was sent.
    file: Option<file::Sending<S>>,
    /// Bytes between the end of that and the next record.
    padding: usize,
    /// A header that was made before it was asked for.
    begun: Option<Vec<u8>>,
    ended: bool,
}

impl<S: Source> Pieces for Sending<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        if let Some(begun) = self.begun.take() {
            return Ok(Some(begun.into()));
        }
        if let Some(file) = &mut self.file {
            if let Some(bytes) = file.next().await? {
                return Ok(Some(bytes));
            }
            self.file = None;
            if self.padding > 0 {
                return Ok(Some(vec![0; std::mem::take(&mut self.padding)].into()));
            }
        }
        if let Some((path, cid)) = self.waiting.pop() {
            self.waiting_bytes -= path.len();
            return Ok(Some(self.entry(path, cid).await?.into()));
        }
        let end = (!self.ended).then(|| Bytes::from_static(&END));
        self.ended = true;
        Ok(end)
    }
}

impl<S: Source> Sending<S> {
    /// The header of an entry; what follows it comes next.
    async fn entry(&mut self, path: String, cid: Cid) -> Result<Vec<u8>, Refusal> {
        let block = self.asking.block(&cid).await?;
        match stat(&block)? {
            Stat::File(size) => {
                self.file = Some(file::Sending::new(&self.asking, cid, 0..size));
                self.padding = padding(size);
                Ok(header(&path, FILE, size, b""))
            }
            Stat::Symlink(target) => Ok(header(&path, SYMLINK, 0, &target)),
            Stat::Directory => {
                let room = (MAX_WAITING - self.waiting.len(), MAX_WAITING_BYTES - self.waiting_bytes);
                let (links, more) = list(&self.asking, cid, room).await?;
                let too_much = || {
                    let reason =
                        format!("a directory in {cid} has too many entries, or too long names, for an archive");
                    Refusal::new(StatusCode::NOT_IMPLEMENTED, reason)
                };
                if more {
                    return Err(too_much());
                }
                for Link { name, cid, .. } in links.into_iter().rev() {
                    let place = joined(&path, &name).ok_or_else(|| {
                        let reason = format!("{name:?} in {path} would lie outside of the archive");
                        Refusal::new(StatusCode::BAD_GATEWAY, reason)
                    })?;
                    self.waiting_bytes += place.len();
                    if self.waiting_bytes > MAX_WAITING_BYTES {
                        return Err(too_much());
                    }
                    self.waiting.push((place, cid));
                }
                Ok(header(&format!("{path}/"), DIRECTORY, 0, b""))
            }
        }
    }
}
