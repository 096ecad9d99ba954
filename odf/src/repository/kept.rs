//! Metadata blocks that were read over a network, kept until they are part of a dataset.
//!
//! A chain is read one block after the other, so an interrupted walk over a long one is worth going on with. Whose chain
//! it is turns out only at its end; until then the blocks are kept by the place they came from.

use std::io::Read;

use bytes::Bytes;
use odf_node::store::{MAX_VALUE_BYTES, Store, StoreError, Table};

use super::error::ReadError;
use super::sync::SimpleSource;
use crate::dataset::Object;
use crate::metadata::Multihash;

/// Table that holds them, by hash of the place and hash of the block.
const TABLE: &str = "odf.arriving";

/// A source that asks for each metadata block once, over all attempts.
pub(super) struct Kept<'a> {
    source: &'a dyn SimpleSource,
    store: Store,
    table: Table,
    place: Vec<u8>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(source: &'a dyn SimpleSource, store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            source,
            store: store.clone(),
            table: store.table(TABLE)?,
            place: Multihash::sha3_256(source.place().as_bytes()).to_bytes().to_vec(),
        })
    }

    fn key(&self, hash: &Multihash) -> Vec<u8> {
        [&self.place[..], &hash.to_bytes()].concat()
    }

    /// Ends an attempt: what is kept survives a power loss, or goes if the blocks are in a dataset now.
    pub(super) fn end(self, arrived: bool) -> Result<(), StoreError> {
        if arrived {
            let keys = self.table.scan_prefix(&self.place);
            let gone = keys
                .map(|entry| entry.map(|(key, _)| (key, None)))
                .collect::<Result<Vec<_>, _>>()?;
            self.table.apply(&gone)?;
        }
        self.store.flush()
    }
}

impl SimpleSource for Kept<'_> {
    fn place(&self) -> &str {
        self.source.place()
    }

    fn head(&self) -> Result<Option<Multihash>, ReadError> {
        self.source.head()
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, ReadError> {
        let key = self.key(hash);
        // An index that fails says so when the blocks are committed; here it only costs a request.
        if let Ok(Some(bytes)) = self.table.get(&key) {
            return Ok(bytes.into());
        }
        let bytes = self.source.block(hash)?;
        if bytes.len() <= MAX_VALUE_BYTES && Multihash::sha3_256(&bytes) == *hash {
            let kept = self.table.insert(&key, &bytes);
            tracing::trace!(%hash, ?kept, "a metadata block came");
        }
        Ok(bytes)
    }

    fn object(&self, object: &Object) -> Result<Box<dyn Read + Send + '_>, ReadError> {
        self.source.object(object)
    }
}
