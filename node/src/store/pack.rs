//! Packs: append-only files of blocks that belong to no other file.
//!
//! A pack is `HEADER`, then records at multiples of [`ALIGN`] bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | length of the block, little endian |
//! | 1 | length n of the multihash |
//! | n | the multihash |
//! | 4 | the first bytes of the sha2-256 of the length, n and the multihash |
//! | | the block, then zeros up to the next multiple of [`ALIGN`] |
//!
//! So the packs alone tell what they hold, and the index can be made again from them. Several threads write at once,
//! each into a span it reserved: after a crash a pack may have holes anywhere behind the last flush, and
//! [`scan`] finds the next record behind a hole by its magic. Nothing is ever overwritten; a torn record stays as
//! dead bytes until its pack is compacted.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use multihash::Multihash;

use super::{
    StoreError,
    index::{Holder, Place},
};
use crate::block::{MAX_BLOCK_BYTES, sha2_256};

/// First bytes of a pack.
const HEADER: &[u8; 16] = b"block pack v1\r\n\0";
/// First bytes of a record.
const MAGIC: &[u8; 8] = b"\xf0block\r\n";
/// Records begin at multiples of this.
const ALIGN: u64 = 8;
const CHECK_BYTES: usize = 4;
/// Magic, length, multihash length, the longest multihash (two varints and 64 bytes), check.
const MAX_RECORD_HEADER_BYTES: usize = 8 + 4 + 1 + (20 + 64) + CHECK_BYTES;
/// Blocks below this are copied together into one write; larger ones are written from where they are.
const GATHER_BYTES: usize = 64 << 10;
/// How much a scan reads at once.
const SCAN_BYTES: usize = 256 << 10;

/// A block to append: its multihash in byte form, and its bytes.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// A position in the whole sequence of packs: pack, then offset in it.
pub(super) type Position = (u32, u64);

/// The packs of one store.
pub(super) struct Packs {
    dir: PathBuf,
    roll_bytes: u64,
    state: Mutex<State>,
}

struct State {
    /// The pack being written, or the last one there is.
    id: u32,
    file: Option<Arc<File>>,
    end: u64,
    /// Spans that are reserved but not in the index yet.
    in_flight: BTreeSet<Position>,
    /// Packs written to since they were last synced.
    dirty: BTreeSet<u32>,
    /// A pack was made or removed since the directory was last synced.
    dir_dirty: bool,
}

/// Until this is dropped, [`Packs::watermark`] does not pass the span.
pub(super) struct InFlight<'a> {
    packs: &'a Packs,
    start: Position,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.packs.state().in_flight.remove(&self.start);
    }
}

impl Packs {
    /// Opens the packs in `dir`, which exists. A pack is closed when it would pass `roll_bytes`.
    pub(super) fn open(dir: &Path, roll_bytes: u64) -> Result<Self, StoreError> {
        let mut state = State {
            id: 0,
            file: None,
            end: 0,
            in_flight: BTreeSet::new(),
            dirty: BTreeSet::new(),
            dir_dirty: false,
        };
        if let Some(id) = list(dir)?.last() {
            state.id = *id;
            let path = path_of(dir, *id);
            let opened = File::options().read(true).write(true).open(&path);
            let file = opened.map_err(|error| StoreError::io("open", &path, error))?;
            let len = len_of(&file, &path)?;
            // One that a crash left without a header is not written to any more.
            if len >= HEADER.len() as u64 {
                state.file = Some(Arc::new(file));
                state.end = len.next_multiple_of(ALIGN);
            }
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            roll_bytes,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Path of a pack.
    pub(super) fn path(&self, id: u32) -> PathBuf {
        path_of(&self.dir, id)
    }

    /// The packs there are, oldest first.
    pub(super) fn list(&self) -> Result<Vec<u32>, StoreError> {
        list(&self.dir)
    }

    /// Everything before this position is written and in the index.
    pub(super) fn watermark(&self) -> Position {
        let state = self.state();
        state.in_flight.first().copied().unwrap_or((state.id, state.end))
    }

    /// Appends records in one span, and says where their bytes are. The caller drops the guard once they are indexed.
    pub(super) fn append(&self, records: &[Record<'_>]) -> Result<(Vec<Place>, InFlight<'_>), StoreError> {
        let total = records
            .iter()
            .map(|(hash, data)| record_bytes(hash.len(), data.len()))
            .sum();
        let (file, id, start) = self.reserve(total)?;
        let guard = InFlight {
            packs: self,
            start: (id, start),
        };

        let mut places = Vec::with_capacity(records.len());
        let mut gathered = Vec::with_capacity(total.min(GATHER_BYTES as u64) as usize);
        let mut written = start;
        for (hash, data) in records {
            put_record_header(&mut gathered, hash, data.len());
            let offset = written + gathered.len() as u64;
            if data.len() < GATHER_BYTES {
                gathered.extend_from_slice(data);
                if gathered.len() >= GATHER_BYTES {
                    written = self.write(&file, id, &mut gathered, written)?;
                }
            } else {
                written = self.write(&file, id, &mut gathered, written)?;
                file.write_all_at(data, written)
                    .map_err(|error| StoreError::io("write", &self.path(id), error))?;
                written += data.len() as u64;
            }
            let padding = (written + gathered.len() as u64).next_multiple_of(ALIGN) - written;
            gathered.resize(padding as usize, 0);
            places.push(Place {
                holder: Holder::Pack(id),
                offset,
                len: data.len() as u32,
            });
        }
        self.write(&file, id, &mut gathered, written)?;
        // Not before: a sync in between would take the mark without these bytes.
        self.state().dirty.insert(id);
        Ok((places, guard))
    }

    /// Writes out what was gathered; gives the offset behind it.
    fn write(&self, file: &File, id: u32, gathered: &mut Vec<u8>, at: u64) -> Result<u64, StoreError> {
        file.write_all_at(gathered, at)
            .map_err(|error| StoreError::io("write", &self.path(id), error))?;
        let behind = at + gathered.len() as u64;
        gathered.clear();
        Ok(behind)
    }

    fn reserve(&self, len: u64) -> Result<(Arc<File>, u32, u64), StoreError> {
        let mut state = self.state();
        let file = match &state.file {
            Some(file) if state.end + len <= self.roll_bytes => file.clone(),
            _ => self.begin(&mut state)?,
        };
        let (id, start) = (state.id, state.end);
        state.end += len;
        state.in_flight.insert((id, start));
        Ok((file, id, start))
    }

    /// Begins the next pack.
    fn begin(&self, state: &mut State) -> Result<Arc<File>, StoreError> {
        let id = state.id + 1;
        let path = self.path(id);
        let made = File::options().read(true).write(true).create_new(true).open(&path);
        let file = Arc::new(made.map_err(|error| StoreError::io("create", &path, error))?);
        state.dir_dirty = true;
        state.id = id;
        state.file = None;
        file.write_all_at(HEADER, 0)
            .map_err(|error| StoreError::io("write", &path, error))?;
        state.file = Some(file.clone());
        state.end = HEADER.len() as u64;
        Ok(file)
    }

    /// Closes the pack being written: what is reserved from now on goes to a new one.
    pub(super) fn roll(&self) {
        self.state().file = None;
    }

    /// The pack that new records go to, if one is open.
    pub(super) fn active(&self) -> Option<u32> {
        let state = self.state();
        state.file.as_ref().map(|_| state.id)
    }

    /// Whether a span of the pack is reserved and not yet in the index.
    pub(super) fn is_being_written(&self, id: u32) -> bool {
        let state = self.state();
        (state.file.is_some() && state.id == id) || state.in_flight.range((id, 0)..=(id, u64::MAX)).next().is_some()
    }

    /// Removes a pack that is not being written.
    pub(super) fn remove(&self, id: u32) -> Result<(), StoreError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("remove", &path, error)),
        }
        let mut state = self.state();
        state.dirty.remove(&id);
        state.dir_dirty = true;
        Ok(())
    }

    /// Takes the packs that need a sync, and whether their directory does. On failure they go back with
    /// [`Packs::still_dirty`].
    pub(super) fn take_dirty(&self) -> (Vec<u32>, bool) {
        let mut state = self.state();
        (
            std::mem::take(&mut state.dirty).into_iter().collect(),
            std::mem::take(&mut state.dir_dirty),
        )
    }

    /// Gives back what [`Packs::take_dirty`] took.
    pub(super) fn still_dirty(&self, packs: &[u32], dir: bool) {
        let mut state = self.state();
        state.dirty.extend(packs);
        state.dir_dirty |= dir;
    }

    /// Where the packs are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Finds the records of a pack from offset `from` on, in order, and shows each to `visit` with the place of its bytes.
/// The bytes themselves are not read and not checked. Gives the length of the file.
pub(super) fn scan(
    id: u32,
    path: &Path,
    from: u64,
    mut visit: impl FnMut(&File, Multihash<64>, Place) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let file = File::open(path).map_err(|error| StoreError::io("open", path, error))?;
    let len = len_of(&file, path)?;
    let mut at = from.max(HEADER.len() as u64).next_multiple_of(ALIGN);
    let mut window = vec![0; SCAN_BYTES];
    let (mut window_start, mut window_len) = (0, 0);
    while at < len {
        let in_window = at >= window_start && at + MAX_RECORD_HEADER_BYTES as u64 <= window_start + window_len;
        if !in_window && (window_len == 0 || at < window_start || window_start + window_len < len) {
            window_start = at;
            window_len =
                read_up_to(&file, &mut window, at).map_err(|error| StoreError::io("read", path, error))? as u64;
        }
        let begin = (at - window_start).min(window_len) as usize;
        match parse_record_header(&window[begin..window_len as usize]) {
            Some((hash, header_len, data_len)) if at + (header_len + data_len) as u64 <= len => {
                let offset = at + header_len as u64;
                visit(
                    &file,
                    hash,
                    Place {
                        holder: Holder::Pack(id),
                        offset,
                        len: data_len as u32,
                    },
                )?;
                at = (offset + data_len as u64).next_multiple_of(ALIGN);
            }
            _ => at += ALIGN,
        }
    }
    Ok(len)
}

/// Where a record begins whose bytes are at `place`.
pub(super) fn record_start(hash_len: usize, place: &Place) -> u64 {
    place.offset - header_bytes(hash_len)
}

/// Where the record after the one whose bytes are at `place` begins.
pub(super) fn record_end(place: &Place) -> u64 {
    (place.offset + u64::from(place.len)).next_multiple_of(ALIGN)
}

fn header_bytes(hash_len: usize) -> u64 {
    (MAGIC.len() + 4 + 1 + hash_len + CHECK_BYTES) as u64
}

fn record_bytes(hash_len: usize, data_len: usize) -> u64 {
    (header_bytes(hash_len) + data_len as u64).next_multiple_of(ALIGN)
}

fn put_record_header(into: &mut Vec<u8>, hash: &[u8], data_len: usize) {
    into.extend_from_slice(MAGIC);
    let checked_from = into.len();
    into.extend_from_slice(&(data_len as u32).to_le_bytes());
    into.push(hash.len() as u8);
    into.extend_from_slice(hash);
    let check = sha2_256(&into[checked_from..]);
    into.extend_from_slice(&check.digest()[..CHECK_BYTES]);
}

/// The multihash, the length of the header and that of the block, if a record begins here.
fn parse_record_header(bytes: &[u8]) -> Option<(Multihash<64>, usize, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let data_len = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    let hash_len = usize::from(*rest.get(4)?);
    let hash = rest.get(5..5 + hash_len)?;
    let check = rest.get(5 + hash_len..5 + hash_len + CHECK_BYTES)?;
    if data_len > MAX_BLOCK_BYTES || &sha2_256(&rest[..5 + hash_len]).digest()[..CHECK_BYTES] != check {
        return None;
    }
    Some((
        Multihash::from_bytes(hash).ok()?,
        header_bytes(hash_len) as usize,
        data_len,
    ))
}

fn path_of(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{id:08x}.pack"))
}

fn list(dir: &Path) -> Result<Vec<u32>, StoreError> {
    let io = |error| StoreError::io("list", dir, error);
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let id = name
            .to_str()
            .and_then(|name| name.strip_suffix(".pack"))
            .filter(|stem| stem.len() == 8);
        ids.extend(id.and_then(|stem| u32::from_str_radix(stem, 16).ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

fn len_of(file: &File, path: &Path) -> Result<u64, StoreError> {
    Ok(file
        .metadata()
        .map_err(|error| StoreError::io("read the size of", path, error))?
        .len())
}

fn read_up_to(file: &File, buffer: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                at += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLL: u64 = 1 << 20;

    fn hash(data: &[u8]) -> Vec<u8> {
        sha2_256(data).to_bytes()
    }

    fn scanned(path: &Path, from: u64) -> Vec<(Vec<u8>, u64, u32)> {
        let mut found = Vec::new();
        scan(1, path, from, |_, hash, place| {
            found.push((hash.to_bytes(), place.offset, place.len));
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn records_have_a_fixed_form() {
        let dir = tempfile::tempdir().unwrap();
        let packs = Packs::open(dir.path(), ROLL).unwrap();
        let hash = hash(b"abc");
        let (places, _guard) = packs.append(&[(&hash, b"abc")]).unwrap();
        let mut golden = b"block pack v1\r\n\0\xf0block\r\n\x03\0\0\0\x22".to_vec();
        golden.extend_from_slice(&hash);
        golden.extend_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        golden.extend_from_slice(b"abc\0\0");
        let bytes = fs::read(packs.path(1)).unwrap();
        golden.splice(63..67, bytes[63..67].iter().copied());
        assert_eq!(bytes, golden);
        assert_eq!(bytes[63..67], sha2_256(&golden[24..63]).digest()[..4]);
        assert_eq!(
            places[0],
            Place {
                holder: Holder::Pack(1),
                offset: 67,
                len: 3
            }
        );
        assert_eq!(record_start(34, &places[0]), 16);
        assert_eq!(record_end(&places[0]), 72);
    }

    #[test]
    fn a_scan_finds_what_was_appended_and_passes_over_holes() {
        let dir = tempfile::tempdir().unwrap();
        let packs = Packs::open(dir.path(), ROLL).unwrap();
        let blocks: Vec<Vec<u8>> = [0, 1, 7, 8, 4096, GATHER_BYTES - 1, GATHER_BYTES, 200_000]
            .iter()
            .map(|len| vec![*len as u8; *len])
            .collect();
        let hashes: Vec<_> = blocks.iter().map(|data| hash(data)).collect();
        let records: Vec<Record<'_>> = hashes
            .iter()
            .zip(&blocks)
            .map(|(hash, data)| (&hash[..], &data[..]))
            .collect();
        let (places, guard) = packs.append(&records).unwrap();
        assert_eq!(packs.watermark(), (1, 16), "not indexed yet");
        drop(guard);
        let path = packs.path(1);
        assert_eq!(packs.watermark(), (1, fs::metadata(&path).unwrap().len()));

        let found = scanned(&path, 0);
        assert_eq!(found.len(), blocks.len());
        for ((place, hash), (found_hash, offset, len)) in places.iter().zip(&hashes).zip(&found) {
            assert_eq!((hash, place.offset, place.len), (found_hash, *offset, *len));
        }
        assert_eq!(scanned(&path, places[3].offset).len(), blocks.len() - 4);

        // The header of the fifth is lost: the records behind it are still found.
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 20], record_start(34, &places[4])).unwrap();
        assert_eq!(scanned(&path, 0).len(), blocks.len() - 1);
        // A torn tail is no record.
        file.set_len(places[7].offset + 5).unwrap();
        assert_eq!(scanned(&path, 0).len(), blocks.len() - 2);
        drop(packs);
        let packs = Packs::open(dir.path(), ROLL).unwrap();
        let (again, _guard) = packs.append(&records[7..]).unwrap();
        assert!(again[0].offset > places[7].offset, "nothing is overwritten");
        assert_eq!(scanned(&path, 0).len(), blocks.len() - 1);
    }

    #[test]
    fn packs_roll_and_a_pack_without_a_header_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path_of(dir.path(), 4), b"bl").unwrap();
        let packs = Packs::open(dir.path(), ROLL).unwrap();
        let data = vec![1; 600_000];
        let hash = hash(&data);
        for _ in 0..3 {
            packs.append(&[(&hash, &data)]).unwrap();
        }
        assert_eq!(packs.list().unwrap(), [4, 5, 6, 7]);
        assert_eq!(packs.take_dirty(), (vec![5, 6, 7], true));
        assert_eq!(packs.take_dirty(), (vec![], false));
    }
}
