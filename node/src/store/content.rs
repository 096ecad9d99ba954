//! One block of the open store: where it is, its bytes, and what becomes of it when they are wrong.

use std::{
    collections::HashSet,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::Errno};

use super::{
    away::Gone,
    blocks::Blocks,
    error::StoreError,
    gate::Claiming,
    place::{FileId, Holder, MAX_PLACES, Place, Position},
    state::{EPOCH, Store},
};
use crate::block::{Block, BlockError, Cid, inherent};

/// Blocks are appended in spans of at most this many bytes (or of one block, if it is larger).
const SPAN_BYTES: u64 = 8 << 20;
/// Behind everything there is in packs.
pub(super) const EVERYTHING: Position = (u32::MAX, u64::MAX);

/// The epoch of the mark of completeness that a multihash is to get.
type Marks<'a> = dyn Fn(&[u8]) -> Option<u64> + 'a;

/// What came of reading a place.
enum Read {
    Bytes(Bytes),
    /// The place is not there: the file ends before it, or is not registered.
    Wrong,
    /// Nobody can tell what is there.
    Unreachable(Gone, StoreError),
}

impl Store {
    /// The places of a block that count now.
    pub(super) fn places(&self, key: &[u8]) -> Result<Vec<Place>, StoreError> {
        let mut places = self.inner.index.entry(key)?.unwrap_or_default().places;
        places.retain(|place| self.is_whole(place) && !self.is_away(place));
        Ok(places)
    }

    /// As [`Self::places`], for somebody who may rely on the answer.
    fn seen(&self, key: &[u8]) -> Result<Vec<Place>, StoreError> {
        let claims = self.inner.gate.claiming();
        let places = self.places(key)?;
        if !places.is_empty() && !is_packed(&places) {
            claims.seen(key);
        }
        Ok(places)
    }

    /// Whether a file was being written when the last process ended, and could not be read when the store was opened.
    pub(super) fn is_unchecked(&self, file: FileId) -> Result<bool, StoreError> {
        let index = &self.inner.index;
        let is_away = self.inner.away.is_away(Gone::Holder(Holder::File(file.0)));
        Ok(is_away && index.run(|| index.writing.contains_key(file.0.to_be_bytes()))?)
    }

    pub(super) fn is_away(&self, place: &Place) -> bool {
        match self.inner.away.of(place) {
            None => false,
            Some((_, false)) => true,
            Some((gone, true)) => {
                let again = match gone {
                    // Its parts were to be read before they count: the next opening does that.
                    Gone::Holder(Holder::File(id)) if self.is_unchecked(FileId(id)).unwrap_or(true) => false,
                    Gone::Holder(holder) => self.handle(holder).is_ok_and(|handle| handle.is_some()),
                    Gone::Place(place) => matches!(self.read(&place), Ok(Read::Bytes(_))),
                };
                if again {
                    self.inner.away.back(gone);
                } else {
                    self.inner.away.note(gone);
                }
                !again
            }
        }
    }

    /// Appends blocks, given as multihash and bytes, to the packs and takes them into the index.
    pub(super) fn append(&self, blocks: &[(Vec<u8>, &[u8])]) -> Result<(), StoreError> {
        self.append_marked(blocks, None)
    }

    /// As [`Self::append`]. With `marks` everything put so far is synced before the index speaks of these blocks, and what it
    /// gives for a multihash goes into the entry.
    fn append_marked(&self, blocks: &[(Vec<u8>, &[u8])], marks: Option<&Marks<'_>>) -> Result<(), StoreError> {
        self.inner.index.guard.room()?;
        let mut rest = blocks;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|(_, data)| {
                bytes += data.len() as u64;
                bytes <= SPAN_BYTES.min(self.inner.options.pack_bytes)
            });
            let (span, behind) = rest.split_at(fitting.count().max(1));
            let records: Vec<_> = span.iter().map(|(hash, data)| (&hash[..], *data)).collect();
            let (places, in_flight) = self.inner.packs.append(&records)?;
            if marks.is_some() {
                // What is in flight is synced, too, and only not said to be.
                self.sync_blocks()?;
            }
            for ((hash, _), place) in span.iter().zip(places) {
                let mark = marks.and_then(|marks| marks(&hash[..]));
                self.update(hash, |entry| {
                    // One that cannot be read gives way: there is one place for each pack.
                    entry
                        .places
                        .retain(|known| known.position().is_none() || !self.is_away(known));
                    let is_marked = entry.mark(mark);
                    entry.add(place) || is_marked
                })?;
            }
            drop(in_flight);
            rest = behind;
        }
        Ok(())
    }

    /// As [`Blocks::put`], for blocks given as multihash and bytes, each once.
    pub(crate) fn put_content(&self, blocks: &[(Vec<u8>, &[u8])]) -> Result<(), StoreError> {
        self.put_content_marked(blocks, None)
    }

    /// As [`Blocks::put`]; those that are not here yet get their marks with their places, as by [`Self::append_marked`].
    pub(super) fn put_marked(&self, blocks: &[Block], marks: Option<&Marks<'_>>) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        let wanted = blocks.iter().filter(|block| inherent(block.cid()).is_none());
        let once = wanted.filter(|block| blocks.len() == 1 || seen.insert(*block.cid().hash()));
        let content: Vec<_> = once
            .map(|block| (block.cid().hash().to_bytes(), &block.data()[..]))
            .collect();
        self.put_content_marked(&content, marks)
    }

    fn put_content_marked(&self, blocks: &[(Vec<u8>, &[u8])], marks: Option<&Marks<'_>>) -> Result<(), StoreError> {
        // Held to the end: what was here when this began to look is not swept before it returns.
        let claims = self.inner.gate.claiming();
        let mut wanting = Vec::new();
        for (key, data) in blocks {
            if self.is_wanting(&claims, key)? {
                wanting.push((key.clone(), *data));
            }
        }
        if wanting.is_empty() {
            return Ok(());
        }
        self.check_room_for(wanting.iter().map(|(_, data)| data.len() as u64).sum())?;
        self.append_marked(&wanting, marks)
    }

    fn is_wanting(&self, claims: &Claiming<'_>, key: &[u8]) -> Result<bool, StoreError> {
        let places = self.places(key)?;
        if places.is_empty() {
            return Ok(true);
        }
        claims.put(key, is_packed(&places));
        Ok(false)
    }

    fn read(&self, place: &Place) -> Result<Read, StoreError> {
        let handle = match self.handle(place.holder) {
            Ok(Some(handle)) => handle,
            Ok(None) => return Ok(Read::Wrong),
            Err(error @ StoreError::Io { .. }) => return Ok(Read::Unreachable(Gone::Holder(place.holder), error)),
            Err(error) => return Err(error),
        };
        let len = place.len as usize;
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            let at = place.offset + data.len() as u64;
            match rustix::io::pread(handle.file(), spare_capacity(&mut data), at) {
                Ok(0) => return Ok(Read::Wrong),
                Ok(_) | Err(Errno::INTR) => {}
                // The medium does not give it: another place, or a peer, may.
                Err(error) => {
                    let path = self.path_of(place.holder)?.unwrap_or_default();
                    let error = StoreError::io("read", &path, error.into());
                    return Ok(Read::Unreachable(Gone::Place(*place), error));
                }
            }
        }
        data.truncate(len);
        Ok(Read::Bytes(data.into()))
    }

    /// The bytes of a place, if they can be read and are `cid`.
    pub(super) fn read_as(&self, cid: &Cid, place: &Place) -> Result<Option<Block>, StoreError> {
        Ok(match self.read(place)? {
            Read::Bytes(data) => Block::verify(*cid, data).ok(),
            Read::Wrong | Read::Unreachable(..) => None,
        })
    }

    /// As [`Self::read_as`]; wrong bytes are quarantined.
    pub(super) fn get_from(&self, cid: &Cid, place: &Place) -> Result<Option<Block>, StoreError> {
        match self.read(place)? {
            Read::Bytes(data) => match Block::verify(*cid, data) {
                Ok(block) => return Ok(Some(block)),
                Err(BlockError::UnsupportedHash { .. }) => {}
                Err(_) => self.quarantine(cid, place)?,
            },
            Read::Wrong => self.quarantine(cid, place)?,
            Read::Unreachable(..) => {}
        }
        Ok(None)
    }

    /// A block that was read before and kept, if it is here still: that is looked up, nothing is read again.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(crate) fn still(&self, block: Block) -> Result<Option<Block>, StoreError> {
        if inherent(block.cid()).is_some() {
            return Ok(Some(block));
        }
        let places = self.seen(&block.cid().hash().to_bytes())?;
        Ok(places.first().map(|place| {
            self.note_use(place);
            block
        }))
    }

    /// Somebody reads from a place. Only a store with a limit has to know.
    fn note_use(&self, place: &Place) {
        if self.inner.options.max_bytes.is_some() {
            self.inner.uses.note(place, self.inner.packs.watermark());
        }
    }

    /// Writes bytes that are there already once more, so that the next sync counts for them whatever became of an
    /// earlier one.
    pub(super) fn write_again(&self, path: &Path, place: &Place, data: &[u8]) -> Result<(), StoreError> {
        let file = self.inner.options.disk.open(path)?;
        let mut there = vec![0; data.len()];
        let read = file.as_file().read_exact_at(&mut there, place.offset);
        // Somebody may be at work on the file.
        if read.is_ok() && there == data {
            file.write_at(data, place.offset)?;
        }
        Ok(())
    }

    /// Takes one place out of the index because its bytes are wrong.
    fn quarantine(&self, cid: &Cid, place: &Place) -> Result<(), StoreError> {
        let key = cid.hash().to_bytes();
        if let Holder::File(id) = place.holder {
            let other = self.elsewhere_in(FileId(id), place.offset, &key)?;
            self.forget_leaf(FileId(id), place.offset, &key)?;
            if let Some(other) = other {
                self.update(&key, |entry| entry.add(other))?;
                return Ok(());
            }
        }
        let others = self.places(&key)?.iter().filter(|known| *known != place).count();
        if others == 0 {
            self.lose(&key)?;
        }
        self.update(&key, |entry| {
            let before = entry.places.len();
            entry.places.retain(|known| known != place);
            entry.places.len() < before
        })?;
        tracing::warn!(%cid, ?place, others, "damaged block dropped from the store");
        Ok(())
    }

    /// A block is about to be lost: no mark of completeness counts any more, and what only it linked to is in doubt.
    /// Said before the index forgets it.
    pub(super) fn lose(&self, key: &[u8]) -> Result<(), StoreError> {
        self.forget_completeness()?;
        self.set_lost(key, EVERYTHING)
    }

    /// A block is lost, and up to this position in the packs there may be something that only it linked to.
    pub(super) fn set_lost(&self, key: &[u8], until: Position) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let mut value = until.0.to_be_bytes().to_vec();
        value.extend_from_slice(&until.1.to_be_bytes());
        index.run(|| index.lost.insert(key, value))?;
        Ok(())
    }

    /// No mark of completeness counts any more.
    pub(super) fn forget_completeness(&self) -> Result<(), StoreError> {
        let _raising = self.inner.raising.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.inner.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.inner.index.set_number(EPOCH, epoch)
    }
}

/// Whether one of the places is in a pack.
pub(super) fn is_packed(places: &[Place]) -> bool {
    places.iter().any(|place| matches!(place.holder, Holder::Pack(_)))
}

impl Blocks for Store {
    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        Ok(self.size(cid)?.is_some())
    }

    fn size(&self, cid: &Cid) -> Result<Option<usize>, StoreError> {
        if let Some(block) = inherent(cid) {
            return Ok(Some(block.data().len()));
        }
        let places = self.seen(&cid.hash().to_bytes())?;
        Ok(places.first().map(|place| place.len as usize))
    }

    fn get(&self, cid: &Cid) -> Result<Option<Block>, StoreError> {
        if let Some(block) = inherent(cid) {
            return Ok(Some(block));
        }
        let key = cid.hash().to_bytes();
        // Every turn either gives the block or leaves a place out, unless the entry changed in between: places are few,
        // but the bound keeps a busy writer from holding a reader for ever.
        for _ in 0..2 * MAX_PLACES {
            let places = self.seen(&key)?;
            let Some(place) = places.first() else {
                return Ok(None);
            };
            match self.read(place)? {
                Read::Bytes(data) => match Block::verify(*cid, data) {
                    Ok(block) => {
                        self.note_use(place);
                        return Ok(Some(block));
                    }
                    Err(BlockError::UnsupportedHash { .. }) => return Ok(None),
                    Err(_) => self.quarantine(cid, place)?,
                },
                Read::Wrong => self.quarantine(cid, place)?,
                // A pack that was compacted in between: the index knows where its blocks are now.
                Read::Unreachable(..) if !self.is_whole(place) => {}
                Read::Unreachable(gone, error) => {
                    if self.inner.away.note(gone) {
                        tracing::warn!(%cid, %error, "a block cannot be read for now");
                        if places.len() == 1 {
                            self.forget_completeness()?;
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    fn put(&self, blocks: &[Block]) -> Result<(), StoreError> {
        self.put_marked(blocks, None)
    }
}
