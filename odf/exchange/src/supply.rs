//! A repository as a place that damaged datasets are mended from.

use std::io::Read;

use bytes::Bytes;
use odf_dataset::repair::{Supply, SupplyError};
use odf_dataset::{Dataset, Object};
use odf_metadata::Multihash;

use crate::error::ReadError;
use crate::sync::SimpleSource;

/// Whatever can be read by the Simple Transfer Protocol.
pub struct FromRepository<S>(pub S);

impl<S: SimpleSource + ?Sized> SimpleSource for &S {
    fn place(&self) -> &str {
        (**self).place()
    }

    fn head(&self) -> Result<Option<Multihash>, ReadError> {
        (**self).head()
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, ReadError> {
        (**self).block(hash)
    }

    fn is_far(&self) -> bool {
        (**self).is_far()
    }

    fn object(&self, object: &Object) -> Result<Box<dyn Read + Send + '_>, ReadError> {
        (**self).object(object)
    }
}

impl<S: SimpleSource> Supply for FromRepository<S> {
    fn place(&self) -> String {
        self.0.place().to_owned()
    }

    fn head(&self) -> Result<Option<Multihash>, SupplyError> {
        Ok(self.0.head()?)
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SupplyError> {
        Ok(self.0.block(hash)?)
    }

    fn object(&self, object: &Object, dataset: &Dataset) -> Result<(), SupplyError> {
        let mut reader = self.0.object(object)?;
        Ok(object.place(dataset.disk(), dataset.dir(), &mut *reader)?)
    }
}
