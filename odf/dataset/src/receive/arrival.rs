//! Metadata blocks and objects of one dataset on their way to their directory.
//!
//! Objects come first, in any order and several at once, each through a [`Sink`] that hashes while it writes. A file whose
//! length and hash are what a metadata block says gets its name together with others, when all of them are synced. The chain
//! comes last, in one step. What arrived before an interruption keeps its name, so the next [`Arrival`] of the dataset does
//! not ask for it again.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use odf_disk::{Access, Disk};
use odf_metadata::chain::ChainState;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, Multihash};
use odf_tables::digest::PhysicalHasher;

use super::settle::{Settling, Unnamed};
use super::{Listener, Progress, ReceiveError, SourceError, in_parallel, tell};
use crate::dataset::{UNNAMED_OBJECTS, each};
use crate::{
    Arriving, ArrivingObject, Blocks, Dataset, DatasetError, DatasetName, Datasets, Held, Object, ObjectKind,
    RemoteAliases,
};

/// How much is read from a source at a time.
const READ_BYTES: usize = 64 << 10;

/// A stream of the bytes of an object.
pub type ObjectReader<'a> = Box<dyn Read + Send + 'a>;

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReceiveError + use<> {
    let path = path.to_owned();
    move |source| ReceiveError::Io {
        operation,
        path,
        source,
    }
}

/// Where it arrives.
#[allow(clippy::large_enum_variant, reason = "there is one in each arrival")]
enum Target {
    /// A dataset that is here.
    Existing(Dataset),
    /// One that will be here once its chain is complete.
    New {
        id: DatasetId,
        name: DatasetName,
        /// What it is to remember from the moment it exists.
        aliases: RemoteAliases,
        /// Its directory was made by this arrival, so an empty one need not stay.
        made: bool,
    },
}

/// One dataset on its way here. There is one at a time for each dataset; it can be shared by threads.
pub struct Arrival {
    datasets: Datasets,
    target: Target,
    dir: PathBuf,
    /// Objects that are complete and have no name yet.
    settling: Arc<Settling>,
    /// Makes unfinished names unique: a peer may send an object twice at once.
    sinks: AtomicU64,
    /// The second form hears the bytes while they are here.
    arriving: Box<dyn Arriving>,
    /// A lock on the directory.
    _lock: File,
    /// GC must not take what has no pin yet.
    _hold: Box<dyn Held>,
}

/// What has arrived for good.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The dataset at its new head.
    pub dataset: Dataset,
    /// Head before; none for a new dataset.
    pub old_head: Option<Multihash>,
    /// Metadata blocks that were new.
    pub blocks: u64,
    /// Metadata blocks that were here before and are not part of the chain any more.
    pub dropped: u64,
}

impl Arrival {
    /// Begins with the dataset of this id, whatever it is called here; if there is none, a new one called `name` that
    /// remembers `aliases` is prepared.
    ///
    /// # Errors
    /// [`ReceiveError::Busy`]; [`CatalogError::NameTaken`](crate::catalog::CatalogError::NameTaken) by a dataset of another id.
    pub fn begin(
        datasets: &Datasets,
        id: DatasetId,
        name: &DatasetName,
        aliases: RemoteAliases,
    ) -> Result<Self, ReceiveError> {
        let hold = datasets.mirror().hold();
        if let Some(dataset) = datasets.catalog().by_id(&id)? {
            return Self::lock(datasets, Target::Existing(dataset), id, hold);
        }
        let made = !datasets.catalog().dataset_dir(&id).exists();
        datasets.catalog().receive(id, name)?;
        let name = name.clone();
        let target = Target::New {
            id,
            name,
            aliases,
            made,
        };
        Self::lock(datasets, target, id, hold)
    }

    /// Begins with a dataset that is here.
    ///
    /// # Errors
    /// [`ReceiveError::Busy`].
    pub fn into(datasets: &Datasets, dataset: Dataset) -> Result<Self, ReceiveError> {
        let (hold, id) = (datasets.mirror().hold(), dataset.id());
        Self::lock(datasets, Target::Existing(dataset), id, hold)
    }

    fn lock(datasets: &Datasets, target: Target, id: DatasetId, hold: Box<dyn Held>) -> Result<Self, ReceiveError> {
        let dir = datasets.catalog().dataset_dir(&id);
        let disk = &datasets.catalog().medium().disk;
        let lock = File::open(&dir).map_err(failed("open", &dir))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(ReceiveError::Busy(id)),
            Err(error) => return Err(failed("lock", &dir)(error.into())),
        }
        for kind in ObjectKind::ALL {
            disk.create_dirs(&dir.join(kind.directory()), Access::Readable)?;
        }
        // With what an arrival that was killed left in it.
        let unnamed = dir.join(UNNAMED_OBJECTS);
        disk.remove_tree(&unnamed)?;
        disk.create_dir(&unnamed, Access::Readable)?;
        Ok(Self {
            datasets: datasets.clone(),
            target,
            settling: Arc::new(Settling::new(disk, &dir)),
            dir,
            sinks: AtomicU64::new(0),
            arriving: datasets.mirror().arriving(&id),
            _lock: lock,
            _hold: hold,
        })
    }

    /// The directory that is the dataset's, or will be.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn disk(&self) -> &Disk {
        &self.datasets.catalog().medium().disk
    }

    /// The local dataset as it was when this began; `None` for a new one.
    pub fn dataset(&self) -> Option<&Dataset> {
        match &self.target {
            Target::Existing(dataset) => Some(dataset),
            Target::New { .. } => None,
        }
    }

    /// Whose dataset it is.
    pub fn id(&self) -> DatasetId {
        match &self.target {
            Target::Existing(dataset) => dataset.id(),
            Target::New { id, .. } => *id,
        }
    }

    /// Whether an object is here, complete and checked.
    pub fn has(&self, object: &Object) -> bool {
        self.settling.has(object) || object.is_in(&self.dir)
    }

    /// A place for the bytes of an object.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn sink(&self, object: &Object) -> Result<Sink, ReceiveError> {
        let target = object.path(&self.dir);
        let number = self.sinks.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(UNNAMED_OBJECTS).join(number.to_string());
        let file = self.disk().create(&path, Access::Readable)?;
        Ok(Sink {
            unnamed: Unnamed::new(self.disk(), object, file, path, target),
            settling: Arc::clone(&self.settling),
            hasher: PhysicalHasher::new(),
            listener: self.arriving.object(object),
            received: 0,
        })
    }

    /// Takes objects from streams that `open` gives, several at once. When this returns each has its name.
    ///
    /// # Errors
    /// The first failure; objects that were complete are kept.
    pub fn take<'s>(
        &self,
        objects: &[Object],
        open: &(dyn Fn(&Object) -> Result<ObjectReader<'s>, SourceError> + Sync),
        listener: &Listener<'_>,
    ) -> Result<(), ReceiveError> {
        let begun = AtomicUsize::new(0);
        let taken = in_parallel(objects, &|object| {
            // Behind the last one no more come that the others could wait for.
            if begun.fetch_add(1, Ordering::AcqRel) + 1 == objects.len() {
                self.settle()?;
            }
            let mut reader = open(object)?;
            let mut sink = self.sink(object)?;
            sink.fill(&mut *reader, listener)?;
            sink.finish()?;
            match begun.load(Ordering::Acquire) == objects.len() {
                true => self.settle(),
                false => Ok(()),
            }
        });
        taken.and(self.settle())
    }

    /// Syncs the objects that came and gives them their names.
    ///
    /// # Errors
    /// The disk refuses; those that have no name yet are gone.
    pub fn settle(&self) -> Result<(), ReceiveError> {
        Ok(self.settling.settle()?)
    }

    /// Checks blocks, oldest first, against the rules of the chain, before anything large is fetched. Gives the slices and
    /// checkpoints that they name and that are not here, each once.
    ///
    /// # Errors
    /// What [`Self::commit`] would say of the blocks.
    pub fn check(&self, blocks: impl Blocks, force: bool) -> Result<Vec<Object>, ReceiveError> {
        let mut state = match (&self.target, self.start(&blocks, force)?) {
            (Target::New { .. }, _) => None,
            (Target::Existing(dataset), None) => Some(dataset.state().clone()),
            (Target::Existing(dataset), Some(from)) => dataset.state_before(from)?,
        };
        let (mut seen, mut lacking) = (HashSet::new(), Vec::new());
        for block in each(&blocks) {
            let block = block?;
            ChainState::append(&mut state, &block).map_err(DatasetError::Chain)?;
            let objects = Object::of(&block).filter(|object| !self.has(object));
            lacking.extend(objects.filter(|object| seen.insert((object.kind, object.hash))));
        }
        match state.map(|state| state.dataset_id).filter(|found| *found != self.id()) {
            Some(found) => Err(DatasetError::OtherDataset {
                found,
                expected: self.id(),
            }
            .into()),
            None => Ok(lacking),
        }
    }

    /// The sequence number from which on blocks take the place of local ones; `None` if they follow the local head.
    fn start(&self, blocks: &dyn Blocks, force: bool) -> Result<Option<u64>, ReceiveError> {
        let (Target::Existing(dataset), Some(first)) = (&self.target, blocks.at(0)?) else {
            return Ok(None);
        };
        let follows = first.block().prev_block_hash;
        if follows == Some(*dataset.head()) {
            return Ok(None);
        }
        if !force {
            return Err(ReceiveError::NotAhead {
                local: *dataset.head(),
                follows,
            });
        }
        Ok(Some(first.block().sequence_number))
    }

    /// Makes the objects that arrived durable with their names, for whoever needs no commit.
    ///
    /// # Errors
    /// Files or a directory cannot be synced.
    pub(crate) fn keep(&self, objects: &[Object]) -> Result<(), ReceiveError> {
        self.settle()?;
        Ok(Object::sync_names(objects, &self.dir, self.disk())?)
    }

    /// Makes the blocks, oldest first, part of the dataset, which is at its new head when this returns, and survives
    /// power loss there. They must follow the local head, or begin with a Seed for a new dataset; with `force` they
    /// take the place of the local blocks from their first sequence number on. Exact bytes are kept.
    ///
    /// # Errors
    /// [`ReceiveError::Lacking`] if an object is not here, [`ReceiveError::NotAhead`], and [`DatasetError::Chain`] for a
    /// broken rule.
    pub fn commit(&self, blocks: impl Blocks, force: bool) -> Result<Arrived, ReceiveError> {
        self.settle()?;
        let start = self.start(&blocks, force)?;
        let mut new_kinds = HashSet::new();
        for block in each(&blocks) {
            let block = block?;
            for object in Object::of(&block) {
                if !object.is_in(&self.dir) {
                    return Err(ReceiveError::Lacking(object));
                }
                new_kinds.insert(object.kind);
            }
        }
        let count = blocks.count();
        match &self.target {
            Target::Existing(dataset) => {
                for kind in ObjectKind::ALL.iter().filter(|kind| new_kinds.contains(kind)) {
                    self.disk().sync_dir(&self.dir.join(kind.directory()))?;
                }
                let Some(from) = start else {
                    let (mut dataset, old_head) = (dataset.clone(), *dataset.head());
                    dataset.append_arrived(&blocks)?;
                    return self.mirror(dataset, Some(old_head), count, 0);
                };
                self.replace(from, &blocks)
            }
            Target::New { id, name, aliases, .. } => {
                let incoming = self.datasets.catalog().receive(*id, name)?;
                if *aliases != RemoteAliases::default() {
                    incoming.set_remote_aliases(aliases)?;
                }
                let dataset = incoming.install(blocks)?;
                self.mirror(dataset, None, count, 0)
            }
        }
    }

    /// Makes the chain end before the block with sequence number `from`.
    ///
    /// # Errors
    /// [`DatasetError::NoBlock`], or the files cannot be written; there must be a local dataset.
    pub fn cut(&self, from: u64) -> Result<Arrived, ReceiveError> {
        self.replace(from, &Vec::<EncodedBlock>::new())
    }

    fn replace(&self, from: u64, blocks: &dyn Blocks) -> Result<Arrived, ReceiveError> {
        let Target::Existing(dataset) = &self.target else {
            return Err(DatasetError::NoBlock { sequence: from }.into());
        };
        let (mut dataset, old_head) = (dataset.clone(), *dataset.head());
        let (count, dropped) = (blocks.count(), dataset.state().blocks().saturating_sub(from));
        self.datasets.replace_arrived(&mut dataset, from, blocks)?;
        self.mirror(dataset, Some(old_head), count, dropped)
    }

    /// Brings the second form of the dataset to its new head.
    fn mirror(
        &self,
        dataset: Dataset,
        old_head: Option<Multihash>,
        blocks: u64,
        dropped: u64,
    ) -> Result<Arrived, ReceiveError> {
        self.datasets.mirror().moved(&dataset)?;
        Ok(Arrived {
            dataset,
            old_head,
            blocks,
            dropped,
        })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // What came is not to come again.
        if let Err(error) = self.settling.settle() {
            tracing::debug!(dir = %self.dir.display(), %error, "objects that arrived are lost");
        }
        let removed = self.disk().remove_tree(&self.dir.join(UNNAMED_OBJECTS));
        tracing::debug!(dir = %self.dir.display(), ?removed, "nothing arrives any more");
        // Nothing came of it: leave no trace. Directories with something in them stay, for the next attempt.
        if matches!(self.target, Target::New { made: true, .. }) && !Dataset::is_in(&self.dir) {
            let kinds = ObjectKind::ALL.map(|kind| self.dir.join(kind.directory()));
            if kinds.iter().all(|dir| self.disk().remove_dir(dir).is_ok()) {
                let removed = self.disk().remove_tree(&self.dir);
                tracing::debug!(dir = %self.dir.display(), ?removed, "nothing of a dataset arrived");
            }
        }
    }
}

/// Takes the bytes of one object. Dropping it before [`finish`](Self::finish) removes them.
#[must_use]
pub struct Sink {
    unnamed: Unnamed,
    settling: Arc<Settling>,
    hasher: PhysicalHasher,
    listener: Option<Box<dyn ArrivingObject>>,
    received: u64,
}

impl Sink {
    /// The object whose bytes these are.
    pub fn object(&self) -> &Object {
        self.unnamed.object()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ReceiveError::Object`] as soon as there are more than the object has, which are not written; or the file cannot
    /// be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        let received = self.received.saturating_add(bytes.len() as u64);
        let size = self.object().size;
        if received > size {
            return Err(self.differs(format!("{size} bytes"), format!("at least {received} bytes")));
        }
        if let Some(file) = self.unnamed.file() {
            let written = file.write_all(bytes);
            written.map_err(failed("write", self.unnamed.shown()))?;
        }
        self.hasher.update(bytes);
        if let Some(listener) = &mut self.listener {
            listener.bytes(bytes);
        }
        self.received = received;
        Ok(())
    }

    /// Takes everything that `reader` gives, and never more than the object has.
    ///
    /// # Errors
    /// As [`Self::write`], [`ReceiveError::Broken`], or the listener wants it to stop.
    pub fn fill(&mut self, reader: &mut dyn Read, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        // And one more, which shows at once that there are too many.
        let size = usize::try_from(self.object().size).unwrap_or(READ_BYTES);
        let mut buffer = vec![0; size.saturating_add(1).min(READ_BYTES)];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    let object = *self.object();
                    return Err(ReceiveError::Broken { object, source });
                }
            };
            self.write(&buffer[..count])?;
            tell(listener, Progress::Bytes(count as u64))?;
        }
    }

    /// Checks length and hash. The object is here from now on: it is synced and gets its name together with others, when
    /// they are many, when the arrival is [settled](Arrival::settle) or committed, or when it ends. Only after a commit does
    /// the name survive a power cut.
    ///
    /// # Errors
    /// [`ReceiveError::Object`]; nothing is left then. The disk refuses; none of those that waited for their names is here.
    pub fn finish(self) -> Result<(), ReceiveError> {
        let Object { hash, size, .. } = *self.object();
        if self.received != size {
            return Err(self.differs(format!("{size} bytes"), format!("{} bytes", self.received)));
        }
        let (found, _) = self.hasher.clone().finish();
        if found != hash {
            return Err(self.differs(hash.to_string(), found.to_string()));
        }
        self.settling.take(self.unnamed, Instant::now())?;
        if let Some(listener) = self.listener {
            listener.complete();
        }
        Ok(())
    }

    fn differs(&self, expected: String, found: String) -> ReceiveError {
        ReceiveError::Object {
            object: *self.object(),
            expected,
            found,
        }
    }
}

#[cfg(test)]
mod tests;
