//! Parts of the content of a file, held in memory: only the leaves that they lie in are had.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::error::FetchError;
use super::gather::{Item, Walk};
use crate::block::{Block, Cid};
use crate::store::{Blocks as _, Store};
use crate::unixfs::export::{self, ExportError, Part};

/// The walk to the leaves that some ranges of a file lie in.
pub(super) struct Parts<'a> {
    open: Vec<Part>,
    size: u64,
    ranges: &'a [Range<u64>],
    /// Content that came, by its offset.
    content: BTreeMap<u64, Bytes>,
}

impl<'a> Parts<'a> {
    /// Of a file of `size` bytes.
    pub(super) fn new(root: Cid, size: u64, ranges: &'a [Range<u64>]) -> Self {
        Self {
            open: vec![Part::root(root)],
            size,
            ranges,
            content: BTreeMap::new(),
        }
    }

    /// The bytes of each range, once the walk is done.
    ///
    /// # Errors
    /// The file has other bounds than were said.
    pub(super) fn bytes(&self, root: &Cid) -> Result<Vec<Bytes>, FetchError> {
        let each = self.ranges.iter().map(|range| self.range(range));
        let bytes: Option<Vec<Bytes>> = each.collect();
        bytes.ok_or_else(|| ExportError::SizeMismatch { cid: *root }.into())
    }

    fn range(&self, range: &Range<u64>) -> Option<Bytes> {
        let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        let first = self.content.range(..=range.start).next_back();
        let mut rest = first
            .into_iter()
            .chain(self.content.range(range.start.checked_add(1)?..));
        let (offset, content) = rest.next()?;
        let from = usize::try_from(range.start - offset).ok()?;
        if let Some(end) = from.checked_add(length).filter(|end| *end <= content.len()) {
            return Some(content.slice(from..end));
        }
        // It goes over several leaves, which hold what is allocated for it.
        let mut bytes = BytesMut::from(content.get(from..)?);
        while bytes.len() < length {
            let (offset, content) = rest.next()?;
            if *offset != range.start.checked_add(bytes.len() as u64)? {
                return None;
            }
            let wanted = content.len().min(length - bytes.len());
            bytes.extend_from_slice(content.get(..wanted)?);
        }
        Some(bytes.freeze())
    }

    /// Whether something of a part is wanted.
    fn is_wanted(&self, part: &Part) -> bool {
        let end = part.size.map_or(u64::MAX, |size| part.offset.saturating_add(size));
        let overlaps = |range: &Range<u64>| range.start < end && part.offset < range.end;
        self.ranges.iter().any(overlaps)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Wanted {
    part: Part,
    size: u64,
}

impl Wanted {
    fn open(&self, block: &Block) -> Result<export::Opened, FetchError> {
        let opened = export::open(&self.part, block)?;
        if self.part.offset.saturating_add(opened.size) > self.size {
            return Err(ExportError::SizeMismatch { cid: self.part.cid }.into());
        }
        Ok(opened)
    }
}

impl Item for Wanted {
    type Here = export::Opened;

    fn cid(&self) -> Cid {
        self.part.cid
    }

    fn look(&self, store: &Store) -> Result<Option<export::Opened>, FetchError> {
        let block = store.get(&self.part.cid)?;
        block.map(|block| self.open(&block)).transpose()
    }

    /// Kept for the next time while the store has room to spare.
    fn keep(store: &Store, came: &[(Self, Block)]) -> Result<Vec<export::Opened>, FetchError> {
        let opened: Result<Vec<export::Opened>, FetchError> =
            came.iter().map(|(part, block)| part.open(block)).collect();
        if store.has_room_to_spare() {
            let blocks: Vec<Block> = came.iter().map(|(_, block)| block.clone()).collect();
            store.put(&blocks)?;
        }
        opened
    }
}

impl Walk for Parts<'_> {
    type Item = Wanted;

    fn next(&mut self) -> Option<Wanted> {
        let size = self.size;
        self.open.pop().map(|part| Wanted { part, size })
    }

    fn take(&mut self, wanted: Wanted, opened: export::Opened) -> Result<(), FetchError> {
        if !opened.data.is_empty() {
            self.content.insert(wanted.part.offset, opened.data);
        }
        let children = opened.children.into_iter().rev().filter(|child| self.is_wanted(child));
        let children: Vec<Part> = children.collect();
        self.open.extend(children);
        Ok(())
    }
}
