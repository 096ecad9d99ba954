//! Datasets behind `http(s)://`, read by the Simple Transfer Protocol: plain GETs. What an odfs node has beside it, the chain
//! as one file and many objects in one answer, is asked for where it pays.

mod agent;

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use ureq::Proxy;
use ureq::http::Response;
use url::Url;

use odf_dataset::receive::{
    Arrival, Listener, MAX_NEW_BLOCK_BYTES, MAX_NEW_BLOCKS, ObjectReader, Progress, ReceiveError, Source, SourceError,
    in_parallel, tell,
};
use odf_dataset::{Dataset, Object};
use odf_metadata::Multihash;
use odf_metadata::codec::MAX_BLOCK_BYTES;

use crate::brought::Brought;
use crate::files::{self, MAX_HEAD_BYTES};
use crate::together::{self, MEDIA_TYPE, Name, OBJECTS_FILE, TakeError};
use crate::{ReadError, with_slash};

#[cfg(test)]
pub(crate) use agent::REPEATS;
pub use agent::{MAX_REDIRECTS, agent, ask};

/// The file that some servers have beside those of the protocol: every metadata block, oldest first, each behind its length
/// (see `docs/formats.md`). It can be had from any byte on, so what is new of a long chain is one request.
pub(crate) const CHAIN_FILE: &str = "chain";
/// For so many objects at a time it is thought about which go together: a list of all would be as long as the chain.
pub(crate) const OBJECTS_AT_A_TIME: usize = 1 << 13;
/// After so many metadata blocks of it whoever waits is asked whether it should go on.
const BLOCKS_PER_LOOK: u64 = 256;

/// How much of what a server says in place of a file is read.
pub(crate) const MAX_REFUSAL_BYTES: u64 = 4 << 10;
/// How much of a foreign text goes into a message.
pub(crate) const MAX_SHOWN_CHARS: usize = 400;

/// Why a request failed.
pub(crate) fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::RequireHttpsOnly(_) => {
            "it leads from HTTPS to plain HTTP, where anybody on the way could change it; that is not followed"
                .to_owned()
        }
        error => error.to_string(),
    }
}

/// A refusal in the server's words.
pub(crate) fn denied(url: String, status: u16, response: Response<ureq::Body>) -> ReadError {
    let reason = words_of(response);
    ReadError::Denied { url, status, reason }
}

/// What a server says in place of what it was asked for, shortened.
pub(crate) fn words_of(response: Response<ureq::Body>) -> String {
    let mut body = Vec::new();
    // Without its words the status has to do.
    let _ = response
        .into_body()
        .into_reader()
        .take(MAX_REFUSAL_BYTES)
        .read_to_end(&mut body);
    message_in(&body)
}

/// The message in the body of an HTTP refusal.
pub(crate) fn message_in(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        message: String,
    }
    let text = serde_json::from_slice::<Body>(body).map(|body| body.message);
    let text = text.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
    match text.trim() {
        "" => "it gave no reason".to_owned(),
        text => shown(text),
    }
}

/// As much of a foreign text as goes into a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// A dataset behind a URL.
pub struct HttpSource {
    agent: ureq::Agent,
    base: Url,
    token: Option<String>,
    /// Metadata blocks of the chain file, once it was asked for.
    brought: OnceLock<Brought>,
    /// The server does not give many objects in one answer.
    singly: AtomicBool,
}

impl HttpSource {
    /// The dataset whose `refs/head` is below `base`. `token` is sent as a bearer token to that host only.
    pub fn new(base: &Url, token: Option<String>) -> Self {
        Self {
            agent: agent(base.as_str(), None),
            base: with_slash(base),
            token,
            brought: OnceLock::new(),
            singly: AtomicBool::new(false),
        }
    }

    /// The same, asked through a proxy.
    #[must_use]
    pub fn through(mut self, proxy: Option<&Proxy>) -> Self {
        self.agent = agent(self.base.as_str(), proxy);
        self
    }

    /// Asks for a file; nothing if the server says that there is none.
    fn get(&self, file: &str) -> Result<Option<Response<ureq::Body>>, ReadError> {
        self.get_from(file, 0)
    }

    /// Asks for a file from a byte on. A server may give all of it all the same.
    fn get_from(&self, file: &str, from: u64) -> Result<Option<Response<ureq::Body>>, ReadError> {
        let url = self.url(file);
        let answer = ask(|| {
            let mut request = self.agent.get(&url);
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            request.call()
        });
        let response = answer.map_err(|error| ReadError::Unreachable {
            url: url.clone(),
            reason: in_words(&error),
        })?;
        match response.status().as_u16() {
            200..=299 => Ok(Some(response)),
            404 | 410 => Ok(None),
            status @ (401 | 403 | 421) => Err(denied(url, status, response)),
            status => Err(ReadError::Status { url, status }),
        }
    }

    /// Brings small objects, many in one answer, if the server does that. Gives those that are still to be brought, one by
    /// one: all others are here, and have their names.
    ///
    /// # Errors
    /// An object is not what it should be or finds no place, or the listener wants it to stop. That the server gave something
    /// else, or less, is no error.
    pub(crate) fn together(
        &self,
        objects: &[Object],
        arrival: &Arrival,
        listener: &Listener<'_>,
    ) -> Result<Vec<Object>, ReceiveError> {
        let bodies = together::bodies(objects);
        let Some((first, rest)) = bodies.split_first() else {
            return Ok(objects.to_vec());
        };
        let arrived = Mutex::new(HashSet::new());
        let bring = |body: &Vec<Object>| match self.singly.load(Ordering::Acquire) {
            true => Ok(()),
            false => self.bring(body, arrival, &arrived, listener),
        };
        // By itself: it tells whether the server knows of this at all.
        bring(first)?;
        in_parallel(rest, &bring)?;
        arrival.settle()?;
        let arrived = arrived.into_inner().unwrap_or_else(PoisonError::into_inner);
        let left = objects.iter().filter(|object| !arrived.contains(*object));
        Ok(left.copied().collect())
    }

    /// Brings the objects of one answer, and says which came.
    fn bring(
        &self,
        wanted: &[Object],
        arrival: &Arrival,
        arrived: &Mutex<HashSet<Object>>,
        listener: &Listener<'_>,
    ) -> Result<(), ReceiveError> {
        let (url, list) = (self.url(OBJECTS_FILE), together::list(wanted));
        let answer = ask(|| {
            let mut request = self
                .agent
                .post(&url)
                .header("content-type", "text/plain; charset=utf-8");
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            request.send(list.as_bytes())
        });
        let response = match answer {
            Ok(response) if response.status().as_u16() == 200 && is_of(&response, MEDIA_TYPE) => response,
            // Most servers do not know of it. What else is wrong the next request tells.
            answer => {
                let answer = answer.map(|response| response.status());
                tracing::debug!(?answer, "objects are read one by one");
                self.singly.store(true, Ordering::Release);
                return Ok(());
            }
        };
        let wanted: HashMap<Name, Object> = wanted
            .iter()
            .map(|object| ((object.kind, object.hash), *object))
            .collect();
        let mut arrived = |object| {
            let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.insert(object);
        };
        let wanted = |name: &Name| wanted.get(name).copied();
        match together::take(
            response.into_body().into_reader(),
            arrival,
            &wanted,
            &mut arrived,
            listener,
        ) {
            Err(TakeError::Receive(error)) if !matches!(error, ReceiveError::Broken { .. }) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "the rest of the objects of an answer is read one by one");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// A small file, whole.
    fn small(&self, file: &str, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(response) = self.get(file)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(limit as u64 + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error: io::Error| ReadError::Unreachable {
                url: self.url(file),
                reason: error.to_string(),
            })?;
        if bytes.len() > limit {
            return Err(ReadError::TooLong {
                place: self.base.to_string(),
                file: file.to_owned(),
                limit,
            });
        }
        Ok(Some(bytes))
    }

    fn url(&self, file: &str) -> String {
        format!("{}{file}", self.base)
    }

    fn missing(&self, file: String) -> ReadError {
        ReadError::Missing {
            place: self.base.to_string(),
            file,
        }
    }

    /// The bytes of an object.
    pub(super) fn object(&self, object: &Object) -> Result<ObjectReader<'static>, ReadError> {
        let file = object.to_string();
        match self.get(&file)? {
            Some(response) => Ok(Box::new(response.into_body().into_reader())),
            None => Err(self.missing(file)),
        }
    }
}

impl Source for HttpSource {
    fn place(&self) -> &str {
        self.base.as_str()
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        let bytes = self.small("refs/head", MAX_HEAD_BYTES)?;
        Ok(bytes.map(|bytes| files::parse_head(&bytes, self.place())).transpose()?)
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        if let Some(brought) = self.brought.get()
            && let Some(bytes) = brought.get(hash).map_err(SourceError::new)?
        {
            return Ok(bytes);
        }
        let file = format!("blocks/{hash}");
        let bytes = self.small(&file, MAX_BLOCK_BYTES)?;
        Ok(bytes.map(Bytes::from).ok_or_else(|| self.missing(file))?)
    }

    fn bring_many(&self, local: Option<&Dataset>, aside: &Path, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        // A chain that goes on from the local one has the same bytes up to there. If it does not, what comes is of no use,
        // and no harm: nobody asks for it.
        let from = local.map_or(0, Dataset::chain_len);
        let response = match self.get_from(CHAIN_FILE, from) {
            Ok(Some(response)) => response,
            // Most servers have no such file. What else is wrong the next request tells.
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "a chain is read block by block");
                return Ok(());
            }
        };
        let mut brought = Brought::beside(aside);
        take_entries(
            &mut BufReader::new(response.into_body().into_reader()),
            &mut brought,
            listener,
        )?;
        if brought.count() > 0 {
            let _ = self.brought.set(brought);
        }
        Ok(())
    }

    fn is_far(&self) -> bool {
        self.brought.get().is_none()
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        for some in objects.chunks(OBJECTS_AT_A_TIME) {
            let left = self.together(some, arrival, listener)?;
            arrival.take(&left, &|object| Ok(self.object(object)?), listener)?;
        }
        Ok(())
    }
}

/// Whether an answer says that it is of this kind.
fn is_of(response: &Response<ureq::Body>, media_type: &str) -> bool {
    let found = response
        .headers()
        .get("content-type")
        .and_then(|found| found.to_str().ok());
    found.is_some_and(|found| found.eq_ignore_ascii_case(media_type))
}

/// Reads the entries of a chain file up to its end, up to the first that is none, or as many as are taken at once.
fn take_entries(reader: &mut impl Read, brought: &mut Brought, listener: &Listener<'_>) -> Result<(), ReceiveError> {
    while brought.count() < MAX_NEW_BLOCKS {
        let mut length = [0; 4];
        if reader.read_exact(&mut length).is_err() {
            break;
        }
        let length = u32::from_le_bytes(length);
        let is_one = length > 0 && length as usize <= MAX_BLOCK_BYTES;
        if !is_one || brought.bytes() + u64::from(length) > MAX_NEW_BLOCK_BYTES {
            break;
        }
        let mut bytes = vec![0; length as usize];
        if reader.read_exact(&mut bytes).is_err() {
            break;
        }
        brought.add(&Multihash::sha3_256(&bytes), &bytes)?;
        if brought.count().is_multiple_of(BLOCKS_PER_LOOK) {
            tell(listener, Progress::Bytes(0))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;

    #[test]
    fn a_chain_file_is_read_up_to_what_is_no_block() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = [1, 2, 3, 4].map(|number: u8| vec![number; 100 + usize::from(number)]);
        let whole: Vec<u8> = blocks.iter().flat_map(|block| entry(block)).collect();
        let read = |file: &[u8]| {
            let mut brought = Brought::beside(dir.path());
            take_entries(&mut &file[..], &mut brought, &|_| ControlFlow::Continue(())).unwrap();
            brought
        };
        let brought = read(&whole);
        for block in &blocks {
            let found = brought.get(&Multihash::sha3_256(block)).unwrap();
            assert_eq!(found.as_deref(), Some(&block[..]));
        }
        assert!(brought.get(&Multihash::sha3_256(b"no block")).unwrap().is_none());
        // Cut at every byte; followed by an entry of no length, by one at the limit of a block, and by one over it.
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).count() < 4);
        }
        let followed = |length: usize| {
            let more = [&whole[..], &entry(&vec![7; length])].concat();
            read(&more).count()
        };
        assert_eq!(followed(0), 4);
        assert_eq!(followed(MAX_BLOCK_BYTES), 5);
        assert_eq!(followed(MAX_BLOCK_BYTES + 1), 4);
    }

    #[test]
    fn a_wish_to_stop_ends_the_reading_of_a_chain_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = entry(&[1]).repeat(usize::try_from(BLOCKS_PER_LOOK).unwrap());
        let mut brought = Brought::beside(dir.path());
        let stopped = take_entries(&mut &file[..], &mut brought, &|_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(ReceiveError::Cancelled(_))));
    }

    fn entry(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&length.to_le_bytes()[..], bytes].concat()
    }

    #[test]
    fn bodies_of_refusals_are_read_or_shown() {
        assert_eq!(
            message_in(br#"{"message":"Incompatible client version"}"#),
            "Incompatible client version"
        );
        assert_eq!(message_in(b"plain"), "plain");
        assert_eq!(message_in(b""), "it gave no reason");
    }
}
