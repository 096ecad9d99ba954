//! Packs: append-only files of blocks that belong to no other file.
//!
//! Nothing is ever overwritten, and no number of a pack is used twice. A pack counts up to the length it has; what lies
//! behind the last sync when a process ends is carried over by the next opening and cut off. A pack is written on by
//! another opening only if the one before said that nothing was behind its last sync: so an entry of an index that is
//! ahead of the packs never points at bytes that somebody else wrote there later.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use odf_disk::{Access, Disk, DiskFile};

use super::{
    error::StoreError,
    place::{Holder, Place, Position},
    record::{ALIGN, HEADER, Record, put_record_header, record_bytes},
    witness::Witness,
};

/// Blocks below this are copied together into one write; larger ones are written from where they are.
const GATHER_BYTES: usize = 64 << 10;

/// The packs of one store.
pub(super) struct Packs {
    disk: Disk,
    dir: PathBuf,
    roll_bytes: u64,
    witness: Arc<Witness>,
    state: Mutex<State>,
}

struct State {
    /// The pack being written, or the last one there was.
    id: u32,
    file: Option<Arc<DiskFile>>,
    end: u64,
    /// The packs there are, and up to where they count.
    ends: BTreeMap<u32, u64>,
    /// The witness says that something may be behind the last sync.
    open: bool,
    /// Everything before this was synced.
    synced: Position,
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
    /// Opens the packs in `dir`, which exists; everything before `synced` is known to be on the medium. A pack is closed
    /// when it would pass `roll_bytes`.
    pub(super) fn open(
        disk: &Disk,
        dir: &Path,
        roll_bytes: u64,
        witness: &Arc<Witness>,
        synced: Position,
    ) -> Result<Self, StoreError> {
        let mut ends = BTreeMap::new();
        for id in list(dir)? {
            let path = path_of(dir, id);
            // One whose size cannot be told counts for nothing now, as one that cannot be read.
            let found = fs::symlink_metadata(&path);
            ends.insert(
                id,
                found.map_or(0, |found| if found.is_file() { found.len() } else { 0 }),
            );
        }
        let known = witness.known().unwrap_or_default();
        let last = ends
            .last_key_value()
            .map(|(id, end)| (*id, end.next_multiple_of(ALIGN)));
        // A position at the very beginning of a pack is of one that was not begun.
        let reached = if synced.1 == 0 {
            synced.0.saturating_sub(1)
        } else {
            synced.0
        };
        let id = last.map_or(0, |(id, _)| id).max(known.last_pack).max(reached);
        let mut state = State {
            id,
            file: None,
            end: 0,
            ends,
            open: !known.clean,
            synced,
            in_flight: BTreeSet::new(),
            dirty: BTreeSet::new(),
            dir_dirty: false,
        };
        if let Some((last, end)) = last
            && known.clean
            && known.synced == (last, end)
            && id == last
        {
            match disk.open(&path_of(dir, last)) {
                Ok(file) => (state.file, state.end) = (Some(Arc::new(file)), end),
                Err(error) => tracing::debug!(%error, "the last pack is not written on"),
            }
        }
        Ok(Self {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
            roll_bytes,
            witness: witness.clone(),
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
    pub(super) fn list(&self) -> Vec<u32> {
        self.state().ends.keys().copied().collect()
    }

    /// Whether the place lies within a pack that is there.
    pub(super) fn holds(&self, id: u32, place: &Place) -> bool {
        self.state().ends.get(&id).is_some_and(|end| place.end() <= *end)
    }

    /// Everything before this position is written and in the index.
    pub(super) fn watermark(&self) -> Position {
        let state = self.state();
        let end = match state.file {
            Some(_) => (state.id, state.end),
            None => (state.id + 1, 0),
        };
        state.in_flight.first().copied().unwrap_or(end)
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
                    written = write(&file, &mut gathered, written)?;
                }
            } else {
                written = write(&file, &mut gathered, written)?;
                file.write_at(data, written)?;
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
        write(&file, &mut gathered, written)?;
        // Not before: a sync in between would take the mark without these bytes.
        self.state().dirty.insert(id);
        Ok((places, guard))
    }

    fn reserve(&self, len: u64) -> Result<(Arc<DiskFile>, u32, u64), StoreError> {
        let mut state = self.state();
        let file = match &state.file {
            Some(file) if state.end + len <= self.roll_bytes => file.clone(),
            _ => self.begin(&mut state)?,
        };
        if !state.open {
            self.witness.write(|known| known.clean = false, true)?;
            state.open = true;
        }
        let (id, start) = (state.id, state.end);
        state.end += len;
        let end = state.end;
        state.ends.insert(id, end);
        state.in_flight.insert((id, start));
        Ok((file, id, start))
    }

    /// Begins the next pack.
    fn begin(&self, state: &mut State) -> Result<Arc<DiskFile>, StoreError> {
        let id = state.id + 1;
        // On the medium before any entry can speak of the pack, so that the number is never used for another one.
        self.witness.write(
            |known| (known.last_pack, known.clean) = (known.last_pack.max(id), false),
            true,
        )?;
        (state.open, state.id, state.file) = (true, id, None);
        let file = Arc::new(self.disk.create_new(&self.path(id), Access::Owner)?);
        state.dir_dirty = true;
        file.write_at(HEADER, 0)?;
        state.dirty.insert(id);
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

    /// Removes a pack that is not being written. What points into it does not count from now on.
    pub(super) fn remove(&self, id: u32) -> Result<(), StoreError> {
        self.disk.remove_file_if_there(&self.path(id))?;
        let mut state = self.state();
        state.ends.remove(&id);
        state.dirty.remove(&id);
        state.dir_dirty = true;
        Ok(())
    }

    /// Cuts off what lies behind `len` in a pack that is not being written; the rest is on the medium already.
    pub(super) fn cut(&self, id: u32, len: u64) -> Result<(), StoreError> {
        let file = self.disk.open(&self.path(id))?;
        file.set_len(len)?;
        file.sync()?;
        self.limit(id, len);
        Ok(())
    }

    /// What lies behind `len` in a pack does not count.
    pub(super) fn limit(&self, id: u32, len: u64) {
        if let Some(end) = self.state().ends.get_mut(&id) {
            *end = len.min(*end);
        }
    }

    /// Takes the packs that need a sync, and whether their directory does.
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

    /// Everything before `position` was synced.
    pub(super) fn note_synced(&self, position: Position) -> Result<(), StoreError> {
        self.state().synced = position;
        self.witness.write(|known| known.synced = position, false)
    }

    /// Says that nothing is under way any more, and that the next opening may write on where this one ended, if nothing is
    /// behind the last sync.
    ///
    /// # Errors
    /// It cannot be written; after a sync that failed it is refused, as everything is. The next opening then begins a new
    /// pack, and syncs everything.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        let settled = state.in_flight.is_empty() && state.dirty.is_empty() && !state.dir_dirty;
        let is_clean = state.open && settled && state.file.is_some() && state.synced == (state.id, state.end);
        let in_use = self.disk.broke_off();
        let known = self.witness.known().unwrap_or_default();
        if known.in_use == in_use && (known.clean || !is_clean) {
            return Ok(());
        }
        self.witness.write(
            |known| {
                known.in_use = in_use;
                known.clean |= is_clean;
            },
            false,
        )?;
        state.open &= !is_clean;
        Ok(())
    }

    /// Whether the index may speak of bytes that are gone from packs, and must be made again by whoever opens the store.
    pub(super) fn distrust_index(&self, distrust: bool) -> Result<(), StoreError> {
        if self.witness.known().unwrap_or_default().rebuild == distrust {
            return Ok(());
        }
        self.witness.write(|known| known.rebuild = distrust, true)
    }

    /// Somebody uses the store, for the next opening.
    pub(super) fn note_in_use(&self) -> Result<(), StoreError> {
        if self.witness.known().unwrap_or_default().in_use {
            return Ok(());
        }
        self.witness.write(|known| known.in_use = true, false)
    }

    /// Whether files lost names by renames that the index was not flushed after, for the next opening.
    pub(super) fn note_names_left(&self, left: bool) -> Result<(), StoreError> {
        if self.witness.known().unwrap_or_default().names_left == left {
            return Ok(());
        }
        self.witness.write(|known| known.names_left = left, false)
    }

    /// Where the packs are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Writes out what was gathered; gives the offset behind it.
fn write(file: &DiskFile, gathered: &mut Vec<u8>, at: u64) -> Result<u64, StoreError> {
    file.write_at(gathered, at)?;
    let behind = at + gathered.len() as u64;
    gathered.clear();
    Ok(behind)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::super::record::{record_end, record_start, scan};
    use super::*;
    use crate::block::sha2_256;

    const ROLL: u64 = 1 << 20;

    fn packs(dir: &Path) -> Packs {
        let disk = Disk::new();
        let witness = Arc::new(Witness::open(&disk, &dir.join("synced")).unwrap());
        let synced = witness.known().unwrap_or_default().synced;
        Packs::open(&disk, dir, ROLL, &witness, synced).unwrap()
    }

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
        let packs = packs(dir.path());
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
        let packs = packs(dir.path());
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
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 20], record_start(34, &places[4])).unwrap();
        assert_eq!(scanned(&path, 0).len(), blocks.len() - 1);
        // A torn tail is no record.
        file.set_len(places[7].offset + 5).unwrap();
        assert_eq!(scanned(&path, 0).len(), blocks.len() - 2);
    }

    #[test]
    fn packs_roll_and_a_pack_without_a_header_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path_of(dir.path(), 4), b"bl").unwrap();
        let packs = packs(dir.path());
        let data = vec![1; 600_000];
        let hash = hash(&data);
        for _ in 0..3 {
            packs.append(&[(&hash, &data)]).unwrap();
        }
        assert_eq!(packs.list(), [4, 5, 6, 7]);
        assert_eq!(packs.take_dirty(), (vec![5, 6, 7], true));
        assert_eq!(packs.take_dirty(), (vec![], false));
    }

    #[test]
    fn a_pack_is_written_on_only_if_nothing_was_behind_its_last_sync() {
        let dir = tempfile::tempdir().unwrap();
        let hash = hash(b"abc");
        let append = |packs: &Packs| packs.append(&[(&hash, b"abc")]).unwrap().0[0];
        let settle = |packs: &Packs| {
            packs.take_dirty();
            packs.note_synced(packs.watermark()).unwrap();
            packs.close().unwrap();
        };
        let first = packs(dir.path());
        assert_eq!(append(&first).position(), Some((1, 67)));
        settle(&first);
        let second = packs(dir.path());
        assert_eq!(append(&second).position(), Some((1, 72 + 51)));
        // As after a crash: neither synced nor closed. Nor is the number used again if the pack is gone.
        let third = packs(dir.path());
        assert_eq!(append(&third).position(), Some((2, 67)));
        third.remove(2).unwrap();
        let fourth = packs(dir.path());
        assert_eq!(append(&fourth).position(), Some((3, 67)));
        settle(&fourth);
        assert_eq!(append(&packs(dir.path())).position(), Some((3, 72 + 51)));
    }
}
