//! A dataset on its way to a server of the protocol.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use ureq::SendBody;

use super::channel::{Channel, message_in, refusal};
use super::messages::{
    Empty, ProgressResponse, PushComplete, PushMeans, PushMetadataRefused, PushMetadataRequest, PushMetadataResponse,
    PushObjectsAccepted, PushObjectsRefused, PushObjectsRequest, PushObjectsResponse, PushRefused, PushRequest,
    PushResponse, TransferUrl, UploadProgress, Visibility,
};
use super::source::absolute;
use super::{Endpoint, MAX_OBJECT_REQUESTS, OBJECTS_PER_REQUEST, SmartError, bundle, plan};
use crate::files::Pushed;
use crate::http::{self, HttpSource};
use crate::sync::{self, OnProgress, Progress, SimpleSource as _, SyncError, in_parallel, tell};
use odf_dataset::{Dataset, Object};
use odf_metadata::Multihash;
use odf_metadata::chain::Relation;
use odf_metadata::codec::EncodedBlock;

/// How much of a refusal's body is read.
const MAX_REFUSAL_BYTES: u64 = 4096;
/// A message without content: what the server sends to ask how far uploads are, and to confirm.
const EMPTY_MESSAGE: &str = "{}";

/// Brings what is new of a dataset to a server, which makes the dataset if it has none there, visible as told. With
/// `force` the chain there becomes this one whatever it is now, unless it is of another dataset.
///
/// # Errors
/// [`SyncError::DestinationAhead`], [`SyncError::Diverged`], [`SmartError`], and what reading gives. The server is at its
/// old head then.
pub fn push(
    dataset: &Dataset,
    place: &Endpoint,
    visibility: Visibility,
    force: bool,
    on_progress: &OnProgress<'_>,
) -> Result<Pushed, SyncError> {
    let there = HttpSource::new(&place.http, place.token.clone());
    let old_head = there.head()?;
    let Some(from) = first_to_send(dataset, place, &there, old_head, force, on_progress)? else {
        return Ok(Pushed::UpToDate);
    };
    let mut new = Vec::new();
    for stored in dataset.blocks_after(None)? {
        let block = stored?.block;
        if block.block().sequence_number >= from {
            new.push(block);
        }
    }
    let channel = Channel::open(place, "push")?.ok_or_else(|| SyncError::NotFound { place: place.shown() })?;
    let mut push = Push {
        dataset,
        place,
        channel,
        on_progress,
    };
    let objects = push.begin(old_head, &new, visibility, force)?;
    push.send_objects(&objects, new.len() as u64)?;
    push.complete(&there)?;
    let blocks = new.len() as u64;
    Ok(Pushed::Updated { old_head, blocks })
}

/// The sequence number of the first block to send; nothing if the server has all. To replace a chain, all is sent, as the
/// protocol has it.
fn first_to_send(
    dataset: &Dataset,
    place: &Endpoint,
    there: &HttpSource,
    old_head: Option<Multihash>,
    force: bool,
    on_progress: &OnProgress<'_>,
) -> Result<Option<u64>, SyncError> {
    let local = *dataset.head();
    let Some(remote) = old_head else {
        return Ok(Some(0));
    };
    if remote == local {
        return Ok(None);
    }
    if let Some(stored) = dataset.block_by_hash(&remote)? {
        return Ok(Some(stored.block.block().sequence_number.saturating_add(1)));
    }
    if force {
        return Ok(Some(0));
    }
    let relation = match sync::compare(there, remote, Some(dataset), on_progress) {
        Ok(compared) => compared.relation,
        // Some servers write old blocks anew when they are read one by one, so this tells nothing about the chain.
        Err(SyncError::Block { .. }) => {
            return Err(SmartError::NotAncestor {
                place: place.shown(),
                local,
                remote,
            }
            .into());
        }
        Err(error) => return Err(error),
    };
    let place = place.shown();
    match relation {
        Relation::Equal => Ok(None),
        Relation::Ahead { by } => Ok(Some(dataset.state().blocks().saturating_sub(by))),
        Relation::Behind { by } => Err(SyncError::DestinationAhead {
            place,
            local,
            remote,
            by,
        }),
        Relation::Diverged { common, ours, theirs } => Err(SyncError::Diverged {
            place,
            local,
            remote,
            common,
            ours,
            theirs,
        }),
    }
}

/// A push under way.
struct Push<'a> {
    dataset: &'a Dataset,
    place: &'a Endpoint,
    channel: Channel,
    on_progress: &'a OnProgress<'a>,
}

impl Push<'_> {
    /// Steps 1 and 2: what is to come, and the metadata blocks. Gives the objects that they name.
    fn begin(
        &mut self,
        old_head: Option<Multihash>,
        new: &[EncodedBlock],
        visibility: Visibility,
        force: bool,
    ) -> Result<Vec<Object>, SyncError> {
        let new_blocks = bundle::pack(new).map_err(|source| SmartError::Bundle {
            place: self.place.shown(),
            source,
        })?;
        self.channel.send(&PushRequest {
            current_head: old_head,
            transfer_plan: plan::of(new),
            force_update_if_diverged: force,
            visibility_for_created_dataset: visibility,
        })?;
        let answer: PushResponse = self.channel.receive(self.on_progress)?;
        match answer {
            Ok(Empty {}) => {}
            Err(PushRefused::InvalidHead { expected_head, .. }) => {
                return Err(SyncError::HeadMoved {
                    place: self.place.shown(),
                    actual: expected_head,
                });
            }
            Err(PushRefused::Internal(error)) => return Err(self.channel.refused(error)),
        }
        self.channel.send(&PushMetadataRequest { new_blocks })?;
        let answer: PushMetadataResponse = self.channel.receive(self.on_progress)?;
        match answer {
            Ok(Empty {}) => Ok(Object::of_all(new)),
            Err(PushMetadataRefused::SeedBlockOverwriteRestricted(_)) => {
                let place = self.place.shown();
                Err(SmartError::OtherDataset { place }.into())
            }
        }
    }

    /// Step 3: the objects that the server lacks, in pages.
    fn send_objects(&mut self, objects: &[Object], blocks: u64) -> Result<(), SyncError> {
        tell(
            self.on_progress,
            Progress::Planned {
                blocks,
                objects: objects.len() as u64,
                bytes: objects.iter().map(|object| object.size).fold(0, u64::saturating_add),
            },
        )?;
        let mut rest = objects;
        // Once also if there are none: the server waits for it.
        for _ in 0..MAX_OBJECT_REQUESTS {
            let (page, after) = rest.split_at(rest.len().min(OBJECTS_PER_REQUEST));
            rest = after;
            self.channel.send(&PushObjectsRequest {
                object_files: page.iter().map(plan::file).collect(),
                is_truncated: !rest.is_empty(),
            })?;
            let wanted = self.wanted(page)?;
            self.upload(page, &wanted)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(self.channel.protocol("there are too many objects for it".to_owned()))
    }

    /// Where the server wants those of the objects that it lacks.
    fn wanted(&mut self, page: &[Object]) -> Result<HashMap<Object, TransferUrl>, SyncError> {
        let answer: PushObjectsResponse = loop {
            let text = self.channel.receive_text(self.on_progress)?;
            // A question about the uploads of the last page that crossed the word that they are done.
            if text != EMPTY_MESSAGE {
                break self.channel.read(&text)?;
            }
        };
        let strategies = match answer {
            Ok(PushObjectsAccepted {
                object_transfer_strategies,
            }) => object_transfer_strategies,
            Err(PushObjectsRefused::RefCollision { dataset_id }) => {
                return Err(SmartError::RefCollision {
                    place: self.place.shown(),
                    id: dataset_id,
                }
                .into());
            }
            Err(PushObjectsRefused::NameCollision { dataset_alias }) => {
                return Err(SmartError::NameCollision {
                    place: self.place.shown(),
                    name: dataset_alias,
                }
                .into());
            }
            Err(PushObjectsRefused::Internal(error)) => return Err(self.channel.refused(error)),
        };
        let mut wanted = HashMap::new();
        for strategy in strategies {
            let object = plan::object(&strategy.object_file);
            match (strategy.push_strategy, strategy.upload_to) {
                (PushMeans::SkipUpload, _) => {
                    tell(self.on_progress, Progress::Bytes(object.size))?;
                }
                // What was not asked for is not sent.
                (PushMeans::HttpUpload, Some(url)) if page.contains(&object) => {
                    wanted.insert(object, url);
                }
                (PushMeans::HttpUpload, _) => {
                    return Err(self
                        .channel
                        .protocol(format!("it does not say where it wants {object}")));
                }
            }
        }
        Ok(wanted)
    }

    /// Sends objects and answers the server's questions meanwhile, then says that they are sent.
    fn upload(&mut self, page: &[Object], wanted: &HashMap<Object, TransferUrl>) -> Result<(), SyncError> {
        let objects: Vec<Object> = page
            .iter()
            .filter(|object| wanted.contains_key(object))
            .copied()
            .collect();
        let (uploaded, stop) = (AtomicI32::new(0), AtomicBool::new(false));
        let agent = http::agent();
        let (dataset, place, on_progress) = (self.dataset, self.place, self.on_progress);
        let transfer = |object: &Object| {
            let Some(to) = wanted.get(object) else {
                return Ok(());
            };
            send(dataset, object, place, to, &agent, &stop, on_progress)?;
            uploaded.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let channel = &mut self.channel;
        thread::scope(|scope| {
            let uploads = thread::Builder::new().spawn_scoped(scope, || in_parallel(&objects, &transfer));
            let uploads = uploads.map_err(|source| SyncError::Io {
                operation: "start a thread to read",
                path: dataset.dir().to_owned(),
                source,
            })?;
            let mut answered = Ok(());
            while !uploads.is_finished() && answered.is_ok() {
                answered = answer_question(channel, &uploaded);
            }
            stop.store(answered.is_err(), Ordering::Release);
            let sent = match uploads.join() {
                Ok(sent) => sent,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            // If the server has refused, what became of the uploads is only a consequence.
            answered.and(sent)
        })?;
        self.channel.send(&ProgressResponse {
            details: UploadProgress::Complete,
        })
    }

    /// Step 4. What the server sends may be a last question as well as its confirmation, so its head decides.
    fn complete(mut self, there: &HttpSource) -> Result<(), SyncError> {
        self.channel.send(&PushComplete {})?;
        let local = *self.dataset.head();
        let mut confirmed = false;
        loop {
            let text = match self.channel.receive_text(self.on_progress) {
                Err(SyncError::Smart(SmartError::Broken { .. })) if confirmed => break,
                text => text?,
            };
            if self.channel.read::<Refused>(&text).is_ok() {
                return Err(refusal(self.place.shown(), &text).into());
            }
            let PushComplete {} = self.channel.read(&text)?;
            if there.head()? == Some(local) {
                self.channel.close();
                return Ok(());
            }
            // One question may have been under way; a second empty message is the confirmation of nothing.
            if std::mem::replace(&mut confirmed, true) {
                break;
            }
        }
        Err(SmartError::NotMoved {
            place: self.place.shown(),
            found: there.head()?,
        }
        .into())
    }
}

/// Any answer that is an error.
#[derive(serde::Deserialize)]
struct Refused {
    #[serde(rename = "Err")]
    _error: serde_json::Value,
}

/// Tells the server how far uploads are, if it asks.
fn answer_question(channel: &mut Channel, uploaded: &AtomicI32) -> Result<(), SyncError> {
    if channel.poll()?.is_some() {
        channel.send(&ProgressResponse {
            details: UploadProgress::Running {
                uploaded_objects_count: uploaded.load(Ordering::Relaxed),
            },
        })?;
    }
    Ok(())
}

/// A file on its way out: tells of its progress, and breaks off when it should stop.
struct Body<'a> {
    file: File,
    stop: &'a AtomicBool,
    on_progress: &'a OnProgress<'a>,
    cancelled: bool,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.cancelled |= (self.on_progress)(Progress::Bytes(read as u64)).is_break();
        if self.cancelled || self.stop.load(Ordering::Acquire) {
            return Err(io::Error::other("stopped"));
        }
        Ok(read)
    }
}

/// PUTs one object where the server wants it.
fn send(
    dataset: &Dataset,
    object: &Object,
    place: &Endpoint,
    to: &TransferUrl,
    agent: &ureq::Agent,
    stop: &AtomicBool,
    on_progress: &OnProgress<'_>,
) -> Result<(), SyncError> {
    let failed = |url: &str, reason: String| SmartError::Upload {
        object: *object,
        url: url.to_owned(),
        reason,
    };
    let (url, shown) = absolute(&place.http, &to.url)
        .ok_or_else(|| failed(&place.shown(), "the server named no address for it".to_owned()))?;
    let path = object.path(dataset.dir());
    let file = File::open(&path).map_err(|source| SyncError::Io {
        operation: "open",
        path: path.clone(),
        source,
    })?;
    let found = file.metadata().map_or(0, |found| found.len());
    if found != object.size {
        return Err(SyncError::Damaged {
            path,
            expected: format!("{} bytes", object.size),
            found: format!("{found} bytes"),
        });
    }
    let mut request = agent.put(url.as_str());
    for row in &to.headers {
        request = request.header(&row.name, &row.value);
    }
    let mut body = Body {
        file,
        stop,
        on_progress,
        cancelled: false,
    };
    let sent = request
        .header("content-type", "application/octet-stream")
        .header("content-length", object.size.to_string())
        .send(SendBody::from_reader(&mut body));
    if body.cancelled {
        return Err(SyncError::Cancelled);
    }
    let response = sent.map_err(|error| failed(&shown, error.to_string()))?;
    if response.status().is_success() {
        return Ok(());
    }
    let status = response.status().as_u16();
    let mut reason = Vec::new();
    let mut answer = response.into_body().into_reader().take(MAX_REFUSAL_BYTES);
    // Without its words the status has to do.
    let _ = answer.read_to_end(&mut reason);
    Err(failed(&shown, format!("the server answered {status}: {}", message_in(&reason))).into())
}
