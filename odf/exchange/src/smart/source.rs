//! A dataset at a server of the protocol, as a place that is read: its blocks come in bundles when it is opened.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use url::Url;

use super::channel::Channel;
use super::messages::{
    PullAccepted, PullMetadataRequest, PullMetadataResponse, PullObjectsRequest, PullObjectsResponse, PullRefused,
    PullRequest, PullResponse, TransferUrl,
};
use super::{Endpoint, OBJECTS_PER_REQUEST, SmartError, bundle, plan};
use odf_dataset::receive::{
    Arrival, Listener, MAX_NEW_BLOCK_BYTES, MAX_NEW_BLOCKS, ObjectReader, Progress, ReceiveError, Source, SourceError,
    tell,
};
use odf_dataset::{Dataset, Datasets, Object};
use odf_metadata::Multihash;

use crate::ReadError;
use crate::brought::Brought;
use crate::http::{self, HttpSource, OBJECTS_AT_A_TIME};

/// What a server of the protocol has that is not here, to be given to [`receive`](odf_dataset::receive::receive).
///
/// Blocks that are asked for but were in no bundle, as when two chains are compared that diverged, come by the simple
/// protocol, which such servers speak too.
pub struct SmartSource {
    shown: String,
    place: Endpoint,
    head: Option<Multihash>,
    brought: Brought,
    /// The server does not have the local head.
    diverged: bool,
    /// Tells where objects are; none once there is nothing left to ask, or nobody who answers.
    channel: Mutex<Option<Channel>>,
    http: HttpSource,
    agent: ureq::Agent,
}

impl SmartSource {
    /// Asks the server for everything after the head of `local`, or for all. With `force` it is asked for all also if it
    /// does not have that head. Many blocks are put aside in a file without a name beside `datasets`.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or does not follow the protocol, or has more than is taken at once. That there
    /// is no such dataset is no error yet: the source has no head then.
    pub fn open(
        place: Endpoint,
        datasets: &Datasets,
        local: Option<&Dataset>,
        force: bool,
        listener: &Listener<'_>,
    ) -> Result<Self, ReceiveError> {
        let agent = place.agent();
        let mut source = Self {
            shown: place.shown(),
            http: place.files(),
            head: None,
            brought: Brought::beside(datasets.catalog().dir()),
            diverged: false,
            channel: Mutex::default(),
            place,
            agent,
        };
        let mut begin_after = local.map(|dataset| *dataset.head());
        while let Some(channel) = Channel::open(&source.place, "pull")? {
            begin_after = source.fetch(channel, begin_after, force, listener)?;
            if begin_after.is_none() {
                break;
            }
        }
        Ok(source)
    }

    /// Fetches the blocks after one, as many as the server gives in one transfer. Gives the last of them if there are more.
    fn fetch(
        &mut self,
        mut channel: Channel,
        begin_after: Option<Multihash>,
        force: bool,
        listener: &Listener<'_>,
    ) -> Result<Option<Multihash>, ReceiveError> {
        channel.send(&PullRequest {
            begin_after,
            stop_at: None,
            force_update_if_diverged: force,
            pages: true,
        })?;
        let answer: PullResponse = channel.receive(listener)?;
        let PullAccepted { transfer_plan, more } = match answer {
            Ok(accepted) => accepted,
            Err(PullRefused::InvalidInterval { head, .. }) => {
                // How the two chains stand to each other is found out by reading that one.
                self.head = Some(head);
                self.diverged = true;
                channel.close();
                return Ok(None);
            }
            Err(PullRefused::SeedBlockOverwriteRestricted(_)) => {
                let place = self.shown.clone();
                return Err(SmartError::OtherDataset { place }.into());
            }
            Err(PullRefused::Internal(error)) => return Err(channel.refused(error).into()),
        };
        let announced = transfer_plan.num_blocks;
        if announced == 0 {
            if begin_after.is_none() {
                return Err(channel.protocol("its dataset has no metadata blocks".to_owned()).into());
            }
            self.head = begin_after;
            channel.close();
            return Ok(None);
        }
        channel.send(&PullMetadataRequest {})?;
        let PullMetadataResponse { blocks: batch } = channel.receive(listener)?;
        if batch.num_blocks != announced {
            let reason = format!("it sent {} metadata blocks and announced {announced}", batch.num_blocks);
            return Err(channel.protocol(reason).into());
        }
        let blocks = bundle::unpack(&batch).map_err(|source| SmartError::Bundle {
            place: self.shown.clone(),
            source,
        })?;
        drop(batch);
        for block in blocks {
            let bytes = self.brought.bytes() + block.bytes().len() as u64;
            if self.brought.count() >= MAX_NEW_BLOCKS || bytes > MAX_NEW_BLOCK_BYTES {
                let place = self.shown.clone();
                return Err(ReceiveError::TooMuch { place });
            }
            self.brought.add(block.hash(), block.bytes())?;
            self.head = Some(*block.hash());
        }
        tell(listener, Progress::Bytes(0))?;
        if more {
            channel.close();
            return Ok(self.head);
        }
        *self.channel() = Some(channel);
        Ok(None)
    }

    /// Where objects are, as far as the server says.
    fn addresses(
        &self,
        objects: &[Object],
        listener: &Listener<'_>,
    ) -> Result<HashMap<Object, TransferUrl>, ReceiveError> {
        let mut channel = self.channel();
        let Some(open) = channel.as_mut() else {
            return Ok(HashMap::new());
        };
        let request = PullObjectsRequest {
            object_files: objects.iter().map(plan::file).collect(),
        };
        let answer = open.send(&request).and_then(|()| open.receive(listener));
        let PullObjectsResponse {
            object_transfer_strategies,
        } = match answer {
            // The server may be tired of waiting for a page that takes its time. What is left comes by the simple protocol,
            // which tells what else is wrong.
            Err(SmartError::Broken { .. } | SmartError::Refused { .. }) => {
                *channel = None;
                return Ok(HashMap::new());
            }
            answer => answer?,
        };
        let strategies = object_transfer_strategies.into_iter();
        Ok(strategies
            .map(|strategy| (plan::object(&strategy.object_file), strategy.download_from))
            .collect())
    }

    fn channel(&self) -> MutexGuard<'_, Option<Channel>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the server go once everything was asked.
    fn close(&self) {
        if let Some(channel) = self.channel().take() {
            channel.close();
        }
    }

    /// The answer to a GET of an address that the server gave.
    fn get(&self, object: &Object, from: &TransferUrl) -> Result<Box<dyn Read + Send>, ReadError> {
        let (url, shown) = absolute(&self.place.http, &from.url).map_err(|reason| ReadError::Unreachable {
            url: object.to_string(),
            reason: reason.to_owned(),
        })?;
        let answer = http::ask(|| {
            let mut request = self.agent.get(url.as_str());
            for row in &from.headers {
                request = request.header(&row.name, &row.value);
            }
            request.call()
        });
        let response = answer.map_err(|error| ReadError::Unreachable {
            url: shown.clone(),
            reason: http::in_words(&error),
        })?;
        match response.status().as_u16() {
            200..=299 => Ok(Box::new(response.into_body().into_reader())),
            404 | 410 => Err(ReadError::Missing {
                place: self.shown.clone(),
                file: object.to_string(),
            }),
            status @ (401 | 403 | 421) => Err(http::denied(shown, status, response)),
            status => Err(ReadError::Status { url: shown, status }),
        }
    }
}

/// An address that a server gave, and how it is shown: without a query, which may be a signature. A server that is spoken
/// to by HTTPS does not send anybody to plain HTTP: what goes there, a token perhaps, everybody on the way could read.
pub(super) fn absolute(base: &Url, given: &str) -> Result<(Url, String), &'static str> {
    let named = base.join(given).ok();
    let url = named.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or("the server named no address for it")?;
    if base.scheme() == "https" && url.scheme() != "https" {
        return Err("the server, which is asked by HTTPS, named an address of plain HTTP for it; that is not used");
    }
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    Ok((url, shown.to_string()))
}

impl Source for SmartSource {
    fn place(&self) -> &str {
        &self.shown
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        Ok(self.head)
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        match self.brought.get(hash).map_err(SourceError::new)? {
            Some(bytes) => Ok(bytes),
            None => self.http.block(hash),
        }
    }

    fn bring_many(&self, local: Option<&Dataset>, aside: &Path, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        match self.diverged {
            true => self.http.bring_many(local, aside, listener),
            false => Ok(()),
        }
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        let mut rest = objects;
        while !rest.is_empty() {
            let (some, after) = rest.split_at(rest.len().min(OBJECTS_AT_A_TIME));
            rest = after;
            let left = self.http.together(some, arrival, listener)?;
            self.singly(&left, rest.is_empty(), arrival, listener)?;
        }
        self.close();
        Ok(())
    }
}

impl SmartSource {
    /// Brings objects one by one, from where the server says, which is asked nothing more if these are the last.
    fn singly(
        &self,
        objects: &[Object],
        are_last: bool,
        arrival: &Arrival,
        listener: &Listener<'_>,
    ) -> Result<(), ReceiveError> {
        let pages = objects.chunks(OBJECTS_PER_REQUEST);
        let last = pages.len();
        for (number, page) in pages.enumerate() {
            let known = self.addresses(page, listener)?;
            if are_last && number + 1 == last {
                self.close();
            }
            let open = |object: &Object| -> Result<ObjectReader<'_>, SourceError> {
                match known.get(object) {
                    Some(from) => Ok(self.get(object, from)?),
                    None => Ok(self.http.object(object)?),
                }
            };
            arrival.take(page, &open, listener)?;
        }
        Ok(())
    }
}
