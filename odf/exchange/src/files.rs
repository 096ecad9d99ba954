//! Datasets in directories of this machine, in the layout that kamu and every other ODF tool read and write.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rand::distr::{Alphanumeric, SampleString as _};

use odf_dataset::receive::{
    Arrival, Listener, ObjectReader, Progress, ReceiveError, Source, SourceError, compare, in_parallel, tell,
};
use odf_dataset::{Dataset, Object};
use odf_disk::{Access, Disk, DiskFile, PENDING_PREFIX};
use odf_metadata::Multihash;
use odf_metadata::chain::Relation;
use odf_metadata::codec::MAX_BLOCK_BYTES;
use odf_tables::digest::PhysicalHasher;

use crate::{PushError, ReadError};

/// Longest `refs/head` that is read: a multihash in text is 69 bytes.
pub(super) const MAX_HEAD_BYTES: usize = 128;
/// How many random characters a file has in its name while it is written.
const STAGING_CHARACTERS: usize = 16;
/// How much is copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// A dataset in a directory.
pub struct FilesSource {
    dir: PathBuf,
    place: String,
    head: Option<Multihash>,
}

impl FilesSource {
    /// The dataset whose `refs/head` is below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            place: format!("{}/", dir.display().to_string().trim_end_matches('/')),
            head: None,
        }
    }

    /// The same with a head that is known from elsewhere, whatever `refs/head` says.
    #[must_use]
    pub fn at(mut self, head: Multihash) -> Self {
        self.head = Some(head);
        self
    }

    /// Opens a plain file; nothing if there is none. Anything else, such as a pipe, would keep its reader waiting.
    fn open(&self, file: &str) -> Result<Option<File>, ReadError> {
        let path = self.dir.join(file);
        let failed = |source| ReadError::Io {
            operation: "read",
            path: path.clone(),
            source,
        };
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => File::open(&path).map(Some).map_err(failed),
            Ok(_) => Err(failed(io::Error::other("it is not a file"))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn small(&self, file: &str, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(opened) = self.open(file)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = opened.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|source| ReadError::Io {
            operation: "read",
            path: self.dir.join(file),
            source,
        })?;
        if bytes.len() > limit {
            return Err(ReadError::TooLong {
                place: self.place.clone(),
                file: file.to_owned(),
                limit,
            });
        }
        Ok(Some(bytes))
    }

    fn missing(&self, file: String) -> ReadError {
        ReadError::Missing {
            place: self.place.clone(),
            file,
        }
    }
}

impl Source for FilesSource {
    fn place(&self) -> &str {
        &self.place
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        if self.head.is_some() {
            return Ok(self.head);
        }
        let bytes = self.small("refs/head", MAX_HEAD_BYTES)?;
        Ok(bytes.map(|bytes| parse_head(&bytes, &self.place)).transpose()?)
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        let file = format!("blocks/{hash}");
        let bytes = self.small(&file, MAX_BLOCK_BYTES)?;
        Ok(bytes.map(Bytes::from).ok_or_else(|| self.missing(file))?)
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        let open = |object: &Object| match self.open(&object.to_string())? {
            Some(opened) => Ok(Box::new(opened) as ObjectReader<'_>),
            None => Err(self.missing(object.to_string()).into()),
        };
        arrival.take(objects, &open, listener)
    }
}

/// What `refs/head` says. Like kamu's, this reader takes the hash and nothing around it.
pub(super) fn parse_head(bytes: &[u8], place: &str) -> Result<Multihash, ReadError> {
    let bad = |reason: String| ReadError::BadHead {
        place: place.to_owned(),
        reason,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text".to_owned()))?;
    if text.trim() != text {
        return Err(bad("there is space or a line end around it".to_owned()));
    }
    text.parse()
        .map_err(|error: odf_metadata::IdError| bad(error.to_string()))
}

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The place is at the local head.
    UpToDate,
    /// The place is at a new head.
    Updated {
        /// Head before; none for a new dataset.
        old_head: Option<Multihash>,
        /// Metadata blocks that it lacked.
        blocks: u64,
    },
}

/// Writes what is new of a dataset into a directory: slices and checkpoints, then metadata blocks, then the head, if it
/// is still the one that was compared with. The directory is made if need be. With `force` its chain becomes the local
/// one whatever it is now, unless it is of another dataset.
///
/// # Errors
/// [`PushError::DestinationAhead`], [`ReceiveError::Diverged`], [`ReceiveError::OtherDataset`], [`PushError::HeadMoved`], and
/// what reading and writing gives. The directory is at its old head then.
pub fn push(dataset: &Dataset, dir: &Path, force: bool, listener: &Listener<'_>) -> Result<Pushed, PushError> {
    let there = FilesSource::new(dir);
    let place = || there.place.clone();
    let old_head = there.head()?;
    let local = *dataset.head();
    let mut from = 0;
    let mut blocks = dataset.state().blocks();
    if let Some(remote) = old_head {
        if remote == local {
            return Ok(Pushed::UpToDate);
        }
        let compared = compare(&there, remote, Some(dataset), dataset.datasets_dir(), listener)?;
        match compared.relation {
            Relation::Equal => return Ok(Pushed::UpToDate),
            Relation::Ahead { by } => (from, blocks) = (compared.common, by),
            Relation::Behind { by } if !force => {
                return Err(PushError::DestinationAhead {
                    place: place(),
                    local,
                    remote,
                    by,
                });
            }
            Relation::Diverged { common, ours, theirs } if !force => {
                return Err(PushError::Compare(ReceiveError::Diverged {
                    place: place(),
                    local,
                    remote,
                    common,
                    ours,
                    theirs,
                }));
            }
            Relation::Behind { .. } => blocks = 0,
            Relation::Diverged { ours, .. } => blocks = ours,
        }
    }
    let mut new = Vec::new();
    for stored in dataset.blocks_after(None)? {
        let block = stored?.block;
        if block.block().sequence_number >= from {
            new.push(block);
        }
    }
    let mut objects = Object::of_all(&new);
    objects.retain(|object| !object.is_in(dir));
    tell(listener, Progress::planned(blocks, &objects))?;
    in_parallel(&objects, &|object| copy(dataset, object, dir, listener))?;
    let disk = dataset.disk();
    Object::sync_names(&objects, dir, disk)?;
    let names = dir.join("blocks");
    in_parallel(&new, &|block| {
        let path = names.join(block.hash().to_string());
        if fs::read(&path).is_ok_and(|there| there == *block.bytes()) {
            return Ok(());
        }
        write(disk, &path, block.bytes())
    })?;
    disk.sync_dir(&names)?;
    set_head(disk, dir, &there, old_head, local)?;
    Ok(Pushed::Updated { old_head, blocks })
}

/// Copies one object, checking on the way that it is what its metadata block says.
fn copy(dataset: &Dataset, object: &Object, dir: &Path, listener: &Listener<'_>) -> Result<(), PushError> {
    let from = object.path(dataset.dir());
    let mut file = File::open(&from).map_err(failed("read", &from))?;
    let mut staged = Staged::new(dataset.disk(), &object.path(dir))?;
    let mut hasher = PhysicalHasher::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read", &from)(error)),
        };
        hasher.update(&buffer[..count]);
        staged.write(&buffer[..count])?;
        tell(listener, Progress::Bytes(count as u64))?;
    }
    let (found, size) = hasher.finish();
    if found != object.hash || size != object.size {
        return Err(PushError::Damaged {
            path: from,
            expected: format!("{} ({} bytes)", object.hash, object.size),
            found: format!("{found} ({size} bytes)"),
        });
    }
    staged.finish()
}

/// Moves the head if it is still `expected`. Between two odfs the comparison holds; whoever writes otherwise at the same
/// moment may be overwritten, as the layout knows no locks.
fn set_head(
    disk: &Disk,
    dir: &Path,
    there: &FilesSource,
    expected: Option<Multihash>,
    head: Multihash,
) -> Result<(), PushError> {
    let refs = dir.join("refs");
    disk.create_dirs(&refs, Access::Readable)?;
    let lock = File::open(&refs).map_err(failed("open", &refs))?;
    if let Err(error) = rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive) {
        // Some network file systems have no locks.
        tracing::debug!(dir = %refs.display(), %error, "a head is moved without a lock");
    }
    let actual = there.head()?;
    if actual != expected {
        return Err(PushError::HeadMoved {
            place: there.place.clone(),
            actual,
        });
    }
    write(disk, &refs.join("head"), head.to_string().as_bytes())?;
    Ok(disk.sync_dir(&refs)?)
}

/// A file under its unfinished name, which is like kamu's, so that either tool passes over what the other left.
struct Staged {
    disk: Disk,
    file: DiskFile,
    path: PathBuf,
    target: PathBuf,
}

impl Staged {
    fn new(disk: &Disk, target: &Path) -> Result<Self, PushError> {
        let dir = target.parent().unwrap_or(target);
        disk.create_dirs(dir, Access::Readable)?;
        let random = Alphanumeric.sample_string(&mut rand::rng(), STAGING_CHARACTERS);
        let path = dir.join(format!("{PENDING_PREFIX}{random}"));
        let file = disk.create_new(&path, Access::Readable)?;
        Ok(Self {
            disk: disk.clone(),
            file,
            path,
            target: target.to_owned(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        self.file.write_all(bytes).map_err(failed("write", &self.path))
    }

    fn finish(self) -> Result<(), PushError> {
        self.file.sync()?;
        Ok(self.disk.rename(&self.path, &self.target)?)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone already once it has its name.
        let _ = self.disk.remove_file(&self.path);
    }
}

/// Writes a small file as a whole.
fn write(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), PushError> {
    let mut staged = Staged::new(disk, path)?;
    staged.write(bytes)?;
    staged.finish()
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PushError + use<> {
    let path = path.to_owned();
    move |source| PushError::Io {
        operation,
        path,
        source,
    }
}
