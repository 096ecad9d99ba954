//! Slices and checkpoints as plain files that the block store knows nothing of: those of a copy that is not served.

use std::collections::HashMap;
use std::io::{self, Read};

use bytes::Bytes;
use odf_dataset::Object;
use odf_dataset::receive::{Arrival, Listener, ObjectReader, ReceiveError};
use odf_metadata::Multihash;
use odf_node::unixfs::export::{FileCursor, Step};

use super::{IpfsSource, Located};
use crate::pull::RemoteError;

impl IpfsSource {
    /// Brings all objects into their place as bytes; the blocks that they came in are garbage then.
    pub(super) fn take_apart(
        &self,
        objects: &[Object],
        arrival: &Arrival,
        listener: &Listener<'_>,
    ) -> Result<(), ReceiveError> {
        if objects.is_empty() {
            return Ok(());
        }
        let located: HashMap<Multihash, Located> = self.wait(self.locate(objects))??;
        let open = |object: &Object| {
            let at = Located::of(object, &located)?;
            Ok(Box::new(Leaves {
                source: self,
                cursor: FileCursor::new(at.cid),
                rest: Bytes::new(),
            }) as ObjectReader<'_>)
        };
        arrival.take(objects, &open, listener)
    }
}

/// The bytes of a file, block by block.
struct Leaves<'a> {
    source: &'a IpfsSource,
    cursor: FileCursor,
    rest: Bytes,
}

impl Read for Leaves<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.cursor.step() {
                Step::Done => return Ok(0),
                Step::Data { bytes, .. } => self.rest = bytes,
                Step::Need(cid) => {
                    let block = self.source.wait(self.source.fetcher.block(&cid));
                    let block = block
                        .and_then(|block| block.map_err(RemoteError::from))
                        .map_err(io::Error::other)?;
                    self.cursor.feed(&block).map_err(io::Error::other)?;
                }
            }
        }
        let taken = self.rest.split_to(into.len().min(self.rest.len()));
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
