//! A dataset at a server of the protocol, as a place that is read: its blocks come in one bundle when it is opened.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use url::Url;

use super::channel::Channel;
use super::messages::{
    PullAccepted, PullMetadataRequest, PullMetadataResponse, PullObjectsRequest, PullObjectsResponse, PullRefused,
    PullRequest, PullResponse, TransferUrl,
};
use super::{Endpoint, MAX_OBJECT_REQUESTS, OBJECTS_PER_REQUEST, SmartError, bundle, plan};
use odf_dataset::receive::{Arrival, Listener, ObjectReader, Progress, ReceiveError, Source, SourceError, tell};
use odf_dataset::{Dataset, Object};
use odf_metadata::Multihash;

use crate::ReadError;
use crate::http::{self, HttpSource};

/// What a server of the protocol has that is not here, to be given to [`receive`](odf_dataset::receive::receive).
///
/// Blocks that are asked for but were not in the bundle, as when two chains are compared that diverged, come one by one
/// by the simple protocol, which such servers speak too.
pub struct SmartSource {
    shown: String,
    place: Endpoint,
    head: Option<Multihash>,
    blocks: HashMap<Multihash, Bytes>,
    asking: Mutex<Asking>,
    http: HttpSource,
    agent: ureq::Agent,
}

/// Where objects are, as far as the server has been asked.
struct Asking {
    /// None once there is nothing left to ask.
    channel: Option<Channel>,
    /// What the bundle's blocks name, oldest first; those before `next` have been asked for.
    objects: Vec<Object>,
    next: usize,
    known: HashMap<Object, TransferUrl>,
}

impl SmartSource {
    /// Asks the server for everything after the head of `local`, or for all. With `force` it is asked for all also if it
    /// does not have that head.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or does not follow the protocol. That there is no such dataset is no error
    /// yet: the source has no head then.
    pub fn open(
        place: Endpoint,
        local: Option<&Dataset>,
        force: bool,
        listener: &Listener<'_>,
    ) -> Result<Self, ReceiveError> {
        let agent = http::agent(place.http.as_str());
        let mut source = Self {
            shown: place.shown(),
            http: HttpSource::new(&place.http, place.token.clone()),
            head: None,
            blocks: HashMap::new(),
            asking: Mutex::new(Asking {
                channel: None,
                objects: Vec::new(),
                next: 0,
                known: HashMap::new(),
            }),
            place,
            agent,
        };
        if let Some(channel) = Channel::open(&source.place, "pull")? {
            source.fetch(channel, local, force, listener)?;
        }
        Ok(source)
    }

    fn fetch(
        &mut self,
        mut channel: Channel,
        local: Option<&Dataset>,
        force: bool,
        listener: &Listener<'_>,
    ) -> Result<(), SmartError> {
        let begin_after = local.map(|dataset| *dataset.head());
        channel.send(&PullRequest {
            begin_after,
            stop_at: None,
            force_update_if_diverged: force,
        })?;
        let answer: PullResponse = channel.receive(listener)?;
        let announced = match answer {
            Ok(PullAccepted { transfer_plan }) => transfer_plan.num_blocks,
            Err(PullRefused::InvalidInterval { head, .. }) => {
                // How the two chains stand to each other is found out by reading that one.
                self.head = Some(head);
                channel.close();
                return Ok(());
            }
            Err(PullRefused::SeedBlockOverwriteRestricted(_)) => {
                let place = self.shown.clone();
                return Err(SmartError::OtherDataset { place });
            }
            Err(PullRefused::Internal(error)) => return Err(channel.refused(error)),
        };
        if announced == 0 {
            if begin_after.is_none() {
                return Err(channel.protocol("its dataset has no metadata blocks".to_owned()));
            }
            self.head = begin_after;
            channel.close();
            return Ok(());
        }
        channel.send(&PullMetadataRequest {})?;
        let PullMetadataResponse { blocks: batch } = channel.receive(listener)?;
        if batch.num_blocks != announced {
            let reason = format!("it sent {} metadata blocks and announced {announced}", batch.num_blocks);
            return Err(channel.protocol(reason));
        }
        let blocks = bundle::unpack(&batch).map_err(|source| SmartError::Bundle {
            place: self.shown.clone(),
            source,
        })?;
        drop(batch);
        tell(listener, Progress::Bytes(0))?;
        self.head = blocks.last().map(|block| *block.hash());
        let asking = self.asking.get_mut().unwrap_or_else(PoisonError::into_inner);
        asking.objects = Object::of_all(&blocks);
        asking.channel = Some(channel);
        self.blocks = blocks
            .into_iter()
            .map(|block| (*block.hash(), block.bytes().clone()))
            .collect();
        Ok(())
    }

    /// Where an object is. Asks for it and for those after it when that is not known yet.
    fn address(&self, object: &Object) -> Result<Option<TransferUrl>, SmartError> {
        let mut asking = self.asking();
        for _ in 0..MAX_OBJECT_REQUESTS {
            if let Some(url) = asking.known.get(object) {
                return Ok(Some(url.clone()));
            }
            let Asking {
                channel,
                objects,
                next,
                known,
            } = &mut *asking;
            let (Some(open), Some(at)) = (
                channel.as_mut(),
                objects[*next..].iter().position(|other| other == object),
            ) else {
                return Ok(None);
            };
            let from = *next + at;
            let page = &objects[from..objects.len().min(from + OBJECTS_PER_REQUEST)];
            let request = PullObjectsRequest {
                object_files: page.iter().map(plan::file).collect(),
            };
            let answer = open
                .send(&request)
                .and_then(|()| open.receive(&|_| std::ops::ControlFlow::Continue(())));
            let PullObjectsResponse {
                object_transfer_strategies,
            } = match answer {
                // The server may be tired of waiting for a page that takes its time. What is left comes by the simple
                // protocol, which tells what else is wrong.
                Err(SmartError::Broken { .. } | SmartError::Refused { .. }) => {
                    *channel = None;
                    return Ok(None);
                }
                answer => answer?,
            };
            *next = from + page.len();
            for strategy in object_transfer_strategies {
                known.insert(plan::object(&strategy.object_file), strategy.download_from);
            }
            if *next == objects.len()
                && let Some(done) = channel.take()
            {
                done.close();
            }
        }
        Ok(None)
    }

    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
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
            status @ (401 | 403) => Err(http::denied(shown, status, response)),
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
        match self.blocks.get(hash) {
            Some(bytes) => Ok(bytes.clone()),
            None => self.http.block(hash),
        }
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        let open = |object: &Object| -> Result<ObjectReader<'_>, SourceError> {
            match self.address(object).map_err(SourceError::from)? {
                Some(from) => Ok(self.get(object, &from)?),
                None => Ok(self.http.object(object)?),
            }
        };
        arrival.take(objects, &open, listener)
    }
}
