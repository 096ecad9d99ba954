//! A dataset of this machine as a place that another one is received from.

use std::fs::File;

use bytes::Bytes;
use odf_metadata::Multihash;

use super::arrival::{Arrival, ObjectReader};
use super::error::{ReceiveError, SourceError};
use super::progress::Listener;
use super::source::Source;
use crate::{Dataset, DatasetError, Object};

/// What a dataset is at the head at which it was opened.
pub struct FromDataset<'a> {
    dataset: &'a Dataset,
    place: String,
}

impl<'a> FromDataset<'a> {
    /// `place` is what messages call it.
    pub fn new(dataset: &'a Dataset, place: String) -> Self {
        Self { dataset, place }
    }
}

impl Source for FromDataset<'_> {
    fn place(&self) -> &str {
        &self.place
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        Ok(Some(*self.dataset.head()))
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        let found = self.dataset.block_by_hash(hash).map_err(SourceError::new)?;
        let block = found.ok_or_else(|| SourceError::new(DatasetError::NotInChain(*hash)))?;
        Ok(block.block.bytes().clone())
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        let open = |object: &Object| {
            let path = object.path(self.dataset.dir());
            let opened = File::open(&path);
            let file = opened.map_err(|error| {
                SourceError::new(DatasetError::Io {
                    operation: "open",
                    path,
                    source: error,
                })
            })?;
            Ok(Box::new(file) as ObjectReader<'_>)
        };
        arrival.take(objects, &open, listener)
    }
}
