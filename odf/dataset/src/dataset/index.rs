//! The index of a chain: where each metadata block lies, how it is called, and which slice it adds, in records of one length.
//!
//! ```text
//! chain.index   magic, id of the dataset, check      64 bytes
//!               one record a metadata block, by sequence number:
//!                 32 bytes   digest of the block (SHA3-256)
//!                 8, 4       where it lies in the chain file: offset and length
//!                 4          1 if it adds a slice
//!                 32, 32     physical and logical digest of the slice
//!                 8, 8, 8    first and last offset of its rows, length of the file
//!                 8          check over the id, the sequence number and the rest of the record
//! ```
//!
//! All numbers are little-endian. The chain is the truth, and the index a copy that is made of it when somebody reads the
//! chain other than from its beginning, and goes on with each append. A short chain has none.
//!
//! # Why it is never synced
//! What a power cut takes of it is found out and read from the chain again: a record that did not reach the medium fails its
//! check, and the last one must be that of the head. What is left can only be right, because records of two histories never
//! meet in one file. A record is written after the head has moved to its block, so no cut takes the block back. Before a
//! chain is written again from some block on the index is removed, durably ([`remove`]). And an index that does not belong
//! to the chain, or knows of more blocks than the chain has, is replaced by another file, never cut or written over: what a
//! power cut brings back of a file that was cut are whole records of the other history.
//!
//! Whoever reads a block by the index compares its hash and sequence number with the record, and goes by the chain alone if
//! they differ.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use odf_disk::{Access, Disk, DiskError, DiskFile, PENDING_PREFIX};
use odf_metadata::chain::ChainState;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DataSlice, DatasetId, Multihash, OffsetInterval};

use super::blocks::{Blocks, each};
use super::error::DatasetError;
use super::journal::{BlockPlace, Journal, len_of};

/// Name of the file in the directory of a dataset.
pub(super) const FILE: &str = "chain.index";
/// A chain of fewer blocks is read as fast without.
pub(super) const MIN_BLOCKS: u64 = 128;
/// How many records are read at a time by whoever wants one and perhaps its neighbours.
const NEIGHBOURS: u64 = 64;
/// How many records are read at a time by whoever wants all.
const MANY: u64 = 4096;
/// How many records at the end are looked at for one that reached the medium, before the index is made anew.
const MAX_TORN: u64 = 1024;

const MAGIC: [u8; 16] = *b"odfs chain idx 1";
const HEADER_BYTES: usize = 64;
const RECORD_BYTES: usize = 144;
const CHECK_BYTES: usize = 8;
const DIGEST_BYTES: usize = 32;

/// One thread at a time makes an index or adds to it; no other process has the workspace.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is told of a metadata block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Its hash.
    pub(super) hash: Multihash,
    /// Where it lies.
    pub(super) place: BlockPlace,
    /// The slice that it adds.
    pub(super) slice: Option<DataSlice>,
}

impl Record {
    fn of(block: &EncodedBlock, place: BlockPlace) -> Self {
        Self {
            hash: *block.hash(),
            place,
            slice: block.block().event.new_data().cloned(),
        }
    }

    /// Nothing if a hash is of another kind than those that are written today.
    pub(super) fn encode(&self, id: &DatasetId, sequence: u64) -> Option<[u8; RECORD_BYTES]> {
        let digest = |hash: &Multihash, wrap: fn([u8; DIGEST_BYTES]) -> Multihash| {
            let digest = <[u8; DIGEST_BYTES]>::try_from(hash.digest()).ok()?;
            (wrap(digest) == *hash).then_some(digest)
        };
        let mut writer = Writer::default();
        writer.put(&digest(&self.hash, Multihash::from_sha3_256)?);
        writer.put(&self.place.offset.to_le_bytes());
        writer.put(&self.place.len.to_le_bytes());
        writer.put(&u32::from(self.slice.is_some()).to_le_bytes());
        if let Some(slice) = &self.slice {
            writer.put(&digest(&slice.physical_hash, Multihash::from_sha3_256)?);
            writer.put(&digest(&slice.logical_hash, Multihash::from_arrow0_sha3_256)?);
            for number in [slice.offset_interval.start, slice.offset_interval.end, slice.size] {
                writer.put(&number.to_le_bytes());
            }
        }
        let mut bytes = writer.bytes;
        let check = check(id, sequence, &bytes[..RECORD_BYTES - CHECK_BYTES]);
        bytes[RECORD_BYTES - CHECK_BYTES..].copy_from_slice(&check.to_le_bytes());
        Some(bytes)
    }

    /// Nothing if these are not the bytes of that record.
    fn decode(bytes: &[u8], id: &DatasetId, sequence: u64) -> Option<Self> {
        let (body, found) = bytes.split_at_checked(RECORD_BYTES - CHECK_BYTES)?;
        if found != check(id, sequence, body).to_le_bytes() {
            return None;
        }
        let mut rest = body;
        let hash = Multihash::from_sha3_256(take(&mut rest)?);
        let offset = u64::from_le_bytes(take(&mut rest)?);
        let len = u32::from_le_bytes(take(&mut rest)?);
        let slice = match u32::from_le_bytes(take(&mut rest)?) {
            0 => None,
            _ => Some(DataSlice {
                physical_hash: Multihash::from_sha3_256(take(&mut rest)?),
                logical_hash: Multihash::from_arrow0_sha3_256(take(&mut rest)?),
                offset_interval: OffsetInterval {
                    start: u64::from_le_bytes(take(&mut rest)?),
                    end: u64::from_le_bytes(take(&mut rest)?),
                },
                size: u64::from_le_bytes(take(&mut rest)?),
            }),
        };
        Some(Self {
            hash,
            place: BlockPlace { offset, len },
            slice,
        })
    }
}

/// Fills a record from its beginning.
struct Writer {
    bytes: [u8; RECORD_BYTES],
    at: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            bytes: [0; RECORD_BYTES],
            at: 0,
        }
    }
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Takes the next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

/// Tells bytes that were written from those that were not. Nobody but this program writes them, so it is no hash.
pub(crate) fn check(id: &DatasetId, sequence: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(FACTOR);
        sum ^ (sum >> 29)
    };
    let words = |bytes: &[u8], sum: u64| {
        let (words, rest) = bytes.as_chunks::<8>();
        let sum = words.iter().fold(sum, |sum, word| mix(sum, u64::from_le_bytes(*word)));
        rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte)))
    };
    words(bytes, words(id.public_key(), mix(FACTOR, sequence)))
}

fn header(id: &DatasetId) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..MAGIC.len() + 34].copy_from_slice(&id.to_bytes());
    let check = check(id, u64::MAX, &bytes[..HEADER_BYTES - CHECK_BYTES]);
    bytes[HEADER_BYTES - CHECK_BYTES..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn position(sequence: u64) -> u64 {
    HEADER_BYTES as u64 + sequence * RECORD_BYTES as u64
}

/// An open index.
pub(super) struct Index {
    file: File,
    id: DatasetId,
    /// How many records it has, whole or not.
    records: u64,
}

impl Index {
    /// Opens what is there; nothing if that is not the index of this dataset.
    fn open(path: &Path, id: &DatasetId) -> Option<Self> {
        let file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        let mut found = [0; HEADER_BYTES];
        file.read_exact_at(&mut found, 0).ok()?;
        (found == header(id)).then(|| Self {
            file,
            id: *id,
            records: len.saturating_sub(HEADER_BYTES as u64) / RECORD_BYTES as u64,
        })
    }

    /// The index of the chain in `dir` at this state. It is made, or completed, if need be; nothing if it is not worth
    /// having, or cannot be had now.
    pub(super) fn of(disk: &Disk, dir: &Path, state: &ChainState) -> Option<Self> {
        if state.blocks() < MIN_BLOCKS {
            return None;
        }
        let path = dir.join(FILE);
        let ready = || Self::open(&path, &state.dataset_id).filter(|index| index.ends_with(state));
        ready().or_else(|| {
            let _turn = turn();
            ready().or_else(|| {
                let made = complete(&Journal::new(dir, disk), disk, state, &path);
                made.inspect_err(|error| tracing::debug!(path = %path.display(), %error, "read without an index"))
                    .ok()?;
                ready()
            })
        })
    }

    /// Whether its last record that counts for this state is that of the head.
    fn ends_with(&self, state: &ChainState) -> bool {
        let last = self.record(state.sequence_number);
        last.is_some_and(|last| last.hash == state.head && last.place.end() == len_of(state))
    }

    fn record(&self, sequence: u64) -> Option<Record> {
        self.read(sequence, 1)?.pop()
    }

    /// So many records from this one on; nothing if one of them is not whole.
    fn read(&self, from: u64, count: u64) -> Option<Vec<Record>> {
        if from.checked_add(count)? > self.records {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(count).ok()?.checked_mul(RECORD_BYTES)?];
        self.file.read_exact_at(&mut bytes, position(from)).ok()?;
        let records = (from..).zip(bytes.chunks_exact(RECORD_BYTES));
        records
            .map(|(sequence, bytes)| Record::decode(bytes, &self.id, sequence))
            .collect()
    }

    /// The records around this one, of the first `blocks`, with the sequence number of the first of them.
    pub(super) fn around(&self, sequence: u64, blocks: u64) -> Option<(u64, Vec<Record>)> {
        let from = sequence - sequence % NEIGHBOURS;
        let count = blocks.checked_sub(from)?.min(NEIGHBOURS);
        Some((from, self.read(from, count)?))
    }

    /// Shows the records of the first `blocks` blocks, oldest first. False if one cannot be read; some were shown then.
    pub(super) fn each(&self, blocks: u64, visit: &mut dyn FnMut(Record)) -> bool {
        let mut from = 0;
        while from < blocks {
            let count = MANY.min(blocks - from);
            let Some(records) = self.read(from, count) else {
                return false;
            };
            records.into_iter().for_each(&mut *visit);
            from += count;
        }
        true
    }

    /// The sequence number of the block with this hash among the first `blocks`, looked for from the newest on. `Err` if a
    /// record cannot be read before it is found.
    pub(super) fn find(&self, hash: &Multihash, blocks: u64) -> Result<Option<u64>, Unreadable> {
        let (mut until, mut step) = (blocks, NEIGHBOURS);
        while until > 0 {
            let count = step.min(until);
            let from = until - count;
            let records = self.read(from, count).ok_or(Unreadable)?;
            if let Some(at) = records.iter().position(|record| record.hash == *hash) {
                return Ok(Some(from + at as u64));
            }
            // Most often it is one of the last.
            (until, step) = (from, (2 * step).min(MANY));
        }
        Ok(None)
    }
}

/// A record is not whole.
#[derive(Debug)]
pub(super) struct Unreadable;

/// Adds records to a file, many at a time.
struct Adder<'a> {
    file: &'a DiskFile,
    id: DatasetId,
    next: u64,
    waiting: Vec<u8>,
}

impl Adder<'_> {
    /// False if the block cannot have a record.
    fn add(&mut self, record: &Record) -> Result<bool, DiskError> {
        let sequence = self.next + (self.waiting.len() / RECORD_BYTES) as u64;
        let Some(bytes) = record.encode(&self.id, sequence) else {
            return Ok(false);
        };
        self.waiting.extend_from_slice(&bytes);
        if self.waiting.len() >= MANY as usize * RECORD_BYTES {
            self.write()?;
        }
        Ok(true)
    }

    fn write(&mut self) -> Result<(), DiskError> {
        self.file.write_at(&self.waiting, position(self.next))?;
        self.next += (self.waiting.len() / RECORD_BYTES) as u64;
        self.waiting.clear();
        Ok(())
    }
}

/// Makes the index of a chain, or adds what it lacks. Whoever calls has the turn.
fn complete(chain: &Journal, disk: &Disk, state: &ChainState, path: &Path) -> Result<(), DatasetError> {
    if let Some((next, last)) = last_whole(chain, state, path)? {
        let file = disk.open(path)?;
        cut(&file, next)?;
        return add_from_chain(chain, state, &file, next, Some(last));
    }
    let pending = path.with_file_name(format!("{PENDING_PREFIX}{FILE}"));
    let file = disk.create(&pending, Access::Readable)?;
    let made = file
        .write_at(&header(&state.dataset_id), 0)
        .map_err(DatasetError::from)
        .and_then(|()| add_from_chain(chain, state, &file, 0, None))
        .and_then(|()| Ok(disk.rename(&pending, path)?));
    if made.is_err() {
        // A disk that is full wants the room.
        let _ = disk.remove_file(&pending);
    }
    made
}

/// The newest record that is whole and whose block is in the chain, with the number of the one behind it. The hash of a block
/// says what all before it are, so those before the record are right, too. Nothing if there are more records than blocks: they
/// are of another history, such as one that somebody read while it was replaced.
fn last_whole(chain: &Journal, state: &ChainState, path: &Path) -> Result<Option<(u64, Record)>, DatasetError> {
    let Some(index) = Index::open(path, &state.dataset_id) else {
        return Ok(None);
    };
    let known = index.records;
    if known > state.blocks() {
        return Ok(None);
    }
    let mut newest = (known.saturating_sub(MAX_TORN)..known).rev();
    let whole = newest.find_map(|sequence| Some((sequence, index.record(sequence)?)));
    let Some((sequence, record)) = whole.filter(|(_, record)| record.place.end() <= len_of(state)) else {
        return Ok(None);
    };
    let is_there = Multihash::sha3_256(&chain.reader()?.read(record.place)?) == record.hash;
    Ok(is_there.then_some((sequence + 1, record)))
}

/// Leaves the first `records` of a file.
fn cut(file: &DiskFile, records: u64) -> Result<(), DiskError> {
    match file.len()? == position(records) {
        true => Ok(()),
        false => file.set_len(position(records)),
    }
}

/// Adds the records of all blocks from sequence number `next` on; the one before has the record `last`.
fn add_from_chain(
    chain: &Journal,
    state: &ChainState,
    file: &DiskFile,
    next: u64,
    last: Option<Record>,
) -> Result<(), DatasetError> {
    let damaged = |reason: &str| DatasetError::Damaged {
        path: chain.path().to_owned(),
        reason: reason.to_owned(),
    };
    let mut adder = Adder {
        file,
        id: state.dataset_id,
        next,
        waiting: Vec::new(),
    };
    let from = last.as_ref().map_or(0, |last| last.place.end());
    let mut before = last.map(|last| last.hash);
    for entry in chain.entries(from, len_of(state))? {
        let (place, bytes) = entry?;
        let block = EncodedBlock::decode(bytes).map_err(|source| DatasetError::Block { sequence: None, source })?;
        if block.block().prev_block_hash != before {
            return Err(damaged("a block does not follow the one before it"));
        }
        if !adder.add(&Record::of(&block, place))? {
            return Err(damaged("a hash is of a kind that is not indexed"));
        }
        before = Some(*block.hash());
    }
    adder.write()?;
    match before == Some(state.head) {
        true => Ok(()),
        false => Err(damaged("it does not end with the head")),
    }
}

/// Adds blocks that were appended to the chain in `dir` at these places; the head has moved to the last of them, and `before` is
/// what the chain amounted to. An index that is not there, or not of that head, is completed by whoever needs it next.
pub(super) fn follow(disk: &Disk, dir: &Path, before: &ChainState, blocks: &dyn Blocks, places: &[BlockPlace]) {
    let _turn = turn();
    let path = dir.join(FILE);
    let index = Index::open(&path, &before.dataset_id).filter(|index| index.ends_with(before));
    let Some(index) = index else { return };
    if index.records > before.blocks() {
        // It knows what comes next in another history.
        let removed = disk.remove_file_if_there(&path);
        tracing::debug!(path = %path.display(), ?removed, "an index knew of more blocks than the chain has");
        return;
    }
    let add = || -> Result<(), DatasetError> {
        let file = disk.open(&path)?;
        let next = before.blocks();
        cut(&file, next)?;
        let mut adder = Adder {
            file: &file,
            id: before.dataset_id,
            next,
            waiting: Vec::new(),
        };
        for (block, place) in each(blocks).zip(places) {
            if !adder.add(&Record::of(block?.as_ref(), *place))? {
                break;
            }
        }
        Ok(adder.write()?)
    };
    if let Err(error) = add() {
        tracing::debug!(path = %path.display(), %error, "the index of a chain is completed later");
    }
}

/// Takes away an index that is not what it should be: whoever wants one next makes it anew.
pub(super) fn distrust(disk: &Disk, dir: &Path) {
    let _turn = turn();
    let path = dir.join(FILE);
    let removed = disk.remove_file_if_there(&path);
    tracing::info!(path = %path.display(), ?removed, "the index of a chain does not agree with it");
}

/// Removes the index in a directory, durably, before the chain becomes another one.
///
/// # Errors
/// It is there, and may be later.
pub(super) fn remove(disk: &Disk, dir: &Path) -> Result<(), DiskError> {
    let _turn = turn();
    match disk.remove_file(&dir.join(FILE)) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => disk.sync_dir(dir),
    }
}
