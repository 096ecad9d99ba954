//! How the engine reads a slice: footers once, then the ranges that a query needs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use odf_metadata::{DataSlice, Multihash};
use url::Url;

use super::read::Read;
use super::table::SliceSource;

/// How much of the end of a file here is read first, for its footer: most are shorter.
const FOOTER_BYTES: usize = 32 << 10;
/// How much of one elsewhere: how long the footer is. The block with that comes whole, and as a rule has all of the footer.
const FOOTER_LENGTH_BYTES: usize = 8;
/// Bytes of footers that are kept for the next time that a query reads the same slices.
const MAX_FOOTERS_BYTES: usize = 64 << 20;

/// The one store that the engine is told of. It is empty: slices are read by [`Slices`], and there are no other files.
#[derive(Debug, Default)]
pub(super) struct Stores(Arc<InMemory>);

impl Stores {
    /// Where the engine is told that slices are.
    pub(super) fn url() -> ObjectStoreUrl {
        ObjectStoreUrl::local_filesystem()
    }
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, _: &Url) -> Result<Arc<dyn ObjectStore>> {
        Ok(self.0.clone())
    }
}

/// Footers that were read in a session, by physical hash.
#[derive(Debug, Default)]
pub(super) struct Footers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    footers: HashMap<Multihash, Arc<ParquetMetaData>>,
    bytes: usize,
}

impl Footers {
    fn get(&self, slice: &Multihash) -> Option<Arc<ParquetMetaData>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.footers.get(slice).cloned()
    }

    fn keep(&self, slice: Multihash, footer: &Arc<ParquetMetaData>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = footer.memory_size();
        if kept.bytes.saturating_add(bytes) <= MAX_FOOTERS_BYTES && kept.footers.insert(slice, footer.clone()).is_none()
        {
            kept.bytes += bytes;
        }
    }
}

/// Slices for the engine.
#[derive(Debug)]
pub(super) struct Slices {
    pub(super) source: Arc<dyn SliceSource>,
    pub(super) footers: Arc<Footers>,
    pub(super) read: Arc<Read>,
}

impl ParquetFileReaderFactory for Slices {
    fn create_reader(
        &self,
        _: usize,
        file: PartitionedFile,
        _: Option<usize>,
        _: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let slice = file.extension::<DataSlice>().cloned();
        let slice = slice.ok_or_else(|| internal_datafusion_err!("a file that is no slice"))?;
        Ok(Box::new(Reader {
            slice,
            source: self.source.clone(),
            footers: self.footers.clone(),
            read: self.read.clone(),
        }))
    }
}

/// One slice that is being read.
struct Reader {
    slice: DataSlice,
    source: Arc<dyn SliceSource>,
    footers: Arc<Footers>,
    read: Arc<Read>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let ranges = self.get_byte_ranges(vec![range]).await?;
            let only = ranges.into_iter().next();
            only.ok_or_else(|| ParquetError::General("nothing was read".to_owned()))
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            let size = self.slice.size;
            if let Some(range) = ranges.iter().find(|range| range.start > range.end || range.end > size) {
                return Err(ParquetError::EOF(format!(
                    "bytes {} to {} of the slice {}, which has {size}",
                    range.start, range.end, self.slice.physical_hash
                )));
            }
            let bytes = self.source.read(&self.slice, &ranges).await;
            let bytes = bytes.map_err(|error| ParquetError::External(Box::new(error)))?;
            self.read.count(bytes.iter().map(|bytes| bytes.len() as u64).sum());
            Ok(bytes)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let slice = self.slice.physical_hash;
            if let Some(footer) = self.footers.get(&slice) {
                return Ok(footer);
            }
            let (size, footers) = (self.slice.size, self.footers.clone());
            let reader = ParquetMetaDataReader::new()
                .with_arrow_reader_options(options)
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(match self.source.is_far() {
                    true => FOOTER_LENGTH_BYTES,
                    false => FOOTER_BYTES,
                }));
            let footer = Arc::new(reader.load_and_finish(self, size).await?);
            footers.keep(slice, &footer);
            Ok(footer)
        }
        .boxed()
    }
}
