//! Files and directories as tar archives.
//!
//! Headers are those of POSIX (ustar), with a pax header before where a name is not short ASCII or a file is 8 GiB and more.
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
use crate::unixfs::directory::Link;
use crate::unixfs::node::{Stat, stat};

/// The most entries that wait while one of their neighbours is sent.
pub(super) const MAX_WAITING: usize = 1 << 16;
/// The most bytes of where they are: each says the names of all directories that it is in.
pub(super) const MAX_WAITING_BYTES: usize = 8 << 20;
const RECORD: usize = 512;
/// The first size that the field of a header cannot hold.
const HUGE: u64 = 1 << 33;

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
        let end = (!self.ended).then(|| vec![0; 2 * RECORD].into());
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
                self.padding = usize::try_from(size.wrapping_neg() % RECORD as u64).unwrap_or(0);
                Ok(header(&path, b'0', size, b""))
            }
            Stat::Symlink(target) => Ok(header(&path, b'2', 0, &target)),
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
                    let place = joined(&path, &name)?;
                    self.waiting_bytes += place.len();
                    if self.waiting_bytes > MAX_WAITING_BYTES {
                        return Err(too_much());
                    }
                    self.waiting.push((place, cid));
                }
                Ok(header(&format!("{path}/"), b'5', 0, b""))
            }
        }
    }
}

/// Where an entry of a directory is in the archive. The root has the one name without a slash.
fn joined(directory: &str, name: &str) -> Result<String, Refusal> {
    let mut segments: Vec<&str> = directory.split('/').collect();
    for segment in name.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
        if segments.is_empty() {
            break;
        }
    }
    let inside = segments.len() > 1 && segments.first() == directory.split('/').next().as_ref();
    if !inside || name.contains('\0') {
        let reason = format!("{name:?} in {directory} would lie outside of the archive");
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, reason));
    }
    Ok(segments.join("/"))
}

/// The header of one entry.
fn header(path: &str, kind: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let short = |text: &[u8]| text.len() < 100 && text.is_ascii();
    let mut records = Vec::new();
    if !short(path.as_bytes()) {
        record(&mut records, "path", path.as_bytes());
    }
    if !short(link) {
        record(&mut records, "linkpath", link);
    }
    if size >= HUGE {
        record(&mut records, "size", size.to_string().as_bytes());
    }
    let mut bytes = Vec::with_capacity(3 * RECORD);
    if !records.is_empty() {
        bytes.extend_from_slice(&plain(b"PaxHeader", b'x', records.len() as u64, b""));
        bytes.extend_from_slice(&records);
        bytes.resize(bytes.len().next_multiple_of(RECORD), 0);
    }
    bytes.extend_from_slice(&plain(path.as_bytes(), kind, if size < HUGE { size } else { 0 }, link));
    bytes
}

/// `{length} {key}={value}\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// A header with no room for anything long.
fn plain(path: &[u8], kind: u8, size: u64, link: &[u8]) -> [u8; RECORD] {
    let mut header = [0; RECORD];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    let mode: &[u8] = if kind == b'5' { b"0000755\0" } else { b"0000644\0" };
    put(0, &path[..path.len().min(99)]);
    put(100, mode);
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link[..link.len().min(99)]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_archive() {
        let at = |directory: &str, name: &str| joined(directory, name).ok();
        assert_eq!(at("b", "a").as_deref(), Some("b/a"));
        assert_eq!(at("b/c/d", "../file").as_deref(), Some("b/c/file"));
        assert_eq!(at("b", "a//./c").as_deref(), Some("b/a/c"));
        for (directory, name) in [
            ("b", ".."),
            ("b", "../a"),
            ("b", "../../a"),
            ("b/c", "../../b/x/../../a"),
            ("b", "."),
            ("b", "a\0"),
        ] {
            assert_eq!(at(directory, name), None, "{directory} {name}");
        }
    }

    #[test]
    fn long_values_have_a_record_that_counts_itself() {
        for length in [1, 90, 91, 92, 93, 990, 991, 992] {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; length]);
            let text = String::from_utf8(records).unwrap();
            let (count, _) = text.split_once(' ').unwrap();
            assert_eq!(count.parse::<usize>().unwrap(), text.len());
        }
        let huge = header("a", b'0', HUGE, b"");
        assert_eq!(huge.len(), 3 * RECORD);
        assert!(String::from_utf8_lossy(&huge).contains("size=8589934592\n"));
    }
}
