//! The chain file: every metadata block of a dataset, oldest first, as `u32` little-endian length and exact bytes.
//!
//! Blocks are only ever added at the end that belongs to the current head. What lies behind that end was being written
//! when a process died; it is not part of the chain and is cut off by the next append.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use odf_disk::{Access, Disk, DiskFile};
use rustix::fs::FlockOperation::{self, LockExclusive, NonBlockingLockExclusive};

use super::DatasetError;
use super::blocks::Blocks;
use odf_metadata::chain::{ChainState, Totals};
use odf_metadata::codec::{EncodedBlock, MAX_BLOCK_BYTES};

const LENGTH_BYTES: u64 = 4;
const BUFFER_BYTES: usize = 64 << 10;
/// How much is written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// Where the bytes of a metadata block lie in the chain file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BlockPlace {
    /// Position of the first byte of the block itself, behind its length.
    pub offset: u64,
    /// Length of the block in bytes.
    pub len: u32,
}

impl BlockPlace {
    /// Position behind the block, where the next entry begins.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// The place of a block whose entry begins at `position`.
    pub(super) fn behind(position: u64, block: &Bytes) -> BlockPlace {
        // A metadata block is at most 2 MiB.
        BlockPlace {
            offset: position + LENGTH_BYTES,
            len: u32::try_from(block.len()).unwrap_or(u32::MAX),
        }
    }
}

/// A metadata block of the chain and where its bytes lie in the chain file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// The block with its exact bytes.
    pub block: EncodedBlock,
    /// Where they lie.
    pub place: BlockPlace,
}

/// Length of the part of a chain file that belongs to this state.
pub(super) fn len_of(state: &ChainState) -> u64 {
    chain_len(&state.totals, state.blocks())
}

/// As [`len_of`], of as many blocks as the sums are over.
pub(super) fn chain_len(totals: &Totals, blocks: u64) -> u64 {
    let lengths = blocks.saturating_mul(LENGTH_BYTES);
    totals.block_bytes.saturating_add(lengths)
}

/// The chain file of one dataset.
pub(super) struct Journal {
    path: PathBuf,
    disk: Disk,
}

impl Journal {
    pub(super) fn new(dataset: &Path, disk: &Disk) -> Journal {
        Journal::at(&dataset.join("chain"), disk)
    }

    /// The file at this very path.
    pub(super) fn at(path: &Path, disk: &Disk) -> Journal {
        Journal {
            path: path.to_owned(),
            disk: disk.clone(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<File, DatasetError> {
        File::open(&self.path).map_err(|e| self.failed("open", e))
    }

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// [`DatasetError::Damaged`] if it is missing.
    pub(super) fn len(&self) -> Result<u64, DatasetError> {
        let found = std::fs::metadata(&self.path).map_err(|e| self.failed("look at", e))?;
        Ok(found.len())
    }

    /// A chain that is not there is damage, not a wrong path.
    fn failed(&self, operation: &'static str, error: io::Error) -> DatasetError {
        match error.kind() {
            io::ErrorKind::NotFound => DatasetError::Damaged {
                path: self.path.clone(),
                reason: "it is missing".to_owned(),
            },
            _ => DatasetError::io(operation, &self.path, error),
        }
    }

    /// Opens the file to read blocks at places that were noted earlier.
    pub(super) fn reader(&self) -> Result<Reader, DatasetError> {
        Ok(Reader {
            file: self.open()?,
            path: self.path.clone(),
        })
    }

    /// The places of all blocks up to `end`, oldest first, without reading the blocks.
    pub(super) fn places(&self, end: u64) -> Result<Vec<BlockPlace>, DatasetError> {
        let fail = |e| DatasetError::io("read", &self.path, e);
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, self.open()?);
        let mut places = Vec::new();
        let mut position = 0;
        while position < end {
            let mut length = [0; LENGTH_BYTES as usize];
            reader.read_exact(&mut length).map_err(fail)?;
            let length = u32::from_le_bytes(length);
            let place = BlockPlace {
                offset: position + LENGTH_BYTES,
                len: length,
            };
            if length as usize > MAX_BLOCK_BYTES || place.end() > end {
                let reason = format!("an entry of {length} bytes at {position}");
                return Err(DatasetError::Damaged {
                    path: self.path.clone(),
                    reason,
                });
            }
            reader.seek_relative(i64::from(length)).map_err(fail)?;
            position = place.end();
            places.push(place);
        }
        Ok(places)
    }

    /// The entries between two positions, read as they are asked for. Ends after the first that is damaged.
    pub(super) fn entries(&self, from: u64, end: u64) -> Result<Entries, DatasetError> {
        let mut file = self.open()?;
        file.seek(SeekFrom::Start(from))
            .map_err(|e| DatasetError::io("read", &self.path, e))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Entries {
            path: self.path.clone(),
            reader,
            position: from,
            end,
        })
    }

    /// Visits entries from the beginning, as many as are whole, until `visit` says to stop.
    pub(super) fn scan(
        &self,
        visit: &mut dyn FnMut(Bytes) -> Result<ControlFlow<()>, DatasetError>,
    ) -> Result<(), DatasetError> {
        let file = self.open()?;
        let end = file
            .metadata()
            .map_err(|e| DatasetError::io("read", &self.path, e))?
            .len();
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut position = 0;
        loop {
            let mut length = [0; LENGTH_BYTES as usize];
            match reader.read_exact(&mut length) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(DatasetError::io("read", &self.path, error)),
            }
            let place = BlockPlace {
                offset: position + LENGTH_BYTES,
                len: u32::from_le_bytes(length),
            };
            if place.len as usize > MAX_BLOCK_BYTES || place.end() > end {
                return Ok(());
            }
            let mut bytes = vec![0; place.len as usize];
            reader
                .read_exact(&mut bytes)
                .map_err(|e| DatasetError::io("read", &self.path, e))?;
            position = place.end();
            if visit(Bytes::from(bytes))?.is_break() {
                return Ok(());
            }
        }
    }

    /// Writes blocks behind `end`, cutting off whatever was there, and makes them durable.
    pub(super) fn append(
        &self,
        lock: &DiskFile,
        end: u64,
        blocks: &dyn Blocks,
    ) -> Result<Vec<BlockPlace>, DatasetError> {
        if lock.len()? != end {
            lock.set_len(end)?;
        }
        let mut places = Vec::new();
        let (mut entries, mut written, mut position) = (Vec::new(), end, end);
        for at in 0..blocks.count() {
            let Some(block) = blocks.bytes_at(at)? else { break };
            let place = BlockPlace::behind(position, &block);
            entries.extend_from_slice(&place.len.to_le_bytes());
            entries.extend_from_slice(&block);
            position = place.end();
            places.push(place);
            if entries.len() >= WRITE_BYTES {
                lock.write_at(&entries, written)?;
                (written, entries) = (position, Vec::new());
            }
        }
        lock.write_at(&entries, written)?;
        lock.sync()?;
        Ok(places)
    }

    /// Opens the file for appending and takes the lock that keeps other writers away until it is dropped.
    pub(super) fn lock(&self) -> Result<DiskFile, DatasetError> {
        self.lock_by(NonBlockingLockExclusive)
    }

    /// As [`Self::lock`], but waits for whoever has it.
    pub(super) fn wait_for_lock(&self) -> Result<DiskFile, DatasetError> {
        self.lock_by(LockExclusive)
    }

    fn lock_by(&self, operation: FlockOperation) -> Result<DiskFile, DatasetError> {
        loop {
            let (file, _) = self.disk.open_or_create(&self.path, Access::Readable)?;
            match rustix::fs::flock(file.as_file(), operation) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(DatasetError::Busy {
                        path: self.path.clone(),
                    });
                }
                Err(error) => return Err(DatasetError::io("lock", &self.path, error.into())),
            }
            // Whoever had the lock may have put another file in this one's place.
            let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
            let locked = file.as_file().metadata().map(identity);
            let named = std::fs::metadata(&self.path).map(identity);
            match (locked, named) {
                (Ok(locked), Ok(named)) if locked == named => return Ok(file),
                (Ok(_), Ok(_)) => {}
                (Err(error), _) | (_, Err(error)) => return Err(DatasetError::io("lock", &self.path, error)),
            }
        }
    }
}

/// Entries of a chain file in order.
pub(super) struct Entries {
    path: PathBuf,
    reader: BufReader<File>,
    position: u64,
    end: u64,
}

impl Entries {
    fn read(&mut self) -> Result<(BlockPlace, Bytes), DatasetError> {
        let mut length = [0; LENGTH_BYTES as usize];
        self.reader
            .read_exact(&mut length)
            .map_err(|e| DatasetError::io("read", &self.path, e))?;
        let place = BlockPlace {
            offset: self.position + LENGTH_BYTES,
            len: u32::from_le_bytes(length),
        };
        if place.len as usize > MAX_BLOCK_BYTES || place.end() > self.end {
            let reason = format!("an entry of {} bytes at {}", place.len, self.position);
            return Err(DatasetError::Damaged {
                path: self.path.clone(),
                reason,
            });
        }
        let mut bytes = vec![0; place.len as usize];
        self.reader
            .read_exact(&mut bytes)
            .map_err(|e| DatasetError::io("read", &self.path, e))?;
        self.position = place.end();
        Ok((place, Bytes::from(bytes)))
    }
}

impl Iterator for Entries {
    type Item = Result<(BlockPlace, Bytes), DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.end {
            return None;
        }
        let entry = self.read();
        if entry.is_err() {
            self.position = self.end;
        }
        Some(entry)
    }
}

/// Reads blocks at known places.
pub(super) struct Reader {
    file: File,
    path: PathBuf,
}

impl Reader {
    pub(super) fn read(&self, place: BlockPlace) -> Result<Bytes, DatasetError> {
        if place.len as usize > MAX_BLOCK_BYTES {
            let reason = format!("an entry of {} bytes at {}", place.len, place.offset);
            return Err(DatasetError::Damaged {
                path: self.path.clone(),
                reason,
            });
        }
        let mut bytes = vec![0; place.len as usize];
        self.file
            .read_exact_at(&mut bytes, place.offset)
            .map_err(|e| DatasetError::io("read", &self.path, e))?;
        Ok(Bytes::from(bytes))
    }
}
