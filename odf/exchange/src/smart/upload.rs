//! Objects on their way to where a server of the protocol wants them.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::SendBody;

use super::messages::TransferUrl;
use super::source::absolute;
use super::{Endpoint, SmartError};
use odf_dataset::receive::{Cancelled, Listener, Progress, tell};
use odf_dataset::{Dataset, Object};

use crate::PushError;
use crate::http::{self, MAX_REFUSAL_BYTES};
use crate::together::{self, MEDIA_TYPE};

/// Sends objects of one dataset.
pub(super) struct Uploads<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) place: &'a Endpoint,
    pub(super) agent: &'a ureq::Agent,
    /// Somebody else wants it to stop.
    pub(super) stop: &'a AtomicBool,
    pub(super) listener: &'a Listener<'a>,
}

/// What a PUT sends.
struct Content<'a, R> {
    /// For messages: this object, or this one and others.
    object: &'a Object,
    media_type: &'static str,
    length: u64,
    /// Opens it, from its beginning.
    open: &'a dyn Fn() -> io::Result<R>,
    /// Whether its bytes are those of objects, and the listener is told of them.
    is_told: bool,
}

/// A body on its way out: tells of its progress, and breaks off when it should stop.
struct Watched<'a, R> {
    content: R,
    /// How many of its bytes have been read, and how many were told of: more when they are sent again.
    read: u64,
    told: &'a mut u64,
    cancelled: &'a mut bool,
    stop: &'a AtomicBool,
    listener: &'a Listener<'a>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.read += read as u64;
        let new = self.read.saturating_sub(*self.told);
        *self.told += new;
        *self.cancelled |= (self.listener)(Progress::Bytes(new)).is_break();
        if *self.cancelled || self.stop.load(Ordering::Acquire) {
            return Err(io::Error::other("stopped"));
        }
        Ok(read)
    }
}

impl Uploads<'_> {
    /// PUTs one object where the server wants it.
    pub(super) fn send(&self, object: &Object, to: &TransferUrl) -> Result<(), PushError> {
        let path = object.path(self.dataset.dir());
        let file = File::open(&path).map_err(|source| PushError::Io {
            operation: "open",
            path: path.clone(),
            source,
        })?;
        let found = file.metadata().map_or(0, |found| found.len());
        if found != object.size {
            return Err(PushError::Damaged {
                path,
                expected: format!("{} bytes", object.size),
                found: format!("{found} bytes"),
            });
        }
        let content = Content {
            object,
            media_type: "application/octet-stream",
            length: object.size,
            open: &|| {
                (&file).rewind()?;
                Ok(&file)
            },
            is_told: true,
        };
        self.put(content, to)
    }

    /// PUTs many objects in one request.
    pub(super) fn send_many(&self, objects: &[Object], to: &TransferUrl) -> Result<(), PushError> {
        let Some(object) = objects.first() else { return Ok(()) };
        let names = || -> Vec<together::Name> { objects.iter().map(|object| (object.kind, object.hash)).collect() };
        let content = Content {
            object,
            media_type: MEDIA_TYPE,
            length: objects.iter().map(together::length_of).sum(),
            open: &|| Ok(together::Body::new(self.dataset.dir(), names())),
            is_told: false,
        };
        self.put(content, to)?;
        let sent = objects.iter().map(|object| object.size).sum();
        Ok(tell(self.listener, Progress::Bytes(sent))?)
    }

    fn put<R: Read>(&self, content: Content<'_, R>, to: &TransferUrl) -> Result<(), PushError> {
        let failed = |url: &str, reason: String| SmartError::Upload {
            object: *content.object,
            url: url.to_owned(),
            reason,
        };
        let (url, shown) =
            absolute(&self.place.http, &to.url).map_err(|reason| failed(&self.place.shown(), reason.to_owned()))?;
        let mut told = if content.is_told { 0 } else { u64::MAX };
        let mut cancelled = false;
        let sent = http::ask(|| {
            let mut body = Watched {
                content: (content.open)()?,
                read: 0,
                told: &mut told,
                cancelled: &mut cancelled,
                stop: self.stop,
                listener: self.listener,
            };
            let mut request = self.agent.put(url.as_str());
            for row in &to.headers {
                request = request.header(&row.name, &row.value);
            }
            request
                .header("content-type", content.media_type)
                .header("content-length", content.length.to_string())
                .send(SendBody::from_reader(&mut body))
        });
        if cancelled {
            return Err(Cancelled.into());
        }
        let response = sent.map_err(|error| failed(&shown, http::in_words(&error)))?;
        if response.status().is_success() {
            // With an answer that was not read to its end the connection is not used again.
            let mut rest = response.into_body().into_reader().take(MAX_REFUSAL_BYTES);
            let _ = io::copy(&mut rest, &mut io::sink());
            return Ok(());
        }
        let status = response.status().as_u16();
        let reason = http::words_of(response);
        Err(failed(&shown, format!("the server answered {status}: {reason}")).into())
    }
}
