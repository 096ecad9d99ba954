//! A dataset on its way to a server of the protocol.

use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;

use super::channel::{Channel, TICK, refusal};
use super::messages::{
    Empty, ProgressResponse, PushComplete, PushMeans, PushMetadataRefused, PushMetadataRequest, PushMetadataResponse,
    PushObjectsAccepted, PushObjectsRefused, PushObjectsRequest, PushObjectsResponse, PushRefused, PushRequest,
    PushResponse, TransferUrl, UploadProgress, Visibility,
};
use super::upload::Uploads;
use super::{Endpoint, MAX_OBJECT_REQUESTS, OBJECTS_PER_REQUEST, SmartError, bundle, is_on_page, plan};
use odf_dataset::receive::{Listener, Progress, ReceiveError, Source as _, compare, in_parallel, tell};
use odf_dataset::{BlockPlace, Dataset, DatasetError, Object, StoredBlock};
use odf_metadata::Multihash;
use odf_metadata::chain::Relation;
use odf_metadata::codec::EncodedBlock;

use crate::PushError;
use crate::files::Pushed;
use crate::http::{HttpSource, shown};
use crate::together;

/// A message without content: what the server sends to ask how far uploads are, and to confirm.
const EMPTY_MESSAGE: &str = "{}";

/// Brings what is new of a dataset to a server, which makes the dataset if it has none there, visible as told. With
/// `force` the chain there becomes this one whatever it is now, unless it is of another dataset.
///
/// More blocks than are on a page ([`PAGE_BLOCKS`](super::PAGE_BLOCKS), [`PAGE_BYTES`](super::PAGE_BYTES)) go in several
/// pushes, one after the other, each of which ends with a chain that is in order. Another push goes on where one ended. With
/// `force` as much goes in the first as a message holds, so that a chain is replaced in one step if that can be.
///
/// # Errors
/// [`PushError::DestinationAhead`], [`ReceiveError::Diverged`], [`SmartError`], and what reading gives. The server is at its
/// old head then, or at the last block of a page that was complete.
pub fn push(
    dataset: &Dataset,
    place: &Endpoint,
    visibility: Visibility,
    force: bool,
    listener: &Listener<'_>,
) -> Result<Pushed, PushError> {
    let there = place.files();
    let old_head = there.head()?;
    let Some(after) = last_there(dataset, place, &there, old_head, force, listener)? else {
        return Ok(Pushed::UpToDate);
    };
    let agent = place.agent();
    let mut rest = dataset.blocks_after(after)?.peekable();
    let (mut head, mut replaces, mut blocks) = (old_head, force, 0);
    loop {
        let page = next_page(&mut rest, replaces)?;
        let Some(last) = page.last().map(|block| *block.hash()) else {
            return Ok(Pushed::Updated { old_head, blocks });
        };
        let channel = Channel::open(place, "push")?.ok_or_else(|| PushError::NotFound { place: place.shown() })?;
        let mut push = Push {
            dataset,
            place,
            channel,
            agent: &agent,
            listener,
        };
        let objects = push.begin(head, &page, visibility, replaces)?;
        push.send_objects(&objects, page.len() as u64)?;
        push.complete(&there, last)?;
        // What comes next follows what is there now.
        (head, replaces) = (Some(last), false);
        blocks += page.len() as u64;
    }
}

/// The next blocks that go in one push, or as many as fit into one; none once all went.
fn next_page(
    rest: &mut Peekable<impl Iterator<Item = Result<StoredBlock, DatasetError>>>,
    as_many_as_fit: bool,
) -> Result<Vec<EncodedBlock>, DatasetError> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(stored) = rest.next_if(|next| match next {
        Ok(next) => {
            let (count, len) = (page.len(), u64::from(next.place.len));
            let fits = as_many_as_fit && bundle::surely_fit(count as u64 + 1, bytes + len);
            fits || is_on_page(count, bytes, len)
        }
        Err(_) => true,
    }) {
        let StoredBlock { block, place } = stored?;
        bytes += u64::from(place.len);
        page.push(block);
    }
    Ok(page)
}

/// Where the last block lies that the server has and that stays, `Some(None)` if all are sent; nothing if the server has all.
/// To replace a chain, all is sent, as the protocol has it.
fn last_there(
    dataset: &Dataset,
    place: &Endpoint,
    there: &HttpSource,
    old_head: Option<Multihash>,
    force: bool,
    listener: &Listener<'_>,
) -> Result<Option<Option<BlockPlace>>, PushError> {
    let local = *dataset.head();
    let Some(remote) = old_head else {
        return Ok(Some(None));
    };
    if remote == local {
        return Ok(None);
    }
    if let Some(stored) = dataset.block_by_hash(&remote)? {
        return Ok(Some(Some(stored.place)));
    }
    if force {
        return Ok(Some(None));
    }
    let relation = match compare(there, remote, Some(dataset), dataset.datasets_dir(), listener) {
        Ok(compared) => compared.relation,
        // Some servers write old blocks anew when they are read one by one, so this tells nothing about the chain.
        Err(ReceiveError::Block { .. }) => {
            return Err(SmartError::NotAncestor {
                place: place.shown(),
                local,
                remote,
            }
            .into());
        }
        Err(error) => return Err(error.into()),
    };
    let place = place.shown();
    match relation {
        Relation::Equal => Ok(None),
        Relation::Ahead { by } => {
            let there = dataset.state().blocks().saturating_sub(by);
            let last = match there.checked_sub(1) {
                Some(last) => dataset.block_by_sequence(last)?,
                None => None,
            };
            Ok(Some(last.map(|stored| stored.place)))
        }
        Relation::Behind { by } => Err(PushError::DestinationAhead {
            place,
            local,
            remote,
            by,
        }),
        Relation::Diverged { common, ours, theirs } => Err(PushError::Compare(ReceiveError::Diverged {
            place,
            local,
            remote,
            common,
            ours,
            theirs,
        })),
    }
}

/// Where a server wants the objects that it lacks.
struct Wanted {
    singly: HashMap<Object, TransferUrl>,
    /// Where many of them may go in one request.
    together: Option<TransferUrl>,
}

/// A push under way.
struct Push<'a> {
    dataset: &'a Dataset,
    place: &'a Endpoint,
    channel: Channel,
    agent: &'a ureq::Agent,
    listener: &'a Listener<'a>,
}

impl Push<'_> {
    /// Steps 1 and 2: what is to come, and the metadata blocks. Gives the objects that they name.
    fn begin(
        &mut self,
        old_head: Option<Multihash>,
        new: &[EncodedBlock],
        visibility: Visibility,
        force: bool,
    ) -> Result<Vec<Object>, PushError> {
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
        let answer: PushResponse = self.channel.receive(self.listener)?;
        match answer {
            Ok(Empty {}) => {}
            Err(PushRefused::InvalidHead { expected_head, .. }) => {
                return Err(PushError::HeadMoved {
                    place: self.place.shown(),
                    actual: expected_head,
                });
            }
            Err(PushRefused::Internal(error)) => return Err(self.channel.refused(error).into()),
        }
        self.channel.send(&PushMetadataRequest { new_blocks })?;
        let answer: PushMetadataResponse = self.channel.receive(self.listener)?;
        match answer {
            Ok(Empty {}) => Ok(Object::of_all(new)),
            Err(PushMetadataRefused::SeedBlockOverwriteRestricted(_)) => {
                let place = self.place.shown();
                Err(SmartError::OtherDataset { place }.into())
            }
        }
    }

    /// Step 3: the objects that the server lacks, in pages.
    fn send_objects(&mut self, objects: &[Object], blocks: u64) -> Result<(), PushError> {
        tell(self.listener, Progress::planned(blocks, objects))?;
        let mut rest = objects;
        // Once also if there are none: the server waits for it.
        for _ in 0..MAX_OBJECT_REQUESTS {
            let (page, after) = rest.split_at(rest.len().min(OBJECTS_PER_REQUEST));
            rest = after;
            self.channel.send(&PushObjectsRequest {
                object_files: page.iter().map(plan::file).collect(),
                is_truncated: !rest.is_empty(),
                together: true,
            })?;
            let wanted = self.wanted(page)?;
            self.upload(page, &wanted)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(self
            .channel
            .protocol("there are too many objects for it".to_owned())
            .into())
    }

    /// Where the server wants those of the objects that it lacks.
    fn wanted(&mut self, page: &[Object]) -> Result<Wanted, PushError> {
        let answer: PushObjectsResponse = loop {
            let text = self.channel.receive_text(self.listener)?;
            // A question about the uploads of the last page that crossed the word that they are done.
            if text != EMPTY_MESSAGE {
                break self.channel.read(&text)?;
            }
        };
        let (strategies, together) = match answer {
            Ok(PushObjectsAccepted {
                object_transfer_strategies,
                together,
            }) => (object_transfer_strategies, together),
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
                    name: shown(&dataset_alias),
                }
                .into());
            }
            Err(PushObjectsRefused::Internal(error)) => return Err(self.channel.refused(error).into()),
        };
        let asked: HashSet<&Object> = page.iter().collect();
        let mut singly = HashMap::new();
        for strategy in strategies {
            let object = plan::object(&strategy.object_file);
            match (strategy.push_strategy, strategy.upload_to) {
                (PushMeans::SkipUpload, _) => {
                    tell(self.listener, Progress::Bytes(object.size))?;
                }
                // What was not asked for is not sent.
                (PushMeans::HttpUpload, Some(url)) if asked.contains(&object) => {
                    singly.insert(object, url);
                }
                (PushMeans::HttpUpload, _) => {
                    let reason = format!("it does not say where it wants {object}");
                    return Err(self.channel.protocol(reason).into());
                }
            }
        }
        Ok(Wanted { singly, together })
    }

    /// Sends objects and answers the server's questions meanwhile, then says that they are sent.
    fn upload(&mut self, page: &[Object], wanted: &Wanted) -> Result<(), PushError> {
        let (dataset, is_wanted) = (self.dataset, |object: &&Object| wanted.singly.contains_key(*object));
        let objects: Vec<Object> = page.iter().filter(is_wanted).copied().collect();
        let bodies = match wanted.together {
            // One that is not what it was by itself, so that it is told what is wrong with it.
            Some(_) => {
                let is_here = |object: &&Object| object.is_in(dataset.dir());
                together::bodies(&objects.iter().filter(is_here).copied().collect::<Vec<_>>())
            }
            None => Vec::new(),
        };
        let together: HashSet<&Object> = bodies.iter().flatten().collect();
        let rest = objects.iter().filter(|object| !together.contains(object));
        let rest: Vec<Object> = rest.copied().collect();
        let (uploaded, stop) = (AtomicI32::new(0), AtomicBool::new(false));
        let uploads = Uploads {
            dataset,
            place: self.place,
            agent: self.agent,
            stop: &stop,
            listener: self.listener,
        };
        let count = |more: usize| {
            uploaded.fetch_add(i32::try_from(more).unwrap_or(i32::MAX), Ordering::Relaxed);
        };
        let send_many = |objects: &Vec<Object>| match &wanted.together {
            Some(to) => uploads.send_many(objects, to).map(|()| count(objects.len())),
            None => Ok(()),
        };
        let send = |object: &Object| match wanted.singly.get(object) {
            Some(to) => uploads.send(object, to).map(|()| count(1)),
            None => Ok(()),
        };
        let channel = &mut self.channel;
        thread::scope(|scope| {
            let (done, is_done) = sync_channel::<()>(1);
            let work = || {
                let _done = done;
                in_parallel(&bodies, &send_many).and_then(|()| in_parallel(&rest, &send))
            };
            let sending = thread::Builder::new().spawn_scoped(scope, work);
            let sending = sending.map_err(|source| PushError::Io {
                operation: "start a thread to read",
                path: dataset.dir().to_owned(),
                source,
            })?;
            let mut answered = Ok(());
            // Looked at from time to time; the end of the uploads is noticed at once.
            while answered.is_ok() && is_done.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                answered = answer_question(channel, &uploaded);
            }
            stop.store(answered.is_err(), Ordering::Release);
            let sent = match sending.join() {
                Ok(sent) => sent,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            // If the server has refused, what became of the uploads is only a consequence.
            answered.and(sent)
        })?;
        Ok(self.channel.send(&ProgressResponse {
            details: UploadProgress::Complete,
        })?)
    }

    /// Step 4. What the server sends may be a last question as well as its confirmation, so its head decides: it is to be
    /// the last block that was sent.
    fn complete(mut self, there: &HttpSource, last: Multihash) -> Result<(), PushError> {
        self.channel.send(&PushComplete {})?;
        let mut confirmed = false;
        loop {
            let text = match self.channel.receive_text(self.listener) {
                Err(SmartError::Broken { .. }) if confirmed => break,
                text => text?,
            };
            if self.channel.read::<Refused>(&text).is_ok() {
                return Err(refusal(self.place.shown(), &text).into());
            }
            let PushComplete {} = self.channel.read(&text)?;
            if there.head()? == Some(last) {
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
fn answer_question(channel: &mut Channel, uploaded: &AtomicI32) -> Result<(), PushError> {
    if channel.look()?.is_some() {
        channel.send(&ProgressResponse {
            details: UploadProgress::Running {
                uploaded_objects_count: uploaded.load(Ordering::Relaxed),
            },
        })?;
    }
    Ok(())
}
