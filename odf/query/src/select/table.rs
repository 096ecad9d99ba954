//! What a query can select from, as those say who have it.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use odf_dataset::{Dataset, DatasetError};
use odf_metadata::chain::ChainState;
use odf_metadata::{DataSlice, Vocabulary};
use odf_tables::types::{NoCounterpart, to_arrow};

/// Why a dataset could not be opened, or its bytes not be had: an error of whoever gave the table.
#[derive(Debug, Clone)]
pub struct TableError(Arc<dyn std::error::Error + Send + Sync>);

impl TableError {
    /// Such an error.
    pub fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// The error, if it is of this type.
    pub fn get<T: std::error::Error + 'static>(&self) -> Option<&T> {
        let error: &(dyn std::error::Error + 'static) = &*self.0;
        error.downcast_ref()
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for TableError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// The datasets that queries see. All methods block.
pub trait Tables: Send + Sync {
    /// The dataset that a query calls so; none if that is the name of none. `point` is the block or time at which it is
    /// meant, if not at its head.
    ///
    /// # Errors
    /// It is there and cannot be opened, or has no such point.
    fn find(&self, name: &str, point: Option<&str>) -> Result<Option<Table>, TableError>;

    /// The names of those that can be listed.
    ///
    /// # Errors
    /// They cannot be listed.
    fn names(&self) -> Result<Vec<String>, TableError>;
}

/// Bytes of slices, wherever they are. They are right when they are given: whoever fetches them checks them.
#[async_trait]
pub trait SliceSource: fmt::Debug + Send + Sync {
    /// The bytes of these ranges of a slice.
    ///
    /// # Errors
    /// They cannot be had.
    async fn read(&self, slice: &DataSlice, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, TableError>;

    /// Whether bytes come from somebody else, so that those that are not needed are worth some processor time.
    fn is_far(&self) -> bool {
        false
    }
}

/// A dataset at one point as a table.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) name: String,
    pub(super) schema: SchemaRef,
    pub(super) vocabulary: Vocabulary,
    /// The columns of its primary key; none where no merge strategy names any.
    pub(super) key: Vec<String>,
    pub(super) slices: Arc<[DataSlice]>,
    pub(super) source: Arc<dyn SliceSource>,
}

impl Table {
    /// A dataset whose chain came to `state`, with the slices of that chain, oldest first. One without a schema has no
    /// columns and no rows.
    ///
    /// # Errors
    /// A column has a type that no slice can have.
    pub fn new(
        name: impl Into<String>,
        state: &ChainState,
        slices: Vec<DataSlice>,
        source: Arc<dyn SliceSource>,
    ) -> Result<Table, NoCounterpart> {
        let declared = state.schema.as_ref().and_then(|event| event.schema.as_ref());
        let schema = declared.map_or_else(|| Ok(Schema::empty()), to_arrow)?;
        let key = state.merge_strategy().map_or(&[][..], |merge| merge.primary_key());
        Ok(Table {
            name: name.into(),
            schema: Arc::new(viewed(&schema)),
            vocabulary: state.vocabulary(),
            key: key.to_vec(),
            slices: slices.into(),
            source,
        })
    }

    /// A dataset whose slices are files here.
    ///
    /// # Errors
    /// The chain cannot be read, or a column has a type that no slice can have.
    pub fn of(name: impl Into<String>, dataset: &Dataset) -> Result<Table, TableError> {
        let slices: Result<_, DatasetError> = dataset.slices();
        let slices = slices.map_err(TableError::new)?;
        let files = Arc::new(Files(dataset.data_dir()));
        Table::new(name, dataset.state(), slices, files).map_err(TableError::new)
    }
}

/// Texts as the views that the engine reads without a copy.
fn viewed(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Utf8 => DataType::Utf8View,
            DataType::Binary => DataType::BinaryView,
            other => other.clone(),
        };
        Field::new(field.name(), data_type, field.is_nullable())
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Slices that are files of a directory, each under its physical hash.
#[derive(Debug)]
pub struct Files(pub PathBuf);

impl Files {
    /// Whether this slice is a file here.
    pub fn has(&self, slice: &DataSlice) -> bool {
        self.path(slice).is_file()
    }

    fn path(&self, slice: &DataSlice) -> PathBuf {
        self.0.join(slice.physical_hash.to_string())
    }
}

#[async_trait]
impl SliceSource for Files {
    async fn read(&self, slice: &DataSlice, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, TableError> {
        let path = self.path(slice);
        // The threads of a session are its own, as many as processors: they wait for a disk like those of any other reader.
        let read = || -> std::io::Result<Vec<Bytes>> {
            let file = File::open(&path)?;
            let each = ranges.iter().map(|range| {
                let length = usize::try_from(range.end.saturating_sub(range.start));
                let mut bytes = vec![0; length.map_err(std::io::Error::other)?];
                file.read_exact_at(&mut bytes, range.start)?;
                Ok(bytes.into())
            });
            each.collect()
        };
        read().map_err(|source| {
            TableError::new(Unread {
                path: path.clone(),
                source,
            })
        })
    }
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the data file {} cannot be read: {source}", .path.display())]
struct Unread {
    path: PathBuf,
    source: std::io::Error,
}
