//! Metadata blocks that were read over a network, kept until they are part of a dataset.
//!
//! A chain is read one block after the other, so an interrupted walk over a long one is worth going on with. Whose chain
//! it is turns out only at its end; until then the blocks are kept by the place they came from.

use std::path::Path;

use bytes::Bytes;
use odf_metadata::Multihash;
use odf_metadata::codec::MAX_BLOCK_BYTES;

use super::{Arrival, Listener, ReceiveError, Source, SourceError};
use crate::{Cache, Dataset, Object};

/// Area of the cache that holds them, by hash of the place and hash of the block.
const AREA: &str = "arriving";

/// A source that asks for each metadata block once, over all attempts.
pub(super) struct Kept<'a> {
    source: &'a dyn Source,
    cache: &'a dyn Cache,
    place: Vec<u8>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(source: &'a dyn Source, cache: &'a dyn Cache) -> Self {
        Self {
            source,
            cache,
            place: Multihash::sha3_256(source.place().as_bytes()).to_bytes().to_vec(),
        }
    }

    fn key(&self, hash: &Multihash) -> Vec<u8> {
        [&self.place[..], &hash.to_bytes()].concat()
    }

    /// The blocks are in a dataset now.
    pub(super) fn arrived(self) {
        self.cache.forget(AREA, &self.place);
    }
}

impl Source for Kept<'_> {
    fn place(&self) -> &str {
        self.source.place()
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        self.source.head()
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        let key = self.key(hash);
        if let Some(bytes) = self.cache.get(AREA, &key) {
            return Ok(bytes.into());
        }
        let is_far = self.source.is_far();
        let bytes = self.source.block(hash)?;
        if is_far && bytes.len() <= MAX_BLOCK_BYTES && Multihash::sha3_256(&bytes) == *hash {
            self.cache.put(AREA, &key, &bytes);
        }
        Ok(bytes)
    }

    fn bring_many(&self, local: Option<&Dataset>, aside: &Path, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        self.source.bring_many(local, aside, listener)
    }

    fn is_far(&self) -> bool {
        self.source.is_far()
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        self.source.objects(objects, arrival, listener)
    }
}
